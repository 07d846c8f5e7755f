"""What speaks for a preset, as plain values: the verdict in a sentence, and its numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from analysis.arms import arm_table
from analysis.load import StudyTable
from wanexp.record import TrialRecord

if TYPE_CHECKING:
    from analysis.comparison import ArmComparison, Comparison

Tree = dict[str, object]


def arm_evidence(
    table: StudyTable, comparison: Comparison | None, arm: str, *, declared: bool
) -> Tree:
    """What a study says of one of its arms.

    ``declared``: the metric that decides is the one that was fixed before anybody looked.
    """
    found: Tree = {"study": str(table.study.get("name", "")), "arm": arm}
    if comparison is None:
        found["verdict"] = "The study has one arm, or no protocol: there is nothing to compare."
        return found | {"medians": _medians(table, arm)}
    found |= {"baseline": comparison.baseline, "metric": comparison.primary}
    own = next((one for one in comparison.arms if one.arm == arm), None)
    found |= _baseline(comparison) if own is None else _effect(comparison, own)
    if not declared:
        found["chosen_by"] = (
            f"{comparison.primary} was chosen after looking; take it for a hint, not a verdict."
        )
    return found | {"medians": _medians(table, arm)}


def _baseline(comparison: Comparison) -> Tree:
    winner = comparison.winner
    if winner is None:
        return {"verdict": f"No arm is shown to be better than {comparison.baseline}."}
    return {"verdict": f"The baseline; {winner} is better by {comparison.primary}."}


def _effect(comparison: Comparison, own: ArmComparison) -> Tree:
    from analysis.sentences import arm_sentence, change_words, interval_words, scope_sentence

    effect = own.primary
    return {
        "verdict": arm_sentence(comparison, own),
        "reach": scope_sentence(comparison),
        "effect": change_words(effect.mean, effect.scale),
        "interval_95": interval_words(effect),
        "numbers": {
            "scale": "log of the ratio" if effect.scale.kind != "distance" else "distance from 1",
            "mean": _finite(effect.mean),
            "low": _finite(effect.low),
            "high": _finite(effect.high),
            "p_holm": _finite(own.p_holm),
        },
        "cases": effect.cases,
        "pairs": effect.pairs,
    }


def trial_evidence(study: str, record: TrialRecord) -> Tree:
    """What was measured on one trial; a single video decides nothing."""
    values = {name: m["value"] for name, m in record.measurements.items() if m["value"] is not None}
    return {
        "study": study,
        "arm": record.arm,
        "trial": record.digest,
        "verdict": "One video, which was compared with nothing.",
        "values": values,
    }


def _medians(table: StudyTable, arm: str) -> Tree:
    """Over the arm's cases and seeds; metrics that are nowhere defined are left out."""
    arms = arm_table(table)
    if arm not in arms.index:
        return {}
    row = arms.loc[arm]
    values = {name: row[name] for name in table.metrics if name in row.index}
    return {name: float(f"{value:.6g}") for name, value in values.items() if math.isfinite(value)}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
