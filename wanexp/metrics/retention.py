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

from wanexp.metrics.beside import (
    LEAST_FOUND,
    LEAST_PIXELS,
    LOCAL,
    TOO_LITTLE,
    TOO_SMALL,
    Beside,
    Original,
    Places,
    set_beside,
)
from wanexp.metrics.flow import Mask
from wanexp.metrics.planes import Plane, smoothed

EDGES = (0.7, 1.0, 1.4, 2.0)
"""Gaussian deviations, px: the band of fine detail is the first less the last, in three parts."""

RIM = 4
"""Pixels this near to a lost one are left out: the band-pass would mix them, px."""

LEAST_DETAIL = 0.5
"""RMS of the source's band under which there is nothing to keep, grey levels: rounding is 0.2."""


Bytes = NDArray[np.uint8]


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
    source: Original, frame: Plane, mapping: Places, area: Mask, *, found: float
) -> Retained:
    """The two detail ratios over ``area``, see ``retained``.

    Args:
        source: Made ready by ``beside.original``.
        frame: Its luma, (H, W), 0 … 255.
        mapping: Where in the source each frame pixel comes from, (H, W, 2), (x, y) in pixels.
        area: The frame pixels to look at, (H, W); all of them have their place in the source.
        found: The share of the area that is in the frame.
    """
    if found < LEAST_FOUND:
        return nothing(found, TOO_LITTLE)
    if not area.any():
        return nothing(found, TOO_SMALL)
    rows, columns = _around(area, margin=round(4 * LOCAL))
    area, frame, mapping = area[rows, columns], frame[rows, columns], mapping[rows, columns]
    return retained(set_beside(source, frame, mapping, area), area, found=found)


def retained(beside: Beside, area: Mask, *, found: float) -> Retained:
    """The two detail ratios over ``area``.

    With S the warped source and I the frame, both band-passed, coherence is ⟨I, S⟩ / ⟨S, S⟩: a
    regression rather than a ratio of energies, because noise has energy too. Incoherence is
    |I − Σ c_k·S_k| / |S| with S in three narrower bands S_k and the c_k fitted: what is left is
    not the source's, however it is blurred or sharpened.

    The coarser of the two images is compared: where the frame is magnified the band moves to lower
    frequencies with it, where it is reduced the source is smoothed first.
    """
    window = np.ones((2 * RIM + 1, 2 * RIM + 1), np.uint8)
    within = np.asarray(cv2.erode(area.astype(np.uint8), window), np.uint8)
    count = cv2.countNonZero(within)
    if count < LEAST_PIXELS:
        return nothing(found, TOO_SMALL)
    widened = max(beside.zoom, 1.0)
    smooth = [smoothed(beside.matched, edge * widened) for edge in EDGES]
    parts = [fine - coarse for fine, coarse in pairwise(smooth)]
    whole = smooth[0] - smooth[-1]
    fine, coarse = (smoothed(beside.frame, edge * widened) for edge in (EDGES[0], EDGES[-1]))
    shown = fine - coarse
    energy = _energy(whole, within)
    if energy < LEAST_DETAIL**2 * count:
        return nothing(found, "the source has no fine detail there")
    coherence = _product(shown, whole, within) / energy
    rest = np.subtract(shown, np.float32(coherence) * whole)
    products = np.array(
        [[_product(one, other, within) for other in (*parts, rest)] for one in parts]
    )
    weights = np.linalg.lstsq(products[:, :-1], products[:, -1], rcond=None)[0]
    # What least squares leaves: |rest − Σ w_k·S_k|² without a plane for it.
    invented = max(0.0, _energy(rest, within) - float(weights @ products[:, -1]))
    return Retained(
        coherence=coherence, incoherence=math.sqrt(invented / energy), found=found, reason=None
    )


def nothing(found: float, reason: str) -> Retained:
    """No ratios, and why."""
    return Retained(coherence=None, incoherence=None, found=found, reason=reason)


def _energy(plane: Plane, within: Bytes) -> float:
    """The sum of squares, in double precision as OpenCV adds them up."""
    return cv2.norm(plane, cv2.NORM_L2SQR, within)


def _product(one: Plane, other: Plane, within: Bytes) -> float:
    """The scalar product, (|a + b|² − |a − b|²) / 4: a tenth of the time that gathering takes."""
    return (_energy(one + other, within) - _energy(one - other, within)) / 4


def _around(area: Mask, margin: int) -> tuple[slice, slice]:
    """The rows and columns that hold ``area`` and ``margin`` pixels about it."""
    bounds = []
    for axis, length in ((1, area.shape[0]), (0, area.shape[1])):
        used = np.flatnonzero(area.any(axis=axis))
        bounds.append(slice(max(used[0] - margin, 0), min(used[-1] + 1 + margin, length)))
    return bounds[0], bounds[1]
