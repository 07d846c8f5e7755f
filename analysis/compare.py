"""A study's arms against its baseline: effects, looks, verdicts, and whether a winner holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from analysis.effects import MOTION, PairedEffects, Readings, paired_effects, readings
from analysis.intervals import ALPHA, LEAST_CASES, holm, sign_flip_test, t_interval, t_test
from analysis.load import MISSING, StudyTable
from analysis.power import cases_needed, likely_spread
from analysis.sequential import anytime_interval, anytime_level, anytime_p, look_weights
from analysis.verdict import (
    Effect,
    Evidence,
    MotionState,
    Ruling,
    margin_on,
    motion_state,
    rule,
)
from wanexp.names import lookup
from wanexp.options import Protocol


@dataclass(frozen=True, kw_only=True)
class ArmComparison:
    """One arm against the baseline.

    Attributes:
        ruling: The verdict and why.
        primary: The effect that it rests on.
        p_holm: Its p, looks and comparisons paid for; None where nothing is tested yet.
        p_sign_flip: Of the same effects by the test that assumes no distribution.
        motion: None where motion is not measured.
        others: Every other metric, described and not tested.
    """

    arm: str
    ruling: Ruling
    primary: Effect
    p_holm: float | None
    p_sign_flip: float | None
    motion: Effect | None
    motion_state: MotionState
    others: tuple[Effect, ...]


@dataclass(frozen=True, kw_only=True)
class Stop:
    """Every comparison was decided before the last look.

    Attributes:
        cases, of: Cases at that look, and those asked for.
        saved: Model calls of the trials after it that have not run, counted alone.
        spent: Model calls of those that have.
    """

    cases: int
    of: int
    saved: int
    spent: int


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """The winner again, where nobody looked while choosing; one test at 5 %.

    Attributes:
        on: What is new.
        holds: None where there are too few cases to say.
    """

    arm: str
    on: Literal["held-back cases", "fresh seeds"]
    effect: Effect
    motion_state: MotionState
    holds: bool | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a study says.

    Attributes:
        arms: In the study's order, without the baseline.
        cases: Cases that choose, in order; held-back ones are not among them unless they are all.
        looks: Numbers of cases at which a verdict falls; of ``any_time``, the number at hand.
        look: The last of them that is reached; None for none.
        winner: Of the arms that are better, the one with the largest gain.
        kept_back: All of the cases were held back while choosing.
    """

    study: str
    baseline: str
    primary: str
    protocol: Protocol
    arms: tuple[ArmComparison, ...]
    cases: tuple[str, ...]
    looks: tuple[int, ...]
    look: int | None
    winner: str | None
    kept_back: bool
    confirmation: Confirmation | None
    stop: Stop | None


@dataclass(frozen=True, kw_only=True)
class _Study:
    """What every comparison of one study shares."""

    protocol: Protocol
    values: Mapping[str, Readings]
    directions: Mapping[str, str]
    baseline: str
    arms: tuple[str, ...]

    def effects(self, arm: str, metric: str, cases: Sequence[str]) -> PairedEffects:
        direction = self.directions.get(metric, "higher" if metric in MOTION else "lower")
        return paired_effects(
            self.values.get(arm, {}), self.values.get(self.baseline, {}), metric, direction, cases
        )

    @property
    def motion(self) -> str | None:
        """The metric that guards motion, where one is measured."""
        return next((name for name in MOTION if name in self.directions), None)


def compare_study(
    table: StudyTable, protocol: Protocol, fresh: StudyTable | None = None
) -> Comparison:
    """Every arm of a study against its baseline, by its protocol.

    Args:
        table: The study.
        protocol: Fixed before anybody looked.
        fresh: Another study of the same arms, on new seeds or cases, to confirm a winner by.

    Raises:
        KeyError: The protocol's baseline is no arm of the study.
    """
    trials = table.trials
    names = tuple(dict.fromkeys(map(str, trials["arm"])))
    if protocol.baseline is not None:
        lookup("arm", dict.fromkeys(names), protocol.baseline)
    baseline = protocol.baseline or names[0]
    study = _Study(
        protocol=protocol,
        values=readings(trials, table.metrics),
        directions=table.directions,
        baseline=baseline,
        arms=tuple(name for name in names if name != baseline),
    )
    every, held = _cases(trials)
    cases = tuple(case for case in every if case not in held) or every
    done = _finished(trials, cases)
    looks = _looks(protocol, len(cases), done)
    reached = [look for look in looks if look <= done]
    at_looks = [_at_look(study, cases, looks, look) for look in reached]
    look = reached[-1] if reached else None
    bare = at_looks[-1] if at_looks else _before(study, cases, looks[0])
    weight = None if look is None else float(look_weights(looks)[looks.index(look)])
    arms = tuple(_described(study, arm, cases[:look], weight) for arm in bare)
    winner = _winner(arms)
    return Comparison(
        study=str(table.study.get("name", "")),
        baseline=baseline,
        primary=protocol.primary,
        protocol=protocol,
        arms=arms,
        cases=cases,
        looks=looks,
        look=look,
        winner=winner,
        kept_back=cases == held,
        confirmation=_confirm(study, winner, cases, held, fresh) if winner else None,
        stop=_stop(trials, cases, reached, at_looks),
    )


def _cases(trials: pd.DataFrame) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """All cases in the study's order, and those that are held back."""
    every = tuple(dict.fromkeys(map(str, trials["case"])))
    held = set(map(str, trials.loc[trials["held_out"].astype(bool), "case"]))
    return every, tuple(case for case in every if case in held)


def _finished(trials: pd.DataFrame, cases: Sequence[str]) -> int:
    """How many of the cases, from the first on, wait for no trial."""
    waiting = set(trials.loc[trials["state"] == MISSING, "case"])
    return next((i for i, case in enumerate(cases) if case in waiting), len(cases))


def _looks(protocol: Protocol, asked: int, done: int) -> tuple[int, ...]:
    if protocol.any_time:
        return (max(done, 1),)
    early = [look for look in protocol.looks if LEAST_CASES <= look < asked]
    return (*early, asked)


def _at_look(
    study: _Study, cases: Sequence[str], looks: Sequence[int], look: int
) -> tuple[ArmComparison, ...]:
    """Every arm on the cases of one look, at the level that the look has."""
    weight = float(look_weights(looks)[list(looks).index(look)])
    later = looks[list(looks).index(look) + 1 :]
    chosen, any_time = cases[:look], study.protocol.any_time
    effects = {
        arm: _effect(study.effects(arm, study.protocol.primary, chosen), weight, any_time=any_time)
        for arm in study.arms
    }
    adjusted = _adjusted([effect.p for effect in effects.values()])
    return tuple(
        _compared(study, effect, p, arm, chosen, weight, later[0] if later else None)
        for (arm, effect), p in zip(effects.items(), adjusted, strict=True)
    )


def _before(study: _Study, cases: Sequence[str], first: int) -> tuple[ArmComparison, ...]:
    """Every arm before the first look: what is seen, and nothing claimed."""
    found = []
    for arm in study.arms:
        seen = _effect(study.effects(arm, study.protocol.primary, cases), 1.0, any_time=False)
        hidden = replace(seen, low=None, high=None, p=None)
        found.append(_compared(study, hidden, None, arm, cases, None, first))
    return tuple(found)


def _compared(
    study: _Study,
    effect: Effect,
    p: float | None,
    arm: str,
    cases: Sequence[str],
    weight: float | None,
    next_look: int | None,
) -> ArmComparison:
    """One arm, ruled on; ``weight`` is the look's, None before the first."""
    protocol = study.protocol
    motion = None if study.motion is None else _shown(study, arm, study.motion, cases, weight)
    itself = protocol.primary in MOTION
    state: MotionState = "itself" if itself else motion_state(motion, protocol.motion_margin)
    level = _level(study, weight or 1.0)
    margin = margin_on(effect.scale, protocol.margin)
    ruling = rule(
        Evidence(
            effect=effect,
            p=p,
            motion=state,
            motion_needed=_needed_for_motion(motion, protocol.motion_margin, weight or 1.0),
            margin=margin,
            needed=_needed(effect, margin, level),
            next_look=next_look,
        )
    )
    return ArmComparison(
        arm=arm,
        ruling=ruling,
        primary=effect,
        p_holm=p,
        p_sign_flip=None,
        motion=motion,
        motion_state=state,
        others=(),
    )


def _described(
    study: _Study, arm: ArmComparison, cases: Sequence[str], weight: float | None
) -> ArmComparison:
    """The arm with what stands beside a verdict and decides nothing."""
    values = study.effects(arm.arm, arm.primary.metric, cases).values()
    others = (name for name in study.directions if name != arm.primary.metric)
    return replace(
        arm,
        p_sign_flip=None if arm.primary.low is None else sign_flip_test(values),
        others=tuple(_shown(study, arm.arm, name, cases, weight) for name in others),
    )


def _shown(
    study: _Study, arm: str, metric: str, cases: Sequence[str], weight: float | None
) -> Effect:
    effect = _effect(
        study.effects(arm, metric, cases), weight or 1.0, any_time=study.protocol.any_time
    )
    return replace(effect, low=None, high=None, p=None) if weight is None else effect


def _effect(paired: PairedEffects, weight: float, *, any_time: bool) -> Effect:
    """Mean, interval and p of the cases, at the look's part of 5 %."""
    values = paired.values()
    n = len(values)
    low = high = p = None
    if n >= LEAST_CASES:
        if any_time:
            interval, p = anytime_interval(values), float(anytime_p(values)[-1])
        else:
            interval = t_interval(values, ALPHA * weight)
            p = min(float(t_test(values)) / weight, 1.0)
        low, high = float(interval.low), float(interval.high)
    return Effect(
        metric=paired.metric,
        scale=paired.scale,
        mean=float(values.mean()) if n else None,
        low=low,
        high=high,
        p=p,
        spread=float(values.std(ddof=1)) if n > 1 else None,
        cases=n,
        pairs=paired.pairs,
        asked=paired.asked,
        undefined=paired.undefined,
        static=paired.static,
    )


def _adjusted(p: Sequence[float | None]) -> list[float | None]:
    """Holm over all comparisons; one that cannot be tested yet counts as 1."""
    if not p:
        return []
    filled = holm([1.0 if one is None else one for one in p])
    return [None if one is None else float(q) for one, q in zip(p, filled, strict=True)]


def _level(study: _Study, weight: float) -> Callable[[int], float]:
    """The level at a number of cases that planning counts on: Holm's first step, the last look."""
    count = max(len(study.arms), 1)
    if study.protocol.any_time:
        return lambda cases: anytime_level(cases, ALPHA / count)
    return lambda _: ALPHA * weight / count


def _needed(effect: Effect, margin: float, level: Callable[[int], float]) -> int | None:
    if not effect.spread:
        return None if effect.spread is None else LEAST_CASES
    return cases_needed(margin, likely_spread(effect.spread, effect.cases), level)


def _needed_for_motion(motion: Effect | None, most_lost: float, weight: float) -> int | None:
    """Cases that would show motion kept if it goes on as it is; None if it would not be."""
    if motion is None or motion.mean is None or not motion.spread:
        return None
    room = motion.mean - math.log1p(-most_lost)
    if room <= 0:
        return None
    spread = likely_spread(motion.spread, motion.cases)
    return cases_needed(room, spread, lambda _: ALPHA * weight)


def _winner(arms: Sequence[ArmComparison]) -> str | None:
    better = [arm for arm in arms if arm.ruling.verdict == "better"]
    return max(better, key=lambda arm: arm.primary.gain).arm if better else None


def _stop(
    trials: pd.DataFrame,
    cases: Sequence[str],
    reached: Sequence[int],
    at_looks: Sequence[tuple[ArmComparison, ...]],
) -> Stop | None:
    """The first look before the end at which nothing was left to decide."""
    for look, arms in zip(reached, at_looks, strict=True):
        decided = all(
            arm.ruling.verdict in ("better", "worse") or arm.ruling.reason == "within"
            for arm in arms
        )
        if decided and arms and look < len(cases):
            later = pd.DataFrame(trials[trials["case"].isin(list(cases[look:]))])
            done = pd.DataFrame(trials[trials["state"] == "completed"])
            alone = done.groupby("arm")["model_calls"].median().to_dict()
            calls = np.array([alone.get(arm, np.nan) for arm in later["arm"]], float)
            open_ = np.array(later["state"] == MISSING, bool)
            return Stop(
                cases=look,
                of=len(cases),
                saved=int(np.nansum(calls[open_])),
                spent=int(np.nansum(calls[~open_])),
            )
    return None


def _confirm(
    study: _Study,
    winner: str,
    cases: Sequence[str],
    held: Sequence[str],
    fresh: StudyTable | None,
) -> Confirmation | None:
    """The winner on held-back cases of the study, or on what ``fresh`` has that it has not."""
    again, new = study, tuple(case for case in held if case not in cases)
    if fresh is not None:
        again = replace(study, values=_unseen(study, fresh), directions=fresh.directions)
        new = _cases(fresh.trials)[0]
    primary = again.effects(winner, study.protocol.primary, new)
    if not primary.asked:
        return None
    effect = _effect(primary, 1.0, any_time=False)
    motion = None if again.motion is None else _shown(again, winner, again.motion, new, 1.0)
    itself = study.protocol.primary in MOTION
    state: MotionState = "itself" if itself else motion_state(motion, study.protocol.motion_margin)
    shown = effect.p is not None and effect.p <= ALPHA and effect.gain > 0
    return Confirmation(
        arm=winner,
        on="fresh seeds" if set(primary.by_case) & set(cases) else "held-back cases",
        effect=effect,
        motion_state=state,
        holds=None if effect.p is None else shown and state not in ("lost", "unmeasured"),
    )


def _unseen(study: _Study, fresh: StudyTable) -> dict[str, Readings]:
    """The readings of ``fresh`` at cases and seeds that the study has not used."""
    seen = {key for own in study.values.values() for found in own.values() for key in found}
    return {
        arm: {
            name: {key: value for key, value in found.items() if key not in seen}
            for name, found in own.items()
        }
        for arm, own in readings(fresh.trials, fresh.metrics).items()
    }
