"""How much moves at all: a gate for the other metrics, because a frozen video is free of faults."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from wanexp.metrics import flow
from wanexp.metrics.flow import Flow, Mask
from wanexp.metrics.observation import Observation, Pair
from wanexp.metrics.planes import Plane, median, smoothed
from wanexp.metrics.reading import Reading, mean, padded, summed_up, undefined
from wanexp.metrics.spread import spread

STATIC_BELOW = 2.0
"""``motion_top5`` under which a video stands still, %/s: 0.15 % of the smaller side a frame."""

EVIDENCE = 2.0
"""What moves must match its neighbourhood at least this many times better moved than unmoved.

Grain makes flow where nothing moves, of 3 to 12 %/s in a still with a deviation of 1 to 20 grey
levels, but improves its match by 1.4 times at most; a pan of 0.1 px a frame, by 2 to 9 times.
"""

NEIGHBOURHOOD = 0.1
"""The side of the square in which the match is judged, in parts of the smaller side."""

ROUNDING = 0.2
"""Squared difference that rounding to bytes leaves, grey levels²."""


@dataclass(frozen=True, kw_only=True)
class Speeds:
    """Speeds of one pair of frames, working pixels: of all that moves, its camera, and the rest."""

    whole: float
    camera: float
    things: float


def motion(observation: Observation) -> Reading:
    """Median speed, in percent of the frame's smaller side per second.

    The median of the flow's length over the pixels that can be followed, meaned over the pairs of
    frames. Series: the speed into every frame from the one before; frame 0 has none.
    """
    refusal = _unmeasurable(observation)
    if refusal:
        return refusal
    speeds = [
        None if pair.camera is None else median(_lengths(observation, pair))
        for pair in observation.pairs
    ]
    return _summed_up(observation, speeds, {})


def motion_top5(observation: Observation) -> Reading:
    """Mean speed of the fastest 5 % of pixels, in percent of the smaller side per second.

    Only what shows that it moves is fast: see EVIDENCE; the rest counts as still. The extras split
    it, in the same unit: ``camera`` is the mean length of the camera's own flow, ``things`` the
    fastest 5 % against the camera; ``static`` is 1 under STATIC_BELOW, else 0. Series: the speed
    into every frame from the one before; frame 0 has none.
    """
    refusal = _unmeasurable(observation)
    if refusal:
        return refusal
    soft = spread(lambda plane: smoothed(plane, 1.0), observation.lumas)
    steps = zip(pairwise(soft), observation.pairs, observation.residuals, strict=True)
    pairs = spread(lambda step: _speeds(observation, *step), steps)
    known = [speeds for speeds in pairs if speeds is not None]
    extras: dict[str, float] = {}
    if known:
        percent = _percent(observation)
        extras = {
            "camera": percent * float(np.mean([one.camera for one in known])),
            "things": percent * float(np.mean([one.things for one in known])),
            "static": float(np.mean([one.whole for one in known]) * percent < STATIC_BELOW),
        }
    whole = [None if one is None else one.whole for one in pairs]
    return _summed_up(observation, whole, extras)


def _speeds(
    observation: Observation, frames: tuple[Plane, Plane], pair: Pair, residual: Flow
) -> Speeds | None:
    if pair.camera is None:
        return None
    now, after = frames
    forward, valid = pair.match.forward, pair.match.valid
    by_camera = forward - residual
    misfit = _misfit(observation, now, flow.carried(after, forward), valid)
    still = _misfit(observation, now, after, valid)
    carried = _misfit(observation, now, flow.carried(after, by_camera), valid)
    lengths = _lengths(observation, pair)
    apart = _length(observation, residual)[valid]
    return Speeds(
        whole=_fastest(np.where((still > EVIDENCE * misfit)[valid], lengths, 0)),
        camera=float(_length(observation, by_camera).mean(dtype=np.float64)),
        things=_fastest(np.where((carried > EVIDENCE * misfit)[valid], apart, 0)),
    )


def _misfit(observation: Observation, image: Plane, other: Plane, valid: Mask) -> Plane:
    """The mean squared difference about every pixel, without what exposure makes of it."""
    side = 2 * round(NEIGHBOURHOOD * min(observation.grid) / 2) + 1
    difference = other - image
    square = np.square(difference - np.float32(median(difference[valid])))
    return np.asarray(cv2.blur(square, (side, side)), np.float32) + np.float32(ROUNDING)


def _fastest(lengths: Plane) -> float:
    rank = int(0.95 * len(lengths))
    return float(np.partition(lengths, rank)[rank:].mean(dtype=np.float64))


def _lengths(observation: Observation, pair: Pair) -> Plane:
    """How far each pixel goes that can be followed, frame pixels."""
    return _length(observation, pair.match.forward)[pair.match.valid]


def _length(observation: Observation, moved: Flow) -> Plane:
    return np.sqrt(flow.squared_length(moved * observation.per_px))


def _percent(observation: Observation) -> float:
    """What a pixel a frame is worth in the unit."""
    return 100 * observation.fps / min(observation.size)


def _summed_up(
    observation: Observation, speeds: list[float | None], extras: dict[str, float]
) -> Reading:
    percent = _percent(observation)
    return summed_up(
        padded([None if one is None else percent * one for one in speeds], 1, 0),
        mean,
        possible=len(speeds),
        reason=observation.why_unfollowed,
        extras={**extras, "valid_frac": observation.valid_share},
    )


def _unmeasurable(observation: Observation) -> Reading | None:
    count = len(observation.frames)
    if count < 2:
        return undefined(f"motion needs at least 2 frames, got {count}")
    return undefined(observation.too_small) if observation.too_small else None
