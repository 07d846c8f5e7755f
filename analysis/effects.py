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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from analysis.intervals import Array

FLOORS: Mapping[str, float] = {
    "flicker": 0.0098,
    "local_flicker": 0.111,
    "jitter": 0.0021,
    "warp": 0.0205,
    "background_warp": 0.0205,
    "detail_incoherence": 0.121,
    "motion": 0.52,
    "motion_top5": 2.0,
    "overshoot": 0.19,
    "noise": 0.16,
}
"""The most that the metric reads on clips that are free of the fault; below it nothing is measured.

Of scenes filmed and panned without a fault at 128 and 256 px; for ``motion``, stills with grain of
one grey level at 128 px: `python -m wanexp.validation.floors`. Those stills read 0 of
``motion_top5``, whose floor is the speed under which a video stands still. Lower values count as
the floor, so that a ratio of two of them is 1 and not noise.
"""

NO_FLOOR = ("ssim_source", "lpips_source", "lpips_temporal")
"""Never near 0 on a video that is worth comparing, or not measured yet: LPIPS needs its weights."""

LITERATURE = ("ewarp", "vbench_temporal_flickering")
"""Measured to be set beside published numbers; their flaws keep them out of every verdict."""

STATIC_BELOW = 2.0
"""``motion_top5`` in % of the smaller side per second, about 0.15 % a frame: under it a video
stands still, and its freedom of faults says nothing."""

ALL_LOST = 0.05
"""A retention of 5 % or less (it may even be negative) counts as 5 %: all is lost."""

MOTION = ("motion_top5", "motion")
"""What guards against standing still, in order of preference; never gated itself."""

Key = tuple[str, int]
"""(case, seed)."""

Readings = Mapping[str, Mapping[Key, float]]
"""Metric → (case, seed) → value, of one arm."""


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

    def values(self) -> Array:
        """The effects, case by case."""
        return np.array(list(self.by_case.values()), float)


def readings(trials: pd.DataFrame, metrics: Sequence[str]) -> dict[str, Readings]:
    """Arm → metric → (case, seed) → value of the finished videos; NaN where it is undefined.

    Without the metrics that decide nothing.
    """
    done = pd.DataFrame(trials[trials["state"] == "completed"])
    found: dict[str, Readings] = {str(arm): {} for arm in dict.fromkeys(trials["arm"])}
    for arm, own in done.groupby("arm", sort=False):
        keys = [(str(case), int(seed)) for case, seed in zip(own["case"], own["seed"], strict=True)]
        found[str(arm)] = {
            name: dict(zip(keys, map(float, own[name]), strict=True))
            for name in metrics
            if name not in LITERATURE
        }
    return found


def paired_effects(
    ours: Readings, theirs: Readings, metric: str, direction: str, cases: Sequence[str]
) -> PairedEffects:
    """An arm (``ours``) − the baseline (``theirs``) in ``cases``, averaged inside each case.

    Pairs in which a video stands still are left out, of every metric but motion itself: a still is
    free of every fault and keeps all detail.
    """
    scale = scale_of(metric, direction)
    arm, base = ours.get(metric, {}), theirs.get(metric, {})
    keys = [key for key in base if key in arm and key[0] in set(cases)]
    quiet = set() if metric in MOTION else _still(ours) | _still(theirs)
    moving = [key for key in keys if key not in quiet]
    by_case: dict[str, list[float]] = {case: [] for case in cases}
    for key in moving:
        effect = scale.of(arm[key]) - scale.of(base[key])
        if not math.isnan(effect):
            by_case[key[0]].append(effect)
    pairs = sum(map(len, by_case.values()))
    return PairedEffects(
        metric=metric,
        scale=scale,
        by_case={case: math.fsum(found) / len(found) for case, found in by_case.items() if found},
        pairs=pairs,
        asked=len(keys),
        undefined=len(moving) - pairs,
        static=len(keys) - len(moving),
    )


def _still(video: Readings) -> set[Key]:
    """The (case, seed) that stand still; none where motion is not measured."""
    return {key for key, moved in video.get(MOTION[0], {}).items() if moved < STATIC_BELOW}
