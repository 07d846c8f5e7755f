"""A study's arms against its baseline: effects, looks, verdicts, and whether a winner holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.comparison import ArmComparison, Comparison, Confirmation, LaterArm, Stop
from analysis.effects import (
    LITERATURE,
    MOTION,
    PairedEffects,
    Readings,
    paired_effects,
    readings,
)
from analysis.evidence import (
    adjusted,
    effect_of,
    level_for,
    needed_cases,
    needed_for_motion,
)
from analysis.intervals import ALPHA, LEAST_CASES, sign_flip_test
from analysis.load import MISSING, StudyTable, choosing
from analysis.sequential import look_weights
from analysis.verdict import (
    Effect,
    Evidence,
    MotionState,
    margin_on,
    motion_state,
    rule,
)
from wanexp.names import lookup
from wanexp.options import Protocol


@dataclass(frozen=True, kw_only=True)
class _Study:
    """What every comparison of one study shares."""

    protocol: Protocol
    values: Mapping[str, Readings]
    directions: Mapping[str, str]
    baseline: str
    arms: tuple[str, ...]
    later: tuple[str, ...]

    @property
    def comparisons(self) -> int:
        """All that share 5 %, those included that may never be made."""
        return max(len(self.arms) + len(self.later), 1)

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
    trials, again = _parts(table)
    if fresh is None and len(again):
        fresh = replace(table, trials=again)
    names = tuple(dict.fromkeys(map(str, trials["arm"])))
    later = _later_in(table.study)
    study = _study_in(table, trials, protocol, names)
    every, held = _cases(trials)
    cases = tuple(case for case in every if case not in held) or every
    chosen = pd.DataFrame(trials[~trials["arm"].isin(list(later))])
    done = _finished(chosen, cases)
    looks = _looks(protocol, len(cases), done)
    reached = [look for look in looks if look <= done]
    at_looks = [_at_look(study, cases, looks, look) for look in reached]
    look = reached[-1] if reached else None
    bare = at_looks[-1] if at_looks else _before(study, cases, looks[0])
    arms = [_described(study, arm, cases[:look], _weight(looks, look)) for arm in bare]
    stop = _stop(chosen, cases, reached, at_looks)
    over = stop is not None or look == len(cases)
    for arm in (name for name in later if name in names):
        arms.append(_decided_later(study, trials, arm, cases, bare))
    winner = _winner(arms)
    return Comparison(
        study=str(table.study.get("name", "")),
        baseline=study.baseline,
        primary=protocol.primary,
        protocol=protocol,
        arms=tuple(arms),
        cases=cases,
        looks=looks,
        look=look,
        winner=winner,
        kept_back=cases == held,
        confirmation=_confirm(study, winner, cases, held, fresh) if winner else None,
        stop=stop,
        later=tuple(
            LaterArm(
                arm=arm,
                candidates=candidates,
                winners=winners_among(bare, candidates) if over else None,
                combines=_combines(table.study, arm) if arm in names else (),
            )
            for arm, candidates in later.items()
        ),
        changed=_changed(table.study),
    )


def _study_in(
    table: StudyTable, trials: pd.DataFrame, protocol: Protocol, names: Sequence[str]
) -> _Study:
    """The readings to compare, and who is compared with whom."""
    if protocol.baseline is not None:
        lookup("arm", dict.fromkeys(names), protocol.baseline)
    later = _later_in(table.study)
    baseline = protocol.baseline or next(name for name in names if name not in later)
    return _Study(
        protocol=protocol,
        values=readings(trials, table.metrics),
        directions=table.directions,
        baseline=baseline,
        arms=tuple(name for name in names if name != baseline and name not in later),
        later=tuple(later),
    )


def winners_among(arms: Sequence[ArmComparison], candidates: Sequence[str]) -> tuple[str, ...]:
    """Those of the candidates that are better than the baseline, the largest gain first."""
    better = [a for a in arms if a.ruling.verdict == "better" and a.arm in candidates]
    return tuple(arm.arm for arm in sorted(better, key=lambda arm: -arm.primary.gain))


def _parts(table: StudyTable) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The trials that choose, and those that were asked for to confirm the choice."""
    chosen = choosing(table)
    return chosen, pd.DataFrame(table.trials.drop(chosen.index))


def _later_in(study: Mapping[str, object]) -> dict[str, tuple[str, ...]]:
    """Arm that is decided later → the arms that it may combine."""
    later = study.get("later")
    own = later if isinstance(later, Mapping) else {}
    return {str(arm): tuple(map(str, candidates)) for arm, candidates in own.items()}


def _combines(study: Mapping[str, object], arm: str) -> tuple[str, ...]:
    arms = study.get("arms")
    own = arms.get(arm) if isinstance(arms, Mapping) else None
    return tuple(map(str, own.get("combines", ()))) if isinstance(own, Mapping) else ()


def _changed(study: Mapping[str, object]) -> tuple[str, ...]:
    earlier = study.get("earlier_protocols")
    return tuple(str(one.get("name")) for one in earlier) if isinstance(earlier, list) else ()


def _decided_later(
    study: _Study,
    trials: pd.DataFrame,
    arm: str,
    cases: Sequence[str],
    chosen: Sequence[ArmComparison],
) -> ArmComparison:
    """An arm that combines winners, at the last look that it and the baseline have reached.

    The others' verdicts do not change for it: it was a comparison among theirs all along, whose p
    was 1 until it ran.
    """
    done = _finished(pd.DataFrame(trials[trials["arm"].isin([study.baseline, arm])]), cases)
    looks = _looks(study.protocol, len(cases), done)
    look = max((one for one in looks if one <= done), default=None)
    alone = replace(study, arms=(arm,), later=())
    if look is None:
        return _described(alone, _before(alone, cases, looks[0])[0], cases, None)
    weight = _weight(looks, look)
    effect = _tested(study, arm, cases[:look], weight)
    p = adjusted([*(one.primary.p for one in chosen), effect.p])[-1]
    found = _compared(study, effect, p, arm, cases[:look], weight, _next(looks, look))
    return _described(alone, found, cases[:look], weight)


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
    weight, chosen = _weight(looks, look), cases[:look]
    effects = {arm: _tested(study, arm, chosen, weight) for arm in study.arms}
    # An arm that is decided later has not run while the others are judged: its p is 1.
    ps = adjusted([*(effect.p for effect in effects.values()), *(None for _ in study.later)])
    return tuple(
        _compared(study, effect, p, arm, chosen, weight, _next(looks, look))
        for (arm, effect), p in zip(effects.items(), ps, strict=False)
    )


def _tested(study: _Study, arm: str, cases: Sequence[str], weight: float | None) -> Effect:
    effects = study.effects(arm, study.protocol.primary, cases)
    return effect_of(effects, weight or 1.0, any_time=study.protocol.any_time)


def _weight(looks: Sequence[int], look: int | None) -> float | None:
    """The part of 5 % that a look has; None before the first."""
    return None if look is None else float(look_weights(looks)[list(looks).index(look)])


def _next(looks: Sequence[int], look: int) -> int | None:
    return next((later for later in looks if later > look), None)


def _before(study: _Study, cases: Sequence[str], first: int) -> tuple[ArmComparison, ...]:
    """Every arm before the first look: what is seen, and nothing claimed."""
    found = []
    for arm in study.arms:
        seen = effect_of(study.effects(arm, study.protocol.primary, cases), 1.0, any_time=False)
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
    level = level_for(study.comparisons, weight or 1.0, any_time=protocol.any_time)
    margin = margin_on(effect.scale, protocol.margin)
    ruling = rule(
        Evidence(
            effect=effect,
            p=p,
            motion=state,
            motion_needed=needed_for_motion(motion, protocol.motion_margin, weight or 1.0),
            margin=margin,
            needed=needed_cases(effect, margin, level),
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
    skipped = (arm.primary.metric, *LITERATURE)
    others = (name for name in study.directions if name not in skipped)
    return replace(
        arm,
        p_sign_flip=None if arm.primary.low is None else sign_flip_test(values),
        others=tuple(_shown(study, arm.arm, name, cases, weight) for name in others),
    )


def _shown(
    study: _Study, arm: str, metric: str, cases: Sequence[str], weight: float | None
) -> Effect:
    effect = effect_of(
        study.effects(arm, metric, cases), weight or 1.0, any_time=study.protocol.any_time
    )
    return replace(effect, low=None, high=None, p=None) if weight is None else effect


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
        decided = all(arm.ruling.decided for arm in arms)
        if decided and arms and look < len(cases):
            later = pd.DataFrame(trials[trials["case"].isin(list(cases[look:]))])
            done = pd.DataFrame(trials[trials["state"] == "completed"])
            alone = done.groupby("arm")["model_calls"].median().to_dict()
            calls = np.array([alone.get(arm, np.nan) for arm in later["arm"]], float)
            if "new_model_calls" in later:
                calls = np.array(later["new_model_calls"].fillna(pd.Series(calls, later.index)))
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
    effect = effect_of(primary, 1.0, any_time=False)
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
