"""What papers report, for comparison with them alone: both have flaws that rule out verdicts."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

from wanexp.metrics import flow
from wanexp.metrics.flow import Flow, Mask, Match
from wanexp.metrics.observation import LEAST_SHARE, Observation
from wanexp.metrics.planes import Plane
from wanexp.metrics.reading import Reading, mean, padded, summed_up, undefined
from wanexp.metrics.spread import spread


def ewarp(observation: Observation) -> Reading:
    """Warping error: mean squared difference of a frame and the next one warped onto it.

    Colours are 0 … 1 and the mean goes over channels and the pixels that are neither occluded nor
    on a motion boundary. Lai et al. take flow and mask from the video before it was processed. A
    generated video has none, so they are its own, and the flow explains warping and shaking away.
    Series: the error between frame t and t + 1, at t; the last frame has none.

    Source: Lai et al., 2018, Learning Blind Video Temporal Consistency (arXiv:1808.00449), Eq. 8;
    masks after Ruder et al., 2016 (arXiv:1604.08610), Eqs. 5-6.
    """
    count = len(observation.frames)
    if count < 2:
        return undefined(f"ewarp needs at least 2 frames, got {count}")
    if observation.too_small:
        return undefined(observation.too_small)
    pictures = pairwise(spread(observation.coloured, range(count)))
    beside = zip(pictures, observation.pairs, strict=True)
    errors = spread(lambda given: _error(*given[0], given[1].match), beside)
    return summed_up(
        padded(errors, 0, 1),
        mean,
        possible=count - 1,
        reason="too few pixels can be followed",
        extras={"valid_frac": observation.valid_share},
    )


def _error(now: Plane, after: Plane, match: Match) -> float | None:
    usable = match.valid & ~_boundary(match.forward, match.backward)
    if usable.mean() < LEAST_SHARE:
        return None
    squares = np.square((now - flow.carried(after, match.forward))[usable] / 255)
    return float(squares.mean(dtype=np.float64))


def _boundary(forward: Flow, backward: Flow) -> Mask:
    """Where the flow changes abruptly: |∇u|² + |∇v|² > 0.01·|b|² + 0.002."""
    slopes = sum(
        np.square(cv2.Sobel(forward[..., i], cv2.CV_32F, *way, ksize=1, scale=0.5))
        for i in (0, 1)
        for way in ((1, 0), (0, 1))
    )
    return np.asarray(slopes > 0.01 * flow.squared_length(backward) + 0.002, np.bool_)


def vbench_temporal_flickering(observation: Observation) -> Reading:
    """1 − mean |I_{t+1} − I_t| / 255, as VBench has it, before VBench's rescaling.

    Nothing is compensated: VBench drops moving videos first, which leaves none of image-to-video.
    Series: the share into every frame from the one before; frame 0 has none.

    Source: Huang et al., 2023, VBench (arXiv:2311.17982), temporal flickering.
    """
    frames = observation.frames
    if len(frames) < 2:
        reason = f"vbench_temporal_flickering needs at least 2 frames, got {len(frames)}"
        return undefined(reason)
    shares = [
        1.0 - float(cv2.absdiff(before, after).mean(dtype=np.float64)) / 255
        for before, after in pairwise(frames)
    ]
    return summed_up(padded(shares, 1, 0), mean, possible=len(frames) - 1, reason="", extras={})
