"""SSIM, overshoot and saturation of one frame beside the source, and over a video."""

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from tests.metrics.clips import clip, number, why
from wanexp.metrics import measure
from wanexp.metrics.beside import original, set_beside
from wanexp.metrics.flow import pixels
from wanexp.metrics.likeness import halved, likeness
from wanexp.metrics.planes import luma

FPS = 16.0
SOURCE = clip("coffee", count=1)[0]


def beside(frame, source=SOURCE):
    """The likeness of a frame in which everything is at its place."""
    height, width = frame.shape[:2]
    mapping = np.stack(pixels(height, width), axis=-1)
    area = np.ones((height, width), bool)
    lumas = set_beside(original(luma(source)), luma(frame), mapping, area)
    return likeness(lumas, frame, halved(source), mapping, area, found=1.0)


def spoilt(levels, seed=0):
    random = np.random.default_rng(seed)
    return np.clip(SOURCE + levels * random.standard_normal(SOURCE.shape), 0, 255).astype(np.uint8)


def test_ssim_is_that_of_scikit_image():
    frame = spoilt(12)
    expected = structural_similarity(
        luma(SOURCE),
        luma(frame),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
    )
    assert beside(frame).ssim == pytest.approx(expected, abs=0.001)


def test_a_frame_equal_to_the_source_is_perfect():
    same = beside(SOURCE)
    assert (same.ssim, same.overshoot, same.saturation) == (pytest.approx(1.0), 0.0, 1.0)


def test_overshoot_is_the_share_of_pixels_beyond_the_local_range():
    source = np.full((120, 120, 3), 100, np.uint8)
    frame = source.copy()
    frame[10:110:10, 10:110:10] = 130  # 100 of the 110 x 110 that are looked at
    assert beside(frame, source).overshoot == pytest.approx(100 * 100 / 110**2)
    frame[10:110:10, 10:110:10] = 104  # within 2 % of full scale
    assert beside(frame, source).overshoot == 0.0


@pytest.mark.parametrize("factor", [0.5, 1.4])
def test_saturation_is_the_factor_of_the_colours(factor):
    source = (0.5 * SOURCE + 60).astype(np.uint8)  # away from both ends
    grey = luma(source)[..., None]
    vivid = np.rint(grey + factor * (source - grey)).astype(np.uint8)
    assert beside(vivid, source).saturation == pytest.approx(factor, rel=0.01)


def test_saturation_takes_neither_exposure_nor_grain_for_colour():
    assert beside((0.7 * SOURCE).astype(np.uint8)).saturation == pytest.approx(1.0, rel=0.02)
    assert beside(spoilt(10)).saturation == pytest.approx(1.0, rel=0.02)


def test_a_grey_source_has_no_saturation_to_keep():
    grey = np.repeat(np.rint(luma(clip("coffee", count=4)[0]))[..., None], 3, -1).astype(np.uint8)
    found = measure(np.stack([grey] * 3), grey, FPS, ["saturation", "ssim_source"])
    assert "hardly any colour" in why(found["saturation"])
    assert found["ssim_source"].value == pytest.approx(1.0)


def test_a_pan_is_no_loss_of_fidelity():
    frames = clip("coffee", count=6, pan=(2.3, 0.7))
    found = measure(frames, frames[0], FPS, ["ssim_source", "overshoot", "saturation"])
    assert number(found["ssim_source"]) > 0.97
    assert number(found["overshoot"]) < 0.5
    assert number(found["saturation"]) == pytest.approx(1.0, abs=0.02)


def test_a_source_that_is_left_behind_has_no_fidelity():
    frames = clip("motorcycle", pan=(14, 0), size=96, at=(4, 60))
    for one in measure(frames, frames[0], FPS, ["ssim_source", "overshoot"]).values():
        assert "too little of it is in the frame" in why(one)
