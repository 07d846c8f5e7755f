"""`wanexp bench trial`: a whole trial, phase by phase, beside diffusers' pipeline.

Both make the same video of one stage: prompts and source encoded, guided steps, decoded. A trial is
measured and written besides. Loading weights is left out, since a sweep does it once.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from wanexp.backends import encode
from wanexp.backends.diffusers import DiffusersBackend
from wanexp.backends.reference import PipelineStage, embeddings, pipeline_of, run_pipeline
from wanexp.bench.card import A14B, free
from wanexp.bench.loop import one_stage, picture, sampled
from wanexp.bench.rig import Rig, rig_of
from wanexp.bench.row import Row, Seconds, Settings, Size, beside, seconds
from wanexp.config import Recipe
from wanexp.metrics import measure
from wanexp.noise import initial_noise
from wanexp.plan import make_plan
from wanexp.video import write_video

REPEATS = 2
FPS = 16.0
PROMPT, NEGATIVE = "she turns", "blurry"
VIDEO = ("encoding", "sampling", "decoding")
"""What makes the video in memory; the other phases are work of the host alone."""


def trial_rows(settings: Settings) -> Iterator[Row]:
    """The pipeline's video; a trial's, and each of its phases; the whole trial."""
    rig, repeats = rig_of(settings.model or A14B), settings.repeats or REPEATS
    words = ", compiled" if rig.fast.compile else ""
    for size in settings.sizes or (rig.size,):
        recipe = one_stage(size, rig.model.name)
        theirs = _by_pipeline(rig, recipe, size, repeats)
        base, against = theirs.median, f"the pipeline's {theirs.median:.3g} s"
        yield Row(what="a video by diffusers' pipeline", size=str(size), seconds=theirs)
        taken = _by_wanexp(rig, recipe, size, repeats)
        turns = range(repeats)
        video = seconds([sum(taken[phase][turn] for phase in VIDEO) for turn in turns])
        yield beside(f"a trial's video{words}", size, video, base, against)
        for phase, spent in taken.items():
            note = "" if phase in VIDEO else "on a card, behind the next trial's sampling"
            yield Row(what=f"  {phase}", size=str(size), seconds=seconds(spent), note=note)
        whole = seconds([sum(spent[turn] for spent in taken.values()) for turn in turns])
        yield beside(f"a whole trial{words}", size, whole, base, against)


def _by_wanexp(rig: Rig, recipe: Recipe, size: Size, repeats: int) -> dict[str, list[float]]:
    """Phase → seconds of every turn."""
    backend, source = rig.open(rig.fast), picture(size)
    taken: dict[str, list[float]] = {}
    for turn in range(repeats + 1):
        for phase, spent in _phases(rig, backend, recipe, source):
            if turn:  # the first one warms up, and compiles
                taken.setdefault(phase, []).append(spent)
    backend.release()
    free()
    return taken


def _phases(
    rig: Rig, backend: DiffusersBackend, recipe: Recipe, source: np.ndarray
) -> Iterator[tuple[str, float]]:
    begun = rig.clock()
    told = encode(backend, source, PROMPT, NEGATIVE, recipe.frames)
    yield "encoding", rig.clock() - begun
    begun = rig.clock()
    latent = sampled(backend, recipe, told)
    yield "sampling", rig.clock() - begun
    begun = rig.clock()
    frames = backend.decode(latent)
    yield "decoding", rig.clock() - begun
    yield "measuring", _walled(lambda: measure(frames, source, FPS))
    with tempfile.TemporaryDirectory() as folder:
        try:
            spent = _walled(lambda: write_video(Path(folder) / "video.mp4", frames, FPS))
        except ModuleNotFoundError:  # a host without PyAV: no row
            return
    yield "writing", spent


def _walled(work: Callable[[], object]) -> float:
    """Wall time: threads share this work, so their processor time says little."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _by_pipeline(rig: Rig, recipe: Recipe, size: Size, repeats: int) -> Seconds:
    backend, source = rig.open(rig.plain), picture(size)
    (stage,) = make_plan(recipe).stages
    shape = backend.latent_shape(size.width, size.height, size.frames)
    taken = []
    for _ in range(repeats + 1):
        begun = rig.clock()
        positive, negative = embeddings(backend, PROMPT, NEGATIVE)
        asked = PipelineStage(
            source=source,
            frames=size.frames,
            positive=positive,
            negative=negative,
            cfg=stage.cfg,
            sigmas=stage.sigmas,
            latents=initial_noise(shape, 0).to(backend.device),
            decode=True,
        )
        run_pipeline(pipeline_of(backend, rig.model), asked).cpu()
        taken.append(rig.clock() - begun)
    backend.release()
    free()
    return seconds(taken[1:])
