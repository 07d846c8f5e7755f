"""`wanexp bench loop`: the stage loop beside its model calls, and beside diffusers' pipeline."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import cast

import numpy as np
import torch

from wanexp.backends import Conditioning
from wanexp.backends.diffusers import DiffusersBackend
from wanexp.backends.folder import EXPERT_FOLDERS
from wanexp.backends.random_parts import random_backend
from wanexp.backends.reference import PipelineStage, pipeline_of, run_pipeline
from wanexp.bench.card import A14B, CARD, SMALL, clocked, conditions, free, need_card
from wanexp.bench.row import Row, Settings, Size, beside, seconds
from wanexp.config import Recipe, recipe_from
from wanexp.generate import generate
from wanexp.images import load_source
from wanexp.models import Model
from wanexp.noise import initial_noise
from wanexp.plan import Plan, make_plan

STEPS = 10
TARGET = 1.02


def loop_rows(settings: Settings) -> Iterator[Row]:
    """Sampling with CFG over its model calls, compiled; then not compiled beside the pipeline."""
    need_card()
    repeats = settings.repeats or 3
    for compiled in (True, False):
        backend = random_backend(A14B, replace(CARD, compile=compiled))
        for size in settings.sizes or (SMALL,):
            recipe = one_stage(size)
            told = conditions(backend, recipe.model, size)
            run = functools.partial(sampled, backend, recipe, told)
            if compiled:
                yield _beside_calls(backend, recipe, size, told, run, repeats)
            else:
                yield _beside_pipeline(backend, recipe, size, told)
        backend.release()
        free()


def one_stage(size: Size, model: str = A14B) -> Recipe:
    """Ten guided Euler steps of both experts at the model's own settings."""
    stages = {"only": {"sampler": "euler", "steps": STEPS, "scheduler": "simple"}}
    sizes = {"width": size.width, "height": size.height, "frames": size.frames}
    return recipe_from({"name": model}, {**sizes, "stages": stages})


def sampled(backend: DiffusersBackend, recipe: Recipe, told: Conditioning) -> torch.Tensor:
    """The latent that a recipe's plan makes."""
    plan = make_plan(recipe)
    *_, end = generate(plan, told, list(range(len(plan.stages))), backend)
    return end.latent


def _beside_calls(
    backend: DiffusersBackend,
    recipe: Recipe,
    size: Size,
    told: Conditioning,
    run: Callable[[], torch.Tensor],
    repeats: int,
) -> Row:
    """The loop and the same model calls without it, in turn, so that both meet the same clocks."""
    bare = functools.partial(_bare_calls, backend, recipe.model, make_plan(recipe), told)
    taken = {"loop": [], "bare": []}
    for turn in range(repeats + 1):
        for name, work in (("bare", bare), ("loop", run)):
            torch.cuda.synchronize()
            begun = time.perf_counter()
            work()
            torch.cuda.synchronize()
            if turn:
                taken[name].append(time.perf_counter() - begun)
    loop, calls = seconds(taken["loop"]), seconds(taken["bare"])
    against = f"its {2 * STEPS} model calls, bare ({calls.median:.3f} s)"
    what = f"loop of {STEPS} guided steps, compiled"
    return beside(what, size, loop, calls.median, against, f"target {TARGET}")


@torch.no_grad()
def _bare_calls(backend: DiffusersBackend, model: Model, plan: Plan, told: Conditioning) -> None:
    """Every model call of a plan, straight through the transformers."""
    x = torch.randn(told.latent_shape, device=backend.device)
    image = cast(torch.Tensor, told.image)  # the A14B's, which takes one
    given = torch.cat([x, image.to(x)], dim=1).to(backend.dtype)
    texts = [told.positive, cast(torch.Tensor, told.negative)]
    on_card = [text.to(backend.device, backend.dtype) for text in texts]
    for stage in plan.stages:
        for expert, sigma in zip(stage.experts, stage.evaluation_sigmas, strict=True):
            transformer = backend.part(EXPERT_FOLDERS[model.experts.index(expert)])
            time_now = torch.full((1,), sigma * 1000, device=backend.device)
            for text in on_card:
                transformer(
                    hidden_states=given,
                    timestep=time_now,
                    encoder_hidden_states=text,
                    return_dict=False,
                )


def _beside_pipeline(
    backend: DiffusersBackend, recipe: Recipe, size: Size, told: Conditioning
) -> Row:
    """The same steps from the same noise through ``WanImageToVideoPipeline``.

    Both encode the source and run the loop; embeddings are given to both.
    """
    source = picture(size)
    model, (stage,) = recipe.model, make_plan(recipe).stages

    def ours() -> torch.Tensor:
        image = backend.encode_image(source, size.frames)
        return sampled(backend, recipe, replace(told, image=image))

    pipe = pipeline_of(backend, model)
    asked = PipelineStage(
        source=source,
        frames=size.frames,
        positive=told.positive.to(backend.device, backend.dtype),
        negative=cast(torch.Tensor, told.negative).to(backend.device, backend.dtype),
        cfg=stage.cfg,
        sigmas=stage.sigmas,
        latents=initial_noise(told.latent_shape, 0).to(backend.device),
    )
    mine = clocked(ours, 2, warmups=1)
    theirs = clocked(functools.partial(run_pipeline, pipe, asked), 2, warmups=1)
    difference = run_pipeline(pipe, asked).float() - ours()
    off = (difference.pow(2).mean().sqrt() / ours().std()).item()
    against = f"WanImageToVideoPipeline, not compiled ({theirs.median:.3f} s)"
    note = f"latents differ by {100 * off:.2g} % of their deviation (bfloat16 calls)"
    what = f"source encoded, {STEPS} guided steps"
    return beside(what, size, mine, theirs.median, against, note)


def picture(size: Size) -> np.ndarray:
    """A photograph at a video's size, (H, W, 3) uint8."""
    return load_source("skimage:astronaut.png", None, size.width, size.height)
