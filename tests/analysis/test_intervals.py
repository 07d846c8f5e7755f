import itertools

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis.intervals import holm, sign_flip_test, t_interval, t_test

EFFECTS = [-0.31, -0.12, 0.05, -0.44, -0.2, -0.38]


def test_the_interval_and_its_p_are_students():
    mean, low, high = t_interval(EFFECTS)
    expected = stats.ttest_1samp(EFFECTS, 0.0)
    limits = expected.confidence_interval(0.95)
    assert (mean, low, high) == pytest.approx((np.mean(EFFECTS), limits.low, limits.high))
    assert t_test(EFFECTS) == pytest.approx(expected[1])


def test_the_interval_leaves_out_zero_exactly_where_p_is_below_its_level():
    effects = np.random.default_rng(0).normal(0.5, 1, (400, 7))
    for alpha in (0.05, 0.002):
        _, low, high = t_interval(effects, alpha)
        np.testing.assert_array_equal((low > 0) | (high < 0), t_test(effects) < alpha)


def test_equal_arms_have_a_p_of_one():
    assert t_test([0.0, 0.0, 0.0]) == 1


def test_an_effect_that_never_varies_has_a_p_of_zero():
    assert t_test([0.5, 0.5, 0.5]) == 0


def test_the_sign_flip_test_counts_every_flip():
    flips = np.array(list(itertools.product([1, -1], repeat=len(EFFECTS))))
    means = np.abs((flips * EFFECTS).mean(1))
    expected = np.mean(means >= abs(np.mean(EFFECTS)) - 1e-12)
    assert sign_flip_test(EFFECTS) == pytest.approx(expected)


@pytest.mark.parametrize(("cases", "least"), [(4, 0.125), (5, 0.0625), (6, 0.03125)])
def test_six_cases_are_the_fewest_that_the_sign_flip_test_can_call_different(cases, least):
    assert sign_flip_test(np.arange(1.0, cases + 1)) == pytest.approx(least)


def test_the_sign_flip_test_of_many_cases_draws_flips_and_repeats():
    many = np.random.default_rng(1).normal(0.3, 1, 40)
    assert sign_flip_test(many) == sign_flip_test(many)
    assert sign_flip_test(many) == pytest.approx(float(t_test(many)), abs=0.02)


def test_holm_by_hand():
    # 3 · 0.01; then max(0.03, 2 · 0.03); then max(0.06, 0.04).
    assert holm([0.03, 0.01, 0.04]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_holm_is_what_statsmodels_calls_holm(count, monkeypatch):
    monkeypatch.setattr("gc.collect", lambda: 0)  # statsmodels collects all garbage at each call
    for p in np.random.default_rng(count).uniform(0, 0.3, (20, count)):
        expected = multipletests(p, method="holm")[1]
        assert holm(p) == pytest.approx(expected, rel=1e-12)


def test_holm_adjusts_every_study_on_its_own():
    p = np.random.default_rng(2).uniform(size=(50, 4))
    np.testing.assert_allclose(holm(p), [holm(row) for row in p])
