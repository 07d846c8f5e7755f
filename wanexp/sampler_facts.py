"""What the samplers are, as data: cost, order, noise, and where they call the model. No torch.

A planner reads here how many model calls a stage costs and at which noise levels; the solvers in
``wanexp.samplers`` read the same functions, so that a plan and a run cannot disagree.

Letters: s and t are the noise levels (sigmas, in [0, 1]) that one interval steps from and to.
A flow model holds x = (1 − s)·x0 + s·noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, SupportsFloat

from wanexp.names import lookup

Stochastic = Literal["none", "brownian", "normal"]
"""Where a sampler's noise comes from: nowhere, a Brownian path over sigma, independent normals."""

NEAR_ONE = 0.9999
"""Stands in for sigma 1 where a solver needs its log signal-to-noise, infinite at 1 itself."""


@dataclass(frozen=True, kw_only=True)
class SamplerFacts:
    """One sampler's properties.

    Attributes:
        order: Global error falls as steps^−order, as measured on a smooth problem; ``None`` where
            noise is drawn. Multistep solvers of a higher order within measure 2, because their
            first or last step is of order 1.
        one_step: It keeps no history, so cutting its run at any level changes nothing but noise.
        stochastic: Where its noise comes from.
        offset_first: Its first sigma is moved from 1 to shift(0.9999) by whoever plans the stage.
        drops_penultimate: Its schedules are built one step longer and lose their last but one
            level.
        final_sigma: Where it stops in place of 0; its result is then to be divided by
            1 − final_sigma.
        second: The level of the second evaluation in the interval from s to t > 0; ``None`` for
            samplers with one evaluation an interval. An interval to 0 always takes one.
        draws_to_second: It draws noise for the way to its second evaluation too.
    """

    order: int | None
    one_step: bool
    stochastic: Stochastic = "none"
    offset_first: bool = False
    drops_penultimate: bool = False
    final_sigma: float = 0.0
    second: Callable[[float, float], float] | None = None
    draws_to_second: bool = False


def step_down(s: float, t: float) -> float:
    """The level an ancestral step from s to t goes down to before noise lifts it to t again.

    Source: t·(1 + (t/s − 1)·eta) with eta = 1, as ComfyUI steps flow models.
    """
    return t * t / s


def log_midpoint(s: float, t: float) -> float:
    """The level halfway from s to t in log sigma. Source: DPM-Solver-2, Karras et al., 2022."""
    return math.sqrt(s * t)


def snr_midpoint(s: float, t: float) -> float:
    """The level halfway from s to t in log signal-to-noise, log((1 − s)/s).

    Source: DPM-Solver++(2S) with r = 1/2, Lu et al., 2022 (arXiv:2211.01095), for flow models.
    """
    return 1.0 / (1.0 + math.sqrt((1.0 - s) * (1.0 - t) / (s * t)))


def _next_level(s: float, t: float) -> float:  # noqa: ARG001  (one shape for all)
    return t


def log_midpoint_down(s: float, t: float) -> float:
    """``log_midpoint`` of an ancestral step, which goes below t first."""
    return log_midpoint(s, step_down(s, t))


def snr_midpoint_down(s: float, t: float) -> float:
    """``snr_midpoint`` of an ancestral step; 0.9999 from s = 1, whose midpoint would be 1 again."""
    return NEAR_ONE if s == 1.0 else snr_midpoint(s, step_down(s, t))


SAMPLER_FACTS: dict[str, SamplerFacts] = {
    "euler": SamplerFacts(order=1, one_step=True),
    "heun": SamplerFacts(order=2, one_step=True, second=_next_level),
    "dpm_2": SamplerFacts(order=2, one_step=True, drops_penultimate=True, second=log_midpoint),
    "euler_ancestral": SamplerFacts(order=None, one_step=True, stochastic="normal"),
    "dpm_2_ancestral": SamplerFacts(
        order=None,
        one_step=True,
        stochastic="normal",
        drops_penultimate=True,
        second=log_midpoint_down,
    ),
    "dpmpp_2s_ancestral": SamplerFacts(
        order=None, one_step=True, stochastic="normal", second=snr_midpoint_down
    ),
    "dpmpp_sde": SamplerFacts(
        order=None,
        one_step=True,
        stochastic="brownian",
        offset_first=True,
        second=snr_midpoint,
        draws_to_second=True,
    ),
    "dpmpp_2m": SamplerFacts(order=2, one_step=False),
    "dpmpp_2m_sde": SamplerFacts(
        order=None, one_step=False, stochastic="brownian", offset_first=True
    ),
    "dpmpp_3m_sde": SamplerFacts(
        order=None, one_step=False, stochastic="brownian", offset_first=True
    ),
    "res_multistep": SamplerFacts(order=2, one_step=False),
    "er_sde": SamplerFacts(order=None, one_step=False, stochastic="normal", offset_first=True),
    "lcm": SamplerFacts(order=None, one_step=True, stochastic="normal"),
    "ipndm": SamplerFacts(order=2, one_step=False),
    "deis": SamplerFacts(order=2, one_step=False),
    "uni_pc": SamplerFacts(order=2, one_step=False, drops_penultimate=True, final_sigma=0.001),
    "uni_pc_bh2": SamplerFacts(order=2, one_step=False, drops_penultimate=True, final_sigma=0.001),
}

ALIASES: dict[str, str] = {"euler_a": "euler_ancestral"}

_UNGUIDED = "it steps with the unconditional prediction, which a denoiser here does not hand out"
_ON_DEVICE = "its noise is drawn on the device, so no other machine gives the same video"
_LEFTOVER = "it chooses its own levels, ignores the schedule and leaves noise in the result"

REFUSED: dict[str, str] = {
    "ddpm": "its noise is for variance-preserving models; it does not converge on flow models",
    "res_multistep_ancestral": (
        "its noise is for variance-exploding models; it does not converge on flow models"
    ),
    "dpm_fast": _LEFTOVER,
    "dpm_adaptive": _LEFTOVER,
    "euler_cfg_pp": _UNGUIDED,
    "euler_ancestral_cfg_pp": _UNGUIDED,
    "dpmpp_2s_ancestral_cfg_pp": _UNGUIDED,
    "dpmpp_2m_cfg_pp": _UNGUIDED,
    "res_multistep_cfg_pp": _UNGUIDED,
    "res_multistep_ancestral_cfg_pp": _UNGUIDED,
    "gradient_estimation_cfg_pp": _UNGUIDED,
    "dpmpp_sde_gpu": f"{_ON_DEVICE}; use dpmpp_sde",
    "dpmpp_2m_sde_gpu": f"{_ON_DEVICE}; use dpmpp_2m_sde",
    "dpmpp_2m_sde_heun_gpu": f"{_ON_DEVICE}; use dpmpp_2m_sde",
    "dpmpp_3m_sde_gpu": f"{_ON_DEVICE}; use dpmpp_3m_sde",
}
"""Samplers that ComfyUI offers and that cannot be asked for here, with the reason."""


def facts_of(sampler: str) -> SamplerFacts:
    """The facts of a sampler, by its name or an alias.

    Raises:
        ValueError: The sampler is refused; the message says why.
        KeyError: There is no such sampler.
    """
    if sampler in REFUSED:
        raise ValueError(f"sampler {sampler!r} is refused: {REFUSED[sampler]}")
    return lookup("sampler", SAMPLER_FACTS, ALIASES.get(sampler, sampler))


def integrated_levels(sampler: str, sigmas: Iterable[SupportsFloat]) -> list[float]:
    """The levels a sampler really steps through, given ``sigmas`` (list, array, 1-D tensor).

    They are the given ones but for two things: uni_pc stops at 0.001 in place of 0, and a first
    sigma of 1 that nobody moved gives way to 0.9999 (or halfway to 1, where the next level is
    above 0.9998) for the samplers with ``offset_first``, whose formulas are infinite there.

    Raises:
        ValueError: The levels lie outside [0, 1] or do not fall strictly.
    """
    facts = facts_of(sampler)
    levels = [float(sigma) for sigma in sigmas]
    for level in levels:
        if not 0.0 <= level <= 1.0:
            raise ValueError(f"sigmas must lie in [0, 1], got {level:g}")
    if len(levels) > 1 and levels[-1] == 0.0:
        levels[-1] = facts.final_sigma
    for s, t in pairwise(levels):
        if not s > t:
            raise ValueError(
                f"sigmas must fall strictly, but {s:.6g} is followed by {t:.6g}"
                + (f" ({sampler} stops at {t:g})" if t == facts.final_sigma > 0.0 else "")
            )
    if facts.offset_first and len(levels) > 1 and levels[0] == 1.0:
        levels[0] = max(NEAR_ONE, (1.0 + levels[1]) / 2)
    return levels


def evaluations(sampler: str, sigmas: Iterable[SupportsFloat]) -> list[float]:
    """The sigmas at which ``sampler`` calls its denoiser, in order.

    Args:
        sampler: A key of ``SAMPLER_FACTS`` or ``ALIASES``.
        sigmas: What the sampler is handed: falling levels in [0, 1]. Fewer than two mean no step.

    Raises:
        ValueError: The sampler is refused, or ``sigmas`` do not fall strictly within [0, 1].
        KeyError: There is no such sampler.
    """
    second = facts_of(sampler).second
    calls: list[float] = []
    for s, t in pairwise(integrated_levels(sampler, sigmas)):
        calls.append(s)
        if second is not None and t > 0.0:
            calls.append(second(s, t))
    return calls


def draws(sampler: str, sigmas: Iterable[SupportsFloat]) -> list[tuple[float, float]]:
    """The pairs of levels that ``sampler`` draws noise for, in order; none into a last 0.

    Arguments and errors are those of ``evaluations``.
    """
    facts = facts_of(sampler)
    pairs: list[tuple[float, float]] = []
    for s, t in pairwise(integrated_levels(sampler, sigmas)):
        if facts.stochastic == "none" or t == 0.0:
            continue
        if facts.draws_to_second and facts.second is not None:
            pairs.append((s, facts.second(s, t)))
        pairs.append((s, t))
    return pairs
