"""Recipes as files: what ``conf/recipe/`` holds, and the preset with its plan and evidence."""

from __future__ import annotations

import importlib.metadata
import textwrap
from collections.abc import Iterable, Mapping, Sequence

import yaml

from wanexp.config import model_tree
from wanexp.plan import Plan
from wanexp.presets.preset import Preset

SCHEMA = 1
"""Of a preset file."""

WIDTH = 98


class _Lines(yaml.SafeDumper):
    """Lists of plain values on one line, mappings spread out."""

    def represent_sequence(
        self, tag: str, sequence: Iterable[object], flow_style: bool | None = None
    ) -> yaml.SequenceNode:
        """A list; what it holds decides how it is written."""
        items = list(sequence)
        plain = not any(isinstance(item, Mapping | list) for item in items)
        return super().represent_sequence(tag, items, flow_style=flow_style or plain)

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        """Write everything out where it stands."""
        return True


def version() -> str:
    """Of the wanexp that is installed."""
    return importlib.metadata.version("wanexp")


def recipe_tree(preset: Preset) -> dict[str, object]:
    """The recipe with nothing left to the model: the same numbers, whatever becomes of defaults."""
    recipe, plan = preset.trial.recipe, preset.plan
    sizes = ("width", "height", "frames", "fps", "steps", "scheduler", "shift")
    stages = {}
    for stage, planned in zip(recipe.stages, plan.stages, strict=True):
        own = {key: value for key, value in vars(stage).items() if key != "name"}
        own["step_cache"] = stage.step_cache and stage.step_cache.settings()
        stages[stage.name] = {**own, "cfg": planned.cfg, "loras": dict(stage.loras)}
    whole = {key: getattr(recipe, key) for key in sizes}
    return {**whole, "step_cache": recipe.step_cache.settings(), "stages": stages}


def recipe_text(tree: Mapping[str, object], about: Sequence[str]) -> str:
    """A file for ``conf/recipe/``, with ``about`` as its head."""
    return f"{comment(about)}{dumped(tree)}"


def preset_text(preset: Preset) -> str:
    """The preset file: recipe, plan, evidence, and what they stand on."""
    trial = preset.trial
    recipe = trial.recipe
    about = [
        f"A preset of wanexp {version()}: {preset.evidence['verdict']}",
        "`recipe` is a file for conf/recipe/; `plan` is what it comes to, level by level.",
    ]
    tree = {
        "preset": SCHEMA,
        "name": preset.name,
        "wanexp": version(),
        "model": {**model_tree(recipe), "weights": preset.weights},
        "recipe": recipe_tree(preset),
        "plan": plan_tree(preset.plan),
        "evidence": preset.evidence,
        "example": {
            "case": trial.case.name,
            "image": trial.case.image,
            "prompt": trial.case.prompt,
            "negative_prompt": trial.case.negative_prompt,
            "seed": trial.seed,
        },
        "memory": dict(vars(trial.memory)),
    }
    return f"{comment(about)}{dumped(tree)}"


def plan_tree(plan: Plan) -> dict[str, object]:
    """The plan's levels, experts and cost, stage by stage."""
    keys = ("takeover", "sampler", "cfg", "sigma_start", "sigmas", "experts", "model_calls")
    trees = {stage.name: stage.tree() for stage in plan.stages}
    stages = {name: {key: tree[key] for key in keys} for name, tree in trees.items()}
    return {"model_calls": plan.model_calls, "stages": stages}


def comment(lines: Sequence[str]) -> str:
    """Lines as a YAML comment, long ones broken."""
    broken = [part for line in lines for part in textwrap.wrap(line, WIDTH) or [""]]
    return "".join(f"# {line}".rstrip() + "\n" for line in broken)


def dumped(tree: Mapping[str, object]) -> str:
    """Plain values as YAML, in their order."""
    return yaml.dump(tree, Dumper=_Lines, sort_keys=False, allow_unicode=True, width=WIDTH)
