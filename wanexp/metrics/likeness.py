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

from wanexp.metrics.flow import Mask
from wanexp.metrics.planes import Plane, luma, smoothed
from wanexp.metrics.retention import LEAST_FOUND, LEAST_PIXELS, gain, warped, zoom_of

Frames = NDArray[np.uint8]

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


def likeness_in_frame(
    source: Frames, frame: Frames, mapping: NDArray[np.float32], area: Mask, *, found: float
) -> Likeness:
    """One frame beside the source, both (H, W, 3); the rest as in ``retained_in_frame``."""
    if found < LEAST_FOUND:
        return _nothing(found, "too little of it is in the frame")
    window = np.ones((2 * REACH + 1, 2 * REACH + 1), np.uint8)
    whole = cv2.erode(area.astype(np.uint8), window, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    area = whole > 0
    if area.sum() < LEAST_PIXELS:
        return _nothing(found, "it is too small in the frame")
    expected = warped(source.astype(np.float32), mapping, zoom_of(mapping, area))
    shown, shown_luma, expected_luma = frame.astype(np.float32), luma(frame), luma(expected)
    return Likeness(
        ssim=float(_ssim(shown_luma, expected_luma)[area].mean(dtype=np.float64)),
        overshoot=_overshoot(shown_luma, expected_luma, area),
        saturation=_saturation(shown, expected, area),
        found=found,
        reason=None,
    )


def _nothing(found: float, reason: str) -> Likeness:
    return Likeness(ssim=None, overshoot=None, saturation=None, found=found, reason=reason)


def _ssim(x: Plane, y: Plane) -> Plane:
    """The SSIM of every pixel."""
    mean_x, mean_y = smoothed(x, SSIM_SIGMA), smoothed(y, SSIM_SIGMA)
    var_x = smoothed(x * x, SSIM_SIGMA) - mean_x * mean_x
    var_y = smoothed(y * y, SSIM_SIGMA) - mean_y * mean_y
    both = smoothed(x * y, SSIM_SIGMA) - mean_x * mean_y
    above = (2 * mean_x * mean_y + SSIM_C1) * (2 * both + SSIM_C2)
    below = (mean_x**2 + mean_y**2 + SSIM_C1) * (var_x + var_y + SSIM_C2)
    return np.asarray(above / below, np.float32)


def _overshoot(frame: Plane, expected: Plane, area: Mask) -> float:
    matched = expected * gain(frame, expected)
    window = np.ones((5, 5), np.uint8)
    above = frame > cv2.dilate(matched, window) + TOLERANCE
    below = frame < cv2.erode(matched, window) - TOLERANCE
    return 100.0 * float((above | below)[area].mean())


def _saturation(frame: Plane, expected: Plane, area: Mask) -> float | None:
    """At half the size where there is a half: what is smoothed this much loses nothing by it."""
    half = (max(1, area.shape[1] // 2), max(1, area.shape[0] // 2))
    whole = cv2.resize(area.astype(np.float32), half, interpolation=cv2.INTER_AREA) > 0.999
    if not whole.any():
        return None
    strengths, lumas = [], []
    for image in (frame, expected):
        small = np.asarray(cv2.resize(image, half, interpolation=cv2.INTER_AREA), np.float32)
        grey = luma(small)
        colour = smoothed(small - grey[..., None], COLOUR_SIGMA / 2)[whole]
        strengths.append(math.sqrt(float(np.square(colour).mean(dtype=np.float64))))
        lumas.append(float(grey[whole].mean(dtype=np.float64)))
    if strengths[1] < LEAST_COLOUR or min(lumas) < 1.0:
        return None
    return strengths[0] / strengths[1] * lumas[1] / lumas[0]
