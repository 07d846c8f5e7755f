"""Noise: what a stage starts from and what its sampler draws, from CPU generators alone.

Every draw is float32 on the CPU and then moved to where x is, so that any device gives the same
noise; no global random state is read or changed. Shapes are those of x, usually (B, C, F, H, W).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import SupportsFloat

import torch
from torch import Tensor

from wanexp.sampler_facts import facts_of
from wanexp.samplers.seam import DrawNoise
from wanexp.seeds import SEED_LIMIT

_TREE_DIGITS = 6
"""torchsde's tree rounds times to its tolerance of 1e-6, its own ends too."""

_AHEAD = 2
"""Draws held ready: enough for the two of a dpmpp_sde step."""


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
    source = _cpu_source(sampler, x.shape, seed, sigmas)
    return lambda sigma, sigma_next: source(sigma, sigma_next).to(x)


@contextmanager
def noise_ahead(
    sampler: str,
    x: Tensor,
    seed: int,
    sigmas: Iterable[SupportsFloat],
    pairs: Sequence[tuple[float, float]],
) -> Iterator[DrawNoise]:
    """``noise_source`` whose draws are made on a thread of their own while the model works.

    A Brownian draw takes the CPU about 0.1 s at 512×512×17; made ahead it costs a run nothing. The
    numbers are the same.

    Args:
        sampler: As for ``noise_source``, like the next three.
        x: What the sampler integrates.
        seed: The stage's own seed.
        sigmas: The stage's levels.
        pairs: What will be drawn, in order (``wanexp.sampler_facts.draws``).

    Raises:
        ValueError: As ``noise_source``; so with KeyError.
        RuntimeError: From the yielded ``draw_noise``, where it is asked for another pair.
    """
    source = _cpu_source(sampler, x.shape, seed, sigmas)
    waiting = deque(pairs)
    drawn: deque[tuple[tuple[float, float], Future[Tensor]]] = deque()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="noise") as thread:

        def draw(sigma: float, sigma_next: float) -> Tensor:
            if not drawn or drawn[0][0] != (sigma, sigma_next):
                raise RuntimeError(
                    f"{sampler} drew noise for {sigma:.6g} to {sigma_next:.6g}, which was not the"
                    " next that was announced"
                )
            noise = drawn.popleft()[1].result()
            prepare()
            return noise.to(x)

        def prepare() -> None:
            while waiting and len(drawn) < _AHEAD:
                pair = waiting.popleft()
                drawn.append((pair, thread.submit(source, *pair)))

        prepare()
        yield draw


def _cpu_source(
    sampler: str, shape: torch.Size, seed: int, sigmas: Iterable[SupportsFloat]
) -> DrawNoise:
    _check_seed(seed)
    if facts_of(sampler).stochastic == "brownian":
        return _brownian_source(shape, seed, sigmas)
    return _normal_source(shape, seed)


def _normal_source(shape: torch.Size, seed: int) -> DrawNoise:
    generator = torch.Generator("cpu").manual_seed(seed + 1)

    def draw(sigma: float, sigma_next: float) -> Tensor:  # noqa: ARG001  (one shape for all)
        return torch.randn(shape, generator=generator, dtype=torch.float32)

    return draw


def _brownian_source(shape: torch.Size, seed: int, sigmas: Iterable[SupportsFloat]) -> DrawNoise:
    positive = [level for level in map(float, sigmas) if level > 0.0]
    if not positive:
        raise ValueError("a Brownian path needs a sigma above 0")
    # Single precision, as ComfyUI hands its sigmas over: the path depends on their last digits.
    first, last = _single(min(positive)), _single(max(positive))
    import torchsde  # no other sampler needs it

    tree = torchsde.BrownianTree(first, torch.zeros(shape, dtype=torch.float32), last, entropy=seed)
    low, high = round(float(first), _TREE_DIGITS), round(float(last), _TREE_DIGITS)

    def draw(sigma: float, sigma_next: float) -> Tensor:
        above, below = _single(sigma), _single(sigma_next)
        # torchsde would clamp to the tree's rounded ends as well, with a warning each time.
        since, until = (min(max(float(end), low), high) for end in (below, above))
        increment: Tensor = tree(since, until)  # type: ignore[assignment]  (no areas were asked for)
        # A sampler walks the path from high to low sigma: hence the sign.
        return -increment / (above - below).abs().sqrt()

    return draw


def _single(sigma: float) -> Tensor:
    return torch.tensor(sigma, dtype=torch.float32)


def _generator(seed: int) -> torch.Generator:
    _check_seed(seed)
    return torch.Generator("cpu").manual_seed(seed)


def _check_seed(seed: int) -> None:
    if not 0 <= seed < SEED_LIMIT:
        raise ValueError(f"a seed must lie in [0, 2^63), got {seed!r}")
