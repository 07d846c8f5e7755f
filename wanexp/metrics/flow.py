"""Dense optical flow between two grey images, what can be trusted of it, and the camera in it.

Letters: h, w are the working grid's size. A flow is (h, w, 2) float32 with (x, y) displacements in
pixels of that grid: pixel p of the first image is found at p + flow[p] in the second.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from wanexp.metrics.planes import Plane, median, read

Grey = NDArray[np.uint8]
Flow = NDArray[np.float32]
Mask = NDArray[np.bool_]

MIN_SIDE = 16
"""The smallest side, px, on which the flow below is right to 0.02 px; under 12 it does not run."""

FIT_PIXELS = 16384
"""Camera fits look at about this many pixels, on a regular grid: more do not make them better."""

FIT_ROUNDS = 12

SETTLED = 1e-4
"""A camera fit is done when another round moves no pixel by this much, px."""

THINNED = 5
"""A camera fit begins with one pixel in this many; no divisor of a row's length, so that they do
not stand in columns."""

PATCH = 8
"""The side of DIS's patches, px."""

COARSE = 2
"""The scale, 1/2^COARSE of the size, at which a blurred image still matches a sharp one."""

ROUGH = 1
"""The scale, 1/2^ROUGH of the size, at which the way of the source through the video is followed:
a quarter of the work, and a start for the fine search that ends as near as the frame before's."""

TEXTURE = 4.0
"""Squared gradient, (grey levels/px)², at which a pixel has half a say in the camera fit."""


@dataclass(frozen=True, kw_only=True)
class Camera:
    """The similarity that explains most of a flow: flow(p) ≈ A·(p − centre) + shift.

    A = ((a, −b), (b, a)), so 1 + a + bi is the zoom and turn; p and ``shift`` in working pixels.
    ``trust`` is every sampled pixel's weight in the fit, 0 … 1, on the grid [::stride, ::stride].
    """

    a: float
    b: float
    shift: tuple[float, float]
    trust: Plane
    stride: int

    @property
    def scale(self) -> float:
        """How much larger things are in the second image."""
        return math.hypot(1.0 + self.a, self.b)

    def turning(self, height: int, width: int) -> Flow:
        """A·(p − centre) alone, (h, w, 2): what is left of the fit without its shift."""
        x, y = _centred(height, width)
        parts = [self.a * x - self.b * y, self.b * x + self.a * y]
        return np.stack(parts, axis=-1).astype(np.float32)

    def flow(self, height: int, width: int) -> Flow:
        """The whole fit as a flow, (h, w, 2)."""
        return self.turning(height, width) + np.array(self.shift, np.float32)


@dataclass(frozen=True, kw_only=True)
class Match:
    """Flow between two images both ways, (h, w, 2) each, and where it can be trusted, (h, w)."""

    forward: Flow
    backward: Flow
    valid: Mask
    valid_back: Mask


class _Engines(threading.local):
    """This thread's engines: a new one spends a fifth of its time on memory.

    What an engine finds depends on its images alone as long as it works for one thread, at one
    size, and either always from a guess or never: OpenCV's keeps what it held for another size or a
    guess, and reads it later.
    """

    def __init__(self) -> None:
        self._size: tuple[int, ...] = ()
        self._made: dict[tuple[int, bool], cv2.DISOpticalFlow] = {}

    def engine(self, size: tuple[int, ...], finest: int, *, guessed: bool) -> cv2.DISOpticalFlow:
        """DIS as ``estimate`` has it, down to the scale ``finest``, for images of (h, w)."""
        if size != self._size:
            self._size, self._made = size, {}
        if (finest, guessed) not in self._made:
            engine = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
            engine.setFinestScale(finest)
            engine.setPatchStride(5)
            engine.setVariationalRefinementDelta(0.0)
            self._made[finest, guessed] = engine
        return self._made[finest, guessed]


_kept = _Engines()


def estimate(first: Grey, second: Grey, start: Flow | None = None, finest: int = 0) -> Flow:
    """The flow from ``first`` to ``second``, both (h, w) with sides of at least MIN_SIDE.

    DIS at its medium preset with three changes, each measured on clips of known motion. The finest
    scale is the full one, not half of it: that halves what clean clips read as warp and jitter. The
    refinement compares gradients but not brightness: brightness made it explain 1-4 % of an
    exposure change away as motion. And the patches lie 5 px apart rather than 3, for speed. Patches
    that descend 6 times and not 25 err by 8 % less where things move smoothly, but read 6 % less of
    a wobble.
    ``start`` is a guess, needed where things moved by more than about a quarter of the image;
    ``finest`` is the last scale that is looked at, 1/2^finest of the size, or the coarsest one that
    images of this size have.

    Source: Kroeger et al., 2016, Fast Optical Flow using Dense Inverse Search (arXiv:1603.03590).
    """
    if start is None and np.array_equal(first, second):
        return np.zeros((*first.shape, 2), np.float32)
    last = min(finest, _coarsest(*first.shape))
    engine = _kept.engine(first.shape, last, guessed=start is not None)
    guess = None if start is None else start.copy()  # calc writes into it
    found = engine.calc(first, second, guess)  # pyright: ignore[reportArgumentType, reportCallIssue]
    return np.asarray(found, np.float32)


def _coarsest(height: int, width: int) -> int:
    """DIS's own coarsest scale. Asked for a coarser finest one, it reads outside its images."""
    by_reach = int(math.log2(max(height, width) / (4 * PATCH)) + 0.5)
    return max(0, min(by_reach, int(math.log2(min(height, width) / PATCH))))


def match(first: Grey, second: Grey, start: Match | None = None, finest: int = 0) -> Match:
    """The flow both ways between two images; ``start`` and ``finest`` as in ``estimate``."""
    forward = estimate(first, second, start.forward if start else None, finest)
    backward = estimate(second, first, start.backward if start else None, finest)
    return Match(
        forward=forward,
        backward=backward,
        valid=consistent(forward, backward),
        valid_back=consistent(backward, forward),
    )


def match_unlike(first: Grey, second: Grey, start: Match | None) -> Match:
    """Two images of which one may be blurred, down to the scale ROUGH; ``start`` is a guess.

    Pixels without a consistent flow at this scale have a coarse one: a blurred picture matches a
    sharp one only there, and were its pixels left out as lost, blur would hide itself.
    """
    coarse = match(first, second, start, finest=COARSE)
    return either(match(first, second, start, finest=ROUGH), coarse)


def refined(first: Grey, second: Grey, rough: Match) -> Match:
    """``rough``, their match by ``match_unlike``, at the finest scale where that is consistent."""
    if np.array_equal(first, second):
        return rough
    return either(match(first, second, rough), rough)


def either(better: Match, other: Match) -> Match:
    """``better`` where it is consistent, ``other`` elsewhere."""
    return Match(
        forward=np.where(better.valid[..., None], better.forward, other.forward),
        backward=np.where(better.valid_back[..., None], better.backward, other.backward),
        valid=better.valid | other.valid,
        valid_back=better.valid_back | other.valid_back,
    )


def carried(values: Plane, flow: Flow) -> Plane:
    """``values`` (h, w) or (h, w, n) of the second image seen from the first: values(p + flow)."""
    at = places(*flow.shape[:2]) + flow
    return read(values, at, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)


def squared_length(vectors: Flow) -> Plane:
    """|v|² of every vector: (…, 2) → (…). Numpy's sum over an axis of two is ten times slower."""
    return np.square(vectors[..., 0]) + np.square(vectors[..., 1])


def consistent(forward: Flow, backward: Flow) -> Mask:
    """Pixels of the first image whose way there and back ends where it began, (h, w).

    Source: Sundaram et al., 2010, Dense Point Trajectories, Eq. 5:
    |f + b|² ≤ 0.01·(|f|² + |b|²) + 0.5, with b read at p + f, which must lie in the image.
    """
    height, width = forward.shape[:2]
    to = places(height, width) + forward
    back = read(backward, to, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)
    bound = 0.01 * (squared_length(forward) + squared_length(back)) + 0.5
    inside = cv2.inRange(to, (0, 0), (width - 1, height - 1)) > 0
    return (squared_length(forward + back) <= bound) & inside


def carried_mask(mask: Mask, flow: Flow) -> Mask:
    """``mask`` of the second image seen from the first; true only where all neighbours are."""
    return carried(mask.astype(np.float32), flow) > 0.999


def texture(grey: Grey) -> Plane:
    """How well a pixel's neighbourhood fixes its motion in both directions, (levels/px)², (h, w).

    The smaller eigenvalue of the gradient's structure tensor (Shi and Tomasi, 1994).
    """
    image = grey.astype(np.float32)
    dx = cv2.Sobel(image, cv2.CV_32F, 1, 0, scale=1 / 8)
    dy = cv2.Sobel(image, cv2.CV_32F, 0, 1, scale=1 / 8)
    xx, yy, xy = (cv2.GaussianBlur(product, (0, 0), 3.0) for product in (dx * dx, dy * dy, dx * dy))
    return np.maximum((xx + yy) / 2 - np.sqrt(np.square((xx - yy) / 2) + xy * xy), 0.0)


def fit_camera(flow: Flow, valid: Mask, detail: Plane) -> Camera | None:
    """The camera in a flow, or None where fewer than 16 sampled pixels are valid and textured.

    A least-squares similarity, reweighted with Cauchy weights (c = 2.385 robust deviations) so that
    things that move on their own do not count; ``detail`` is ``texture`` of the first image.
    """
    height, width = flow.shape[:2]
    stride = max(1, math.isqrt(height * width // FIT_PIXELS))
    sampled = slice(None, None, stride)
    trusted = detail[sampled, sampled]
    say = np.where(valid[sampled, sampled], trusted / (trusted + np.float32(TEXTURE)), 0)
    usable = say > 0.02
    if np.count_nonzero(usable) < 16:
        return None
    x, y = (axis[sampled, sampled][usable] for axis in _centred(height, width))
    u, v = (flow[sampled, sampled, i][usable] for i in (0, 1))
    points = np.stack([x, y, u, v]).astype(np.float64)
    prior = say[usable].astype(np.float64)
    # The median shift to begin with: a third of the frame that moves by itself pulls least squares
    # so far that reweighting does not come back.
    fit = Similarity(0.0, 0.0, median(points[2]), median(points[3]))
    reach = max(height, width) / 2
    if len(prior) > 16 * THINNED:
        # Where the fit ends does not depend on where it begins: a few pixels bring it most of the
        # way there.
        few = np.ascontiguousarray(points[:, ::THINNED])
        fit, _ = _settled(few, prior[::THINNED].copy(), fit, reach)
    fit, weight = _settled(points, prior, fit, reach)
    trust = np.zeros(say.shape, np.float32)
    trust[usable] = weight
    return Camera(a=fit.a, b=fit.b, shift=(fit.x, fit.y), trust=trust, stride=stride)


class Similarity(NamedTuple):
    """The flow (a·x − b·y + shift x, b·x + a·y + shift y) about the image's centre."""

    a: float
    b: float
    x: float
    y: float


def _settled(
    points: NDArray[np.float64], prior: NDArray[np.float64], fit: Similarity, reach: float
) -> tuple[Similarity, NDArray[np.float64]]:
    """``fit`` reweighted until no pixel within ``reach`` of the centre moves by SETTLED any more.

    ``points`` are rows x, y, u, v. The second is every point's weight in the last round.
    """
    x, y, u, v = points
    weight = prior
    for _ in range(FIT_ROUNDS):
        off_u = u - (fit.a * x - fit.b * y + fit.x)
        off_v = v - (fit.b * x + fit.a * y + fit.y)
        square = off_u * off_u + off_v * off_v
        # 1.177 deviations is the median length of a 2-D normal vector; flow errs by 0.02 px anyway.
        spread = max(math.sqrt(median(square)) / 1.177, 0.02)
        weight = prior / (1.0 + square / (2.385 * spread) ** 2)
        before, fit = fit, _least_squares(points, weight)
        turned = reach * math.hypot(fit.a - before.a, fit.b - before.b)
        if turned + math.hypot(fit.x - before.x, fit.y - before.y) < SETTLED:
            break
    return fit, weight


def still_camera(height: int, width: int) -> Camera:
    """The camera between two equal frames: known to stand still whatever they show."""
    trust = np.ones((height, width), np.float32)
    return Camera(a=0.0, b=0.0, shift=(0.0, 0.0), trust=trust, stride=1)


def _least_squares(points: NDArray[np.float64], weight: NDArray[np.float64]) -> Similarity:
    """The weighted best similarity; ``points`` are rows x, y, u, v.

    By einsum and not by @: so small a product is no work for BLAS's threads, which wait for each
    other wherever cores are busy, a hundred times as long as it takes.
    """
    means = [float(np.einsum("i,i->", row, weight)) for row in points] / weight.sum()
    x, y, u, v = points - means[:, None]
    by_x, by_y = weight * x, weight * y
    square = max(_sum(by_x, x) + _sum(by_y, y), 1e-12)
    a = (_sum(by_x, u) + _sum(by_y, v)) / square
    b = (_sum(by_x, v) - _sum(by_y, u)) / square
    at_x, at_y, by_u, by_v = map(float, means)
    return Similarity(a, b, by_u - a * at_x + b * at_y, by_v - b * at_x - a * at_y)


def _sum(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.einsum("i,i->", one, other))


@lru_cache(maxsize=4)
def places(height: int, width: int) -> Flow:
    """(x, y) of every pixel, (h, w, 2); shared, so nobody may write into it."""
    at = np.stack(pixels(height, width), axis=-1)
    at.flags.writeable = False
    return at


@lru_cache(maxsize=4)
def pixels(height: int, width: int) -> tuple[Plane, Plane]:
    """Columns x and rows y of every pixel, (h, w) each; shared, so nobody may write into them."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x.flags.writeable = y.flags.writeable = False
    return x, y


def _centred(height: int, width: int) -> tuple[Plane, Plane]:
    """Columns x and rows y of every pixel from the image's centre, (h, w) each."""
    x, y = pixels(height, width)
    return x - np.float32((width - 1) / 2), y - np.float32((height - 1) / 2)
