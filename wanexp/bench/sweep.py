"""`wanexp bench sweep`: the guide's A/B study with the stage store, without, and by the pipeline.

Five arms of one case and seed (the baseline, a bolder second stage, more steps, more guidance, and
all three), by default on Wan 2.2 I2V-A14B's true shapes with random weights. Everything is counted
that makes a video in memory: encoding, sampling, decoding; measuring stands in a row of its own.
``--model wan_mini`` runs it on the weights that come with wanexp, on any machine.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wanexp.backends import encode
from wanexp.backends.diffusers import DiffusersBackend
from wanexp.backends.reference import PipelineStage, embeddings, pipeline_of, run_pipeline
from wanexp.bench.card import A14B, free
from wanexp.bench.loop import picture
from wanexp.bench.rig import Rig, rig_of
from wanexp.bench.row import Row, Seconds, Settings, Size, beside, seconds
from wanexp.cache import Store
from wanexp.config import Case, Trial, recipe_from
from wanexp.metrics import measure
from wanexp.models import Model
from wanexp.noise import initial_noise
from wanexp.order import neighbours
from wanexp.planned import PlannedTrial, plan_trial
from wanexp.staged import encode_case, run_stages

TARGET = 1.8
STORE_LIMIT = 10**10

REFINES: dict[str, dict[str, float]] = {
    "baseline": {"denoise": 0.45, "steps": 8, "cfg": 8.5},
    "A": {"denoise": 0.5, "steps": 8, "cfg": 8.5},
    "B": {"denoise": 0.45, "steps": 9, "cfg": 8.5},
    "C": {"denoise": 0.45, "steps": 8, "cfg": 7.0},
    "D": {"denoise": 0.5, "steps": 9, "cfg": 7.0},
}
"""Arm → its second stage, as in ``sweeps/ab_protocol.yaml``, D as if all three had won.

With a third of the steps, which shortens the run and not the ratio."""


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One way to run the study: seconds of each time, model calls and frames of the last."""

    taken: Seconds
    calls: int
    frames: Sequence[np.ndarray] = ()


def sweep_rows(settings: Settings) -> Iterator[Row]:
    """The study by the pipeline, then by wanexp with the store and without."""
    rig = rig_of(settings.model or A14B)
    words, repeats = ", compiled" if rig.fast.compile else "", settings.repeats or 1
    for size in settings.sizes or (rig.size,):
        trials = ab_trials(rig.model, size)
        theirs = _by_pipeline(rig, trials, size, repeats)
        base = theirs.taken.median
        yield _row("A/B study, diffusers' pipeline", size, theirs, base)
        fast = rig.open(rig.fast)
        shared = _by_wanexp(rig, fast, trials, size, repeats, store=True)
        yield _row(f"A/B study, stage store{words}", size, shared, base, f"; target {TARGET}")
        alone = _by_wanexp(rig, fast, trials, size, repeats, store=False)
        yield _row(f"A/B study, one by one{words}", size, alone, base)
        yield _measuring(rig, shared, size)
        fast.release()
        free()


def ab_trials(model: Model, size: Size) -> list[PlannedTrial]:
    """The study's trials, planned, in the order in which they would run."""
    case = Case(
        name="astronaut",
        image="skimage:astronaut.png",
        prompt="she turns",
        negative_prompt="blurry",
    )
    trials = []
    for arm, refine in REFINES.items():
        first = {"sampler": "dpmpp_2m", "steps": 6, "cfg": 8.5}
        stages = {"establish": first, "refine": {"sampler": "dpmpp_2m", **refine}}
        sizes = {"width": size.width, "height": size.height, "frames": size.frames}
        tree = {**sizes, "scheduler": "karras", "stages": stages}
        recipe = recipe_from({"name": model.name}, tree)
        trials.append(plan_trial(Trial(recipe=recipe, case=case, seed=0), arm))
    return neighbours(trials)


def _by_wanexp(
    rig: Rig,
    backend: DiffusersBackend,
    trials: Sequence[PlannedTrial],
    size: Size,
    repeats: int,
    *,
    store: bool,
) -> _Run:
    """The study ``repeats`` times; without the store no trial knows anything of another."""
    source = picture(size)

    def run(some: Sequence[PlannedTrial], kept: Store | None) -> list[np.ndarray]:
        frames = []
        for planned in some:
            case = planned.trial.case
            if kept is None:
                told = encode(backend, source, case.prompt, case.negative_prompt, size.frames)
            else:
                told = encode_case(planned, source, backend, kept)
            *_, end = run_stages(planned, told, backend, kept)
            frames.append(backend.decode(end.denoised))
        return frames

    taken, frames, before = [], [], 0
    for turn in range(repeats + 1):
        # A store of its own each time: no turn finds what another has encoded or sampled.
        with tempfile.TemporaryDirectory() as folder:
            kept = Store(Path(folder), STORE_LIMIT) if store or not turn else None
            begun, before = rig.clock(), backend.model_calls
            frames = run(trials if turn else trials[:1], kept)
            taken.append(rig.clock() - begun)
    calls = backend.model_calls - before
    return _Run(taken=seconds(taken[1:]), calls=calls, frames=frames)


def _by_pipeline(rig: Rig, trials: Sequence[PlannedTrial], size: Size, repeats: int) -> _Run:
    """Every stage is a run of the pipeline: it knows no others. Prompts are encoded beforehand."""
    source, backend = picture(size), rig.open(rig.plain)
    positive, negative = embeddings(backend, "she turns", "blurry")
    pipe = pipeline_of(backend, rig.model)
    shape = backend.latent_shape(size.width, size.height, size.frames)

    def run(planned: PlannedTrial) -> None:
        for stage in planned.plan.stages:
            asked = PipelineStage(
                source=source,
                frames=size.frames,
                positive=positive,
                negative=negative,
                cfg=stage.cfg,
                sigmas=stage.sigmas,
                latents=initial_noise(shape, 0).to(backend.device),
                decode=stage is planned.plan.stages[-1],
            )
            run_pipeline(pipe, asked).cpu()

    taken = []
    for turn in range(repeats + 1):
        begun = rig.clock()
        for planned in trials if turn else trials[:1]:
            run(planned)
        taken.append(rig.clock() - begun)
    backend.release()
    free()
    calls = sum(planned.plan.model_calls for planned in trials)
    return _Run(taken=seconds(taken[1:]), calls=calls)


def _measuring(rig: Rig, run: _Run, size: Size) -> Row:
    begun = rig.clock()
    for frames in run.frames:
        measure(frames, picture(size), 16.0)
    spent = rig.clock() - begun
    what, against = f"measuring the {len(run.frames)} videos", "the study with the store"
    note = "in a sweep on a card it overlaps the next trial"
    return beside(what, size, seconds([spent]), run.taken.median, against, note)


def _row(what: str, size: Size, run: _Run, base: float, target: str = "") -> Row:
    gain = base / run.taken.median
    note = f"{run.calls} model calls; {gain:.2f} times as fast{target}"
    return beside(what, size, run.taken, base, f"the pipeline's {base:.1f} s", note)
