"""The noise levels that one of ComfyUI's samplers runs, and the nodes that make it run given ones.

A stage's levels here begin at what its latent is noised at: ``sigma_start`` and then the plan's
``sigmas[1:]`` (ComfyUI itself moves a first level of 1 for the samplers that need it). ComfyUI
keeps levels in single precision, so levels closer than SAME are one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wanexp.schedules import interval_sigmas, smallest_sigma, stage_sigmas

Levels = tuple[float, ...]

SAME = 1e-6
TO_THE_END = 10_000
"""ComfyUI's own word, in ``end_at_step``, for a run to the end."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """A part of a schedule of ``steps``: levels ``start`` to ``end``."""

    steps: int
    start: int
    end: int


def same_levels(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether two runs go through the same levels."""
    return len(a) == len(b) and all(abs(x - y) <= SAME for x, y in zip(a, b, strict=True))


def schedule(
    scheduler: str,
    steps: int,
    shift: float,
    *,
    denoise: float = 1.0,
    sigma_start: float | None = None,
    sampler: str = "euler",
) -> Levels:
    """``stage_sigmas`` as plain numbers; empty where it is impossible."""
    try:
        levels = stage_sigmas(
            scheduler, steps, shift, denoise=denoise, sigma_start=sigma_start, sampler=sampler
        )
    except ValueError:
        return ()
    return tuple(map(float, levels))


def find_slice(
    levels: Levels,
    scheduler: str,
    shift: float,
    totals: Sequence[int],
    *,
    sampler: str = "euler",
    free_start: bool = False,
) -> Slice | None:
    """The part of a schedule that ``levels`` are, of one of the lengths in ``totals``.

    ``free_start`` lets the first level be another than the schedule's (SetFirstSigma).
    """
    skip = 1 if free_start else 0
    for steps in dict.fromkeys(totals):
        grid = schedule(scheduler, steps, shift, sampler=sampler)
        for start in range(len(grid) - len(levels) + 1):
            part = grid[start : start + len(levels)]
            if same_levels(part[skip:], levels[skip:]):
                return Slice(steps=steps, start=start, end=start + len(levels) - 1)
    return None


def curve_levels(scheduler: str, steps: int, start: float, end: float) -> Levels:
    """What KarrasScheduler and ExponentialScheduler give: ``steps`` levels, then 0."""
    if steps == 1:
        return (start, 0.0)
    return (*map(float, interval_sigmas(scheduler, steps - 1, 1.0, start=start, end=end)), 0.0)


def is_curve(levels: Levels, scheduler: str, shift: float) -> bool:
    """Whether one of these two nodes gives the levels, between the first and the table's last."""
    if scheduler not in ("karras", "exponential") or levels[-1] != 0 or len(levels) < 3:
        return False
    last = smallest_sigma(shift)
    return levels[0] > last and same_levels(
        curve_levels(scheduler, len(levels) - 1, levels[0], last), levels
    )


def share_of(steps: int, total: int) -> float:
    """A denoise with which int(steps/denoise) is ``total``; the plain quotient where it does."""
    plain = steps / total
    return plain if int(steps / plain) == total else steps / (total + 0.5)
