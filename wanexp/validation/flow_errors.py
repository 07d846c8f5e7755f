"""How good the metrics' flow is, against scenes whose flow is known exactly.

`python -m wanexp.validation.flow_errors` prints the table that docs/metrics.md carries.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wanexp.metrics import Frames, observe
from wanexp.validation.readings import FPS, as_frames
from wanexp.validation.scenes import Stage, make_stage, panned, zoomed
from wanexp.world import faults
from wanexp.world.render import true_flow
from wanexp.world.scene import Scenes

SIZES = (128, 256, 512)
SEED = 3

EXPOSURE = 1.05
"""What every second frame is multiplied by: a change of 5 % between any two neighbours."""


@dataclass(frozen=True, kw_only=True)
class Filming:
    """One row of the table: the scenes under this camera, and what is done to their video."""

    camera: Callable[[Scenes], Scenes] = lambda scenes: scenes
    spoilt: Callable[[Tensor], Tensor] = lambda video: video


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Of all neighbouring frames of all scenes, over the pixels that are seen in both frames.

    Attributes:
        moved: Mean length of the true flow, px.
        error: Mean length of the error, px.
        counted: The same over the pixels that count: forward and backward flow agree.
        share: How many of the pixels count.
    """

    moved: float
    error: float
    counted: float
    share: float


def _exposed(video: Tensor) -> Tensor:
    gains = torch.ones(video.shape[2])
    gains[1::2] = EXPOSURE
    return (video + 1) * gains[:, None, None] / EXPOSURE - 1


def _grained(video: Tensor) -> Tensor:
    return faults.noise(video, torch.full((len(video),), 5.0), SEED).video


FILMINGS: dict[str, Filming] = {
    "slow camera, face and things": Filming(),
    "pan ×3": Filming(camera=lambda scenes: panned(scenes, 3.0)),
    "zoom of 2 % a frame": Filming(camera=lambda scenes: zoomed(scenes, 0.32)),
    "slow camera, 5 % of exposure": Filming(spoilt=_exposed),
    "slow camera, grain of 5 levels": Filming(spoilt=_grained),
}


def flow_errors(size: int, filming: Filming) -> Errors:
    """The errors of the flow that all metrics share, at frames of size × size px."""
    with torch.no_grad():
        stage = make_stage(size)
        scenes = filming.camera(stage.scenes)
        videos = as_frames(filming.spoilt(stage.film(scenes)))
        rows = [_in_video(stage, scenes, row, frames) for row, frames in enumerate(videos)]
    moved, error, counts = (np.concatenate(some) for some in zip(*rows, strict=True))
    return Errors(
        moved=float(moved.mean()),
        error=float(error.mean()),
        counted=float(error[counts > 0].mean()),
        share=float(counts.mean()),
    )


def _in_video(
    stage: Stage, scenes: Scenes, row: int, frames: Frames
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Of every pixel that is seen in two neighbours: true length, error, 1 where it counts."""
    seen = observe(frames, frames[0], FPS)
    lengths, errors, counts = [], [], []
    for t, pair in enumerate(seen.pairs):
        truth = true_flow(scenes, t, t + 1, stage.size, stage.size)
        known = truth.valid[row].numpy()
        true = truth.flow[row].numpy()[known].astype(np.float64)
        lengths.append(np.hypot(true[:, 0], true[:, 1]))
        found = seen.in_frame(pair.match.forward)[known] - true
        errors.append(np.hypot(found[:, 0], found[:, 1]))
        counts.append(seen.area(pair.match.valid)[known].astype(np.float64))
    return np.concatenate(lengths), np.concatenate(errors), np.concatenate(counts)


def table(sizes: Sequence[int]) -> str:
    """The table in Markdown: error (of what counts), true length, and how much counts."""
    lines = [
        "| | " + " | ".join(f"{size} px" for size in sizes) + " |",
        "|---" * (len(sizes) + 1) + "|",
    ]
    for name, filming in FILMINGS.items():
        cells = [_cell(flow_errors(size, filming)) for size in sizes]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(one: Errors) -> str:
    return f"{one.error:.2f} ({one.counted:.2f}) of {one.moved:.1f}, {one.share:.0%}"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs="+", default=SIZES, help="px; 128, 256 and 512")
    print(table(parser.parse_args().size))


if __name__ == "__main__":
    main()
