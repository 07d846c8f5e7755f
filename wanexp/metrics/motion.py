"""How much moves at all: a gate for the other metrics, because a frozen video is free of faults."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from wanexp.metrics.observation import Observation
from wanexp.metrics.reading import Reading, mean, padded, summed_up, undefined


def motion(observation: Observation) -> Reading:
    """Median speed, in percent of the frame's smaller side per second.

    The median of the flow's length over the pixels that can be followed, meaned over the pairs of
    frames. Series: the speed into every frame from the one before; frame 0 has none.
    """
    return _speed(observation, _median)


def motion_top5(observation: Observation) -> Reading:
    """Speed of the fastest 5 % of pixels, their mean; otherwise as ``motion``."""
    return _speed(observation, _fastest)


def _median(lengths: NDArray[np.float32]) -> float:
    return float(np.median(lengths))


def _fastest(lengths: NDArray[np.float32]) -> float:
    rank = int(0.95 * len(lengths))
    return float(np.partition(lengths, rank)[rank:].mean())


def _speed(observation: Observation, summary: Callable[[NDArray[np.float32]], float]) -> Reading:
    count = len(observation.frames)
    if count < 2:
        return undefined(f"motion needs at least 2 frames, got {count}")
    if observation.too_small:
        return undefined(observation.too_small)
    percent = 100 * observation.fps / min(observation.size)
    speeds: list[float | None] = []
    for pair in observation.pairs:
        if pair.camera is None:
            speeds.append(None)
            continue
        moved = pair.match.forward[pair.match.valid] * observation.per_px
        speeds.append(percent * summary(np.hypot(moved[:, 0], moved[:, 1])))
    return summed_up(
        padded(speeds, 1, 0),
        mean,
        possible=count - 1,
        reason=observation.why_unfollowed,
        extras={"valid_frac": observation.valid_share},
    )
