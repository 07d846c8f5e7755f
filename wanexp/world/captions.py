"""Scenes → prompts, in wan-mini's few words, and the words themselves."""

from __future__ import annotations

import random

from wanexp.world.scene import (
    ACTIONS,
    CAMERA,
    FAST_PAN,
    FAST_ZOOM,
    FAULTS,
    SLOW_PAN,
    SLOW_ZOOM,
    SUBJECTS,
    Scenes,
    Subjects,
)

PRAISE = ("detailed", "smooth movement", "temporal consistency", "textured background")
"""What people add to prompts. It is said of faultless videos only."""

SPEEDS = ("slowly", "fast")
CLEAN = "high quality"

_BOUNDARIES = {False: (SLOW_PAN[1] + FAST_PAN[0]) / 2, True: (SLOW_ZOOM[1] + FAST_ZOOM[0]) / 2}


def captions(scenes: Scenes) -> list[str]:
    """The whole truth of each scene: ``high quality, a face talks, camera pans left slowly``."""
    return [", ".join(phrases) for phrases in _phrases(scenes)]


def loose_captions(scenes: Scenes, *, seed: int) -> list[str]:
    """As people write: phrases left out, speeds unsaid, praise added.

    wan-mini trains on these, so that a single word and an empty prompt mean something too.
    """
    chance = random.Random(seed)
    return [_loosened(phrases, chance) for phrases in _phrases(scenes)]


def vocabulary() -> list[str]:
    """Every word of every caption, sorted, the comma among them."""
    phrases = (
        *CAMERA,
        *ACTIONS,
        *SUBJECTS,
        *FAULTS,
        *PRAISE,
        *SPEEDS,
        CLEAN,
        "camera a no subject ,",
    )
    return sorted({word for phrase in phrases for word in phrase.split()} - {"none"})


def _phrases(scenes: Scenes) -> list[list[str]]:
    firsts, seconds = _subject_phrases(scenes.first), _subject_phrases(scenes.second)
    rows = zip(
        scenes.camera.tolist(),
        scenes.camera_amount.tolist(),
        scenes.fault.tolist(),
        firsts,
        seconds,
        strict=True,
    )
    return [
        [
            FAULTS[fault] if fault else CLEAN,
            *(subject for subject in (first, second) if subject),
            _camera_phrase(CAMERA[camera], amount),
        ]
        for camera, amount, fault, first, second in rows
    ]


def _subject_phrases(subjects: Subjects) -> list[str]:
    pairs = zip(subjects.kind.tolist(), subjects.action.tolist(), strict=True)
    return [f"a {SUBJECTS[kind]} {ACTIONS[action]}" if kind else "" for kind, action in pairs]


def _camera_phrase(camera: str, amount: float) -> str:
    if camera == "static":
        return "camera static"
    boundary = _BOUNDARIES["zooms" in camera]
    return f"camera {camera} {SPEEDS[amount > boundary]}"


def _loosened(phrases: list[str], chance: random.Random) -> str:
    quality, *rest = phrases
    if chance.random() < 0.1:
        return ""
    if chance.random() < 0.1:
        return quality
    kept = [phrase for phrase in rest if chance.random() > 0.08]
    if kept and kept[-1].startswith("camera") and chance.random() < 0.3:
        kept[-1] = kept[-1].removesuffix(" slowly").removesuffix(" fast")
    if quality == CLEAN and chance.random() < 0.25:
        kept.append(chance.choice(PRAISE))
    if chance.random() > 0.12 or not kept:
        kept.insert(0, quality)
    return ", ".join(kept)
