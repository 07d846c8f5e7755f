"""Frames in are frames out: count, size, colour, rate."""

from __future__ import annotations

import os
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image
from skimage import data

from wanexp.video import (
    Video,
    contact_sheet,
    poster,
    read_image,
    read_spread,
    read_video,
    sheet_indices,
    shrink,
    write_image,
    write_video,
)


def photograph(count: int = 9, height: int = 192, width: int = 256) -> np.ndarray:
    """A real photograph that slides two pixels a frame."""
    image = data.astronaut()[: height + 60, : width + 60]
    return np.stack([image[i : i + height, 2 * i : 2 * i + width] for i in range(count)])


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


def test_frames_come_back_in_number_size_rate_and_colour(tmp_path):
    frames = photograph()
    write_video(tmp_path / "v.mp4", frames, 16)
    video = read_video(tmp_path / "v.mp4")
    assert isinstance(video, Video)
    assert video.fps == 16
    assert video.frames.shape == frames.shape
    assert video.frames.dtype == np.uint8
    assert psnr(video.frames, frames) > 36
    bias = (video.frames.astype(float) - frames).mean(axis=(0, 1, 2))
    assert np.abs(bias).max() < 0.5  # a wrong matrix shifts a channel by 2 to 4 levels


@pytest.mark.parametrize(
    "colour",
    [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255,) * 3, (0,) * 3, (128,) * 3, (200, 120, 40)],
)
def test_a_flat_colour_comes_back_within_two_levels(tmp_path, colour):
    frames = np.full((3, 32, 48, 3), colour, np.uint8)
    write_video(tmp_path / "v.mp4", frames, 12)
    assert np.abs(read_video(tmp_path / "v.mp4").frames.astype(int) - colour).max() <= 2


def test_the_file_is_h264_yuv420p_tagged_bt709_with_its_index_first(tmp_path):
    write_video(tmp_path / "v.mp4", photograph(3), 16)
    with av.open(str(tmp_path / "v.mp4")) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt) == ("h264", "yuv420p")
        assert (codec.color_primaries, codec.color_trc, codec.colorspace) == (1, 1, 1)
        assert codec.color_range == 1
    content = (tmp_path / "v.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux to hide a core")
def test_the_same_frames_make_the_same_bytes_on_one_core_and_on_more(tmp_path):
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("needs two cores")
    write_video(tmp_path / "a.mp4", photograph(), 16)
    os.sched_setaffinity(0, {min(cores)})
    try:
        write_video(tmp_path / "b.mp4", photograph(), 16)
    finally:
        os.sched_setaffinity(0, cores)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize("size", [(33, 48), (32, 47), (33, 47), (1, 1)])
def test_an_odd_side_gains_one_repeated_line(tmp_path, size):
    frames = photograph(4)[:, : size[0], : size[1]]
    write_video(tmp_path / "v.mp4", frames, 16)
    back = read_video(tmp_path / "v.mp4").frames
    assert back.shape == (4, size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
    assert psnr(back[:, : size[0], : size[1]], frames) > 30
    if size[1] % 2:
        assert np.abs(back[:, :, -1].astype(int) - back[:, :, -2]).mean() < 8


@pytest.mark.parametrize("fps", [1, 12, 16, 24, 0.5, 23.976, Fraction(24000, 1001), 29.97, 60])
def test_the_rate_comes_back(tmp_path, fps):
    write_video(tmp_path / "v.mp4", photograph(4, 32, 32), fps)
    assert read_video(tmp_path / "v.mp4").fps == pytest.approx(float(fps), rel=1e-4)


def test_one_frame_is_a_video(tmp_path):
    write_video(tmp_path / "v.mp4", photograph(1), 16)
    video = read_video(tmp_path / "v.mp4")
    assert video.frames.shape == (1, 192, 256, 3)
    assert video.fps == pytest.approx(16)


def test_frames_need_not_lie_next_to_each_other_in_memory(tmp_path):
    frames = photograph(6)[::2, ::-1]
    write_video(tmp_path / "v.mp4", frames, 16)
    assert psnr(read_video(tmp_path / "v.mp4").frames, frames) > 36


@pytest.mark.parametrize(
    ("frames", "fps", "message"),
    [
        (np.zeros((0, 8, 8, 3), np.uint8), 16, r"frames: .* got uint8 \(0, 8, 8, 3\)"),
        (np.zeros((3, 0, 8, 3), np.uint8), 16, "frames: expected uint8"),
        (np.zeros((8, 8, 3), np.uint8), 16, r"got uint8 \(8, 8, 3\)"),
        (np.zeros((2, 8, 8, 3), np.float32), 16, "got float32"),
        (np.zeros((2, 8, 8, 4), np.uint8), 16, "expected uint8 of shape"),
        (np.zeros((2, 8, 8, 3), np.uint8), 0, "fps: expected a positive number, got 0"),
        (np.zeros((2, 8, 8, 3), np.uint8), float("nan"), "fps: expected a positive number"),
        (np.zeros((2, 8, 8, 3), np.uint8), 1e-9, "fps: expected at least"),
    ],
)
def test_impossible_input_is_refused_before_anything_is_written(tmp_path, frames, fps, message):
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / "v.mp4", frames, fps)
    assert not list(tmp_path.iterdir())


def _encode(path, frames, codec, pix_fmt, rotation=0):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=16)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        if rotation:
            stream.set_display_rotation(rotation)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "least"),
    [
        ("v.webm", "libvpx-vp9", "yuv420p", 28),
        ("v.mov", "libx264", "yuv420p", 30),
        ("v.mkv", "ffv1", "bgr0", 99),
        ("v.avi", "mjpeg", "yuvj420p", 24),
    ],
)
def test_other_programs_files_are_read(tmp_path, name, codec, pix_fmt, least):
    frames = photograph(5)
    _encode(tmp_path / name, frames, codec, pix_fmt)
    video = read_video(tmp_path / name)
    assert video.frames.shape == frames.shape
    assert video.fps == pytest.approx(16, rel=1e-3)
    assert np.array_equal(video.frames, frames) or psnr(video.frames, frames) > least


@pytest.mark.parametrize(("name", "quality"), [("v.gif", 24), ("v.webp", 99), ("v.png", 99)])
def test_animated_images_are_read(tmp_path, name, quality):
    frames = photograph(5)
    first, *rest = [Image.fromarray(frame) for frame in frames]
    first.save(tmp_path / name, save_all=True, append_images=rest, duration=50, lossless=True)
    video = read_video(tmp_path / name)
    assert video.frames.shape == frames.shape
    assert video.fps == pytest.approx(20)
    assert np.array_equal(video.frames, frames) or psnr(video.frames, frames) > quality


def test_a_still_image_is_no_video_without_a_rate(tmp_path):
    write_image(tmp_path / "still.png", photograph(1)[0])
    with pytest.raises(ValueError, match="does not say its frame rate"):
        read_video(tmp_path / "still.png")
    assert len(read_video(tmp_path / "still.png", fps=16).frames) == 1


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_turned_video_is_read_upright(tmp_path, rotation):
    frames = photograph(3)
    _encode(tmp_path / "v.mp4", frames, "libx264", "yuv420p", rotation=rotation)
    upright = np.rot90(frames, rotation // 90, axes=(1, 2))
    assert psnr(read_video(tmp_path / "v.mp4").frames, upright) > 28


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path):
    frames = photograph(12, 24, 32)
    for i, frame in enumerate(frames):
        write_image(tmp_path / f"frame{i}.png", frame)  # frame10 sorts before frame2 as text
    (tmp_path / "notes.txt").write_text("not a frame")
    video = read_video(tmp_path, fps=12)
    assert np.array_equal(video.frames, frames)
    assert video.fps == 12
    with pytest.raises(ValueError, match="has no frame rate: give fps"):
        read_video(tmp_path)


def test_a_folder_of_unequal_images_is_refused_by_the_odd_ones_name(tmp_path):
    write_image(tmp_path / "1.png", photograph(1, 24, 32)[0])
    write_image(tmp_path / "2.png", photograph(1, 24, 30)[0])
    with pytest.raises(ValueError, match=r"2\.png' is 30×24 pixels, .* are 32×24"):
        read_video(tmp_path, fps=12)


def test_transparency_lies_on_black(tmp_path):
    pixels = np.zeros((2, 8, 8, 4), np.uint8)
    pixels[..., 0] = 200
    pixels[:, :4, :, 3] = 255
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    frames = read_video(tmp_path, fps=8).frames
    assert (frames[:, :4] == (200, 0, 0)).all()
    assert (frames[:, 4:] == 0).all()


def test_unreadable_files_are_refused_in_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="no video file or folder"):
        read_video(tmp_path / "absent.mp4")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no images"):
        read_video(tmp_path / "empty", fps=8)
    for name, content in [("a.mp4", b""), ("b.mp4", b"hello" * 99), ("c.gif", b"GIF89a")]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=name) as caught:
            read_video(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_sound_alone_is_no_video(tmp_path):
    with av.open(str(tmp_path / "tone.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        tone = av.AudioFrame.from_ndarray(
            np.zeros((1, 4096), np.float32), format="fltp", layout="mono"
        )
        tone.sample_rate = 44100
        container.mux(stream.encode(tone))
        container.mux(stream.encode(None))
    with pytest.raises(ValueError, match="holds no video stream"):
        read_video(tmp_path / "tone.mp4")


def test_a_file_that_was_cut_off_is_refused(tmp_path):
    write_video(tmp_path / "v.mp4", photograph(), 16)
    content = (tmp_path / "v.mp4").read_bytes()
    for share in (0.1, 0.3, 0.7, 0.99):
        (tmp_path / "cut.mp4").write_bytes(content[: int(len(content) * share)])
        with pytest.raises(ValueError, match="not a video that can be read whole"):
            read_video(tmp_path / "cut.mp4")


def test_a_cut_off_webm_is_refused_though_it_decodes_without_an_error(tmp_path):
    grain = np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), np.uint8)
    with av.open(str(tmp_path / "v.webm"), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=16)
        stream.height = stream.width = 32
        stream.pix_fmt = "yuv420p"
        for image in grain:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    content = (tmp_path / "v.webm").read_bytes()
    read_video(tmp_path / "v.webm")
    (tmp_path / "cut.webm").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"it says that it lasts 1.50 s and ends after"):
        read_video(tmp_path / "cut.webm")


def test_the_poster_is_the_middle_frame():
    frames = photograph(9)
    assert np.array_equal(poster(frames), frames[4])
    assert np.array_equal(poster(frames[:1]), frames[0])


def test_sheet_indices_span_the_video():
    assert sheet_indices(81, 12)[::11] == [0, 80]
    assert sheet_indices(3, 12) == [0, 1, 2]
    assert sheet_indices(5, 1) == [0]
    assert all(len(set(sheet_indices(n, 12))) == 12 for n in range(12, 200))


def test_a_few_frames_over_a_video_are_those_of_the_whole(tmp_path):
    write_video(tmp_path / "v.mp4", photograph(9), 16)
    whole = read_video(tmp_path / "v.mp4").frames
    some = read_spread(tmp_path / "v.mp4", 3, 64)
    assert list(some) == [0, 4, 8]
    assert all(np.array_equal(image, shrink(whole[i], 64)) for i, image in some.items())
    write_video(tmp_path / "short.mp4", photograph(2), 16)
    assert list(read_spread(tmp_path / "short.mp4", 3, 64)) == [0, 1]
    content = (tmp_path / "v.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"cut\.mp4"):
        read_spread(tmp_path / "cut.mp4", 3, 64)
    _encode(tmp_path / "v.mkv", photograph(3), "ffv1", "bgr0")  # which does not say its length
    with pytest.raises(ValueError, match="fewer frames than it says"):
        read_spread(tmp_path / "v.mkv", 3, 64)


def test_a_contact_sheet_holds_the_frames_in_reading_order():
    frames = np.zeros((6, 30, 40, 3), np.uint8)
    frames[..., 1] = (40 * np.arange(6))[:, None, None]
    sheet = contact_sheet(frames, columns=3, rows=2, tile_width=80)
    assert sheet.shape == (120, 240, 3)
    greens = [sheet[r * 60 + 50, c * 80 + 70, 1] for r in range(2) for c in range(3)]
    assert greens == [0, 40, 80, 120, 160, 200]


def test_a_contact_sheet_of_a_short_video_has_no_empty_rows():
    frames = photograph(5)
    assert contact_sheet(frames, columns=4, rows=4, tile_width=64).shape == (2 * 48, 4 * 64, 3)
    assert contact_sheet(frames[:1], tile_width=64).shape == (48, 64, 3)
    with pytest.raises(ValueError, match="at least 1 column"):
        contact_sheet(frames, columns=0)


def test_images_are_written_as_their_ending_says(tmp_path):
    image = photograph(1)[0]
    write_image(tmp_path / "i.png", image)
    write_image(tmp_path / "i.jpg", image)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "i.png")), image)
    assert psnr(np.asarray(Image.open(tmp_path / "i.jpg")), image) > 32
    assert np.array_equal(read_image(tmp_path / "i.png"), image)
    assert shrink(image, 64).shape == (48, 64, 3)
    assert shrink(image, 9999) is image
