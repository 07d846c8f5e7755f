"""The verb ``export``: a preset chosen, written for its target, and told to MLflow."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wanexp.compose import compose_tree
from wanexp.names import lookup
from wanexp.presets.comfy_export import comfyui_workflow, notes
from wanexp.presets.comfy_nodes import api_tree, files_for, minimum_version, own_names
from wanexp.presets.preset import Choice, Preset, composed_preset, study_preset
from wanexp.presets.recipe_file import preset_text, recipe_text, recipe_tree, version
from wanexp.presets.script import diffusers_script
from wanexp.strict import ConfigError
from wanexp.tracking import tracking_from

STDOUT = "-"
BEST = "best.yaml"
"""The file that the best preset of a study is kept in, whatever it is exported to."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked on the command line.

    Attributes:
        out: A file, ``-`` for standard output, None for the study's own folder of presets.
        files: Names in ComfyUI's folders, by expert, ``clip``, ``vae`` and ``image``.
    """

    target: str
    out: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Written:
    """A preset for a target: its text, and sentences that belong to it."""

    text: str
    notes: tuple[str, ...] = ()


def export_command(
    name: str | None, overrides: Sequence[str], choice: Choice, request: Request, *, as_json: bool
) -> int:
    """Writes a preset; the best one is kept with the study and registered in MLflow too."""
    try:
        _, ending = lookup("target", TARGETS, request.target)
    except KeyError as error:
        raise ConfigError(f"--to: {error.args[0]}") from None
    if name is None:
        if choice != Choice():
            raise ConfigError("export: --best, --arm, --trial and the like choose from a STUDY")
        preset = composed_preset(overrides)
    else:
        preset = study_preset(name, overrides, choice)
    if request.out == STDOUT:
        print(_written(preset, request, None).text, end="")
        return 0
    path = _place(preset, request, ending)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = _picture(preset, request, path)
    written = _written(preset, request, picture)
    path.write_text(written.text, encoding="utf-8")
    said = [str(preset.evidence["verdict"]), *written.notes]
    if choice.best and choice.model is None:
        said += _keep_best(preset, overrides)
    if as_json:
        print(json.dumps({"file": str(path), "target": request.target, "notes": said}))
    else:
        print("\n".join([str(path), *(f"  {sentence}" for sentence in said)]))
    return 0


def _place(preset: Preset, request: Request, ending: str) -> Path:
    if request.out is not None:
        return Path(request.out).expanduser()
    folder = Path() if preset.paths is None else preset.paths.root / "presets"
    return folder / f"{preset.name}{ending}"


def _picture(preset: Preset, request: Request, path: Path) -> str | None:
    """The source beside a workflow, which loads it by its name; None where there is none."""
    if request.target != "comfyui" or preset.source is None or not preset.source.is_file():
        return None
    name = request.files.get("image", f"{path.stem.split('.')[0]}.png")
    shutil.copyfile(preset.source, path.parent / name)
    return name


def _written(preset: Preset, request: Request, picture: str | None) -> Written:
    write, _ = TARGETS[request.target]
    files = dict(request.files)
    if picture is not None:
        files.setdefault("image", picture)
    return write(preset, files)


def _preset(preset: Preset, files: Mapping[str, str]) -> Written:
    _no_files(files)
    return Written(text=preset_text(preset))


def _hydra(preset: Preset, files: Mapping[str, str]) -> Written:
    _no_files(files)
    model = preset.trial.recipe.model.name
    about = [
        *_about(preset),
        f"In conf/recipe/ of your folder it is recipe=NAME, with model={model}.",
    ]
    return Written(text=recipe_text(recipe_tree(preset), about))


def _diffusers(preset: Preset, files: Mapping[str, str]) -> Written:
    _no_files(files)
    title = f"{preset.name}: a preset of wanexp {version()} for diffusers"
    about, notes = _about(preset), ()
    if preset.trial.recipe.files:
        notes = (
            "Its weights are single files, and the script reads a folder in diffusers' layout: its"
            " MODEL is the same model, and its videos are others where the files are quantised.",
        )
    text = diffusers_script(preset.trial, preset.plan, title, [*about, *notes])
    return Written(text=text, notes=notes)


def _comfyui(preset: Preset, files: Mapping[str, str]) -> Written:
    trial, plan = preset.trial, preset.plan
    names = files_for(trial.recipe.model, {**own_names(trial.recipe.files), **files})
    graph = comfyui_workflow(trial, plan, names, preset.name)
    needs = f"Needs ComfyUI {minimum_version(graph)} or newer, and no custom nodes."
    size = f"{trial.recipe.width} × {trial.recipe.height}"
    picture = (
        f"Put a picture {names.image} into ComfyUI's input folder; one of {size} is used as it is,"
        " others ComfyUI resizes in its own way."
    )
    pictures = () if trial.case.image is None else (picture,)
    text = json.dumps(api_tree(graph), indent=1, ensure_ascii=False) + "\n"
    return Written(text=text, notes=(needs, *pictures, *notes(trial, plan, graph)))


Writer = Callable[[Preset, Mapping[str, str]], Written]

TARGETS: dict[str, tuple[Writer, str]] = {
    "preset": (_preset, ".yaml"),
    "hydra": (_hydra, ".recipe.yaml"),
    "comfyui": (_comfyui, ".comfyui.json"),
    "diffusers": (_diffusers, ".py"),
}
"""Target → who writes it, and how its files end."""


def _no_files(files: Mapping[str, str]) -> None:
    if files:
        raise ConfigError("--file: only comfyui has names of files to replace")


def _about(preset: Preset) -> list[str]:
    """The evidence in lines, for the head of a file."""
    evidence = preset.evidence
    keys = ("verdict", "chosen_by", "reach", "another_model", "other_weights")
    lines = [str(evidence[key]) for key in keys if key in evidence]
    study = f" in the study {evidence['study']}" if "study" in evidence else ""
    on = f", on {evidence['measured_on']}" if "measured_on" in evidence else ""
    return [f"wanexp {version()}: {preset.name}{study}{on}.", *lines]


def _keep_best(preset: Preset, overrides: Sequence[str]) -> list[str]:
    """Keep the best preset with the study, and register it; what came of it, in sentences."""
    from wanexp.track import prepare
    from wanexp.tracking.registry import ALIAS, Registered, register

    if preset.paths is None:
        return []
    text, kept = preset_text(preset), preset.paths.root / "presets" / BEST
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(text, encoding="utf-8")
    tracking = tracking_from(compose_tree(overrides))
    if not tracking.enabled:
        return []
    tracker, found = prepare(tracking, preset.paths), list[Registered]()
    verdict, study = str(preset.evidence["verdict"]), preset.paths.name
    tags = _tags(preset)
    tracker.tell(
        lambda client, experiment: found.append(
            register(client, experiment, study, text, verdict=verdict, tags=tags)
        )
    )
    if not found:
        return [f"{tracker.problem}; the same command tells MLflow later."]
    return [f"In MLflow it is {found[0].name}, version {found[0].version}, alias {ALIAS}."]


def _tags(preset: Preset) -> dict[str, str]:
    evidence = preset.evidence
    keys = ("arm", "baseline", "metric", "effect", "interval_95", "cases", "pairs")
    return {f"wanexp.{key}": str(evidence[key]) for key in keys if evidence.get(key) is not None}
