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
