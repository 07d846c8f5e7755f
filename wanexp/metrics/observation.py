"""Everything that the metrics share about one video, each part worked out once, when first asked.

Letters: T frames of H × W pixels; flow lives on a working grid of h × w pixels, at most
WORKING_PIXELS of them. ``per_px`` is what one working pixel is worth in frame pixels,
(x, y); boxes are (x0, y0, x1, y1) in frame pixels.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from wanexp.metrics import flow, likeness, retention
from wanexp.metrics.beside import LEAST_FOUND, TOO_LITTLE, Original, Places, original, set_beside
from wanexp.metrics.brightness import SOFT, brightening, saturated
from wanexp.metrics.flow import Camera, Grey, Mask, Match
from wanexp.metrics.likeness import Likeness
from wanexp.metrics.planes import Plane, luma, median, smoothed
from wanexp.metrics.retention import Retained
from wanexp.metrics.spread import spread

Box = tuple[float, float, float, float]
Frames = NDArray[np.uint8]

WORKING_PIXELS = 256 * 256
"""Of the grid on which flow is estimated: they bound time and memory. See docs/metrics.md for what
larger frames lose by it."""

LEAST_SHARE = 0.25
"""Flow that fewer of its pixels than this agree with counts for nothing; by chance 14 % do."""

LEAST_TEXTURE = 1.0
"""Frames without at least 1 % of pixels of this texture, (levels/px)², have nothing to follow."""

MEDIAN_OF_SQUARE = 0.4549
"""The median of x² for x of deviation 1."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two neighbouring frames; exactly one of ``camera`` and ``reason`` is None."""

    match: Match
    camera: Camera | None
    reason: str | None


class Observation:
    """One video beside its source image; ``measure`` checks what comes in.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        source: (H, W, 3) uint8 RGB, already at the frames' size.
        portrait: The source as it was given, in which a face is looked for.
        fps: Frames per second.
        face_box: Where the face is in the source, or None: it is looked for.
        regions: Name → box of the parts of the source that are measured by themselves.
        lpips_weights: A file of AlexNet's weights; None looks where torch hub keeps them.
        face_model: YuNet's ONNX file; None looks for faces with a cascade.
    """

    def __init__(
        self,
        *,
        frames: Frames,
        source: Frames,
        portrait: Frames,
        fps: float,
        face_box: Box | None,
        regions: Mapping[str, Box],
        lpips_weights: Path | None = None,
        face_model: Path | None = None,
    ) -> None:
        self.frames = frames
        self.source = source
        self.portrait = portrait
        self.fps = fps
        self.face_box = face_box
        self.regions = regions
        self.lpips_weights = lpips_weights
        self.face_model = face_model
        self._in_box: dict[Box, tuple[Retained, ...]] = {}

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.frames.shape[1], self.frames.shape[2]

    @cached_property
    def grid(self) -> tuple[int, int]:
        """(h, w): the frames' size, or smaller so that there are at most WORKING_PIXELS.

        Very long and narrow frames keep a shorter side that flow can still be estimated on.
        """
        by_area = math.sqrt(WORKING_PIXELS / (self.size[0] * self.size[1]))
        shrink = min(1.0, max(by_area, flow.MIN_SIDE / min(self.size)))
        return round(self.size[0] * shrink), round(self.size[1] * shrink)

    @cached_property
    def per_px(self) -> NDArray[np.float32]:
        """Frame pixels in one working pixel, (x, y)."""
        return np.array([self.size[1] / self.grid[1], self.size[0] / self.grid[0]], np.float32)

    @cached_property
    def lumas(self) -> tuple[Plane, ...]:
        """The frames' luma on the working grid, T × (h, w), 0 … 255."""
        return tuple(spread(lambda frame: self._shrunk(luma(frame)), self.frames))

    @cached_property
    def too_small(self) -> str | None:
        """Why no flow can be estimated in frames of this size, or None where it can."""
        if min(self.grid) >= flow.MIN_SIDE:
            return None
        return f"frames of {self.size[1]}x{self.size[0]} are too small to follow motion in"

    @cached_property
    def repeats(self) -> tuple[bool, ...]:
        """Whether frame t + 1 is the very same picture as frame t, T − 1 entries."""
        return tuple(np.array_equal(a, b) for a, b in pairwise(self.frames))

    @cached_property
    def clipped(self) -> tuple[Mask, ...]:
        """Pixels of each frame with a saturated channel in a tenth of the pixels about them.

        Not in a single one: noise saturates some pixel in every neighbourhood of a bright picture.
        """

        def in_frame(frame: Frames) -> Mask:
            return smoothed(self._shrunk(saturated(frame)), 2.0) > 0.1

        return tuple(spread(in_frame, self.frames))

    @cached_property
    def why_unfollowed(self) -> str:
        """What keeps most of the pairs without a camera from having one."""
        whys = Counter(pair.reason for pair in self.pairs if pair.reason is not None)
        return whys.most_common(1)[0][0] if whys else "too few pixels can be followed"

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """All neighbouring frames, T − 1 entries; about 4 floats a working pixel and pair."""
        beside = zip(pairwise(self._greys), self.repeats, strict=True)
        return tuple(spread(lambda given: self._pair(*given[0], repeat=given[1]), beside))

    @cached_property
    def residuals(self) -> tuple[flow.Flow, ...]:
        """Each pair's flow less its camera, (h, w, 2) working pixels; 0 without a camera."""
        return tuple(spread(self._residual, self.pairs))

    def _residual(self, pair: Pair) -> flow.Flow:
        if pair.camera is None:
            return np.zeros_like(pair.match.forward)
        return pair.match.forward - pair.camera.flow(*self.grid)

    @cached_property
    def brightenings(self) -> tuple[Plane, ...]:
        """How much brighter, as a log, every pixel is than a frame before, T − 1 × (h, w).

        0 between equal frames, +inf where it cannot be told: everywhere, where frames do not match.
        """
        soft = spread(lambda plane: smoothed(plane, SOFT), self.lumas)
        return tuple(spread(lambda t: self._brightening(t, soft), range(len(self.pairs))))

    def _brightening(self, t: int, soft: Sequence[Plane]) -> Plane:
        match = self.pairs[t].match
        if self.repeats[t]:
            return np.zeros(self.grid, np.float32)
        if match.valid.mean() < LEAST_SHARE:
            return np.full(self.grid, np.inf, np.float32)
        return brightening(soft[t], soft[t + 1], self.clipped[t], self.clipped[t + 1], match)

    @cached_property
    def mismatches(self) -> tuple[float, ...]:
        """The variance by which each pair differs once moved onto each other, grey levels².

        By the median, with the exposure's change taken out: grain, and little else. 0 where
        nothing can be followed.
        """
        beside = zip(pairwise(self.lumas), self.pairs, strict=True)
        return tuple(spread(lambda given: _mismatch(*given[0], given[1].match), beside))

    @cached_property
    def valid_share(self) -> float:
        """The mean share of pixels that can be followed from a frame into the next."""
        return float(np.mean([pair.match.valid.mean() for pair in self.pairs]))

    @cached_property
    def sightings(self) -> tuple[Match, ...]:
        """Where the source is in every frame: source → frame matches, T entries.

        First roughly, frame by frame, each search from the place in the frame before, carried on
        by the pair's flow, so that a long pan does not end in a search over half the image. Then
        finely, all frames at once, each from where it was found roughly.
        """
        source = self._grey_source
        rough: list[Match] = []
        for t, frame in enumerate(self._greys):
            rough.append(flow.match_unlike(source, frame, self._expected(t, rough)))
        beside = zip(self._greys, rough, strict=True)
        return tuple(spread(lambda given: flow.refined(source, *given), beside))

    def retained(self, box: Box | None) -> tuple[Retained, ...]:
        """What every frame keeps of the source's fine detail, in ``box`` or everywhere."""
        if box is None:
            return tuple(kept for kept, _ in self._compared)
        if box not in self._in_box:
            beside = zip(self.frames, self.sightings, strict=True)
            found = spread(lambda given: self._retained_in(box, luma(given[0]), given[1]), beside)
            self._in_box[box] = tuple(found)
        return self._in_box[box]

    @cached_property
    def likenesses(self) -> tuple[Likeness, ...]:
        """How like the source every frame is."""
        return tuple(like for _, like in self._compared)

    @cached_property
    def _compared(self) -> tuple[tuple[Retained, Likeness], ...]:
        """Every frame beside the source, in one pass: both families warp the source alike."""
        beside = zip(self.frames, self.sightings, strict=True)
        return tuple(spread(lambda given: self._compare(*given), beside))

    def _compare(self, frame: Frames, sighting: Match) -> tuple[Retained, Likeness]:
        found = _share(sighting)
        if found < LEAST_FOUND:
            return retention.nothing(found, TOO_LITTLE), likeness.nothing(found, TOO_LITTLE)
        mapping, area = self.mapping(sighting), self.area(sighting.valid_back)
        beside = set_beside(self._original, luma(frame), mapping, area)
        return (
            retention.retained(beside, area, found=found),
            likeness.likeness(beside, frame, self._colours, mapping, area, found=found),
        )

    @cached_property
    def _original(self) -> Original:
        return original(luma(self.source))

    @cached_property
    def _colours(self) -> Plane:
        return likeness.halved(self.source)

    def mapping(self, sighting: Match) -> Places:
        """Where in the source every pixel of a frame comes from, (H, W, 2) px."""
        return flow.places(*self.size) + self.in_frame(sighting.backward)

    def in_frame(self, found: flow.Flow) -> NDArray[np.float32]:
        """A flow of the working grid in the frame's own pixels, (H, W, 2)."""
        return np.asarray(cv2.resize(found * self.per_px, self.size[::-1]), np.float32)

    def area(self, mask: Mask) -> Mask:
        """A mask of the working grid in the frame, (H, W); true only where all of it is."""
        return cv2.resize(mask.astype(np.float32), self.size[::-1]) > 0.999

    def _retained_in(self, box: Box, frame: Plane, sighting: Match) -> Retained:
        found = float(sighting.valid[self._working_box(box)].mean())
        mapping, area = self.mapping(sighting), self.area(sighting.valid_back)
        area &= _within(mapping, box)
        return retention.retained_in_frame(self._original, frame, mapping, area, found=found)

    def _working_box(self, box: Box) -> tuple[slice, slice]:
        """The rows and columns of the working grid that ``box`` covers, at least one of each."""
        (height, width), (per_x, per_y) = self.grid, self.per_px
        left = min(int(box[0] / per_x), width - 1)
        top = min(int(box[1] / per_y), height - 1)
        right, bottom = max(round(box[2] / per_x), left + 1), max(round(box[3] / per_y), top + 1)
        return slice(top, bottom), slice(left, right)

    def coloured(self, t: int) -> Plane:
        """Frame t on the working grid, (h, w, 3), 0 … 255."""
        return self._shrunk(self.frames[t].astype(np.float32))

    @cached_property
    def coloured_source(self) -> Plane:
        """The source on the working grid, (h, w, 3), 0 … 255."""
        return self._shrunk(self.source.astype(np.float32))

    @cached_property
    def _greys(self) -> tuple[Grey, ...]:
        """The lumas rounded to bytes, as the flow takes them."""
        return tuple(_grey(plane) for plane in self.lumas)

    @cached_property
    def _grey_source(self) -> Grey:
        return _grey(self._shrunk(luma(self.source)))

    def _shrunk(self, plane: Plane) -> Plane:
        height, width = self.grid
        if plane.shape[:2] == self.grid:
            return plane
        small = cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.float32)

    def _expected(self, t: int, found: list[Match]) -> Match | None:
        """Where the source should be in frame t, judged by the frame before."""
        if t == 0 or self.pairs[t - 1].camera is None or found[-1].valid.mean() < LEAST_SHARE:
            return None
        last, step = found[-1], self.pairs[t - 1].match
        return Match(
            forward=last.forward + flow.carried(step.forward, last.forward),
            backward=step.backward + flow.carried(last.backward, step.backward),
            valid=last.valid,
            valid_back=last.valid_back,
        )

    def _pair(self, first: Grey, second: Grey, *, repeat: bool) -> Pair:
        match, detail = flow.match(first, second), flow.texture(first)
        if repeat:
            return Pair(match=match, camera=flow.still_camera(*self.grid), reason=None)
        if match.valid.mean() < LEAST_SHARE:
            return Pair(match=match, camera=None, reason="neighbouring frames do not match")
        textured = (detail > LEAST_TEXTURE).mean() >= 0.01
        camera = flow.fit_camera(match.forward, match.valid, detail) if textured else None
        reason = None if camera else "the frames have no texture to follow"
        return Pair(match=match, camera=camera, reason=reason)


def _mismatch(now: Plane, after: Plane, match: Match) -> float:
    if not match.valid.any():
        return 0.0
    difference = (flow.carried(after, match.forward) - now)[match.valid]
    difference -= np.float32(median(difference))
    return median(np.square(difference)) / MEDIAN_OF_SQUARE


def _share(sighting: Match) -> float:
    """The share of a frame that shows the source."""
    return float(sighting.valid_back.mean())


def _grey(plane: Plane) -> Grey:
    return np.clip(np.rint(plane), 0, 255).astype(np.uint8)


def _within(mapping: Places, box: Box) -> Mask:
    """The frame pixels whose place in the source lies in ``box``; a box holds whole pixels."""
    upper = [float(np.nextafter(np.float32(edge - 0.5), np.float32(-1))) for edge in box[2:]]
    return cv2.inRange(mapping, (box[0] - 0.5, box[1] - 0.5), (upper[0], upper[1])) > 0
