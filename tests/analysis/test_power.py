import math

import numpy as np
import pytest

from analysis.intervals import t_test
from analysis.power import cases_needed, likely_spread, power


def at(alpha):
    return lambda _: alpha


@pytest.mark.parametrize(
    ("effect", "cases"),
    [(0.5, 34), (0.8, 15), (1.0, 10)],  # tables of Cohen, 1988, for the paired t test
)
def test_cases_needed_agree_with_the_printed_tables(effect, cases):
    assert cases_needed(effect, 1.0, at(0.05)) == cases


def test_power_is_what_simulated_studies_reach():
    drawn = np.random.default_rng(7).normal(0.4, 0.5, (20_000, 11))
    assert power(0.4, 0.5, 11) == pytest.approx((t_test(drawn) <= 0.05).mean(), abs=0.01)


def test_the_power_to_see_nothing_is_the_level_from_both_sides():
    assert power(1e-9, 1.0, 6, 0.05) == pytest.approx(0.05)


def test_fewer_cases_than_needed_have_less_than_the_wanted_power():
    needed = cases_needed(0.2, 0.3, at(0.01))
    assert needed is not None
    assert power(0.2, 0.3, needed - 1, 0.01) < 0.8 <= power(0.2, 0.3, needed, 0.01)


def test_what_no_number_of_cases_would_show_needs_none():
    assert cases_needed(0.0, 1.0, at(0.05)) is None
    assert cases_needed(0.001, 1.0, at(0.05)) is None
    assert cases_needed(1.0, 1.0, at(0.0)) is None


def test_never_fewer_than_four_cases_are_asked_for():
    assert cases_needed(5.0, 0.1, at(0.05)) == 4
    assert cases_needed(5.0, 0.0, at(0.05)) == 4


def test_the_likely_spread_is_as_often_too_high_as_too_low():
    deviations = np.random.default_rng(8).standard_normal((20_000, 4)).std(1, ddof=1)
    factor = likely_spread(1.0, 4)
    assert (deviations * factor > 1).mean() == pytest.approx(0.5, abs=0.01)
    assert likely_spread(2.0, 4) == pytest.approx(2 * factor)
    assert math.isclose(likely_spread(1.0, 1000), 1, rel_tol=1e-3)
