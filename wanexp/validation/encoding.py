"""How much an encoder alone moves every metric: clean scenes, raw and written as this project does.

`python -m wanexp.validation.encoding` prints the table that docs/metrics.md carries.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from wanexp.metrics import Frames, measure
from wanexp.validation.readings import FPS, as_frames
from wanexp.validation.scenes import NAMES, make_stage
from wanexp.video import CRF, read_video, write_video

SIZE = 128

SHOWN = (
    "flicker",
    "local_flicker",
    "jitter",
    "warp",
    "detail",
    "detail_incoherence",
    "noise",
    "motion_top5",
    "saturation",
    "ssim_source",
)


def encoded(frames: Frames) -> Frames:
    """The frames after H.264, as the videos of a study are written."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        write_video(path, frames, FPS)
        return read_video(path).frames


def medians(videos: Sequence[Frames], sources: Sequence[Frames]) -> dict[str, float]:
    """Metric → its median over the videos."""
    values: dict[str, list[float]] = {name: [] for name in SHOWN}
    for frames, source in zip(videos, sources, strict=True):
        for name, one in measure(frames, source, FPS, SHOWN).items():
            if one.value is not None:
                values[name].append(one.value)
    return {name: float(np.median(some)) for name, some in values.items()}


def table(size: int) -> str:
    """The table in Markdown."""
    with torch.no_grad():
        videos = list(as_frames(make_stage(size).film()))
    sources = [frames[0] for frames in videos]
    raw = medians(videos, sources)
    after = medians([encoded(frames) for frames in videos], sources)
    rows = [f"| `{name}` | {raw[name]:.3g} | {after[name]:.3g} |" for name in SHOWN]
    return "\n".join([f"| | raw | H.264 at crf {CRF} |", "|---|---|---|", *rows])


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=SIZE, help="px of the square frames")
    size = parser.parse_args().size
    print(f"Medians of {len(NAMES)} clean scenes at {size} px\n\n{table(size)}")


if __name__ == "__main__":
    main()
