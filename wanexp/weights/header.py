"""Headers of safetensors files: every tensor's name, type and shape, without the tensors.

A header is some 100 kB of a file of 14 GB, so the wrong file is found in milliseconds. The format:
eight bytes with the header's length, the header as JSON, the tensors one after the other.
Source: huggingface.co/docs/safetensors.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wanexp.strict import ConfigError

LENGTH_BYTES = 8
LONGEST = 100_000_000
"""Bytes of a header that the safetensors library itself reads."""

OTHER_FORMATS = (
    (
        b"GGUF",
        "is a GGUF file, which wanexp does not read; take the fp16 or fp8 safetensors file of the"
        " same model",
    ),
    (
        b"version https://git-lfs",
        "is a Git LFS pointer of a few bytes, not the weights; run `git lfs pull` beside it",
    ),
    *(
        (
            start,
            "is a PyTorch pickle, which can run code when it is opened; take the safetensors file"
            " of the same weights",
        )
        for start in (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
    ),
)
"""How files begin that are no safetensors, and what to do about them."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One tensor: its type as safetensors writes it (``BF16``), and where its bytes lie."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def bytes(self) -> int:
        """How many bytes it takes."""
        return self.end - self.start


@dataclass(frozen=True, kw_only=True)
class Header:
    """A file's tensors by name, and the texts that were saved beside them."""

    tensors: Mapping[str, Entry]
    metadata: Mapping[str, str]


def read_header(path: Path, where: str) -> Header:
    """The header of a whole safetensors file.

    ``where`` is the setting that names the file, for errors.

    Raises:
        ConfigError: One sentence: no file, another format, or cut off.
    """
    if not path.is_file():
        raise ConfigError(f"{where}: no file {str(path)!r}")
    stat = path.stat()
    found = _read(path, stat.st_size, stat.st_mtime_ns)
    if isinstance(found, str):
        raise ConfigError(f"{where}: {path.name} {found}")
    return found


def tensor_bytes(path: Path, entry: Entry) -> bytes:
    """One tensor's bytes, as they lie in the file."""
    with path.open("rb") as file:
        file.seek(entry.start)
        return file.read(entry.bytes)


@functools.lru_cache(maxsize=256)
def _read(path: Path, size: int, _changed: int) -> Header | str:
    """The header, or what is wrong; read again only where size or time of change is another."""
    with path.open("rb") as file:
        start = file.read(LENGTH_BYTES + 1)
        length = int.from_bytes(start[:LENGTH_BYTES], "little")
        if start[LENGTH_BYTES:] != b"{":
            file.seek(0)
            return _what_else(file.read(32))
        if length > min(LONGEST, size - LENGTH_BYTES):
            return f"is cut off: it ends inside its own header, after {size:,} bytes"
        text = start[LENGTH_BYTES:] + file.read(length - 1)
    try:
        tree = json.loads(text)
        metadata = tree.pop("__metadata__", {})
        tensors = {name: _entry(given, LENGTH_BYTES + length) for name, given in tree.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return "is no safetensors file: its header cannot be read"
    whole = max((entry.end for entry in tensors.values()), default=LENGTH_BYTES + length)
    if size < whole:
        return f"is cut off: {size:,} of {whole:,} bytes are here; get it again"
    return Header(tensors=tensors, metadata=metadata)


def _entry(given: Mapping[str, object], data: int) -> Entry:
    start, end = given["data_offsets"]  # type: ignore[misc]
    shape = tuple(map(int, given["shape"]))  # type: ignore[call-overload]
    return Entry(dtype=str(given["dtype"]), shape=shape, start=data + start, end=data + end)


def _what_else(start: bytes) -> str:
    for magic, sentence in OTHER_FORMATS:
        if start.startswith(magic):
            return sentence
    return "is no safetensors file"
