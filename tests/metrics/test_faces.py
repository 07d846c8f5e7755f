"""Finding the face in the source and following it; the detectors are the real ones."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from tests.metrics.clips import clip, entries, gaps, number, why
from wanexp.metrics import faces, measure

FPS = 16.0
TRUTH = (173.0, 62.0, 276.0, 165.0)  # the astronaut's face, marked by hand
FACELESS = (
    "chelsea",
    "coffee",
    "camera",
    "rocket",
    "brick",
    "grass",
    "gravel",
    "coins",
    "text",
    "page",
    "moon",
)


def rgb(name):
    image = getattr(data, name)()
    return np.repeat(image[..., None], 3, axis=-1) if image.ndim == 2 else image[..., :3]


def overlap(a, b):
    width, height = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    both = max(0.0, width) * max(0.0, height)
    return both / (sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)) - both)


def with_lbp(monkeypatch):
    monkeypatch.setattr(faces, "haar_file", lambda: None)


CROPS = {  # x, y, side, size it is brought to
    "whole": (0, 0, 512, 512),
    "quarter": (100, 0, 256, 256),
    "close": (140, 20, 160, 160),
    "small": (0, 0, 512, 128),
    "tiny": (0, 0, 512, 96),
    "large": (0, 0, 512, 1024),
    "close and small": (100, 0, 256, 128),
}


@pytest.mark.parametrize(
    ("detector", "crop"),
    [*(("haar", crop) for crop in CROPS), *(("lbp", crop) for crop in ("whole", "small", "close"))],
)
def test_the_astronaut_has_a_face_at_every_size(detector, crop, monkeypatch):
    if detector == "lbp":
        with_lbp(monkeypatch)
    x, y, side, size = CROPS[crop]
    image = data.astronaut()[y : y + side, x : x + side]
    resized = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    face = faces.find_face(resized)
    assert face is not None
    truth = [(edge - offset) * size / side for edge, offset in zip(TRUTH, (x, y) * 2, strict=True)]
    assert overlap(face, truth) > 0.6


@pytest.mark.parametrize("detector", ["haar", "lbp"])
def test_none_of_eleven_faceless_photographs_has_a_face(detector, monkeypatch):
    if detector == "lbp":
        with_lbp(monkeypatch)
    pictures = {name: rgb(name) for name in FACELESS}
    found = [name for name, picture in pictures.items() if faces.find_face(picture) is not None]
    assert found == []


@pytest.mark.parametrize(
    ("detector", "name", "size"),
    [("haar", "motorcycle", 256), ("lbp", "retina", 512), ("lbp", "cell", 512)],
)
def test_what_one_size_takes_for_a_face_the_other_does_not(detector, name, size, monkeypatch):
    if detector == "lbp":
        with_lbp(monkeypatch)
    picture = data.stereo_motorcycle()[0] if name == "motorcycle" else rgb(name)
    resized = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    assert faces.find_face(np.asarray(resized, np.uint8)) is None


def test_the_box_follows_the_image():
    image = data.astronaut()[:300, :400]
    mirrored = faces.find_face(np.ascontiguousarray(image[:, ::-1]))
    assert mirrored is not None
    back = (400 - mirrored[2], mirrored[1], 400 - mirrored[0], mirrored[3])
    assert overlap(back, TRUTH) > 0.6


def test_the_face_is_found_again_to_the_bit_whatever_the_number_of_threads():
    threads = cv2.getNumThreads()
    found = set()
    try:
        for count in (1, 2, 4):
            cv2.setNumThreads(count)
            found |= {faces.find_face(data.astronaut()) for _ in range(3)}
    finally:
        cv2.setNumThreads(threads)
    assert len(found) == 1


def test_an_opencv_without_cascades_falls_back_on_the_other_detector(monkeypatch):
    monkeypatch.delattr(cv2, "CascadeClassifier")
    assert faces.haar_file() is None
    face = faces.find_face(data.astronaut()[:256, 100:356])
    assert face is not None


def test_an_opencv_without_its_data_files_falls_back_too(monkeypatch, tmp_path):
    monkeypatch.setattr(cv2, "__file__", str(tmp_path / "__init__.py"))
    assert faces.haar_file() is None


# Measuring it.


def video(**fault):
    return clip("astronaut", count=5, at=(100, 10), **fault)


SOURCE_FACE = (36.0, 26.0, 88.0, 78.0)  # TRUTH in those frames


def face_detail(frames, source=None, **rest):
    source = video()[0] if source is None else source
    return measure(frames, source, FPS, ["face_detail"], **rest)["face_detail"]


def test_a_faithful_face_keeps_its_detail():
    found = face_detail(video())
    assert found.value == pytest.approx(1.0, abs=0.02)
    assert found.extras["face_px"] == pytest.approx(50, abs=6)


def blurred_face(sigma, frames):
    """Only the face of a still-standing camera, blurred."""
    x0, y0, x1, y1 = (int(edge) for edge in SOURCE_FACE)
    out = frames.copy()
    for frame in out:
        frame[y0:y1, x0:x1] = cv2.GaussianBlur(frame, (0, 0), sigma)[y0:y1, x0:x1]
    return out


def test_detail_falls_with_every_level_of_blur_on_the_face_alone():
    frames = video(pan=(0.0, 0.0))
    steps = [number(face_detail(blurred_face(sigma, frames))) for sigma in (0.5, 1.0, 1.5, 4.0)]
    assert (np.diff([1.0, *steps]) < -0.05).all()
    assert steps[-1] < 0.2


def test_blur_elsewhere_leaves_the_face_alone():
    frames = video(pan=(0.0, 0.0))
    frames[:, 90:] = np.stack([cv2.GaussianBlur(f, (0, 0), 3.0) for f in frames])[:, 90:]
    found = measure(frames, video()[0], FPS, ["face_detail", "detail"])
    assert found["face_detail"].value == pytest.approx(1.0, abs=0.02)
    assert number(found["detail"]) < 0.9


def test_the_face_is_followed_and_not_looked_for_again():
    frames = video(pan=(3.0, 1.0), blur=8.0)
    assert faces.find_face(frames[3]) is None  # a search would fail
    found = face_detail(frames)
    assert number(found) < 0.15
    assert not any(gaps(found))


def test_a_given_box_takes_the_place_of_the_search():
    frames = clip("coffee", count=4)
    assert face_detail(frames, frames[0]).value is None
    given = face_detail(frames, frames[0], face_box=(30, 30, 90, 90))
    assert given.value == pytest.approx(1.0, abs=0.02)


def test_no_face_in_the_source_is_a_reason_and_not_a_number():
    frames = clip("coffee", count=4)
    found = face_detail(frames, frames[0])
    assert why(found).startswith("no face in the source image")


def test_a_face_too_small_to_have_detail_is_a_reason():
    found = face_detail(video(), face_box=(40, 40, 52, 60))
    assert why(found) == "the face is too small: 12 px in the frames, at least 16 needed"


def test_a_face_that_leaves_is_a_reason_and_its_first_frames_are_kept():
    frames = clip("astronaut", count=8, at=(100, 10), pan=(24.0, 0.0))
    found = face_detail(frames)
    assert "the face cannot be compared: too little of it is in the frame" in why(found)
    assert entries(found)[0] == 1.0
    assert gaps(found)[-1]


BRIGHT = Path(__file__).parent.parent / "golden" / "faces" / "bright.onnx"
"""A net of YuNet's layout that takes white cells of 32 px for faces; see golden/README.md."""


def with_squares(height, width, *squares):
    image = np.full((height, width, 3), 20, np.uint8)
    for x, y, side in squares:
        image[y : y + side, x : x + side] = 255
    return image


def test_a_configured_model_takes_the_place_of_the_cascade():
    image = with_squares(256, 384, (160, 64, 32))
    assert faces.find_face(image) is None
    assert faces.find_face(image, BRIGHT) == (144, 48, 176, 80)  # YuNet counts from a cell's corner


def test_what_a_model_finds_in_a_shrunken_image_is_told_in_the_images_pixels():
    image = with_squares(512, 1280, (256, 128, 64))
    assert faces.find_face(image, BRIGHT) == pytest.approx((224, 96, 288, 160))


def test_a_models_box_is_cut_to_the_image():
    assert faces.find_face(with_squares(64, 64, (0, 0, 32)), BRIGHT) == (0, 0, 16, 16)


def test_a_model_that_finds_nothing_is_not_helped_out():
    assert faces.find_face(with_squares(200, 300), BRIGHT) is None


def test_measuring_uses_the_configured_model():
    frames = np.stack([with_squares(128, 128, (64, 64, 32))] * 3)
    reason = measure(frames, frames[0], 12, ["face_detail"])["face_detail"].reason
    told = measure(frames, frames[0], 12, ["face_detail"], face_model=BRIGHT)["face_detail"].reason
    assert "none was found" in (reason or "")
    assert "none was found" not in (told or "")


def test_a_file_that_is_no_yunet_is_refused():
    with pytest.raises(ValueError, match="holds no YuNet"):
        faces.find_face(with_squares(64, 64), Path(__file__))
