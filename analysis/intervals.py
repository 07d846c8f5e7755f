"""Means, intervals and tests that hold at small n; the last axis is the unit of replication.

Everything here takes an array whose last axis is cases (their effects, seeds already averaged) and
works on any number of studies at once, so that what a simulation tests is what a study runs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Array = NDArray[np.float64]

ALPHA = 0.05
"""The share of studies without any true difference that may claim one."""

LEAST_CASES = 4
"""Below it nothing is claimed and no interval is given: three numbers do not show their spread."""

EXACT_UP_TO = 16
"""Cases whose sign flips are counted out; of more, 10,000 are drawn."""


class Interval(NamedTuple):
    """A mean and the limits that hold it."""

    mean: Array
    low: Array
    high: Array


def t_interval(effects: ArrayLike, alpha: float = ALPHA) -> Interval:
    """Mean and Student's t limits of level 1 − ``alpha`` over the last axis (at least 2 long).

    On log ratios it holds at any n where they are normal, and is too wide rather than too narrow
    where their tails are heavy. A percentile bootstrap of 5 cases holds the truth 82 times in 100.
    """
    x = np.asarray(effects, float)
    n = x.shape[-1]
    mean = x.mean(-1)
    half = stats.t.ppf(1 - alpha / 2, n - 1) * x.std(-1, ddof=1) / np.sqrt(n)
    return Interval(mean, mean - half, mean + half)


def t_test(effects: ArrayLike) -> Array:
    """Two-sided p of a mean of zero; 1 where every effect is exactly zero."""
    x = np.asarray(effects, float)
    n = x.shape[-1]
    mean, error = x.mean(-1), x.std(-1, ddof=1) / np.sqrt(n)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(mean == 0, 0.0, np.abs(mean) / error)
    return np.asarray(2 * stats.t.sf(t, n - 1))


def sign_flip_test(effects: ArrayLike) -> float:
    """Two-sided p of one study that assumes nothing but symmetry; exact up to EXACT_UP_TO.

    Under the null each case's effect could as well have had the other sign. With n cases it
    cannot fall below 2/2ⁿ: six are the fewest that reach 5 %.
    """
    x = np.asarray(effects, float)
    found = stats.permutation_test(
        (x,),
        lambda values, axis: np.mean(values, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**x.size if x.size <= EXACT_UP_TO else 10_000,
        batch=max(1, 2**22 // x.size),
        rng=np.random.default_rng(0),  # drawn from only where it is not exact
    )
    return float(found.pvalue)


def holm(p: ArrayLike) -> Array:
    """Each p adjusted for the number of comparisons, which are the last axis.

    Source: Holm, 1979, A simple sequentially rejective multiple test procedure.
    """
    p = np.asarray(p, float)
    order = np.argsort(p, axis=-1)
    count = p.shape[-1]
    stepped = np.take_along_axis(p, order, -1) * np.arange(count, 0, -1)
    stepped = np.minimum(np.maximum.accumulate(stepped, axis=-1), 1.0)
    adjusted = np.empty_like(stepped)
    np.put_along_axis(adjusted, order, stepped, -1)
    return adjusted
