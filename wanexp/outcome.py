"""What a trial made, into its record and its files."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from wanexp.backends import Backend
from wanexp.environment import environment
from wanexp.generate import StageEnd
from wanexp.metrics import Measurement
from wanexp.options import Options
from wanexp.planned import PlannedTrial
from wanexp.record import Tree, TrialPaths, TrialRecord
from wanexp.video import contact_sheet, poster, write_image, write_video


class Clock:
    """What a trial has spent so far.

    Attributes:
        seconds: By name, of the stretches that ran inside ``timing``.
        model_calls: Those that ran inside ``counting``.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.model_calls = 0

    @contextmanager
    def timing(self, name: str) -> Iterator[None]:
        """Adds the wall time of the block, also where it ends in an exception."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - begun
            self.seconds[name] = round(self.seconds.get(name, 0.0) + spent, 4)

    @contextmanager
    def counting(self, backend: Backend) -> Iterator[None]:
        """Adds the backend's model calls of the block, also where it ends in an exception."""
        before = backend.model_calls
        try:
            yield
        finally:
            self.model_calls += backend.model_calls - before


@dataclass(frozen=True, kw_only=True)
class Made:
    """A trial's videos in memory.

    Attributes:
        planned: What was made; not what was asked for where memory ran out (``wanexp.ladder``).
        source: (H, W, 3) uint8, the first frame as the model was given it, if it was given one.
        ends: What every stage handed over.
        videos: Stage name to (T, H, W, 3) uint8 frames, of the stages that were decoded; the last
            stage's are the trial's video.
    """

    planned: PlannedTrial
    source: np.ndarray | None
    ends: tuple[StageEnd, ...]
    videos: Mapping[str, np.ndarray]


Scores = Mapping[str, Mapping[str, Measurement]]
"""Stage name to its measurements, of the stages that were decoded."""


def filled(record: TrialRecord, made: Made, scores: Scores, *, overlapped: bool) -> TrialRecord:
    """The record with all that is known once a trial is measured."""
    last, planned = scores[made.ends[-1].name], made.planned
    return dataclasses.replace(
        record,
        plan=planned.plan.tree(),
        measurements=measurement_trees(last),
        series={name: list(m.per_frame) for name, m in last.items() if m.per_frame is not None},
        stages=_stage_trees(made, scores),
        overlapped=overlapped,
        model_calls=sum(end.model_calls for end in made.ends),
        environment=environment(),  # now that the device has been used, and can be named
    )


def _stage_trees(made: Made, scores: Scores) -> dict[str, Tree]:
    planned = {stage.name: stage for stage in made.planned.plan.stages}
    return {
        end.name: {
            "seconds": round(end.seconds, 4),
            "model_calls": end.model_calls,
            "stored": end.stored,
            "sigma_start": planned[end.name].sigma_start,
            "sigma_end": end.sigma,
            "measurements": measurement_trees(scores.get(end.name, {})),
        }
        for end in made.ends
    }


def measurement_trees(measurements: Mapping[str, Measurement]) -> dict[str, Tree]:
    """Measurements as plain values; per-frame series are kept apart."""
    return {
        name: {
            "value": m.value,
            "reason": m.reason,
            "direction": m.direction,
            "unit": m.unit,
            "version": m.version,
            "extras": dict(m.extras),
        }
        for name, m in measurements.items()
    }


def write_media(made: Made, options: Options, paths: TrialPaths) -> None:
    """The video, its pictures, what earlier stages handed over, and latents where asked."""
    *earlier, last = made.ends
    fps = made.planned.trial.recipe.fps
    frames = made.videos[last.name]
    write_video(paths.video, frames, fps)
    write_image(paths.poster, poster(frames))
    # Enlarging adds bytes and shows nothing: a tile is as wide as the frame, at most 320 px.
    sheet = contact_sheet(frames, tile_width=min(frames.shape[2], 320))
    write_image(paths.contact_sheet, sheet)
    if made.source is not None:
        write_image(paths.source, made.source)
    for end in earlier:
        if end.name in made.videos:
            paths.stages.mkdir(exist_ok=True)
            write_video(paths.stage_video(end.name), made.videos[end.name], fps)
            write_image(paths.stage_poster(end.name), poster(made.videos[end.name]))
    if options.keep_latents:
        from safetensors.torch import save_file

        latents = {end.name: end.latent.cpu().contiguous() for end in made.ends}
        save_file(latents, paths.latents)
