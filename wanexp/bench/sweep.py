"""`wanexp bench sweep`: the guide's A/B study with the stage store, without, and by the pipeline.

Five arms of one case and seed (the baseline, a bolder second stage, more steps, more guidance, and
all three) on Wan 2.2 I2V-A14B's true shapes with random weights. Everything is counted that makes
a video in memory: encoding, sampling, decoding; measuring stands in a row of its own.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from wanexp.backends.diffusers import DiffusersBackend
from wanexp.backends.random_parts import random_backend
from wanexp.backends.reference import PipelineStage, pipeline_of, run_pipeline
from wanexp.bench.card import A14B, CARD, SMALL, free, need_card
from wanexp.bench.loop import picture
from wanexp.bench.row import Row, Settings, Size, seconds
from wanexp.cache import Store
from wanexp.config import Case, Trial, recipe_from, trial_digest
from wanexp.memory import Memory
from wanexp.metrics import measure
from wanexp.noise import initial_noise
from wanexp.plan import make_plan
from wanexp.staged import encode_case, run_stages
from wanexp.study import PlannedTrial, neighbours, shared_model_calls

COMPILED = replace(CARD, compile=True)
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
    """One way to run the study: what each video took, and the videos' frames where kept."""

    taken: Sequence[float]
    frames: Sequence[np.ndarray] = ()


def sweep_rows(settings: Settings) -> Iterator[Row]:
    """The study by the pipeline, then by wanexp without and with the store."""
    need_card()
    for size in settings.sizes or (SMALL,):
        trials = ab_trials(size)
        calls = sum(t.plan.model_calls for t in trials)
        plain = random_backend(A14B, CARD)
        theirs = _by_pipeline(plain, trials, size)
        plain.release()
        free()
        base = sum(theirs.taken)
        yield _row("A/B study, diffusers' pipeline", size, theirs, base, f"{calls} model calls")
        fast = random_backend(A14B, COMPILED)
        _by_wanexp(fast, trials[:1], size, store=False)  # compiles: once for a size, not a study
        shared = _by_wanexp(fast, trials, size, store=True)
        few, gain = shared_model_calls(trials), base / sum(shared.taken)
        note = f"{few} model calls; {gain:.2f} times as fast; target {TARGET}"
        yield _row("A/B study, stage store, compiled", size, shared, base, note)
        alone = _by_wanexp(fast, trials, size, store=False)
        yield _row("A/B study, one by one, compiled", size, alone, base, f"{calls} model calls")
        yield _measuring(shared, size, sum(shared.taken))
        fast.release()


def ab_trials(size: Size) -> list[PlannedTrial]:
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
        recipe = recipe_from({"name": A14B}, {**sizes, "scheduler": "karras", "stages": stages})
        trial, plan = Trial(recipe=recipe, case=case, seed=0, memory=Memory()), make_plan(recipe)
        digest = trial_digest(trial, plan.key())
        trials.append(
            PlannedTrial(arm=arm, case=case.name, seed=0, trial=trial, plan=plan, digest=digest)
        )
    return neighbours(trials)


def _by_wanexp(
    backend: DiffusersBackend, trials: Sequence[PlannedTrial], size: Size, *, store: bool
) -> _Run:
    source, taken, frames = picture(size), [], []
    with tempfile.TemporaryDirectory() as folder:
        kept = Store(Path(folder), STORE_LIMIT) if store else None
        for planned in trials:
            begun = _now()
            told = encode_case(planned, source, backend, kept)
            *_, end = run_stages(planned, told, backend, kept)
            frames.append(backend.decode(end.denoised))
            taken.append(_now() - begun)
    return _Run(taken=taken, frames=frames)


def _by_pipeline(backend: DiffusersBackend, trials: Sequence[PlannedTrial], size: Size) -> _Run:
    """Every stage is a run of the pipeline: it knows no others. Prompts are encoded once."""
    source, taken = picture(size), []
    model = trials[0].trial.recipe.model
    texts = [
        backend.encode_text(words).to(backend.device, backend.dtype)
        for words in ("she turns", "blurry")
    ]
    pipe = pipeline_of(backend, model)
    shape = backend.latent_shape(size.width, size.height, size.frames)
    for planned in trials:
        begun = _now()
        for stage in planned.plan.stages:
            run_pipeline(
                pipe,
                PipelineStage(
                    source=source,
                    frames=size.frames,
                    positive=texts[0],
                    negative=texts[1],
                    cfg=stage.cfg,
                    sigmas=stage.sigmas,
                    latents=initial_noise(shape, 0).to(backend.device),
                    decode=stage is planned.plan.stages[-1],
                ),
            ).cpu()
        taken.append(_now() - begun)
    return _Run(taken=taken)


def _measuring(run: _Run, size: Size, total: float) -> Row:
    begun = time.perf_counter()
    for frames in run.frames:
        measure(frames, picture(size), 16.0)
    spent = time.perf_counter() - begun
    return Row(
        what=f"measuring the {len(run.frames)} videos",
        size=str(size),
        seconds=seconds([spent]),
        against="the study with the store",
        ratio=spent / total,
        note="in a sweep on a card it overlaps the next trial",
    )


def _row(what: str, size: Size, run: _Run, base: float, note: str) -> Row:
    total = sum(run.taken)
    return Row(
        what=what,
        size=str(size),
        seconds=seconds([total]),
        against=f"the pipeline's {base:.1f} s",
        ratio=total / base,
        note=note,
    )


def _now() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()
