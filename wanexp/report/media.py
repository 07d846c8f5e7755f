"""The page's videos and pictures: beside it in a folder, or inside it.

A page from a folder may not read its neighbours as bytes (``file:`` pages cannot fetch), but it may
run them: each video lies there twice, as an mp4 for people and as a script that hands over the same
bytes. The mp4 is a hard link where the file system has them and takes no room.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

VIDEOS, BYTES = "videos", "bytes"
"""Folders beside the page."""

LONGEST_NAME = 120
"""Letters; file systems take 255 bytes, folders above and archives want some of them."""

MOST_INSIDE = 512_000_000
"""Bytes of videos that a single file may hold: more, and browsers refuse to open it."""


def beside(media: Mapping[str, Path], names: Mapping[str, str], folder: Path) -> dict[str, object]:
    """Puts the files beside the page; key → where they are, from the page on."""
    for name in (VIDEOS, BYTES):
        (folder / name).mkdir(parents=True, exist_ok=True)
    found: dict[str, object] = {}
    used: set[str] = set()
    for key, file in media.items():
        shown = folder / VIDEOS / f"{_file_name(names[key], key, used)}{file.suffix}"
        _link(file, shown)
        entry = {"file": f"{VIDEOS}/{shown.name}"}
        if file.suffix == ".mp4":
            script = folder / BYTES / f"{key}.js"
            # Named by content, so what is there from the last time is right.
            if not script.exists() or script.stat().st_size <= file.stat().st_size:
                script.write_text(f"wanexpBytes({json.dumps(key)},{json.dumps(_base64(file))})\n")
            entry["script"] = f"{BYTES}/{script.name}"
        found[key] = entry
    return found


def inside(
    media: Mapping[str, Path], order: Iterable[tuple[str, ...]], most: int = MOST_INSIDE
) -> tuple[dict[str, object], dict[str, str]]:
    """What of the files fits into one page, and their contents as base64.

    Args:
        media: Key → file.
        order: Keys that are of use only together (one picture's videos by every arm), the most
            important first. Others, such as source images, come before them.
        most: Bytes of files.

    Returns:
        Key → how the page finds it, and key → base64 of those that are in.
    """
    groups = [group for group in order if group]
    grouped = {key for group in groups for key in group}
    found: dict[str, object] = {}
    contents: dict[str, str] = {}
    left = most
    for group in [*((key,) for key in media if key not in grouped), *groups]:
        new = [key for key in dict.fromkeys(group) if key in media and key not in contents]
        size = sum(media[key].stat().st_size for key in new)
        if size > left:
            found |= {key: {"left_out": True} for key in new}
            continue
        left -= size
        contents |= {key: _base64(media[key]) for key in new}
        found |= {key: {"inside": True, "type": _type(media[key])} for key in new}
    return found, contents


def _file_name(name: str, key: str, used: set[str]) -> str:
    """A name that every file system takes and no other file beside the page has."""
    plain = re.sub(r'[<>:"/\\|?*\x00-\x1f]', "-", name)[:LONGEST_NAME]
    if plain.lower() in used:
        plain = f"{plain}--{key}"
    used.add(plain.lower())
    return plain


def _base64(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()


def _type(file: Path) -> str:
    return {".mp4": "video/mp4", ".png": "image/png", ".jpg": "image/jpeg"}[file.suffix]


def _link(file: Path, target: Path) -> None:
    """A hard link, else a copy; the same name may have held another video."""
    target.unlink(missing_ok=True)
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)
