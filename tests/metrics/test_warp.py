import cv2
import numpy as np
import pytest

from tests.metrics.clips import Fault, clip, number, shaking, swimming
from wanexp.metrics import measure

FPS = 16.0


def warp(frames):
    return number(measure(frames, frames[0], FPS, ["warp"])["warp"])


def bend(count, size=128, power=1.0):
    """A wide bend of the picture that grows with the time to this power, (T, S, S, 2), px."""
    y, x = np.mgrid[0:size, 0:size] / size * 2 * np.pi
    shape = np.stack([np.sin(y), np.sin(x)], axis=-1)
    return shape[None] * (np.arange(count) ** power)[:, None, None, None]


def test_the_camera_is_not_warping():
    cameras: list[Fault] = [{"pan": (3.0, 1.0)}, {"zoom": 1.015}, {"shake": shaking(0, 9)}]
    for camera in cameras:
        assert warp(clip("coffee", count=9, **camera)) < 0.03


def test_steady_bending_is_not_warping():
    steady = warp(clip("coffee", count=9, swim=0.3 * bend(9)))
    shaking_bend = 0.3 * bend(9) * np.where(np.arange(9) % 2, 1, -1)[:, None, None, None]
    assert steady < 0.05
    assert warp(clip("coffee", count=9, swim=shaking_bend)) > 10 * steady


def test_steady_bending_is_followed_when_the_camera_pans():
    y, x = np.mgrid[0:128, 0:128].astype(float)
    waves = [np.sin(2 * np.pi * (x + 10.0 * t) / 32) for t in range(6)]
    swim = np.stack([np.stack([0 * y, 0.5 * t * wave], -1) for t, wave in enumerate(waves)])
    frames = clip("motorcycle", count=6, pan=(10.0, 0.0), swim=swim, at=(200, 100))
    assert warp(frames) < 0.03  # looked at in one place, the waves would read 0.126


def test_an_alternating_bend_gives_the_computed_value():
    swim = 0.5 * bend(8, power=0.0) * np.where(np.arange(8) % 2, 1, -1)[:, None, None, None]
    # A frame's displacement is ±0.5·sin on each axis: |second difference|² = 4 (sin² y + sin² x),
    # of which the largest tenth is left out.
    y, x = np.mgrid[0:128, 0:128] / 128 * 2 * np.pi
    square = np.sort((4 * (np.sin(y) ** 2 + np.sin(x) ** 2)).ravel())
    expected = np.sqrt(square[: int(0.9 * len(square))].mean() / 12)
    assert warp(clip("coffee", count=8, swim=swim)) == pytest.approx(expected, rel=0.1)


def test_an_object_in_steady_motion_is_not_warping():
    frames = clip("coffee", count=9).copy()
    ball = clip("motorcycle", count=1, size=32)[0]
    inside = np.hypot(*(np.mgrid[0:32, 0:32] - 15.5)) < 14
    for t, frame in enumerate(frames):
        frame[50:82, 20 + 3 * t : 52 + 3 * t][inside] = ball[inside]
    assert warp(frames) < 0.05


@pytest.mark.parametrize("level", [0.25, 1.0])
def test_it_reads_about_three_quarters_of_smooth_swimming(level):
    swim = swimming(4, 9, size=192)
    read = warp(clip("motorcycle", count=9, size=192, fine=1, swim=level * swim))
    assert 0.68 < read / level < 0.85


def test_brightness_and_blur_are_not_warping():
    clean = warp(clip("coffee", count=9))
    gain = np.where(np.arange(9) % 2, 0.0, -0.05)
    assert warp(clip("coffee", count=9, gain=gain)) < clean + 0.02
    frames = np.stack([cv2.GaussianBlur(f, (0, 0), 2.0) for f in clip("coffee", count=9)])
    assert warp(frames) < clean + 0.02


@pytest.mark.parametrize("scene", ["coffee", "chelsea", "motorcycle"])
def test_grain_is_hardly_warping(scene):
    """Scenes other than those that the correction was measured on; 20 grey levels of grain."""
    swum = warp(clip(scene, count=9, swim=swimming(4, 9)))
    grainy = warp(clip(scene, count=9, noise=20 / 255))
    assert grainy < warp(clip(scene, count=9)) + 0.1 * swum


def test_swimming_is_seen_through_grain():
    swim = 0.3 * swimming(4, 9)  # a correction ten times too large takes two fifths of so little
    clean, grainy = (warp(clip("coffee", count=9, swim=swim, noise=n)) for n in (0, 10 / 255))
    assert grainy == pytest.approx(clean, rel=0.15)


def test_one_flow_that_breaks_counts_once():
    """The step from a sharp first frame to soft ones, which every video of a soft model takes."""
    frames = clip("coffee", count=12)
    soft = np.stack([frames[0], *(cv2.GaussianBlur(f, (0, 0), 2.0) for f in frames[1:])])
    one = measure(soft, soft[0], FPS, ["warp"])["warp"]
    assert one.per_frame is not None
    jump, *rest = [entry for entry in one.per_frame if entry is not None]
    assert number(one) == pytest.approx((jump + sum(rest)) / (1 + len(rest)))
    assert number(one) < np.sqrt((jump**2 + np.square(rest).sum()) / (1 + len(rest)))


def with_thing(rough, count=9, size=128):
    """A still with a textured square that crosses it, its own texture swimming by ``rough`` px."""
    frames = clip("coffee", count=count, size=size, hold=0.0)
    swim = rough * swimming(0, count, size, reach=5.0) if rough else None
    thing = clip("motorcycle", count=count, size=size, hold=0.0, swim=swim)
    for t in range(count):
        at = 20 + 2 * t
        frames[t, 30:100, at : at + 70] = thing[t, 30:100, 30:100]
    return frames


def test_background_warp_leaves_out_what_moves_by_itself():
    rough = with_thing(2.0)
    found = measure(rough, rough[0], FPS, ["warp", "background_warp"])
    smooth = with_thing(0.0)
    calm = measure(smooth, smooth[0], FPS, ["warp", "background_warp"])
    rise = number(found["warp"]) - number(calm["warp"])
    assert rise > 0.05
    assert number(found["background_warp"]) - number(calm["background_warp"]) < 0.3 * rise


def test_background_warp_is_warp_where_nothing_moves_by_itself():
    frames = clip("coffee", count=7, swim=0.3 * swimming(1, 7))
    found = measure(frames, frames[0], FPS, ["warp", "background_warp"])
    assert number(found["background_warp"]) == pytest.approx(number(found["warp"]), rel=0.05)
