import dataclasses
import math

import numpy as np
import pytest

from analysis.compare import compare_study
from analysis.ranking import rank_arms
from analysis.resample import redrawn_means
from tests.analysis.tables import drawn, protocol, table

EVEN = {"flicker": 1.0, "warp": 1.0}


def two_metrics(gains, draw=0, cases=8, spread=0.2):
    """``gains``: arm → (log flicker, log warp)."""
    rng = np.random.default_rng(draw)
    rows = [
        {
            "arm": arm,
            "case": f"c{case}",
            "seed": 0,
            "flicker": math.exp(one + rng.normal(0, spread)),
            "warp": math.exp(two + rng.normal(0, spread)),
            "motion_top5": 20.0,
        }
        for case in range(cases)
        for arm, (one, two) in gains.items()
    ]
    return table(rows)


def ranked(study, weights):
    found = rank_arms(study, compare_study(study, protocol(weights=weights)))
    assert found is not None
    return found


def test_the_figure_is_the_weighted_mean_of_gains_in_spreads():
    base = np.array([0.1, 0.3, 0.2, 0.4])
    rows = []
    for i, effect in enumerate(base):
        for arm, flicker, warp in (("base", 0.0, 0.0), ("A", -effect, 2 * effect)):
            values = {"flicker": math.exp(flicker), "warp": math.exp(warp), "motion_top5": 20.0}
            rows.append({"arm": arm, "case": f"c{i}", "seed": 0, **values})
    found = ranked(table(rows), {"flicker": 3.0, "warp": 1.0})
    standardised = base.mean() / base.std(ddof=1)
    arm = next(arm for arm in found.arms if arm.arm == "A")
    assert arm.parts == pytest.approx({"flicker": standardised, "warp": -standardised})
    assert arm.score == pytest.approx(0.75 * standardised - 0.25 * standardised)
    assert found.weights == {"flicker": 0.75, "warp": 0.25}


def test_the_baseline_is_ranked_at_zero_among_the_others():
    found = ranked(two_metrics({"base": (0, 0), "A": (-1, -1), "B": (1, 1)}), EVEN)
    assert [arm.arm for arm in found.arms] == ["A", "base", "B"]
    assert found.arms[1].score == 0


def test_an_arm_that_loses_motion_stands_last_whatever_its_figure():
    study = drawn({"base": 0.0, "A": -0.1, "still": -2.0}, motion={"still": -0.5})
    found = ranked(study, {"flicker": 1.0})
    last = found.arms[-1]
    assert (last.arm, last.allowed, last.first_cases) == ("still", False, 0)
    assert last.score > found.arms[0].score


def test_an_order_that_hangs_on_the_weights_says_so():
    study = two_metrics({"base": (0, 0), "A": (-1.0, 0.0), "B": (0.0, -1.0)}, spread=0.05)
    found = ranked(study, EVEN)
    assert found.without == {"flicker": "B", "warp": "A"}
    shares = {arm.arm: arm.first_weights for arm in found.arms}
    assert 0.05 < shares["A"] < 0.95 and shares["A"] + shares["B"] == pytest.approx(1)
    sure = ranked(two_metrics({"base": (0, 0), "A": (-1, -1), "B": (1, 1)}), EVEN)
    assert sure.arms[0].first_weights == 1 and sure.without == {"flicker": "A", "warp": "A"}


def test_an_order_that_hangs_on_the_cases_says_so():
    close = ranked(two_metrics({"base": (0, 0), "A": (-0.5, -0.5), "B": (-0.49, -0.49)}), EVEN)
    clear = ranked(two_metrics({"base": (0, 0), "A": (-1.0, -1.0), "B": (0.0, 0.0)}), EVEN)
    assert close.arms[0].first_cases < 1 == clear.arms[0].first_cases
    assert sum(arm.first_cases for arm in close.arms) == pytest.approx(1)


def test_a_metric_that_one_arm_has_no_two_cases_of_judges_nobody():
    study = two_metrics({"base": (0, 0), "A": (-1, 5), "B": (0, 0)})
    holes = study.trials["warp"].where(
        (study.trials["arm"] != "A") | (study.trials["case"] == "c0")
    )
    found = ranked(dataclasses.replace(study, trials=study.trials.assign(warp=holes)), EVEN)
    assert found.left_out == ("warp",) and found.weights == {"flicker": 1}
    assert found.arms[0].arm == "A"


def test_a_draw_of_cases_without_a_metric_takes_its_mean():
    gains = np.array([[[0.0, 0.0, 0.0]], [[3.0, np.nan, np.nan]]])
    means = redrawn_means(gains, draws=50, seed=0)
    assert means.shape == (50, 2, 1)
    np.testing.assert_array_equal(means[:, 1, 0], 3.0)


def test_without_weights_there_is_no_ranking():
    study = drawn({"base": 0.0, "A": -0.1})
    assert rank_arms(study, compare_study(study, protocol())) is None


def test_the_same_study_ranks_the_same_twice():
    study = two_metrics({"base": (0, 0), "A": (-0.1, 0.1), "B": (0.1, -0.1)})
    assert ranked(study, EVEN) == ranked(study, EVEN)
