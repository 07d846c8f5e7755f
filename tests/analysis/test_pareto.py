import dataclasses

import numpy as np
import pytest

from analysis.compare import compare_study
from analysis.pareto import on_front, pareto_arms
from tests.analysis.tables import drawn, protocol


def priced(study, calls, seconds=None):
    """The study with ``calls`` and seconds of each arm's videos."""
    arms = study.trials["arm"]
    took = arms.map(seconds or calls).astype(float)
    trials = study.trials.assign(model_calls=arms.map(calls), seconds=took)
    return dataclasses.replace(study, trials=trials)


def front(study):
    return {arm.arm: arm for arm in pareto_arms(study, compare_study(study, protocol()))}


def test_an_arm_is_on_the_front_unless_another_is_as_good_for_less():
    gains = np.array([0.0, 1.0, 1.0, 2.0, 0.5, np.nan])
    costs = np.array([1.0, 2.0, 3.0, 4.0, 2.0, 1.0])
    np.testing.assert_array_equal(on_front(gains, costs), [True, True, False, True, False, False])


def test_equal_arms_are_both_on_the_front():
    assert on_front(np.array([1.0, 1.0]), np.array([2.0, 2.0])).all()


def test_what_costs_more_and_gains_nothing_is_off_the_front():
    study = drawn({"base": 0.0, "good": -0.6, "waste": -0.3, "dear": -1.0}, spread=0.1)
    found = front(priced(study, {"base": 50, "good": 80, "waste": 90, "dear": 120}))
    assert [name for name, arm in found.items() if arm.front_calls] == ["base", "good", "dear"]
    assert found["good"].share_calls == 1 and found["waste"].share_calls == 0
    assert found["base"].gain == 0 and found["good"].gain == pytest.approx(0.6, abs=0.1)
    gain, low, high = (getattr(found["good"], key) for key in ("gain", "low", "high"))
    assert 0 < low < gain < high


def test_calls_and_seconds_have_a_front_each():
    study = drawn({"base": 0.0, "A": -0.6}, spread=0.1)
    found = front(priced(study, {"base": 50, "A": 40}, {"base": 1.0, "A": 2.0}))
    assert not found["base"].front_calls and found["base"].front_seconds


def test_how_sure_a_place_on_the_front_is_shows_in_redrawn_cases():
    study = drawn({"base": 0.0, "A": -0.02}, spread=0.3)
    arm = front(priced(study, {"base": 50, "A": 60}))["A"]
    assert 0 < arm.share_calls < 1


def test_an_arm_that_loses_motion_is_on_no_front_and_keeps_none_off():
    study = drawn({"base": 0.0, "A": -0.6, "still": -2.0}, spread=0.1, motion={"still": -0.5})
    found = front(priced(study, {"base": 50, "A": 60, "still": 10}))
    assert not found["still"].front_calls and found["still"].share_calls == 0
    assert found["base"].front_calls and found["A"].front_calls


def test_an_arm_without_a_finished_video_is_on_no_front():
    study = drawn({"base": 0.0, "A": -0.6})
    states = study.trials["state"].mask(study.trials["arm"] == "A", "failed")
    arm = front(dataclasses.replace(study, trials=study.trials.assign(state=states)))["A"]
    assert (arm.gain, arm.seconds, arm.front_calls, arm.share_calls) == (None, None, False, 0)
