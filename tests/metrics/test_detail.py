import cv2
import numpy as np
import pytest

from tests.metrics.clips import (
    Fault,
    clip,
    entries,
    flickering,
    gaps,
    number,
    photograph,
    swimming,
    why,
)
from wanexp.metrics import measure
from wanexp.metrics.beside import original
from wanexp.metrics.retention import EDGES, retained_in_frame

FPS = 16.0
SIDE = 96
EVERYWHERE = np.ones((SIDE, SIDE), bool)


def detail(frames, source, names=("detail",), **rest):
    return measure(frames, source, FPS, list(names), **rest)


def texture(seed=0):
    """A picture with detail of all kinds, (SIDE, SIDE) luma."""
    rng = np.random.default_rng(seed)
    return (128 + 30 * rng.standard_normal((SIDE, SIDE))).astype(np.float32)


def still():
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    return np.stack([x, y], axis=-1)


def ratios(*pictures, **rest):
    """Coherence and incoherence of one frame that has them."""
    one = kept(*pictures, **rest)
    assert one.coherence is not None, one.reason
    assert one.incoherence is not None
    return one.coherence, one.incoherence


def kept(source, frame, mapping=None, area=EVERYWHERE, found=1.0):
    mapping = still() if mapping is None else mapping
    frame = frame.astype(np.float32)
    return retained_in_frame(original(source), frame, mapping, area, found=found)


def transfer(sigma):
    """What a Gaussian blur leaves of every frequency, (SIDE, SIDE)."""
    kernel = cv2.getGaussianKernel(round(8 * sigma + 1) | 1, sigma).ravel()
    at = np.arange(len(kernel)) - len(kernel) // 2
    line = np.cos(2 * np.pi * np.fft.fftfreq(SIDE)[:, None] * at) @ kernel
    return np.outer(line, line)


# One frame.


def test_the_source_itself_keeps_all_and_invents_nothing():
    one = kept(texture(), texture())
    assert (one.coherence, one.incoherence, one.reason) == (1.0, 0.0, None)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.7])
def test_a_scaled_band_reads_its_scale(share):
    source = texture()
    smooth = cv2.GaussianBlur(source, (0, 0), 8.0)
    coherence, incoherence = ratios(source, smooth + share * (source - smooth))
    assert coherence == pytest.approx(share, abs=0.02)
    assert incoherence < 0.03


def test_independent_detail_is_incoherent_and_costs_no_coherence():
    source, other = texture(0), texture(1) - 128
    one = kept(source, source + 0.5 * other)
    assert one.coherence == pytest.approx(1.0, abs=0.03)
    assert one.incoherence == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("sigma", [0.5, 0.8, 1.2])
def test_a_blur_reads_what_its_transfer_function_leaves_of_the_band(sigma):
    source = texture()
    fine, coarse, left = (transfer(edge) for edge in (EDGES[0], EDGES[-1], sigma))
    power = np.square((fine - coarse) * np.abs(np.fft.fft2(source - source.mean())))
    expected = (power * left).sum() / power.sum()
    blurred = cv2.GaussianBlur(source, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    coherence, incoherence = ratios(source, blurred)
    assert coherence == pytest.approx(expected, abs=0.03)
    assert incoherence < 0.05


def test_brightness_is_matched_before_detail_is_compared():
    ramp = np.linspace(0.6, 1.4, SIDE, dtype=np.float32)
    coherence, incoherence = ratios(texture(), texture() * ramp)
    assert coherence == pytest.approx(1.0, abs=0.02)
    assert incoherence < 0.05


def test_too_little_too_small_or_too_smooth_an_area_has_a_reason():
    corner = np.zeros((SIDE, SIDE), bool)
    corner[:11, :11] = True
    flat = np.full((SIDE, SIDE), 90, np.float32)
    assert kept(texture(), texture(), found=0.49).reason == "too little of it is in the frame"
    assert kept(texture(), texture(), area=corner).reason == "it is too small in the frame"
    assert kept(flat, texture()).reason == "the source has no fine detail there"
    assert kept(flat, texture()).coherence is None


def test_only_the_area_counts_and_not_the_pixels_about_it():
    left = np.zeros((SIDE, SIDE), bool)
    left[:, : SIDE // 2] = True
    frame = texture()
    frame[:, SIDE // 2 :] = 128
    assert kept(texture(), frame, area=left).coherence == pytest.approx(1.0, abs=0.002)


# Videos.


@pytest.mark.parametrize("scene", ["astronaut", "coffee"])
def test_a_faithful_video_keeps_all_detail_whatever_the_camera_does(scene):
    source = clip(scene, count=1)[0]
    cameras: list[Fault] = [{}, {"pan": (2.4, 0.9)}, {"zoom": 1.015}, {"zoom": 0.99}]
    for camera in cameras:
        found = detail(clip(scene, count=13, **camera), source)["detail"]
        assert found.value == pytest.approx(1.0, abs=0.035), camera


def drawn_back(scene, scales, size=128):
    """A camera whose pixel covers this many of the photograph's, and averages them."""
    image = photograph(scene, 1)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) - (size - 1) / 2
    frames = np.empty((len(scales), size, size, 3), np.uint8)
    for frame, scale in zip(frames, scales, strict=True):
        averaged = cv2.GaussianBlur(image, (0, 0), 0.5 * np.sqrt(scale**2 - 0.99))
        at_x, at_y = x * scale + image.shape[1] / 2, y * scale + image.shape[0] / 2
        shown = cv2.remap(
            averaged, at_x.astype(np.float32), at_y.astype(np.float32), cv2.INTER_CUBIC
        )
        frame[:] = np.rint(255 * shown.clip(0, 1))
    return frames


def test_drawing_back_is_compared_at_the_frames_pixels():
    frames = drawn_back("astronaut", np.geomspace(1.4, 2.0, 9))
    assert entries(detail(frames, frames[0])["detail"])[-1] > 0.92


def test_coming_closer_is_compared_at_the_sources_pixels():
    frames = clip("coffee", count=13, zoom=1.03)
    found = detail(frames, frames[0], ("detail", "detail_incoherence"))
    assert number(found["detail"]) > 0.95
    assert number(found["detail_incoherence"]) < 0.125


def test_a_blurred_video_is_found_in_the_source_and_has_lost_its_detail():
    source = clip("coffee", count=1)[0]
    found = detail(clip("coffee", count=5, blur=4.0), source)["detail"]
    assert found.extras["valid_frac"] > 0.6
    assert number(found) < 0.15


def test_blur_that_grows_shows_in_the_series():
    frames = clip("coffee", count=6)
    for t, frame in enumerate(frames[1:], start=1):
        frame[:] = cv2.GaussianBlur(frame, (0, 0), 0.4 * t)
    series = entries(detail(frames, frames[0])["detail"])
    assert (np.diff(series) < 0).all()


def test_sharpening_reads_above_one():
    frames = clip("coffee", count=5).astype(float)
    soft = np.stack([cv2.GaussianBlur(f, (0, 0), 1.5) for f in frames])
    sharp = np.clip(frames + 0.8 * (frames - soft), 0, 255).astype(np.uint8)
    assert number(detail(sharp, clip("coffee", count=1)[0])["detail"]) > 1.3


def test_noise_is_not_detail_kept():
    source = clip("astronaut", count=1)[0]
    names = ("detail", "detail_incoherence")
    clean = detail(clip("astronaut", count=5), source, names)
    noisy = detail(clip("astronaut", count=5, noise=0.05), source, names)
    assert number(noisy["detail"]) == pytest.approx(number(clean["detail"]), abs=0.03)
    invented, clean_invented = (number(r["detail_incoherence"]) for r in (noisy, clean))
    assert invented > 4 * clean_invented


def test_flicker_and_swimming_are_not_detail_lost():
    source = clip("motorcycle", count=1)[0]
    faults: list[Fault] = [{"gain": 0.08 * flickering(0, 9) - 0.1}, {"swim": swimming(0, 9)}]
    for fault in faults:
        found = detail(clip("motorcycle", count=9, **fault), source)["detail"]
        assert number(found) == pytest.approx(1.0, abs=0.03), fault.keys()


def test_regions_are_measured_where_they_are_and_go():
    frames = clip("coffee", count=5, pan=(2.0, 1.0))
    source = frames[0].copy()
    corner = slice(8, 60)
    for t, frame in enumerate(frames):
        moved = slice(8, 60 - t), slice(8, 60 - 2 * t)  # the corner moves up and to the left
        frame[moved] = cv2.GaussianBlur(frame, (0, 0), 2.0)[moved]
    regions = {"text": (8, 8, 60, 60), "logo": (70, 70, 120, 120)}
    found = detail(frames, source, ("detail:text", "detail:logo", "detail"), regions=regions)
    text, logo, everywhere = (number(one) for one in found.values())
    assert text < 0.6
    assert logo == pytest.approx(1.0, abs=0.03)
    assert text < everywhere < logo
    assert source[corner, corner].std() > 10


def test_a_region_that_leaves_says_so():
    frames = clip("motorcycle", count=9, pan=(6.0, 0.0), at=(100, 100))
    found = detail(frames, frames[0], ["detail:left"], regions={"left": (0, 30, 30, 100)})
    one = found["detail:left"]
    assert "region 'left' cannot be compared: too little of it is in the frame" in why(one)
    assert gaps(one) == [False] * 3 + [True] * 6


def test_a_source_with_more_detail_than_the_frames_is_compared_at_their_size():
    frames = clip("coffee", count=5)
    large = photograph("coffee", 2)
    top, left = (large.shape[0] - 256) // 2, (large.shape[1] - 256) // 2
    source = np.rint(255 * large[top : top + 256, left : left + 256]).astype(np.uint8)
    assert detail(frames, source)["detail"].value == pytest.approx(1.0, abs=0.1)
