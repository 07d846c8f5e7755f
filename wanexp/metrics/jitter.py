"""A camera that shakes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from wanexp.metrics.observation import Observation, Pair
from wanexp.metrics.reading import Reading, mean, padded, summed_up, undefined

CELLS = 6
"""The frame is cut into CELLS × CELLS parts whose shaking is compared."""

APART = 2
"""Only parts at least this many cells from each other are compared, in rows or in columns."""


LEAST_SHARED = 0.01
"""The least part of a jerk's power that counts as shared: by chance parts may share less than none,
and a video that moves at all must not read as still, or ratios to it would be infinite."""

CellShifts = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Every part's shift, (CELLS², 2) px, and how far it is trusted, (CELLS²,)."""


@dataclass(frozen=True, kw_only=True)
class Jerk:
    """Power |j|², px², of one second difference of shift.

    ``whole`` is the power of the frame's mean shift, ``shared`` what distant parts agree on.
    """

    whole: float
    shared: float


def jitter(observation: Observation) -> Reading:
    """Deviation of the camera's place about a smooth path, in frame pixels per axis.

    v_t is the shift of a robust similarity fit to the flow; its second difference j, the jerk of
    the path, is 0 at constant speed and constant acceleration, and sqrt(mean |j|² / 2 / 20) is the
    deviation of independent displacements of every frame (1, −3, 3, −1 squared sum to 20; 2 axes).

    |j|² is not one shift's square but the product of distant parts' shifts: shaking is what they
    have in common, while warping things and errors of the flow are each part's own. Series: the
    root for each jerk, at the frame t whose frames t − 2 … t + 1 make it.
    """
    count = len(observation.frames)
    if count < 4:
        return undefined(f"jitter needs at least 4 frames, got {count}")
    if observation.too_small:
        return undefined(observation.too_small)
    shifts = [_cell_shifts(observation, pair) for pair in observation.pairs]
    jerks = [_jerk(shifts[t : t + 3]) for t in range(count - 3)]
    reading = summed_up(
        padded([None if jerk is None else deviation([jerk]) for jerk in jerks], 2, 1),
        mean,
        possible=count - 3,
        reason=observation.why_unfollowed,
        extras={"valid_frac": observation.valid_share},
    )
    if reading.value is None:
        return reading
    return dataclasses.replace(reading, value=deviation([j for j in jerks if j is not None]))


def deviation(jerks: Sequence[Jerk]) -> float:
    """The deviation of displacements, px, that makes jerks of this mean power."""
    shared = float(np.mean([jerk.shared for jerk in jerks]))
    whole = float(np.mean([jerk.whole for jerk in jerks]))
    return math.sqrt(max(shared, LEAST_SHARED * whole) / 2 / 20)


def _cell_shifts(observation: Observation, pair: Pair) -> CellShifts | None:
    """Every part's shift without what the camera's zoom and turn add to it."""
    if pair.camera is None:
        return None
    stride, trust = pair.camera.stride, pair.camera.trust
    straight = (pair.match.forward - pair.camera.turning(*observation.grid))[::stride, ::stride]
    size = (CELLS, CELLS)
    mass = cv2.resize(trust, size, interpolation=cv2.INTER_AREA)
    total = cv2.resize(straight * trust[..., None], size, interpolation=cv2.INTER_AREA)
    shifts = total / np.maximum(mass, 1e-6)[..., None] * observation.per_px
    return shifts.reshape(-1, 2).astype(np.float64), mass.ravel().astype(np.float64)


def _jerk(three: Sequence[CellShifts | None]) -> Jerk | None:
    """The second difference of three neighbouring flows' shifts."""
    known = [shifts for shifts in three if shifts is not None]
    if len(known) < 3:
        return None
    (first, mass_1), (second, mass_2), (third, mass_3) = known
    jerk = third - 2 * second + first
    mass = np.minimum(np.minimum(mass_1, mass_2), mass_3)
    mean_jerk = mass @ jerk / max(mass.sum(), 1e-12)
    whole = float(mean_jerk @ mean_jerk)
    weight = np.outer(mass, mass) * _far_apart()
    if weight.sum() <= 0.01 * mass.sum() ** 2:
        # All that can be followed is in one place: there is nothing to compare it with.
        return Jerk(whole=whole, shared=whole)
    return Jerk(whole=whole, shared=float((weight * (jerk @ jerk.T)).sum() / weight.sum()))


def _far_apart() -> NDArray[np.bool_]:
    """Which parts may be compared, (CELLS², CELLS²)."""
    row, column = np.divmod(np.arange(CELLS * CELLS), CELLS)
    rows, columns = np.abs(row[:, None] - row), np.abs(column[:, None] - column)
    return np.maximum(rows, columns) >= APART
