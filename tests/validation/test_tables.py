"""The commands behind the tables in the docs: flow errors, encoding, floors."""

import numpy as np
import pytest

from analysis.effects import FLOORS
from tests.metrics.clips import clip
from wanexp.validation.encoding import SHOWN, encoded, medians
from wanexp.validation.floors import MOTION, floored, floors
from wanexp.validation.flow_errors import FILMINGS, flow_errors


def test_the_flow_of_a_pan_errs_by_little_and_less_where_it_counts():
    found = flow_errors(64, FILMINGS["pan ×3"])
    assert found.moved == pytest.approx(0.16 * 3 / 16 * 32, rel=0.05)  # px a frame of half 32 px
    assert found.counted < found.error < 0.1
    assert 0.9 < found.share < 1.0


def test_an_encoder_adds_noise_and_takes_detail():
    frames = clip("coffee", count=5)
    after = encoded(frames)
    assert after.shape == frames.shape
    raw, coded = (medians([video], [frames[0]]) for video in (frames, after))
    assert set(raw) == set(SHOWN)
    assert coded["noise"] > raw["noise"]
    assert coded["detail_incoherence"] > raw["detail_incoherence"]


def test_every_floor_is_one_that_the_command_measures():
    assert set(floored()) == set(FLOORS)


def test_floors_are_of_faultless_videos():
    found = floors([64])
    assert set(found) <= set(floored())
    assert found["jitter"] < 0.05
    assert max(found[name] for name in MOTION) < 1.0
    assert all(np.isfinite(value) and value >= 0 for value in found.values())
