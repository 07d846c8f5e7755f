"""Deterministic samplers that keep a history: one evaluation an interval, order 2.

The history is born and forgotten within one call, so every stage starts at order 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wanexp.sampler_facts import integrated_levels
from wanexp.samplers.seam import Denoise, DrawNoise, Sigmas, blend, slope


@torch.no_grad()
def sample_dpmpp_2m(denoise: Denoise, x: Tensor, sigmas: Sigmas, draw_noise: DrawNoise) -> Tensor:  # noqa: ARG001
    """DPM-Solver++(2M) in log sigma; first step, and the step to 0, of order 1.

    Source: Lu et al., 2022 (arXiv:2211.01095), Algorithm 2. The log sigma in place of a flow
    model's log signal-to-noise is the usual (and ComfyUI's) choice; both are of order 2.
    """
    previous: tuple[float, Tensor] | None = None
    for s, t in pairwise(integrated_levels("dpmpp_2m", sigmas)):
        x0 = denoise(x, s)
        ahead = x0
        if previous is not None and t > 0.0:
            s_before, x0_before = previous
            ratio = math.log(s_before / s) / math.log(s / t)
            ahead = x0 + (x0 - x0_before) / (2 * ratio)
        x = blend(x, ahead, t / s)
        previous = (s, x0)
    return x


@torch.no_grad()
def sample_res_multistep(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    draw_noise: DrawNoise,  # noqa: ARG001
) -> Tensor:
    """RES 2M: a second-order exponential integrator in −log sigma; first and last step of order 1.

    Source: Zhang et al., 2023 (arXiv:2308.02157), the multistep scheme with phi_1, phi_2.
    """
    previous: tuple[float, Tensor] | None = None
    for s, t in pairwise(integrated_levels("res_multistep", sigmas)):
        x0 = denoise(x, s)
        if previous is None or t == 0.0:
            x = blend(x, x0, t / s)
        else:
            s_before, x0_before = previous
            h = math.log(s / t)
            c2 = -math.log(s_before / s) / h
            phi1 = -math.expm1(-h) / h
            phi2 = (1.0 - phi1) / h
            x = (t / s) * x + h * ((phi1 - phi2 / c2) * x0 + (phi2 / c2) * x0_before)
        previous = (s, x0)
    return x


_ADAMS_BASHFORTH: tuple[tuple[float, ...], ...] = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)


@torch.no_grad()
def sample_ipndm(denoise: Denoise, x: Tensor, sigmas: Sigmas, draw_noise: DrawNoise) -> Tensor:  # noqa: ARG001
    """iPNDM: Adams-Bashforth up to order 4 on the slope, starting from Euler; to 0 is Euler's.

    Order 2 in all, for its Euler start; its weights assume even intervals, which costs it the
    higher orders on every other schedule too.

    Source: Zhang and Chen, 2022 (arXiv:2204.13902); Liu et al., 2022
    (arXiv:2202.09778).
    """
    slopes: list[Tensor] = []
    for s, t in pairwise(integrated_levels("ipndm", sigmas)):
        slopes = [slope(x, denoise(x, s), s), *slopes[:3]]
        weights = _ADAMS_BASHFORTH[0 if t == 0.0 else len(slopes) - 1]
        x = x + (t - s) * _weighted(weights, slopes)
    return x


@torch.no_grad()
def sample_deis(denoise: Denoise, x: Tensor, sigmas: Sigmas, draw_noise: DrawNoise) -> Tensor:  # noqa: ARG001
    """tAB-DEIS up to order 3, starting from Euler; the step to 0 is Euler's.

    Source: Zhang and Chen, 2022 (arXiv:2204.13902), tAB-DEIS: the slope is extrapolated as a
    polynomial in the time of a variance-preserving diffusion, and integrated over sigma.
    """
    levels = integrated_levels("deis", sigmas)
    slopes: list[Tensor] = []
    for index, (s, t) in enumerate(pairwise(levels)):
        slopes = [slope(x, denoise(x, s), s), *slopes[:2]]
        if t == 0.0 or len(slopes) == 1:
            x = x + (t - s) * slopes[0]
        else:
            x = x + _weighted(_deis_weights(levels[index::-1][: len(slopes)], t), slopes)
    return x


def _weighted(weights: Sequence[float], terms: Sequence[Tensor]) -> Tensor:
    total = weights[0] * terms[0]
    for weight, term in zip(weights[1:], terms[1:], strict=False):
        total = total + weight * term
    return total


_VP_SMALLEST, _VP_LARGEST, _VP_FIRST_TIME = 0.002, 80.0, 1e-3
"""The diffusion whose time deis interpolates in: sigma 0.002 at time 0.001, sigma 80 at time 1
(Karras et al., 2022, Table 1 with their sigma range)."""

_QUADRATURE_POINTS = 10_000


def _vp_betas() -> tuple[float, float]:
    """beta_d and beta_min of log(1 + sigma²) = beta_d·time²/2 + beta_min·time."""
    small, large = math.log1p(_VP_SMALLEST**2), math.log1p(_VP_LARGEST**2)
    beta_d = 2 * (small / _VP_FIRST_TIME - large) / (_VP_FIRST_TIME - 1)
    return beta_d, large - beta_d / 2


def _vp_time(sigma: float) -> float:
    beta_d, beta_min = _vp_betas()
    return (math.sqrt(beta_min**2 + 2 * beta_d * math.log1p(sigma**2)) - beta_min) / beta_d


def _deis_weights(history: Sequence[float], t: float) -> list[float]:
    """The integral over sigma, from history[0] to t, of the Lagrange polynomials on ``history``.

    ``history`` holds the levels of the known slopes, newest first. The sum over 10,000 points
    with both ends in it is the rule that ComfyUI integrates by; it is 1e-4 off the integral.
    """
    nodes = [_vp_time(sigma) for sigma in history]
    end = _vp_time(t)
    times = np.linspace(nodes[0], end, _QUADRATURE_POINTS)
    beta_d, beta_min = _vp_betas()
    grown = np.exp(beta_d * times**2 / 2 + beta_min * times)  # 1 + sigma²
    d_sigma = grown * (beta_d * times + beta_min) / (2 * np.sqrt(grown - 1.0))
    width = (end - nodes[0]) / _QUADRATURE_POINTS
    return [float(np.sum(d_sigma * _lagrange(nodes, j, times)) * width) for j in range(len(nodes))]


def _lagrange(nodes: Sequence[float], j: int, times: NDArray[np.float64]) -> NDArray[np.float64]:
    others = [node for k, node in enumerate(nodes) if k != j]
    return np.prod([(times - node) / (nodes[j] - node) for node in others], axis=0)
