"""One trial, six calls on one screen: encode, generate, decode, measure, record, track.

``python -m wanexp.run`` is a plain Hydra application: one trial a job, ``-m`` for many.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from wanexp.config import Case, Recipe, Trial, trial_from
from wanexp.environment import environment
from wanexp.generate import OnEvaluation
from wanexp.images import Box, check_image, frame_window, to_frame
from wanexp.ladder import Ladder
from wanexp.making import KEPT, Course, end_keys, make_video
from wanexp.metrics import Measurement, measure
from wanexp.monitor import Monitor, monitoring
from wanexp.options import Options, options_from
from wanexp.outcome import Clock, Made, filled, write_media
from wanexp.planned import PlannedTrial, plan_trial
from wanexp.recent import Recent
from wanexp.record import StudyPaths, TrialPaths, TrialRecord
from wanexp.recording import (
    Draft,
    failures_recorded,
    is_settled,
    trial_tree,
    utc_now,
    write_draft,
)
from wanexp.stopping import StopSign, stop_on_signals
from wanexp.track import prepare
from wanexp.tracking import tracking_from

recent_scores: Recent[dict[str, Measurement]] = Recent(KEPT)


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A trial whose videos are made, and that is not measured and written yet.

    ``open`` holds the monitor where it is to see the measuring too.
    """

    paths: TrialPaths
    course: Course
    draft: Draft
    made: Made
    open: contextlib.ExitStack
    overlapped: bool

    def finish(self, waited: float = 0.0) -> TrialRecord:
        """Measures and records it, in whatever thread; a failure is recorded and raised again.

        ``waited`` are seconds for which its videos waited for the trial before.
        """
        clock, monitor, draft, made = self.course.clock, self.course.monitor, self.draft, self.made
        options = self.course.options
        with failures_recorded(self.paths, draft):
            try:
                with self.open, clock.timing("measure"):
                    if not self.overlapped:
                        monitor.enter("measure")
                    trial = made.planned.trial
                    keys = end_keys(made.planned, options)
                    scores = {
                        name: recent_scores.get(
                            keys[name],
                            functools.partial(score, frames, made.source, trial, options),
                        )
                        for name, frames in made.videos.items()
                    }
            finally:  # a failure has its costs too
                if self.overlapped:
                    clock.seconds["wait"] = round(waited, 4)
                draft.record = self.course.charge(draft.record)
            draft.record = filled(draft.record, made, scores, overlapped=self.overlapped)
            draft.write_media = functools.partial(write_media, made, options)
            write_draft(self.paths, draft)
        return draft.record


def run_trial(planned: PlannedTrial, study: StudyPaths, options: Options) -> TrialRecord:
    """Makes, measures and records one video; a failure is recorded and raised again."""
    return begin_trial(planned, study, options).finish()


def begin_trial(
    planned: PlannedTrial,
    study: StudyPaths,
    options: Options,
    on_evaluation: OnEvaluation | None = None,
    sign: StopSign | None = None,
    *,
    overlapped: bool = False,
) -> Begun:
    """Makes one trial's videos; a failure is recorded and raised again.

    Args:
        planned: The trial.
        study: Whose folder it goes into.
        options: How to run it.
        on_evaluation: Told of each evaluation.
        sign: Stops it after the stage that runs when it is raised.
        overlapped: It will be finished behind another trial, whose peaks are then its own.

    Raises:
        Stopped: The sign was raised, and a stage has ended that others come after.
    """
    paths, monitor = study.trial(planned.digest), Monitor()
    draft = Draft(record=new_record(planned, study))
    course = Course(
        ladder=Ladder(planned),
        options=options,
        clock=Clock(),
        monitor=monitor,
        on_evaluation=on_evaluation,
        sign=sign or StopSign(),
    )
    with failures_recorded(paths, draft):
        try:
            with contextlib.ExitStack() as stack:
                stack.enter_context(monitoring(monitor))
                made = make_video(course)
                rest = contextlib.ExitStack() if overlapped else stack.pop_all()
        finally:  # a failure has its costs too
            draft.record = course.charge(draft.record)
    return Begun(
        paths=paths, course=course, draft=draft, made=made, open=rest, overlapped=overlapped
    )


def overlaps(options: Options, trial: Trial) -> bool:
    """Whether a trial is scored behind the next one."""
    if options.overlap != "auto":
        return options.overlap
    device = trial.memory.device
    return torch.cuda.is_available() if device == "auto" else device != "cpu"


def new_record(planned: PlannedTrial, study: StudyPaths) -> TrialRecord:
    """The record as it stands before anything ran."""
    return TrialRecord(
        digest=planned.digest,
        study=study.name,
        arm=planned.arm,
        trial=trial_tree(planned.trial),
        plan=planned.plan.tree(),
        started=utc_now(),
        environment=environment(),
    )


def score(
    frames: np.ndarray, source: np.ndarray | None, trial: Trial, options: Options
) -> dict[str, Measurement]:
    """Every asked metric of one video, on raw frames; boxes follow the image into the frame."""
    face, regions = frame_boxes(trial.recipe, trial.case)
    lpips, yunet = (
        None if name is None else Path(name).expanduser()
        for name in (options.lpips_weights, options.face_model)
    )
    return measure(
        frames,
        source,
        trial.recipe.fps,
        options.metrics,
        face_box=face,
        regions=regions,
        lpips_weights=lpips,
        face_model=yunet,
    )


def frame_boxes(recipe: Recipe, case: Case) -> tuple[Box | None, dict[str, Box]]:
    """The case's face box and regions in pixels of the frame; those outside it are left out."""
    if case.image is None:
        return None, {}
    size = check_image("case.image", case.image)
    window = frame_window(size, case.crop, recipe.width, recipe.height)
    boxes = {
        name: to_frame(box, window, recipe.width, recipe.height)
        for name, box in case.regions.items()
    }
    face = case.face_box and to_frame(case.face_box, window, recipe.width, recipe.height)
    return face, {name: box for name, box in boxes.items() if box is not None}


def _tell_stop() -> None:
    print("stopping after this stage; Ctrl-C again stops at once", file=sys.stderr)


def run_tree(tree: Mapping[str, object]) -> TrialRecord | None:
    """One composed configuration, run and recorded; None where its trial is finished already."""
    options, trial = options_from(tree), trial_from(tree)
    planned = plan_trial(trial, str(tree["arm"]))
    study = StudyPaths(options.folder / str(tree["study"]))
    if is_settled(study.trial(planned.digest), trial.memory.out_of_memory):
        print(f"{planned.digest}: finished before, nothing to do")
        return None
    tracker = prepare(tracking_from(tree), study)
    with stop_on_signals(_tell_stop) as sign:
        record = begin_trial(planned, study, options, sign=sign).finish()
    if sign.asked:  # Hydra goes on with its next job unless it is told
        tracker.mirror(study.trial(planned.digest))
        raise KeyboardInterrupt
    tracker.mirror(study.trial(planned.digest))
    print(f"{planned.digest}: {study.trial(planned.digest).video}")
    return record


if __name__ == "__main__":
    from wanexp.compose.application import run_application

    run_application(run_tree)
