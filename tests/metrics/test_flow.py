"""Flow, what is trusted of it, and the camera in it, against clips whose motion is known."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from tests.metrics.clips import SCENES, clip, flickering
from wanexp.metrics import flow

BORDER = 12


def grey(frame):
    return np.rint(frame.astype(float) @ [0.2126, 0.7152, 0.0722]).astype(np.uint8)


def pair_of(scene, **fault):
    return [grey(frame) for frame in clip(scene, count=2, **fault)]


def error_of(first, second, truth):
    """Median length of the flow's error away from the border, px."""
    error = flow.estimate(first, second) - np.float32(truth)
    inner = error[BORDER:-BORDER, BORDER:-BORDER]
    return float(np.median(np.hypot(inner[..., 0], inner[..., 1])))


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("step", [(0.5, 0.2), (1.5, -0.7), (4.0, 1.3)])
def test_the_flow_of_a_pan_is_right_to_a_twelfth_of_a_pixel(scene, step):
    first, second = pair_of(scene, pan=step)
    assert error_of(first, second, (-step[0], -step[1])) < 0.08


@pytest.mark.parametrize("scene", SCENES)
def test_a_change_of_exposure_is_not_motion(scene):
    first, second = pair_of(scene, pan=(1.5, -0.7), gain=np.array([0.0, -0.05]))
    assert error_of(first, second, (-1.5, 0.7)) < 0.08


@pytest.mark.parametrize("scene", SCENES)
def test_noise_costs_the_flow_a_tenth_of_a_pixel(scene):
    first, second = pair_of(scene, pan=(1.5, -0.7), noise=0.02)
    assert error_of(first, second, (-1.5, 0.7)) < 0.25


def test_equal_images_have_exactly_no_flow():
    first, _ = pair_of("coffee")
    assert not flow.estimate(first, first.copy()).any()


def test_a_guess_finds_what_moved_too_far_to_be_searched_for():
    frames = [grey(frame) for frame in clip("motorcycle", count=2, pan=(70.0, 0.0), at=(20, 60))]
    alone = flow.match(frames[0], frames[1]).valid.mean()
    guess = flow.Match(
        forward=np.full((128, 128, 2), (-66, 0), np.float32),
        backward=np.full((128, 128, 2), (66, 0), np.float32),
        valid=np.ones((128, 128), bool),
        valid_back=np.ones((128, 128), bool),
    )
    guided = flow.match_unlike(frames[0], frames[1], guess).valid.mean()
    assert alone < 0.2
    assert guided > 0.35  # 45 % of the image are still there


def test_a_guess_is_left_as_it_was():
    first, second = pair_of("coffee")
    guess = np.full((128, 128, 2), 0.5, np.float32)
    flow.estimate(first, second, guess)
    assert (guess == 0.5).all()


@pytest.mark.parametrize("shape", [(16, 16), (16, 200), (21, 130), (64, 33), (128, 20)])
def test_small_and_narrow_images_have_finite_flow_at_every_scale(shape):
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 256, (2, *shape), dtype=np.uint8)
    found = flow.match_unlike(first, second, None)
    assert np.isfinite(found.forward).all()
    assert np.isfinite(found.backward).all()


def test_a_blurred_picture_is_still_found_in_a_sharp_one():
    first, _ = pair_of("astronaut")
    blurred = cv2.GaussianBlur(first, (0, 0), 4.0)
    assert flow.match(first, blurred).valid.mean() < 0.5
    assert flow.match_unlike(first, blurred, None).valid.mean() > 0.8


def test_a_refined_match_keeps_the_rough_one_where_the_fine_one_is_lost():
    first, _ = pair_of("astronaut")
    half = first.copy()
    half[:, 64:] = cv2.GaussianBlur(first, (0, 0), 4.0)[:, 64:]
    rough = flow.match_unlike(first, half, None)
    found = flow.refined(first, half, rough)
    assert (found.valid >= rough.valid).all()
    lost = ~flow.match(first, half, rough).valid
    assert lost.any()
    assert np.array_equal(found.forward[lost], rough.forward[lost])


def test_pixels_that_leave_or_come_back_elsewhere_are_not_consistent():
    forward = np.zeros((32, 32, 2), np.float32)
    forward[..., 0] = 3.0
    backward = -forward
    there_and_back = flow.consistent(forward, backward)
    assert there_and_back[:, :29].all()
    assert not there_and_back[:, 29:].any()
    assert not flow.consistent(forward, backward * 0.5).any()


def test_carried_reads_the_second_image_where_the_flow_points():
    values = np.arange(64, dtype=np.float32).reshape(8, 8)
    right_and_down = np.full((8, 8, 2), (1.0, 2.0), np.float32)
    assert flow.carried(values, right_and_down)[3, 3] == values[5, 4]
    halfway = np.full((8, 8, 2), (0.5, 0.0), np.float32)
    assert flow.carried(values, halfway)[3, 3] == values[3, 3] + 0.5


def test_the_camera_fit_is_exact_on_an_exact_similarity():
    y, x = np.mgrid[0:60, 0:80] - np.array([29.5, 39.5])[:, None, None]
    truth = np.stack([0.02 * x - 0.01 * y + 1.5, 0.01 * x + 0.02 * y - 0.5], -1).astype(np.float32)
    camera = flow.fit_camera(truth, np.ones((60, 80), bool), np.full((60, 80), 100, np.float32))
    assert camera is not None
    assert (camera.a, camera.b) == pytest.approx((0.02, 0.01), abs=1e-6)
    assert camera.shift == pytest.approx((1.5, -0.5), abs=1e-6)
    np.testing.assert_allclose(camera.flow(60, 80), truth, atol=1e-5)


def test_a_third_of_the_picture_moving_by_itself_does_not_move_the_camera():
    for scenery, thing in (((1.0, 0.0), (9.0, 5.0)), ((6.0, 2.0), (0.0, 0.0))):
        moved = np.full((60, 90, 2), scenery, np.float32)
        moved[:, 60:] = thing
        camera = flow.fit_camera(moved, np.ones((60, 90), bool), np.full((60, 90), 100, np.float32))
        assert camera is not None
        assert camera.shift == pytest.approx(scenery, abs=0.02)


def test_without_texture_or_valid_pixels_there_is_no_camera():
    still = np.zeros((40, 40, 2), np.float32)
    everywhere, rich = np.ones((40, 40), bool), np.full((40, 40), 100, np.float32)
    assert flow.fit_camera(still, everywhere, np.zeros((40, 40), np.float32)) is None
    assert flow.fit_camera(still, ~everywhere, rich) is None
    assert flow.fit_camera(still, everywhere, rich) is not None


def test_texture_needs_gradients_in_two_directions():
    ramp = np.tile(np.arange(0, 192, 3, dtype=np.uint8), (64, 1))
    assert flow.texture(ramp).max() < 1e-3
    checks = (np.indices((64, 64)) // 8).sum(0) % 2 * 200
    assert flow.texture(checks.astype(np.uint8)).max() > 10


def test_the_flow_does_not_depend_on_the_number_of_threads():
    first, second = pair_of("motorcycle", gain=0.05 * flickering(0, 2))
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        one = flow.estimate(first, second)
        cv2.setNumThreads(3)
        three = flow.estimate(first, second)
    finally:
        cv2.setNumThreads(threads)
    assert np.array_equal(one, three)


SIZES = ((16, 16), (26, 300), (48, 64), (96, 128), (128, 128), (194, 337))


def test_what_an_engine_did_before_changes_nothing(monkeypatch):
    """Sizes, scales and guesses in random turns, each beside an engine of its own."""
    kept, draw = flow._Engines(), np.random.default_rng(0)
    for _ in range(120):
        size, finest = SIZES[draw.integers(len(SIZES))], int(draw.integers(3))
        first = draw.integers(0, 255, size, dtype=np.uint8)
        second = np.roll(first, 2, axis=1)
        guess = np.full((*size, 2), 0.5, np.float32) if draw.integers(2) else None
        found = []
        for engines in (kept, flow._Engines()):
            monkeypatch.setattr(flow, "_kept", engines)
            found.append(flow.estimate(first, second, guess, finest))
        assert np.array_equal(*found)


def test_every_thread_has_an_engine_of_its_own():
    with ThreadPoolExecutor(1) as pool:
        there = pool.submit(flow._kept.engine, (64, 64), 0, guessed=False).result()
    here = flow._kept.engine((64, 64), 0, guessed=False)
    assert here is flow._kept.engine((64, 64), 0, guessed=False)
    assert here is not there
