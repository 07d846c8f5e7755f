"""How many cases it takes: exact power of the paired t test, from the non-central t."""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy import stats

from analysis.intervals import ALPHA, LEAST_CASES

WANTED = 0.8
"""The chance to see the difference if it is there."""

MOST_CASES = 10_000
"""Beyond it nobody would run the study."""


def power(effect: float, spread: float, cases: int, alpha: float = ALPHA) -> float:
    """The chance that a two-sided t test finds ``effect`` (same scale as ``spread``).

    Args:
        effect: The true mean over cases, of log ratios for instance.
        spread: The standard deviation of one case's effect, its seeds averaged.
        cases: At least 2.
        alpha: The level that the comparison is tested at; 0 is never passed.
    """
    if alpha <= 0:
        return 0.0
    if spread <= 0:
        return 1.0 if effect else alpha
    shift = abs(effect) / spread * math.sqrt(cases)
    critical = stats.t.ppf(1 - alpha / 2, cases - 1)
    found = stats.nct.sf(critical, cases - 1, shift) + stats.nct.cdf(-critical, cases - 1, shift)
    # Far out the non-central t has no digits left, and there is no doubt left either.
    return 1.0 if math.isnan(found) else float(found)


def cases_needed(effect: float, spread: float, level: Callable[[int], float]) -> int | None:
    """The fewest cases with 80 % power; None beyond 10,000 of them, or for an effect of zero.

    ``level`` is the level tested at, given the number of cases (it depends on it for some rules).
    """

    def enough(cases: int) -> bool:
        return power(effect, spread, cases, level(cases)) >= WANTED

    if effect == 0 or not enough(MOST_CASES):
        return None
    low, high = LEAST_CASES - 1, LEAST_CASES
    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def likely_spread(observed: float, cases: int) -> float:
    """The spread that is as likely too high as too low, given the deviation of ``cases`` effects.

    A few cases show too little spread more often than too much: the median of their deviation is
    below the truth, by 11 % for four.
    """
    return observed * math.sqrt((cases - 1) / float(stats.chi2.median(cases - 1)))
