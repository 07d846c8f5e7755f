"""A sweep's points → trials with plans and digests; what a study costs, alone and shared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from wanexp.compose import Combination, Sweep, arm_points, names_of, possible, space_words
from wanexp.config import case_content, digest, recipe_content, trial_from
from wanexp.plan import Plan, make_plan
from wanexp.planned import (
    PlannedTrial,
    distinct,
    new_model_calls,
    plan_trial,
    shared_model_calls,
)
from wanexp.strict import ConfigError


def plan_trials(sweep: Sweep) -> list[PlannedTrial]:
    """Every point of a sweep, checked and planned before anything loads.

    Raises:
        ConfigError: With the arm whose recipe cannot run, and why.
    """
    plans: dict[str, Plan] = {}
    trials = []
    for point in sweep.points:
        try:
            trial = trial_from(point.tree)
            # One arm is one recipe, whatever the case and seed; planning is most of the work.
            if point.arm not in plans:
                plans[point.arm] = make_plan(trial.recipe)
        except ConfigError as error:
            where = f"arm {point.arm}: " if len(sweep.arms) > 1 else ""
            raise ConfigError(f"{where}{error}") from None
        trials.append(
            plan_trial(trial, point.arm, case=point.case, plan=plans[point.arm], point=point)
        )
    return trials


def arm_alone(sweep: Sweep, arm: str, overrides: Sequence[str]) -> tuple[Sweep, list[PlannedTrial]]:
    """The sweep of one more arm and nothing else, and its trials at every case and seed.

    Raises:
        ConfigError: It cannot run.
    """
    points = arm_points(sweep, arm, overrides)
    alone = replace(sweep, arms={arm: tuple(overrides)}, points=points)
    try:
        return alone, plan_trials(alone)
    except ConfigError as error:
        raise ConfigError(f"arm {arm}: {error}") from None


def check_space(sweep: Sweep) -> int:
    """Plans every value that a search may choose; returns the model calls of the dearest arm.

    Each value is planned with the baseline's others, then the dearest of them all together.

    Raises:
        ConfigError: A value that cannot run.
    """
    first = (sweep.points[0].case, sweep.points[0].seed)
    one = replace(sweep, points=tuple(p for p in sweep.points if (p.case, p.seed) == first))
    dearest, most = [], 0
    for axis in sweep.space.values():
        costs = {}
        for text in axis.ends():
            costs[text] = arm_alone(one, text, [text])[1][0].plan.model_calls
        dearest.append(max(costs, key=lambda text: costs[text]))
        most = max(most, *costs.values())
    try:
        return arm_alone(one, "the dearest", dearest)[1][0].plan.model_calls
    except ConfigError:  # values that do not go together are found out when they are tried
        return most


@dataclass(frozen=True, kw_only=True)
class LaterArm:
    """An arm that is decided once others are judged.

    Attributes:
        candidates: The arms that it may combine.
        worst: Of all that it may become, what costs most.
        plan: Of ``worst``.
        trials: That many at most.
        added: Model calls that it adds at most where stages in common are computed once.
    """

    candidates: tuple[str, ...]
    worst: Combination
    plan: Plan
    trials: int
    added: int


def later_arms(sweep: Sweep, trials: Sequence[PlannedTrial]) -> dict[str, LaterArm]:
    """The arms of a sweep that are decided later, at their worst case.

    Raises:
        ConfigError: Winners whose settings cannot run together.
    """
    places = len({(point.case, point.seed) for point in sweep.points})
    first = (sweep.points[0].case, sweep.points[0].seed)
    beside = [t for t in trials if (t.case, t.seed) == first]
    sweep = replace(sweep, points=tuple(p for p in sweep.points if (p.case, p.seed) == first))
    found = {}
    for name, candidates in sweep.later.items():
        planned = []
        for combination in possible(sweep.arms, candidates):
            label = f"{name} (of {names_of(combination.of)})"
            points = arm_points(sweep, label, combination.overrides)
            own = plan_trials(replace(sweep, arms={label: (), **sweep.arms}, points=points))
            planned.append((combination, own[0].plan, new_model_calls([*beside, own[0]])[-1]))
        worst, plan, _ = max(planned, key=lambda one: (one[1].model_calls, len(one[0].of)))
        found[name] = LaterArm(
            candidates=candidates,
            worst=worst,
            plan=plan,
            trials=places,
            added=places * max(added for _, _, added in planned),
        )
    return found


def plan_summary(
    sweep: Sweep, trials: Sequence[PlannedTrial], later: Mapping[str, LaterArm]
) -> dict[str, object]:
    """What ``wanexp plan --json`` prints: counts, and every arm's explicit plan.

    Arms that are decided later are listed at their worst case and counted nowhere.
    """
    arms: dict[str, dict[str, object]] = {}
    warnings: dict[str, None] = {}
    for planned in trials:
        if planned.arm not in arms:
            arms[planned.arm] = {"conditional": False, **planned.plan.tree()}
            warnings |= dict.fromkeys(f"{planned.arm}: {w}" for w in planned.plan.warnings)
    for name, own in later.items():
        arms[name] = {"conditional": True, "combines": list(own.candidates), **own.plan.tree()}
    return {
        "trials": len(trials),
        "distinct_trials": len(distinct(trials)),
        "model_calls": sum(planned.plan.model_calls for planned in trials),
        "model_calls_shared": shared_model_calls(trials),
        "cases": len(sweep.cases),
        "seeds": len(sweep.seeds),
        "arms": arms,
        "warnings": list(warnings),
        **({"search": {**sweep.search, "space": space_words(sweep.space)}} if sweep.search else {}),
    }


DECIDES = ("primary", "baseline", "margin", "motion_margin", "looks", "any_time")
"""The part of a protocol that a verdict rests on."""


def study_tree(
    sweep: Sweep,
    trials: Sequence[PlannedTrial],
    before: Mapping[str, object],
    *,
    confirms: bool = False,
    looked: bool = False,
) -> dict[str, object]:
    """The study file: the question, its arms and its trials, those of earlier runs kept.

    Rows of an arm or a case that has come to mean something else go: their videos stay on disk,
    but they no longer answer this question.

    ``before`` is the study file as it stands; empty for a new study. Trials that ``confirms`` say
    again what the study has chosen, so its protocol stays as it is. Where some have run
    (``looked``) a new protocol comes after looking.
    """
    recipes = {t.arm: digest(recipe_content(t.trial, t.plan.key())) for t in trials}
    cases = {t.case: digest(case_content(t.trial.case)) for t in trials}
    arms = {arm: _arm_entry(sweep, arm, recipe) for arm, recipe in recipes.items()}
    kept_arms, kept_rows = _kept(before, recipes, cases)
    rows = _rows(trials, confirms=confirms)
    if confirms:  # what chose cannot confirm
        places = {_place(row) for row in kept_rows if not row.get("confirms")}
        rows = [row for row in rows if _place(row) not in places]
    places = {_place(row) for row in rows}
    kept_rows = [row for row in kept_rows if _place(row) not in places]
    # The first arm is the baseline, so what was decided later stays behind what was given.
    late = {
        arm: entry for arm, entry in kept_arms.items() if arm in sweep.later and arm not in arms
    }
    early = {arm: entry for arm, entry in kept_arms.items() if arm not in late}
    protocol, earlier = _protocols(sweep, before, confirms=confirms, looked=looked)
    return {
        "schema": 1,
        "name": sweep.name,
        "header": dict(sweep.header),
        **({"search": dict(sweep.search)} if sweep.search else {}),
        "protocol": protocol,
        "earlier_protocols": earlier,
        "arms": {**early, **arms, **late},
        "later": _mapping(before.get("later"))
        if confirms
        else {name: list(own) for name, own in sweep.later.items()},
        "cases": {**_mapping(before.get("cases")), **cases},
        "trials": [row for row in kept_rows if row["arm"] in early]
        + rows
        + [row for row in kept_rows if row["arm"] in late],
    }


def _kept(
    before: Mapping[str, object], recipes: Mapping[str, str], cases: Mapping[str, str]
) -> tuple[dict[str, object], list[dict[str, object]]]:
    """Of a study file the arms that still mean the same, and the rows of such arms and cases."""
    old_cases = _mapping(before.get("cases"))
    arms = {
        arm: entry
        for arm, entry in _mapping(before.get("arms")).items()
        if arm not in recipes or _mapping(entry).get("recipe") == recipes[arm]
    }
    rows = [
        row
        for row in _list(before.get("trials"))
        if row["arm"] in arms and _same(cases, old_cases, str(row["case"]))
    ]
    return arms, rows


def _same(now: Mapping[str, object], old: Mapping[str, object], case: str) -> bool:
    return case not in now or now[case] == old.get(case)


def without_arms(study: Mapping[str, object], arms: Sequence[str]) -> dict[str, object]:
    """A study file that has forgotten what these arms were; their videos stay on disk."""
    own = {arm: entry for arm, entry in _mapping(study.get("arms")).items() if arm not in arms}
    rows = [row for row in _list(study.get("trials")) if row["arm"] not in arms]
    return {**study, "arms": own, "trials": rows}


def _rows(trials: Sequence[PlannedTrial], *, confirms: bool) -> list[dict[str, object]]:
    return [
        {
            "arm": t.arm,
            "case": t.case,
            "seed": t.seed,
            "digest": t.digest,
            "held_out": t.trial.case.held_out,
            "confirms": confirms,
            "new_model_calls": calls,
        }
        for t, calls in zip(trials, new_model_calls(trials), strict=True)
    ]


def _arm_entry(sweep: Sweep, arm: str, recipe: str) -> dict[str, object]:
    entry: dict[str, object] = {"overrides": list(sweep.arms[arm]), "recipe": recipe}
    return entry | ({"combines": list(sweep.made[arm])} if arm in sweep.made else {})


def _protocols(
    sweep: Sweep, before: Mapping[str, object], *, confirms: bool, looked: bool
) -> tuple[object, list[Mapping[str, object]]]:
    """The protocol that holds now, and those that held when somebody may have looked."""
    old = _mapping(before.get("protocol"))
    earlier: list[Mapping[str, object]] = [*_list(before.get("earlier_protocols"))]
    if confirms and old:
        return old, earlier
    new = _mapping(sweep.options.get("protocol"))
    if looked and any(old[key] != new.get(key) for key in DECIDES if key in old):
        earlier.append(old)
    return new, earlier


def _place(row: Mapping[str, object]) -> tuple[object, object, object]:
    return row["arm"], row["case"], row["seed"]


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[dict[str, object]]:
    return value if isinstance(value, list) else []
