"""A planned sweep, run: what is finished is skipped, a failure does not stop the rest."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from wanexp.claim import claimed, pause, try_claim
from wanexp.compose import Sweep
from wanexp.options import Options
from wanexp.plan import PlannedStage
from wanexp.record import StudyPaths, TrialRecord
from wanexp.recording import is_completed, sweep_partials
from wanexp.study import PlannedTrial, distinct, neighbours, study_tree, without_arms


class Watcher(Protocol):
    """Who is told how a sweep goes (a progress bar, a log)."""

    def begins(self, planned: PlannedTrial, number: int) -> None:
        """A trial starts; ``number`` counts from 1 among those to run."""
        ...

    def evaluated(self, stage: PlannedStage, done: int) -> None:
        """``done`` evaluations of a stage are over."""
        ...

    def waits(self, count: int) -> None:
        """Other processes run the ``count`` trials that are left."""
        ...

    def ended(self, planned: PlannedTrial, record: TrialRecord) -> None:
        """A trial was recorded."""
        ...

    def failed(self, planned: PlannedTrial, error: Exception) -> None:
        """A trial failed, and the sweep goes on."""
        ...


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How a sweep went.

    Attributes:
        model_calls: Executed now.
        errors: Digest to the sentence of every trial that failed now.
        stopped: By Ctrl-C, in the middle of a trial.
    """

    completed: int = 0
    failed: int = 0
    model_calls: int = 0
    stopped: bool = False
    errors: Mapping[str, str] = field(default_factory=dict)

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(
            completed=self.completed + other.completed,
            failed=self.failed + other.failed,
            model_calls=self.model_calls + other.model_calls,
            stopped=self.stopped or other.stopped,
            errors={**self.errors, **other.errors},
        )


def to_run(trials: Sequence[PlannedTrial], study: StudyPaths) -> list[PlannedTrial]:
    """The distinct trials without a completed record, those that share stages side by side.

    Failed ones are tried again.
    """
    waiting = [t for t in distinct(trials) if not is_completed(study.trial(t.digest))]
    return neighbours(waiting)


def open_study(
    sweep: Sweep, trials: Sequence[PlannedTrial], options: Options, *, confirms: bool = False
) -> StudyPaths:
    """The study's folder with its file brought up to date and dead processes' leftovers gone."""
    study = StudyPaths(options.folder / sweep.name)
    study.trials.mkdir(parents=True, exist_ok=True)
    sweep_partials(study)
    join_study(study, sweep, trials, confirms=confirms)
    return study


def join_study(
    study: StudyPaths, sweep: Sweep, trials: Sequence[PlannedTrial], *, confirms: bool = False
) -> None:
    """Writes these trials into the study's file."""
    before = study_file(study)
    rows = before.get("trials")
    digests = [str(row["digest"]) for row in rows] if isinstance(rows, list) else []
    looked = any(study.trial(digest).record.exists() for digest in digests)
    _save(study, study_tree(sweep, trials, before, confirms=confirms, looked=looked))


def leave_study(study: StudyPaths, arm: str) -> None:
    """Takes an arm's trials out of the study's file, where it has any."""
    before = study_file(study)
    after = without_arms(before, [arm])
    if after != before:
        _save(study, after)


def study_file(study: StudyPaths) -> dict[str, object]:
    """The study's file; empty where there is none."""
    return json.loads(study.study.read_text(encoding="utf-8")) if study.study.exists() else {}


def _save(study: StudyPaths, tree: Mapping[str, object]) -> None:
    _write_whole(study.study, json.dumps(tree, indent=2) + "\n")


def run_trials(
    waiting: Sequence[PlannedTrial],
    study: StudyPaths,
    options: Options,
    watcher: Watcher,
    on_record: Callable[[TrialRecord], None],
) -> Tally:
    """Runs trials one after another in this process, which keeps the model loaded between them.

    Other processes may run the same sweep at the same time: each trial is run by one of them.
    ``on_record`` is handed every record that was written, failures included. Ctrl-C ends it; the
    tally says so, and has what was done until then.
    """
    from wanexp.run import run_trial

    completed, model_calls, stopped, errors = 0, 0, False, {}

    def evaluated(stage: PlannedStage, done: int) -> None:
        nonlocal model_calls
        model_calls += stage.model_calls // len(stage.experts)
        watcher.evaluated(stage, done)

    with contextlib.closing(_one_by_one(waiting, study, watcher)) as turns:
        try:
            for number, planned in enumerate(turns, start=1):
                watcher.begins(planned, number)
                try:
                    record = run_trial(planned, study, options, evaluated)
                except Exception as error:
                    errors[planned.digest] = f"{type(error).__name__}: {error}"
                    watcher.failed(planned, error)
                    record = recorded_failure(study, planned)
                else:
                    completed += 1
                    watcher.ended(planned, record)
                if record is not None:
                    on_record(record)
        except KeyboardInterrupt:
            stopped = True
    return Tally(
        completed=completed,
        failed=len(errors),
        model_calls=model_calls,
        stopped=stopped,
        errors=errors,
    )


def _one_by_one(
    waiting: Sequence[PlannedTrial], study: StudyPaths, watcher: Watcher
) -> Generator[PlannedTrial, None, None]:
    """The trials that nobody else runs or has finished meanwhile, claimed while each is in hand.

    What others have in hand comes last: it is theirs, unless they fail or die.
    """
    left, last, told = list(waiting), None, False
    while left:
        planned = _choose(left, study, last)
        claim = None if planned is None else _claim(planned, study)
        if planned is None or claim is None:
            if planned is None and not told:
                watcher.waits(len(left))
            told |= planned is None
            time.sleep(pause())
        else:
            with claim:
                last = planned
                if not is_completed(study.trial(planned.digest)):
                    yield planned
            left.remove(planned)
        left = [t for t in left if not is_completed(study.trial(t.digest))]


def _choose(
    left: Sequence[PlannedTrial], study: StudyPaths, last: PlannedTrial | None
) -> PlannedTrial | None:
    """The next that nobody runs: rather one that begins as the last did, and not as others' do.

    Two that begin alike at the same time would wait for each other's first stage.
    """
    taken = claimed(study.claims)
    others = {t.stage_keys[0] for t in left if t.digest in taken}

    def reluctance(planned: PlannedTrial) -> int:
        if last is not None and planned.stage_keys[0] == last.stage_keys[0]:
            return 0
        return 2 if planned.stage_keys[0] in others else 1

    return min((t for t in left if t.digest not in taken), key=reluctance, default=None)


def _claim(planned: PlannedTrial, study: StudyPaths) -> AbstractContextManager[object] | None:
    try:
        return try_claim(study.claims, planned.digest)
    except OSError:  # a full disk: the trial itself has the better words for it
        return contextlib.nullcontext()


def recorded_failure(study: StudyPaths, planned: PlannedTrial) -> TrialRecord | None:
    """The record of a trial that has just failed; None where not even that could be written."""
    from wanexp.record import RecordError, read_record

    try:
        return read_record(study.trial(planned.digest).record)
    except (OSError, RecordError):
        return None


def link_videos(study: StudyPaths, trials: Sequence[PlannedTrial]) -> None:
    """``videos/ARM--CASE--seed0.mp4``: links by readable names into the trials' folders.

    A convenience for people with a file browser; file systems without links go without.
    """
    study.videos.mkdir(exist_ok=True)
    for planned in trials:
        video = study.trial(planned.digest).video
        name = f"{planned.arm}--{planned.case}--seed{planned.seed}.mp4".replace("/", "-")
        link = study.videos / name
        if video.exists():
            with contextlib.suppress(OSError):
                link.unlink(missing_ok=True)
                link.symlink_to(os.path.relpath(video, study.videos))


def _write_whole(path: Path, text: str) -> None:
    """The old file or the new one, whatever happens in between."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
