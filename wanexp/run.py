"""One trial, six calls on one screen: encode, generate, decode, measure, record, track.

``python -m wanexp.run`` is a plain Hydra application: one trial a job, ``-m`` for many.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from wanexp.backends import load_backend
from wanexp.cache import Store
from wanexp.config import Case, Recipe, Trial, trial_digest, trial_from
from wanexp.environment import environment
from wanexp.generate import OnEvaluation
from wanexp.images import Box, check_image, frame_window, load_source, to_frame
from wanexp.metrics import Measurement, measure
from wanexp.monitor import monitoring
from wanexp.options import Options, options_from
from wanexp.outcome import Clock, Outcome, filled, write_media
from wanexp.plan import make_plan
from wanexp.record import StudyPaths, TrialRecord
from wanexp.recording import is_completed, recording, trial_tree, utc_now
from wanexp.staged import encode_case, run_stages
from wanexp.study import PlannedTrial
from wanexp.track import prepare
from wanexp.tracking import tracking_from


def run_trial(
    planned: PlannedTrial,
    study: StudyPaths,
    options: Options,
    on_evaluation: OnEvaluation | None = None,
) -> TrialRecord:
    """Makes, measures and records one video; a failure is recorded and raised again."""
    clock = Clock()
    with recording(study.trial(planned.digest), new_record(planned, study)) as draft:
        try:
            with monitoring() as monitor:
                outcome = make_video(planned, options, clock, on_evaluation)
        finally:  # a failure has its costs too
            draft.record = clock.charge(draft.record)
        draft.record = filled(draft.record, planned.plan, outcome, monitor)
        fps = planned.trial.recipe.fps
        draft.write_media = functools.partial(write_media, outcome, fps, options)
    return draft.record


def make_video(
    planned: PlannedTrial,
    options: Options,
    clock: Clock,
    on_evaluation: OnEvaluation | None = None,
) -> Outcome:
    """Encode, generate, decode, measure: a trial's outcome in memory."""
    trial = planned.trial
    source, store = frame_source(trial), store_of(options)
    with clock.timing("encode"):
        backend = load_backend(trial.recipe, trial.memory)
        conditioning = encode_case(planned, source, backend, store)
    with clock.timing("sample"), clock.counting(backend):
        ends = list(run_stages(planned, conditioning, backend, store, on_evaluation))
    with clock.timing("decode"):
        shown = ends if options.measure_stages else ends[-1:]
        videos = {end.name: backend.decode(end.denoised) for end in shown}
    with clock.timing("measure"):
        scores = {name: score(frames, source, trial, options) for name, frames in videos.items()}
    return Outcome(source=source, ends=tuple(ends), videos=videos, scores=scores)


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


def frame_source(trial: Trial) -> np.ndarray:
    """The case's image as the video's first frame, (H, W, 3) uint8."""
    recipe, case = trial.recipe, trial.case
    return load_source(case.image, case.crop, recipe.width, recipe.height)


def store_of(options: Options) -> Store | None:
    """The stage store that the options name; None where they want none."""
    return _store(options.cache_folder, options.cache_limit) if options.cache.enabled else None


@functools.lru_cache(maxsize=1)
def _store(folder: Path, limit: int) -> Store:
    """Kept for the next trial: what does not work is said once."""
    return Store(folder, limit)


def score(
    frames: np.ndarray, source: np.ndarray, trial: Trial, options: Options
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
    size = check_image("case.image", case.image)
    window = frame_window(size, case.crop, recipe.width, recipe.height)
    boxes = {
        name: to_frame(box, window, recipe.width, recipe.height)
        for name, box in case.regions.items()
    }
    face = case.face_box and to_frame(case.face_box, window, recipe.width, recipe.height)
    return face, {name: box for name, box in boxes.items() if box is not None}


def run_tree(tree: Mapping[str, object]) -> TrialRecord | None:
    """One composed configuration, run and recorded; None where its trial is finished already."""
    options, trial = options_from(tree), trial_from(tree)
    plan = make_plan(trial.recipe)
    planned = PlannedTrial(
        arm=str(tree["arm"]),
        case=trial.case.name,
        seed=trial.seed,
        trial=trial,
        plan=plan,
        digest=trial_digest(trial, plan.key()),
    )
    study = StudyPaths(options.folder / str(tree["study"]))
    if is_completed(study.trial(planned.digest)):
        print(f"{planned.digest}: finished before, nothing to do")
        return None
    tracker = prepare(tracking_from(tree), study)
    record = run_trial(planned, study, options)
    tracker.mirror(study.trial(planned.digest))
    print(f"{planned.digest}: {study.trial(planned.digest).video}")
    return record


if __name__ == "__main__":
    from wanexp.compose.application import run_application

    run_application(run_tree)
