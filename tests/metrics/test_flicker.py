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


def both(frames):
    found = measure(frames, frames[0], FPS, ["flicker", "local_flicker"])
    return number(found["flicker"]), number(found["local_flicker"])


def lit(frames, gains):
    """The frames with a gain (T, 8, 8) for each of 8 × 8 parts."""
    size = frames.shape[1] // gains.shape[1]
    field = np.kron(gains, np.ones((size, size)))[..., None]
    return np.clip(np.rint(frames * 0.6 * field), 0, 255).astype(np.uint8)


def test_parts_that_flicker_by_themselves_are_local_flicker_alone():
    draw = 0.03 * np.random.default_rng(0).standard_normal((9, 8, 8))
    draw -= draw.mean(axis=(1, 2), keepdims=True)
    by_hand = 100 * np.sqrt(np.square(np.diff(draw, 2, axis=0)).mean() / 6)
    whole, local = both(lit(clip("coffee", count=9, hold=0.0), 1 + draw))
    assert local == pytest.approx(by_hand, rel=0.2)  # the parts' edges are smoothed
    assert whole < 0.3 * local


def test_flicker_of_the_whole_frame_is_the_same_in_every_part():
    draw = 0.03 * np.random.default_rng(1).standard_normal((9, 1, 1)) * np.ones((9, 8, 8))
    whole, local = both(lit(clip("coffee", count=9), 1 + draw))
    assert local == pytest.approx(whole, rel=0.05)


def test_frames_too_small_for_parts_have_one():
    frames = lit(clip("coffee", count=5, hold=0.0)[:, :16, :16], np.ones((5, 1, 1)))
    whole, local = both(frames)
    assert local == whole == 0.0
