"""What a folder of weights in diffusers' layout says of itself, checked before anything loads.

No torch here: the wrong folder is refused in milliseconds, in one sentence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from wanexp.models import Model, weights_folder
from wanexp.strict import ConfigError

EXPERT_FOLDERS = ("transformer", "transformer_2")
"""Where the experts lie, from the highest noise to the lowest."""

PIPELINES = {
    "channels": ("WanImageToVideoPipeline",),
    # The 5B does text and image to video; its repository names the former.
    "first_frame": ("WanPipeline", "WanImageToVideoPipeline"),
}
"""What a folder calls itself, by how the source image enters the model."""

HUB_FILE = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)/(?P<file>.+\.safetensors)")


def check_source(model: Model, source: str, revision: str | None = None) -> Path:
    """The folder of a model's weights, found on this machine and checked against its facts.

    Raises:
        ConfigError: One sentence: not here, incomplete, or another model's.
    """
    folder = find_folder(source, revision)
    check_folder(folder, model, source, revision)
    return folder


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


def check_folder(folder: Path, model: Model, source: str, revision: str | None = None) -> None:
    """Refuse a folder that is not the model's pipeline, lacks a part, or contradicts its facts.

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
    for part in ("tokenizer", "text_encoder", "vae", *experts):
        missing = None if _present(index, part) else f"no {part}"
        missing = missing or _missing_file(folder / part, part)
        if missing:
            raise ConfigError(
                f"{where} is incomplete ({missing}); {_how_to_complete(source, revision)}"
            )
    for part in EXPERT_FOLDERS[len(model.experts) :]:
        if _present(index, part):
            raise ConfigError(f"{where} has a {part}, but {model.name} has only one expert")
    for what, found, expected in _claims(folder, index, model, experts, where):
        if found != expected:
            raise ConfigError(
                f"{where}: {what} is {found}, but {model.name} has {expected}; is it the weights"
                " of another model?"
            )


def find_lora(name: str, where: str) -> Path:
    """The file of a LoRA: a path, or ``owner/name/file.safetensors`` downloaded from the Hub.

    Raises:
        ConfigError: There is no such file on this machine.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    hub = HUB_FILE.fullmatch(name)
    if hub is None:
        raise ConfigError(
            f"{where}: no file {name!r}; give a .safetensors file, or owner/name/file.safetensors"
            " of the Hub"
        )
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(hub["repository"], hub["file"])
    if not isinstance(found, str):
        raise ConfigError(
            f"{where}: {name} is not on this machine; get it with"
            f" `hf download {hub['repository']} {hub['file']}`"
        )
    return Path(found)


def parameter_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter in a part's safetensors files, from their headers."""
    from safetensors import safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="numpy") as file:
            for key in file.keys():  # noqa: SIM118  (not a mapping)
                shapes[key] = tuple(file.get_slice(key).get_shape())
    return shapes


def _claims(
    folder: Path, index: Mapping[str, object], model: Model, experts: tuple[str, ...], where: str
) -> list[tuple[str, object, object]]:
    """(what, what the folder says, what the model's row says)."""
    channels = model.latent_channels
    beside = model.frame_stride + channels if model.condition == "channels" else 0
    vae = _read(folder / "vae" / "config.json", where)
    claims: list[tuple[str, object, object]] = [
        ("boundary_ratio", index.get("boundary_ratio"), model.boundary),
        (
            "expand_timesteps",
            bool(index.get("expand_timesteps", False)),
            model.condition == "first_frame",
        ),
        ("vae z_dim", vae.get("z_dim", 16), channels),
        ("vae scale_factor_spatial", vae.get("scale_factor_spatial", 8), model.vae_stride),
        ("vae scale_factor_temporal", vae.get("scale_factor_temporal", 4), model.frame_stride),
    ]
    for expert in experts:
        config = _read(folder / expert / "config.json", where)
        claims += [
            (f"{expert} in_channels", config.get("in_channels"), channels + beside),
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
