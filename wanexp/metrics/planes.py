"""Planes of pixels: luma and smoothing. Planes are (H, W) or (H, W, 3) float32, 0 … 255."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

LUMA = np.array([[0.2126, 0.7152, 0.0722]], np.float32)
"""BT.709 luma of R, G, B, as a 1 × 3 matrix."""


def luma(image: NDArray[np.uint8] | Plane) -> Plane:
    """BT.709 luma of an RGB image (H, W, 3), as (H, W) float32, 0 … 255."""
    return np.asarray(cv2.transform(image.astype(np.float32), LUMA), np.float32)


def smoothed(image: Plane, sigma: float) -> Plane:
    """The image under a Gaussian of this deviation, px."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def read(image: Plane, places: Plane, how: int, beyond: int) -> Plane:
    """The image at these places, (h, w, 2) as (x, y) in px; OpenCV's INTER_… and BORDER_…."""
    found = cv2.remap(image, places, None, how, borderMode=beyond)  # pyright: ignore[reportCallIssue, reportArgumentType]
    return np.asarray(found, np.float32)


def median(values: NDArray[np.floating]) -> float:
    """The median of (n,) numbers, n > 0, in a third of numpy's time: no NaN is looked for."""
    half = len(values) // 2
    upper = np.partition(values, half)
    if len(values) % 2:
        return float(upper[half])
    return (float(upper[:half].max()) + float(upper[half])) / 2
