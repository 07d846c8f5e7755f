"""Looking before the end without fooling oneself: two rules that both hold at small n.

*Planned looks* spend the false-positive rate over looks fixed beforehand. *Any time* allows a look
after every case and cases without a plan, for wider intervals. Both rest on Student's t, so
neither waits for a large sample. The last axis of effects is cases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from analysis.intervals import ALPHA, Array, Interval

SPENDING_POWER = 3
"""Spent at the share s of the cases: alpha · s³; little early on, so that the end loses little."""


def look_weights(looks: Sequence[int]) -> Array:
    """Each look's part of the false-positive rate; they sum to 1.

    ``looks`` are rising counts of cases, the last one being all. A look tests at alpha · weight
    and its interval has that level. That at any look a true null is rejected, or a truth missed,
    is at most the sum: alpha, for any metric, any dependence between looks and any n at which one
    t test holds; Holm may be put on top.

    Source: Kim & DeMets, 1987, Design and analysis of group sequential tests based on the type I
    error spending rate function (its power family; the union bound instead of their integral).

    Raises:
        ValueError: The looks do not rise, or there is none.
    """
    counts = np.asarray(looks, float)
    if not len(counts) or counts[0] <= 0 or (np.diff(counts) <= 0).any():
        raise ValueError(f"looks must be rising counts of cases, got {list(looks)}")
    spent = (counts / counts[-1]) ** SPENDING_POWER
    return np.diff(spent, prepend=0.0)


def anytime_p(effects: ArrayLike) -> Array:
    """A p for every number of cases so far; read after each, it misleads no more than one test.

    Same shape as ``effects``; 1 at the first case, which says nothing of the spread. It is one
    over the likelihood ratio of some effect against none, averaged over a standard normal for
    effect / spread, whatever the spread.

    Source: Lai, 1976, On confidence sequences; Wang & Ramdas, 2023, Anytime-valid t-tests and
    confidence sequences for Gaussian means with unknown variance (arXiv:2310.03722).
    """
    x = np.asarray(effects, float)
    n = np.arange(1, x.shape[-1] + 1)
    total, squares = np.cumsum(x, -1), np.cumsum(x**2, -1)
    # n · mean² / sum of squares = t² / (n − 1 + t²)
    explained = total**2 / n / np.where(squares > 0, squares, 1.0)
    log_ratio = -0.5 * np.log1p(n) - n / 2 * np.log1p(-explained * n / (n + 1.0))
    return np.exp(-np.maximum(log_ratio, 0.0))


def anytime_interval(effects: ArrayLike, alpha: float = ALPHA) -> Interval:
    """Mean and limits that hold at every number of cases at once, with probability 1 − alpha.

    They leave out zero exactly where ``anytime_p`` is below alpha. Infinite while there are too
    few cases for any limit (fewer than 5 at 95 %).
    """
    x = np.asarray(effects, float)
    n = x.shape[-1]
    mean, error = x.mean(-1), x.std(-1, ddof=1) / math.sqrt(n)
    critical = anytime_critical(n, alpha)
    if math.isinf(critical):
        return Interval(mean, np.full_like(mean, -np.inf), np.full_like(mean, np.inf))
    return Interval(mean, mean - critical * error, mean + critical * error)


def anytime_critical(cases: int, alpha: float = ALPHA) -> float:
    """The |t| that makes ``anytime_p`` equal alpha at this number of cases; infinite if none."""
    grown = (math.sqrt(1 + cases) / alpha) ** (2 / cases)
    if grown >= 1 + cases:
        return math.inf
    return math.sqrt((cases - 1) * (grown - 1) / (1 - grown / (1 + cases)))


def anytime_level(cases: int, alpha: float = ALPHA) -> float:
    """The level of a single t test that is as hard to pass at this number of cases."""
    return float(2 * stats.t.sf(anytime_critical(cases, alpha), cases - 1))
