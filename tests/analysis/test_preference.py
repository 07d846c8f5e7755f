"""Votes → scores, agreement and each metric's eye, on votes whose truth is known."""

import numpy as np
import pytest
from scipy.special import expit, logit

from analysis.load import load_study
from analysis.preference import Vote, agreements, preferences, sights, strengths
from tests.report.studies import make_numbered_study


def vote(better, *, arms=("A", "base"), case="c0", rater="anna", question="overall", seed=0):
    return Vote(
        rater=rater, question=question, case=case, seed=seed, arms=tuple(sorted(arms)),
        better=better,
    )  # fmt: skip


def drawn(chance, cases, a_case, spread, random):
    """Votes between two arms; pictures differ in how much better A is on them."""
    votes = []
    for case in range(cases):
        own = expit(logit(chance) + spread * random.normal())
        votes += [
            vote("A" if random.random() < own else "base", case=f"c{case}", seed=k)
            for k in range(a_case)
        ]
    return votes


def test_two_arms_score_as_their_votes_say():
    votes = [vote("A")] * 30 + [vote("base")] * 10
    first, second = strengths(votes, ["A", "base"])
    assert first - second == pytest.approx(np.log(3), abs=0.12)
    assert first == pytest.approx(-second)


def test_scores_satisfy_the_likelihoods_own_equations():
    random = np.random.default_rng(0)
    arms = ["A", "B", "C", "D"]
    votes = []
    for _ in range(200):
        pair = sorted(random.choice(arms, 2, replace=False))
        sides = [*pair, None]
        votes.append(vote(sides[random.choice(3, p=[0.5, 0.3, 0.2])], arms=pair))
    score = dict(zip(arms, strengths(votes, arms), strict=True))
    for arm in arms:
        mine = [v for v in votes if arm in v.arms]
        won = 0.5 + sum(1.0 if v.better == arm else 0.5 if v.better is None else 0 for v in mine)
        others = [next(a for a in v.arms if a != arm) for v in mine]
        expected = sum(expit(score[arm] - score[other]) for other in others)
        assert won == pytest.approx(expected + expit(score[arm]), rel=1e-6)


def test_an_arm_that_won_every_vote_has_a_finite_score():
    (best, base) = preferences([vote("A", case=f"c{k}") for k in range(6)], "overall", "base")
    assert (best.arm, best.won, best.lost) == ("A", 6, 0)
    assert 0.9 < best.chance < 1
    assert base.chance == 0.5 and base.interval is None


def test_only_ties_leave_everything_open():
    rows = preferences([vote(None, case=f"c{k}") for k in range(6)], "overall", "base")
    assert all(row.chance == pytest.approx(0.5) for row in rows)
    assert all(row.same == 6 for row in rows)


def test_votes_on_few_pictures_give_no_interval():
    votes = [vote("A", case=f"c{k % 3}") for k in range(40)]
    assert preferences(votes, "overall", "base")[0].interval is None


def test_a_question_that_nobody_answered_has_no_preferences():
    assert preferences([vote("A")], "motion", "base") == []


@pytest.mark.parametrize(("cases", "a_case"), [(6, 6), (12, 4)])
def test_intervals_hold_the_truth_as_often_as_they_say(cases, a_case):
    random = np.random.default_rng(cases)
    chance, spread = 0.65, 0.8
    many = expit(logit(chance) + spread * random.normal(size=200_000)).mean()
    held = 0
    for _ in range(600):
        rows = preferences(drawn(chance, cases, a_case, spread, random), "overall", "base")
        interval = next(row for row in rows if row.arm == "A").interval
        assert interval is not None
        held += interval[0] <= many <= interval[1]
    assert held / 600 >= 0.93


def test_raters_who_say_the_same_agree_and_chance_is_taken_off():
    pairs = [("A", "A"), ("base", "base"), ("A", "A"), (None, None), ("A", "base")]
    votes = []
    for k, (one, two) in enumerate(pairs):
        votes += [vote(one, case=f"c{k}"), vote(two, case=f"c{k}", rater="ben")]
    (found,) = agreements(votes)
    assert (found.raters, found.votes, found.share) == (("anna", "ben"), 5, 0.8)
    by_chance = (0.6 * 0.4) + (0.2 * 0.4) + (0.2 * 0.2)
    assert found.kappa == pytest.approx((0.8 - by_chance) / (1 - by_chance))


def test_cohens_kappa_is_that_of_statsmodels():
    from statsmodels.stats.inter_rater import cohens_kappa

    random = np.random.default_rng(3)
    table, votes = np.zeros((3, 3)), []
    for k in range(80):
        one, two = random.integers(0, 3, 2) if k % 2 else [k % 3, k % 3]
        table[one, two] += 1
        sides = ["A", "base", None]
        votes += [vote(sides[one], case=f"c{k}"), vote(sides[two], case=f"c{k}", rater="ben")]
    (found,) = agreements(votes)
    assert found.kappa == pytest.approx(cohens_kappa(table, return_results=False))


def test_raters_of_different_pairs_are_not_compared():
    assert agreements([vote("A"), vote("A", case="c1", rater="ben")]) == []


def test_a_metric_that_people_follow_sees_as_they_do(tmp_path):
    cases = ("astronaut", "coffee", "brick", "rocket", "cell")
    table = load_study(make_numbered_study(tmp_path / "studies" / "ab", cases=cases).root)
    votes = [
        vote(better, arms=("A", "baseline"), case=case)
        for case in cases
        for better in ("A", "A", "A", "baseline", None)  # A flickers less in every case
    ]
    found = {sight.metric: sight for sight in sights(votes, table)}
    assert found["flicker"].votes == 20
    assert found["flicker"].share == pytest.approx(0.75)
    assert found["flicker"].tau == pytest.approx(0.5)
    assert found["motion_top5"].share == 0.5  # the same for all: it sees nothing
    assert found["face_detail"].votes == 16  # undefined where there is no face
