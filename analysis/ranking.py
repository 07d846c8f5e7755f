"""One figure an arm, for those who need an order, and how far the order depends on it.

The figure is the weighted mean of the arm's standardised gains over the baseline, whose own is 0;
motion is no part of it but a condition. It is counted in spreads: 1 is a gain as large as gains
differ from case to case. It is good for ordering the arms of one study and for nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.comparison import Comparison
from analysis.intervals import Array
from analysis.load import StudyTable
from analysis.resample import case_gains, nan_mean, redrawn_means
from analysis.verdict import MotionState


@dataclass(frozen=True, kw_only=True)
class RankedArm:
    """An arm's figure and its parts.

    Attributes:
        score: The weighted mean of ``parts``.
        parts: Metric to standardised gain, positive is better.
        allowed: Motion is not lost; an arm without it stands behind all others.
        first_cases: Share of redrawn sets of cases in which it comes first.
        first_weights: Share of weightings in which it does, each weight halved to doubled.
    """

    arm: str
    score: float
    parts: Mapping[str, float]
    motion_state: MotionState
    allowed: bool
    first_cases: float
    first_weights: float


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Arms in their order, the baseline among them.

    Attributes:
        weights: Those used; they sum to 1.
        left_out: Weighted metrics that some arm has no two cases of; no arm is judged by them.
        without: Metric to the arm that comes first when it is left out.
    """

    arms: tuple[RankedArm, ...]
    weights: Mapping[str, float]
    left_out: tuple[str, ...]
    without: Mapping[str, str]


def rank_arms(
    table: StudyTable, comparison: Comparison, *, draws: int = 2000, seed: int = 0
) -> Ranking | None:
    """The arms of a study by one figure; None where no weighted metric can be compared.

    Args:
        table: What ``comparison`` was made of.
        comparison: Its protocol names the weights; arms that lose motion come last.
        draws: Of cases, and as many of weights.
        seed: Of the draws.
    """
    asked = {m: w for m, w in comparison.protocol.weights.items() if m in table.directions}
    gains = case_gains(table, comparison, list(asked))
    spread = _pooled_spread(gains)
    usable = np.isfinite(spread) & (spread > 0)
    if not usable.any():
        return None
    names = [name for name, use in zip(asked, usable, strict=True) if use]
    weights = np.array([asked[name] for name in names], float)
    weights /= weights.sum()
    gains, spread = gains[:, usable], spread[usable]
    parts = nan_mean(gains) / spread
    states: list[MotionState] = ["kept", *(arm.motion_state for arm in comparison.arms)]
    barred = np.array([state == "lost" for state in states])
    factors = 2 ** np.random.default_rng(seed).uniform(-1, 1, (draws, len(names)))
    by_cases = _shares_first((redrawn_means(gains, draws, seed) / spread) @ weights, barred)
    by_weights = _shares_first((factors * weights / (factors @ weights)[:, None]) @ parts.T, barred)
    score = parts @ weights
    arms = [comparison.baseline, *(arm.arm for arm in comparison.arms)]
    ranked = tuple(
        RankedArm(
            arm=arms[i],
            score=float(score[i]),
            parts=dict(zip(names, map(float, parts[i]), strict=True)),
            motion_state=states[i],
            allowed=not barred[i],
            first_cases=float(by_cases[i]),
            first_weights=float(by_weights[i]),
        )
        for i in np.lexsort((-score, barred))
    )
    return Ranking(
        arms=ranked,
        weights=dict(zip(names, map(float, weights), strict=True)),
        left_out=tuple(name for name in comparison.protocol.weights if name not in names),
        without=_without(ranked, dict(zip(names, weights, strict=True))),
    )


def _without(ranked: Sequence[RankedArm], weights: Mapping[str, float]) -> dict[str, str]:
    """Who comes first when one metric is left out; nothing where there is only one."""
    allowed = [arm for arm in ranked if arm.allowed]

    def score(arm: RankedArm, left_out: str) -> float:
        return sum(arm.parts[m] * weight for m, weight in weights.items() if m != left_out)

    if len(weights) < 2:
        return {}
    return {name: max(allowed, key=lambda arm, name=name: score(arm, name)).arm for name in weights}


def _pooled_spread(gains: Array) -> Array:
    """Deviation over cases, pooled over arms, (metrics); NaN where an arm has fewer than two."""
    own = gains[1:]
    count = np.isfinite(own).sum(-1)
    squares = np.nansum((own - nan_mean(own)[..., None]) ** 2, axis=-1)
    variance = np.where(count > 1, squares / np.maximum(count - 1, 1), np.nan)
    return np.sqrt(variance.mean(0)) if len(own) else np.full(gains.shape[1], np.nan)


def _shares_first(scores: Array, barred: np.ndarray) -> Array:
    """How often each arm has the highest score, (draws, arms) → (arms)."""
    first = np.argmax(np.where(barred, -np.inf, scores), axis=-1)
    return np.bincount(first, minlength=scores.shape[-1]) / len(scores)
