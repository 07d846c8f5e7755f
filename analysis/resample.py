"""Gains of all arms case by case, and their means over cases drawn again.

For how stable an order is, not for intervals: a percentile bootstrap of few cases is too narrow.
Arrays are (arms, metrics, cases), the baseline first and zero; positive is better.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from analysis.comparison import Comparison
from analysis.effects import paired_effects, readings
from analysis.intervals import Array
from analysis.load import StudyTable, choosing


def case_gains(table: StudyTable, comparison: Comparison, metrics: Sequence[str]) -> Array:
    """Each arm's gain over the baseline, (1 + arms, metrics, cases); NaN where none is defined."""
    cases = comparison.cases[: comparison.look or len(comparison.cases)]
    values = readings(choosing(table), table.metrics)
    gains = np.full((1 + len(comparison.arms), len(metrics), len(cases)), np.nan)
    gains[0] = 0
    for i, compared in enumerate(comparison.arms, start=1):
        for j, metric in enumerate(metrics):
            paired = paired_effects(
                values[compared.arm],
                values[comparison.baseline],
                metric,
                table.directions[metric],
                cases,
            )
            for case, effect in paired.by_case.items():
                gains[i, j, cases.index(case)] = effect * paired.scale.better
    return gains


def redrawn_means(gains: Array, draws: int, seed: int) -> Array:
    """Means over cases drawn with replacement, all arms the same ones, (draws, arms, metrics).

    A draw in which a metric is defined for no case takes the mean over all of them.
    """
    count = gains.shape[-1]
    drawn = np.random.default_rng(seed).integers(0, count, (draws, count))
    means = nan_mean(gains[..., drawn]).transpose(2, 0, 1)
    return np.where(np.isnan(means), nan_mean(gains), means)


def nan_mean(values: Array) -> Array:
    """Mean over the last axis of what is defined; NaN where nothing is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of empty slices, which are wanted
        return np.asarray(np.nanmean(values, axis=-1))
