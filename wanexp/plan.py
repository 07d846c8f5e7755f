"""Recipe → Plan: a recipe made explicit. The plan is what runs and what the record holds.

Every stage gets its sigma array (falling noise levels), the expert of every evaluation and its
cost in model calls, before any weights load; what cannot work is refused here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np

from wanexp.config import Recipe, Stage
from wanexp.models import ROUNDING
from wanexp.plan_rules import plan_warnings
from wanexp.sampler_facts import SAMPLER_FACTS, evaluations
from wanexp.schedules import interval_sigmas, shift_time, stage_sigmas
from wanexp.step_cache import StepCache
from wanexp.strict import ConfigError

Takeover = Literal["noise", "renoise", "continue"]

MEET = 1e-6
"""Two sigmas closer than this are one hand-over."""

MANY_LEVELS = 12
"""Of more than these an error shows only both ends."""

FIRST_SIGMA_TIME = 0.9999
"""Where solvers in log-SNR start instead of sigma 1, whose log-SNR is infinite (as ComfyUI)."""


@dataclass(frozen=True, kw_only=True)
class PlannedStage:
    """One stage, explicit.

    Attributes:
        index: Its place in the recipe, from 0; its seed is derived from it.
        takeover: ``noise`` starts from pure noise on zeros; ``renoise`` raises the latent from
            ``previous_end`` to ``sigma_start`` with fresh noise; ``continue`` takes it as it is.
        sigma_start: The level that x is noised at.
        sigmas: What the sampler integrates. Its first value is ``sigma_start`` but for solvers in
            log-SNR that would start at 1: they step from shift(0.9999).
        sigma_end: Where the latent ends up: ``sigmas[-1]``, the hand-over to the next stage.
        sigma_end_wanted: What the recipe asked, before snapping to the schedule.
        evaluation_sigmas: Where the denoiser is called, in order.
        experts: Who answers each of these.
        guided: Whether an evaluation is two model calls (cfg ≠ 1) or one.
        step_cache: What of its model calls is guessed from those before.
    """

    name: str
    index: int
    takeover: Takeover
    previous_end: float
    sigma_start: float
    sigmas: tuple[float, ...]
    sigma_end_wanted: float | None
    sampler: str
    scheduler: str
    shift: float
    denoise: float | None
    cfg: float
    guided: bool
    evaluation_sigmas: tuple[float, ...]
    experts: tuple[str, ...]
    loras: tuple[tuple[str, float], ...]
    step_cache: StepCache = field(default_factory=StepCache)

    @property
    def steps(self) -> int:
        """Intervals that are integrated (not always what was asked: beta merges equal levels)."""
        return len(self.sigmas) - 1

    @property
    def sigma_end(self) -> float:
        """The level of the latent that this stage hands over."""
        return self.sigmas[-1]

    @property
    def model_calls(self) -> int:
        """Latents through an expert under one condition; guidance makes two of an evaluation."""
        return len(self.experts) * (2 if self.guided else 1)

    def tree(self) -> dict[str, object]:
        """The stage as plain values, for records and for ``wanexp plan --json``."""
        return {
            "takeover": self.takeover,
            "sampler": self.sampler,
            "scheduler": self.scheduler,
            "shift": self.shift,
            "steps": self.steps,
            "denoise": self.denoise,
            "cfg": self.cfg,
            "sigma_start": self.sigma_start,
            "sigma_end": self.sigma_end,
            "sigma_end_wanted": self.sigma_end_wanted,
            "sigmas": list(self.sigmas),
            "experts": list(self.experts),
            "model_calls": self.model_calls,
            "loras": dict(self.loras),
            **({"step_cache": self.step_cache.settings()} if self.step_cache.on else {}),
        }

    def key(self) -> dict[str, object]:
        """All that decides the stage's result, given what it starts from."""
        return {
            "sampler": self.sampler,
            "takeover": self.takeover,
            "sigma_start": round(self.sigma_start, 9),
            "sigmas": [round(sigma, 9) for sigma in self.sigmas],
            "experts": list(self.experts),
            "cfg": self.cfg if self.guided else 1.0,
            "loras": [list(pair) for pair in self.loras],
            "index": self.index,
            **({"step_cache": self.step_cache.settings()} if self.step_cache.on else {}),
        }


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A recipe's stages, explicit, with what the planner has to say about them."""

    stages: tuple[PlannedStage, ...]
    warnings: tuple[str, ...]

    @property
    def model_calls(self) -> int:
        """Of one trial that shares nothing."""
        return sum(stage.model_calls for stage in self.stages)

    def tree(self) -> dict[str, object]:
        """The plan as plain values: stages by name, in order."""
        return {
            "model_calls": self.model_calls,
            "stages": {stage.name: stage.tree() for stage in self.stages},
            "warnings": list(self.warnings),
        }

    def key(self) -> list[dict[str, object]]:
        """What makes two plans the same: plain values, rounded so that machines agree."""
        return [stage.key() for stage in self.stages]


@dataclass(frozen=True, kw_only=True)
class _HandOver:
    """Where a stage stopped, on which schedule, and what is left of it for one that continues."""

    sigma: float
    scheduler: str
    shift: float
    rest: tuple[float, ...] | None = None


def make_plan(recipe: Recipe) -> Plan:
    """The explicit plan of a recipe.

    Raises:
        ConfigError: For a recipe that cannot work: hand-overs that do not meet, a stage without
            a step, a low expert asked above the boundary.
    """
    stages: list[PlannedStage] = []
    hand_over = _HandOver(sigma=0.0, scheduler=recipe.scheduler, shift=recipe.shift)
    for index in range(len(recipe.stages)):
        planned, hand_over = _plan_stage(recipe, index, hand_over)
        stages.append(planned)
    if hand_over.sigma != 0:
        raise ConfigError(
            f"recipe.stages.{stages[-1].name}.sigma_end: the last stage must run to sigma 0,"
            f" it stops at {hand_over.sigma:.4g}"
        )
    return Plan(stages=tuple(stages), warnings=plan_warnings(recipe, stages))


def _plan_stage(recipe: Recipe, index: int, before: _HandOver) -> tuple[PlannedStage, _HandOver]:
    stage = recipe.stages[index]
    try:
        levels, rest = _stage_schedule(recipe, index, before)
        sigmas = _offset(stage, levels, rest.shift)
        asked = tuple(evaluations(stage.sampler, sigmas))
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"recipe.stages.{stage.name}: {error}") from None
    cfg = recipe.model.cfg if stage.cfg is None else stage.cfg
    planned = PlannedStage(
        name=stage.name,
        index=index,
        takeover=_takeover(stage, index, levels[0], before.sigma),
        previous_end=before.sigma,
        sigma_start=levels[0],
        sigmas=sigmas,
        sigma_end_wanted=stage.sigma_end,
        sampler=stage.sampler,
        scheduler=rest.scheduler,
        shift=rest.shift,
        denoise=stage.denoise,
        cfg=cfg,
        guided=not math.isclose(cfg, 1.0),
        evaluation_sigmas=asked,
        experts=_experts(recipe, stage, asked),
        loras=tuple(sorted(stage.loras.items())),
        step_cache=recipe.step_cache if stage.step_cache is None else stage.step_cache,
    )
    return planned, rest


def _offset(stage: Stage, levels: tuple[float, ...], shift: float) -> tuple[float, ...]:
    """What the sampler integrates: solvers in log-SNR step from just below a start at 1."""
    if SAMPLER_FACTS[stage.sampler].offset_first and levels[0] >= 1:
        return (float(shift_time(FIRST_SIGMA_TIME, shift)), *levels[1:])
    return levels


def _takeover(stage: Stage, index: int, start: float, end: float) -> Takeover:
    if index == 0:
        return "noise"
    if abs(start - end) <= MEET:
        return "continue"
    if start > end:
        return "renoise"
    raise ConfigError(
        f"recipe.stages.{stage.name}: starts at sigma {start:.4g}, below the {end:.4g} that the"
        " stage before hands over; noise can be added but not taken away without model calls (a"
        " stage with neither denoise nor sigma_start continues from there)"
    )


def _stage_schedule(
    recipe: Recipe, index: int, before: _HandOver
) -> tuple[tuple[float, ...], _HandOver]:
    """A stage's levels, and where they leave a stage that continues them."""
    stage = recipe.stages[index]
    target = stage.sigma_end or 0.0
    anew = index == 0 or stage.denoise is not None or stage.sigma_start is not None
    if not anew and before.sigma == 0:
        raise ConfigError(
            f"recipe.stages.{stage.name}: the stage before ends at sigma 0, so there is nothing"
            " to continue; give denoise or sigma_start, or give the stage before a sigma_end"
        )
    rest = None
    if _own(stage) and stage.denoise is None and (target > 0 or not anew):
        start = (stage.sigma_start or 1.0) if anew else before.sigma
        levels = _own_interval(recipe, stage, start, target)
    elif anew:
        levels, rest = _cut(stage, _fresh_schedule(recipe, index), target)
    else:
        grid = before.rest or _rest_of_recipe(recipe, index, before.sigma)
        levels, rest = _cut(stage, grid, target)
    inherits = not anew and before.rest is not None and not _own(stage)
    return levels, _HandOver(
        sigma=levels[-1],
        scheduler=before.scheduler if inherits else stage.scheduler or recipe.scheduler,
        shift=before.shift if inherits else _shift(recipe, stage),
        rest=rest,
    )


def _own(stage: Stage) -> bool:
    """Whether a split stage leaves the recipe's schedule for one of its own."""
    return not (stage.steps is None and stage.scheduler is None and stage.shift is None)


def _shift(recipe: Recipe, stage: Stage) -> float:
    return recipe.shift if stage.shift is None else stage.shift


def _steps(recipe: Recipe, stage: Stage) -> int:
    steps = recipe.steps if stage.steps is None else stage.steps
    if steps is None:
        raise ConfigError(
            f"recipe.stages.{stage.name}.steps: neither the stage nor the recipe says how many"
        )
    return steps


def _fresh_schedule(recipe: Recipe, index: int) -> tuple[float, ...]:
    """From where the stage starts down to 0, by its own or else the recipe's schedule."""
    stage = recipe.stages[index]
    return _floats(
        stage_sigmas(
            stage.scheduler or recipe.scheduler,
            _steps(recipe, stage),
            _shift(recipe, stage),
            denoise=1.0 if stage.denoise is None else stage.denoise,
            sigma_start=stage.sigma_start,
            sampler=_grid_sampler(recipe.stages[index:]),
        )
    )


def _grid_sampler(stages: Sequence[Stage]) -> str:
    """The sampler whose schedule the stages of a split share.

    A few samplers leave out the second-to-last sigma. Stages that share one schedule can do so
    only together, as chained KSampler nodes with the same sampler do.
    """
    sharing = [stages[0].sampler]
    for before, stage in pairwise(stages):
        if not before.sigma_end or stage.denoise or stage.sigma_start or _own(stage):
            break
        sharing.append(stage.sampler)
    return sharing[0] if len(set(sharing)) == 1 else "euler"


def _rest_of_recipe(recipe: Recipe, index: int, start: float) -> tuple[float, ...]:
    """The recipe's levels below a hand-over that came from another schedule."""
    stage = recipe.stages[index]
    grid = stage_sigmas(
        recipe.scheduler,
        _steps(recipe, stage),
        recipe.shift,
        sampler=_grid_sampler(recipe.stages[index:]),
    )
    return (start, *(sigma for sigma in _floats(grid) if sigma < start - MEET))


def _own_interval(recipe: Recipe, stage: Stage, start: float, end: float) -> tuple[float, ...]:
    if end >= start:
        raise ConfigError(
            f"recipe.stages.{stage.name}.sigma_end: expected less than the {start:.4g} that the"
            f" stage starts from, got {end:.4g}"
        )
    scheduler = stage.scheduler or recipe.scheduler
    steps = stage.steps or _share(recipe, stage, start, end)
    drops = end == 0 and SAMPLER_FACTS[stage.sampler].drops_penultimate
    levels = interval_sigmas(scheduler, steps + drops, _shift(recipe, stage), start=start, end=end)
    return _floats(np.delete(levels, -2) if drops else levels)


def _share(recipe: Recipe, stage: Stage, start: float, end: float) -> int:
    """How many of the recipe's steps fall between two levels: a stage's part of the whole."""
    grid = stage_sigmas(recipe.scheduler, _steps(recipe, stage), recipe.shift)
    nearest = [int(np.abs(grid - level).argmin()) for level in (start, end)]
    return max(1, nearest[1] - nearest[0])


def _cut(
    stage: Stage, grid: tuple[float, ...], target: float
) -> tuple[tuple[float, ...], tuple[float, ...] | None]:
    """The grid down to the level nearest to ``target``, and the rest from there on."""
    if target == 0:
        return grid, None
    nearest = int(np.abs(np.array(grid) - target).argmin())
    if not 0 < nearest < len(grid) - 1:
        shown = [f"{sigma:.4g}" for sigma in grid[1:-1]]
        shown = shown if len(shown) <= MANY_LEVELS else [*shown[:3], "…", *shown[-3:]]
        inside = ", ".join(shown) or "none"
        raise ConfigError(
            f"recipe.stages.{stage.name}.sigma_end: {target:.4g} leaves"
            f" {'this stage' if nearest == 0 else 'the next stage'} no step; the schedule's"
            f" levels between {grid[0]:.4g} and 0 are: {inside}"
        )
    return grid[: nearest + 1], grid[nearest:]


def _experts(recipe: Recipe, stage: Stage, asked: Sequence[float]) -> tuple[str, ...]:
    model = recipe.model
    if stage.expert == "auto":
        return tuple(model.expert_at(sigma) for sigma in asked)
    limit = model.boundary if stage.expert == model.experts[-1] else None
    if limit is not None and max(asked) > limit + MEET:
        raise ConfigError(
            f"recipe.stages.{stage.name}.expert: the {stage.expert} expert knows only sigma below"
            f" {limit:g}, this stage asks it at {max(asked):.4g}; use expert auto or"
            " start lower"
        )
    return (stage.expert,) * len(asked)


def _floats(levels: np.ndarray) -> tuple[float, ...]:
    """Plain numbers; what a small shift rounds to 1 ± 2e-16 is 1 again."""
    return tuple(1.0 if abs(level - 1) < ROUNDING else float(level) for level in levels)
