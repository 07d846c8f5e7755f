import cv2
import numpy as np
import pytest

from tests.metrics.clips import clip, entries, flickering, number, realised_flicker
from wanexp.metrics import measure

FPS = 16.0


def flicker(frames):
    return number(measure(frames, frames[0], FPS, ["flicker"])["flicker"])


def test_known_gains_of_a_still_picture_give_the_hand_computed_value():
    picture = clip("coffee", count=1)[0] * 0.6
    gains = np.array([1.0, 1.1, 1.0, 1.2, 1.1])
    frames = np.rint(picture * gains[:, None, None, None]).astype(np.uint8)
    # Log gains 0, .0953, 0, .1823, .0953; second differences -.1906, .2776, -.2693.
    assert flicker(frames) == pytest.approx(100 * np.sqrt(0.18592 / 3 / 6), rel=0.01)
    series = entries(measure(frames, frames[0], FPS, ["flicker"])["flicker"])
    assert series == pytest.approx((7.782, 11.334, 10.996), rel=0.01)


@pytest.mark.parametrize("sigma", [0.005, 0.02, 0.08])
def test_it_reads_the_realised_draw_while_the_camera_moves(sigma):
    gain = sigma * flickering(5)
    frames = clip("chelsea", gain=gain)
    assert flicker(frames) == pytest.approx(realised_flicker(gain), rel=0.02)


def test_a_fade_and_a_sunset_are_not_flicker():
    fade = np.linspace(-0.7, 0.0, 13)
    assert flicker(clip("coffee", count=13, gain=fade)) < 0.05


def test_motion_alone_is_not_flicker():
    assert flicker(clip("coffee", pan=(3.0, 1.0))) < 0.02


def test_clipped_highlights_do_not_dilute_it():
    gain = 0.06 * flickering(2, 9)
    dim = clip("motorcycle", count=9, gain=gain)
    bright = clip("motorcycle", count=9, gain=gain + 0.5)
    assert (bright.max(-1) >= 254).mean() > 0.15
    assert flicker(bright) == pytest.approx(flicker(dim), rel=0.04)


def test_a_dark_corner_decides_nothing():
    frames = clip("coffee", count=7)
    frames[:, :, :40] = 0
    frames[1::2, :, :40] = 3  # a tripled gain, of next to nothing
    assert flicker(frames) < 0.05


def test_repeated_frames_change_nothing_in_brightness():
    gain = 0.02 * flickering(1, 6)
    frames = np.repeat(clip("coffee", count=6, gain=gain), 2, axis=0)
    held = np.repeat(gain, 2)
    assert flicker(frames) == pytest.approx(realised_flicker(held), rel=0.02)


def test_a_global_gain_is_found_behind_blur():
    gain = 0.02 * flickering(3, 7)
    frames = [cv2.GaussianBlur(f, (0, 0), 2.0) for f in clip("coffee", count=7, gain=gain)]
    assert flicker(np.stack(frames)) == pytest.approx(realised_flicker(gain), rel=0.03)
