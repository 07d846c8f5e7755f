"""A trial's videos: encode, generate, decode; down the ladder where memory runs out.

All of this uses the device. What comes after (measuring, writing) does not, and may run behind the
next trial (``wanexp.run``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from wanexp.backends import Backend, Conditioning, load_backend
from wanexp.cache import Store
from wanexp.config import Trial, case_content, digest
from wanexp.generate import OnEvaluation, StageEnd
from wanexp.images import load_source
from wanexp.ladder import Ladder, is_out_of_memory
from wanexp.monitor import Monitor
from wanexp.options import Options
from wanexp.outcome import Clock, Made
from wanexp.plan import PlannedStage
from wanexp.planned import PlannedTrial
from wanexp.recent import Recent
from wanexp.record import TrialRecord
from wanexp.staged import encode_case, run_stages
from wanexp.stopping import Stopped, StopSign

KEPT = 4
"""Stage ends whose frames stay in memory for the next trial: no more stages in common are usual."""

recent_videos: Recent[np.ndarray] = Recent(KEPT)


@dataclass(frozen=True, kw_only=True)
class Course:
    """A trial under way: what is counted of it, who is told, and who may stop it."""

    ladder: Ladder
    options: Options
    clock: Clock
    monitor: Monitor
    on_evaluation: OnEvaluation | None
    sign: StopSign

    def charge(self, record: TrialRecord) -> TrialRecord:
        """The record with what was spent on it so far, and what was changed on the way."""
        phases = self.monitor.phase_trees()
        if "measure" in self.clock.seconds:  # whose peaks, behind another trial, are not its own
            phases = {
                **phases,
                "measure": {"seconds": self.clock.seconds["measure"], **phases.get("measure", {})},
            }
        return dataclasses.replace(
            record,
            timings=dict(self.clock.seconds),
            model_calls_executed=self.clock.model_calls,
            phases=phases,
            peak_memory=dict(self.monitor.peaks),
            system=self.monitor.series(),
            throttled=self.monitor.throttling(),
            changes=list(self.ladder.changes),
        )


def make_video(course: Course) -> Made:
    """Encode, generate, decode; where memory runs out, down the ladder that is allowed."""
    ladder: Ladder = course.ladder
    ends: list[StageEnd] = []
    while True:
        try:
            return _attempt(course, ends)
        except Exception as error:
            phase = course.monitor.phase or "encode"
            if not is_out_of_memory(error):
                raise
            if not ladder.step(phase, error):
                error.add_note(f"memory.out_of_memory allows no further step: {_policy(ladder)}")
                raise
        # Here the error is gone, and with it the tensors that its traceback held.
        if phase != "decode" or ladder.changes[-1]["step"] not in ("empty_cache", "vae_tiling"):
            ends.clear()
        make_room(ladder.now.trial)


def end_keys(planned: PlannedTrial, options: Options) -> dict[str, str]:
    """Stage name to a digest of all that decides its end's frames and their measurements."""
    trial = planned.trial
    told = {
        "case": case_content(trial.case),
        "fps": trial.recipe.fps,
        "memory": dict(vars(trial.memory)),
        "metrics": [options.metrics, options.lpips_weights, options.face_model],
    }
    keys = zip(planned.plan.stages, planned.stage_keys, strict=True)
    return {stage.name: digest({**told, "stage": key}) for stage, key in keys}


def _policy(ladder: Ladder) -> str:
    return ", ".join(ladder.now.trial.memory.out_of_memory) or "it is empty"


def _attempt(course: Course, ends: list[StageEnd]) -> Made:
    """One try; ``ends`` are what an earlier one has sampled, or are filled here."""
    planned, clock, monitor = course.ladder.now, course.clock, course.monitor
    trial, store = planned.trial, store_of(course.options)
    monitor.enter("encode")
    with clock.timing("encode"):
        source = frame_source(trial)
        backend = load_backend(trial.recipe, trial.memory)
        conditioning = None if ends else encode_case(planned, source, backend, store)
    if conditioning is not None:
        monitor.enter("handover")
        with clock.timing("sample"), clock.counting(backend):
            ends += sample(course, planned, conditioning, backend, store)
    monitor.enter("decode")
    with clock.timing("decode"):
        shown = ends if course.options.measure_stages else ends[-1:]
        keys = end_keys(planned, course.options)
        videos = {
            end.name: recent_videos.get(
                keys[end.name], functools.partial(backend.decode, end.denoised)
            )
            for end in shown
        }
    return Made(planned=planned, source=source, ends=tuple(ends), videos=videos)


def sample(
    course: Course,
    planned: PlannedTrial,
    conditioning: Conditioning,
    backend: Backend,
    store: Store | None,
) -> list[StageEnd]:
    """Every stage's end; a stop falls where the store has all that was computed."""
    sign, ends, monitor = course.sign, [], course.monitor
    name = f"{planned.arm} · {planned.case} · seed {planned.seed}"

    @contextlib.contextmanager
    def around(stage: PlannedStage) -> Iterator[None]:
        sign.idle = False
        monitor.enter(f"stage/{stage.name}")
        yield
        monitor.enter("handover")

    def told(stage: PlannedStage, done: int) -> None:
        if course.on_evaluation is not None:
            course.on_evaluation(stage, done)
        if sign.asked and store is None:
            raise Stopped(f"in {stage.name} of {name}, which is lost (cache.enabled=false)")

    def wait(seconds: float) -> None:
        sign.idle = True
        time.sleep(seconds)
        if sign.asked:
            raise Stopped(f"while another process computes a stage of {name}")

    for end in run_stages(planned, conditioning, backend, store, told, around, wait):
        sign.idle = False
        ends.append(end)
        if sign.asked and len(ends) < len(planned.plan.stages):
            raise Stopped(f"after {end.name} of {name}, which the stage store has")
    return ends


def make_room(trial: Trial) -> None:
    """Lets go of all that a device holds; weights load again when they are needed."""
    load_backend(trial.recipe, trial.memory).release()
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def frame_source(trial: Trial) -> np.ndarray | None:
    """The case's image as the video's first frame, (H, W, 3) uint8; None where it has none."""
    recipe, case = trial.recipe, trial.case
    if case.image is None:
        return None
    return load_source(case.image, case.crop, recipe.width, recipe.height)


def store_of(options: Options) -> Store | None:
    """The stage store that the options name; None where they want none."""
    return _store(options.cache_folder, options.cache_limit) if options.cache.enabled else None


@functools.lru_cache(maxsize=1)
def _store(folder: Path, limit: int) -> Store:
    """Kept for the next trial: what does not work is said once."""
    return Store(folder, limit)
