"""Things that swim: motion that neither the camera nor steady movement explains."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from wanexp.metrics import flow
from wanexp.metrics.flow import Flow, Mask
from wanexp.metrics.observation import LEAST_SHARE, Observation, Pair
from wanexp.metrics.reading import Reading, mean, padded, summed_up, undefined
from wanexp.metrics.spread import spread

WORST = 0.1
"""The share of pixels left out at the upper end: edges of moving things, where flow is a guess."""

OBJECT_SPEED = 0.004
"""What moves by more than this share of the smaller side a frame, steadily and against the camera,
is no background: 1 px in frames of 256."""

MEMORY = 0.8
"""Steady motion is what is left of the residual after averaging over about 1/(1 − MEMORY) flows
along a pixel's way: warping, redrawn in every frame, averages out."""

MARGIN = 3
"""Pixels this near to a moving thing are its own, working pixels."""

GRAIN = 3.3e-5
"""What grain makes the flow err by, working pixels² per squared grey level that neighbouring frames
mismatch by once one is moved onto the other. Measured with grain of 5 and 20 levels; wobble of a
tenth of a pixel reads a hundred times as much beside its mismatch."""

LEAST_BENT = 0.05
"""The least part of a change that counts as bending however much grain there is: a video that moves
at all must not read as perfect, or ratios to it would be infinite."""


Step = tuple[Pair, Flow, float]
"""Two neighbouring frames, their flow less its camera, and their mismatch, grey levels²."""


def warp(observation: Observation) -> Reading:
    """Deviation of non-rigid displacements from frame to frame, in frame pixels per axis.

    r_t is the flow less its similarity fit, d_t = r_{t+1}(p + f_t(p)) − r_t(p) its change along the
    way of a pixel, and the value the mean over frames of sqrt(mean |d|² / 2 / 6) without the WORST
    pixels: the deviation of displacements redrawn in every frame (1, −2, 1 squared sum to 6; 2
    axes). Things in steady motion and parallax have d = 0. It reads 0.7 to 0.8 of such
    displacements where they are alike over 14 px, because the tail is cut and flow is smooth: a
    scale to compare on, not a length. What grain makes the flow err by is taken off, see GRAIN; and
    the frames' roots are meaned, not their squares: one flow that breaks, as from a sharp first
    frame to soft ones, would count as much as all others.
    Series: the root at the frame between the two flows; frames 0 and T − 1 have none.
    """
    return _warping(observation, "warp", lambda: [None] * len(observation.pairs))


def background_warp(observation: Observation) -> Reading:
    """``warp`` of what does not move steadily against the camera.

    Things that move by themselves are left out, with whatever bends in them. Needs no
    segmentation: see OBJECT_SPEED and MEMORY. Undefined where moving things fill the frame.
    """
    return _warping(observation, "background_warp", lambda: _moving(observation))


def _warping(
    observation: Observation, called: str, left_out: Callable[[], Sequence[Mask | None]]
) -> Reading:
    count = len(observation.frames)
    if count < 3:
        return undefined(f"{called} needs at least 3 frames, got {count}")
    if observation.too_small:
        return undefined(observation.too_small)
    ignored = left_out()
    steps = pairwise(
        zip(observation.pairs, observation.residuals, observation.mismatches, strict=True)
    )

    def change(given: tuple[tuple[Step, Step], Mask | None]) -> float | None:
        return _change(*given[0], given[1], observation.per_px)

    changes = spread(change, zip(steps, ignored, strict=False))
    return summed_up(
        padded(changes, 1, 1),
        mean,
        possible=count - 2,
        reason=observation.why_unfollowed,
        extras={"valid_frac": observation.valid_share},
    )


def _change(
    step: Step, step_after: Step, ignored: Mask | None, per_px: NDArray[np.float32]
) -> float | None:
    """The deviation that the change from one flow to the next stands for, px."""
    (now, residual, mismatch), (after, residual_after, mismatch_after) = step, step_after
    if now.camera is None or after.camera is None:
        return None
    valid = now.match.valid & flow.carried_mask(after.match.valid, now.match.forward)
    if ignored is not None:
        valid &= ~ignored
    if valid.mean() < LEAST_SHARE:
        return None
    moved = flow.carried(residual_after, now.match.forward) - residual
    by_grain = 12 * GRAIN * (mismatch + mismatch_after) / 2 * float(np.square(per_px).mean())
    square = flow.squared_length(moved[valid] * per_px)
    kept = max(1, int(len(square) * (1 - WORST)))
    bent = float(np.partition(square, kept - 1)[:kept].mean(dtype=np.float64))
    return math.sqrt(max(bent - by_grain, LEAST_BENT * bent) / 2 / 6)


def _moving(observation: Observation) -> list[Mask | None]:
    """Where something moves by itself, (h, w) for every pair of frames; None where all is still."""
    limit = OBJECT_SPEED * min(observation.grid)
    to_come = _averaged(observation, backwards=True)
    gone = _averaged(observation, backwards=False)
    around = np.ones((2 * MARGIN + 1, 2 * MARGIN + 1), np.uint8)
    found: list[Mask | None] = []
    for later, earlier in zip(to_come, gone, strict=True):
        steady = flow.squared_length((later + earlier) * np.float32(0.5)) > limit**2
        found.append(cv2.dilate(steady.astype(np.uint8), around) > 0 if steady.any() else None)
    return found


def _averaged(observation: Observation, *, backwards: bool) -> list[Flow]:
    """Every pair's residual averaged along pixels' ways: the past, or ``backwards`` the future."""
    count = len(observation.pairs)
    order = range(count - 1, -1, -1) if backwards else range(count)
    means: dict[int, Flow] = {}
    for t in order:
        here, before = observation.residuals[t], t + 1 if backwards else t - 1
        if before not in means:
            means[t] = here
            continue
        match = observation.pairs[min(t, before)].match
        way = match.forward if backwards else match.backward
        seen = flow.carried(means[before], way)
        mean = cv2.addWeighted(here, 1 - MEMORY, seen, MEMORY, 0.0)
        means[t] = np.asarray(mean, np.float32)
    return [means[t] for t in range(count)]
