"""The store on disk: arrays under the digest of all that decides them, computed once.

    FOLDER/entries/KEY.safetensors    arrays and facts, with a checksum over both
    FOLDER/claims/KEY~OWNER~RANDOM    who is computing an entry that is not there yet

Whoever asks for an entry that another living process computes waits for it. An entry that is cut
off, altered or another's is computed again; a disk that is full or cannot be written costs a
warning. No torch here: arrays are numpy's.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from wanexp.claim import Claim, claimed, pause, try_claim
from wanexp.owner import is_dead, owner

log = logging.getLogger(__name__)

T = TypeVar("T")

SUFFIX = ".safetensors"
PARTIAL = ".partial-"

PATIENCE = 20.0
"""Seconds of waiting for another process after which it is worth a word."""

LONGEST_HEADER = 1 << 20
"""Bytes; a header that claims to be longer is damaged."""


class EntryError(ValueError):
    """An entry's file that does not hold what its name says."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a key stands for.

    Attributes:
        arrays: By name, any shapes.
        facts: Plain values; ``model`` and ``kind`` are what lists of entries are sorted by.
    """

    arrays: Mapping[str, np.ndarray]
    facts: Mapping[str, object]


class Held(NamedTuple):
    """One entry in a list: ``used`` is when it was last asked for, seconds since the epoch."""

    path: Path
    bytes: int
    used: float
    model: str


class Store:
    """Entries in one folder, at most ``limit`` bytes of them."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self._entries = folder / "entries"
        self._claims = folder / "claims"
        self._limit = limit
        self._told: set[str] = set()
        self._remove_remains()

    def fetch(
        self,
        key: str,
        make: Callable[[], T],
        pack: Callable[[T], Entry],
        unpack: Callable[[Entry], T],
        wait: Callable[[float], None] = time.sleep,
    ) -> tuple[T, bool]:
        """What the key stands for, and whether it was stored already; made where it was not.

        Two processes never make one entry at the same time: the second waits, and makes it only
        where the first has died or failed.

        Args:
            key: Hex digits.
            make: Computes it.
            pack: Makes an entry of it.
            unpack: Takes it out of an entry; an error of value, key or type says that the entry
                does not hold it.
            wait: Lets so many seconds pass while another process makes it; what it raises ends the
                waiting.
        """
        begun, told = time.monotonic(), False
        while (found := self._found(key, unpack, warn=False)) is None:
            try:
                claim = try_claim(self._claims, key)
            except OSError as error:
                self._tell("written", error)
                return make(), False
            if claim is not None:
                return self._fetch_claimed(claim, key, make, pack, unpack)
            if not told and time.monotonic() - begun > PATIENCE:
                log.warning("waiting for another process to compute %s", self._path(key))
                told = True
            wait(pause())
        return found, True

    def _fetch_claimed(
        self,
        claim: Claim,
        key: str,
        make: Callable[[], T],
        pack: Callable[[T], Entry],
        unpack: Callable[[Entry], T],
    ) -> tuple[T, bool]:
        with claim:
            # Somebody may have made it between our look and our claim.
            found = self._found(key, unpack, warn=True)
            if found is not None:
                return found, True
            made = make()
            try:
                self._save(key, pack(made))
                self._shrink()
            except OSError as error:
                self._tell("written", error)
        return made, False

    def _found(self, key: str, unpack: Callable[[Entry], T], *, warn: bool) -> T | None:
        path = self._path(key)
        try:
            found = unpack(read_entry(path))
        except FileNotFoundError:
            return None
        except OSError as error:
            self._tell("read", error)
            return None
        except (ValueError, KeyError, TypeError) as error:
            if warn:
                log.warning("%s: %s; it is computed again", path, error)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # the time of last use; file systems are often told to keep none
        return found

    def _save(self, key: str, entry: Entry) -> None:
        self._entries.mkdir(parents=True, exist_ok=True)
        partial = self._entries / f"{PARTIAL}{key}~{owner()}~{os.urandom(4).hex()}"
        try:
            with partial.open("wb") as file:
                file.write(entry_bytes(key, entry))
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._path(key))
        finally:
            partial.unlink(missing_ok=True)

    def _shrink(self) -> None:
        """Removes what was not used for the longest time, until the rest is within the limit."""
        files = sorted(_files(self._entries), key=lambda file: file.used)
        excess = sum(file.bytes for file in files) - self._limit
        for file in files:
            if excess <= 0:
                break
            file.path.unlink(missing_ok=True)
            excess -= file.bytes

    def _path(self, key: str) -> Path:
        return self._entries / f"{key}{SUFFIX}"

    def _tell(self, what: str, error: OSError) -> None:
        """Says once that the store does not work; a sweep has many stages."""
        if what not in self._told:
            self._told.add(what)
            log.warning(
                "the stage store %s cannot be %s (%s); the run goes on without it",
                self.folder,
                what,
                error,
            )

    def _remove_remains(self) -> None:
        """What killed processes claimed or left half written."""
        claimed(self._claims)
        with contextlib.suppress(OSError):
            for path in self._entries.glob(f"{PARTIAL}*"):
                who = path.name.split("~")[1:2]
                if not who or is_dead(who[0], last_sign=path.stat().st_mtime):
                    path.unlink(missing_ok=True)


def held(folder: Path) -> list[Held]:
    """The store's entries, the one that was not used for the longest time first.

    Reads the beginning of every file; an entry whose beginning is damaged belongs to the model
    ``damaged``.
    """
    found = [file._replace(model=_model_of(file.path)) for file in _files(folder / "entries")]
    return sorted(found, key=lambda file: file.used)


def clear(folder: Path) -> Sequence[Held]:
    """Removes every entry; returns what was removed.

    A sweep that runs meanwhile computes again what it needs.
    """
    entries = held(folder)
    for entry in entries:
        entry.path.unlink(missing_ok=True)
    return entries


def store_tree(
    folder: Path, limit: int, entries: Sequence[Held], removed: Sequence[Held]
) -> dict[str, object]:
    """What ``wanexp cache --json`` prints: counts and bytes, in all and by model."""
    return {
        "folder": str(folder),
        **_sums(entries),
        "limit_bytes": limit,
        "oldest": last_used(entries[0]) if entries else None,
        "models": {model: _sums(own) for model, own in by_model(entries).items()},
        "removed": _sums(removed),
    }


def by_model(entries: Sequence[Held]) -> dict[str, list[Held]]:
    """Model to its entries."""
    models = sorted({entry.model for entry in entries})
    return {model: [entry for entry in entries if entry.model == model] for model in models}


def last_used(entry: Held) -> str:
    """When it was last asked for, UTC: ``2026-01-31T12:00:00+00:00``."""
    return datetime.fromtimestamp(entry.used, UTC).isoformat(timespec="seconds")


def _sums(entries: Sequence[Held]) -> dict[str, int]:
    return {"entries": len(entries), "bytes": sum(entry.bytes for entry in entries)}


def entry_bytes(key: str, entry: Entry) -> bytes:
    """An entry as a safetensors file whose metadata holds the facts and a checksum."""
    arrays = {name: np.ascontiguousarray(array) for name, array in entry.arrays.items()}
    facts = json.dumps({**entry.facts, "key": key}, sort_keys=True, allow_nan=False)
    header, body = _split(safetensors.numpy.save(arrays, metadata={"facts": facts}))
    checked = {"facts": facts, "sha256": _checksum(header, body)}
    return safetensors.numpy.save(arrays, metadata=checked)


def read_entry(path: Path) -> Entry:
    """The entry in a file, checked against its checksum and its name.

    Raises:
        FileNotFoundError: There is none.
        EntryError: It is cut off, altered, or the entry of another key.
    """
    data = path.read_bytes()
    header, body = _split(data)
    metadata = _metadata(header)
    expected = metadata.pop("sha256", None)  # which is not part of what it sums up
    if expected != _checksum(header, body):
        raise EntryError("the entry is damaged (its checksum does not fit)")
    facts = json.loads(metadata["facts"])
    if facts["key"] != path.name.removesuffix(SUFFIX):
        raise EntryError(f"the entry is another's, of {facts['key']}")
    try:
        arrays = safetensors.numpy.load(data)
    except SafetensorError as error:
        raise EntryError(f"the entry is damaged ({error})") from None
    return Entry(arrays=arrays, facts=facts)


def _split(data: bytes) -> tuple[dict[str, object], memoryview]:
    """A safetensors file's header, as JSON, and its arrays' bytes."""
    size = int.from_bytes(data[:8], "little")
    if not 0 < size <= min(LONGEST_HEADER, len(data) - 8):
        raise EntryError("the entry is damaged (cut off)")
    try:
        header = json.loads(data[8 : 8 + size])
    except ValueError:
        header = None
    if not isinstance(header, dict):
        raise EntryError("the entry is damaged (its header cannot be read)")
    return header, memoryview(data)[8 + size :]  # which may be tens of megabytes


def _metadata(header: dict[str, object]) -> dict[str, str]:
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or "facts" not in metadata:
        raise EntryError("the file is no entry of the store")
    return metadata


def _checksum(header: Mapping[str, object], body: memoryview) -> str:
    """SHA-256 of a header without its checksum, and of all that follows."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    digest.update(body)
    return digest.hexdigest()


def _model_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            beginning = file.read(size) if size <= LONGEST_HEADER else b""
        header, _ = _split(size.to_bytes(8, "little") + beginning)
        return str(json.loads(_metadata(header)["facts"])["model"])
    except (OSError, ValueError, KeyError, TypeError):
        return "damaged"


def _files(folder: Path) -> list[Held]:
    if not folder.is_dir():
        return []
    found = []
    with os.scandir(folder) as files:
        for file in files:
            if file.name.endswith(SUFFIX) and not file.name.startswith("."):
                with contextlib.suppress(FileNotFoundError):
                    stat = file.stat()
                    found.append(Held(Path(file.path), stat.st_size, stat.st_mtime, ""))
    return found
