"""How much of the source's fine detail one frame keeps, where the source is in that frame.

The source is warped onto the frame, its local brightness matched, and both are band-passed; what
the frame has of the source's band is detail kept, what it has besides is detail invented. Letters:
H, W are the frames' size; a mapping is (H, W, 2), the place in the source of every frame pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from wanexp.metrics.flow import Mask
from wanexp.metrics.planes import Plane, smoothed

EDGES = (0.7, 1.0, 1.4, 2.0)
"""Gaussian deviations, px: the band of fine detail is the first less the last, in three parts."""

LOCAL = 6.0
"""Brightness is matched over neighbourhoods of this deviation, px."""

RIM = 4
"""Pixels this near to a lost one are left out: the band-pass would mix them, px."""

LEAST_FOUND = 0.5
"""A frame that shows less of the area than this says nothing about it."""

LEAST_PIXELS = 64
"""An area of fewer pixels in the frame says nothing."""

LEAST_DETAIL = 0.5
"""RMS of the source's band under which there is nothing to keep, grey levels: rounding is 0.2."""


@dataclass(frozen=True, kw_only=True)
class Retained:
    """What one frame keeps of an area; the two ratios are None where ``reason`` is a string.

    Attributes:
        coherence: The source's detail in the frame: 1 all of it, below lost, above sharpened.
        incoherence: Detail that is not the source's, as an amplitude beside the source's.
        found: The share of the area that can be found in the frame.
    """

    coherence: float | None
    incoherence: float | None
    found: float
    reason: str | None


def retained_in_frame(
    source: Plane, frame: Plane, mapping: NDArray[np.float32], area: Mask, *, found: float
) -> Retained:
    """The two detail ratios over ``area``.

    With S the warped source and I the frame, both band-passed, coherence is ⟨I, S⟩ / ⟨S, S⟩: a
    regression rather than a ratio of energies, because noise has energy too. Incoherence is
    |I − Σ c_k·S_k| / |S| with S in three narrower bands S_k and the c_k fitted: what is left is
    not the source's, however it is blurred or sharpened.

    The coarser of the two images is compared: where the frame is magnified the band moves to lower
    frequencies with it, where it is reduced the source is smoothed first.

    Args:
        source: Its luma, (H, W), 0 … 255.
        frame: The same of the frame.
        mapping: Where in the source each frame pixel comes from, (H, W, 2), (x, y) in pixels.
        area: The frame pixels to look at, (H, W); all of them have their place in the source.
        found: The share of the area that is in the frame.
    """
    if found < LEAST_FOUND:
        return _nothing(found, "too little of it is in the frame")
    area = cv2.erode(area.astype(np.uint8), np.ones((2 * RIM + 1, 2 * RIM + 1), np.uint8)) > 0
    if area.sum() < LEAST_PIXELS:
        return _nothing(found, "it is too small in the frame")
    rows, columns = _around(area, margin=round(4 * LOCAL))
    area, frame, mapping = area[rows, columns], frame[rows, columns], mapping[rows, columns]
    zoom = zoom_of(mapping, area)
    expected = warped(source, mapping, zoom)
    kept = _bands(expected * gain(frame, expected), max(zoom, 1.0), area)
    shown = _bands(frame, max(zoom, 1.0), area).sum(axis=0)
    whole = kept.sum(axis=0)
    energy = _product(whole, whole)
    if energy < LEAST_DETAIL**2 * len(whole):
        return _nothing(found, "the source has no fine detail there")
    coherence = _product(shown, whole) / energy
    rest = shown - coherence * whole
    products = np.array([[_product(one, other) for other in (*kept, rest)] for one in kept])
    weights = np.linalg.lstsq(products[:, :-1], products[:, -1], rcond=None)[0]
    left = rest - sum(weight * part for weight, part in zip(weights, kept, strict=True))
    invented = _product(left, left)
    return Retained(
        coherence=coherence, incoherence=math.sqrt(invented / energy), found=found, reason=None
    )


def _product(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The scalar product, in this thread alone: BLAS's own wait for each other on busy cores."""
    return float(np.einsum("i,i->", one, other))


def _nothing(found: float, reason: str) -> Retained:
    return Retained(coherence=None, incoherence=None, found=found, reason=reason)


def _around(area: Mask, margin: int) -> tuple[slice, slice]:
    """The rows and columns that hold ``area`` and ``margin`` pixels about it."""
    bounds = []
    for axis, length in ((1, area.shape[0]), (0, area.shape[1])):
        used = np.flatnonzero(area.any(axis=axis))
        bounds.append(slice(max(used[0] - margin, 0), min(used[-1] + 1 + margin, length)))
    return bounds[0], bounds[1]


def zoom_of(mapping: NDArray[np.float32], area: Mask) -> float:
    """How much larger ``area`` is in the frame than in the source: 1/√|the mapping's Jacobian|."""
    reach = min(8, *(side - 1 for side in area.shape))
    # Every fourth pixel of every fourth row: a median needs no more.
    here, right, below = (
        mapping[rows, columns][::4, ::4]
        for rows, columns in (
            (slice(None, -reach), slice(None, -reach)),
            (slice(None, -reach), slice(reach, None)),
            (slice(reach, None), slice(None, -reach)),
        )
    )
    along_x, along_y = (right - here) / reach, (below - here) / reach
    areas = np.abs(along_x[..., 0] * along_y[..., 1] - along_x[..., 1] * along_y[..., 0])
    inner = area[:-reach, :-reach][::4, ::4]
    typical = float(np.median(areas[inner] if inner.any() else areas))
    return 1.0 / math.sqrt(max(typical, 0.01))


def warped(source: Plane, mapping: NDArray[np.float32], zoom: float) -> Plane:
    """The source as the frame would show it, smoothed first where the frame has fewer pixels."""
    if zoom < 1.0:
        # A pixel that covers 1/zoom source pixels averages them: the wider one less its own share.
        source = smoothed(source, max(0.5 * math.sqrt(zoom**-2 - 1.0), 0.01))
    x, y = mapping[..., 0], mapping[..., 1]
    # Not bicubic: OpenCV's raises the fine band by 1-2 % wherever it moves by half a pixel.
    found = cv2.remap(source, x, y, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(found, np.float32)


def gain(frame: Plane, expected: Plane) -> Plane:
    """What to multiply ``expected`` by for the frame's local brightness; at a quarter the size."""
    height, width = frame.shape
    small = max(width // 4, 1), max(height // 4, 1)
    seen, wanted = (
        smoothed(_resized(image, small, cv2.INTER_AREA), LOCAL / 4) for image in (frame, expected)
    )
    ratio = np.clip((seen + 1.0) / (wanted + 1.0), 0.25, 4.0).astype(np.float32)
    return _resized(ratio, (width, height), cv2.INTER_LINEAR)


def _bands(image: Plane, widened: float, area: Mask) -> NDArray[np.float64]:
    """The three parts of the band over ``area``, (3, pixels), EDGES wider by ``widened``."""
    smooth = [smoothed(image, edge * widened)[area].astype(np.float64) for edge in EDGES]
    return np.stack([fine - coarse for fine, coarse in pairwise(smooth)])


def _resized(image: Plane, size: tuple[int, int], how: int) -> Plane:
    return np.asarray(cv2.resize(image, size, interpolation=how), np.float32)
