"""The latents that diffusers' own pipelines make, on levels of ours."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
from diffusers.pipelines.wan.pipeline_wan import WanPipeline
from diffusers.pipelines.wan.pipeline_wan_i2v import WanImageToVideoPipeline
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteScheduler,
)
from PIL import Image
from torch import Tensor

from wanexp.backends.diffusers import open_backend
from wanexp.config import Recipe, recipe_from
from wanexp.memory import Memory
from wanexp.noise import initial_noise
from wanexp.plan import make_plan

CPU = Memory(device="cpu", dtype="float32")
PROMPT = "high quality ,  a face moves left , camera pans &amp;amp; left"
NEGATIVE = "blurry , flickering"
SEED = 5


def reference(
    pipe: WanPipeline | WanImageToVideoPipeline,
    recipe: Recipe,
    cfgs: list[float],
    source: np.ndarray | None = None,
) -> Tensor:
    """A split's stages as the one schedule that they share; ``source`` is (H, W, 3) uint8."""
    sigmas = [s for stage in make_plan(recipe).stages for s in stage.sigmas[:-1]]
    pipe.set_progress_bar_config(disable=True)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
    as_given = functools.partial(scheduler.set_timesteps, sigmas=sigmas)
    # The pipeline has no argument for levels; a scheduler with a shift of 1 leaves them alone.
    setattr(scheduler, "set_timesteps", lambda _, device: as_given(device=device))  # noqa: B010
    pipe.scheduler = scheduler
    shape = open_backend(recipe, CPU).latent_shape(recipe.width, recipe.height, recipe.frames)
    call = cast("Callable[..., tuple[Tensor]]", pipe)
    if source is not None:
        call = functools.partial(call, image=Image.fromarray(source))
    (latents,) = call(
        prompt=PROMPT,
        negative_prompt=NEGATIVE,
        height=recipe.height,
        width=recipe.width,
        num_frames=recipe.frames,
        num_inference_steps=len(sigmas),
        guidance_scale=cfgs[0],
        guidance_scale_2=cfgs[1] if len(cfgs) > 1 else None,
        latents=initial_noise(shape, SEED),
        max_sequence_length=recipe.model.max_tokens,
        output_type="latent",
        return_dict=False,
    )
    return latents


def euler(model: str, folder: Path, cfgs: list[float], **size: int) -> Recipe:
    one = {"only": {"sampler": "euler", "cfg": cfgs[0]}}
    two = {
        "high": {"sampler": "euler", "cfg": cfgs[0], "sigma_end": 0.84},
        "low": {"sampler": "euler", "cfg": cfgs[-1]},
    }
    tree = {"steps": 6, "shift": 5.0, "stages": one if len(cfgs) == 1 else two, **size}
    return recipe_from({"name": model, "source": str(folder)}, tree)
