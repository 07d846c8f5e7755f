import numpy as np
import pytest
from scipy import integrate, stats

from analysis.intervals import t_test
from analysis.sequential import (
    anytime_critical,
    anytime_interval,
    anytime_level,
    anytime_p,
    look_weights,
)


def test_looks_spend_the_cube_of_the_share_of_cases():
    assert look_weights([6, 12]) == pytest.approx([1 / 8, 7 / 8])
    assert look_weights([4, 8, 12]) == pytest.approx([1 / 27, 7 / 27, 19 / 27])
    assert look_weights([5]) == pytest.approx([1])


@pytest.mark.parametrize("looks", [[], [0, 4], [4, 4], [8, 4]])
def test_looks_that_do_not_rise_are_refused(looks):
    with pytest.raises(ValueError, match="looks must be rising counts of cases"):
        look_weights(looks)


def test_the_anytime_p_is_one_over_an_averaged_likelihood_ratio():
    """Against the integral over effect / spread of densities of t, each relative to the null's."""
    effects = np.random.default_rng(3).normal(1.5, 1, 9)
    n = len(effects)
    t = np.sqrt(n) * effects.mean() / effects.std(ddof=1)

    def weighed(size):
        return stats.nct.pdf(t, n - 1, np.sqrt(n) * size) * stats.norm.pdf(size)

    ratio = integrate.quad(weighed, -8, 8)[0] / stats.t.pdf(t, n - 1)
    assert anytime_p(effects)[-1] == pytest.approx(1 / ratio, rel=1e-5)


def test_the_anytime_interval_leaves_out_zero_exactly_where_its_p_is_below_its_level():
    effects = np.random.default_rng(4).normal(0.7, 1, (300, 9))
    for n in (4, 5, 9):
        _, low, high = anytime_interval(effects[:, :n])
        below = anytime_p(effects)[:, n - 1] < 0.05
        np.testing.assert_array_equal((low > 0) | (high < 0), below)


def test_the_anytime_p_does_not_depend_on_the_unit_and_starts_at_one():
    effects = np.random.default_rng(5).normal(0.5, 1, (20, 6))
    np.testing.assert_allclose(anytime_p(effects), anytime_p(1000 * effects))
    np.testing.assert_array_equal(anytime_p(effects)[:, 0], 1)
    np.testing.assert_array_equal(anytime_p(np.zeros((2, 6))), 1)


def test_four_cases_can_never_decide_at_any_time_and_five_can():
    assert anytime_critical(4) == np.inf and anytime_level(4) == 0
    assert anytime_critical(5) < 9
    assert anytime_p([1.0, 1.0, 1.0, 1.0])[-1] > 0.05 > anytime_p([1.0, 1.0, 1.0, 1.0, 1.0])[-1]


def test_the_level_of_a_single_test_that_is_as_hard_as_the_anytime_rule():
    effects = np.random.default_rng(6).normal(0.6, 1, (300, 12))
    below = anytime_p(effects)[:, -1] < 0.05
    np.testing.assert_array_equal(t_test(effects) < anytime_level(12), below)
