"""`wanexp bench call`: model calls of the true shapes on a card, beside the card's own ceiling.

Weights are random (``wanexp.backends.random_parts``): time does not depend on them. The ratio of
the first rows is the share of the ceiling; those of other rows are to the plain call above them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from wanexp.backends.random_parts import random_backend
from wanexp.bench.card import (
    A14B,
    CARD,
    DENSE,
    LARGE,
    SMALL,
    calling,
    ceiling,
    clocked,
    free,
    need_card,
)
from wanexp.bench.row import Row, Seconds, Settings, Size, beside
from wanexp.bench.work import call_flops, tokens
from wanexp.memory import Memory
from wanexp.models import MODELS
from wanexp.step_cache import StepCache

SIZES = (SMALL, LARGE)
TARGETS = {SMALL: 0.85, LARGE: 0.82}
REPEATS = 5

COMPILED = replace(CARD, compile=True)
ATTENTION = ("_native_cudnn", "_native_flash")
"""Backends that come with PyTorch; the default (``native``) lets PyTorch choose."""

EVALUATIONS = 20
FLAT = {"high": (1.0,) * EVALUATIONS, "low": (1.0,) * EVALUATIONS}
CACHES = {
    "no step cache": StepCache(),
    "first_block": StepCache(kind="first_block"),
    "mag": StepCache(kind="mag", ratios=FLAT),
    "taylorseer": StepCache(kind="taylorseer"),
}

TINY = (
    Size(width=128, height=128, frames=17),
    Size(width=256, height=256, frames=17),
    Size(width=384, height=384, frames=17),
)
"""Where one call for both prompts may be faster than two."""


def call_rows(settings: Settings) -> Iterator[Row]:
    """Plain and compiled calls beside the ceiling, then what changes a call and by how much."""
    need_card()
    repeats, peak = settings.repeats or REPEATS, ceiling()
    sizes = settings.sizes or SIZES
    plain: dict[Size, Seconds] = {}
    for memory, what in ((CARD, "call"), (COMPILED, "call, compiled")):
        backend = random_backend(A14B, memory)
        for size in sizes:
            found = clocked(calling(backend, A14B, size), repeats)
            if memory is CARD and size == sizes[0]:  # what follows is compared at one size
                plain[size] = found
            yield _beside_ceiling(what, size, found, peak, compiled=memory.compile)
        backend.release()
    for backend_name in ATTENTION:
        yield from _variant(
            f"call, {backend_name}", replace(CARD, attention=backend_name), plain, repeats
        )
    for memory in (
        replace(CARD, weights="float8"),
        replace(COMPILED, weights="float8"),
        replace(COMPILED, weights="float8_scaled"),
    ):
        what = f"call, {memory.weights}{', compiled' if memory.compile else ''}"
        yield from _variant(what, memory, plain, repeats)
    yield from _variant("call, offload=group", replace(CARD, offload="group"), plain, repeats)


def _beside_ceiling(what: str, size: Size, found: Seconds, peak: float, *, compiled: bool) -> Row:
    reached = call_flops(MODELS[A14B], size) / found.median
    target = f"; target {TARGETS[size]}" if compiled and size in TARGETS else ""
    return Row(
        what=what,
        size=str(size),
        seconds=found,
        against=f"{peak / 1e12:.0f} TFLOP/s, the card's bfloat16 matrix product",
        ratio=reached / peak,
        note=f"{reached / 1e12:.0f} TFLOP/s{target}",
    )


def _variant(what: str, memory: Memory, plain: dict[Size, Seconds], repeats: int) -> Iterator[Row]:
    backend = random_backend(A14B, memory)
    for size, base in plain.items():
        found = clocked(calling(backend, A14B, size), repeats)
        yield beside(what, size, found, base.median, "the plain call")
    backend.release()
    free()


def guidance_rows(settings: Settings) -> Iterator[Row]:
    """`wanexp bench guidance`: both prompts in one call of two, beside two calls."""
    need_card()
    repeats = settings.repeats or REPEATS
    for name in (A14B, DENSE):
        apart = random_backend(name, CARD)
        together = random_backend(name, replace(CARD, guidance="batched"))
        for size in settings.sizes or (*TINY, SMALL):
            two = clocked(calling(apart, name, size, cfg=3.5), repeats)
            one = clocked(calling(together, name, size, cfg=3.5), repeats)
            what, against = f"{name}, one call of two", f"two calls ({two.median:.3f} s)"
            note = f"{tokens(MODELS[name], size)} tokens"
            yield beside(what, size, one, two.median, against, note)
        apart.release()
        together.release()


def cache_rows(settings: Settings) -> Iterator[Row]:
    """`wanexp bench step_cache`: a guided stage of 20 steps with each step cache, beside none.

    The latent stands still, so that a cache that looks at values reuses all that it may: what a
    cache can save at most, and what a call costs that it leaves out. What it saves on real weights
    and what that costs in quality is for ``sweeps/acceleration.yaml``.
    """
    need_card()
    backend = random_backend(A14B, COMPILED)
    for size in settings.sizes or (SMALL,):
        base = 0.0
        for what, cache in CACHES.items():
            ask = calling(backend, A14B, size, cfg=3.5, cache=cache, evaluations=EVALUATIONS)
            found = clocked(lambda: [ask() for _ in range(EVALUATIONS)], 1, warmups=1)  # noqa: B023
            base = base or found.median
            yield beside(f"{EVALUATIONS} guided steps, {what}", size, found, base, "no step cache")
    backend.release()
