"""Metrics of one video: what each is called and how it reads, and ``measure``.

A metric is one function of an ``Observation`` (all that can be worked out about a video once and
shared: flow, cameras, where the source is) in the file of its family, and one row of METRICS.
Frames are (T, H, W, 3) uint8 RGB as decoded, before any video encoding: encoding alone makes a
clean video's warp four times and its flicker twenty times as large.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from wanexp.metrics.detail import detail, detail_incoherence, region_detail
from wanexp.metrics.faces import face_detail, scaled
from wanexp.metrics.flicker import flicker
from wanexp.metrics.jitter import jitter
from wanexp.metrics.motion import motion, motion_top5
from wanexp.metrics.observation import Box, Frames, Observation
from wanexp.metrics.reading import Reading, Series
from wanexp.metrics.warp import warp
from wanexp.names import lookup

DIRECTIONS = ("lower", "higher", "one")
"""Which way is better: down, up, or towards 1."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric's definition.

    Attributes:
        direction: One of DIRECTIONS.
        unit: What a value is counted in.
        version: Raised whenever the same video would read differently; two never share a column.
        source: The paper or formula.
        confuses: What else moves the value, for whoever reads it.
    """

    name: str
    measure: Callable[[Observation], Reading]
    direction: str
    unit: str
    version: int
    source: str
    confuses: str


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One metric's value on one video; exactly one of ``value`` and ``reason`` is None.

    Attributes:
        per_frame: One entry per frame, in the value's unit, None where nothing is defined there.
        extras: What the value rests on: ``valid_frac``, the mean share of pixels that could be
            followed or found; ``defined_frac``, the share of entries that are defined among those
            that could be; ``face_px``, the face's smaller side.
    """

    value: float | None
    reason: str | None
    direction: str
    unit: str
    version: int
    per_frame: Series | None
    extras: Mapping[str, float] = field(default_factory=dict)


METRICS: dict[str, Metric] = {
    "flicker": Metric(
        name="flicker",
        measure=flicker,
        direction="lower",
        unit="%",
        version=1,
        source="RMS second difference of the motion-compensated median log gain, /√6",
        confuses="little: noise of 8 % of full scale reads about 0.1 %",
    ),
    "jitter": Metric(
        name="jitter",
        measure=jitter,
        direction="lower",
        unit="px",
        version=1,
        source="RMS jerk of the similarity fit's shift between distant parts, /√40",
        confuses="judder (repeated frames) counts; warping that moves the whole frame counts",
    ),
    "warp": Metric(
        name="warp",
        measure=warp,
        direction="lower",
        unit="px",
        version=1,
        source="RMS change of the flow's residual to its similarity fit, worst 10 % cut, /√12",
        confuses="wanted motion that accelerates (limbs, water) counts: compare within one case",
    ),
    "detail": Metric(
        name="detail",
        measure=detail,
        direction="one",
        unit="ratio",
        version=1,
        source="regression of the frame's 0.7-2 px band on the motion-compensated source's",
        confuses="content that changes on purpose (a turn, new light) counts as lost",
    ),
    "detail_incoherence": Metric(
        name="detail_incoherence",
        measure=detail_incoherence,
        direction="lower",
        unit="ratio",
        version=1,
        source="RMS of that regression's residual beside the source's band",
        confuses="noise, invented texture and misplaced detail are one number",
    ),
    "face_detail": Metric(
        name="face_detail",
        measure=face_detail,
        direction="one",
        unit="ratio",
        version=1,
        source="detail within the face found in the source",
        confuses="turning the head and changing the expression count as lost",
    ),
    "motion": Metric(
        name="motion",
        measure=motion,
        direction="higher",
        unit="% of the smaller side per second",
        version=1,
        source="median length of the optical flow",
        confuses="camera and subject are one number; jitter and warp are motion too",
    ),
    "motion_top5": Metric(
        name="motion_top5",
        measure=motion_top5,
        direction="higher",
        unit="% of the smaller side per second",
        version=1,
        source="mean length of the fastest 5 % of the optical flow, after VBench's dynamic degree",
        confuses="as motion, and noise: its fastest pixels are errors of the flow",
    ),
}


def region_metric(name: str) -> Metric:
    """``detail`` within the region of this name, called ``detail:name``."""
    whole = METRICS["detail"]
    return Metric(
        name=f"detail:{name}",
        measure=region_detail(name),
        direction=whole.direction,
        unit=whole.unit,
        version=whole.version,
        source=f"detail within the region {name!r}",
        confuses=whole.confuses,
    )


def measure(
    frames: Frames,
    source: Frames,
    fps: float,
    names: Sequence[str] | None = None,
    face_box: Box | None = None,
    regions: Mapping[str, Box] | None = None,
) -> dict[str, Measurement]:
    """Measurements of one video by metric name, in the order of ``names``.

    Args:
        frames: (T, H, W, 3) uint8 RGB, decoded and not yet encoded.
        source: The image that the video was made from, (H', W', 3) uint8; resized to the frames.
        fps: Frames per second, for speeds.
        names: Keys of METRICS or ``detail:REGION``; None measures all there are.
        face_box: (x0, y0, x1, y1) in source pixels; None looks for a face.
        regions: Boxes in source pixels by name (a text, a logo), each measured as ``detail:NAME``.

    Raises:
        ValueError: Arrays, fps or boxes are not as described.
        KeyError: There is no metric, or no region, of that name; the message has the nearest one.
    """
    _check_images(frames, source)
    if isinstance(names, str):
        raise ValueError(f"names must be a list of names, got the text {names!r}")
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"fps must be a positive number, got {fps}")
    boxes = dict(regions or {})
    for called, box in {
        "face_box": face_box,
        **{f"region {k!r}": b for k, b in boxes.items()},
    }.items():
        if box is not None:
            _check_box(called, box, source)
    table = METRICS | {f"detail:{name}": region_metric(name) for name in boxes}
    metrics = [lookup("metric", table, name) for name in (table if names is None else names)]
    observation = _observed(frames, source, fps, face_box, boxes)
    return {metric.name: _measured(metric, observation) for metric in metrics}


def _observed(
    frames: Frames, source: Frames, fps: float, face_box: Box | None, regions: Mapping[str, Box]
) -> Observation:
    """The video beside its source, both at the frames' size, boxes too."""
    height, width = frames.shape[1:3]
    by_x, by_y = width / source.shape[1], height / source.shape[0]
    how = cv2.INTER_AREA if by_x <= 1 and by_y <= 1 else cv2.INTER_CUBIC
    fits = source.shape[:2] == (height, width)
    resized = source if fits else cv2.resize(source, (width, height), interpolation=how)
    return Observation(
        frames=frames,
        source=np.asarray(resized, np.uint8),
        portrait=source,
        fps=fps,
        face_box=None if face_box is None else scaled(face_box, by_x, by_y),
        regions={name: scaled(box, by_x, by_y) for name, box in regions.items()},
    )


def _measured(metric: Metric, observation: Observation) -> Measurement:
    reading = metric.measure(observation)
    return Measurement(
        value=reading.value,
        reason=reading.reason,
        direction=metric.direction,
        unit=metric.unit,
        version=metric.version,
        per_frame=reading.per_frame,
        extras=reading.extras,
    )


def _check_images(frames: Frames, source: Frames) -> None:
    for called, array, axes in (("frames", frames, "T, H, W, 3"), ("source", source, "H, W, 3")):
        dimensions = axes.count(",") + 1
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{called} must be a numpy array, got {type(array).__name__}")
        if array.dtype != np.uint8:
            raise ValueError(f"{called} must be uint8, got {array.dtype}")
        if array.ndim != dimensions or array.shape[-1] != 3:
            raise ValueError(f"{called} must have the shape ({axes}), got {array.shape}")
        if array.size == 0:
            raise ValueError(f"{called} must not be empty, got the shape {array.shape}")


def _check_box(called: str, box: Box, source: Frames) -> None:
    height, width = source.shape[:2]
    if len(box) != 4:
        raise ValueError(f"{called} must be (x0, y0, x1, y1), got {len(box)} numbers")
    x0, y0, x1, y1 = box
    slack = 1e-6 * max(width, height)  # boxes come out of divisions
    if not (-slack <= x0 < x1 <= width + slack and -slack <= y0 < y1 <= height + slack):
        raise ValueError(
            f"{called} must be (x0, y0, x1, y1) with x0 < x1 and y0 < y1 inside the source of "
            f"{width}x{height} px, got {tuple(box)}"
        )
