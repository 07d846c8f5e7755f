"""A study in rounds: run, look, and decide what is run next.

Without looks and without arms that are decided later there is one round, of all trials. With looks
there is one a look, until every comparison is decided. Then the arms that combine what won are
made, and run beside the baseline in rounds of their own. What was decided is never kept: it follows
from the records, so a study that was stopped anywhere goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from wanexp.compose import Sweep, combine, names_of, with_arm
from wanexp.options import Options, Protocol, Search, options_from, protocol_from, search_from
from wanexp.planned import PlannedTrial
from wanexp.record import StudyPaths
from wanexp.runner import join_study, leave_study, study_file
from wanexp.strict import ConfigError, known
from wanexp.study import arm_alone, check_space, plan_trials, study_tree

if TYPE_CHECKING:
    from analysis.comparison import Comparison


@dataclass(frozen=True, kw_only=True)
class Round:
    """Trials to run before the study is looked at again.

    Attributes:
        trials: Finished ones included.
        added: Those that no round before had and that the sweep did not list.
        news: What was decided just now, in a sentence.
    """

    trials: Sequence[PlannedTrial]
    added: Sequence[PlannedTrial] = ()
    news: str | None = None


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A sweep, all checked before anything loads.

    Attributes:
        protocol: The one that decides: the study's own while its winner is being confirmed.
        search: Where the sweep makes arms of its own, and ``dearest`` the model calls that one of
            them may take at most.
    """

    sweep: Sweep
    options: Options
    protocol: Protocol
    trials: list[PlannedTrial]
    confirms: bool
    search: Search | None = None
    dearest: int = 0


def ask(sweep: Sweep) -> Asked:
    """What a sweep amounts to.

    Raises:
        ConfigError: It cannot run.
    """
    options, protocol = options_from(sweep.options), protocol_from(sweep.options)
    if protocol.baseline is not None:
        known("protocol.baseline", "arm", sweep.arms, protocol.baseline)
    confirms = protocol.confirm
    if confirms:
        sweep, protocol = confirming(sweep, StudyPaths(options.folder / sweep.name))
    search = None if confirms else search_from(sweep.search, protocol)
    trials = plan_trials(sweep)
    _check_sources(protocol, search, trials)
    return Asked(
        sweep=sweep,
        options=options,
        protocol=protocol,
        trials=trials,
        confirms=confirms,
        search=search,
        dearest=check_space(sweep) if search else 0,
    )


def _check_sources(
    protocol: Protocol, search: Search | None, trials: Sequence[PlannedTrial]
) -> None:
    """Refuse to decide by likeness to a source what has none: there would be nothing to compare."""
    from wanexp.metrics import METRICS

    blind = next((one for one in trials if one.trial.case.image is None), None)
    if blind is None:
        return
    decides = {"protocol.primary": (protocol.primary,)}
    decides |= {"search.objectives": search.objectives} if search else {}
    for where, names in decides.items():
        for name in names:
            if name in METRICS and METRICS[name].against_source:
                others = [
                    m.name for m in METRICS.values() if not (m.against_source or m.literature)
                ]
                raise ConfigError(
                    f"{where}: {name} compares with a source image, and case {blind.case} has none"
                    f" on {blind.trial.recipe.model.name}; these need none: {', '.join(others)}"
                )


def study_rounds(
    sweep: Sweep, trials: Sequence[PlannedTrial], study: StudyPaths, protocol: Protocol
) -> Iterator[Round]:
    """Round after round; the trials of one have to run before the next is asked for."""
    yield from _given_arms(trials, study, protocol)
    for arm in sweep.later:
        yield from _later_arm(sweep, arm, trials, study, protocol)


def _given_arms(
    trials: Sequence[PlannedTrial], study: StudyPaths, protocol: Protocol
) -> Iterator[Round]:
    """The arms of the sweep, look by look; what is left once all is decided does not run."""
    if not (protocol.looks or protocol.any_time):
        yield Round(trials=trials)
        return
    before = compared(study, protocol)
    for look in _looks(before, protocol):
        cases, last = before.cases[:look], look == len(before.cases)
        news = None if last else f"up to the look at {look} of {len(before.cases)} cases"
        yield Round(trials=trials if last else _of(trials, cases), news=news)
        now = compared(study, protocol)
        if not last and now.decided:
            held = {t.case for t in trials} - set(before.cases)
            arms = [now.baseline, *([now.winner] if now.winner else [])]
            yield Round(trials=_of(trials, held, arms))
            return


def _later_arm(
    sweep: Sweep,
    arm: str,
    trials: Sequence[PlannedTrial],
    study: StudyPaths,
    protocol: Protocol,
) -> Iterator[Round]:
    """One arm that combines winners: made, and run at the looks that the others had."""
    chosen = compared(study, protocol)
    winners = next(later.winners for later in chosen.later if later.arm == arm)
    if winners is None:
        return
    found = combine(sweep.arms, winners)
    if len(found.of) < 2:
        leave_study(study, arm)
        return
    own = _planned(with_arm(sweep, arm, found), arm)
    join_study(study, *own)
    added, news = own[1], f"{names_of(found.of)} are better than {chosen.baseline}: {arm} is both"
    if len(found.of) > 2:
        news = f"{names_of(found.of)} are better than {chosen.baseline}: {arm} is all of them"
    for look in _looks(chosen, protocol):
        if chosen.look is not None and look < chosen.look:
            continue
        cases = set(chosen.cases[:look])
        if look == len(chosen.cases):
            cases |= {t.case for t in trials}
        beside = _of(trials, cases, [chosen.baseline])
        yield Round(trials=[*beside, *_of(own[1], cases)], added=added, news=news)
        added, news = (), None
        ruling = next(a.ruling for a in compared(study, protocol).arms if a.arm == arm)
        if ruling.decided:
            return


def _planned(sweep: Sweep, arm: str) -> tuple[Sweep, list[PlannedTrial]]:
    """The sweep of one arm alone, and its trials."""
    points = tuple(point for point in sweep.points if point.arm == arm)
    alone = replace(sweep, arms={arm: sweep.arms[arm]}, points=points)
    return alone, plan_trials(alone)


def _looks(comparison: Comparison, protocol: Protocol) -> Sequence[int]:
    """Numbers of cases after which to look."""
    count = len(comparison.cases)
    return range(1, count + 1) if protocol.any_time else comparison.looks


def _of(
    trials: Sequence[PlannedTrial],
    cases: set[str] | Sequence[str],
    arms: Sequence[str] | None = None,
) -> list[PlannedTrial]:
    return [t for t in trials if t.case in cases and (arms is None or t.arm in arms)]


def confirming(sweep: Sweep, study: StudyPaths) -> tuple[Sweep, Protocol]:
    """The sweep of a study's winner and its baseline alone, and the protocol that chose it.

    Raises:
        ConfigError: The study has no winner, or the sweep's arms are no longer those that it chose
            among.
    """
    again = f"'wanexp sweep {sweep.name}' without protocol=confirm"
    before = study_file(study)
    if not before:
        raise ConfigError(f"{sweep.name}: there is no winner to confirm yet; run {again} first")
    protocol = protocol_from(before)
    if protocol.confirm:
        raise ConfigError(f"{sweep.name}: nothing was chosen without protocol.confirm; run {again}")
    found = compared(study, protocol)
    if found.winner is None:
        raise ConfigError(
            f"{sweep.name}: no arm is better than {found.baseline}, so there is nothing to confirm;"
            f" {again} says what is known of each"
        )
    made = {later.arm: later.combines for later in found.later if later.combines}
    if found.winner in made:
        sweep = with_arm(sweep, found.winner, combine(sweep.arms, made[found.winner]))
    if sweep.search and found.winner not in sweep.arms:
        own = _overrides(before, found.winner)
        alone, _ = arm_alone(sweep, found.winner, own)
        points = (*sweep.points, *alone.points)
        sweep = replace(sweep, arms={**sweep.arms, found.winner: own}, points=points)
    arms = {arm: sweep.arms[arm] for arm in sweep.arms if arm in (found.baseline, found.winner)}
    points = tuple(point for point in sweep.points if point.arm in arms)
    alone = replace(sweep, arms=arms, points=points, later={})
    after = study_tree(alone, plan_trials(alone), before, confirms=True)
    if not {found.baseline, found.winner} <= set(arms) or _recipes(after, arms) != _recipes(
        before, arms
    ):
        raise ConfigError(
            f"{sweep.name}: {found.baseline} or {found.winner} has changed since it was chosen; run"
            f" {again} to choose again"
        )
    rows = after["trials"]
    if not any(row.get("confirms") for row in (rows if isinstance(rows, list) else [])):
        raise ConfigError(
            f"{sweep.name}: these cases and seeds chose {found.winner}, so they cannot confirm it;"
            " give others (seed=100,101)"
        )
    return alone, protocol


def _overrides(study: Mapping[str, object], arm: str) -> tuple[str, ...]:
    """What makes an arm, from the study's file."""
    arms = study.get("arms")
    own = arms.get(arm) if isinstance(arms, Mapping) else None
    return tuple(map(str, own["overrides"])) if isinstance(own, Mapping) else ()


def _recipes(study: Mapping[str, object], arms: Iterable[str]) -> list[object]:
    own = study.get("arms")
    entries = own if isinstance(own, Mapping) else {}
    return [entries[arm].get("recipe") if arm in entries else None for arm in arms]


def compared(study: StudyPaths, protocol: Protocol) -> Comparison:
    """The study as it stands on disk."""
    from analysis.compare import compare_study  # scipy's statistics take a second to load
    from analysis.load import load_study

    return compare_study(load_study(study.root), protocol)
