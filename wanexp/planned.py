"""A trial with its explicit plan; what several of them share.

Nothing here knows how a trial was asked for, so what runs trials needs no more than this.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wanexp.config import Trial, case_content, digest, trial_digest, weights_of
from wanexp.models import fingerprint
from wanexp.plan import Plan, make_plan

if TYPE_CHECKING:
    from wanexp.compose import Point

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


def plan_trial(
    trial: Trial,
    arm: str,
    *,
    case: str | None = None,
    plan: Plan | None = None,
    point: Point | None = None,
) -> PlannedTrial:
    """A trial with its plan, which is made where it is not at hand, and its digest.

    ``case`` is what the study calls the case; None is the case's own name.

    Raises:
        ConfigError: Its recipe cannot run.
    """
    made = make_plan(trial.recipe) if plan is None else plan
    return PlannedTrial(
        arm=arm,
        case=trial.case.name if case is None else case,
        seed=trial.seed,
        trial=trial,
        plan=made,
        digest=trial_digest(trial, made.key()),
        point=point,
    )


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
