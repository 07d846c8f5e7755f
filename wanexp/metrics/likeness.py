"""How like the source one frame is, where the source is in that frame.

Letters: H, W are the frames' size; a mapping is (H, W, 2), the place in the source of every frame
pixel. Luma and colour are 0 … 255.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from wanexp.metrics.beside import LEAST_PIXELS, TOO_SMALL, Beside, Places
from wanexp.metrics.flow import Mask
from wanexp.metrics.planes import Plane, luma, read, smoothed

Frames = NDArray[np.uint8]
Bytes = NDArray[np.uint8]
"""A mask as OpenCV takes it: 0 where it is not."""

REACH = 5
"""Pixels this near to a lost one or to the frame's edge are left out: windows look there, px."""

TOLERANCE = 0.02 * 255
"""What may lie outside the source's local range, grey levels."""

SSIM_SIGMA = 1.5
SSIM_C1, SSIM_C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2

COLOUR_SIGMA = 4.0
"""Colours are smoothed by this before their strength is taken, px: grain is colour, too."""

LEAST_COLOUR = 2.0
"""RMS of colour differences under which a source is grey, grey levels."""


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """One frame beside the source; all None where ``reason`` is a string.

    Attributes:
        ssim: Mean structural similarity.
        overshoot: % of the pixels.
        saturation: Ratio of colour strengths; None alone where the source is grey.
        found: The share of the frame that shows the source.
    """

    ssim: float | None
    overshoot: float | None
    saturation: float | None
    found: float
    reason: str | None


def likeness(
    beside: Beside, frame: Frames, colours: Plane, mapping: Places, area: Mask, *, found: float
) -> Likeness:
    """One whole frame beside the source.

    Args:
        beside: The two lumas.
        frame: (H, W, 3).
        colours: The source as ``halved`` makes it.
        mapping: Where in the source each frame pixel comes from, (H, W, 2).
        area: The frame pixels to look at, (H, W).
        found: The share of the frame that shows the source.
    """
    window = np.ones((2 * REACH + 1, 2 * REACH + 1), np.uint8)
    bordered = cv2.BORDER_CONSTANT
    eroded = cv2.erode(area.astype(np.uint8), window, borderType=bordered, borderValue=0)
    within = np.asarray(eroded, np.uint8)
    if cv2.countNonZero(within) < LEAST_PIXELS:
        return nothing(found, TOO_SMALL)
    return Likeness(
        ssim=cv2.mean(_ssim(beside.frame, beside.expected), within)[0],
        overshoot=_overshoot(beside, within),
        saturation=_saturation(frame, colours, mapping, within),
        found=found,
        reason=None,
    )


def nothing(found: float, reason: str) -> Likeness:
    """No likeness, and why."""
    return Likeness(ssim=None, overshoot=None, saturation=None, found=found, reason=reason)


def halved(image: Frames | Plane) -> Plane:
    """An image of any number of channels at half the size, float32."""
    height, width = image.shape[:2]
    half = (max(1, width // 2), max(1, height // 2))
    small = cv2.resize(image, half, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)


def _ssim(x: Plane, y: Plane) -> Plane:
    """The SSIM of every pixel."""
    mean_x, mean_y = smoothed(x, SSIM_SIGMA), smoothed(y, SSIM_SIGMA)
    means = mean_x * mean_y
    squares = mean_x * mean_x + mean_y * mean_y
    variances = smoothed(np.asarray(x * x + y * y, np.float32), SSIM_SIGMA) - squares
    both = smoothed(x * y, SSIM_SIGMA) - means
    above = (2 * means + SSIM_C1) * (2 * both + SSIM_C2)
    below = (squares + SSIM_C1) * (variances + SSIM_C2)
    return np.asarray(above / below, np.float32)


def _overshoot(beside: Beside, within: Bytes) -> float:
    window = np.ones((5, 5), np.uint8)
    above = beside.frame > cv2.dilate(beside.matched, window) + TOLERANCE
    below = beside.frame < cv2.erode(beside.matched, window) - TOLERANCE
    return 100.0 * cv2.mean((above | below).view(np.uint8), within)[0]


def _saturation(frame: Frames, colours: Plane, mapping: Places, within: Bytes) -> float | None:
    """At half the size where there is a half: what is smoothed this much loses nothing by it."""
    small = halved(frame)
    whole = (halved(within.astype(np.float32)) > 0.999).view(np.uint8)
    if not whole.any():
        return None
    # Pixel p of the whole size is at (p + 0.5)·half/whole − 0.5 of the half.
    by = np.array(small.shape[1::-1], np.float32) / np.array(frame.shape[1::-1], np.float32)
    places = np.asarray(halved(mapping) * by + (by - 1) / 2, np.float32)
    expected = read(colours, places, cv2.INTER_CUBIC, cv2.BORDER_REFLECT_101)
    (shown, level), (wanted, level_wanted) = (_colour(image, whole) for image in (small, expected))
    if wanted < LEAST_COLOUR or min(level, level_wanted) < 1.0:
        return None
    return shown / wanted * level_wanted / level


def _colour(image: Plane, within: Bytes) -> tuple[float, float]:
    """RMS of the smoothed colour differences, and the mean luma, over the pixels ``within``."""
    grey = luma(image)
    colour = smoothed(np.asarray(image - grey[..., None], np.float32), COLOUR_SIGMA / 2)
    square = cv2.norm(colour, cv2.NORM_L2SQR, within) / (3 * cv2.countNonZero(within))
    return math.sqrt(square), cv2.mean(grey, within)[0]
