"""What a rater is shown, and in which order."""

from collections import Counter

import pytest

from analysis.load import load_study
from tests.report.studies import make_numbered_study
from wanexp.rating.pairs import draw_pairs

CASES = ("astronaut", "coffee", "brick", "rocket", "cell")
ARMS = ("baseline", "A", "C")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("rated") / "studies" / "ab"
    return make_numbered_study(root, arms=ARMS, cases=CASES, seeds=(0, 1))


def drawn(study, rater="anna"):
    return draw_pairs(study, load_study(study.root), rater)


def test_every_two_arms_meet_once_in_every_case_and_seed(study):
    pairs = drawn(study)
    assert len(pairs) == 3 * len(CASES) * 2
    assert len({pair.key for pair in pairs}) == len(pairs)


def test_a_rater_sees_the_same_order_again_and_another_one_another(study):
    assert drawn(study) == drawn(study)
    assert [p.key for p in drawn(study)] != [p.key for p in drawn(study, "ben")]


def test_whoever_stops_early_has_seen_all_arms_about_equally_often(study):
    for few in (3, 6, 9, 15):
        met = Counter(frozenset((p.left.arm, p.right.arm)) for p in drawn(study)[:few])
        assert set(met.values()) == {few // 3}


def test_no_arm_keeps_to_one_side(study):
    sides = Counter(p.left.arm for rater in ("a", "b", "c", "d") for p in drawn(study, rater))
    assert all(0.3 < sides[arm] / (2 * 4 * 20 / 2) < 0.7 for arm in ARMS)


def test_a_video_that_is_gone_is_not_shown(study):
    lost = drawn(study)[0]
    video = study.trial(lost.left.digest).video
    moved = video.rename(video.with_suffix(".away"))
    try:
        keys = {pair.key for pair in drawn(study)}
    finally:
        moved.rename(video)
    assert lost.key not in keys
    assert len(keys) == 3 * len(CASES) * 2 - 2
