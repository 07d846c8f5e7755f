"""Short videos with known motion and known faults, sampled from scikit-image's photographs.

A photograph is smoothed as a lens would and sampled at every FINE-th pixel, so that moving by a
fraction of a frame pixel neither blurs nor aliases. Letters: T frames of S × S pixels.
"""

from __future__ import annotations

import functools
from typing import TypedDict

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage import data

from wanexp.metrics import Measurement

SCENES = ("astronaut", "coffee", "chelsea", "motorcycle")
FINE = 2
"""Photograph pixels per frame pixel, unless a clip asks for another number."""

Frames = NDArray[np.uint8]
Draw = NDArray[np.float64]


class Fault(TypedDict, total=False):
    """What ``clip`` can be asked for besides the scene, the number of frames and their size."""

    pan: tuple[float, float]
    zoom: float
    shake: Draw
    swim: Draw
    gain: Draw
    noise: float
    blur: float
    hold: float


def number(one: Measurement) -> float:
    """The value of a measurement that has one."""
    assert one.value is not None, one.reason
    return one.value


def why(one: Measurement) -> str:
    """The reason of a measurement without a value."""
    assert one.value is None
    assert one.reason is not None
    return one.reason


def entries(one: Measurement) -> Draw:
    """The defined entries of a measurement's series."""
    assert one.per_frame is not None
    return np.array([entry for entry in one.per_frame if entry is not None])


def gaps(one: Measurement) -> list[bool]:
    """Where a measurement's series has no entry."""
    assert one.per_frame is not None
    return [entry is None for entry in one.per_frame]


@functools.cache
def photograph(scene: str, fine: int) -> NDArray[np.float32]:
    """A photograph, (H, W, 3), 0 … 1, smoothed for sampling at every ``fine``-th pixel."""
    image = data.stereo_motorcycle()[0] if scene == "motorcycle" else getattr(data, scene)()
    return cv2.GaussianBlur(image.astype(np.float32) / 255, (0, 0), 0.5 * fine)


def clip(
    scene: str = "astronaut",
    *,
    count: int = 17,
    size: int = 128,
    fine: int = FINE,
    at: tuple[int, int] | None = None,
    pan: tuple[float, float] = (0.8, 0.3),
    zoom: float = 1.0,
    shake: Draw | None = None,
    swim: Draw | None = None,
    gain: Draw | None = None,
    noise: float = 0.0,
    blur: float = 0.0,
    hold: float = 1.0,
) -> Frames:
    """(T, S, S, 3) uint8: the camera moves by ``pan`` px and ``zoom`` a frame over the photograph.

    It begins with its upper left corner ``at`` a pixel (x, y) of the photograph, or in the middle.
    ``shake`` (T, 2) moves the camera besides, ``swim`` (T, S, S, 2) every pixel, both px; ``gain``
    (T,) is a log gain, ``noise`` a deviation of full scale, ``blur`` a deviation in px; ``hold``
    slows pan and zoom, 0 stops them.
    """
    image = photograph(scene, fine)
    origin = at or ((image.shape[1] - size * fine) / 2, (image.shape[0] - size * fine) / 2)
    y, x = np.mgrid[0:size, 0:size].astype(np.float64)
    centre = (size - 1) / 2
    frames = np.empty((count, size, size, 3), np.uint8)
    for t in range(count):
        scale = zoom ** (t * hold)
        at_x = (x - centre) / scale + centre + pan[0] * t * hold
        at_y = (y - centre) / scale + centre + pan[1] * t * hold
        if shake is not None:
            at_x, at_y = at_x + shake[t, 0], at_y + shake[t, 1]
        if swim is not None:
            at_x, at_y = at_x + swim[t, ..., 0], at_y + swim[t, ..., 1]
        place_x = (origin[0] + at_x * fine).astype(np.float32)
        place_y = (origin[1] + at_y * fine).astype(np.float32)
        frame = cv2.remap(image, place_x, place_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        if blur:
            frame = cv2.GaussianBlur(frame, (0, 0), blur)
        if gain is not None:
            frame = frame * np.exp(gain[t])
        if noise:
            frame = frame + noise * np.random.default_rng(t).standard_normal(frame.shape)
        frames[t] = np.rint(np.clip(frame, 0, 1) * 255)
    return frames


def shaking(seed: int, count: int = 17) -> Draw:
    """Displacements of deviation 1 per axis, (T, 2)."""
    return np.random.default_rng(seed).standard_normal((count, 2))


def flickering(seed: int, count: int = 17) -> Draw:
    """Log gains of deviation 1, (T,)."""
    return np.random.default_rng(1000 + seed).standard_normal(count)


def swimming(seed: int, count: int = 17, size: int = 128, reach: float = 14.0) -> Draw:
    """Smooth displacements of RMS 1 per axis, alike over ``reach`` px, (T, S, S, 2)."""
    rng = np.random.default_rng(2000 + seed)
    field = rng.standard_normal((count, size, size, 2)).astype(np.float32)
    field = np.stack([cv2.GaussianBlur(one, (0, 0), reach) for one in field]).astype(np.float64)
    return field / np.sqrt(np.square(field).mean())


def realised_flicker(gain: Draw) -> float:
    """What the formula gives for this very draw, %."""
    return float(100 * np.sqrt(np.square(np.diff(gain, 2)).mean() / 6))


def realised_jitter(shake: Draw) -> float:
    """What the formula gives for this very draw, px."""
    return float(np.sqrt(np.square(np.diff(shake, 3, axis=0)).sum(-1).mean() / 40))
