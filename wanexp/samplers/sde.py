"""Samplers of the reverse SDE: noise at every interval but the last, in log signal-to-noise.

Letters: lam = log((1 − s)/s) is the log signal-to-noise of a flow model at s; v = s/(1 − s) =
e^−lam is the noise level that a variance-exploding model would call sigma, of y = x/(1 − s).
Sigma 1 has lam = −∞, so these samplers start at shift(0.9999) in its place (see
``integrated_levels``).
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from wanexp.sampler_facts import integrated_levels, snr_midpoint
from wanexp.samplers.seam import Denoise, DrawNoise, Sigmas


def _ve(s: float) -> float:
    return s / (1.0 - s)


def _lam(s: float) -> float:
    return math.log((1.0 - s) / s)


@torch.no_grad()
def sample_dpmpp_sde(denoise: Denoise, x: Tensor, sigmas: Sigmas, draw_noise: DrawNoise) -> Tensor:
    """DPM-Solver++ SDE: two stages an interval, a draw for each.

    Source: Lu et al., 2022 (arXiv:2211.01095), Algorithm 1 with r = 1/2, both of its stages made
    ancestral in v.
    """
    for s, t in pairwise(integrated_levels("dpmpp_sde", sigmas)):
        x0 = denoise(x, s)
        if t == 0.0:
            return x0
        middle = snr_midpoint(s, t)
        x_middle = _ancestral_step(x, x0, s, middle, draw_noise(s, middle))
        x = _ancestral_step(x, denoise(x_middle, middle), s, t, draw_noise(s, t))
    return x


def _ancestral_step(x: Tensor, x0: Tensor, s: float, t: float, noise: Tensor) -> Tensor:
    """The step from s to t where x0 stays the same: in v, down to v_t²/v_s and back up to v_t."""
    v_s, v_t = _ve(s), _ve(t)
    keep = (v_t / v_s) ** 2
    up = v_t * math.sqrt((v_s - v_t) * (v_s + v_t)) / v_s
    # One number for each tensor: x/(1 - s) on its own would not fit a half precision near s = 1.
    drift = (keep * (1.0 - t) / (1.0 - s)) * x + ((1.0 - keep) * (1.0 - t)) * x0
    return drift + (up * (1.0 - t)) * noise


@torch.no_grad()
def sample_dpmpp_2m_sde(
    denoise: Denoise, x: Tensor, sigmas: Sigmas, draw_noise: DrawNoise
) -> Tensor:
    """DPM-Solver++(2M) SDE, midpoint form with eta = 1; one evaluation, one draw an interval.

    Source: Lu et al., 2022 (arXiv:2211.01095), SDE-DPM-Solver++(2M).
    """
    previous: tuple[float, Tensor] | None = None  # the step before: its width in lam, its x0
    for s, t in pairwise(integrated_levels("dpmpp_2m_sde", sigmas)):
        x0 = denoise(x, s)
        if t == 0.0:
            return x0
        h = _lam(t) - _lam(s)
        gain = -(1.0 - t) * math.expm1(-2 * h)
        drift = _sde_decay(x, s, t, h) + gain * x0
        if previous is not None:
            h_before, x0_before = previous
            drift = drift + (gain * h / (2 * h_before)) * (x0 - x0_before)
        x = drift + _sde_lift(t, h) * draw_noise(s, t)
        previous = (h, x0)
    return x


@torch.no_grad()
def sample_dpmpp_3m_sde(
    denoise: Denoise, x: Tensor, sigmas: Sigmas, draw_noise: DrawNoise
) -> Tensor:
    """DPM-Solver++(3M) SDE with eta = 1; one evaluation, one draw an interval.

    Source: Lu et al., 2022 (arXiv:2211.01095), the multistep SDE solver carried to two
    derivatives of x0 in lam, with the exponential integrators' phi_2 and phi_3.
    """
    history: list[tuple[float, Tensor]] = []  # newest first: the width in lam, the x0 of a step
    for s, t in pairwise(integrated_levels("dpmpp_3m_sde", sigmas)):
        x0 = denoise(x, s)
        if t == 0.0:
            return x0
        h = _lam(t) - _lam(s)
        drift = _sde_decay(x, s, t, h) - (1.0 - t) * math.expm1(-2 * h) * x0
        if history:
            phi2 = math.expm1(-2 * h) / (2 * h) + 1.0
            phi3 = phi2 / (2 * h) - 0.5
            first, second = _differences(x0, h, history)
            drift = drift + (1.0 - t) * (phi2 * first - phi3 * second)
        x = drift + _sde_lift(t, h) * draw_noise(s, t)
        history = [(h, x0), *history[:1]]
    return x


def _sde_decay(x: Tensor, s: float, t: float, h: float) -> Tensor:
    return (t / s * math.exp(-h)) * x


def _sde_lift(t: float, h: float) -> float:
    return t * math.sqrt(-math.expm1(-2 * h))


def _differences(
    x0: Tensor, h: float, history: list[tuple[float, Tensor]]
) -> tuple[Tensor, Tensor]:
    """First and second divided difference of x0 in lam, in units of h; the second may be 0."""
    h1, x0_1 = history[0]
    r0 = h1 / h
    newer = (x0 - x0_1) / r0
    if len(history) == 1:
        return newer, torch.zeros_like(x0)
    h2, x0_2 = history[1]
    r1 = h2 / h
    older = (x0_1 - x0_2) / r1
    second = (newer - older) / (r0 + r1)
    return newer + second * r0, second


@torch.no_grad()
def sample_er_sde(denoise: Denoise, x: Tensor, sigmas: Sigmas, draw_noise: DrawNoise) -> Tensor:
    """ER-SDE-Solver-3: one evaluation, one draw an interval.

    Source: Cui et al., 2023 (arXiv:2309.06169), the third-order solver in v, with the noise
    scaling function v·(exp(v^0.3) + 10) and 200 points for the two integrals.
    """
    history: list[tuple[float, Tensor]] = []  # newest first: v and x0 of a step
    for s, t in pairwise(integrated_levels("er_sde", sigmas)):
        x0 = denoise(x, s)
        if t == 0.0:
            return x0
        v_s, v_t = _ve(s), _ve(t)
        ratio = math.exp(_log_noise_scale(v_t) - _log_noise_scale(v_s))
        up = math.sqrt(max(v_t**2 - (v_s * ratio) ** 2, 0.0))
        history = [(v_s, x0), *history[:2]]
        drift = (ratio * (1.0 - t) / (1.0 - s)) * x + ((1.0 - ratio) * (1.0 - t)) * x0
        for weight, change in _er_corrections(history, v_t):
            drift = drift + (weight * (1.0 - t)) * change
        x = drift + (up * (1.0 - t)) * draw_noise(s, t)
    return x


def _er_corrections(history: list[tuple[float, Tensor]], v_t: float) -> list[tuple[float, Tensor]]:
    """What the first two derivatives of x0 in v add, as weights of the changes of x0 so far."""
    if len(history) == 1:
        return []
    (v, x0), (v_1, x0_1) = history[:2]
    area, moment = _scale_integrals(v, v_t)
    first = (v_t - v + area) / (v - v_1)
    if len(history) == 2:
        return [(first, x0 - x0_1)]
    v_2, x0_2 = history[2]
    second = ((v_t - v) ** 2 / 2 + moment) / ((v - v_2) / 2)
    return [(first + second / (v - v_1), x0 - x0_1), (-second / (v_1 - v_2), x0_1 - x0_2)]


_INTEGRAL_POINTS = 200


def _log_noise_scale(v: float) -> float:
    """log(v·(exp(v^0.3) + 10)), which does not overflow near sigma 1."""
    power = v**0.3
    return math.log(v) + power + math.log1p(10.0 * math.exp(-power))


def _scale_integrals(v_s: float, v_t: float) -> tuple[float, float]:
    """∫ c(v_t)/c(v) dv and ∫ (v − v_s)·c(v_t)/c(v) dv from v_t up to v_s; c is the noise scale."""
    width = (v_s - v_t) / _INTEGRAL_POINTS
    end = _log_noise_scale(v_t)
    points = [v_t + k * width for k in range(_INTEGRAL_POINTS)]
    weights = [math.exp(end - _log_noise_scale(v)) * width for v in points]
    return math.fsum(weights), math.fsum(
        (v - v_s) * weight for v, weight in zip(points, weights, strict=True)
    )
