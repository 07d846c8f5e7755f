"""Noise: what a stage starts from and what its sampler draws, from CPU generators alone.

Every draw is float32 on the CPU and then moved to where x is, so that any device gives the same
noise; no global random state is read or changed. Shapes are those of x, usually (B, C, F, H, W).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import SupportsFloat

import torch
import torchsde
from torch import Tensor

from wanexp.sampler_facts import facts_of
from wanexp.samplers.seam import DrawNoise
from wanexp.seeds import SEED_LIMIT

_TREE_DIGITS = 6
"""torchsde's tree rounds times to its tolerance of 1e-6, its own ends too."""


def initial_noise(shape: Sequence[int], seed: int) -> Tensor:
    """Standard normal noise of ``shape``, float32 on the CPU, the same on every machine.

    Raises:
        ValueError: ``seed`` lies outside [0, 2^63).
    """
    return torch.randn(tuple(shape), generator=_generator(seed), dtype=torch.float32)


def noise_source(sampler: str, x: Tensor, seed: int, sigmas: Iterable[SupportsFloat]) -> DrawNoise:
    """A fresh ``draw_noise`` for one run of ``sampler`` on x; what it draws is like x.

    dpmpp_sde, dpmpp_2m_sde and dpmpp_3m_sde draw the increments of one Brownian path over sigma,
    divided by the root of the interval's width: draws of overlapping intervals agree, and depend
    on the ends of the stage. Others draw independent normals from a generator seeded seed + 1
    (seed itself gives the initial noise).

    Args:
        sampler: A key of ``SAMPLER_FACTS`` or ``ALIASES``.
        x: What the sampler integrates; its shape, dtype and device count.
        seed: The stage's own seed.
        sigmas: The stage's levels, with its first as x was noised at: 1, even where the sampler
            steps from shift(0.9999).

    Raises:
        ValueError: ``seed`` lies outside [0, 2^63), no sigma is above 0, the sampler is refused.
        KeyError: There is no such sampler.
    """
    if facts_of(sampler).stochastic == "brownian":
        return _brownian_source(x, seed, sigmas)
    return _normal_source(x, seed)


def _normal_source(x: Tensor, seed: int) -> DrawNoise:
    _check_seed(seed)
    generator = torch.Generator("cpu").manual_seed(seed + 1)

    def draw(sigma: float, sigma_next: float) -> Tensor:  # noqa: ARG001  (one shape for all)
        return torch.randn(x.shape, generator=generator, dtype=torch.float32).to(x)

    return draw


def _brownian_source(x: Tensor, seed: int, sigmas: Iterable[SupportsFloat]) -> DrawNoise:
    _check_seed(seed)
    positive = [level for level in map(float, sigmas) if level > 0.0]
    if not positive:
        raise ValueError("a Brownian path needs a sigma above 0")
    # Single precision, as ComfyUI hands its sigmas over: the path depends on their last digits.
    first, last = _single(min(positive)), _single(max(positive))
    tree = torchsde.BrownianTree(
        first, torch.zeros(x.shape, dtype=torch.float32), last, entropy=seed
    )
    low, high = round(float(first), _TREE_DIGITS), round(float(last), _TREE_DIGITS)

    def draw(sigma: float, sigma_next: float) -> Tensor:
        above, below = _single(sigma), _single(sigma_next)
        # torchsde would clamp to the tree's rounded ends as well, with a warning each time.
        since, until = (min(max(float(end), low), high) for end in (below, above))
        increment: Tensor = tree(since, until)  # type: ignore[assignment]  (no areas were asked for)
        # A sampler walks the path from high to low sigma: hence the sign.
        return (-increment / (above - below).abs().sqrt()).to(x)

    return draw


def _single(sigma: float) -> Tensor:
    return torch.tensor(sigma, dtype=torch.float32)


def _generator(seed: int) -> torch.Generator:
    _check_seed(seed)
    return torch.Generator("cpu").manual_seed(seed)


def _check_seed(seed: int) -> None:
    if not 0 <= seed < SEED_LIMIT:
        raise ValueError(f"a seed must lie in [0, 2^63), got {seed!r}")
