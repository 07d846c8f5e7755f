"""Whether single files are the parts that a model needs, and belong together.

Everything is decided by what is in the files; only high and low, which the weights do not tell
apart, are known by the words in their names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from wanexp.models import Model
from wanexp.strict import ConfigError
from wanexp.weights.contents import Contents, Kind, contents_of
from wanexp.weights.header import Header, read_header

EXPERTS = {
    (36, 16): "an image-to-video expert (A14B)",
    (16, 16): "a text-to-video expert",
    (48, 48): "the TI2V-5B transformer",
}
"""Input and output channels → what such a transformer is."""

VAES = {16: "Wan 2.1's VAE, which the A14B models use", 48: "Wan 2.2's VAE, which the 5B uses"}
"""Latent channels → whose VAE it is."""

KINDS: dict[Kind, str] = {
    "expert": "a Wan transformer",
    "vae": "a VAE",
    "text_encoder": "a text encoder",
}

SAMPLE = 1 << 16
"""Bytes of each of a few tensors that two files are compared by."""


def check_files(model: Model, files: Mapping[str, Path]) -> dict[str, Contents]:
    """What every given part holds, checked against the model's facts and against the others.

    ``files`` are by part; a tokenizer holds no weights and is not looked at here.

    Raises:
        ConfigError: One sentence: which file is what, and what was expected.
    """
    found = {part: check_file(model, part, path) for part, path in files.items() if _holds(part)}
    experts = {part: files[part] for part in found if part.startswith("experts.")}
    _check_different(experts)
    widths = {part: found[part].sizes["text"] for part in experts}
    if "text_encoder" in found:
        widths["text_encoder"] = found["text_encoder"].sizes["width"]
    _check_equal(widths, files, "for texts of width {}")
    _check_equal({part: found[part].sizes["width"] for part in experts}, files, "of width {}")
    return found


def check_file(model: Model, part: str, path: Path) -> Contents:
    """What one part's file holds, checked against the model's facts.

    Raises:
        ConfigError: One sentence: what the file is, and what was expected.
    """
    where = f"model.{part}"
    contents = contents_of(path, where)
    kind: Kind = "expert" if part.startswith("experts.") else part  # type: ignore[assignment]
    if contents.kind != kind:
        raise ConfigError(f"{where}: {path.name} is {KINDS[contents.kind]}, expected {KINDS[kind]}")
    if kind == "expert":
        _check_expert(model, where, path, contents)
        _check_word(model, part, path)
    elif kind == "vae" and contents.sizes["latent_channels"] != model.latent_channels:
        channels = contents.sizes["latent_channels"]
        raise ConfigError(
            f"{where}: {path.name} is {VAES.get(channels, 'a VAE')} ({channels} latent channels);"
            f" {model.name} needs {VAES.get(model.latent_channels, 'one')}"
            f" ({model.latent_channels})"
        )
    return contents


def channels_of(model: Model) -> tuple[int, int]:
    """Input and output channels of a model's experts."""
    own = model.latent_channels
    beside = model.frame_stride + own if model.condition == "channels" else 0
    return own + beside, own


def fits(model: Model, contents: Contents) -> bool:
    """Whether a file is one of a model's experts, by its channels."""
    sizes = contents.sizes
    return contents.kind == "expert" and _channels(contents) == channels_of(model) and bool(sizes)


def word_of(model: Model, name: str) -> str | None:
    """The expert that a file's name speaks of; None where it names none of them, or several."""
    words = {e for e in model.experts if re.search(rf"(?i)(?<![a-z]){e}", name)}
    return words.pop() if len(words) == 1 else None


def _holds(part: str) -> bool:
    return part != "tokenizer"


def _channels(contents: Contents) -> tuple[int, int]:
    return contents.sizes["in_channels"], contents.sizes["out_channels"]


def _check_expert(model: Model, where: str, path: Path, contents: Contents) -> None:
    found, wanted = _channels(contents), channels_of(model)
    if found != wanted:
        raise ConfigError(
            f"{where}: {path.name} is {EXPERTS.get(found, 'another Wan transformer')}"
            f" ({found[0]} input channels); {model.name} needs"
            f" {EXPERTS.get(wanted, 'another')} ({wanted[0]})"
        )


def _check_word(model: Model, part: str, path: Path) -> None:
    """Nothing in the weights tells high from low, so a name that says otherwise is believed."""
    expert = part.removeprefix("experts.")
    said = word_of(model, path.name)
    if said not in (None, expert):
        raise ConfigError(
            f"model.{part}: {path.name} says of itself that it is the {said} expert; give it as"
            f" model.experts.{said}, or rename it where its name is wrong"
        )


def _check_different(experts: Mapping[str, Path]) -> None:
    """Refuse one expert given twice, whether by one file or by a copy of it."""
    seen: dict[str, tuple[str, Path]] = {}
    for part, path in experts.items():
        mark = _sample(path, read_header(path, f"model.{part}"))
        if mark in seen:
            other, first = seen[mark]
            raise ConfigError(
                f"model.{part}: {path.name} holds the same weights as model.{other}"
                f" ({first.name}); the two experts are two files"
            )
        seen[mark] = part, path


def _sample(path: Path, header: Header) -> str:
    """Some bytes of the largest tensor, the one that no two experts share, as hex."""
    largest = max(header.tensors.values(), key=lambda entry: (entry.bytes, -entry.start))
    with path.open("rb") as file:
        file.seek(largest.start)
        return file.read(min(SAMPLE, largest.bytes)).hex()


def _check_equal(sizes: Mapping[str, int], files: Mapping[str, Path], words: str) -> None:
    if len(set(sizes.values())) > 1:
        told = ", ".join(
            f"model.{part} ({files[part].name}) is {words.format(size)}"
            for part, size in sizes.items()
        )
        raise ConfigError(f"these files do not belong together: {told}")
