"""Brightness that goes up and down from frame to frame, with motion taken out."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from wanexp.metrics import flow
from wanexp.metrics.observation import LEAST_SHARE, Observation
from wanexp.metrics.planes import smoothed
from wanexp.metrics.reading import Reading, padded, root_mean_square, summed_up, undefined
from wanexp.metrics.spread import spread

SOFT = 2.0
"""Luma is smoothed by this much before it is compared, px: flow errs by a little."""

DARKEST = 5.0
"""Luma under this is not compared, grey levels: one level is more than 20 % there."""

LEAST_USABLE = 0.01
"""The share of pixels that must be followed, lit and unclipped for a gain to be measured."""


PARTS = 8
"""``local_flicker`` looks at PARTS × PARTS parts of the frame, fewer where they would be small."""

LEAST_PART = 8
"""The smaller side of a part, working pixels."""

LEAST_IN_PART = 0.25
"""The share of a part's pixels that must be usable for its gain to be measured."""

Gains = NDArray[np.float64]
"""The log gain of every frame on the one before, (T − 1, cells); NaN where there is none."""


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
    second = 100 * np.abs(np.diff(_gains(observation, parts, least), axis=0)) / 6**0.5
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


def _gains(observation: Observation, parts: int, least: float) -> Gains:
    """The gains in each of parts × parts cells, where a share ``least`` of its pixels is usable."""
    smooth = spread(lambda plane: smoothed(plane, SOFT), observation.lumas)
    pairs, clipped = observation.pairs, observation.clipped

    def gain(t: int) -> Gains:
        match = pairs[t].match
        if observation.repeats[t]:
            return np.zeros(parts * parts)
        if match.valid.mean() < LEAST_SHARE:
            return np.full(parts * parts, np.nan)
        later = flow.carried(smooth[t + 1], match.forward)
        lit = flow.carried_mask(~clipped[t + 1], match.forward) & ~clipped[t]
        usable = match.valid & lit & (smooth[t] > DARKEST) & (later > DARKEST)
        ratio = np.full(usable.shape, np.inf, np.float32)
        ratio[usable] = np.log(later[usable] / smooth[t][usable])
        return _medians(ratio, parts, least)

    return np.stack(spread(gain, range(len(pairs))))


def _medians(ratio: NDArray[np.float32], parts: int, least: float) -> NDArray[np.float64]:
    """The median of each part's finite entries; NaN where fewer than a share ``least`` are."""
    rows, columns = (
        np.linspace(0, length, parts + 1).round().astype(int) for length in ratio.shape
    )
    medians = np.full(parts * parts, np.nan)
    for i, ((top, bottom), (left, right)) in enumerate(product(pairwise(rows), pairwise(columns))):
        part = ratio[top:bottom, left:right]
        found = part[np.isfinite(part)]
        if len(found) >= max(1, least * part.size):
            medians[i] = float(np.median(found))
    return medians
