"""All that a study says, together: arms, verdicts, quality against cost, and how firm the order is.

Everything comes from the records on disk. ``overview_tree`` has it as plain values for programs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from analysis.arms import arm_table
from analysis.compare import compare_study
from analysis.comparison import ArmComparison, Comparison
from analysis.load import StudyTable
from analysis.pareto import ParetoArm, pareto_arms
from analysis.ranking import Ranking, rank_arms
from analysis.sentences import change_words, comparison_sentences
from wanexp.options import Protocol

FIRM = 0.95
"""Of redrawn sets of cases; an order that fewer of them agree with is not called firm."""


@dataclass(frozen=True, kw_only=True)
class Overview:
    """A study, compared.

    Attributes:
        front: Every arm's gain and cost, the baseline first; empty where the primary metric was
            never measured.
        ranking: By the protocol's weights, or by the primary metric alone where it has none; None
            where no case has it.
    """

    table: StudyTable
    comparison: Comparison
    front: tuple[ParetoArm, ...]
    ranking: Ranking | None


def overview(table: StudyTable, protocol: Protocol) -> Overview:
    """The arms of a study compared as ``protocol`` says.

    Raises:
        KeyError: The protocol's baseline is no arm of the study.
    """
    comparison = compare_study(table, protocol)
    weights = protocol.weights or {protocol.primary: 1.0}
    weighted = replace(comparison, protocol=replace(protocol, weights=weights))
    return Overview(
        table=table,
        comparison=comparison,
        front=pareto_arms(table, comparison),
        ranking=rank_arms(table, weighted),
    )


def front_sentences(found: Overview) -> list[str]:
    """What is worth its price, and which arm comes first how surely."""
    front = [arm for arm in found.front if arm.front_calls]
    sentences = []
    if front:
        names = ", ".join(f"{arm.arm} ({_price(found, arm)})" for arm in front)
        sentences.append(f"Worth their model calls, as no other arm is as good for fewer: {names}.")
    only = [arm.arm for arm in found.front if arm.front_seconds and not arm.front_calls]
    if only:
        sentences.append(f"Worth their seconds, too: {', '.join(only)}.")
    return sentences + ([_order(found.ranking)] if found.ranking else [])


def _price(found: Overview, arm: ParetoArm) -> str:
    calls = "cost unknown" if arm.model_calls is None else f"{arm.model_calls:.0f}"
    own = {one.arm: one.primary for one in found.comparison.arms}.get(arm.arm)
    if own is None or own.mean is None:
        return calls
    return f"{calls}, {change_words(own.mean, own.scale)}"


def _order(ranking: Ranking) -> str:
    """How sure it is who comes first, by redrawing the cases."""
    by = " and ".join(ranking.weights) if len(ranking.weights) < 3 else "the weighted metrics"
    first = ranking.arms[0]
    share = f"in {100 * first.first_cases:.0f} % of redrawn sets of cases"
    if first.first_cases >= FIRM:
        return f"By {by} {first.arm} comes first, {share}: the order's head is firm."
    rivals = sorted(ranking.arms[1:], key=lambda arm: -arm.first_cases)
    behind = f", {rivals[0].arm} in {100 * rivals[0].first_cases:.0f} %" if rivals else ""
    return f"By {by} {first.arm} comes first, but only {share}{behind}: do not rely on the order."


def overview_tree(found: Overview) -> dict[str, object]:
    """All of it as plain values: finite numbers, text, None, lists and mappings."""
    comparison = found.comparison
    arms = arm_table(found.table).reset_index()
    return {
        "study": comparison.study,
        "baseline": comparison.baseline,
        "primary": comparison.primary,
        "cases": list(comparison.cases),
        "winner": comparison.winner,
        "arms": [_finite(row) for row in arms.to_dict("records")],
        "verdicts": [_verdict_tree(arm) for arm in comparison.arms],
        "front": [_finite(asdict(arm)) for arm in found.front],
        "ranking": _finite(asdict(found.ranking)) if found.ranking else None,
        "sentences": [*comparison_sentences(comparison), *front_sentences(found)],
    }


def _verdict_tree(arm: ArmComparison) -> object:
    return _finite(
        {
            "arm": arm.arm,
            "verdict": arm.ruling.verdict,
            "reason": arm.ruling.reason,
            "needed": arm.ruling.needed,
            "motion": arm.motion_state,
            "p_holm": arm.p_holm,
            "p_sign_flip": arm.p_sign_flip,
            "effects": [asdict(effect) for effect in (arm.primary, *arm.others)],
        }
    )


def _finite(value: object) -> object:
    """Plain values with None in place of what is no number; JSON has no word for it."""
    if isinstance(value, Mapping):
        return {str(key): _finite(own) for key, own in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_finite(own) for own in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
