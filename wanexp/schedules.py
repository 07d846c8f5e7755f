"""Schedules: step counts → falling noise levels (sigmas) of a shifted flow model. numpy and scipy.

Every schedule is a 1-D float64 array that falls from (at most) 1 to 0, one longer than its number
of intervals. Letters: t in [0, 1] is a flow model's time, sigma = shift·t/(1 + (shift − 1)·t) the
noise level that the shift maps it to (Esser et al., 2024, arXiv:2403.03206, Eq. 23).

The formulas are ComfyUI's. Three of its habits are kept because numbers depend on them: the model
has a table of 1000 levels (t = 0.001 … 1) from which simple, beta and ddim_uniform pick entries;
normal and sgm_uniform run their *time* down to the table's smallest *sigma*, so that the shift acts
twice at the tail; beta drops entries that it picks twice and ddim_uniform has floor(1000/steps) as
its stride, so that both may have another number of intervals than was asked (300 steps: 293 and
333). Above 1000 steps simple repeats levels, and samplers refuse those.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from wanexp.names import lookup
from wanexp.sampler_facts import facts_of

Sigmas = NDArray[np.float64]

TABLE_SIZE = 1000
"""Levels in the model's table; the i-th is that of t = (i + 1)/1000."""

MOST_STEPS = 100_000
"""Longer schedules are taken for a mistake (a denoise of 1e-9, say) before they fill the memory."""


def shift_time(t: float, shift: float) -> float:
    """The noise level of time t: shift·t/(1 + (shift − 1)·t).

    Raises:
        ValueError: t lies outside [0, 1], or ``shift`` is not a positive number.
    """
    _check_shift(shift)
    _check_between("t", t, 0.0, 1.0)
    return shift * t / (1.0 + (shift - 1.0) * t)


def unshift_sigma(sigma: float, shift: float) -> float:
    """The time of a noise level: the inverse of ``shift_time``.

    Raises:
        ValueError: ``sigma`` lies outside [0, 1], or ``shift`` is not a positive number.
    """
    _check_shift(shift)
    _check_between("sigma", sigma, 0.0, 1.0)
    return sigma / (shift - (shift - 1.0) * sigma)


def smallest_sigma(shift: float) -> float:
    """The last level above 0 of the model's table, t = 0.001: where karras and others end."""
    return shift_time(1.0 / TABLE_SIZE, shift)


def sigmas(scheduler: str, steps: int, shift: float) -> Sigmas:
    """The noise levels of a whole run, falling to 0: (steps + 1,), but for beta and ddim_uniform.

    ddim_uniform starts below 1, by about one stride.

    Args:
        scheduler: A key of ``SCHEDULES``.
        steps: Intervals asked for, 1 to 100,000.
        shift: The flow model's shift; 1 is none.

    Raises:
        ValueError: ``steps`` or ``shift`` is impossible, or kl_optimal is asked for one step.
        KeyError: There is no such scheduler.
    """
    schedule = lookup("scheduler", SCHEDULES, scheduler)
    _check_steps(steps)
    _check_shift(shift)
    return schedule.whole(int(steps), shift)


def stage_sigmas(
    scheduler: str,
    steps: int,
    shift: float,
    *,
    denoise: float = 1.0,
    sigma_start: float | None = None,
    sampler: str = "euler",
) -> Sigmas:
    """The noise levels of one stage that runs to 0, for the sampler that is to run it.

    ``denoise`` below 1 takes the last ``steps`` intervals of a schedule of int(steps/denoise), as
    ComfyUI's KSampler does: a fraction of steps, not of noise, and without effect where
    int(steps/denoise) equals ``steps``. ``sigma_start`` is the noise level itself: the scheduler's
    shape (see ``interval_sigmas``) in exactly ``steps`` intervals. dpm_2, dpm_2_ancestral, uni_pc
    and uni_pc_bh2 get a schedule of one step more without its last but one level.

    Raises:
        ValueError: An argument is impossible: ``steps``, ``shift``, ``denoise`` outside (0, 1],
            ``sigma_start`` outside (0, 1] or together with a ``denoise``, kl_optimal with one step,
            karras, exponential or kl_optimal starting below the level that they end at, a refused
            sampler.
        KeyError: There is no such scheduler or sampler.
    """
    schedule = lookup("scheduler", SCHEDULES, scheduler)
    extra = 1 if facts_of(sampler).drops_penultimate else 0
    _check_steps(steps)
    _check_shift(shift)
    if not 0.0 < denoise <= 1.0:
        raise ValueError(f"denoise must lie in (0, 1], got {denoise!r}")
    if sigma_start is not None:
        if denoise != 1.0:
            raise ValueError(
                f"a stage starts at a denoise or at a sigma_start, not at both ({denoise!r} and"
                f" {sigma_start!r})"
            )
        _check_start(sigma_start)
        levels = schedule.between(int(steps) + extra, shift, sigma_start, 0.0)
    else:
        longer = int(steps) if denoise > 0.9999 else int(steps / denoise)
        _check_steps(longer)
        levels = schedule.whole(longer + extra, shift)
    if extra:
        levels = np.delete(levels, -2)
    return levels[-(int(steps) + 1) :] if denoise <= 0.9999 else levels


def interval_sigmas(
    scheduler: str, steps: int, shift: float, *, start: float, end: float
) -> Sigmas:
    """The scheduler's shape between two noise levels: exactly ``steps`` intervals, (steps + 1,).

    karras, exponential and kl_optimal take ``start`` and ``end`` for their largest and smallest
    sigma (to 0 they run over the table's smallest, as a whole schedule does); linear_quadratic is
    stretched over the two; the others run the shape that they have in time between the times of
    the two, off the table's grid. From 1 to 0 that is the whole schedule but for the grid; for
    ddim_uniform it is so from its own first level, which lies below 1.

    Raises:
        ValueError: An argument is impossible: ``steps``, ``shift``, ``start`` outside (0, 1],
            ``end`` outside [0, start), kl_optimal with one step to 0, karras, exponential or
            kl_optimal running to 0 from below the table's smallest sigma.
        KeyError: There is no such scheduler.
    """
    schedule = lookup("scheduler", SCHEDULES, scheduler)
    _check_steps(steps)
    _check_shift(shift)
    _check_start(start)
    _check_between("end", end, 0.0, 1.0)
    if start <= end:
        raise ValueError(f"an interval must fall, got start {start!r} and end {end!r}")
    return schedule.between(int(steps), shift, start, end)


def _check_steps(steps: int) -> None:
    if not isinstance(steps, Integral) or isinstance(steps, bool):
        raise ValueError(f"steps must be a whole number, got {steps!r}")
    if not 1 <= steps <= MOST_STEPS:
        raise ValueError(f"steps must lie between 1 and {MOST_STEPS:,}, got {steps:,}")


def _check_shift(shift: float) -> None:
    if not (math.isfinite(shift) and shift > 0.0):
        raise ValueError(f"shift must be a positive number, got {shift!r}")


def _check_start(sigma: float) -> None:
    if not 0.0 < sigma <= 1.0:
        raise ValueError(f"a start sigma must lie in (0, 1], got {sigma!r}")


def _check_between(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} must lie in [{low:g}, {high:g}], got {value!r}")


Whole = Callable[[int, float], Sigmas]
"""``(steps, shift)`` → the levels of a whole run."""

Between = Callable[[int, float, float, float], Sigmas]
"""``(steps, shift, start, end)`` → exactly steps + 1 levels from start to end."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """One scheduler: its whole run as ComfyUI has it, and its shape between any two levels."""

    whole: Whole
    between: Between


# Schedules that are a shape in time. A shape is (steps,): 1 first, falling, the 0 left away.


def _simple(steps: int, shift: float) -> Sigmas:
    stride = TABLE_SIZE / steps  # ComfyUI multiplies by it before it truncates
    return _from_table([TABLE_SIZE - 1 - int(k * stride) for k in range(steps)], shift)


def _simple_times(steps: int, shift: float) -> Sigmas:  # noqa: ARG001  (one shape for all)
    return 1.0 - np.arange(steps) / steps


def _sgm_uniform(steps: int, shift: float) -> Sigmas:
    return _from_times(_sgm_uniform_times(steps, shift), shift)


def _sgm_uniform_times(steps: int, shift: float) -> Sigmas:
    return np.linspace(1.0, smallest_sigma(shift), steps + 1)[:-1]


def _normal(steps: int, shift: float) -> Sigmas:
    return _from_times(_normal_times(steps, shift), shift)


def _normal_times(steps: int, shift: float) -> Sigmas:
    return np.linspace(1.0, smallest_sigma(shift), steps)


def _beta(steps: int, shift: float) -> Sigmas:
    """Quantiles of Beta(0.6, 0.6) of the table. Source: Lee et al., 2024 (arXiv:2407.12173)."""
    picked = np.rint(_beta_quantiles(steps) * (TABLE_SIZE - 1)).astype(int)
    return _from_table(np.unique(picked)[::-1].tolist(), shift)


def _beta_times(steps: int, shift: float) -> Sigmas:  # noqa: ARG001
    return (_beta_quantiles(steps) * (TABLE_SIZE - 1) + 1) / TABLE_SIZE


def _beta_quantiles(steps: int) -> Sigmas:
    from scipy.special import betaincinv  # costs 0.3 s, and one schedule of nine needs it

    return betaincinv(0.6, 0.6, 1.0 - np.arange(steps) / steps)


def _ddim_uniform(steps: int, shift: float) -> Sigmas:
    return _from_table(range(1, TABLE_SIZE, _ddim_stride(steps))[::-1], shift)


def _ddim_uniform_times(steps: int, shift: float) -> Sigmas:  # noqa: ARG001
    last = 2 / TABLE_SIZE
    first = last + (steps - 1) * _ddim_stride(steps) / TABLE_SIZE
    return np.linspace(1.0, last / first, steps)


def _ddim_stride(steps: int) -> int:
    return max(TABLE_SIZE // steps, 1)


def _from_table(indices: Sequence[int], shift: float) -> Sigmas:
    return _from_times((np.asarray(indices) + 1) / TABLE_SIZE, shift)


def _from_times(times: Sigmas, shift: float) -> Sigmas:
    return np.append(_shifted(times, shift), 0.0)


def _shifted(times: Sigmas, shift: float) -> Sigmas:
    return shift * times / (1.0 + (shift - 1.0) * times)


def _timed(whole: Whole, times: Whole) -> Schedule:
    """A schedule whose shape ``times`` is run between the times of two levels."""

    def between(steps: int, shift: float, start: float, end: float) -> Sigmas:
        shape = np.append(times(steps, shift), 0.0)
        t_start, t_end = unshift_sigma(start, shift), unshift_sigma(end, shift)
        return _pinned(_shifted(t_end + (t_start - t_end) * shape, shift), start, end)

    return Schedule(whole=whole, between=between)


# Schedules that are a curve between two sigmas: (count, largest, smallest) → count levels.


def _karras(count: int, largest: float, smallest: float) -> Sigmas:
    """Even in sigma^(1/7). Source: Karras et al., 2022 (arXiv:2206.00364), Eq. 5."""
    return np.linspace(largest ** (1 / 7), smallest ** (1 / 7), count) ** 7


def _exponential(count: int, largest: float, smallest: float) -> Sigmas:
    """Even in log sigma."""
    return np.exp(np.linspace(math.log(largest), math.log(smallest), count))


def _kl_optimal(count: int, largest: float, smallest: float) -> Sigmas:
    """Even in arctan sigma. Source: Sabour et al., 2024 (arXiv:2404.14507)."""
    if count < 2:
        raise ValueError("kl_optimal needs at least two steps: it divides by steps - 1")
    return np.tan(np.linspace(math.atan(largest), math.atan(smallest), count))


def _ranged(name: str, curve: Callable[[int, float, float], Sigmas]) -> Schedule:
    """A schedule whose ``curve`` runs from the first sigma to the smallest, and then to 0."""

    def between(steps: int, shift: float, start: float, end: float) -> Sigmas:
        if end > 0.0:
            return _pinned(curve(steps + 1, start, end), start, end)
        smallest = smallest_sigma(shift)
        if steps > 1 and start <= smallest:
            raise ValueError(
                f"{name} runs to 0 over sigma {smallest:.6g} (shift {shift:g}), so it cannot start"
                f" at {start:.6g}"
            )
        return _pinned(np.append(curve(steps, start, smallest), 0.0), start, 0.0)

    def whole(steps: int, shift: float) -> Sigmas:
        return _pinned(np.append(curve(steps, 1.0, smallest_sigma(shift)), 0.0), 1.0, 0.0)

    return Schedule(whole=whole, between=between)


def _linear_quadratic(steps: int) -> Sigmas:
    """Half the steps even down to 1 − 0.025, the rest a parabola; the shift has no part in it.

    Source: Genmo, 2024, the schedule of Mochi 1 (threshold 0.025).
    """
    linear = steps // 2
    if linear == 0:
        return np.array([1.0, 0.0])
    quadratic = steps - linear
    k = np.arange(steps + 1)
    excess = linear - 0.025 * steps
    bend = excess / (linear * quadratic**2)
    rise = 0.025 / linear - 2 * excess / quadratic**2
    curve = bend * k**2 + rise * k + bend * linear**2
    return _pinned(1.0 - np.where(k < linear, k * 0.025 / linear, curve), 1.0, 0.0)


def _stretched_linear_quadratic() -> Schedule:
    def between(steps: int, shift: float, start: float, end: float) -> Sigmas:  # noqa: ARG001
        return _pinned(end + (start - end) * _linear_quadratic(steps), start, end)

    return Schedule(whole=lambda steps, shift: _linear_quadratic(steps), between=between)  # noqa: ARG005


def _pinned(levels: Sigmas, start: float, end: float) -> Sigmas:
    """The levels with their ends put right to the bit, which powers and logarithms miss."""
    levels[0], levels[-1] = start, end
    return levels


SCHEDULES: dict[str, Schedule] = {
    "simple": _timed(_simple, _simple_times),
    "sgm_uniform": _timed(_sgm_uniform, _sgm_uniform_times),
    "normal": _timed(_normal, _normal_times),
    "karras": _ranged("karras", _karras),
    "exponential": _ranged("exponential", _exponential),
    "kl_optimal": _ranged("kl_optimal", _kl_optimal),
    "beta": _timed(_beta, _beta_times),
    "linear_quadratic": _stretched_linear_quadratic(),
    "ddim_uniform": _timed(_ddim_uniform, _ddim_uniform_times),
}
