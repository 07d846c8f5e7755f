import math

import pytest

from analysis.effects import Scale
from analysis.verdict import Effect, Evidence, MotionState, Ruling, margin_on, motion_state, rule

LOWER = Scale(kind="ratio", better=-1)


def effect(low=-0.5, high=-0.1, cases=12, scale=LOWER, static=0, tested=True):
    return Effect(
        metric="flicker",
        scale=scale,
        mean=(low + high) / 2,
        low=low if tested else None,
        high=high if tested else None,
        p=0.01 if tested else None,
        spread=0.2,
        cases=cases,
        pairs=2 * cases,
        asked=2 * cases,
        undefined=0,
        static=static,
    )


def ruled(
    found: Effect,
    p: float | None = 0.01,
    motion: MotionState = "kept",
    motion_needed: int | None = None,
    needed: int | None = 9,
    next_look: int | None = None,
) -> Ruling:
    return rule(
        Evidence(
            effect=found,
            p=p,
            motion=motion,
            motion_needed=motion_needed,
            margin=0.2,
            needed=needed,
            next_look=next_look,
        )
    )


def test_a_gain_counts_where_motion_is_kept():
    assert ruled(effect()) == Ruling(verdict="better", reason="gain")
    assert ruled(effect(), motion="itself").verdict == "better"


def test_a_loss_needs_no_motion():
    states: tuple[MotionState, ...] = ("kept", "lost", "unclear", "unmeasured")
    for motion in states:
        found = ruled(effect(0.1, 0.5), motion=motion)
        assert found == Ruling(verdict="worse", reason="loss")


def test_higher_is_a_gain_where_higher_is_better():
    higher = Scale(kind="ratio", better=1)
    assert ruled(effect(0.1, 0.5, scale=higher)).verdict == "better"
    assert ruled(effect(scale=higher)).verdict == "worse"


def test_a_gain_that_loses_motion_is_worse():
    assert ruled(effect(), motion="lost") == Ruling(verdict="worse", reason="motion lost")


def test_a_gain_whose_motion_is_unclear_waits_for_the_cases_that_would_clear_it():
    found = ruled(effect(), motion="unclear", motion_needed=30)
    assert found == Ruling(verdict="too few pairs", reason="motion unclear", needed=30)
    assert ruled(effect(), motion="unclear", next_look=12).needed == 12


def test_a_gain_whose_motion_no_number_of_cases_would_clear_does_not_count():
    found = ruled(effect(), motion="unclear")
    assert found == Ruling(verdict="no difference found", reason="motion doubtful")
    assert ruled(effect(), motion="unmeasured").reason == "motion unmeasured"


def test_an_interval_inside_the_margin_rules_a_difference_out_at_any_look():
    found = ruled(effect(-0.1, 0.19), p=0.4, needed=100, next_look=20)
    assert found == Ruling(verdict="no difference found", reason="within")
    assert ruled(effect(-0.1, 0.21), p=0.4, needed=100).reason == "power"
    assert ruled(effect(-0.21, 0.1), p=0.4, needed=100).reason == "power"


def test_what_the_cases_could_not_have_shown_is_too_few_pairs():
    found = ruled(effect(-0.3, 0.3), p=0.9, needed=13)
    assert found == Ruling(verdict="too few pairs", reason="power", needed=13)
    assert ruled(effect(-0.3, 0.3), p=0.9, needed=12).reason == "powered"
    assert ruled(effect(-9, 9), p=0.9, needed=None).verdict == "too few pairs"


def test_an_open_question_waits_for_the_next_look():
    found = ruled(effect(-0.3, 0.3), p=0.9, needed=4, next_look=18)
    assert found == Ruling(verdict="too few pairs", reason="look", needed=18)


def test_nothing_is_claimed_on_fewer_than_four_cases():
    few = effect(cases=3, tested=False)
    assert ruled(few, p=None, needed=2) == Ruling(verdict="too few pairs", reason="cases", needed=4)
    assert ruled(few, p=None, needed=40, next_look=6).needed == 40
    assert ruled(few, p=None, needed=2, next_look=6).needed == 6
    assert ruled(few, p=None, needed=None).needed == 4


def test_an_arm_of_stills_is_worse_and_not_unknown():
    stills = effect(cases=0, tested=False, static=24)
    assert ruled(stills, p=None, motion="lost").reason == "motion lost"
    no_faces = effect(cases=2, tested=False)
    assert ruled(no_faces, p=None, motion="lost").reason == "cases"


@pytest.mark.parametrize(
    ("low", "high", "state"),
    [
        (-0.10, 0.3, "kept"),
        (-0.11, 0.3, "unclear"),
        (-0.5, -0.10, "unclear"),
        (-0.5, -0.11, "lost"),
    ],
)
def test_motion_is_kept_where_all_of_its_interval_is(low, high, state):
    assert motion_state(effect(low, high, scale=Scale(kind="ratio", better=1)), 0.1) == state


def test_motion_that_is_not_measured_or_not_tested_is_not_kept():
    assert motion_state(None, 0.1) == "unmeasured"
    assert motion_state(effect(tested=False), 0.1) == "unclear"


def test_a_margin_is_a_share_of_less():
    assert margin_on(LOWER, 0.2) == pytest.approx(math.log(1 / 0.8))
    assert margin_on(Scale(kind="distance", better=-1), 0.1) == 0.1
