"""Samplers that step further down than asked and lift x with fresh noise; none keeps history.

On a flow model the lift also scales: from level d to t > d, (1 − t)/(1 − d)·x has the signal that
level t should have, and what is missing in noise is drawn.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from wanexp.sampler_facts import (
    integrated_levels,
    log_midpoint_down,
    snr_midpoint_down,
    step_down,
)
from wanexp.samplers.seam import Denoise, DrawNoise, Sigmas, blend, slope


def lift(x: Tensor, down: float, t: float, noise: Tensor) -> Tensor:
    """The tensor x lifted from level ``down`` to level t of a flow model with ``noise``."""
    keep = (1.0 - t) / (1.0 - down)
    return keep * x + noise * math.sqrt(max(t * t - (keep * down) ** 2, 0.0))


@torch.no_grad()
def sample_euler_ancestral(
    denoise: Denoise, x: Tensor, sigmas: Sigmas, draw_noise: DrawNoise
) -> Tensor:
    """Euler down to t²/s, then noise back up to t; one evaluation and one draw an interval.

    Source: the ancestral step of Karras-style samplers with eta = 1, with signal and noise kept
    in a flow model's proportion.
    """
    for s, t in pairwise(integrated_levels("euler_ancestral", sigmas)):
        x0 = denoise(x, s)
        if t == 0.0:
            return x0
        down = step_down(s, t)
        x = lift(blend(x, x0, down / s), down, t, draw_noise(s, t))
    return x


@torch.no_grad()
def sample_dpm_2_ancestral(
    denoise: Denoise, x: Tensor, sigmas: Sigmas, draw_noise: DrawNoise
) -> Tensor:
    """DPM-Solver-2 down to t²/s, then noise back up to t; two evaluations, one draw an interval.

    Source: ``sample_dpm_2`` with the ancestral step of ``sample_euler_ancestral``.
    """
    for s, t in pairwise(integrated_levels("dpm_2_ancestral", sigmas)):
        first = slope(x, denoise(x, s), s)
        if t == 0.0:
            return x - s * first
        down, middle = step_down(s, t), log_midpoint_down(s, t)
        x_middle = x + (middle - s) * first
        x_down = x + (down - s) * slope(x_middle, denoise(x_middle, middle), middle)
        x = lift(x_down, down, t, draw_noise(s, t))
    return x


@torch.no_grad()
def sample_dpmpp_2s_ancestral(
    denoise: Denoise, x: Tensor, sigmas: Sigmas, draw_noise: DrawNoise
) -> Tensor:
    """DPM-Solver++(2S) down to t²/s, then noise back up to t; two evaluations, one draw.

    Source: Lu et al., 2022 (arXiv:2211.01095), Algorithm 1 with r = 1/2 in the log
    signal-to-noise of a flow model, with the ancestral step of ``sample_euler_ancestral``.
    """
    for s, t in pairwise(integrated_levels("dpmpp_2s_ancestral", sigmas)):
        x0 = denoise(x, s)
        if t == 0.0:
            return x0
        down, middle = step_down(s, t), snr_midpoint_down(s, t)
        x0_middle = denoise(blend(x, x0, middle / s), middle)
        x = lift(blend(x, x0_middle, down / s), down, t, draw_noise(s, t))
    return x


@torch.no_grad()
def sample_lcm(denoise: Denoise, x: Tensor, sigmas: Sigmas, draw_noise: DrawNoise) -> Tensor:
    """Multistep consistency sampling: take x0 for the answer, noise it to t, ask again.

    Right for distilled (consistency) models only; on others it loses variance at any step count.

    Source: Luo et al., 2023 (arXiv:2310.04378), its multistep sampling.
    """
    for s, t in pairwise(integrated_levels("lcm", sigmas)):
        x0 = denoise(x, s)
        x = x0 if t == 0.0 else (1.0 - t) * x0 + t * draw_noise(s, t)
    return x
