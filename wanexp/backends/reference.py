"""diffusers' own pipeline on a backend's weights: what benchmarks and tests compare with."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.pipelines.wan.pipeline_wan_i2v import WanImageToVideoPipeline
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteScheduler,
)
from PIL import Image
from torch import Tensor

from wanexp.backends.diffusers import DiffusersBackend
from wanexp.backends.folder import EXPERT_FOLDERS
from wanexp.models import Model


@dataclass(frozen=True, kw_only=True)
class PipelineStage:
    """One run of the pipeline.

    Attributes:
        source: (H, W, 3) uint8, at the video's size.
        positive, negative: (1, tokens, width) embeddings.
        sigmas: Falling levels, ending at 0.
        latents: (1, C, F, h, w) to start from: noise at the first level.
        decode: Return frames instead of the latent.
    """

    source: np.ndarray
    frames: int
    positive: Tensor
    negative: Tensor
    cfg: float
    sigmas: Sequence[float]
    latents: Tensor
    decode: bool = False


def embeddings(backend: DiffusersBackend, *prompts: str) -> list[Tensor]:
    """Each prompt as the pipeline takes it, (1, tokens, width) on the backend's device."""
    return [backend.encode_text(words).to(backend.device, backend.dtype) for words in prompts]


def pipeline_of(backend: DiffusersBackend, model: Model) -> WanImageToVideoPipeline:
    """The pipeline of a model with two experts, made of the backend's own parts."""
    first, second = (cast(WanTransformer3DModel, backend.part(name)) for name in EXPERT_FOLDERS)
    pipe = WanImageToVideoPipeline(
        tokenizer=None,  # type: ignore[arg-type]  (embeddings are given)
        text_encoder=None,  # type: ignore[arg-type]
        vae=cast(AutoencoderKLWan, backend.part("vae")),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        transformer=first,
        transformer_2=second,
        boundary_ratio=model.boundary,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def run_pipeline(pipe: WanImageToVideoPipeline, stage: PipelineStage) -> Tensor:
    """Guided Euler steps along the stage's levels, by the pipeline's own loop.

    Returns:
        The (1, C, F, h, w) latent, or the frames where ``decode`` is asked.
    """
    levels = list(stage.sigmas[:-1])
    scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
    as_given = functools.partial(scheduler.set_timesteps, sigmas=levels)
    # The pipeline has no argument for levels; a scheduler with a shift of 1 leaves them alone.
    setattr(scheduler, "set_timesteps", lambda _, device: as_given(device=device))  # noqa: B010
    pipe.scheduler = scheduler
    height, width = stage.source.shape[:2]
    (made,) = pipe(
        image=Image.fromarray(stage.source),
        prompt_embeds=stage.positive,
        negative_prompt_embeds=stage.negative,
        height=height,
        width=width,
        num_frames=stage.frames,
        num_inference_steps=len(levels),
        guidance_scale=stage.cfg,
        latents=stage.latents,
        output_type="pt" if stage.decode else "latent",
        return_dict=False,
    )
    return made
