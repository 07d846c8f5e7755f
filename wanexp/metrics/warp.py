"""Things that swim: motion that neither the camera nor steady movement explains."""

from __future__ import annotations

import numpy as np

from wanexp.metrics import flow
from wanexp.metrics.observation import LEAST_SHARE, Observation
from wanexp.metrics.reading import Reading, padded, root_mean_square, summed_up, undefined

WORST = 0.1
"""The share of pixels left out at the upper end: edges of moving things, where flow is a guess."""


def warp(observation: Observation) -> Reading:
    """Deviation of non-rigid displacements from frame to frame, in frame pixels per axis.

    r_t is the flow less its similarity fit, d_t = r_{t+1}(p + f_t(p)) − r_t(p) its change along the
    way of a pixel, and the value sqrt(mean |d|² / 2 / 6) without the WORST pixels: the deviation of
    displacements redrawn in every frame (1, −2, 1 squared sum to 6; 2 axes). Things in steady
    motion and parallax have d = 0. It reads 0.7 to 0.8 of such displacements where they are alike
    over 14 px, because the tail is cut and flow is smooth: a scale to compare on, not a length.
    Series: the same root at the frame between the two flows; frames 0 and T − 1 have none.
    """
    count = len(observation.frames)
    if count < 3:
        return undefined(f"warp needs at least 3 frames, got {count}")
    if observation.too_small:
        return undefined(observation.too_small)
    changes = [_change(observation, t) for t in range(count - 2)]
    return summed_up(
        padded(changes, 1, 1),
        root_mean_square,
        possible=count - 2,
        reason=observation.why_unfollowed,
        extras={"valid_frac": observation.valid_share},
    )


def _change(observation: Observation, t: int) -> float | None:
    """The deviation that the change from flow t to flow t + 1 stands for, px."""
    now, after = observation.pairs[t], observation.pairs[t + 1]
    if now.camera is None or after.camera is None:
        return None
    valid = now.match.valid & flow.carried_mask(after.match.valid, now.match.forward)
    if valid.mean() < LEAST_SHARE:
        return None
    residual = now.match.forward - now.camera.flow(*observation.grid)
    residual_after = after.match.forward - after.camera.flow(*observation.grid)
    moved = (flow.carried(residual_after, now.match.forward) - residual) * observation.per_px
    square = flow.squared_length(moved[valid])
    kept = max(1, int(len(square) * (1 - WORST)))
    return float(np.sqrt(np.partition(square, kept - 1)[:kept].mean(dtype=np.float64) / 2 / 6))
