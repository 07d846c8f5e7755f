"""What an arm changes against another: one number a pair, then one a case.

Pairs share case and seed, so that what the picture and the noise do to a metric cancels. Seeds are
averaged inside a case, on the metric's scale, because they are not independent: the case is the
unit, and n counts cases. On its scale every effect is a difference (arm − baseline):

- ``ratio`` (positive metrics, lower or higher is better): of logarithms, so that the mean is the
  geometric mean ratio;
- ``distance`` (best at 1): of |log value|, how far the two are from 1.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from analysis.intervals import Array

FLOORS: Mapping[str, float] = {
    "flicker": 0.006,
    "jitter": 0.023,
    "warp": 0.012,
    "detail_incoherence": 0.042,
    "motion": 0.15,
    "motion_top5": 2.0,
}
"""The most that the metric reads on clips that are free of the fault; below it nothing is measured.

Of four photographs panned without a fault at 128 and 256 px; for motion, a still with noise of one
grey level. Lower values count as the floor, so that a ratio of two of them is 1 and not noise.
"""

STATIC_BELOW = 2.0
"""``motion_top5`` in % of the smaller side per second, about 0.15 % a frame: under it a video
stands still, and its freedom of faults says nothing."""

ALL_LOST = 0.05
"""A retention of 5 % or less (it may even be negative) counts as 5 %: all is lost."""

MOTION = ("motion_top5", "motion")
"""What guards against standing still, in order of preference; never gated itself."""

Key = tuple[str, int]
"""(case, seed)."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How a metric's values become numbers whose differences are compared.

    Attributes:
        better: −1 where a lower number is better, else +1.
        floor: 0 where none has been measured; then a value of 0 has no ratio and is left out.
    """

    kind: Literal["ratio", "distance"]
    better: int
    floor: float = 0.0

    def of(self, value: float) -> float:
        """The number; NaN for an undefined value and for a 0 without a floor."""
        if math.isnan(value):
            return math.nan
        if self.kind == "distance":
            return abs(math.log(max(value, ALL_LOST)))
        floored = max(value, self.floor)
        return math.log(floored) if floored > 0 else math.nan


def scale_of(metric: str, direction: str) -> Scale:
    """The scale of a metric that reads ``lower``, ``higher`` or ``one``."""
    if direction == "one":
        return Scale(kind="distance", better=-1)
    return Scale(
        kind="ratio", better=1 if direction == "higher" else -1, floor=FLOORS.get(metric, 0.0)
    )


@dataclass(frozen=True, kw_only=True)
class PairedEffects:
    """One arm against the baseline by one metric.

    Attributes:
        by_case: Case → effect, seeds averaged; cases without a defined pair are absent.
        pairs: Pairs that count, in all.
        asked: Pairs of which both videos exist.
        undefined: Pairs left out because the metric says nothing about one of the two.
        static: Pairs left out because one of the two stands still.
    """

    metric: str
    scale: Scale
    by_case: Mapping[str, float]
    pairs: int
    asked: int
    undefined: int
    static: int

    def values(self, cases: Sequence[str] | None = None) -> Array:
        """The effects, of these cases or of all, in order."""
        chosen = self.by_case if cases is None else [c for c in cases if c in self.by_case]
        return np.array([self.by_case[case] for case in chosen], float)


def readings(trials: pd.DataFrame, arm: str, metric: str) -> dict[Key, float]:
    """(case, seed) → value of one arm's finished videos; NaN where undefined or not measured."""
    chosen = pd.DataFrame(trials[(trials["arm"] == arm) & (trials["state"] == "completed")])
    values = chosen[metric] if metric in chosen else [math.nan] * len(chosen)
    return {
        (str(case), int(seed)): float(value)
        for case, seed, value in zip(chosen["case"], chosen["seed"], values, strict=True)
    }


def still(trials: pd.DataFrame, arm: str) -> set[Key]:
    """The (case, seed) of one arm's videos that stand still; none where motion is not measured."""
    return {key for key, moved in readings(trials, arm, MOTION[0]).items() if moved < STATIC_BELOW}


def paired_effects(
    trials: pd.DataFrame,
    metric: str,
    direction: str,
    *,
    arm: str,
    baseline: str,
    cases: Collection[str],
) -> PairedEffects:
    """``arm`` − ``baseline`` in ``cases``, pair by pair, averaged inside each case.

    Pairs in which a video stands still are left out, of every metric but motion itself: a still is
    free of every fault and keeps all detail.
    """
    scale = scale_of(metric, direction)
    ours, theirs = (readings(trials, name, metric) for name in (arm, baseline))
    keys = [key for key in theirs if key in ours and key[0] in cases]
    quiet = set() if metric in MOTION else still(trials, arm) | still(trials, baseline)
    moving = [key for key in keys if key not in quiet]
    effects = {key: scale.of(ours[key]) - scale.of(theirs[key]) for key in moving}
    defined = {key: effect for key, effect in effects.items() if not math.isnan(effect)}
    by_case: dict[str, list[float]] = {case: [] for case in cases}
    for (case, _), effect in defined.items():
        by_case[case].append(effect)
    return PairedEffects(
        metric=metric,
        scale=scale,
        by_case={case: math.fsum(found) / len(found) for case, found in by_case.items() if found},
        pairs=len(defined),
        asked=len(keys),
        undefined=len(moving) - len(defined),
        static=len(keys) - len(moving),
    )
