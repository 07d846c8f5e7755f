"""Grain: how much there is, and how much of it is the source's own."""

import numpy as np
import pytest

from tests.metrics.clips import clip, number, why
from wanexp.metrics import measure
from wanexp.metrics.noise import grain

FPS = 16.0


def grainy(frames, levels):
    random = np.random.default_rng(0)
    noisy = frames + levels * random.standard_normal(frames.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("levels", [1.0, 3.0, 10.0, 25.0])
def test_grain_is_the_deviation_of_noise_on_a_slope(levels):
    slope = np.linspace(90, 160, 200)[None, :, None] * np.ones((200, 200, 3))
    assert grain(grainy(slope, levels)) == pytest.approx(levels, rel=0.06)


def test_one_colour_has_no_grain():
    assert grain(np.full((20, 20, 3), 7, np.uint8)) < 0.1


@pytest.mark.parametrize("scene", ["coffee", "chelsea"])
def test_noise_reads_what_was_added_to_the_source(scene):
    frames = clip(scene, count=4)
    noisy = grainy(frames, 8.0)
    noisy[0] = frames[0]
    found = measure(noisy, frames[0], FPS, ["noise"])["noise"]
    assert found.per_frame is not None
    assert found.per_frame[0] == 0.0
    for entry in found.per_frame[1:]:
        assert entry == pytest.approx(8.0, rel=0.2)


def test_the_sources_own_grain_is_not_noise():
    source = grainy(clip("coffee", count=1), 6.0)[0]
    assert number(measure(np.stack([source] * 3), source, FPS, ["noise"])["noise"]) == 0.0


def test_very_small_frames_have_no_noise_to_tell():
    frames = np.zeros((3, 6, 40, 3), np.uint8)
    assert "too small to tell noise" in why(measure(frames, frames[0], FPS, ["noise"])["noise"])
