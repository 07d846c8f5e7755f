"""What samplers cost and where they call the model, without torch."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from wanexp.sampler_facts import (
    ALIASES,
    NEAR_ONE,
    REFUSED,
    SAMPLER_FACTS,
    draws,
    evaluations,
    facts_of,
    integrated_levels,
    log_midpoint,
    log_midpoint_down,
    snr_midpoint,
    snr_midpoint_down,
    step_down,
)
from wanexp.schedules import shift_time

ROWS = json.loads((Path(__file__).parent / "golden" / "samplers.json").read_text())["rows"]
TWICE = {"heun", "dpm_2", "dpm_2_ancestral", "dpmpp_2s_ancestral", "dpmpp_sde"}


@pytest.mark.parametrize("row", ROWS, ids=lambda r: f"{r['sampler']}-{r['scheduler']}-{r['steps']}")
def test_evaluations_equal_comfyui(row):
    sigmas = [row["evaluations"][0], *row["sigmas"][1:]]
    calls = evaluations(row["sampler"], sigmas)
    assert len(calls) == len(row["evaluations"])
    np.testing.assert_allclose(calls, row["evaluations"], rtol=0, atol=1e-12)


def test_the_golden_rows_say_who_is_moved_from_one():
    moved = {r["sampler"] for r in ROWS if r["sigmas"][0] == 1.0 > r["evaluations"][0]}
    assert moved == {name for name, facts in SAMPLER_FACTS.items() if facts.offset_first}
    for row in ROWS:
        if row["sigmas"][0] == 1.0 > row["evaluations"][0]:
            expected = shift_time(0.9999, row["shift"])
            assert row["evaluations"][0] == pytest.approx(expected, abs=1e-7)


def test_the_golden_rows_say_who_draws_noise():
    # res_multistep draws in ComfyUI and multiplies by 0
    draws = {r["sampler"] for r in ROWS if r["noises"]} - {"res_multistep"}
    stochastic = {name for name, facts in SAMPLER_FACTS.items() if facts.stochastic != "none"}
    assert draws == stochastic - {"dpm_2_ancestral"}


@pytest.mark.parametrize("sampler", SAMPLER_FACTS)
def test_a_run_to_zero_costs_n_or_2n_minus_1_and_a_slice_n_or_2n(sampler):
    to_zero = np.linspace(0.9, 0.0, 9)
    per_interval = 2 if sampler in TWICE else 1
    assert len(evaluations(sampler, to_zero)) == 8 * per_interval - (per_interval - 1)
    assert len(evaluations(sampler, to_zero[:-1])) == 7 * per_interval


@pytest.mark.parametrize("sampler", SAMPLER_FACTS)
def test_evaluations_begin_at_each_interval_and_stay_inside_it(sampler):
    levels = [0.97, 0.8, 0.55, 0.2, 0.05, 0.0]
    calls = evaluations(sampler, levels)
    assert calls[0] == 0.97
    assert set(levels[:-1]) <= set(calls)
    assert all(0.0 < call <= 0.97 for call in calls)


@pytest.mark.parametrize("sampler", SAMPLER_FACTS)
def test_less_than_two_levels_cost_nothing(sampler):
    assert evaluations(sampler, [0.5]) == []
    assert evaluations(sampler, []) == []


def test_midpoints_by_hand():
    assert log_midpoint(0.8, 0.2) == pytest.approx(0.4)
    assert snr_midpoint(0.8, 0.2) == pytest.approx(0.5)
    # odds of signal 1:9 and 9:1 meet at 1:1, 1:4 and 1:1 at 1:2
    assert snr_midpoint(0.8, 0.5) == pytest.approx(2 / 3)
    assert step_down(0.8, 0.4) == pytest.approx(0.2)
    assert log_midpoint_down(0.8, 0.4) == pytest.approx(0.4)
    assert snr_midpoint_down(0.8, 0.4) == pytest.approx(0.5)
    assert snr_midpoint_down(1.0, 0.5) == NEAR_ONE


def test_evaluations_by_hand():
    assert evaluations("euler", [0.8, 0.2, 0.0]) == [0.8, 0.2]
    assert evaluations("heun", [0.8, 0.2, 0.0]) == [0.8, 0.2, 0.2]
    assert evaluations("dpm_2", [0.8, 0.2, 0.0]) == pytest.approx([0.8, 0.4, 0.2])
    assert evaluations("dpmpp_sde", [0.8, 0.2, 0.0]) == pytest.approx([0.8, 0.5, 0.2])
    assert evaluations("dpmpp_2s_ancestral", [1.0, 0.4, 0.0]) == [1.0, 0.9999, 0.4]


@pytest.mark.parametrize("row", ROWS, ids=lambda r: f"{r['sampler']}-{r['scheduler']}-{r['steps']}")
def test_draws_are_as_many_as_comfyui_made(row):
    made = 0 if row["sampler"] == "res_multistep" else len(row["noises"])  # drawn, times 0
    assert len(draws(row["sampler"], row["sigmas"])) == made


def test_draws_by_hand():
    assert draws("euler", [0.8, 0.2, 0.0]) == []
    assert draws("lcm", [0.8, 0.2, 0.0]) == [(0.8, 0.2)]
    assert draws("lcm", [0.8, 0.2]) == [(0.8, 0.2)]
    [to_middle, to_next] = draws("dpmpp_sde", [0.8, 0.2, 0.0])
    assert to_middle == pytest.approx((0.8, 0.5))
    assert to_next == (0.8, 0.2)


def test_an_alias_has_the_facts_of_what_it_stands_for():
    assert facts_of("euler_a") is SAMPLER_FACTS["euler_ancestral"]
    assert evaluations("euler_a", [0.5, 0.0]) == [0.5]


def test_no_name_is_in_two_tables():
    assert not set(SAMPLER_FACTS) & set(REFUSED)
    assert not set(SAMPLER_FACTS) & set(ALIASES)
    assert set(ALIASES.values()) <= set(SAMPLER_FACTS)


@pytest.mark.parametrize("sampler", REFUSED)
def test_a_refused_sampler_says_why(sampler):
    with pytest.raises(ValueError, match="is refused: ") as error:
        evaluations(sampler, [0.5, 0.0])
    assert REFUSED[sampler] in str(error.value)


def test_an_unknown_sampler_is_told_the_nearest():
    with pytest.raises(KeyError, match="no sampler named 'dpmpp2m'; did you mean 'dpmpp_2m'"):
        facts_of("dpmpp2m")


@pytest.mark.parametrize("sampler", SAMPLER_FACTS)
@pytest.mark.parametrize("bad", [[0.5, 0.5, 0.0], [0.2, 0.5], [0.5, 0.3, 0.3]])
def test_levels_that_do_not_fall_are_refused(sampler, bad):
    with pytest.raises(ValueError, match="must fall strictly"):
        evaluations(sampler, bad)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1.01, -0.1])
def test_levels_outside_zero_to_one_are_refused(bad):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        evaluations("euler", [0.9, bad])
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        evaluations("euler", [bad, 0.0])


def test_uni_pc_stops_at_a_thousandth_and_cannot_start_below():
    assert integrated_levels("uni_pc", [0.5, 0.1, 0.0]) == [0.5, 0.1, 0.001]
    assert integrated_levels("uni_pc", [0.5, 0.1]) == [0.5, 0.1]
    assert integrated_levels("euler", [0.5, 0.1, 0.0]) == [0.5, 0.1, 0.0]
    with pytest.raises(ValueError, match=r"uni_pc stops at 0\.001"):
        evaluations("uni_pc", [0.5, 0.0005, 0.0])


def test_a_first_sigma_of_one_is_kept_where_it_is_finite_and_gives_way_where_it_is_not():
    assert integrated_levels("euler", [1.0, 0.5])[0] == 1.0
    assert integrated_levels("er_sde", [1.0, 0.5])[0] == 0.9999
    assert integrated_levels("er_sde", [1.0, 0.99999])[0] == pytest.approx(0.999995)
    assert integrated_levels("er_sde", [0.99998, 0.5])[0] == 0.99998


def test_levels_may_be_any_sequence_of_numbers():
    as_list = [0.75, 0.5, 0.0]
    for given in (tuple(as_list), np.array(as_list), np.array(as_list, dtype=np.float32)):
        assert integrated_levels("euler", given) == as_list


def test_facts_know_no_torch():
    code = "import sys, wanexp.sampler_facts; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
