"""One frame beside the source as that frame would show it: where detail and likeness begin.

Letters: H, W are the frames' size; a mapping is (H, W, 2), the place in the source of every frame
pixel, (x, y) in pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from wanexp.metrics.flow import Mask
from wanexp.metrics.planes import Plane, read, smoothed

Places = NDArray[np.float32]

TIMES = 3
"""Pixels along a side of one of the source's own. Bicubic interpolation of pixels this fine keeps
the fine band to 0.2 % wherever it moves, in a fifth of the time of Lanczos's on the source itself,
which lowers it by 0.3 %. On the source itself bicubic raises it by 1-2 %, on two pixels by 1 %."""

LONGEST = 32766
"""cv2.remap takes no longer side, px."""

LEAST_BLUR = 0.2
"""A Gaussian of a smaller deviation than this changes nothing, px: its neighbours weigh 4e-6."""

LOCAL = 6.0
"""Brightness is matched over neighbourhoods of this deviation, px."""

LEAST_FOUND = 0.5
"""A frame that shows less of the area than this says nothing about it."""

LEAST_PIXELS = 64
"""An area of fewer pixels in the frame says nothing."""

TOO_LITTLE, TOO_SMALL = "too little of it is in the frame", "it is too small in the frame"


@dataclass(frozen=True, kw_only=True)
class Original:
    """The source's luma with ``times`` pixels along a side of one of its own; 0 … 255."""

    plane: Plane
    times: int


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A frame, or a part of one, and the source warped onto it; planes are (h, w), 0 … 255.

    Attributes:
        frame: Its luma.
        expected: The source's.
        matched: The source's, in the frame's local brightness.
        zoom: How much larger things are in the frame than in the source.
    """

    frame: Plane
    expected: Plane
    matched: Plane
    zoom: float


def original(luma: Plane) -> Original:
    """The source's luma (H, W) made ready to be warped; where OpenCV can, TIMES finer."""
    times = TIMES if TIMES * max(luma.shape) <= LONGEST else 1
    fine = cv2.resize(luma, None, fx=times, fy=times, interpolation=cv2.INTER_LANCZOS4)
    return Original(plane=np.asarray(fine, np.float32), times=times)


def set_beside(source: Original, frame: Plane, mapping: Places, area: Mask) -> Beside:
    """The frame's luma and the source's; the zoom is what is typical of ``area``."""
    zoom = zoom_of(mapping, area)
    expected = warped(source, mapping, zoom)
    matched = expected * gain(frame, expected)
    return Beside(frame=frame, expected=expected, matched=matched, zoom=zoom)


def zoom_of(mapping: Places, area: Mask) -> float:
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


def warped(source: Original, mapping: Places, zoom: float) -> Plane:
    """The source as the frame would show it, smoothed first where the frame has fewer pixels."""
    plane, times = source.plane, source.times
    # A pixel that covers 1/zoom source pixels averages them: the wider one less its own share.
    blur = 0.5 * math.sqrt(max(zoom**-2 - 1.0, 0.0))
    if blur >= LEAST_BLUR:
        plane = smoothed(plane, blur * times)
    places = mapping * np.float32(times)
    places += np.float32((times - 1) / 2)
    return read(plane, places, cv2.INTER_CUBIC, cv2.BORDER_REFLECT_101)


def gain(frame: Plane, expected: Plane) -> Plane:
    """What to multiply ``expected`` by for the frame's local brightness; at a quarter the size."""
    height, width = frame.shape
    small = max(width // 4, 1), max(height // 4, 1)
    seen, wanted = (
        smoothed(_resized(image, small, cv2.INTER_AREA), LOCAL / 4) for image in (frame, expected)
    )
    ratio = np.clip((seen + 1.0) / (wanted + 1.0), 0.25, 4.0).astype(np.float32)
    return _resized(ratio, (width, height), cv2.INTER_LINEAR)


def _resized(image: Plane, size: tuple[int, int], how: int) -> Plane:
    return np.asarray(cv2.resize(image, size, interpolation=how), np.float32)
