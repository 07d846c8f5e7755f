import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from analysis.compare import compare_study
from analysis.intervals import holm, t_interval
from analysis.load import StudyTable, load_study
from analysis.power import cases_needed, likely_spread
from analysis.simulate import claims, planned
from tests.analysis.studies import measured, record, write_study
from tests.analysis.tables import drawn, protocol, table


def verdicts(study, asked=None):
    found = compare_study(study, asked or protocol())
    return {arm.arm: arm.ruling.verdict for arm in found.arms}


def test_the_four_verdicts():
    study = drawn({"base": 0.0, "A": -0.6, "B": 0.6, "C": 0.0, "D": 0.0}, spread=0.1)
    found = verdicts(study)
    assert (found["A"], found["B"], found["C"]) == ("better", "worse", "no difference found")
    noisy = compare_study(drawn({"base": 0.0, "A": 0.0}, spread=0.8), protocol()).arms[0]
    assert noisy.ruling.verdict == "too few pairs"
    assert noisy.ruling.needed is not None and noisy.ruling.needed > 12


def test_the_effect_is_a_geometric_mean_ratio_over_cases_with_students_interval():
    values = {"a": (1.0, 0.5), "b": (2.0, 1.0), "c": (1.0, 0.25), "d": (8.0, 4.0)}
    rows = [
        {"arm": arm, "case": case, "seed": 0, "flicker": pair[i], "motion_top5": 20.0}
        for case, pair in values.items()
        for i, arm in enumerate(("base", "arm"))
    ]
    effect = compare_study(table(rows), protocol()).arms[0].primary
    logs = np.log([0.5, 0.5, 0.25, 0.5])
    expected = t_interval(logs)
    assert effect.mean == pytest.approx(expected.mean)
    assert (effect.low, effect.high) == pytest.approx((expected.low, expected.high))
    assert effect.spread == pytest.approx(logs.std(ddof=1))


def test_the_baseline_is_the_first_arm_or_the_protocols():
    study = drawn({"one": 0.0, "two": -0.6}, spread=0.1)
    assert compare_study(study, protocol()).baseline == "one"
    turned = compare_study(study, protocol(baseline="two"))
    assert [arm.arm for arm in turned.arms] == ["one"]
    assert turned.arms[0].ruling.verdict == "worse"
    with pytest.raises(KeyError, match="no arm named 'tow'; did you mean 'two'"):
        compare_study(study, protocol(baseline="tow"))


def test_a_frozen_arm_wins_nothing():
    gains = {"base": 0.0, "half": -1.0, "frozen": -3.0}
    study = drawn(gains, motion={"half": math.log(0.5), "frozen": -9.0})
    found = compare_study(study, protocol())
    half, frozen = found.arms
    assert (half.ruling.verdict, half.ruling.reason) == ("worse", "motion lost")
    assert half.primary.gain > 0 and half.motion_state == "lost"
    assert (frozen.ruling.verdict, frozen.ruling.reason) == ("worse", "motion lost")
    assert frozen.primary.cases == 0 and frozen.primary.static == 24
    assert found.winner is None


def test_a_gain_without_measured_motion_does_not_count():
    study = drawn({"base": 0.0, "A": -0.6}, spread=0.1)
    blind = dataclasses.replace(study, metrics=("flicker",), directions={"flicker": "lower"})
    blind = dataclasses.replace(blind, trials=blind.trials.drop(columns="motion_top5"))
    arm = compare_study(blind, protocol()).arms[0]
    assert (arm.motion_state, arm.ruling.reason) == ("unmeasured", "motion unmeasured")


def test_motion_as_the_primary_metric_does_not_gate_itself():
    study = drawn({"base": 0.0, "A": 0.0}, motion={"A": 0.5})
    arm = compare_study(study, protocol("motion_top5")).arms[0]
    assert (arm.motion_state, arm.ruling.verdict) == ("itself", "better")


def test_a_gain_whose_motion_falls_about_as_far_as_the_margin_does_not_count():
    gains = {"base": 0.0, "A": -0.8}
    below = drawn(gains, motion={"A": math.log(0.88)}, motion_spread=0.2)
    arm = compare_study(below, protocol()).arms[0]
    assert (arm.motion_state, arm.ruling.reason) == ("unclear", "motion doubtful")
    above = drawn(gains, motion={"A": math.log(0.97)}, motion_spread=0.3)
    found = compare_study(above, protocol()).arms[0].ruling
    assert found.reason == "motion unclear" and found.needed is not None and found.needed > 12


def test_undefined_pairs_lower_n_and_are_counted():
    study = drawn({"base": 0.0, "A": -0.6}, spread=0.1)
    holes = study.trials.assign(
        flicker=study.trials["flicker"].where(study.trials["case"] != "case3")
    )
    effect = compare_study(dataclasses.replace(study, trials=holes), protocol()).arms[0].primary
    assert (effect.cases, effect.pairs, effect.asked, effect.undefined) == (11, 22, 24, 2)


def test_a_failed_trial_costs_its_pair_and_no_more():
    study = drawn({"base": 0.0, "A": -0.6}, spread=0.1)
    states = study.trials["state"].to_list()
    states[1] = "failed"
    failed = dataclasses.replace(study, trials=study.trials.assign(state=states))
    found = compare_study(failed, protocol())
    assert found.look == 12
    assert (found.arms[0].primary.pairs, found.arms[0].primary.cases) == (23, 12)


def test_more_comparisons_ask_for_more():
    found = compare_study(drawn({"base": 0.0, "A": -0.2, "B": 0.1, "C": 0.0}), protocol())
    alone = [arm.primary.p for arm in found.arms]
    together = [arm.p_holm for arm in found.arms]
    assert None not in alone and together == pytest.approx(list(holm([p or 0 for p in alone])))
    single = compare_study(drawn({"base": 0.0, "A": -0.2}), protocol()).arms[0]
    assert single.p_holm == single.primary.p


def test_nothing_is_claimed_before_the_first_look():
    study = drawn({"base": 0.0, "A": -2.0}, done=5)
    found = compare_study(study, protocol(looks=(6,)))
    arm = found.arms[0]
    assert found.look is None and arm.primary.low is None and arm.primary.mean is not None
    assert (arm.ruling.reason, arm.ruling.needed) == ("look", 6)
    assert arm.motion is not None and arm.motion.low is None


def test_between_looks_only_the_cases_of_the_last_look_count():
    at = compare_study(drawn({"base": 0.0, "A": -0.2}, done=6), protocol(looks=(6,)))
    after = compare_study(drawn({"base": 0.0, "A": -0.2}, done=9), protocol(looks=(6,)))
    assert after.arms == at.arms and after.look == 6


def test_a_look_has_its_part_of_the_level_and_the_end_the_rest():
    study = drawn({"base": 0.0, "A": -0.2}, cases=12)
    early, end = (0.05 / 8, 0.05 * 7 / 8)
    six = compare_study(drawn({"base": 0.0, "A": -0.2}, done=6), protocol(looks=(6,)))
    logs = case_effects(study)
    for found, alpha, count in (
        (six, early, 6),
        (compare_study(study, protocol(looks=(6,))), end, 12),
    ):
        expected = t_interval(logs[:count], alpha)
        assert found.arms[0].primary.low == pytest.approx(expected.low)


def case_effects(study: StudyTable) -> np.ndarray:
    logs = np.log(np.array(study.trials["flicker"], float)).reshape(-1, 2, 2)  # case, seed, arm
    return (logs[..., 1] - logs[..., 0]).mean(1)


def test_looks_that_this_study_cannot_have_are_dropped():
    study = drawn({"base": 0.0, "A": -0.6}, cases=8)
    assert compare_study(study, protocol(looks=(2, 6, 8, 12))).looks == (6, 8)
    assert compare_study(drawn({"base": 0.0, "A": 0.0}, cases=2), protocol(looks=(6,))).looks == (
        2,
    )


def test_more_comparisons_need_more_cases_to_see_as_much():
    few = compare_study(drawn({"base": 0.0, "A": 0.0}, spread=0.5), protocol()).arms[0]
    effect = compare_study(drawn({"base": 0.0, "A": 0.0, "B": 0.0}, spread=0.5), protocol()).arms[0]
    spread = likely_spread(effect.primary.spread or 0, 12)
    assert effect.ruling.needed == cases_needed(math.log(1.25), spread, lambda _: 0.025)
    spread = likely_spread(few.primary.spread or 0, 12)
    assert few.ruling.needed == cases_needed(math.log(1.25), spread, lambda _: 0.05)


def test_a_study_may_stop_when_all_is_decided_and_says_what_that_saves():
    study = drawn({"base": 0.0, "A": -2.0, "B": 2.0}, done=6)
    stop = compare_study(study, protocol(looks=(6,))).stop
    assert stop is not None
    # Six cases × two seeds × three arms × 50 model calls were not run.
    assert (stop.cases, stop.of, stop.saved, stop.spent) == (6, 12, 1800, 0)
    ran = compare_study(drawn({"base": 0.0, "A": -2.0, "B": 2.0}), protocol(looks=(6,))).stop
    assert ran is not None and (ran.saved, ran.spent) == (0, 1800)


def test_a_study_with_an_open_question_goes_on():
    study = drawn({"base": 0.0, "A": -2.0, "B": 0.0}, done=6, spread=0.5)
    assert compare_study(study, protocol(looks=(6,))).stop is None


def test_at_any_time_every_case_counts_and_intervals_are_wider():
    study = drawn({"base": 0.0, "A": -0.6}, done=7)
    free = compare_study(study, protocol(any_time=True)).arms[0].primary
    fixed = compare_study(drawn({"base": 0.0, "A": -0.6}, cases=7), protocol()).arms[0].primary
    assert free.cases == 7 and free.mean == fixed.mean
    assert free.low is not None and fixed.low is not None and free.low < fixed.low


def test_held_back_cases_choose_nothing_and_confirm_the_winner():
    gains = {"base": 0.0, "A": -0.6, "B": -0.3}
    found = compare_study(drawn(gains, cases=10, held=range(5, 10), spread=0.1), protocol())
    assert found.cases == tuple(f"case{i}" for i in range(5))
    assert found.winner == "A" and found.confirmation is not None
    assert (found.confirmation.on, found.confirmation.holds) == ("held-back cases", True)
    assert found.confirmation.effect.cases == 5


def test_held_back_cases_that_have_not_run_hold_nothing_up():
    study = drawn({"base": 0.0, "A": -0.6}, cases=10, held=range(5, 10), spread=0.1, done=5)
    found = compare_study(study, protocol())
    assert (found.look, found.winner, found.confirmation) == (5, "A", None)


def test_a_winner_by_chance_is_not_confirmed():
    study = drawn({"base": 0.0, "A": -0.6}, cases=5, spread=0.1)
    fresh = drawn({"base": 0.0, "A": 0.0}, cases=6, first_case=50, draw=1)
    found = compare_study(study, protocol(), fresh)
    assert found.confirmation is not None and found.confirmation.holds is False
    few = drawn({"base": 0.0, "A": -0.6}, cases=3, first_case=50)
    unsure = compare_study(study, protocol(), few).confirmation
    assert unsure is not None and unsure.holds is None


def test_pairs_that_chose_the_winner_do_not_confirm_it():
    gains = {"base": 0.0, "A": -0.6}
    study = drawn(gains, cases=5, seeds=2, spread=0.1)
    assert compare_study(study, protocol(), study).confirmation is None
    more = drawn(gains, cases=5, seeds=3, first_seed=1, spread=0.1, draw=2)
    found = compare_study(study, protocol(), more).confirmation
    assert found is not None and found.on == "fresh seeds"
    assert found.effect.pairs == 10  # seeds 2 and 3; seed 1 was used


def test_without_fresh_cases_nothing_is_confirmed():
    found = compare_study(drawn({"base": 0.0, "A": -0.6}, spread=0.1), protocol())
    assert found.winner == "A" and found.confirmation is None and not found.kept_back
    held = compare_study(drawn({"base": 0.0, "A": -0.6}, held=range(12)), protocol())
    assert held.kept_back and len(held.cases) == 12


def test_equal_arms_are_no_different_however_few():
    rows = [
        {"arm": arm, "case": f"c{i}", "seed": 0, "flicker": 1.0 + i, "motion_top5": 20.0}
        for i in range(4)
        for arm in ("base", "A")
    ]
    arm = compare_study(table(rows), protocol()).arms[0]
    assert (arm.ruling.reason, arm.primary.p) == ("within", 1.0)


def test_a_study_on_disk_is_compared_as_it_is_loaded(tmp_path):
    rows, records = [], []
    for case in range(5):
        for arm, flicker in (("base", 1.0), ("A", 0.5)):
            digest = f"{arm}{case}"
            rows.append((arm, f"case{case}", 0, digest, case > 3))
            values = {
                "flicker": measured(flicker * (1 + case / 10 + 0.01 * case * (arm == "A"))),
                "motion_top5": measured(20.0, "higher"),
            }
            records.append(
                record(
                    digest,
                    measurements=values,
                )
            )
    loaded = load_study(write_study(tmp_path, rows, records).root)
    assert loaded.trials["held_out"].tolist() == [False] * 8 + [True] * 2
    found = compare_study(loaded, protocol())
    assert found.cases == ("case0", "case1", "case2", "case3")
    assert found.arms[0].ruling.verdict == "better"


def test_a_study_without_records_has_a_comparison(tmp_path):
    rows = [("base", "a", 0, "d0"), ("A", "a", 0, "d1")]
    found = compare_study(load_study(write_study(tmp_path, rows, []).root), protocol())
    assert found.arms[0].ruling.verdict == "too few pairs"
    assert found.arms[0].primary.mean is None


def test_whole_studies_claim_what_the_simulated_ones_claim():
    """The simulation's shortcut is the protocol: 60 studies both ways, with looks and Holm."""
    looks = planned(10)
    for draw in range(60):
        effects = np.random.default_rng(draw).normal(0.35, 0.4, (1, 3, 10))
        rows = [
            {"arm": f"arm{i}", "case": f"c{case}", "seed": 0, "motion_top5": 20 * math.exp(value)}
            for case in range(10)
            for i, value in enumerate([0.0, *effects[0, :, case]])
        ]
        study = table(rows)
        expected = np.zeros(3, bool)
        for look in looks:
            found = compare_study(first(study, look), protocol("motion_top5", looks=looks[:-1]))
            assert found.look == look
            expected |= [arm.ruling.verdict in ("better", "worse") for arm in found.arms]
        np.testing.assert_array_equal(claims(effects, looks)[0], expected)


def first(study: StudyTable, cases: int) -> StudyTable:
    """The study when only its first cases have run."""
    late = ~study.trials["case"].isin([f"c{i}" for i in range(cases)])
    states = study.trials["state"].mask(pd.Series(late), "missing")
    return dataclasses.replace(study, trials=study.trials.assign(state=states))
