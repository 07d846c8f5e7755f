"""Where a model's parts lie and what they say of themselves, checked before anything loads.

A part is a folder in diffusers' layout or a single file. No torch here: the wrong one is refused
in milliseconds, in one sentence.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wanexp.models import Model, fingerprint, weights_folder
from wanexp.strict import ConfigError
from wanexp.weights.check import channels_of, check_files
from wanexp.weights.contents import Contents
from wanexp.weights.files import find_file, find_tokenizer, parts_of, whole

EXPERT_FOLDERS = ("transformer", "transformer_2")
"""Where the experts lie, from the highest noise to the lowest."""

TEXT_PARTS = ("tokenizer", "text_encoder")
"""They belong together: a text encoder's file brings its tokenizer, or names one."""

PIPELINES = {
    "channels": ("WanImageToVideoPipeline",),
    # The 5B does text and image to video; its repository names the former.
    "first_frame": ("WanPipeline", "WanImageToVideoPipeline"),
    "none": ("WanPipeline",),
}
"""What a folder calls itself, by how the source image enters the model."""


@dataclass(frozen=True, kw_only=True)
class Located:
    """A model's parts on this machine.

    Attributes:
        folder: In diffusers' layout; None where single files hold everything.
        files: The part's folder in that layout → the single file in its place.
        contents: What these files hold, by the setting that names them; the tokenizer has none.
    """

    folder: Path | None
    files: Mapping[str, Path] = field(default_factory=dict)
    contents: Mapping[str, Contents] = field(default_factory=dict)


def check_source(
    model: Model, source: str, revision: str | None = None, files: Mapping[str, str] | None = None
) -> Located:
    """A model's parts, found on this machine and checked against its facts.

    ``files`` are single files by part (``wanexp.weights``); ``source`` holds the rest.

    Raises:
        ConfigError: One sentence: not here, incomplete, another model's, or not of one model.
    """
    given = {} if files is None else files
    found = {part: _find(part, name) for part, name in given.items()}
    contents = check_files(model, found)
    _check_tokenizer(model, found, contents)
    places = {_place(model, part): path for part, path in found.items()}
    if whole(model, given):
        return Located(folder=None, files=places, contents=contents)
    folder = _find_rest(model, source, revision, given)
    check_folder(folder, model, source, revision, without=_not_needed(places))
    _check_widths(folder, places, contents)
    return Located(folder=folder, files=places, contents=contents)


def located_fingerprint(folder: Path | None, files: Mapping[str, Path]) -> str:
    """Sixteen hex digits that change when the weights do, wherever they lie."""
    if folder is not None and not files:
        return fingerprint(str(folder), None)
    marks = {part: fingerprint(str(path), None) for part, path in files.items()}
    if folder is not None:
        marks["folder"] = fingerprint(str(folder), None)
    return hashlib.sha256(json.dumps(marks, sort_keys=True).encode()).hexdigest()[:16]


def find_folder(source: str, revision: str | None) -> Path:
    """The folder of ``source``: itself, or where the Hub's client has downloaded it to.

    Downloads nothing: the models are up to 126 GB, which should be somebody's decision.

    Raises:
        ConfigError: A Hub model that is not on this machine, with the command that gets it.
    """
    folder = weights_folder(source)
    if folder is not None:
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(source, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        raise ConfigError(
            f"model.source: the weights of {source} are not on this machine; get them with"
            f" `{_download(source, revision)}`, or give a folder that holds them"
        ) from None


def _find_rest(model: Model, source: str, revision: str | None, given: Mapping[str, str]) -> Path:
    """The folder that holds what no single file was given for."""
    try:
        return find_folder(source, revision)
    except ConfigError as error:
        rest = [p for p in parts_of(model) if p not in given and p != "tokenizer"]
        if not given:
            raise
        also = " and ".join(f"model.{part}=FILE" for part in rest)
        raise ConfigError(f"{error}, or {also} beside the other files") from None


def check_folder(
    folder: Path,
    model: Model,
    source: str,
    revision: str | None = None,
    without: Collection[str] = (),
) -> None:
    """Refuse a folder that is not the model's pipeline, lacks a part, or contradicts its facts.

    ``without`` are parts that come from elsewhere and are not looked at.

    Raises:
        ConfigError: One sentence with what was found and what was expected.
    """
    where = f"model.source: {source!r}"
    index = _read(folder / "model_index.json", where)
    wanted = PIPELINES[model.condition]
    if index.get("_class_name") not in wanted:
        raise ConfigError(
            f"{where} is a {index.get('_class_name')}, but {model.name} is a {wanted[0]}"
        )
    experts = EXPERT_FOLDERS[: len(model.experts)]
    needed = [part for part in (*TEXT_PARTS, "vae", *experts) if part not in without]
    for part in needed:
        missing = None if _present(index, part) else f"no {part}"
        missing = missing or _missing_file(folder / part, part)
        if missing:
            raise ConfigError(
                f"{where} is incomplete ({missing}); {_how_to_complete(source, revision)}"
            )
    for part in EXPERT_FOLDERS[len(model.experts) :]:
        if _present(index, part):
            raise ConfigError(f"{where} has a {part}, but {model.name} has only one expert")
    for what, found, expected in _claims(folder, index, model, needed, where):
        if found != expected:
            raise ConfigError(
                f"{where}: {what} is {found}, but {model.name} has {expected}; is it the weights"
                " of another model?"
            )


def parameter_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter in a part's safetensors files, from their headers."""
    from safetensors import safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="numpy") as file:
            for key in file.keys():  # noqa: SIM118  (not a mapping)
                shapes[key] = tuple(file.get_slice(key).get_shape())
    return shapes


def _find(part: str, name: str) -> Path:
    where = f"model.{part}"
    return find_tokenizer(name, where) if part == "tokenizer" else find_file(name, where)


def _place(model: Model, part: str) -> str:
    """The folder that a part has in diffusers' layout."""
    if not part.startswith("experts."):
        return part
    return EXPERT_FOLDERS[model.experts.index(part.removeprefix("experts."))]


def _not_needed(files: Mapping[str, Path]) -> tuple[str, ...]:
    return (*files, *TEXT_PARTS) if "text_encoder" in files else tuple(files)


def _check_tokenizer(
    model: Model, found: Mapping[str, Path], contents: Mapping[str, Contents]
) -> None:
    if "text_encoder" not in found or "tokenizer" in found:
        return
    if contents["text_encoder"].tokenizer is None:
        command = f"hf download {model.source} --include 'tokenizer/*'"
        raise ConfigError(
            f"model.tokenizer: {found['text_encoder'].name} carries none (no tensor spiece_model);"
            f" get UMT5's with `{command}` and set model.tokenizer={model.source}, or a folder"
            " that holds one"
        )


def _check_widths(
    folder: Path, files: Mapping[str, Path], contents: Mapping[str, Contents]
) -> None:
    """Refuse single experts whose texts are not of the width that the folder's encoder gives."""
    if "text_encoder" in files:
        return
    width = _read(folder / "text_encoder" / "config.json", "model.source").get("d_model")
    for part, held in contents.items():
        if held.kind == "expert" and held.sizes["text"] != width:
            raise ConfigError(
                f"model.{part} is for texts of width {held.sizes['text']}, but the text encoder of"
                f" model.source gives {width}"
            )


def _claims(
    folder: Path, index: Mapping[str, object], model: Model, needed: Collection[str], where: str
) -> list[tuple[str, object, object]]:
    """(what, what the folder says, what the model's row says)."""
    into, channels = channels_of(model)
    claims: list[tuple[str, object, object]] = [
        ("boundary_ratio", index.get("boundary_ratio"), model.boundary),
        (
            "expand_timesteps",
            bool(index.get("expand_timesteps", False)),
            model.condition == "first_frame",
        ),
    ]
    if "vae" in needed:
        vae = _read(folder / "vae" / "config.json", where)
        claims += [
            ("vae z_dim", vae.get("z_dim", 16), channels),
            ("vae scale_factor_spatial", vae.get("scale_factor_spatial", 8), model.vae_stride),
            ("vae scale_factor_temporal", vae.get("scale_factor_temporal", 4), model.frame_stride),
        ]
    for expert in (part for part in EXPERT_FOLDERS if part in needed):
        config = _read(folder / expert / "config.json", where)
        claims += [
            (f"{expert} in_channels", config.get("in_channels"), into),
            (f"{expert} out_channels", config.get("out_channels"), channels),
            (f"{expert} image_dim", config.get("image_dim"), None),
        ]
    return claims


def _present(index: Mapping[str, object], part: str) -> bool:
    """Whether the index lists the part; ``[null, null]`` is how it says that there is none."""
    entry = index.get(part)
    return isinstance(entry, list) and len(entry) == 2 and entry[1] is not None


def _missing_file(folder: Path, part: str) -> str | None:
    if part == "tokenizer":
        found = any(folder.glob("*.json")) or any(folder.glob("*.model"))
        return None if found else f"no files in {part}"
    if not (folder / "config.json").is_file():
        return f"no {part}/config.json"
    for shards in folder.glob("*.safetensors.index.json"):
        names = set(json.loads(shards.read_text())["weight_map"].values())
        lost = sorted(name for name in names if not (folder / name).is_file())
        return f"no {part}/{lost[0]}" if lost else None
    return None if any(folder.glob("*.safetensors")) else f"no {part}/*.safetensors"


def _read(path: Path, where: str) -> Mapping[str, object]:
    if not path.is_file():
        raise ConfigError(f"{where} is not a folder in diffusers' layout: it has no {path.name}")
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ConfigError(f"{where}: {path} cannot be read ({error})") from None


def _how_to_complete(source: str, revision: str | None) -> str:
    if weights_folder(source) is None:
        return f"get the rest with `{_download(source, revision)}`"
    return "a whole one has model_index.json, tokenizer, text_encoder, vae and its transformers"


def _download(source: str, revision: str | None) -> str:
    return f"hf download {source}" + (f" --revision {revision}" if revision else "")
