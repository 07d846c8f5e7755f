import numpy as np
import pytest

from tests.metrics.clips import clip, entries, number, realised_jitter, shaking, swimming
from wanexp.metrics import measure
from wanexp.metrics.jitter import APART, CELLS, Jerk, _far_apart, _jerk, deviation

FPS = 16.0


def reading(frames):
    return measure(frames, frames[0], FPS, ["jitter"])["jitter"]


def jitter(frames):
    return number(reading(frames))


def test_one_jolt_gives_the_hand_computed_value():
    shake = np.zeros((9, 2))
    shake[4] = (2.0, 0.0)
    found = reading(clip("coffee", count=9, pan=(0.0, 0.0), shake=shake))
    # Third differences of the place: 2, -6, 6, -2, and nothing before and after.
    assert number(found) == pytest.approx(np.sqrt((4 + 36 + 36 + 4) / 6 / 40), rel=0.01)
    assert entries(found)[1:5] == pytest.approx(np.array([2, 6, 6, 2]) / np.sqrt(40), rel=0.02)


def test_it_is_the_same_in_both_directions():
    across, down = np.zeros((2, 9, 2))
    across[4, 0] = down[4, 1] = 1.5
    one, other = (jitter(clip("coffee", count=9, shake=shake)) for shake in (across, down))
    assert one == pytest.approx(other, rel=0.03)


@pytest.mark.parametrize("sigma", [0.25, 1.0, 3.0])
def test_it_reads_the_realised_draw(sigma):
    shake = sigma * shaking(7)
    read = jitter(clip("motorcycle", shake=shake))
    assert read == pytest.approx(realised_jitter(shake), rel=0.02)


def test_constant_speed_and_constant_acceleration_are_not_jitter():
    accelerating = np.stack([0.1 * np.arange(13.0) ** 2, np.zeros(13)], axis=-1)
    assert jitter(clip("coffee", count=13, pan=(2.0, 1.0))) < 0.03
    assert jitter(clip("coffee", count=13, pan=(0.0, 0.0), shake=accelerating)) < 0.04


def test_a_zoom_is_not_jitter():
    assert jitter(clip("coffee", count=9, zoom=1.02)) < 0.02


def test_judder_is_jitter():
    smooth = clip("coffee", count=13, pan=(2.0, 0.0))
    held = smooth[np.arange(13) // 3 * 3]
    assert jitter(held) > 0.4


@pytest.mark.parametrize("part", ["zoom", "turn"])
def test_a_zoom_and_a_turn_that_shake_are_not_jitter_and_do_not_hide_it(part):
    y, x = np.mgrid[0:128, 0:128] - 63.5
    field = np.stack([x, y] if part == "zoom" else [-y, x], axis=-1)
    swim = 0.02 * np.random.default_rng(8).standard_normal(13)[:, None, None, None] * field
    shake = 0.5 * shaking(3, 13)
    assert jitter(clip("coffee", count=13, swim=swim)) < 0.05
    both = jitter(clip("coffee", count=13, swim=swim, shake=shake))
    assert both == pytest.approx(realised_jitter(shake), rel=0.05)


def test_shaking_is_found_behind_swimming():
    shake = 0.5 * shaking(3)
    swim = 0.5 * swimming(3, reach=7.0)
    read = jitter(clip("coffee", shake=shake, swim=swim))
    assert read == pytest.approx(realised_jitter(shake), rel=0.1)


def test_swimming_that_shares_nothing_still_reads_as_movement():
    found = jitter(clip("coffee", count=9, swim=swimming(1, 9)))
    assert 0.0 < found < 0.25


def test_a_jerk_that_parts_share_less_than_none_of_counts_a_hundredth():
    jerks = [Jerk(whole=4.0, shared=-3.0), Jerk(whole=4.0, shared=1.0)]
    assert deviation(jerks) == pytest.approx(np.sqrt(0.04 / 40))
    assert deviation([Jerk(whole=4.0, shared=1.0)]) == pytest.approx(np.sqrt(1 / 40))


def test_parts_that_shake_each_by_itself_are_not_a_shaking_camera():
    rng = np.random.default_rng(0)
    mass = np.ones(CELLS**2)
    shared = []
    for _ in range(200):
        jerk = _jerk([(rng.standard_normal((CELLS**2, 2)), mass) for _ in range(3)])
        assert jerk is not None
        shared.append(jerk.shared)
    # Each part's own jerk has a power of 2 axes x 6.
    assert abs(np.mean(shared)) < 0.02 * 12


def test_a_shift_of_all_parts_counts_in_full_whatever_their_weights():
    rng = np.random.default_rng(1)
    still = np.zeros((CELLS**2, 2))
    moved = np.full((CELLS**2, 2), (0.3, -0.4))
    masses = rng.uniform(0.1, 1.0, (3, CELLS**2))
    jerk = _jerk(list(zip((still, moved, still), masses, strict=True)))
    assert jerk is not None
    assert (jerk.shared, jerk.whole) == pytest.approx((1.0, 1.0))


def test_texture_in_one_place_alone_is_still_measured():
    mass = np.zeros(CELLS**2)
    mass[7] = 1.0
    moved = np.full((CELLS**2, 2), (0.3, -0.4))
    shifts = [(0 * moved, mass), (moved, mass), (0 * moved, mass)]
    jerk = _jerk(shifts)
    assert jerk is not None
    assert jerk.shared == pytest.approx(1.0)
    assert _jerk([None, *shifts[1:]]) is None


def test_only_parts_with_another_between_them_are_compared():
    far = _far_apart().reshape(CELLS, CELLS, CELLS, CELLS)
    assert not far[2, 2, 1:4, 1:4].any()
    assert far[2, 2, 0].all()
    assert far[2, 2, 2, 2 + APART]
