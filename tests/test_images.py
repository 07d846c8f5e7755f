"""Source images: found or refused in one sentence, upright, cut to the frame, digested by bytes."""

from __future__ import annotations

import os
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wanexp.images import (
    check_image,
    frame_window,
    image_digest,
    image_path,
    load_source,
    to_frame,
)
from wanexp.strict import ConfigError

SIZES = [(128, 128), (832, 480), (480, 832), (1280, 704), (512, 512)]


def pattern(width: int, height: int) -> Image.Image:
    """Left half red, right half green, the top quarter of both brighter."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[:, : width // 2, 0] = 100
    frame[:, width // 2 :, 1] = 100
    frame[: height // 4] *= 2
    return Image.fromarray(frame)


def saved(image: Image.Image, path: Path) -> str:
    image.save(path)
    return str(path)


# Finding and checking


def test_a_bundled_picture_is_found_by_its_name():
    assert check_image("case.image", "skimage:astronaut.png") == (512, 512)
    assert image_path("skimage:astronaut.png").is_file()


def test_a_home_folder_may_be_written_short(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    pattern(8, 4).save(tmp_path / "a.png")
    assert check_image("case.image", "~/a.png") == (8, 4)


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("skimage:astronat.png", "; did you mean 'astronaut.png'?"),
        ("{}/portait.png", "; did you mean 'portrait.png'?"),
        ("{}/qqqqq", ""),
        ("{}/nowhere/portrait.png", ""),
    ],
)
def test_a_missing_image_is_named_with_the_nearest_file(asked, hint, tmp_path):
    pattern(8, 8).save(tmp_path / "portrait.png")
    with pytest.raises(ConfigError) as error:
        check_image("case.x.image", asked.format(tmp_path))
    message = str(error.value)
    assert message.startswith("case.x.image: no file '")
    assert message.endswith(hint or "'")
    assert "\n" not in message


@pytest.mark.parametrize("asked", ["{}", "", ".", "skimage:"])
def test_a_folder_is_no_image(asked, tmp_path):
    with pytest.raises(ConfigError, match=r"^case\.x\.image: no file '"):
        check_image("case.x.image", asked.format(tmp_path))


def test_a_blank_to_be_filled_in_is_said_to_be_one():
    with pytest.raises(ConfigError, match=r"^case\.x\.image: fill in a file, or skimage:NAME$"):
        check_image("case.x.image", "???")


def png_of(width: int, height: int) -> bytes:
    """A PNG that says how large it is and has hardly any pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0"))


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n", png_of(60_000, 60_000)])
def test_a_file_that_is_no_picture_is_refused_in_one_sentence(content, tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"^case\.x\.image: '.*x\.png' is not an image \(.*\)$"):
        check_image("case.x.image", str(path))


@pytest.mark.parametrize("name", ["x.png", "x.jpg"])
def test_a_file_that_broke_off_is_refused_before_anything_else_is_done(name, tmp_path):
    path = tmp_path / name
    draw = np.random.default_rng(0)
    Image.fromarray(draw.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    assert check_image("case.x.image", str(path)) == (64, 64)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ConfigError, match="is not an image"):
        check_image("case.x.image", str(path))


# Loading


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photograph_is_checked_and_loaded_upright(orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    name = str(tmp_path / "x.png")
    pattern(64, 32).save(name, exif=exif)
    width, height = check_image("case.image", name)
    assert (width, height) == ((32, 64) if orientation >= 5 else (64, 32))
    # The file's red half is where this orientation puts its left side.
    frame = load_source(name, None, width, height).astype(int)
    red = frame[:, :, 0] > frame[:, :, 1]
    half = {
        **dict.fromkeys((1, 4), red[:, : width // 2]),
        **dict.fromkeys((2, 3), red[:, width // 2 :]),
        **dict.fromkeys((5, 6), red[: height // 2]),
        **dict.fromkeys((7, 8), red[height // 2 :]),
    }[orientation]
    assert half.mean() > 0.95
    assert red.mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_frame_is_rgb_of_the_asked_size(width, height):
    frame = load_source("skimage:camera.png", None, width, height)  # greyscale
    assert frame.shape == (height, width, 3)
    assert frame.dtype == np.uint8
    assert frame.flags.writeable
    assert np.array_equal(frame[..., 0], frame[..., 1])
    assert np.array_equal(frame[..., 0], frame[..., 2])


def test_an_image_of_the_frames_size_is_not_touched(tmp_path):
    image = pattern(48, 32)
    frame = load_source(saved(image, tmp_path / "x.png"), None, 48, 32)
    assert np.array_equal(frame, np.asarray(image))


def test_a_crop_is_taken_before_resizing(tmp_path):
    image = pattern(64, 64)
    name = saved(image, tmp_path / "x.png")
    frame = load_source(name, (32, 16, 64, 48), 32, 32)
    assert np.array_equal(frame, np.asarray(image)[16:48, 32:64])


def test_what_is_transparent_is_black(tmp_path):
    rgba = np.full((16, 16, 4), 200, np.uint8)
    rgba[:, :8, 3], rgba[:, 8:, 3] = 0, 255
    frame = load_source(saved(Image.fromarray(rgba), tmp_path / "x.png"), None, 16, 16)
    assert (frame[:, :8] == 0).all()
    assert (frame[:, 8:] == 200).all()


def test_a_transparent_palette_colour_is_black(tmp_path):
    image = Image.new("P", (16, 16), 1)
    image.putpalette([9, 9, 9, 50, 60, 70])
    image.paste(0, (0, 0, 8, 16))
    image.save(tmp_path / "x.png", transparency=0)
    frame = load_source(str(tmp_path / "x.png"), None, 16, 16)
    assert (frame[:, :8] == 0).all()
    assert (frame[:, 8:] == (50, 60, 70)).all()


def test_sixteen_bits_of_grey_keep_their_upper_eight(tmp_path):
    levels = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    frame = load_source(saved(Image.fromarray(levels), tmp_path / "x.png"), None, 32, 32)
    assert np.array_equal(frame[..., 0], (levels >> 8).astype(np.uint8))


# Geometry


def test_a_window_is_the_largest_centred_part_with_the_frames_shape():
    assert frame_window((512, 512), None, 128, 128) == (0, 0, 512, 512)
    assert frame_window((400, 200), None, 128, 128) == (100, 0, 300, 200)
    assert frame_window((200, 400), None, 128, 128) == (0, 100, 200, 300)
    assert frame_window((1000, 1000), (100, 200, 500, 400), 64, 64) == (200, 200, 400, 400)


def test_a_window_lies_inside_its_image_for_every_size():
    draw = random.Random(0)
    for _ in range(20_000):
        size = draw.randint(1, 6000), draw.randint(1, 6000)
        width, height = draw.choice(SIZES)
        left, top, right, bottom = frame_window(size, None, width, height)
        assert 0 <= left < right <= size[0]
        assert 0 <= top < bottom <= size[1]
        assert (right - left) / (bottom - top) == pytest.approx(width / height)


def test_an_odd_size_that_rounds_over_its_edge_loads(tmp_path):
    name = saved(Image.new("RGB", (3505, 3349)), tmp_path / "x.png")
    assert load_source(name, None, 832, 480).shape == (480, 832, 3)


def test_a_box_follows_the_window_into_the_frame():
    window = (100.0, 0.0, 300.0, 200.0)
    assert to_frame((150, 50, 250, 100), window, 100, 100) == (25, 25, 75, 50)
    assert to_frame((0, 0, 200, 400), window, 100, 100) == (0, 0, 50, 100)  # clipped
    assert to_frame((0, 0, 100, 100), window, 100, 100) is None  # beside the window
    assert to_frame((0, 0, 101, 100), window, 100, 100) is None  # less than a pixel left


# Digests


def test_equal_bytes_have_equal_digests_whatever_the_file_is_called(tmp_path):
    one, two, other = (tmp_path / name for name in ("a.png", "b.jpg", "c.png"))
    one.write_bytes(b"same")
    two.write_bytes(b"same")
    other.write_bytes(b"else")
    assert image_digest(one) == image_digest(two) != image_digest(other)
    assert len(image_digest(one)) == 64


def test_an_edited_file_has_another_digest_in_the_same_process(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"before")
    before = image_digest(path)
    path.write_bytes(b"after!")  # as long as before
    os.utime(path, ns=(1, 1))
    assert image_digest(path) != before
