"""Metrics of one video: what each is called and how it reads, and ``measure``.

A metric is one function of an ``Observation`` (all that can be worked out about a video once and
shared: flow, cameras, where the source is) in the file of its family, and a row of METRICS in
``table``.
Frames are (T, H, W, 3) uint8 RGB as decoded, before any video encoding: encoding alone makes a
clean video's warp four times and its flicker twenty times as large.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from wanexp.metrics.faces import scaled
from wanexp.metrics.observation import Box, Frames, Observation
from wanexp.metrics.reading import Series, undefined
from wanexp.metrics.spread import threads
from wanexp.metrics.table import DIRECTIONS, METRICS, REGION, Metric, region_metric
from wanexp.names import lookup

__all__ = [
    "DIRECTIONS",
    "METRICS",
    "NO_SOURCE",
    "Frames",
    "Measurement",
    "Metric",
    "measure",
    "observe",
    "region_metric",
]


NO_SOURCE = "there is no source image to compare with"
"""Why a metric that is ``against_source`` has no value without one."""


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


def measure(
    frames: Frames,
    source: Frames | None,
    fps: float,
    names: Sequence[str] | None = None,
    face_box: Box | None = None,
    regions: Mapping[str, Box] | None = None,
    lpips_weights: Path | None = None,
    face_model: Path | None = None,
) -> dict[str, Measurement]:
    """Measurements of one video by metric name, in the order of ``names``.

    Args:
        frames: (T, H, W, 3) uint8 RGB, decoded and not yet encoded.
        source: The image that the video was made from, (H', W', 3) uint8; resized to the frames.
            None for a video made from words: what is measured against a source is undefined.
        fps: Frames per second, for speeds.
        names: Keys of METRICS or ``detail:REGION``; None measures all there are. A region that is
            not given is no error but undefined: another case may have it.
        face_box: (x0, y0, x1, y1) in source pixels; None looks for a face.
        regions: Boxes in source pixels by name (a text, a logo), each measured as ``detail:NAME``.
        lpips_weights: AlexNet's weights for LPIPS; None looks where torch hub keeps them.
        face_model: YuNet's ONNX file, which finds more faces; None looks with a cascade.

    Raises:
        ValueError: Arrays, fps or boxes are not as described.
        KeyError: There is no metric of that name; the message has the nearest one.
    """
    if isinstance(names, str):
        raise ValueError(f"names must be a list of names, got the text {names!r}")
    boxes = regions or {}
    observation = observe(frames, source, fps, face_box, boxes, lpips_weights, face_model)
    asked = [*METRICS, *(f"{REGION}{name}" for name in boxes)] if names is None else names
    metrics = [_metric(name) for name in asked]
    sourceless = source is None

    def told(metric: Metric) -> Measurement:
        return _measured(metric, observation, sourceless=sourceless)

    seek = not sourceless and any(metric.seeks_source for metric in metrics)
    with _seeking_source(observation) if seek else contextlib.nullcontext():
        found = {metric.name: told(metric) for metric in metrics if not metric.against_source}
    found |= {metric.name: told(metric) for metric in metrics if metric.against_source}
    return {metric.name: found[metric.name] for metric in metrics}


@contextlib.contextmanager
def _seeking_source(observation: Observation) -> Iterator[None]:
    """Finds the source in the frames beside other work, where cores are left for that.

    It is looked for frame after frame, by one thread. What goes wrong there does so again where
    the places are asked for.
    """
    if threads() < 3 or len(observation.frames) < 2 or observation.too_small:
        yield
        return
    observation.pairs  # noqa: B018  (both need them; two threads would work them out twice)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: observation.sightings)
        yield


def _metric(name: str) -> Metric:
    region = name.removeprefix(REGION)
    if region and region != name:
        return region_metric(region)
    return lookup("metric", METRICS, name)


def observe(
    frames: Frames,
    source: Frames | None,
    fps: float,
    face_box: Box | None = None,
    regions: Mapping[str, Box] | None = None,
    lpips_weights: Path | None = None,
    face_model: Path | None = None,
) -> Observation:
    """The video beside its source, both at the frames' size, boxes too; as ``measure`` takes them.

    Without a source the first frame is in its place, and metrics ``against_source`` are not to ask.

    Raises:
        ValueError: Arrays, fps or boxes are not as described.
    """
    _check_images("frames", frames, "T, H, W, 3")
    if source is None and (face_box is not None or regions):
        raise ValueError("face_box and regions are parts of the source, and there is none")
    beside: Frames = frames[0] if source is None else source
    _check_images("source", beside, "H, W, 3")
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"fps must be a positive number, got {fps}")
    boxes = dict(regions or {})
    named = {"face_box": face_box, **{f"region {name!r}": box for name, box in boxes.items()}}
    for called, box in named.items():
        if box is not None:
            _check_box(called, box, beside)
    height, width = frames.shape[1:3]
    by_x, by_y = width / beside.shape[1], height / beside.shape[0]
    return Observation(
        frames=frames,
        source=_resized(beside, width, height),
        portrait=beside,
        fps=fps,
        face_box=None if face_box is None else scaled(face_box, by_x, by_y),
        regions={name: scaled(box, by_x, by_y) for name, box in boxes.items()},
        lpips_weights=lpips_weights,
        face_model=face_model,
    )


def _resized(source: Frames, width: int, height: int) -> Frames:
    if source.shape[:2] == (height, width):
        return source
    smaller = width <= source.shape[1] and height <= source.shape[0]
    how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(source, (width, height), interpolation=how), np.uint8)


def _measured(metric: Metric, observation: Observation, *, sourceless: bool) -> Measurement:
    unmeasured = sourceless and metric.against_source
    reading = undefined(NO_SOURCE) if unmeasured else metric.measure(observation)
    return Measurement(
        value=reading.value,
        reason=reading.reason,
        direction=metric.direction,
        unit=metric.unit,
        version=metric.version,
        per_frame=reading.per_frame,
        extras=reading.extras,
    )


def _check_images(called: str, array: Frames, axes: str) -> None:
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
