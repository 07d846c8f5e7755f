"""A sweep's points → trials with plans and digests; what a study costs, alone and shared."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from wanexp.compose import Sweep
from wanexp.config import (
    BITS,
    Trial,
    case_content,
    digest,
    recipe_content,
    trial_digest,
    trial_from,
)
from wanexp.models import fingerprint
from wanexp.plan import Plan, make_plan
from wanexp.strict import ConfigError

KEY_LENGTH = 32
"""Hex digits of a stage's key: many more entries are stored than there are trials."""


@dataclass(frozen=True, kw_only=True)
class PlannedTrial:
    """A trial, its explicit plan and the digest that names its folder."""

    arm: str
    case: str
    seed: int
    trial: Trial
    plan: Plan
    digest: str

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
            "weights": fingerprint(recipe.source, recipe.revision),
            "size": [recipe.width, recipe.height, recipe.frames],
            "seed": self.trial.seed,
            "memory": {key: getattr(self.trial.memory, key) for key in BITS},
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
            )
        )
    return trials


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


def plan_summary(sweep: Sweep, trials: Sequence[PlannedTrial]) -> dict[str, object]:
    """What ``wanexp plan --json`` prints: counts, and every arm's explicit plan."""
    arms: dict[str, dict[str, object]] = {}
    warnings: dict[str, None] = {}
    for planned in trials:
        if planned.arm not in arms:
            arms[planned.arm] = {"conditional": False, **planned.plan.tree()}
            warnings |= dict.fromkeys(f"{planned.arm}: {w}" for w in planned.plan.warnings)
    return {
        "trials": len(trials),
        "distinct_trials": len(distinct(trials)),
        "model_calls": sum(planned.plan.model_calls for planned in trials),
        "model_calls_shared": shared_model_calls(trials),
        "cases": len(sweep.cases),
        "seeds": len(sweep.seeds),
        "arms": arms,
        "warnings": list(warnings),
    }


def study_tree(
    sweep: Sweep, trials: Sequence[PlannedTrial], before: Mapping[str, object]
) -> dict[str, object]:
    """The study file: the question, its arms and its trials, those of earlier runs kept.

    ``before`` is the study file as it stands; empty for a new study. Rows of an arm or a case that
    has come to mean something else go: their videos stay on disk, but they no longer answer this
    question.
    """
    rows = [
        {
            "arm": t.arm,
            "case": t.case,
            "seed": t.seed,
            "digest": t.digest,
            "held_out": t.trial.case.held_out,
        }
        for t in trials
    ]
    recipes = {t.arm: digest(recipe_content(t.trial, t.plan.key())) for t in trials}
    cases = {t.case: digest(case_content(t.trial.case)) for t in trials}
    arms = {
        arm: {"overrides": list(texts), "recipe": recipes[arm]} for arm, texts in sweep.arms.items()
    }
    old_arms, old_cases = _mapping(before.get("arms")), _mapping(before.get("cases"))
    kept_arms = {
        arm: entry
        for arm, entry in old_arms.items()
        if arm not in arms or _mapping(entry).get("recipe") == recipes[arm]
    }
    places = {_place(row) for row in rows}
    earlier = before.get("trials")
    kept_rows = [
        row
        for row in (earlier if isinstance(earlier, list) else [])
        if row["arm"] in kept_arms
        and cases.get(row["case"], old_cases.get(row["case"])) == old_cases.get(row["case"])
        and _place(row) not in places
    ]
    return {
        "schema": 1,
        "name": sweep.name,
        "header": dict(sweep.header),
        "protocol": sweep.options.get("protocol"),
        "arms": {**kept_arms, **arms},
        "cases": {**old_cases, **cases},
        "trials": kept_rows + rows,
    }


def _place(row: Mapping[str, object]) -> tuple[object, object, object]:
    return row["arm"], row["case"], row["seed"]


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
