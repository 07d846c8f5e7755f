"""The verb ``import``: a ComfyUI workflow that somebody has, as a recipe to sweep around."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wanexp.plan import make_plan
from wanexp.presets.comfy_chain import read_chain
from wanexp.presets.comfy_graph import read_graph
from wanexp.presets.comfy_import import Imported, Settings, import_chain, imported_recipe
from wanexp.presets.recipe_file import recipe_text
from wanexp.strict import ConfigError

FOLDER = Path("conf/recipe")
STDOUT = "-"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A workflow, and what it does not say of itself.

    Attributes:
        node: The last sampler of the chain that is meant, where there are several.
        experts: Model file → expert, for files that name neither.
        loras: The folder that the workflow's LoRAs are in; None keeps ComfyUI's names.
    """

    file: str
    node: str | None = None
    experts: Mapping[str, str] = field(default_factory=dict)
    loras: str | None = None


def import_command(source: Source, *, out: str | None, as_json: bool) -> int:
    """Writes a workflow's recipe to ``conf/recipe/`` of this folder, or to ``out``."""
    found = read_workflow(source)
    file = Path(source.file)
    name = re.sub(r"\W+", "_", file.name.split(".")[0]).strip("_").lower() or "imported"
    path = FOLDER / f"{name}.yaml" if out is None else Path(out).expanduser()
    recipe = imported_recipe(found)
    plan = make_plan(recipe)
    text = recipe_text(found.recipe, _about(found, file.name))
    if out == STDOUT:
        print(text, end="")
        return 0
    if out is None and path.exists():
        raise ConfigError(f"{path}: is there already; give --out another file, or --out {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    use = f"recipe={path.stem} model={found.model}"
    use += f" seed={found.seed}" if found.seed is not None else ""
    if as_json:
        told = {"file": str(path), "model": found.model, "seed": found.seed, "notes": found.notes}
        print(json.dumps({**told, "plan": plan.tree()}))
        return 0
    print(f"{path}\n  {use}")
    for stage in plan.stages:
        ends = f"sigma {stage.sigma_start:.3f} to {stage.sigma_end:.3f}"
        print(f"  {stage.name}: {stage.steps} steps of {stage.sampler}, {ends}")
    for sentence in (*found.notes, *plan.warnings):
        print(f"  note: {sentence}")
    return 0


def read_workflow(source: Source) -> Imported:
    """The recipe of a workflow file.

    Raises:
        ConfigError: There is no such file, it is no workflow, or it does what no recipe does.
    """
    file = Path(source.file).expanduser()
    if not file.is_file():
        raise ConfigError(f"import: no file {source.file!r}")
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError(
            f"{file.name}: not text; save the workflow as JSON (a video or picture is not read)"
        ) from None
    chain = read_chain(read_graph(text, file.name), file.name, source.node)
    found = import_chain(chain, file.name, source.experts)
    return found if source.loras is None else _with_loras(found, Path(source.loras).expanduser())


def _with_loras(found: Imported, folder: Path) -> Imported:
    """The recipe with ComfyUI's LoRA names as files of a folder."""
    stages = found.recipe["stages"]
    moved: dict[str, Settings] = {}
    for name, stage in stages.items() if isinstance(stages, dict) else ():
        moved[name] = {**stage, "loras": {str(folder / k): v for k, v in stage["loras"].items()}}
    notes = tuple(note for note in found.notes if "LoRAs" not in note)
    return Imported(**{**vars(found), "recipe": {**found.recipe, "stages": moved}, "notes": notes})


def _about(found: Imported, file: str) -> list[str]:
    seed = f" seed={found.seed}" if found.seed is not None else ""
    lines = [f"From {file}; model={found.model}{seed}."]
    for what, text in (("Prompt", found.prompt), ("Negative prompt", found.negative_prompt)):
        if text:
            lines.append(f"{what}: {' '.join(text.split())}")
    if found.image:
        lines.append(f"Its picture is {found.image}.")
    return lines
