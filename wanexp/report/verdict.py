"""What the page says first: what won, by how much, at what cost, how sure; then every effect."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from analysis.arms import arm_table
from analysis.comparison import ArmComparison, Comparison
from analysis.load import MISSING, StudyTable
from analysis.overview import Overview, front_sentences
from analysis.pareto import ParetoArm
from analysis.sentences import (
    arm_sentence,
    change_words,
    changed_sentence,
    interval_words,
    is_small,
    later_sentence,
    pairs_words,
    scope_sentence,
    stop_sentence,
)
from analysis.verdict import Effect
from wanexp.report.content import finite

STATES = {"better": "gain", "worse": "loss"}
"""Verdict to the colour of the effect that it rests on. What was not tested, or may be chance among
several comparisons, has none, even where its own interval leaves zero out."""

LEAST_RATIO = 0.005
"""Costs closer than this are called the same."""


def verdict_tree(table: StudyTable, found: Overview | None, problem: str | None) -> object:
    """The page's head as plain values; ``problem`` says why nothing is compared."""
    progress = _progress(table)
    if found is None or not progress["completed"]:
        notes = [problem] if problem else []
        head = _no_comparison(table, done=progress["completed"])
        bare = {"tone": "open", "headline": head, "facts": [], "arms": [], "notes": notes}
        return {**bare, "chosen": None} | progress
    comparison = found.comparison
    chosen = _chosen(comparison)
    return {
        "tone": _tone(comparison),
        "headline": _headline(comparison),
        "chosen": chosen.arm if chosen else None,
        "facts": _facts(table, comparison, chosen),
        "arms": [
            {
                "arm": arm.arm,
                "verdict": arm.ruling.verdict,
                "sentence": arm_sentence(comparison, arm),
            }
            for arm in comparison.arms
        ],
        "notes": [
            *(later_sentence(comparison, later) for later in comparison.later),
            *(_scope(comparison)),
            *([stop_sentence(comparison.stop)] if comparison.stop else []),
            *([changed_sentence(comparison)] if comparison.changed else []),
            *front_sentences(found),
        ],
    } | progress


def effects_tree(table: StudyTable, found: Overview | None) -> object:
    """Every arm by every metric: medians, and against the baseline effects with intervals."""
    rows = _medians(table)
    middle = {arm: {name: finite(row[name]) for name in table.metrics} for arm, row in rows.items()}
    if found is None:
        return {"baseline": None, "primary": None, "metrics": list(table.metrics), "arms": {}} | {
            "medians": middle
        }
    comparison = found.comparison
    cells = {arm.arm: _cells(arm) for arm in comparison.arms}
    order = [comparison.primary, *(name for name in table.metrics if name != comparison.primary)]
    return {
        "baseline": comparison.baseline,
        "primary": comparison.primary,
        "metrics": [name for name in order if name in table.metrics],
        "arms": cells,
        "medians": middle,
    }


def front_tree(found: Overview | None) -> list[dict[str, object]]:
    """Every arm's gain and costs; gains in % (or nearer to 1) with plus for better."""
    if found is None:
        return []
    scales = {arm.arm: arm.primary for arm in found.comparison.arms}
    any_effect = next(iter(scales.values()))
    return [_point(arm, scales.get(arm.arm, any_effect)) for arm in found.front]


def _point(arm: ParetoArm, effect: Effect) -> dict[str, object]:
    distance = effect.scale.kind == "distance"

    def shown(value: float | None) -> float | None:
        if value is None or distance:
            return finite(value)
        sign = effect.scale.better
        return finite(100 * sign * math.expm1(sign * value)) if abs(value) < 700 else None

    return {
        "arm": arm.arm,
        "gain": shown(arm.gain),
        "low": shown(arm.low),
        "high": shown(arm.high),
        "unit": "nearer to 1" if distance else "% better",
        "model_calls": finite(arm.model_calls),
        "seconds": finite(arm.seconds),
        "front_calls": arm.front_calls,
        "front_seconds": arm.front_seconds,
        "share_calls": finite(arm.share_calls),
        "share_seconds": finite(arm.share_seconds),
    }


def _medians(table: StudyTable) -> dict[str, dict[str, float]]:
    """Arm → metric or cost → its median; NaN where there is none."""
    rows = arm_table(table).to_dict("index")
    return {str(a): {str(k): float(v) for k, v in row.items()} for a, row in rows.items()}


def _no_comparison(table: StudyTable, *, done: int) -> str:
    if not done:
        return "Nothing to compare yet"
    alone = len(set(table.trials["arm"])) == 1
    return "One arm, so nothing to compare it with" if alone else "Not compared"


def _progress(table: StudyTable) -> dict[str, int]:
    states = Counter(map(str, table.trials["state"]))
    return {
        "trials": len(table.trials),
        "completed": states["completed"],
        "failed": states["failed"],
        "changed": states["changed"],
        "missing": states[MISSING],
    }


def _chosen(comparison: Comparison) -> ArmComparison | None:
    """The winner; without one, the arm that seems to gain most."""
    by_name = {arm.arm: arm for arm in comparison.arms}
    if comparison.winner:
        return by_name[comparison.winner]
    seen = [a for a in comparison.arms if a.primary.gain > 0 and a.ruling.verdict != "worse"]
    return max(seen, key=lambda arm: arm.primary.gain, default=None)


def _tone(comparison: Comparison) -> str:
    if comparison.winner:
        return "better"
    verdicts = {arm.ruling.verdict for arm in comparison.arms}
    return "worse" if verdicts == {"worse"} else "open" if "too few pairs" in verdicts else "none"


def _headline(comparison: Comparison) -> str:
    baseline, metric = comparison.baseline, comparison.primary
    winner = _chosen(comparison) if comparison.winner else None
    if winner:
        change = change_words(winner.primary.mean, winner.primary.scale)
        better = "a little better" if is_small(comparison, winner.primary) else "better"
        return f"{winner.arm} is {better} than {baseline}: {metric} is {change}"
    verdicts = [arm.ruling.verdict for arm in comparison.arms]
    if all(verdict == "worse" for verdict in verdicts):
        return f"Nothing beats {baseline}"
    if "too few pairs" in verdicts:
        return f"Nothing is shown to beat {baseline} yet"
    return f"No arm is shown to beat {baseline}"


def _facts(
    table: StudyTable, comparison: Comparison, chosen: ArmComparison | None
) -> list[dict[str, str]]:
    """Four short answers, each with what it rests on."""
    counts = Counter(arm.ruling.verdict for arm in comparison.arms)
    tally = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    won = comparison.winner or ("No arm yet" if _tone(comparison) == "open" else "No arm")
    facts = [{"ask": "What won?", "answer": won, "note": f"against {comparison.baseline}: {tally}"}]
    if chosen is None:
        nothing = f"no arm has a gain in {comparison.primary}"
        return [*facts, {"ask": "By how much?", "answer": "–", "note": nothing}]
    effect = chosen.primary
    who = "" if comparison.winner else f"the largest gain seen, {chosen.arm}'s; "
    little = "; less than what matters" if is_small(comparison, effect) else ""
    facts += [
        {
            "ask": "By how much?",
            "answer": change_words(effect.mean, effect.scale),
            "note": f"{who}{comparison.primary} decides{little}",
        },
        {"ask": "At what cost?", **_cost(table, comparison.baseline, chosen.arm)},
        {"ask": "How sure?", **_sureness(comparison, chosen)},
    ]
    return facts


def _cost(table: StudyTable, baseline: str, arm: str) -> dict[str, str]:
    rows = _medians(table)
    calls = [rows[name]["model_calls"] for name in (baseline, arm)]
    seconds = [rows[name]["seconds"] for name in (baseline, arm)]
    if not all(math.isfinite(value) and value > 0 for value in calls):
        return {"answer": "not known", "note": f"no finished video of {arm} says"}
    change = calls[1] / calls[0] - 1
    same = abs(change) < LEAST_RATIO
    answer = "the same" if same else f"{100 * change:+.0f} % model calls".replace("-", "−")
    note = f"{calls[1]:.0f} model calls a video"
    if not same:
        note += f" in place of {calls[0]:.0f}"
    if all(math.isfinite(value) for value in seconds):
        note += f"; {seconds[1]:.3g} s of sampling, {baseline} {seconds[0]:.3g} s"
    return {"answer": answer, "note": note}


def _sureness(comparison: Comparison, chosen: ArmComparison) -> dict[str, str]:
    effect, ruling = chosen.primary, chosen.ruling
    on = pairs_words(effect)
    if ruling.verdict == "too few pairs":
        needed = f"{ruling.needed:,} cases needed" if ruling.needed else "more than can be run"
        interval = f"95 %: {interval_words(effect)}; " if effect.low is not None else ""
        return {"answer": needed, "note": f"{interval}{on} so far"}
    confirmation = comparison.confirmation
    sure = "confirmed" if confirmation and confirmation.holds else "for these cases"
    return {"answer": f"95 %: {interval_words(effect)}", "note": f"{on}, {sure}"}


def _scope(comparison: Comparison) -> list[str]:
    claimed = any(arm.primary.low is not None for arm in comparison.arms)
    return [scope_sentence(comparison)] if claimed else []


def _cells(arm: ArmComparison) -> dict[str, object]:
    effects = [arm.primary, *arm.others]
    if arm.motion and all(effect.metric != arm.motion.metric for effect in effects):
        effects.append(arm.motion)
    tested = STATES.get(arm.ruling.verdict, "open")
    return {
        effect.metric: _cell(effect, tested if effect.metric == arm.primary.metric else "open")
        for effect in effects
    }


def _cell(effect: Effect, state: str) -> Mapping[str, object]:
    """One effect: in words, and on a line on which right is better."""
    sign = effect.scale.better
    limits = sorted(sign * x for x in (effect.low, effect.high) if x is not None)
    low, high = limits if len(limits) == 2 else (None, None)
    return {
        "words": change_words(effect.mean, effect.scale),
        "interval": interval_words(effect),
        "pairs": pairs_words(effect),
        "gain": None if effect.mean is None else finite(effect.gain),
        "low": finite(low),
        "high": finite(high),
        "state": "none" if effect.mean is None else state,
    }
