import numpy as np
import pytest

from tests.metrics.clips import clip, entries, flickering, number
from wanexp.metrics import measure

FPS = 16.0
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


def grainy(frames, levels):
    random = np.random.default_rng(0)
    noisy = frames + levels * random.standard_normal(frames.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("scene", ["astronaut", "coffee"])
@pytest.mark.parametrize("levels", [1, 3, 10])
def test_grain_on_a_still_is_no_motion(scene, levels):
    frames = grainy(clip(scene, count=5, hold=0.0), levels)
    one = measure(frames, frames[0], FPS, ["motion_top5"])["motion_top5"]
    assert number(one) < 0.5
    assert one.extras["static"] == 1.0


def test_a_slow_pan_is_motion_with_grain_and_without():
    frames = clip("coffee", count=5, pan=(0.5, 0.0))
    for levels in (0, 3):
        shown = grainy(frames, levels)
        one = measure(shown, shown[0], FPS, ["motion_top5"])["motion_top5"]
        assert number(one) == pytest.approx(100 * FPS * 0.5 / 128, rel=0.35)
        assert one.extras["static"] == 0.0


def test_the_extras_tell_the_camera_from_what_moves_against_it():
    frames = clip("coffee", count=5, pan=(1.0, 0.0))
    panned = measure(frames, frames[0], FPS, ["motion_top5"])["motion_top5"].extras
    assert panned["camera"] == pytest.approx(100 * FPS / 128, rel=0.05)
    assert panned["things"] < 0.1 * panned["camera"]
    still = clip("coffee", count=5, hold=0.0)
    thing = clip("motorcycle", count=1)[0]
    for t in range(5):
        still[t, 40:80, 30 + 2 * t : 70 + 2 * t] = thing[:40, :40]
    moved = measure(still, still[0], FPS, ["motion_top5"])["motion_top5"].extras
    assert moved["camera"] < 0.05 * moved["things"]
    assert moved["things"] == pytest.approx(100 * FPS * 2 / 128, rel=0.05)
