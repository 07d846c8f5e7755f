"""Brightness that goes up and down from frame to frame, with motion taken out."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from wanexp.metrics.observation import Observation
from wanexp.metrics.planes import Plane, median
from wanexp.metrics.reading import Reading, padded, root_mean_square, summed_up, undefined
from wanexp.metrics.spread import spread

LEAST_USABLE = 0.01
"""The share of pixels that must be followed, lit and unclipped for a gain to be measured."""


PARTS = 8
"""``local_flicker`` looks at PARTS × PARTS parts of the frame, fewer where they would be small."""

LEAST_PART = 8
"""The smaller side of a part, working pixels."""

LEAST_IN_PART = 0.25
"""The share of a part's pixels that must be usable for its gain to be measured."""

Gains = NDArray[np.float64]
"""The log gain of a frame on the one before in every cell; NaN where there is none."""


def flicker(observation: Observation) -> Reading:
    """RMS of the brightness noise between frames, in percent of the brightness.

    g_t is the median over pixels of log Y_{t+1}(p + f_t(p)) − log Y_t(p); the value is
    100·sqrt(mean (g_{t+1} − g_t)² / 6), which is the deviation of independent gain noise (1, −2, 1
    squared sum to 6). Being a second difference it reads 0 on a fade. Series: 100·|Δg|/√6 at the
    frame between the two changes; frames 0 and T − 1 have none.
    """
    return _deviation(observation, "flicker", 1, LEAST_USABLE)


def local_flicker(observation: Observation) -> Reading:
    """``flicker`` in each of PARTS × PARTS parts of the frame, RMS over the parts.

    Texture that boils, lamps that flicker and shadows that pulse have gains of their own, which the
    median of a whole frame does not see. Flicker of the whole frame is part of this number, too:
    what is local is what it reads above ``flicker``. Series: the RMS over the parts that have one.
    """
    return _deviation(observation, "local_flicker", PARTS, LEAST_IN_PART)


def _deviation(observation: Observation, called: str, parts: int, least: float) -> Reading:
    count = len(observation.frames)
    if count < 3:
        return undefined(f"{called} needs at least 3 frames, got {count}")
    if observation.too_small:
        return undefined(observation.too_small)
    parts = min(parts, max(1, min(observation.grid) // LEAST_PART))
    # Many small medians are Python's work, not numpy's: threads only wait for each other there.
    over = spread if parts == 1 else map
    gains = list(over(lambda one: _gains(one, parts, least), observation.brightenings))
    second = 100 * np.abs(np.diff(np.stack(gains), axis=0)) / 6**0.5
    known = ~np.isnan(second)
    changes = [
        root_mean_square(row[have]) if have.any() else None
        for row, have in zip(second, known, strict=True)
    ]
    return summed_up(
        padded(changes, 1, 1),
        root_mean_square,
        possible=count - 2,
        reason="too few pixels can be followed that are neither black nor clipped",
        extras={"valid_frac": observation.valid_share},
    )


def _gains(brightening: Plane, parts: int, least: float) -> Gains:
    """The median of each of parts × parts cells; NaN where under a share ``least`` is usable."""
    rows, columns = (
        np.linspace(0, length, parts + 1).round().astype(int) for length in brightening.shape
    )
    medians = np.full(parts * parts, np.nan)
    for i, ((top, bottom), (left, right)) in enumerate(product(pairwise(rows), pairwise(columns))):
        part = brightening[top:bottom, left:right]
        found = part[part < np.inf]
        if len(found) >= max(1, least * part.size):
            medians[i] = median(found)
    return medians
