import math

import pytest

from analysis.effects import (
    FLOORS,
    LITERATURE,
    NO_FLOOR,
    STATIC_BELOW,
    paired_effects,
    readings,
    scale_of,
)
from tests.analysis.tables import table
from wanexp.metrics import METRICS

NAN = math.nan


def effects(rows, metric="flicker", cases=("a", "b"), direction="lower"):
    """``rows``: case, seed, baseline's value, arm's value, and both motions where they matter."""
    made = []
    for case, seed, base, arm, *moved in rows:
        motion = moved or [20.0, 20.0]
        for name, value, speed in (("base", base, motion[0]), ("arm", arm, motion[1])):
            made.append(
                {"arm": name, "case": case, "seed": seed, metric: value, "motion_top5": speed}
            )
    study = table(made)
    values = readings(study.trials, study.metrics)
    return paired_effects(values["arm"], values["base"], metric, direction, cases)


def test_seeds_are_averaged_inside_a_case_before_anything_else():
    found = effects([("a", 0, 1.0, 2.0), ("a", 1, 1.0, 8.0), ("b", 0, 4.0, 1.0)])
    assert found.by_case == pytest.approx({"a": math.log(4), "b": -math.log(4)})
    assert (found.pairs, found.asked) == (3, 3)


def test_a_case_with_many_seeds_weighs_as_much_as_any_other():
    found = effects([("a", seed, 1.0, 2.0) for seed in range(9)] + [("b", 0, 1.0, 0.5)])
    assert found.values().mean() == pytest.approx(0)


def test_only_what_both_arms_have_is_a_pair():
    rows = [
        {"arm": "base", "case": "a", "seed": 0, "flicker": 1.0},
        {"arm": "base", "case": "a", "seed": 1, "flicker": 9.0},
        {"arm": "arm", "case": "a", "seed": 0, "flicker": 1.0},
        {"arm": "arm", "case": "b", "seed": 0, "flicker": 9.0},
        {"arm": "arm", "case": "a", "seed": 1, "flicker": NAN, "state": "failed"},
    ]
    values = readings(table(rows).trials, ["flicker"])
    found = paired_effects(values["arm"], values["base"], "flicker", "lower", ["a", "b"])
    assert found.by_case == {"a": 0.0} and found.asked == 1


def test_undefined_values_are_left_out_and_counted():
    rows = [("a", 0, 1.0, NAN), ("a", 1, 1.0, 1.0), ("b", 0, NAN, 1.0)]
    found = effects(rows, "detail", direction="one")
    assert found.by_case == {"a": 0.0}
    assert (found.pairs, found.undefined, found.asked) == (1, 2, 3)


def test_a_still_counts_for_motion_and_for_nothing_else():
    rows = [("a", 0, 1.0, 0.1, 20.0, STATIC_BELOW / 2), ("b", 0, 1.0, 1.0, 20.0, 20.0)]
    assert effects(rows).by_case == {"b": 0.0} and effects(rows).static == 1
    motion = effects(rows, "motion_top5", direction="higher")
    assert motion.by_case == pytest.approx({"a": math.log(STATIC_BELOW / 20), "b": 0.0})
    assert motion.static == 0


def test_without_motion_measured_nothing_is_called_still():
    rows = [{"arm": name, "case": "a", "seed": 0, "flicker": 1.0} for name in ("base", "arm")]
    values = readings(table(rows).trials, ["flicker"])
    assert paired_effects(values["arm"], values["base"], "flicker", "lower", ["a"]).pairs == 1


def test_below_the_floor_two_values_are_equal():
    found = effects([("a", 0, FLOORS["flicker"] / 10, FLOORS["flicker"] / 2)])
    assert found.by_case == {"a": 0.0}
    assert effects([("a", 0, 1.0, 0.0)]).by_case == pytest.approx(
        {"a": math.log(FLOORS["flicker"])}
    )


def test_a_zero_without_a_measured_floor_has_no_ratio():
    scale = scale_of("invented", "lower")
    assert math.isnan(scale.of(0.0)) and scale.of(1.0) == 0


def test_what_is_best_at_one_is_compared_by_its_distance_from_one():
    assert effects([("a", 0, 0.5, 1.25)], "detail", direction="one").by_case == pytest.approx(
        {"a": math.log(1.25) - math.log(2)}
    )


def test_detail_that_is_all_lost_has_a_finite_distance():
    scale = scale_of("detail", "one")
    assert scale.of(-0.2) == scale.of(0.0) == scale.of(0.05) == -math.log(0.05)


def test_every_metric_that_is_a_ratio_has_a_measured_floor():
    positive = {name for name, metric in METRICS.items() if metric.direction != "one"}
    assert set(FLOORS) == positive - set(NO_FLOOR) - set(LITERATURE)
    assert {name for name, metric in METRICS.items() if metric.literature} == set(LITERATURE)
    assert {scale_of(n, METRICS[n].direction).better for n in ("motion", "motion_top5")} == {1}
