"""Every video of the test measured: the levels of a fault by its own metrics, its top by all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wanexp.metrics import METRICS, Frames, measure
from wanexp.validation.ladders import LADDERS, NUISANCES, Ladder
from wanexp.validation.scenes import NAMES, Stage, make_stage
from wanexp.world.faults import Spoiled

FPS = 16.0
SIZES = (128, 256)

Values = dict[str, float | None]
"""Metric → value; None where it is undefined."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One video.

    Attributes:
        change: The fault or nuisance; empty for the clean video.
        level: Of it, as the ladder lists it.
        ideal: What the owner must read, worked out from the draw; None where nothing is known.
    """

    size: int
    scene: str
    change: str
    level: float
    values: Values
    ideal: float | None


def all_readings(
    sizes: Sequence[int], metrics: Sequence[str], told: Callable[[str], None]
) -> list[Reading]:
    """Every scene, fault and nuisance at every size; ``told`` hears what is being measured."""
    found: list[Reading] = []
    with torch.no_grad():
        for size in sizes:
            stage = make_stage(size)
            clean = stage.film()
            told(f"{size} px: clean")
            found += _measured(stage, clean, "", 0.0, metrics, [None] * len(NAMES))
            for fault, ladder in LADDERS.items():
                told(f"{size} px: {fault}")
                found += _climbed(stage, clean, fault, ladder, metrics)
            for name, nuisance in NUISANCES.items():
                told(f"{size} px: {name}")
                for level in nuisance.levels:
                    video = nuisance.film(stage, level)
                    found += _measured(stage, video, name, level, metrics, [None] * len(NAMES))
    return found


def _climbed(
    stage: Stage, clean: Tensor, fault: str, ladder: Ladder, metrics: Sequence[str]
) -> list[Reading]:
    found = []
    for level in ladder.levels:
        strength = torch.full((len(clean),), ladder.strength(level, stage.size))
        spoiled = ladder.spoil(stage, clean, strength)
        top = level == ladder.levels[-1]
        names = metrics if top else [name for name in ladder.owners if name in metrics]
        ideals = _ideals(fault, spoiled)
        found += _measured(stage, spoiled.video, fault, level, names, ideals)
    return found


def _measured(
    stage: Stage,
    video: Tensor,
    change: str,
    level: float,
    names: Sequence[str],
    ideals: Sequence[float | None],
) -> list[Reading]:
    frames = as_frames(video)
    boxes = stage.face_boxes()
    found = []
    for row, scene in enumerate(NAMES):
        box = boxes[row]
        measured = measure(
            frames[row],
            frames[row, 0],
            FPS,
            names,
            face_box=box,
        )
        values = {name: one.value for name, one in measured.items()}
        found.append(
            Reading(
                size=stage.size,
                scene=scene,
                change=change,
                level=level,
                values=values,
                ideal=ideals[row],
            )
        )
    return found


def as_frames(video: Tensor) -> Frames:
    """(B, 3, T, H, W) in [−1, 1] as the metrics take them, (B, T, H, W, 3) uint8."""
    return ((video + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 4, 1).numpy()


def _ideals(fault: str, spoiled: Spoiled) -> list[float | None]:
    """What flicker, jitter and warp would read of the very draw, without any error of their own."""
    draw = spoiled.draw.double().numpy()
    if fault == "flicker":
        jumps = np.diff(np.log(draw), 2, axis=1)
        return [100 * math.sqrt(float(np.square(row).mean()) / 6) for row in jumps]
    if fault == "jitter":
        jumps = np.diff(draw, 3, axis=1)
        return [math.sqrt(float(np.square(row).sum(-1).mean()) / 2 / 20) for row in jumps]
    if fault == "wobble":
        jumps = np.diff(draw, 2, axis=1)
        return [math.sqrt(float(np.square(row).sum(-1).mean()) / 2 / 6) for row in jumps]
    return [None] * len(draw)


def measurable() -> list[str]:
    """All metrics, without LPIPS where its weights are not at hand."""
    frames = np.zeros((2, 64, 64, 3), np.uint8)
    tried = measure(frames, frames[0], FPS, ["lpips_source"])["lpips_source"]
    return [name for name in METRICS if tried.value is not None or not name.startswith("lpips")]
