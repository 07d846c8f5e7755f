"""Which file is which part: given one by one, or found in a ComfyUI models folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from wanexp.models import Model, fingerprint
from wanexp.names import nearest
from wanexp.strict import ConfigError
from wanexp.weights.check import fits, word_of
from wanexp.weights.contents import Contents, contents_of

HUB_FILE = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)/(?P<file>.+\.safetensors)")

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "spiece.model")

PLACES: dict[str, tuple[str, ...]] = {
    "experts": ("diffusion_models", "unet"),
    "vae": ("vae",),
    "text_encoder": ("text_encoders", "clip"),
    "tokenizer": ("text_encoders", "clip"),
}
"""Where ComfyUI keeps a part's files, in its models folder: today's name, then the older one."""

ROOTS = ("", "models", "split_files")
"""Where that folder may lie in what was given; Comfy-Org's repositories call it split_files."""


def parts_of(model: Model) -> tuple[str, ...]:
    """The parts that files can be given for."""
    return (*(f"experts.{name}" for name in model.experts), "vae", "text_encoder", "tokenizer")


def whole(model: Model, given: Mapping[str, str]) -> bool:
    """Whether files are given for every part that holds weights: nothing else is needed then."""
    return all(part in given for part in parts_of(model) if part != "tokenizer")


def comfy_folder(source: str) -> Path | None:
    """ComfyUI's models folder in a folder that was given, or None where it is none."""
    folder = Path(source).expanduser()
    if not folder.is_dir() or (folder / "model_index.json").is_file():
        return None
    for root in ROOTS:
        if any((folder / root / place).is_dir() for place in PLACES["experts"]):
            return folder / root
    return None


def find_parts(model: Model, source: str, given: Mapping[str, str]) -> dict[str, str]:
    """The file of every part that is a single file; ``source`` holds the others.

    Raises:
        ConfigError: A file is not there, or a ComfyUI folder has none or several for a part.
    """
    folder = comfy_folder(source)
    named = {part: _named(name, part, folder) for part, name in given.items()}
    if folder is None:
        return named
    missing = [part for part in parts_of(model) if part not in given and part != "tokenizer"]
    return {**{part: str(_search(model, part, folder)) for part in missing}, **named}


def find_file(name: str, where: str) -> Path:
    """A file on this machine: a path, or ``owner/name/file.safetensors`` downloaded from the Hub.

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


def described(files: Mapping[str, str]) -> dict[str, str]:
    """Every part's file in a few words: its name, precision and size, where it is on this machine.

    Raises:
        ConfigError: A file that is here is none of a Wan model.
    """
    found = {}
    for part, name in files.items():
        try:
            path = find_file(name, part) if part != "tokenizer" else None
        except ConfigError:
            found[part] = f"{name} (not on this machine yet)"
            continue
        found[part] = name if path is None else f"{path.name} ({_words(path, part)})"
    return found


def here(files: Mapping[str, str]) -> dict[str, Path]:
    """The files that are on this machine; those on the Hub that nobody downloaded are left out."""
    found = {}
    for part, name in files.items():
        if part != "tokenizer":
            with contextlib.suppress(ConfigError):
                found[part] = find_file(name, f"model.{part}")
    return found


def comfy_name(name: str, part: str) -> str:
    """What ComfyUI's loaders call a file: its path below the folder of its kind, or its name."""
    parts = Path(name).parts
    at = [i for i, folder in enumerate(parts) if folder in PLACES[part.split(".", maxsplit=1)[0]]]
    return "/".join(parts[at[-1] + 1 :]) if at else parts[-1]


def find_tokenizer(name: str, where: str) -> Path:
    """A tokenizer's folder or file, or the folder of a Hub model that was downloaded.

    Raises:
        ConfigError: There is none on this machine.
    """
    path = Path(name).expanduser()
    if not path.exists() and HUB_ID.fullmatch(name):
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            path = Path(snapshot_download(name, local_files_only=True))
        except LocalEntryNotFoundError:
            raise ConfigError(
                f"{where}: {name} is not on this machine; get its tokenizer with"
                f" `hf download {name} --include 'tokenizer*'`"
            ) from None
    if path.is_file():
        return path
    for folder in (path, path / "tokenizer"):
        if any((folder / file).is_file() for file in TOKENIZER_FILES):
            return folder
    raise ConfigError(
        f"{where}: no tokenizer in {name!r}; give a folder with a tokenizer.json, or a spiece.model"
    )


def weights_fingerprint(
    model: Model, source: str, revision: str | None, files: Mapping[str, str]
) -> str:
    """Sixteen hex digits that change when the weights do, whatever they are kept in.

    A source of which nothing is used does not count; without single files it is all that counts.
    """
    if not files:
        return fingerprint(source, revision)
    marks = {part: fingerprint(name, None) for part, name in files.items()}
    if not whole(model, files):
        marks["source"] = fingerprint(source, revision)
    return hashlib.sha256(json.dumps(marks, sort_keys=True).encode()).hexdigest()[:16]


def _words(path: Path, part: str) -> str:
    contents = contents_of(path, f"model.{part}")
    return f"{contents.precision}, {contents.bytes / 2**30:.2f} GiB"


def _named(name: str, part: str, folder: Path | None) -> str:
    """A file as it was named: a path, one in the ComfyUI folder, or one on the Hub."""
    path = Path(name).expanduser()
    if path.is_file() or (part == "tokenizer" and path.is_dir()):
        return str(path)
    inside = list(_inside(folder, part)) if folder is not None else []
    for file in inside:
        if file.name == name or file.as_posix().endswith(f"/{name}"):
            return str(file)
    if HUB_FILE.fullmatch(name) or (part == "tokenizer" and HUB_ID.fullmatch(name)):
        return name
    hint = nearest(name, [file.name for file in inside])
    raise ConfigError(
        f"model.{part}: no file {name!r}{hint}; give a path, or owner/name/file.safetensors of the"
        " Hub"
    )


def _search(model: Model, part: str, folder: Path) -> Path:
    """The one file of a ComfyUI folder that is a part of this model."""
    expert = part.removeprefix("experts.") if part.startswith("experts.") else None
    found = []
    for file in _inside(folder, part):
        try:
            contents = contents_of(file, f"model.{part}")
        except ConfigError:  # another model's file, or a broken one; named, it would be refused
            continue
        if _is_part(model, part, contents) and (
            expert is None or len(model.experts) == 1 or word_of(model, file.name) == expert
        ):
            found.append(file)
    if len(found) == 1:
        return found[0]
    places = " or ".join(PLACES[part.split(".", maxsplit=1)[0]])
    if not found:
        raise ConfigError(
            f"model.{part}: {folder} has no file for it in {places}; put it there, or give"
            f" model.{part}=FILE"
        )
    names = ", ".join(sorted(file.name for file in found))
    raise ConfigError(
        f"model.{part}: {folder} has several files for it ({names}); say which:"
        f" model.{part}={sorted(file.name for file in found)[0]}"
    )


def _is_part(model: Model, part: str, contents: Contents) -> bool:
    if part.startswith("experts."):
        return fits(model, contents)
    if part == "vae":
        channels = contents.sizes.get("latent_channels")
        return contents.kind == "vae" and channels == model.latent_channels
    return contents.kind == "text_encoder"


def _inside(folder: Path, part: str) -> Iterator[Path]:
    """Files of a ComfyUI folder that a part may be in; links to other disks are followed."""
    seen = set()
    for place in PLACES[part.split(".", maxsplit=1)[0]]:
        for root, folders, files in os.walk(folder / place, followlinks=True):
            real = os.path.realpath(root)
            if real in seen:  # a link that leads back
                folders.clear()
                continue
            seen.add(real)
            folders.sort()
            for name in sorted(files):
                if name.endswith(".safetensors"):
                    yield Path(root) / name
