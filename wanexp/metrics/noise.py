"""Grain that the source does not have."""

from __future__ import annotations

import math

import cv2
import numpy as np

from wanexp.metrics.observation import Frames, Observation
from wanexp.metrics.reading import Reading, mean, summed_up, undefined
from wanexp.metrics.spread import spread

KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
"""The second difference of second differences: blind to slopes and straight edges."""

STROKES = 8 * 255 + 1
"""As many values as |KERNEL * I| can have."""

MEDIAN_OF_NORMAL = 0.6745
"""The median of |x| for x of deviation 1; the kernel's own deviation is 6."""

LEAST_SIDE = 8
"""A frame with a smaller side than this has too few pixels for a median, px."""


def noise(observation: Observation) -> Reading:
    """Deviation of the grain that was added to the source, in grey levels and per channel.

    sqrt(max(0, σ² − σ_source²)), with σ the median of |KERNEL * I| over pixels and channels as a
    deviation. The median keeps edges out, but not fine texture: the source's σ is taken off and
    the rest under-reads in grass and gravel. 0 where a frame has no more than the source. Series:
    every frame's deviation.

    Source: Immerkær, 1996, Fast Noise Variance Estimation, with a median for the mean.
    """
    if min(observation.size) < LEAST_SIDE:
        width, height = observation.size[::-1]
        return undefined(f"frames of {width}x{height} are too small to tell noise from texture")
    own = grain(observation.source)
    grains = spread(lambda frame: grain(frame) if frame.any() else 0.0, observation.frames)
    added = [math.sqrt(max(0.0, found**2 - own**2)) for found in grains]
    return summed_up(
        tuple(added), mean, possible=len(added), reason="", extras={"source_noise": own}
    )


def grain(image: Frames) -> float:
    """Deviation of an RGB image's (H, W, 3) grain, its fine texture included, grey levels."""
    strokes = np.abs(cv2.filter2D(image, cv2.CV_16S, KERNEL)).view(np.uint16)
    rows = strokes.reshape(len(strokes), -1)  # OpenCV counts one channel, and lets other threads on
    counts = cv2.calcHist([rows], [0], None, [STROKES], [0, STROKES]).ravel().astype(np.int64)
    # A median between the whole numbers: small deviations would otherwise come in steps.
    middle = strokes.size / 2
    below = np.cumsum(counts)
    at = int(np.searchsorted(below, middle))
    before = float(below[at - 1]) if at else 0.0
    width = 0.5 if at == 0 else 1.0  # the bin of 0 reaches from 0 to one half
    median = (0.0 if at == 0 else at - 0.5) + width * (middle - before) / float(counts[at])
    return median / MEDIAN_OF_NORMAL / 6.0
