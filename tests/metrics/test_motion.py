import numpy as np
import pytest

from tests.metrics.clips import clip, entries, flickering, number
from wanexp.metrics import measure

NAMES = ["motion", "motion_top5"]


def motion(frames, fps=16.0):
    return measure(frames, frames[0], fps, NAMES)


def test_a_pan_moves_at_its_speed_in_percent_of_the_smaller_side_per_second():
    frames = clip("coffee", count=5, pan=(3.0, 4.0))[:, :, :96]
    for one in motion(frames).values():
        assert number(one) == pytest.approx(100 * 5.0 * 16 / 96, rel=0.02)
        assert entries(one) == pytest.approx([number(one)] * 4, rel=0.02)


def test_speed_is_per_second():
    frames = clip("coffee", count=4)
    slow, fast = motion(frames, 8.0), motion(frames, 24.0)
    for name in NAMES:
        assert number(fast[name]) == pytest.approx(3 * number(slow[name]))


@pytest.mark.parametrize("hold", [0.25, 0.5])
def test_slowing_everything_down_slows_the_reading_down(hold):
    full = motion(clip("motorcycle", count=5, pan=(2.0, 1.0)))
    slowed = motion(clip("motorcycle", count=5, pan=(2.0, 1.0), hold=hold))
    for name in NAMES:
        assert number(slowed[name]) == pytest.approx(hold * number(full[name]), rel=0.12)


def test_a_small_fast_thing_is_in_the_top_five_percent_and_not_in_the_median():
    frames = np.repeat(clip("coffee", count=1), 5, axis=0)
    patch = clip("motorcycle", count=1, size=32)[0]
    for t, frame in enumerate(frames):
        frame[48:80, 10 + 5 * t : 42 + 5 * t] = patch
    found = motion(frames)
    assert number(found["motion"]) < 1.0
    assert number(found["motion_top5"]) == pytest.approx(100 * 5.0 * 16 / 128, rel=0.1)


def test_flicker_is_not_motion():
    clean = motion(clip("coffee", count=6))
    for name, one in motion(clip("coffee", count=6, gain=0.05 * flickering(0, 6))).items():
        assert number(one) == pytest.approx(number(clean[name]), rel=0.1)
