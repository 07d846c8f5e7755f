"""A sweep's points → trials with plans and digests; what a study costs, alone and shared."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from wanexp.compose import (
    Combination,
    Point,
    Sweep,
    arm_points,
    names_of,
    possible,
    space_words,
)
from wanexp.config import (
    Trial,
    case_content,
    digest,
    recipe_content,
    trial_digest,
    trial_from,
    weights_of,
)
from wanexp.models import fingerprint
from wanexp.plan import Plan, make_plan
from wanexp.strict import ConfigError

KEY_LENGTH = 32
"""Hex digits of a stage's key: many more entries are stored than there are trials."""


@dataclass(frozen=True, kw_only=True)
class PlannedTrial:
    """A trial, its explicit plan and the digest that names its folder.

    ``point`` is what asked for it; None for a trial that no sweep did.
    """

    arm: str
    case: str
    seed: int
    trial: Trial
    plan: Plan
    digest: str
    point: Point | None = field(default=None, compare=False, repr=False)

    @functools.cached_property
    def stage_keys(self) -> tuple[str, ...]:
        """For every stage a digest of all that a plan knows to decide what it hands over.

        Trials whose first keys are equal share these stages. The stage store adds what only the
        machine knows (``wanexp.staged``).
        """
        keys = [digest(self.root, KEY_LENGTH)]
        for stage in self.plan.stages:
            loras = [fingerprint(path, None) for path, _ in stage.loras]
            keys.append(digest([keys[-1], stage.key(), loras], KEY_LENGTH))
        return tuple(keys[1:])

    @functools.cached_property
    def root(self) -> Mapping[str, object]:
        """All that decides the first stage but the stage itself."""
        recipe, case = self.trial.recipe, case_content(self.trial.case)
        return {
            **{key: case[key] for key in ("image", "crop", "prompts")},
            "model": recipe.model.name,
            "weights": weights_of(recipe),
            "size": [recipe.width, recipe.height, recipe.frames],
            "seed": self.trial.seed,
            "memory": self.trial.memory.bits(),
        }


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
        plan = plans[point.arm]
        trials.append(
            PlannedTrial(
                arm=point.arm,
                case=point.case,
                seed=point.seed,
                trial=trial,
                plan=plan,
                digest=trial_digest(trial, plan.key()),
                point=point,
            )
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


def distinct(trials: Sequence[PlannedTrial]) -> list[PlannedTrial]:
    """The trials without those that an earlier one already is: equal plans are one experiment."""
    found: dict[str, PlannedTrial] = {}
    for planned in trials:
        found.setdefault(planned.digest, planned)
    return list(found.values())


def new_model_calls(trials: Sequence[PlannedTrial]) -> list[int]:
    """For every trial the model calls of its stages that no trial before it has."""
    seen: set[str] = set()
    costs = []
    for planned in trials:
        stages = list(zip(planned.stage_keys, planned.plan.stages, strict=True))
        costs.append(sum(stage.model_calls for key, stage in stages if key not in seen))
        seen.update(planned.stage_keys)
    return costs


def shared_model_calls(trials: Sequence[PlannedTrial]) -> int:
    """Model calls when no prefix of stages is computed twice: the size of the prefix tree."""
    return sum(new_model_calls(trials))


def neighbours(trials: Sequence[PlannedTrial]) -> list[PlannedTrial]:
    """The trials in an order in which those that share weights, case, seed or stages are together.

    Otherwise what comes first stays first.
    """
    first: dict[str, int] = {}

    def place(planned: PlannedTrial) -> list[int]:
        return [first.setdefault(key, len(first)) for key in _path(planned)]

    return sorted(trials, key=place)


def _path(planned: PlannedTrial) -> Iterator[str]:
    """From what is dearest to change between two trials to what is cheapest."""
    root = planned.root
    yield digest({key: root[key] for key in ("model", "weights", "memory")})
    yield digest({key: value for key, value in root.items() if key != "seed"})
    yield from planned.stage_keys


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
    rows = _rows(trials, confirms=confirms)
    recipes = {t.arm: digest(recipe_content(t.trial, t.plan.key())) for t in trials}
    cases = {t.case: digest(case_content(t.trial.case)) for t in trials}
    arms = {arm: _arm_entry(sweep, arm, recipe) for arm, recipe in recipes.items()}
    old_arms, old_cases = _mapping(before.get("arms")), _mapping(before.get("cases"))
    kept_arms = {
        arm: entry
        for arm, entry in old_arms.items()
        if arm not in arms or _mapping(entry).get("recipe") == recipes[arm]
    }
    kept_rows = [
        row
        for row in _list(before.get("trials"))
        if row["arm"] in kept_arms and _same(cases, old_cases, str(row["case"]))
    ]
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
        "cases": {**old_cases, **cases},
        "trials": [row for row in kept_rows if row["arm"] in early]
        + rows
        + [row for row in kept_rows if row["arm"] in late],
    }


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
