"""Brightness that goes up and down from frame to frame, with motion taken out."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

from wanexp.metrics import flow
from wanexp.metrics.observation import LEAST_SHARE, Observation
from wanexp.metrics.reading import Reading, padded, root_mean_square, summed_up, undefined

SOFT = 2.0
"""Luma is smoothed by this much before it is compared, px: flow errs by a little."""

DARKEST = 5.0
"""Luma under this is not compared, grey levels: one level is more than 20 % there."""

LEAST_USABLE = 0.01
"""The share of pixels that must be followed, lit and unclipped for a gain to be measured."""


def flicker(observation: Observation) -> Reading:
    """RMS of the brightness noise between frames, in percent of the brightness.

    g_t is the median over pixels of log Y_{t+1}(p + f_t(p)) − log Y_t(p); the value is
    100·sqrt(mean (g_{t+1} − g_t)² / 6), which is the deviation of independent gain noise (1, −2, 1
    squared sum to 6). Being a second difference it reads 0 on a fade. Series: 100·|Δg|/√6 at the
    frame between the two changes; frames 0 and T − 1 have none.
    """
    count = len(observation.frames)
    if count < 3:
        return undefined(f"flicker needs at least 3 frames, got {count}")
    if observation.too_small:
        return undefined(observation.too_small)
    gains = _gains(observation)
    changes = [
        None if one is None or two is None else 100 * abs(two - one) / 6**0.5
        for one, two in pairwise(gains)
    ]
    return summed_up(
        padded(changes, 1, 1),
        root_mean_square,
        possible=count - 2,
        reason="too few pixels can be followed that are neither black nor clipped",
        extras={"valid_frac": observation.valid_share},
    )


def _gains(observation: Observation) -> list[float | None]:
    """The log gain of every frame on the one before, T − 1 entries."""
    smooth = [cv2.GaussianBlur(plane, (0, 0), SOFT) for plane in observation.lumas]
    clipped = observation.clipped
    gains: list[float | None] = []
    for t, pair in enumerate(observation.pairs):
        if observation.repeats[t]:
            gains.append(0.0)
            continue
        later = flow.carried(smooth[t + 1], pair.match.forward)
        lit = flow.carried_mask(~clipped[t + 1], pair.match.forward) & ~clipped[t]
        usable = pair.match.valid & lit & (smooth[t] > DARKEST) & (later > DARKEST)
        if pair.match.valid.mean() < LEAST_SHARE or usable.mean() < LEAST_USABLE:
            gains.append(None)
            continue
        gains.append(float(np.median(np.log(later[usable] / smooth[t][usable]))))
    return gains
