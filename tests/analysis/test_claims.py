"""What a study says of a claim made in numbers, on planted studies."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from analysis.claims import (
    equal_cost,
    less,
    measured_study,
    part_of,
    sharp_share,
    sweet_spot,
    times,
    wasteful,
)
from analysis.effects import FLOORS
from tests.analysis.tables import drawn, protocol
from tests.analysis.test_pareto import priced


def study(gains, **how):
    return measured_study(drawn(gains, **{"spread": 0.05, **how}), protocol(margin=0.1))


def test_a_fall_as_large_as_claimed_holds_and_a_smaller_one_does_not():
    found = less(study({"one": 0.0, "two": np.log(0.3)}), "two", "one", "flicker", 0.68)
    assert found.answer == "holds" and "% lower" in found.measured
    found = less(study({"one": 0.0, "two": np.log(0.6)}), "two", "one", "flicker", 0.68)
    assert found.answer == "does not hold" and found.why.startswith("68 % less is ruled out")


def test_a_rise_where_a_fall_is_claimed_is_called_one():
    found = less(study({"one": 0.0, "two": 0.5}), "two", "one", "flicker", 0.2)
    assert (found.answer, found.why.split(" (")[0]) == ("does not hold", "it rises")


def test_what_neither_rules_out_the_claim_nor_shows_a_fall_is_open():
    wide = study({"one": 0.0, "two": -0.6}, spread=2.5, cases=5)
    assert less(wide, "two", "one", "flicker", 0.68).answer == "open"


def floored(level: float, **gains: float):
    """Two arms with jitter of so many times the metric's floor."""
    arms = {"one": 0.0, **gains}
    table = drawn(arms, spread=0.02, metric="jitter")
    rising = table.trials["arm"].map(lambda arm: np.exp(arms[arm]))
    wobble = 1 + 0.02 * np.random.default_rng(0).normal(size=len(rising))
    values = FLOORS["jitter"] * level * rising * wobble
    table = dataclasses.replace(
        table,
        trials=table.trials.assign(jitter=values),
        metrics=("jitter", "motion_top5"),
        directions={"jitter": "lower", "motion_top5": "higher"},
    )
    return measured_study(table, protocol())


def test_a_fall_that_the_floor_hides_is_not_tested():
    found = less(floored(0.9, two=-0.5), "two", "one", "jitter", 0.68)
    assert found.answer == "not tested here" and "at the metric's floor" in found.why


def test_near_the_floor_the_most_that_could_show_is_what_counts():
    found = less(floored(1.5, two=-0.05), "two", "one", "jitter", 0.68)
    assert found.answer == "does not hold"
    assert found.why.startswith("33 % less, the most that could show above the metric's floor,")
    assert less(floored(1.5, two=-2.0), "two", "one", "jitter", 0.68).answer == "holds"


def test_a_fall_that_motion_paid_for_does_not_hold():
    still = study({"one": 0.0, "two": -2.0}, motion={"two": -0.5})
    found = less(still, "two", "one", "flicker", 0.68)
    assert found.answer == "does not hold" and "motion is lost" in found.why


def test_on_three_cases_everything_is_open():
    few = study({"one": 0.0, "two": -2.0, "three": -3.0}, cases=3)
    assert less(few, "two", "one", "flicker", 0.68).answer == "open"
    assert equal_cost(few, "two", "one", "flicker").answer == "open"
    assert wasteful(few, "two", "one", "flicker").answer == "open"
    assert sweet_spot(few, "one", ["two"], "flicker").answer == "open"
    assert part_of(few, "two", "three", "one", "flicker", 0.8).answer == "open"
    assert times(few, "two", "one", "seconds", (1, 2)).answer == "open"


def test_stages_beat_one_of_equal_cost_only_where_a_gain_is_shown():
    arms = {"one": 0.0, "better": -0.4, "same": 0.0, "worse": 0.4}
    answers = {arm: equal_cost(study(arms), arm, "one", "flicker") for arm in arms if arm != "one"}
    assert answers["better"].answer == "holds"
    assert answers["same"].answer == answers["worse"].answer == "does not hold"
    assert "a gain that matters is ruled out" in answers["same"].why
    assert "it is worse" in answers["worse"].why


def test_a_single_stage_that_wins_by_moving_less_is_told():
    still = study({"one": 0.0, "worse": 0.4}, motion={"one": -0.5})
    assert (
        "the single stage's own motion is lost" in equal_cost(still, "worse", "one", "flicker").why
    )
    assert (
        "motion" not in equal_cost(study({"one": 0.0, "worse": 0.4}), "worse", "one", "flicker").why
    )


def test_more_that_gives_nothing_is_wasteful():
    arms = {"one": 0.0, "same": 0.0, "better": -0.4}
    assert wasteful(study(arms), "same", "one", "flicker").answer == "holds"
    assert wasteful(study(arms), "better", "one", "flicker").answer == "does not hold"


@pytest.mark.parametrize(
    ("left", "right", "answer", "why"),
    [
        (0.5, 0.5, "holds", "every neighbour"),
        (-0.5, 0.5, "does not hold", "left do better"),
        (0.0, 0.0, "does not hold", "it is flat"),
        (0.0, 0.5, "open", "cannot be told apart"),
    ],
)
def test_a_spot_is_sweet_where_every_neighbour_is_worse(left, right, answer, why):
    found = sweet_spot(
        study({"spot": 0.0, "left": left, "right": right}), "spot", ["left", "right"], "flicker"
    )
    assert found.answer == answer and why in found.why


def test_a_part_is_compared_with_the_whole_case_by_case():
    arms = {"one": 0.0, "most": -0.9, "little": -0.3, "all": -1.0}
    assert part_of(study(arms), "most", "all", "one", "flicker", 0.8).answer == "holds"
    assert part_of(study(arms), "little", "all", "one", "flicker", 0.8).answer == "does not hold"
    nothing = study({"one": 0.0, "most": 0.0, "all": 0.0})
    found = part_of(nothing, "most", "all", "one", "flicker", 0.8)
    assert found.answer == "open" and "no benefit" in found.why


def test_a_cost_is_compared_with_the_claimed_range():
    table = priced(drawn({"one": 0.0, "two": 0.0}), {"one": 50, "two": 86}, {"one": 2, "two": 3.6})
    costs = measured_study(table, protocol())
    assert times(costs, "two", "one", "model_calls", (1.715, 1.725)).answer == "holds"
    found = times(costs, "two", "one", "seconds", (1.6, 1.7))
    assert found.answer == "does not hold" and found.measured == "1.80 times"


def test_a_cost_that_was_timed_on_a_busy_machine_is_open():
    table = priced(drawn({"one": 0.0, "two": 0.0}), {"one": 50, "two": 86})
    took = table.trials["seconds"] * np.random.default_rng(0).lognormal(0, 1.5, len(table.trials))
    busy = dataclasses.replace(table, trials=table.trials.assign(seconds=took))
    found = times(measured_study(busy, protocol()), "two", "one", "seconds", (1.6, 1.8))
    assert found.answer == "open" and "busy" in found.why


def test_a_share_of_sharp_videos_is_taken_inside_each_case():
    table = drawn({"one": 0.0, "two": 0.0}, cases=6, seeds=2, metric="detail")
    sharp = np.where(
        table.trials["arm"] == "two", 0.9, np.where(table.trials["seed"] == 0, 0.9, 0.5)
    )
    known = table.trials["case"] != "case5"
    trials = table.trials.assign(detail=np.where(known, sharp, np.nan))
    found = sharp_share(
        measured_study(dataclasses.replace(table, trials=trials), protocol()),
        *("two", "one", "detail", 0.8, 0.18),
    )
    assert found.measured == "50 % → 100 %" and found.answer == "holds"
    assert found.why == "5 cases with a face"
