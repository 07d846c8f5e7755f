"""Warping error and VBench's flickering: right by hand, and wrong as they are known to be."""

import numpy as np
import pytest

from tests.metrics.clips import clip, flickering, number, shaking, why
from wanexp.metrics import METRICS, measure

FPS = 16.0
NAMES = ("ewarp", "vbench_temporal_flickering")


def values(frames):
    return {name: number(one) for name, one in measure(frames, frames[0], FPS, NAMES).items()}


def test_both_are_kept_for_comparison_and_nothing_else_is():
    assert {name for name, metric in METRICS.items() if metric.literature} == set(NAMES)


def test_a_step_in_brightness_reads_as_by_hand():
    frames = np.repeat(clip("coffee", count=1) // 2 + 40, 2, 0)
    frames[1] += 10
    found = values(frames)
    assert found["ewarp"] == pytest.approx((10 / 255) ** 2, rel=0.02)
    assert found["vbench_temporal_flickering"] == pytest.approx(1 - 10 / 255)


def test_vbench_wraps_no_bytes():
    frames = np.array([100, 110, 100], np.uint8)[:, None, None, None] * np.ones((3, 8, 8, 3))
    one = measure(frames.astype(np.uint8), frames[0].astype(np.uint8), FPS, NAMES[1:])
    assert number(one["vbench_temporal_flickering"]) == pytest.approx(1 - 10 / 255)


def test_a_still_is_perfect_by_both_and_a_perfect_pan_is_not():
    still = values(clip("coffee", count=5, hold=0.0))
    assert still == {"ewarp": 0.0, "vbench_temporal_flickering": 1.0}
    assert values(clip("coffee", count=5, pan=(3, 1)))["vbench_temporal_flickering"] < 0.97


def test_shaking_hides_from_the_warping_error_and_exposure_does_not():
    clean = values(clip("astronaut", count=8))["ewarp"]
    shaken = values(clip("astronaut", count=8, shake=shaking(0, 8)))["ewarp"]
    lit = values(clip("astronaut", count=8, gain=0.05 * flickering(0, 8)))["ewarp"]
    assert shaken - clean < 0.1 * (lit - clean)


def test_one_frame_has_neither():
    frames = clip("coffee", count=1)
    for name, one in measure(frames, frames[0], FPS, NAMES).items():
        assert why(one) == f"{name} needs at least 2 frames, got 1"
