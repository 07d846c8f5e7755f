"""Who is at work on what: claims on disk, one holder at a time, none outliving its process.

A claim on NAME is a file ``NAME~OWNER~RANDOM``. Whoever wants it writes one and then looks for
others: of two processes that write at the same moment at least one sees the other's, so never both
go on. Names are never used twice, hence a dead owner's claim can be removed by anybody.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
from pathlib import Path

from wanexp.owner import is_dead, owner

BEAT = 15.0
"""Seconds between a holder's signs of life."""

SILENCE = 180.0
"""Seconds without a sign after which a holder on another machine counts as dead. A container that
was started again is another machine."""

LOOK_AGAIN = (0.05, 0.2)
"""Seconds between two looks at somebody else's claim; at random, so that no two stay in step."""


class Claim:
    """A claim that is held; a context manager that shows it is alive and gives it back."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._over = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="claim", daemon=True)

    def __enter__(self) -> Claim:
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        _remove(self._path)

    def _beat(self) -> None:
        while not self._over.wait(BEAT):
            with contextlib.suppress(OSError):
                os.utime(self._path)


def try_claim(folder: Path, name: str) -> Claim | None:
    """A claim on ``name``, or None where somebody else who lives holds one or wants one.

    The folder is made where it is missing. ``name`` holds no ``~``.

    Raises:
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if is_claimed(folder, name):
        return None
    path = folder / f"{name}~{owner()}~{os.urandom(4).hex()}"
    path.touch(exist_ok=False)
    if is_claimed(folder, name, besides=path):
        _remove(path)
        return None
    return Claim(path)


def is_claimed(folder: Path, name: str, *, besides: Path | None = None) -> bool:
    """Whether a living process claims ``name``; claims of the dead are removed on the way."""
    claimed = False
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            if path.name.split("~")[0] == name and path != besides:
                claimed |= not _removed_as_dead(path)
    return claimed


def claimed(folder: Path) -> set[str]:
    """All that living processes claim; nothing where the folder cannot be read."""
    with contextlib.suppress(OSError):
        return {p.name.split("~")[0] for p in folder.iterdir() if not _removed_as_dead(p)}
    return set()


def pause() -> float:
    """How long to wait before looking again at what somebody else claims."""
    return random.uniform(*LOOK_AGAIN)


def _removed_as_dead(path: Path) -> bool:
    try:
        last_sign = path.stat().st_mtime
    except FileNotFoundError:
        return True  # given back just now
    who = path.name.split("~")[1:2]
    if who and not is_dead(who[0], last_sign=last_sign, patience=SILENCE):
        return False
    _remove(path)
    return True


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
