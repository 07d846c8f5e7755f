"""Deterministic samplers without history: cutting their run at any level changes nothing."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from wanexp.sampler_facts import integrated_levels, log_midpoint
from wanexp.samplers.seam import Denoise, DrawNoise, Sigmas, slope


@torch.no_grad()
def sample_euler(denoise: Denoise, x: Tensor, sigmas: Sigmas, draw_noise: DrawNoise) -> Tensor:  # noqa: ARG001
    """Euler: order 1, one evaluation an interval.

    Source: Karras et al., 2022 (arXiv:2206.00364), Algorithm 1 without its correction; the flow
    ODE dx/dsigma = (x − x0)/sigma is the one of that paper.
    """
    for s, t in pairwise(integrated_levels("euler", sigmas)):
        x = x + (t - s) * slope(x, denoise(x, s), s)
    return x


@torch.no_grad()
def sample_heun(denoise: Denoise, x: Tensor, sigmas: Sigmas, draw_noise: DrawNoise) -> Tensor:  # noqa: ARG001
    """Heun: order 2, two evaluations an interval; the step to 0 is Euler's.

    Source: Karras et al., 2022 (arXiv:2206.00364), Algorithm 1.
    """
    for s, t in pairwise(integrated_levels("heun", sigmas)):
        first = slope(x, denoise(x, s), s)
        x_euler = x + (t - s) * first
        if t == 0.0:
            return x_euler  # the slope at sigma 0 is 0/0
        second = slope(x_euler, denoise(x_euler, t), t)
        x = x + (t - s) * (first + second) / 2
    return x


@torch.no_grad()
def sample_dpm_2(denoise: Denoise, x: Tensor, sigmas: Sigmas, draw_noise: DrawNoise) -> Tensor:  # noqa: ARG001
    """DPM-Solver-2: order 2, the slope of the midpoint in log sigma; the step to 0 is Euler's.

    Source: Lu et al., 2022 (arXiv:2206.00927), as Karras et al., 2022 (arXiv:2206.00364) restate
    it in sigma.
    """
    for s, t in pairwise(integrated_levels("dpm_2", sigmas)):
        first = slope(x, denoise(x, s), s)
        if t == 0.0:
            return x + (t - s) * first
        middle = log_midpoint(s, t)
        x_middle = x + (middle - s) * first
        x = x + (t - s) * slope(x_middle, denoise(x_middle, middle), middle)
    return x
