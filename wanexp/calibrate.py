"""`wanexp calibrate`: the ratios that the step cache mag needs, measured on the weights in use."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from wanexp.backends import load_backend
from wanexp.compose import compose_tree
from wanexp.config import Trial, trial_from
from wanexp.generate import generate
from wanexp.making import frame_source
from wanexp.plan import Plan, make_plan
from wanexp.planned import plan_trial
from wanexp.seeds import stage_seed
from wanexp.staged import encode_case
from wanexp.step_cache import StepCache
from wanexp.strict import ConfigError


def calibrate_command(overrides: Sequence[str], *, as_json: bool) -> int:
    """Samples one trial without a step cache and prints each expert's ratios, step by step."""
    trial = trial_from(compose_tree(overrides))
    plan = _plan(trial)
    found = measured_ratios(trial, plan)
    if as_json:
        print(json.dumps(found))
        return 0
    rows = ", ".join(f"{name}: {ratios}" for name, ratios in found.items())
    calls = sum(map(len, found.values()))
    print(f"{calls} steps of {trial.recipe.model.name}; as an override, for any recipe:")
    print(f"'recipe.step_cache={{kind: mag, ratios: {{{rows}}}}}'")
    return 0


def measured_ratios(trial: Trial, plan: Plan) -> dict[str, list[float]]:
    """Expert → one ratio a step; an expert that the plan never asks has the single ratio 1."""
    from wanexp.backends.diffusers import DiffusersBackend
    from wanexp.backends.ratios import watching

    memory = replace(trial.memory, compile=False, guidance="sequential")
    backend = load_backend(trial.recipe, memory)
    if not isinstance(backend, DiffusersBackend):
        raise TypeError(f"{type(backend).__name__} has no blocks to watch")
    planned = plan_trial(replace(trial, memory=memory), "calibrate", plan=plan)
    told = encode_case(planned, frame_source(trial), backend, None)
    branches = 2 if plan.stages[0].guided else 1
    with watching(backend, branches) as watches:
        list(generate(plan, told, [stage_seed(trial.seed, 0)], backend))
    return {name: watch.by_step() or [1.0] for name, watch in watches.items()}


def _plan(trial: Trial) -> Plan:
    """The plan without a step cache.

    Raises:
        ConfigError: Travelling layers, or a recipe of several stages, whose ratios would mix.
    """
    if trial.memory.offload == "group":
        raise ConfigError("memory.offload: mag does not go with group; use none or model")
    if len(trial.recipe.stages) != 1:
        raise ConfigError(
            "recipe: ratios are measured along one whole stage; use recipe=single (they are"
            " stretched to the steps of any other)"
        )
    (stage,) = trial.recipe.stages
    plain = replace(trial.recipe, step_cache=StepCache(), stages=(replace(stage, step_cache=None),))
    return make_plan(plain)
