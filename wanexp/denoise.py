"""From what a model says to what a sampler asks: velocity ↔ clean estimate, and guidance.

The one place where the conventions of flow models are translated. A flow model holds
x = (1 − sigma)·x0 + sigma·noise and predicts the velocity v = noise − x0; samplers here know only
``denoise(x, sigma) -> x0``.

Axes: B batch, C channels, F latent frames, h w latent cells. Everything here keeps the dtype of x.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from wanexp.samplers.seam import Denoise

Branch = Literal["cond", "uncond"]
"""Which prompt a model call is told: the wanted one or the negative one."""

Velocity = Callable[[Tensor, float, Branch], Tensor]
"""(x, sigma, branch) → the velocity: one model call."""

Velocities = Callable[[Tensor, float], tuple[Tensor, Tensor]]
"""(x, sigma) → the velocities under the wanted and the negative prompt: two model calls at once."""


def clean_estimate(x: Tensor, velocity: Tensor, sigma: float) -> Tensor:
    """The x0 that a velocity implies: x − sigma·v."""
    return x - sigma * velocity


def is_guided(cfg: float) -> bool:
    """Whether a guidance scale asks for two model calls: at 1 the second cancels out."""
    return not math.isclose(cfg, 1.0)


def guided(velocity: Velocity, cfg: float) -> Denoise:
    """Classifier-free guidance on the clean estimate, D = Du + cfg·(Dc − Du).

    Guiding x0 equals guiding the velocity, since one is linear in the other. Scales below 1 mix
    towards the negative prompt and cost two calls as well.

    Source: Ho and Salimans, 2022 (arXiv:2207.12598), with cfg as in Saharia et al., 2022
    (arXiv:2205.11487), Eq. 2.
    """

    def denoise(x: Tensor, sigma: float) -> Tensor:
        wanted = clean_estimate(x, velocity(x, sigma, "cond"), sigma)
        if not is_guided(cfg):
            return wanted
        unwanted = clean_estimate(x, velocity(x, sigma, "uncond"), sigma)
        return unwanted + cfg * (wanted - unwanted)

    return denoise


def guided_together(velocities: Velocities, cfg: float) -> Denoise:
    """``guided`` where one call of the model answers for both prompts: (wanted, negative)."""

    def denoise(x: Tensor, sigma: float) -> Tensor:
        wanted, unwanted = (clean_estimate(x, v, sigma) for v in velocities(x, sigma))
        return unwanted + cfg * (wanted - unwanted)

    return denoise


def holding(denoise: Denoise, known: Tensor) -> Denoise:
    """``denoise`` where the first latent frames are known: clean in each call and each estimate.

    ``known`` is (B, C, K, h, w), what the first K latent frames are.
    """

    def hold(x: Tensor) -> Tensor:
        return torch.cat([known.to(x), x[:, :, known.shape[2] :]], dim=2)

    return lambda x, sigma: hold(denoise(hold(x), sigma))
