"""Schedules: equal to ComfyUI's numbers, falling, and refusing what cannot be."""

import json
import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from wanexp.schedules import (
    MOST_STEPS,
    SCHEDULES,
    interval_sigmas,
    shift_time,
    sigmas,
    smallest_sigma,
    stage_sigmas,
    unshift_sigma,
)

GOLDEN = Path(__file__).parent / "golden"
WHOLE = json.loads((GOLDEN / "schedules.json").read_text())
STAGES = json.loads((GOLDEN / "stages.json").read_text())

RANGED = ("karras", "exponential", "kl_optimal")
SHIFTS = (0.5, 1.0, 3.0, 5.0, 8.0, 12.0, 100.0)
STEPS = (1, 2, 3, 4, 7, 10, 18, 28, 50, 101)
DROPPING = ("dpm_2", "dpm_2_ancestral", "uni_pc", "uni_pc_bh2")


def possible(scheduler, steps):
    return not (scheduler == "kl_optimal" and steps == 1)


def assert_falls(levels, start, end=0.0):
    assert levels.dtype == np.float64
    assert levels.ndim == 1
    assert np.all(np.diff(levels) < 0)
    assert levels[0] == start
    assert levels[-1] == end


@pytest.mark.parametrize("scheduler", SCHEDULES)
def test_whole_schedules_equal_comfyui(scheduler):
    rows = [row for row in WHOLE if row["scheduler"] == scheduler]
    assert len(rows) >= 32
    for row in rows:
        levels = sigmas(scheduler, row["steps"], row["shift"])
        assert levels.shape == (len(row["sigmas"]),)
        np.testing.assert_allclose(levels, row["sigmas"], rtol=0, atol=1e-6)


def test_every_golden_schedule_is_known():
    assert {row["scheduler"] for row in WHOLE} == set(SCHEDULES)


@pytest.mark.parametrize("row", STAGES, ids=lambda r: "-".join(str(r[k]) for k in list(r)[:-1]))
def test_stage_sigmas_equal_comfyui(row):
    levels = stage_sigmas(
        row["scheduler"],
        row["steps"],
        row["shift"],
        denoise=row["denoise"],
        sampler=row["sampler"],
    )
    assert levels.shape == (len(row["sigmas"]),)
    np.testing.assert_allclose(levels, row["sigmas"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        # shift 5: 5t/(1 + 4t) at t = 1, .75, .5, .25
        ("simple", [1, 15 / 16, 5 / 6, 5 / 8, 0]),
        # threshold .025: two even steps of .0125, then 1 - .025 - .25 and 0
        ("linear_quadratic", [1, 0.9875, 0.975, 0.725, 0]),
        # t = .752, .502, .252, .002
        ("ddim_uniform", [3.76 / 4.008, 2.51 / 3.008, 1.26 / 2.008, 0.01 / 1.008, 0]),
        # powers of the smallest sigma .005/1.004
        ("exponential", [1, (5 / 1004) ** (1 / 3), (5 / 1004) ** (2 / 3), 5 / 1004, 0]),
        # the others to four digits, as ComfyUI prints them
        ("karras", [1, 0.2556, 0.0469, 0.0050, 0]),
        ("kl_optimal", [1, 0.5796, 0.2715, 0.0050, 0]),
        ("sgm_uniform", [1, 0.9379, 0.8347, 0.6296, 0]),
        ("normal", [1, 0.9097, 0.7173, 0.0244, 0]),
        ("beta", [1, 0.9590, 0.8339, 0.5182, 0]),
    ],
)
def test_four_steps_at_shift_5_are_these(scheduler, expected):
    np.testing.assert_allclose(sigmas(scheduler, 4, 5.0), expected, rtol=0, atol=6e-5)


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("scheduler", SCHEDULES)
def test_a_whole_schedule_falls_from_one_to_zero(scheduler, shift):
    for steps in STEPS:
        if not possible(scheduler, steps):
            continue
        levels = sigmas(scheduler, steps, shift)
        assert_falls(levels, levels[0] if scheduler == "ddim_uniform" else 1.0)
        assert 0.0 < levels[0] <= 1.0
        if scheduler not in ("beta", "ddim_uniform"):
            assert len(levels) == steps + 1


def test_ddim_uniform_and_beta_may_have_another_number_of_intervals():
    counts = {
        (name, n): len(sigmas(name, n, 5.0)) - 1
        for name, n in [("ddim_uniform", 7), ("ddim_uniform", 300), ("beta", 300), ("beta", 999)]
    }
    assert list(counts.values()) == [8, 333, 293, 846]


def test_simple_repeats_levels_beyond_the_size_of_its_table():
    assert np.all(np.diff(sigmas("simple", 1000, 5.0)) < 0)
    assert np.any(np.diff(sigmas("simple", 1001, 5.0)) == 0)


def test_a_huge_shift_gives_numbers_that_do_not_rise():
    for scheduler in SCHEDULES:
        for shift in (1e-6, 1e6, 1e300):
            levels = sigmas(scheduler, 20, shift)
            assert np.all(np.isfinite(levels))
            assert np.all(np.diff(levels) <= 0)
            assert levels[-1] == 0


def test_the_shift_and_its_inverse():
    assert shift_time(0.5, 3.0) == 0.75
    assert unshift_sigma(0.75, 3.0) == 0.5
    assert shift_time(0.3, 1.0) == 0.3
    assert smallest_sigma(5.0) == pytest.approx(0.005 / 1.004)
    for shift in SHIFTS:
        assert (shift_time(0.0, shift), shift_time(1.0, shift)) == (0.0, 1.0)
        for sigma in np.linspace(0.0, 1.0, 21):
            assert shift_time(unshift_sigma(sigma, shift), shift) == pytest.approx(sigma, abs=1e-14)


# Stages.


@pytest.mark.parametrize("scheduler", SCHEDULES)
def test_denoise_takes_the_tail_of_a_longer_schedule(scheduler):
    whole = sigmas(scheduler, 55, 8.0)
    np.testing.assert_array_equal(stage_sigmas(scheduler, 25, 8.0, denoise=0.45), whole[-26:])


def test_a_denoise_that_rounds_to_one_changes_nothing():
    whole = sigmas("simple", 10, 5.0)
    np.testing.assert_array_equal(stage_sigmas("simple", 10, 5.0, denoise=0.95), whole)
    np.testing.assert_array_equal(stage_sigmas("simple", 10, 5.0, denoise=0.99995), whole)


def test_the_same_denoise_is_nearly_all_or_nearly_nothing():
    assert stage_sigmas("karras", 25, 8.0, denoise=0.45)[0] == pytest.approx(0.103, abs=1e-3)
    assert stage_sigmas("simple", 25, 8.0, denoise=0.45)[0] == pytest.approx(0.870, abs=1e-3)


@pytest.mark.parametrize("sampler", DROPPING)
@pytest.mark.parametrize("scheduler", SCHEDULES)
def test_some_samplers_lose_the_last_but_one_level(scheduler, sampler):
    longer = sigmas(scheduler, 11, 5.0)
    expected = np.append(longer[:-2], 0.0)
    np.testing.assert_array_equal(stage_sigmas(scheduler, 10, 5.0, sampler=sampler), expected)
    started = stage_sigmas(scheduler, 10, 5.0, sampler=sampler, sigma_start=0.5)
    assert len(started) == 11
    assert_falls(started, 0.5)


def test_one_step_of_kl_optimal_is_possible_where_a_level_is_dropped():
    np.testing.assert_array_equal(stage_sigmas("kl_optimal", 1, 5.0, sampler="uni_pc"), [1.0, 0.0])


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("scheduler", SCHEDULES)
def test_a_stage_from_sigma_start_falls_from_exactly_there_in_exactly_its_steps(scheduler, shift):
    for steps in STEPS:
        for start in (1.0, 0.9, 0.45, 0.3, 0.12345678901234567):
            if not possible(scheduler, steps):
                continue
            levels = stage_sigmas(scheduler, steps, shift, sigma_start=start)
            assert len(levels) == steps + 1
            assert_falls(levels, start)


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("scheduler", [name for name in SCHEDULES if name != "ddim_uniform"])
def test_a_sigma_start_of_one_is_the_whole_schedule_but_for_the_grid(scheduler, shift):
    for steps in STEPS[1:]:
        whole = sigmas(scheduler, steps, shift)
        levels = stage_sigmas(scheduler, steps, shift, sigma_start=1.0)
        if len(whole) != len(levels):
            continue
        grid = 0.0010001 if scheduler in ("simple", "beta") else 1e-12
        times = [[unshift_sigma(sigma, shift) for sigma in row] for row in (whole, levels)]
        assert np.abs(np.subtract(*times)).max() < grid


@pytest.mark.parametrize("shift", SHIFTS)
def test_ddim_uniform_from_its_own_first_level_is_itself(shift):
    for steps in (1, 2, 4, 5, 8, 10, 25, 50):
        whole = sigmas("ddim_uniform", steps, shift)
        again = stage_sigmas("ddim_uniform", steps, shift, sigma_start=float(whole[0]))
        np.testing.assert_allclose(again, whole, rtol=0, atol=1e-12)


def test_half_the_noise_of_simple_starts_at_the_time_that_has_it():
    # shift 3: sigma .75 is t = .5, so four steps are t = .5, .375, .25, .125
    expected = [0.75, 1.125 / 1.75, 0.75 / 1.5, 0.375 / 1.25, 0.0]
    np.testing.assert_allclose(stage_sigmas("simple", 4, 3.0, sigma_start=0.75), expected)


def test_karras_takes_sigma_start_for_its_largest_sigma():
    levels = stage_sigmas("karras", 3, 5.0, sigma_start=0.45)
    middle = ((0.45 ** (1 / 7) + (5 / 1004) ** (1 / 7)) / 2) ** 7
    np.testing.assert_allclose(levels, [0.45, middle, 5 / 1004, 0.0], rtol=1e-12)


# Intervals.


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("scheduler", SCHEDULES)
def test_an_interval_falls_between_its_ends_in_exactly_its_steps(scheduler, shift):
    for steps in STEPS:
        for start, end in [(1.0, 0.9), (1.0, 0.2), (0.6, 0.05), (0.9, 1e-4)]:
            levels = interval_sigmas(scheduler, steps, shift, start=start, end=end)
            assert len(levels) == steps + 1
            assert_falls(levels, start, end)


@pytest.mark.parametrize("scheduler", SCHEDULES)
def test_an_interval_to_zero_is_a_stage_from_sigma_start(scheduler):
    for start in (1.0, 0.45):
        np.testing.assert_array_equal(
            interval_sigmas(scheduler, 9, 5.0, start=start, end=0.0),
            stage_sigmas(scheduler, 9, 5.0, sigma_start=start),
        )


def test_an_interval_has_its_scheduler_s_shape():
    # shift 3 from t = 1 (sigma 1) to t = .5 (sigma .75): even in time
    simple = interval_sigmas("simple", 2, 3.0, start=1.0, end=0.75)
    np.testing.assert_allclose(simple, [1.0, 2.25 / 2.5, 0.75])
    exponential = interval_sigmas("exponential", 2, 3.0, start=0.8, end=0.2)
    np.testing.assert_allclose(exponential, [0.8, 0.4, 0.2])
    linear_quadratic = interval_sigmas("linear_quadratic", 4, 3.0, start=0.9, end=0.1)
    np.testing.assert_allclose(linear_quadratic, [0.9, 0.89, 0.88, 0.68, 0.1])
    kl_optimal = interval_sigmas("kl_optimal", 2, 3.0, start=1.0, end=0.5)
    np.testing.assert_allclose(
        kl_optimal, [1.0, math.tan((math.atan(1.0) + math.atan(0.5)) / 2), 0.5]
    )


def test_two_even_intervals_of_simple_join_to_one():
    whole = interval_sigmas("simple", 6, 5.0, start=1.0, end=0.0)
    first = interval_sigmas("simple", 4, 5.0, start=1.0, end=whole[4])
    second = interval_sigmas("simple", 2, 5.0, start=whole[4], end=0.0)
    np.testing.assert_allclose([*first, *second[1:]], whole, atol=1e-12)


# Refusals.


@pytest.mark.parametrize("steps", [0, -1, 2.5, 4.0, True, "4", None, float("nan"), MOST_STEPS + 1])
def test_impossible_steps_are_refused(steps):
    for call in (
        lambda: sigmas("simple", steps, 5.0),
        lambda: stage_sigmas("simple", steps, 5.0),
        lambda: interval_sigmas("simple", steps, 5.0, start=1.0, end=0.5),
    ):
        with pytest.raises(ValueError, match="steps must"):
            call()


def test_a_numpy_integer_is_a_step_count():
    four = np.int64(4)
    levels = sigmas("simple", four, 5.0)  # type: ignore[arg-type]
    np.testing.assert_array_equal(levels, sigmas("simple", 4, 5.0))


@pytest.mark.parametrize("shift", [0.0, -1.0, math.nan, math.inf])
def test_an_impossible_shift_is_refused(shift):
    for call in (
        lambda: sigmas("karras", 4, shift),
        lambda: stage_sigmas("karras", 4, shift),
        lambda: interval_sigmas("karras", 4, shift, start=1.0, end=0.5),
        lambda: shift_time(0.5, shift),
        lambda: unshift_sigma(0.5, shift),
    ):
        with pytest.raises(ValueError, match="shift must be a positive number"):
            call()


@pytest.mark.parametrize("value", [0.0, -0.1, 1.0001, math.nan, math.inf])
def test_an_impossible_denoise_or_start_is_refused(value):
    with pytest.raises(ValueError, match=r"denoise must lie in \(0, 1\]"):
        stage_sigmas("karras", 4, 5.0, denoise=value)
    with pytest.raises(ValueError, match=r"start sigma must lie in \(0, 1\]"):
        stage_sigmas("karras", 4, 5.0, sigma_start=value)
    with pytest.raises(ValueError, match=r"start sigma must lie in \(0, 1\]"):
        interval_sigmas("karras", 4, 5.0, start=value, end=0.0)


@pytest.mark.parametrize("end", [-0.1, math.nan, math.inf, 0.5, 0.6])
def test_an_interval_that_does_not_fall_is_refused(end):
    with pytest.raises(ValueError, match=r"end must lie|an interval must fall"):
        interval_sigmas("simple", 4, 5.0, start=0.5, end=end)


def test_denoise_and_sigma_start_exclude_each_other():
    with pytest.raises(ValueError, match="not at both"):
        stage_sigmas("simple", 4, 5.0, denoise=0.5, sigma_start=0.5)


def test_a_denoise_too_small_to_be_meant_is_refused_before_it_fills_the_memory():
    with pytest.raises(ValueError, match="steps must lie between"):
        stage_sigmas("simple", 20, 5.0, denoise=1e-9)


def test_one_step_of_kl_optimal_is_refused():
    for call in (
        lambda: sigmas("kl_optimal", 1, 5.0),
        lambda: stage_sigmas("kl_optimal", 1, 5.0),
        lambda: stage_sigmas("kl_optimal", 1, 5.0, sigma_start=0.5),
        lambda: interval_sigmas("kl_optimal", 1, 5.0, start=0.5, end=0.0),
    ):
        with pytest.raises(ValueError, match="kl_optimal needs at least two steps"):
            call()
    np.testing.assert_array_equal(
        interval_sigmas("kl_optimal", 1, 5.0, start=0.5, end=0.2), [0.5, 0.2]
    )


@pytest.mark.parametrize("scheduler", RANGED)
def test_a_start_below_the_smallest_sigma_is_refused_where_the_scheduler_runs_over_it(scheduler):
    with pytest.raises(ValueError, match=r"cannot start at 0\.004"):
        stage_sigmas(scheduler, 4, 5.0, sigma_start=0.004)
    np.testing.assert_array_equal(stage_sigmas("karras", 1, 5.0, sigma_start=0.004), [0.004, 0.0])


def test_an_unknown_scheduler_is_told_the_nearest():
    for call in (
        lambda: sigmas("karas", 4, 5.0),
        lambda: stage_sigmas("karas", 4, 5.0),
        lambda: interval_sigmas("karas", 4, 5.0, start=1.0, end=0.5),
    ):
        with pytest.raises(KeyError, match="no scheduler named 'karas'; did you mean 'karras'"):
            call()


def test_an_unknown_or_refused_sampler_is_refused_with_its_reason():
    with pytest.raises(KeyError, match="did you mean 'euler'"):
        stage_sigmas("simple", 4, 5.0, sampler="eular")
    with pytest.raises(ValueError, match="does not converge on flow models"):
        stage_sigmas("simple", 4, 5.0, sampler="ddpm")


def test_schedules_know_no_torch():
    code = "import sys, wanexp.schedules; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_levels_returned_are_the_caller_s_own():
    first = sigmas("linear_quadratic", 1, 5.0)
    first[0] = 7.0
    assert sigmas("linear_quadratic", 1, 5.0)[0] == 1.0
    assert all(a > b for a, b in pairwise(sigmas("linear_quadratic", 5, 5.0)))
