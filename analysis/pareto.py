"""What quality costs: the arms that no other beats in both, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.comparison import Comparison
from analysis.intervals import Array
from analysis.load import StudyTable, choosing
from analysis.resample import case_gains, nan_mean, redrawn_means


@dataclass(frozen=True, kw_only=True)
class ParetoArm:
    """One arm's gain by the primary metric, and its cost.

    Attributes:
        gain: Over the baseline, on the metric's scale, positive is better; None where undefined.
        low, high: Of its interval, as in the comparison; the baseline's are 0.
        model_calls, seconds: Of sampling one video alone, medians.
        front_calls, front_seconds: No other arm is as good for less, or better for as little.
        share_calls, share_seconds: Share of redrawn sets of cases in which that is so.
    """

    arm: str
    gain: float | None
    low: float | None
    high: float | None
    model_calls: float | None
    seconds: float | None
    front_calls: bool
    front_seconds: bool
    share_calls: float
    share_seconds: float


def pareto_arms(
    table: StudyTable, comparison: Comparison, *, draws: int = 2000, seed: int = 0
) -> tuple[ParetoArm, ...]:
    """Every arm, the baseline first; arms that lose motion are on no front."""
    if comparison.primary not in table.directions:
        return ()
    gains = case_gains(table, comparison, [comparison.primary])
    lost = np.array([False, *(arm.motion_state == "lost" for arm in comparison.arms)])
    means = np.where(lost, np.nan, nan_mean(gains)[:, 0])
    redrawn = np.where(lost, np.nan, redrawn_means(gains, draws, seed)[..., 0])
    names = [comparison.baseline, *(arm.arm for arm in comparison.arms)]
    trials = choosing(table)
    done = pd.DataFrame(trials[trials["state"] == "completed"])
    costs = done.groupby("arm")[["model_calls", "seconds"]].median().reindex(names)
    calls, seconds = (np.array(costs[key], float) for key in costs)
    by_calls, by_seconds = on_front(means, calls), on_front(means, seconds)
    share_calls = on_front(redrawn, calls).mean(0)
    share_seconds = on_front(redrawn, seconds).mean(0)
    limits = [(0.0, 0.0), *((arm.primary.low, arm.primary.high) for arm in comparison.arms)]
    signs = [1, *(arm.primary.scale.better for arm in comparison.arms)]
    found = []
    for i, name in enumerate(names):
        low, high = limits[i] if signs[i] > 0 else _turned(limits[i])
        found.append(
            ParetoArm(
                arm=name,
                gain=_or_none(nan_mean(gains)[i, 0]),
                low=low,
                high=high,
                model_calls=_or_none(calls[i]),
                seconds=_or_none(seconds[i]),
                front_calls=bool(by_calls[i]),
                front_seconds=bool(by_seconds[i]),
                share_calls=float(share_calls[i]),
                share_seconds=float(share_seconds[i]),
            )
        )
    return tuple(found)


def on_front(gains: Array, costs: Array) -> np.ndarray:
    """Whether no other arm costs at most as much and gains at least as much, one of them strictly.

    ``gains`` is (…, arms) and ``costs`` (arms); an arm without a gain or a cost is on no front and
    keeps none off it.
    """
    known = np.isfinite(gains) & np.isfinite(costs)
    gains = np.where(known, gains, -np.inf)
    mine, other = gains[..., :, None], gains[..., None, :]
    cheap, cheaper = costs[None, :] <= costs[:, None], costs[None, :] < costs[:, None]
    beaten = known[..., None, :] & ((cheap & (other > mine)) | (cheaper & (other >= mine)))
    return known & ~beaten.any(-1)


def _turned(limits: tuple[float | None, float | None]) -> tuple[float | None, float | None]:
    low, high = limits
    return None if high is None else -high, None if low is None else -low


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
