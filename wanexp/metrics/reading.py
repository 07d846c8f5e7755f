"""What a metric function returns: a number with its series, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Series = tuple[float | None, ...]

ENOUGH = 0.5
"""The share of a video's frames that must be measurable before the video is."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One metric's result on one video; exactly one of ``value`` and ``reason`` is None.

    Attributes:
        per_frame: As long as the video, in the value's unit; entry t belongs to frame t and is None
            where nothing is defined. None where the metric has no series.
        extras: What the value rests on, such as the share of pixels that could be used.
    """

    value: float | None
    reason: str | None = None
    per_frame: Series | None = None
    extras: Mapping[str, float] = field(default_factory=dict)


def undefined(
    reason: str, *, per_frame: Series | None = None, extras: Mapping[str, float] | None = None
) -> Reading:
    """No number, and why."""
    return Reading(value=None, reason=reason, per_frame=per_frame, extras=extras or {})


def summed_up(
    series: Series,
    summary: Callable[[NDArray[np.float64]], float],
    *,
    possible: int,
    reason: str,
    extras: Mapping[str, float],
) -> Reading:
    """``summary`` of the defined entries, or ``reason`` where under ENOUGH of ``possible`` are.

    The share that is defined goes into the extras as ``defined_frac``.
    """
    defined = np.array([entry for entry in series if entry is not None])
    extras = {**extras, "defined_frac": len(defined) / possible}
    if len(defined) == 0 or len(defined) < ENOUGH * possible:
        reason = f"{reason} (measurable: {len(defined)} of {possible})"
        return undefined(reason, per_frame=series, extras=extras)
    return Reading(value=summary(defined), per_frame=series, extras=extras)


def mean(values: NDArray[np.float64]) -> float:
    """The mean as a plain float."""
    return float(values.mean())


def root_mean_square(values: NDArray[np.float64]) -> float:
    """The root of the mean square as a plain float."""
    return float(np.sqrt(np.square(values).mean()))


def padded(entries: Sequence[float | None], before: int, after: int) -> Series:
    """A series of the video's length: None ``before`` and ``after`` the entries."""
    return (*[None] * before, *entries, *[None] * after)
