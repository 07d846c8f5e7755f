import math

import pytest

from analysis.compare import compare_study
from analysis.effects import Scale
from analysis.sentences import (
    change_words,
    comparison_sentences,
    interval_words,
    scope_sentence,
)
from analysis.verdict import Effect
from tests.analysis.tables import drawn, protocol, table

LOWER = Scale(kind="ratio", better=-1)
DISTANCE = Scale(kind="distance", better=-1)


def said(study, asked=None):
    return comparison_sentences(compare_study(study, asked or protocol()))


@pytest.mark.parametrize(
    ("value", "scale", "words"),
    [
        (math.log(0.76), LOWER, "24 % lower"),
        (math.log(1.031), LOWER, "3.1 % higher"),
        (math.log(2.4), LOWER, "2.4 times as high"),
        (0.0, LOWER, "unchanged"),
        (-0.05, DISTANCE, "0.05 nearer to 1"),
        (0.123, DISTANCE, "0.12 farther from 1"),
        (0.0, DISTANCE, "as near to 1"),
        (None, LOWER, "not known"),
    ],
)
def test_an_effect_is_said_in_percent_or_in_distance(value, scale, words):
    assert change_words(value, scale) == words


@pytest.mark.parametrize(
    ("low", "high", "scale", "words"),
    [
        (math.log(0.65), math.log(0.88), LOWER, "35 % to 12 % lower"),
        (math.log(0.91), math.log(1.04), LOWER, "9 % lower to 4 % higher"),
        (-0.03, -0.01, DISTANCE, "0.03 to 0.01 nearer to 1"),
        (-0.02, 0.01, DISTANCE, "0.02 nearer to 0.01 farther"),
        (None, None, DISTANCE, "none yet"),
    ],
)
def test_an_interval_is_said_from_its_better_end(low, high, scale, words):
    effect = Effect(
        metric="m", scale=scale, mean=None, low=low, high=high, p=None, spread=None,
        cases=4, pairs=4, asked=4, undefined=0, static=0,
    )  # fmt: skip
    assert interval_words(effect) == words


def test_a_winner_is_said_with_its_interval_its_pairs_its_motion_and_its_reach():
    first, reach = said(drawn({"base": 0.0, "A": -0.6}, spread=0.1))
    assert first == (
        "A is better than base: flicker is 48 % lower (95 % interval: 51 % to 44 % lower;"
        " 12 cases, 24 pairs), and motion is kept (motion_top5 is 0.3 % lower, at worst 1.7 %"
        " lower; 10 % less is allowed)."
    )
    assert reach.startswith("For these 12 cases: A was chosen on them, so its gain is likely")


@pytest.mark.parametrize(("gain", "small"), [(-0.05, True), (0.05, True), (-0.6, False)])
def test_what_is_sure_but_smaller_than_what_matters_is_said_to_be(gain, small):
    sentence = said(drawn({"base": 0.0, "A": gain}, spread=0.02))[0]
    assert sentence.startswith(f"A is {'better' if gain < 0 else 'worse'} than base")
    assert sentence.endswith(" All of that is less than what matters here (20 %).") == small


def test_too_few_pairs_says_how_many_would_do():
    sentence = said(drawn({"base": 0.0, "A": 0.0}, spread=0.8))[0]
    assert sentence.startswith("Too few pairs to tell A and base apart: flicker is")
    assert "; to see 20 % at this spread, n needed: " in sentence
    assert sentence.endswith(" cases (now 12).")


def test_no_difference_says_what_is_ruled_out():
    sentence = said(drawn({"base": 0.0, "A": 0.0}, spread=0.05))[0]
    assert sentence.startswith("No difference found between A and base: flicker is")
    assert sentence.endswith("; a change of 20 % is ruled out.")


def test_equal_videos_are_said_to_be_equal():
    rows = [
        {"arm": arm, "case": f"c{i}", "seed": 0, "flicker": 1.0 + i, "motion_top5": 20.0}
        for i in range(4)
        for arm in ("base", "A")
    ]
    assert said(table(rows))[0] == (
        "No difference found between A and base: flicker is the same in every pair"
        " (4 cases, 4 pairs)."
    )


def test_three_cases_are_too_few_to_say_anything():
    found = said(drawn({"base": 0.0, "A": -3.0}, cases=3, spread=0.01))
    assert len(found) == 1  # nothing was claimed, so nothing is said of its reach
    assert found[0].endswith("; nothing is claimed on fewer than 4 cases, n needed: 4 cases.")


def test_what_is_steady_because_it_stands_still_is_said_to_be():
    sentence = said(drawn({"base": 0.0, "A": -0.6}, motion={"A": -0.5}))[0]
    assert sentence.startswith("A is worse than base: flicker is 50 % lower")
    assert "but motion is lost (motion_top5 is 40 % lower" in sentence
    frozen = said(drawn({"base": 0.0, "A": -0.6}, motion={"A": -9.0}))[0]
    assert frozen.startswith("A is worse than base, but motion is lost (motion_top5 is 90 % lower")


def test_a_metric_that_was_not_measured_is_named():
    study = drawn({"base": 0.0, "A": -0.6})
    assert said(study, protocol("warp"))[0] == (
        "Too few pairs to tell A and base apart: no pair of finished videos has warp measured."
    )


def test_what_would_count_alone_is_said_not_to_among_many():
    gains = {"base": 0.0, "A": -0.36} | {f"x{i}": 0.0 for i in range(8)}
    found = compare_study(drawn(gains, spread=0.25), protocol())
    arm = found.arms[0]
    assert arm.primary.p is not None and arm.p_holm is not None
    assert arm.primary.p <= 0.05 < arm.p_holm
    assert comparison_sentences(found)[0].endswith(
        "Alone it would count; among 9 comparisons it can be chance."
    )


def test_a_verdict_that_rests_on_the_bell_curve_says_so():
    values = [-0.9, -1.0, -1.1, -1.0, -0.95, 0.3]
    rows = [
        {"arm": arm, "case": f"c{i}", "seed": 0, "flicker": math.exp(v), "motion_top5": 20.0}
        for i, effect in enumerate(values)
        for arm, v in (("base", 0.0), ("A", effect))
    ]
    found = compare_study(table(rows), protocol())
    assert found.arms[0].p_sign_flip == pytest.approx(4 / 64)
    assert "A test that assumes no distribution does not find it (p = 0.06)" in " ".join(
        comparison_sentences(found)
    )


def aside(flicker, warp, motion=0.0):
    """What is said of an arm that multiplies flicker, warp and motion by about e to these."""
    rows = [
        {
            "arm": arm,
            "case": f"c{i}",
            "seed": 0,
            "flicker": math.exp(i + there * flicker * (1 + 0.1 * i)),
            "warp": math.exp(i + there * warp * (1 + 0.1 * i)),
            "motion_top5": 20 * math.exp(there * motion * (1 + 0.1 * i)),
        }
        for i in range(4)
        for arm, there in (("base", 0), ("A", 1))
    ]
    return said(table(rows))[0]


def test_a_winner_that_seems_worse_otherwise_is_said_to_be():
    assert aside(-1, 1).endswith(
        " Not tested, but look at warp (2.6 times as high to 3.9 times as high)."
    )


@pytest.mark.parametrize(
    ("flicker", "warp", "motion"), [(-1, 0, 0), (-1, -1, 0), (1, 1, 0), (-1, 0, -0.05)]
)
def test_only_what_a_winner_loses_beside_motion_is_worth_a_look(flicker, warp, motion):
    assert "Not tested" not in aside(flicker, warp, motion)


def test_confirmation_is_said_for_what_it_was_on():
    gains = {"base": 0.0, "A": -0.6}
    study = drawn(gains, cases=10, held=range(5, 10), spread=0.1)
    assert scope_sentence(compare_study(study, protocol())).startswith(
        "A is confirmed on held-back cases (flicker is 50 % lower"
    )
    chosen = drawn(gains, cases=5, spread=0.1)
    chance = compare_study(chosen, protocol(), drawn({"base": 0.0, "A": 0.0}, first_case=90))
    assert scope_sentence(chance).endswith("it may have won by chance.")
    still = drawn(gains, first_case=90, motion={"A": -0.4})
    frozen = compare_study(chosen, protocol(), still)
    assert scope_sentence(frozen).endswith("motion is lost.")
    kept = drawn(gains, held=range(12), spread=0.1)
    assert "kept back while choosing" in scope_sentence(compare_study(kept, protocol()))


def test_stopping_early_is_said_in_model_calls():
    arms = {"base": 0.0, "A": -2.0}
    last = said(drawn(arms, done=6), protocol(looks=(6,)))[-1]
    assert last == (
        "All comparisons were decided at 6 of 12 cases: what is left need not run, which saves"
        " 1,200 model calls."
    )
    assert said(drawn(arms), protocol(looks=(6,)))[-1].endswith(
        "the 1,200 model calls after it were not needed for the verdict."
    )
