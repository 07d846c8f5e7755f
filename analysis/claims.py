"""Claims that somebody made in numbers, and what a study says of each.

A claim is judged by the interval of what was measured. *Holds* needs the claimed effect to be shown
and its claimed size not to be ruled out; *does not hold* needs the claimed size to be ruled out;
what the cases cannot tell is *open*, and what a study cannot show at all is *not tested here*.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from analysis.effects import MOTION, PairedEffects, Readings, paired_effects, readings, scale_of
from analysis.evidence import effect_of
from analysis.intervals import LEAST_CASES, t_interval
from analysis.load import StudyTable, choosing
from analysis.sentences import change_words, interval_words
from analysis.verdict import Effect, margin_on, motion_state
from wanexp.options import Protocol

Answer = Literal["holds", "does not hold", "open", "not tested here"]


NO_ROOM = 0.1
"""A fall by less, of logarithms, is none that anybody claims."""

LOOSE = 1.5
"""An interval of a cost that spans more than this says nothing of a figure inside it."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was measured beside a claim.

    Attributes:
        measured: The best guess, in words.
        interval: 95 %, in words; empty where there is none.
        why: What the answer rests on, or why there is none.
    """

    measured: str
    interval: str
    answer: Answer
    why: str


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A study, ready to be asked.

    Attributes:
        values: Arm → metric → (case, seed) → value; ``seconds`` and ``model_calls`` among them.
        cases: Those that choose, in order.
    """

    values: Mapping[str, Readings]
    directions: Mapping[str, str]
    cases: tuple[str, ...]
    protocol: Protocol

    def effect(self, arm: str, against: str, metric: str) -> Effect:
        """One arm against another, with an interval from four cases on."""
        return effect_of(self.paired(arm, against, metric), 1.0, any_time=False)

    def paired(self, arm: str, against: str, metric: str) -> PairedEffects:
        """The same, case by case."""
        direction = self.directions.get(metric, "lower")
        ours, theirs = self.values.get(arm, {}), self.values.get(against, {})
        return paired_effects(ours, theirs, metric, direction, self.cases)


def measured_study(table: StudyTable, protocol: Protocol) -> Measured:
    """The study's readings and costs."""
    trials = choosing(table)
    values = readings(trials, table.metrics)
    done = pd.DataFrame(trials[trials["state"] == "completed"])
    for arm, own in done.groupby("arm", sort=False):
        keys = [(str(case), int(seed)) for case, seed in zip(own["case"], own["seed"], strict=True)]
        costs = {
            name: dict(zip(keys, map(float, own[name]), strict=True))
            for name in ("seconds", "model_calls")
        }
        values[str(arm)] = {**values[str(arm)], **costs}
    return Measured(
        values=values,
        directions=table.directions,
        cases=tuple(dict.fromkeys(map(str, trials["case"]))),
        protocol=protocol,
    )


def less(study: Measured, arm: str, against: str, metric: str, share: float) -> Finding:
    """The claim that a metric falls by a share: 0.68 is 68 % less.

    Where the other arm is so near to what the metric reads on faultless clips that so much less
    could not show, the most that could takes its place.
    """
    effect = study.effect(arm, against, metric)
    if effect.low is None or effect.high is None:
        return _too_few(effect)
    room = _room(study, against, effect)
    claimed = max(math.log1p(-share), room)
    words, kept = _words(effect), motion_of(study, arm, against)
    if kept == "lost":
        return _answer(words, "does not hold", "motion is lost, and what moves less shows less")
    if effect.low > 0:
        return _answer(words, "does not hold", f"it rises ({_cases(effect)})")
    if claimed > -NO_ROOM:
        why = f"{against} is at the metric's floor already, so that nothing less could show"
        return _answer(words, "not tested here", why)
    most = ", the most that could show above the metric's floor," if claimed == room else ""
    much = f"{-100 * math.expm1(claimed):.0f} % less{most}"
    if effect.low > claimed:
        return _answer(words, "does not hold", f"{much} is ruled out ({_cases(effect)})")
    if effect.high < 0:
        return _answer(words, "holds", f"{_cases(effect)}, motion {kept}")
    return _answer(words, "open", f"neither {much} nor no change is ruled out")


def _room(study: Measured, arm: str, effect: Effect) -> float:
    """The effect of a faultless video on an arm, a negative number; what no floor limits is −∞."""
    floor = effect.scale.floor
    values = [v for v in study.values[arm][effect.metric].values() if not math.isnan(v)]
    if effect.scale.kind != "ratio" or floor <= 0 or not values:
        return -math.inf
    return math.log(floor) - float(np.mean([effect.scale.of(value) for value in values]))


def motion_of(study: Measured, arm: str, against: str) -> str:
    """Whether an arm keeps another's motion."""
    name = next((name for name in MOTION if name in study.directions), None)
    effect = None if name is None else study.effect(arm, against, name)
    return motion_state(effect, study.protocol.motion_margin)


def times(
    study: Measured, arm: str, against: str, cost: str, claimed: tuple[float, float]
) -> Finding:
    """The claim that something costs so many times as much, from a lowest to a highest figure."""
    paired = study.paired(arm, against, cost)
    if len(paired.by_case) < LEAST_CASES:
        return _answer(("", ""), "open", "too few finished videos")
    ratio = t_interval(paired.values())
    mean, low, high = (float(np.exp(x)) for x in ratio)
    words = (f"{mean:.2f} times", f"{low:.2f} to {high:.2f}")
    if high / low > LOOSE:
        return _answer(words, "open", "times vary too much between cases; the machine was busy")
    within = low <= claimed[1] and high >= claimed[0]
    return _answer(words, "holds" if within else "does not hold", f"{len(paired.by_case)} cases")


def equal_cost(study: Measured, arm: str, single: str, metric: str) -> Finding:
    """The claim that stages beat one stage that costs the same.

    Where they do worse it is said whether the single stage moves as they do: what moves less has
    fewer faults.
    """
    effect = study.effect(arm, single, metric)
    if effect.low is None or effect.high is None:
        return _too_few(effect)
    words, margin = _words(effect), margin_on(effect.scale, study.protocol.margin)
    gain_low, gain_high = _gains(effect)
    if gain_low > 0:
        if motion_of(study, arm, single) == "lost":
            return _answer(words, "does not hold", "motion is lost")
        return _answer(words, "holds", f"{_cases(effect)}")
    if gain_high < margin:
        beside = "it is worse" if gain_high < 0 else "a gain that matters is ruled out"
        moved = motion_of(study, single, arm)
        but = "" if moved == "kept" else f"; but the single stage's own motion is {moved}"
        return _answer(words, "does not hold", f"{beside} ({_cases(effect)}){but}")
    return _answer(words, "open", f"a gain that matters is not ruled out ({_cases(effect)})")


def wasteful(study: Measured, arm: str, against: str, metric: str) -> Finding:
    """The claim that what costs more gives nothing that matters."""
    effect = study.effect(arm, against, metric)
    if effect.low is None or effect.high is None:
        return _too_few(effect)
    words, margin = _words(effect), margin_on(effect.scale, study.protocol.margin)
    gain_low, gain_high = _gains(effect)
    if gain_high < margin:
        return _answer(words, "holds", f"a gain that matters is ruled out ({_cases(effect)})")
    if gain_low > 0:
        return _answer(words, "does not hold", f"it gains ({_cases(effect)})")
    return _answer(words, "open", f"a gain that matters is not ruled out ({_cases(effect)})")


def sharp_share(
    study: Measured, arm: str, against: str, metric: str, least: float, more: float
) -> Finding:
    """The claim that a larger share of videos passes a threshold, by ``more`` of all of them.

    The share is taken inside each case, and compared from case to case.
    """
    shares = {name: _passing(study, name, metric, least) for name in (arm, against)}
    cases = [case for case in shares[against] if case in shares[arm]]
    if not cases:
        return _answer(("", ""), "open", f"{metric} is defined for no case")
    ours, theirs = (np.array([shares[name][case] for case in cases]) for name in (arm, against))
    measured = f"{100 * theirs.mean():.0f} % → {100 * ours.mean():.0f} %"
    if len(cases) < LEAST_CASES:
        return _answer((measured, ""), "open", f"only {len(cases)} cases with a face")
    found = t_interval(ours - theirs)
    words = (measured, f"{100 * found.low:+.0f} to {100 * found.high:+.0f} points")
    if found.high < more:
        return _answer(words, "does not hold", f"{100 * more:+.0f} points are ruled out")
    answer = "holds" if found.low > 0 else "open"
    return _answer(words, answer, f"{len(cases)} cases with a face")


def _passing(study: Measured, arm: str, metric: str, least: float) -> dict[str, float]:
    """Case → share of its videos with at least so much; cases without a defined value are out."""
    by_case: dict[str, list[bool]] = {}
    for (case, _), value in study.values.get(arm, {}).get(metric, {}).items():
        if not math.isnan(value):
            by_case.setdefault(case, []).append(value >= least)
    return {case: float(np.mean(found)) for case, found in by_case.items()}


def part_of(
    study: Measured, arm: str, whole: str, against: str, metric: str, share: float
) -> Finding:
    """The claim that one arm has a share of what another gains."""
    parts, wholes = study.paired(arm, against, metric), study.paired(whole, against, metric)
    all_of = study.effect(whole, against, metric)
    cases = [case for case in wholes.by_case if case in parts.by_case]
    if all_of.low is None or len(cases) < LEAST_CASES:
        return _too_few(all_of)
    better = all_of.scale.better
    gained, full = (
        np.array([found.by_case[case] for case in cases]) * better for found in (parts, wholes)
    )
    if _gains(all_of)[0] <= 0:
        gain = change_words(all_of.mean, all_of.scale)
        none = "shows no benefit that could be shared"
        return _answer((f"{whole}: {gain}", interval_words(all_of)), "open", f"{whole} {none}")
    found = t_interval(gained - share * full)
    words = (f"{100 * gained.mean() / full.mean():.0f} % of it", "")
    if found.high < 0:
        return _answer(
            words, "does not hold", f"less than {100 * share:.0f} % ({len(cases)} cases)"
        )
    more = "more" if found.low > 0 else "about as much"
    return _answer(words, "holds", f"{more} ({len(cases)} cases)")


def sweet_spot(study: Measured, spot: str, beside: Sequence[str], metric: str) -> Finding:
    """The claim that a setting is better than those beside it.

    It does not hold where a neighbour is better, or where none differs by what matters.
    """
    effects = {arm: study.effect(arm, spot, metric) for arm in beside}
    if any(effect.low is None for effect in effects.values()):
        return _too_few(next(effect for effect in effects.values() if effect.low is None))
    words = (
        "; ".join(f"{arm} {change_words(e.mean, e.scale)}" for arm, e in effects.items()),
        "; ".join(interval_words(effect) for effect in effects.values()),
    )
    gains = {arm: _gains(effect) for arm, effect in effects.items()}
    scale = scale_of(metric, study.directions.get(metric, "lower"))
    margin = margin_on(scale, study.protocol.margin)
    better = [
        arm for arm, (low, _) in gains.items() if low > 0 and motion_of(study, arm, spot) != "lost"
    ]
    if better:
        return _answer(words, "does not hold", f"{' and '.join(better)} do better")
    if all(-margin < low and high < margin for low, high in gains.values()):
        return _answer(words, "does not hold", "no neighbour differs by what matters: it is flat")
    worse = [arm for arm, (_, high) in gains.items() if high < 0]
    if len(worse) == len(gains):
        return _answer(words, "holds", "every neighbour that was tried is worse")
    return _answer(words, "open", "some neighbours cannot be told apart from it")


def untested(why: str) -> Finding:
    """A claim that the study cannot speak of."""
    return Finding(measured="", interval="", answer="not tested here", why=why)


def _gains(effect: Effect) -> tuple[float, float]:
    """The interval with plus for better."""
    low, high = effect.low or 0.0, effect.high or 0.0
    return (low, high) if effect.scale.better > 0 else (-high, -low)


def _words(effect: Effect) -> tuple[str, str]:
    return change_words(effect.mean, effect.scale), interval_words(effect)


def _cases(effect: Effect) -> str:
    return f"{effect.cases} cases, {effect.pairs} pairs"


def _too_few(effect: Effect) -> Finding:
    words = (change_words(effect.mean, effect.scale), "")
    return _answer(words, "open", f"only {effect.cases} cases; nothing is claimed on fewer than 4")


def _answer(words: tuple[str, str], answer: Answer, why: str) -> Finding:
    return Finding(measured=words[0], interval=words[1], answer=answer, why=why)
