"""A planned sweep, run: what is finished is skipped, a failure does not stop the rest."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from wanexp.compose import Sweep
from wanexp.options import Options
from wanexp.plan import PlannedStage
from wanexp.record import StudyPaths, TrialRecord
from wanexp.recording import is_completed, sweep_partials
from wanexp.study import PlannedTrial, distinct, study_tree


class Watcher(Protocol):
    """Who is told how a sweep goes (a progress bar, a log)."""

    def begins(self, planned: PlannedTrial, number: int) -> None:
        """A trial starts; ``number`` counts from 1 among those to run."""
        ...

    def evaluated(self, stage: PlannedStage, done: int) -> None:
        """``done`` evaluations of a stage are over."""
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
    """

    completed: int
    failed: int
    model_calls: int
    errors: Mapping[str, str]


def to_run(trials: Sequence[PlannedTrial], study: StudyPaths) -> list[PlannedTrial]:
    """The distinct trials without a completed record; failed ones are tried again."""
    return [t for t in distinct(trials) if not is_completed(study.trial(t.digest))]


def open_study(sweep: Sweep, trials: Sequence[PlannedTrial], options: Options) -> StudyPaths:
    """The study's folder with its file brought up to date and dead processes' leftovers gone."""
    study = StudyPaths(options.folder / sweep.name)
    study.trials.mkdir(parents=True, exist_ok=True)
    sweep_partials(study)
    before = json.loads(study.study.read_text(encoding="utf-8")) if study.study.exists() else {}
    _write_whole(study.study, json.dumps(study_tree(sweep, trials, before), indent=2) + "\n")
    return study


def run_trials(
    waiting: Sequence[PlannedTrial],
    study: StudyPaths,
    options: Options,
    watcher: Watcher,
    on_record: Callable[[TrialRecord], None],
) -> Tally:
    """Runs trials one after another in this process, which keeps the model loaded between them.

    ``on_record`` is handed every record that was written, failures included.
    """
    from wanexp.run import run_trial

    completed, model_calls, errors = 0, 0, {}
    for number, planned in enumerate(waiting, start=1):
        watcher.begins(planned, number)
        try:
            record = run_trial(planned, study, options, watcher.evaluated)
        except Exception as error:
            errors[planned.digest] = f"{type(error).__name__}: {error}"
            watcher.failed(planned, error)
            record = recorded_failure(study, planned)
        else:
            completed += 1
            model_calls += record.model_calls
            watcher.ended(planned, record)
        if record is not None:
            on_record(record)
    return Tally(
        completed=completed,
        failed=len(errors),
        model_calls=model_calls,
        errors=errors,
    )


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
