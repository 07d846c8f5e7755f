"""From paired effects to what a verdict rests on: intervals, p values, cases that are needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from analysis.effects import PairedEffects
from analysis.intervals import ALPHA, LEAST_CASES, holm, t_interval, t_test
from analysis.power import cases_needed, likely_spread
from analysis.sequential import anytime_interval, anytime_level, anytime_p
from analysis.verdict import Effect


def effect_of(paired: PairedEffects, weight: float, *, any_time: bool) -> Effect:
    """Mean, interval and p of the cases, at the look's part of 5 %."""
    values = paired.values()
    n = len(values)
    low = high = p = None
    if n >= LEAST_CASES:
        if any_time:
            interval, p = anytime_interval(values), float(anytime_p(values)[-1])
        else:
            interval = t_interval(values, ALPHA * weight)
            p = min(float(t_test(values)) / weight, 1.0)
        low, high = float(interval.low), float(interval.high)
    return Effect(
        metric=paired.metric,
        scale=paired.scale,
        mean=float(values.mean()) if n else None,
        low=low,
        high=high,
        p=p,
        spread=float(values.std(ddof=1)) if n > 1 else None,
        cases=n,
        pairs=paired.pairs,
        asked=paired.asked,
        undefined=paired.undefined,
        static=paired.static,
    )


def adjusted(p: Sequence[float | None]) -> list[float | None]:
    """Holm over all comparisons; one that cannot be tested yet counts as 1."""
    if not p:
        return []
    filled = holm([1.0 if one is None else one for one in p])
    return [None if one is None else float(q) for one, q in zip(p, filled, strict=True)]


def level_for(count: int, weight: float, *, any_time: bool) -> Callable[[int], float]:
    """The level at a number of cases that planning counts on: Holm's first step of ``count``."""
    if any_time:
        return lambda cases: anytime_level(cases, ALPHA / count)
    return lambda _: ALPHA * weight / count


def needed_cases(effect: Effect, margin: float, level: Callable[[int], float]) -> int | None:
    """Cases that would most likely show ``margin`` at the spread seen; None if out of reach."""
    if not effect.spread:
        return None if effect.spread is None else LEAST_CASES
    return cases_needed(margin, likely_spread(effect.spread, effect.cases), level)


def needed_for_motion(motion: Effect | None, most_lost: float, weight: float) -> int | None:
    """Cases that would show motion kept if it goes on as it is; None if it would not be."""
    if motion is None or motion.mean is None or not motion.spread:
        return None
    room = motion.mean - math.log1p(-most_lost)
    if room <= 0:
        return None
    spread = likely_spread(motion.spread, motion.cases)
    return cases_needed(room, spread, lambda _: ALPHA * weight)
