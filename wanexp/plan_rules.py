"""What the planner warns of: settings that run, and that somebody should know about.

Some rules are facts of the model (a denoise that rounds to 1), some are the common advice for
chained samplers (one sampler and scheduler throughout, cfg that does not rise, at most 55 steps).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wanexp.config import Recipe
    from wanexp.plan import PlannedStage

MANY_STEPS = 55
FAR_CFG = 2.0
"""A cfg beyond this many times the model's own (or below the inverse) is far from it."""
FAR_SNAP = 0.02
STEEP = ("karras", "exponential")
"""Schedules that leave the high noise in one step."""


def plan_warnings(recipe: Recipe, stages: Sequence[PlannedStage]) -> tuple[str, ...]:
    """One sentence for everything that deserves one, in the order of the stages."""
    found: list[str] = []
    for stage in stages:
        found += _take_over_warnings(recipe, stage)
        found += _expert_warnings(recipe, stage)
        found += _cfg_warnings(recipe, stage)
    for before, after in pairwise(stages):
        found += _pair_warnings(before, after)
    steps = sum(stage.steps for stage in stages)
    if steps > MANY_STEPS:
        found.append(f"{steps} steps in all; more than {MANY_STEPS} rarely pay")
    return tuple(found)


def _take_over_warnings(recipe: Recipe, stage: PlannedStage) -> list[str]:
    found = []
    asked = recipe.stages[stage.index]
    if stage.index == 0 and stage.sigma_start < 1 and (asked.denoise or asked.sigma_start):
        found.append(
            f"{stage.name}: the first stage starts at sigma {stage.sigma_start:.3f} on an empty"
            " latent, so its video starts from plain grey"
        )
    if stage.index > 0 and (stage.sigma_start >= 1 or _rounds_to_one(recipe, stage)):
        steps = asked.steps or recipe.steps
        why = (
            "starts at sigma 1"
            if asked.denoise is None
            else f"denoise {asked.denoise:g} at {steps} steps rounds to 1"
        )
        found.append(f"{stage.name}: {why}, so all that the stage before made is thrown away")
    wanted = stage.sigma_end_wanted
    if wanted and abs(wanted - stage.sigma_end) > FAR_SNAP:
        found.append(
            f"{stage.name}: hands over at sigma {stage.sigma_end:.3f}, the schedule's nearest"
            f" level to the {wanted:g} that was asked"
        )
    if asked.steps is not None and not stage.sigma_end and stage.steps != asked.steps:
        found.append(
            f"{stage.name}: {stage.scheduler} gives {stage.steps} steps where {asked.steps} were"
            " asked"
        )
    return found


def _rounds_to_one(recipe: Recipe, stage: PlannedStage) -> bool:
    """Whether the schedule that denoise takes its last steps from is no longer than they are."""
    asked = recipe.stages[stage.index]
    steps = asked.steps or recipe.steps
    return asked.denoise is not None and steps is not None and int(steps / asked.denoise) == steps


def _expert_warnings(recipe: Recipe, stage: PlannedStage) -> list[str]:
    model = recipe.model
    if model.boundary is None:
        return []
    found = []
    officially = [
        model.expert_at(sigma)
        for sigma, who in zip(stage.evaluation_sigmas, stage.experts, strict=True)
        if who == model.experts[0]
    ]
    above = officially.count(model.experts[0])
    if stage.scheduler in STEEP and above:
        found.append(
            f"{stage.name}: {stage.scheduler} makes {above} of its {len(stage.experts)}"
            f" evaluations at or above sigma {model.boundary:g}, where motion is decided"
        )
    below = len(officially) - above
    if below:
        found.append(
            f"{stage.name}: asks the {model.experts[0]} expert {below} times below sigma"
            f" {model.boundary:g}, which it never learnt"
        )
    return found


def _cfg_warnings(recipe: Recipe, stage: PlannedStage) -> list[str]:
    own = recipe.model.cfg
    if stage.guided and not own / FAR_CFG <= stage.cfg <= own * FAR_CFG:
        return [f"{stage.name}: cfg {stage.cfg:g} is far from {recipe.model.name}'s own {own:g}"]
    return []


def _pair_warnings(before: PlannedStage, after: PlannedStage) -> list[str]:
    found = []
    pair = f"{before.name} → {after.name}"
    if before.sampler != after.sampler:
        found.append(f"{pair}: the sampler changes from {before.sampler} to {after.sampler}")
    if before.scheduler != after.scheduler:
        found.append(f"{pair}: the scheduler changes from {before.scheduler} to {after.scheduler}")
    if after.cfg > before.cfg:
        found.append(f"{pair}: cfg rises from {before.cfg:g} to {after.cfg:g}")
    return found
