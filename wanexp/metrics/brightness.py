"""How much brighter every pixel is than it was in the frame before, seen along its way."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from wanexp.metrics import flow
from wanexp.metrics.flow import Mask, Match
from wanexp.metrics.planes import Plane

SOFT = 2.0
"""Luma is smoothed by this much before it is compared, px: flow errs by a little."""

DARKEST = 5.0
"""Luma under this is not compared, grey levels: one level is more than 20 % there."""

LIT = 254
"""A channel of at least this is saturated."""


def saturated(frame: NDArray[np.uint8]) -> Plane:
    """1 where a channel of an RGB frame is at its end, else 0; (H, W) float32."""
    below = cv2.inRange(frame, (0, 0, 0), (LIT - 1, LIT - 1, LIT - 1))
    return (below == 0).astype(np.float32)


def brightening(
    now: Plane, after: Plane, clipped: Mask, clipped_after: Mask, match: Match
) -> Plane:
    """The log of after(p + flow) / now(p) for every pixel, (h, w); +inf where it cannot be told.

    Args:
        now: A frame's luma smoothed by SOFT, 0 … 255.
        after: The next frame's.
        clipped: Pixels about which the frame is saturated.
        clipped_after: The next frame's.
        match: Flow from the one to the other.
    """
    later = flow.carried(after, match.forward)
    lit = flow.carried_mask(~clipped_after, match.forward) & ~clipped
    usable = match.valid & lit & (now > DARKEST) & (later > DARKEST)
    ratio = np.log(np.maximum(later, 1) / np.maximum(now, 1))
    ratio[~usable] = np.inf
    return ratio
