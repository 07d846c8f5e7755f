"""The most that every metric reads where its fault is not: below that, nothing is measured.

`python -m wanexp.validation.floors` prints what `FLOORS` in analysis/effects.py holds.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import torch

from wanexp.metrics import METRICS, Frames, measure
from wanexp.validation.ladders import NUISANCES
from wanexp.validation.readings import FPS, SIZES, as_frames
from wanexp.validation.scenes import make_stage

CAMERAS = ("pan",)
"""The nuisances that are filmed besides the clean scenes. Not the zooms, which two of the scenes
have anyway: a faster one shows texture that the source has not, which is no error of a metric."""

MOTION = ("motion", "motion_top5")

GRAIN = 1.0
"""Grey levels: what is still is seldom stiller than this, and moves as little."""


def floored() -> tuple[str, ...]:
    """The metrics that are compared as ratios and may read near 0 on a good video."""
    return (
        tuple(
            name
            for name, one in METRICS.items()
            if one.direction == "lower" and not name.startswith("lpips") and not one.literature
        )
        + MOTION
    )


def floors(sizes: Sequence[int]) -> dict[str, float]:
    """Metric → the most it reads of clean scenes at these sizes; motion, of stills with grain."""
    most: dict[str, float] = {}
    for size in sizes:
        with torch.no_grad():
            stage = make_stage(size)
            clean = as_frames(stage.film())
            filmed = [clean] + [
                as_frames(NUISANCES[camera].film(stage, level))
                for camera in CAMERAS
                for level in NUISANCES[camera].levels
            ]
        faults = [name for name in floored() if name not in MOTION]
        for videos in filmed:
            for frames in videos:
                _raise(most, frames, faults)
        for frames in clean:
            _raise(most, _grainy(frames[0], len(frames)), MOTION)
    return most


def _raise(most: dict[str, float], frames: Frames, names: Sequence[str]) -> None:
    for name, one in measure(frames, frames[0], FPS, names).items():
        if one.value is not None:
            most[name] = max(most.get(name, 0.0), one.value)


def _grainy(picture: Frames, count: int) -> Frames:
    random = np.random.default_rng(0)
    grain = GRAIN * random.standard_normal((count, *picture.shape))
    return np.clip(np.rint(picture + grain), 0, 255).astype(np.uint8)


def main() -> None:
    """Prints the floors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs="+", default=SIZES, help="px; 128 and 256")
    for name, value in floors(parser.parse_args().size).items():
        print(f'    "{name}": {value:.2g},')


if __name__ == "__main__":
    main()
