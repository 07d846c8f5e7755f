"""A planned sweep, run: what is finished is skipped, a failure does not stop the rest.

Where sampling runs on a GPU a trial is scored and written while the next one is sampled
(``wanexp.behind``): records and what a watcher is told still come one by one, in the trials' order.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import time
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, Protocol

from wanexp.behind import Behind
from wanexp.claim import claimed, pause, try_claim
from wanexp.compose import Sweep
from wanexp.options import Options
from wanexp.order import neighbours
from wanexp.plan import PlannedStage
from wanexp.planned import PlannedTrial, distinct
from wanexp.record import StudyPaths, TrialRecord
from wanexp.recording import is_settled, sweep_partials
from wanexp.stopping import Stopped, StopSign, stop_on_signals
from wanexp.study import study_tree, without_arms
from wanexp.troubles import change_words


class Watcher(Protocol):
    """Who is told how a sweep goes (a progress bar, a log).

    The end of a trial may come from another thread, after the next one began.
    """

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

    def stopping(self) -> None:
        """Somebody asked to stop: what runs comes to its next end first."""
        ...


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How a sweep went.

    Attributes:
        completed: Recorded with a video, those that were changed included.
        model_calls: Executed now.
        errors: Digest to the sentence of every trial that failed now.
        changed: Digest to the sentence of every trial that is not what was asked for.
        stopped: Where it was stopped by Ctrl-C; empty where it was not.
        at_once: By the second Ctrl-C, who does not want to wait for anything.
    """

    completed: int = 0
    failed: int = 0
    model_calls: int = 0
    stopped: str = ""
    at_once: bool = False
    errors: Mapping[str, str] = field(default_factory=dict)
    changed: Mapping[str, str] = field(default_factory=dict)

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(
            completed=self.completed + other.completed,
            failed=self.failed + other.failed,
            model_calls=self.model_calls + other.model_calls,
            stopped=self.stopped or other.stopped,
            at_once=self.at_once or other.at_once,
            errors={**self.errors, **other.errors},
            changed={**self.changed, **other.changed},
        )


def to_run(trials: Sequence[PlannedTrial], study: StudyPaths) -> list[PlannedTrial]:
    """The distinct trials without a completed record, those that share stages side by side.

    Failed ones are tried again, and those that were changed in a way that is no longer allowed.
    """
    return neighbours([t for t in distinct(trials) if not _settled(t, study)])


def _settled(planned: PlannedTrial, study: StudyPaths) -> bool:
    return is_settled(study.trial(planned.digest), planned.trial.memory.out_of_memory)


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
    tally says so, and has what was done until then. All that has begun is recorded when it returns,
    but for what the second Ctrl-C left behind.
    """
    part = _Part(study, watcher, on_record)
    with stop_on_signals(watcher.stopping) as sign:
        try:
            _run_part(part, waiting, options, sign)
        except KeyboardInterrupt:
            return part.tally(stopped="at once", at_once=sign.asked)
    return part.tally(stopped=part.stopped)


def _run_part(
    part: _Part, waiting: Sequence[PlannedTrial], options: Options, sign: StopSign
) -> None:
    from wanexp.run import begin_trial, overlaps

    study, overlapped = part.study, bool(waiting) and overlaps(options, waiting[0].trial)
    turns = _one_by_one(waiting, study, part.watcher, sign)
    with contextlib.closing(turns), Behind(enabled=overlapped) as behind:
        for number, (planned, claim) in enumerate(turns, start=1):
            with contextlib.ExitStack() as held:
                held.enter_context(claim)
                part.watcher.begins(planned, number)
                try:
                    finish = begin_trial(
                        planned, study, options, part.evaluated, sign, overlapped=overlapped
                    ).finish
                except Stopped as stop:
                    part.stopped = str(stop)
                    return
                except Exception as error:
                    traceback.clear_frames(error.__traceback__)  # which hold what is on the device
                    finish = functools.partial(_fail, error)
                waited = behind.wait()
                behind.hand(functools.partial(part.end, planned, finish, waited, held.pop_all()))
            if sign.asked:
                part.stopped = f"after {planned.arm} · {planned.case} · seed {planned.seed}"
                return
        if sign.asked:
            part.stopped = "while waiting for other processes"


class _Part:
    """What this process has done of a sweep so far. Trials end in one thread at a time."""

    def __init__(
        self, study: StudyPaths, watcher: Watcher, on_record: Callable[[TrialRecord], None]
    ) -> None:
        self.study, self.watcher, self._on_record = study, watcher, on_record
        self.stopped = ""
        self._completed, self._model_calls = 0, 0
        self._errors: dict[str, str] = {}
        self._changed: dict[str, str] = {}

    def evaluated(self, stage: PlannedStage, done: int) -> None:
        self._model_calls += stage.model_calls // len(stage.experts)
        self.watcher.evaluated(stage, done)

    def end(
        self,
        planned: PlannedTrial,
        finish: Callable[[float], TrialRecord],
        waited: float,
        claim: contextlib.ExitStack,
    ) -> None:
        """Measures and writes a trial, and tells of it; its claim is given back then."""
        with claim:
            try:
                record = finish(waited)
            except Exception as error:
                self._errors[planned.digest] = f"{type(error).__name__}: {error}"
                self.watcher.failed(planned, error)
                record = recorded_failure(self.study, planned)
            else:
                self._completed += 1
                if record.state == "changed":
                    words = change_words(record.changes)
                    name = f"{planned.arm} · {planned.case} · seed {planned.seed}"
                    self._changed[planned.digest] = f"{name}: {words}"
                self.watcher.ended(planned, record)
            if record is not None:
                self._on_record(record)

    def tally(self, *, stopped: str, at_once: bool = False) -> Tally:
        return Tally(
            completed=self._completed,
            failed=len(self._errors),
            model_calls=self._model_calls,
            stopped=stopped,
            at_once=at_once,
            errors=dict(self._errors),
            changed=dict(self._changed),
        )


def _fail(error: Exception, _waited: float) -> NoReturn:
    raise error


Turn = tuple[PlannedTrial, AbstractContextManager[object]]


def _one_by_one(
    waiting: Sequence[PlannedTrial], study: StudyPaths, watcher: Watcher, sign: StopSign
) -> Generator[Turn, None, None]:
    """The trials that nobody else runs or has finished meanwhile, each with its claim.

    Whoever takes a trial holds its claim until the record is written. What others have in hand
    comes last: it is theirs, unless they fail or die.
    """
    left, last, told = list(waiting), None, False
    while left and not sign.asked:
        planned = _choose(left, study, last)
        claim = None if planned is None else _claim(planned, study)
        if planned is None or claim is None:
            sign.idle = True
            if planned is None and not told:
                watcher.waits(len(left))
            told |= planned is None
            time.sleep(pause())
        else:
            last, sign.idle = planned, False
            left.remove(planned)
            if _settled(planned, study):
                with claim:
                    pass
            else:
                yield planned, claim
        left = [t for t in left if not _settled(t, study)]


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
