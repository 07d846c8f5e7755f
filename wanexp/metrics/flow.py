"""Dense optical flow between two grey images, what can be trusted of it, and the camera in it.

Letters: h, w are the working grid's size. A flow is (h, w, 2) float32 with (x, y) displacements in
pixels of that grid: pixel p of the first image is found at p + flow[p] in the second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
Flow = NDArray[np.float32]
Mask = NDArray[np.bool_]
Plane = NDArray[np.float32]

MIN_SIDE = 16
"""The smallest side, px, on which the flow below is right to 0.02 px; under 12 it does not run."""

FIT_PIXELS = 16384
"""Camera fits look at about this many pixels, on a regular grid: more do not make them better."""

FIT_ROUNDS = 12

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


def estimate(first: Grey, second: Grey, start: Flow | None = None, finest: int = 0) -> Flow:
    """The flow from ``first`` to ``second``, both (h, w) with sides of at least MIN_SIDE.

    DIS at its medium preset with three changes, each measured on clips of known motion. The finest
    scale is the full one, not half of it: that halves what clean clips read as warp and jitter. The
    refinement compares gradients but not brightness: brightness made it explain 1-4 % of an
    exposure change away as motion. And the patches lie 5 px apart rather than 3, for speed.
    ``start`` is a guess, needed where things moved by more than about a quarter of the image;
    ``finest`` is the last scale that is looked at, 1/2^finest of the size, or the coarsest one that
    images of this size have.

    Source: Kroeger et al., 2016, Fast Optical Flow using Dense Inverse Search (arXiv:1603.03590).
    """
    if start is None and np.array_equal(first, second):
        return np.zeros((*first.shape, 2), np.float32)
    engine = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    engine.setFinestScale(min(finest, _coarsest(*first.shape)))
    engine.setPatchStride(5)
    engine.setVariationalRefinementDelta(0.0)
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
    x, y = pixels(*flow.shape[:2])
    seen = cv2.remap(
        values,
        x + flow[..., 0],
        y + flow[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(seen, np.float32)


def squared_length(vectors: Flow) -> Plane:
    """|v|² of every vector: (…, 2) → (…). Numpy's sum over an axis of two is ten times slower."""
    return np.square(vectors[..., 0]) + np.square(vectors[..., 1])


def inside(flow: Flow) -> Mask:
    """Whether p + flow lies in the image, (h, w)."""
    height, width = flow.shape[:2]
    x, y = pixels(height, width)
    to_x, to_y = x + flow[..., 0], y + flow[..., 1]
    return (to_x >= 0) & (to_x <= width - 1) & (to_y >= 0) & (to_y <= height - 1)


def consistent(forward: Flow, backward: Flow) -> Mask:
    """Pixels of the first image whose way there and back ends where it began, (h, w).

    Source: Sundaram et al., 2010, Dense Point Trajectories, Eq. 5:
    |f + b|² ≤ 0.01·(|f|² + |b|²) + 0.5, with b read at p + f.
    """
    back = carried(backward, forward)
    bound = 0.01 * (squared_length(forward) + squared_length(back)) + 0.5
    return (squared_length(forward + back) <= bound) & inside(forward)


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
    stride = max(1, math.isqrt(flow.shape[0] * flow.shape[1] // FIT_PIXELS))
    x, y = (axis[::stride, ::stride].astype(np.float64) for axis in _centred(*flow.shape[:2]))
    u, v = (flow[::stride, ::stride, i].astype(np.float64) for i in (0, 1))
    trusted = detail[::stride, ::stride].astype(np.float64)
    say = np.where(valid[::stride, ::stride], trusted / (trusted + TEXTURE), 0.0)
    usable = say > 0.02
    if usable.sum() < 16:
        return None
    points = np.stack([x[usable], y[usable], u[usable], v[usable]])
    prior = say[usable]
    # The median shift to begin with: a third of the frame that moves by itself pulls least squares
    # so far that reweighting does not come back.
    a, b, shift = 0.0, 0.0, (float(np.median(points[2])), float(np.median(points[3])))
    weight = prior
    for _ in range(FIT_ROUNDS):
        residual = np.hypot(
            points[2] - (a * points[0] - b * points[1] + shift[0]),
            points[3] - (b * points[0] + a * points[1] + shift[1]),
        )
        # 1.177 deviations is the median length of a 2-D normal vector; flow errs by 0.02 px anyway.
        spread = max(float(np.median(residual)) / 1.177, 0.02)
        weight = prior / (1.0 + np.square(residual / (2.385 * spread)))
        a, b, shift = _least_squares(points, weight)
    trust = np.zeros(say.shape, np.float32)
    trust[usable] = weight
    return Camera(a=a, b=b, shift=shift, trust=trust, stride=stride)


def still_camera(height: int, width: int) -> Camera:
    """The camera between two equal frames: known to stand still whatever they show."""
    trust = np.ones((height, width), np.float32)
    return Camera(a=0.0, b=0.0, shift=(0.0, 0.0), trust=trust, stride=1)


def _least_squares(
    points: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[float, float, tuple[float, float]]:
    """a, b and shift of the weighted best similarity; ``points`` are rows x, y, u, v.

    By einsum and not by @: so small a product is no work for BLAS's threads, which wait for each
    other wherever cores are busy, a hundred times as long as it takes.
    """
    mean = np.einsum("ij,j->i", points, weight) / weight.sum()
    x, y, u, v = points - mean[:, None]
    square = max(float(np.einsum("i,i->", weight, x * x + y * y)), 1e-12)
    a = float(np.einsum("i,i->", weight, x * u + y * v)) / square
    b = float(np.einsum("i,i->", weight, x * v - y * u)) / square
    shift = (mean[2] - a * mean[0] + b * mean[1], mean[3] - b * mean[0] - a * mean[1])
    return a, b, (float(shift[0]), float(shift[1]))


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
