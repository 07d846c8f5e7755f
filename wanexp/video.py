"""Video files: frames to H.264 and back, posters and contact sheets.

Axes: T H W 3, RGB uint8. ``fps`` is frames per second.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from PIL import Image

CRF = 18
"""x264's constant rate factor; 18 is close to indistinguishable from the frames."""

THREADS = 4
"""Fixed, because x264 writes other bytes for another number of threads."""

STILLS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
ANIMATED = frozenset({".gif", ".webp", ".png", ".apng"})
"""Read by Pillow, which lays animation frames over each other as they ask."""

LONGEST_TIME_BASE = 1001
"""Largest denominator of a frame rate: 24000/1001 and 29.97 stay exact."""


class Video(NamedTuple):
    """uint8 RGB frames (T, H, W, 3) and their rate per second.

    ``gaps`` are the least and the most seconds between two frames where these differ by more than
    half; None where frames are evenly spaced.
    """

    frames: np.ndarray
    fps: float
    gaps: tuple[float, float] | None = None


def write_video(path: Path, frames: np.ndarray, fps: float | Fraction) -> None:
    """Write an H.264 mp4 that browsers play: yuv420p, BT.709 converted and tagged, +faststart.

    yuv420p has one colour sample for two by two pixels, so an odd width or height gains one
    column or row: the last one, repeated. Compute measurements on ``frames``, not on the file.

    Raises:
        ValueError: The frames are not (T, H, W, 3) uint8 with T ≥ 1, or fps is not positive.
        OSError: The file cannot be written; what was written of it stays.
    """
    import av

    check_frames(frames)
    if not math.isfinite(fps) or fps <= 0:
        raise ValueError(f"fps: expected a positive number, got {fps}")
    rate = Fraction(fps).limit_denominator(LONGEST_TIME_BASE)
    if rate <= 0:
        raise ValueError(f"fps: expected at least 1/{LONGEST_TIME_BASE}, got {fps}")
    frames = _even(frames)
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(CRF), "preset": "medium"}
        codec = stream.codec_context
        codec.thread_count = THREADS
        codec.color_primaries = codec.color_trc = codec.colorspace = 1  # BT.709
        for frame in frames:
            container.mux(stream.encode(_to_yuv(frame)))
        container.mux(stream.encode(None))


def read_video(path: Path, fps: float | None = None) -> Video:
    """All frames of a video file, an animated image or a folder of numbered images.

    A file that does not say its colour matrix is taken for BT.601, as FFmpeg takes it. A variable
    rate is read as its mean. Transparency is laid on black. ``fps`` overrides the file's own
    rate; a folder of images has none and needs it.

    Raises:
        FileNotFoundError: There is no such file or folder.
        ValueError: It holds no video that can be read whole; one sentence says why.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no video file or folder {str(path)!r}")
    if fps is not None and (not math.isfinite(fps) or fps <= 0):
        raise ValueError(f"fps: expected a positive number, got {fps}")
    if path.is_dir():
        return _read_folder(path, fps)
    if path.suffix.lower() in ANIMATED:
        frames, own, times = _read_animation(path)
    else:
        frames, own, times = _read_container(path)
    gaps = _uneven(times)
    # What a file says of an uneven rate is not its mean.
    rate = fps or ((len(times) - 1) / (times[-1] - times[0]) if gaps else own)
    if not rate:
        raise ValueError(f"{str(path)!r} does not say its frame rate: give fps")
    return Video(frames, float(rate), gaps)


def poster(frames: np.ndarray) -> np.ndarray:
    """The middle frame (H, W, 3): the first is the source image, which every arm shares."""
    check_frames(frames)
    return frames[len(frames) // 2]


def sheet_indices(count: int, tiles: int) -> list[int]:
    """At most ``tiles`` frame numbers of ``count``, evenly spread, with the first and the last."""
    if count <= tiles:
        return list(range(count))
    return [round(i * (count - 1) / max(1, tiles - 1)) for i in range(tiles)]


def contact_sheet(
    frames: np.ndarray, *, columns: int = 4, rows: int = 3, tile_width: int = 320
) -> np.ndarray:
    """Frames spread over the video on one page, numbered: (rows·h, columns·tile_width, 3).

    A video with fewer frames than tiles gets the rows that it fills; spare tiles are dark grey.
    """
    from PIL import Image, ImageDraw, ImageFont

    check_frames(frames)
    if min(columns, rows, tile_width) < 1:
        raise ValueError(
            f"contact sheet: expected at least 1 column, row and pixel, got {columns} columns,"
            f" {rows} rows, tiles {tile_width} wide"
        )
    indices = sheet_indices(len(frames), columns * rows)
    height = max(1, round(frames.shape[1] * tile_width / frames.shape[2]))
    columns = min(columns, len(indices))
    page = Image.new(
        "RGB", (columns * tile_width, math.ceil(len(indices) / columns) * height), (32, 32, 32)
    )
    pen = ImageDraw.Draw(page)
    font = ImageFont.load_default(max(8, tile_width // 20))
    for place, index in enumerate(indices):
        row, column = divmod(place, columns)
        corner = (column * tile_width, row * height)
        page.paste(Image.fromarray(frames[index]).resize((tile_width, height)), corner)
        pen.text(
            (corner[0] + 4, corner[1] + 2),
            str(index),
            font=font,
            fill="white",
            stroke_width=2,
            stroke_fill="black",
        )
    return np.asarray(page)


def shrink(image: np.ndarray, width: int) -> np.ndarray:
    """The image (H, W, 3) no wider than ``width``, its shape kept."""
    from PIL import Image

    if image.shape[1] <= width:
        return image
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def read_spread(path: Path, count: int, width: int) -> dict[int, np.ndarray]:
    """By number, ``count`` frames over an mp4 (first and last among them), shrunk to ``width``.

    Turns only these into RGB, which takes most of the time that ``read_video`` takes.

    Raises:
        ValueError: The file cannot be read whole.
    """
    found = {}
    with _opened(path) as container:
        indices = sheet_indices(container.streams.video[0].frames, count)
        for index, frame in enumerate(container.decode(video=0)):
            if index in indices:
                found[index] = shrink(_to_rgb(frame), width)
    if list(found) != indices or not found:
        raise ValueError(f"{str(path)!r} holds fewer frames than it says")
    return found


def read_image(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 of an image file, transparency laid on black."""
    from PIL import Image

    with Image.open(path) as opened:
        return _on_black(opened)


def write_image(path: Path, image: np.ndarray) -> None:
    """Write (H, W, 3) uint8 as what the ending says: ``.png`` is exact, ``.jpg`` is small."""
    from PIL import Image

    check_frames(image[None])
    Image.fromarray(image).save(path, quality=92)  # which PNG does not heed


def check_frames(frames: np.ndarray) -> None:
    """Raises ValueError unless these are (T, H, W, 3) uint8 frames with T, H and W at least 1."""
    shape = tuple(frames.shape)
    if frames.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or not all(shape):
        raise ValueError(
            f"frames: expected uint8 of shape (T, H, W, 3) with T, H, W ≥ 1,"
            f" got {frames.dtype} {shape}"
        )


def _even(frames: np.ndarray) -> np.ndarray:
    odd = [(0, size % 2) for size in frames.shape[1:3]]
    return np.pad(frames, [(0, 0), *odd, (0, 0)], mode="edge") if any(o for _, o in odd) else frames


def _interpolation() -> int:
    """The careful path of swscale; its quick one is a grey level too dark on average."""
    from av.video.reformatter import Interpolation

    return (
        Interpolation.BICUBIC
        | Interpolation.FULL_CHR_H_INT
        | Interpolation.FULL_CHR_H_INP
        | Interpolation.ACCURATE_RND
    )


def _to_yuv(frame: np.ndarray) -> VideoFrame:
    import av

    rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
    return rgb.reformat(
        format="yuv420p",
        dst_colorspace="itu709",
        dst_color_range="MPEG",
        interpolation=_interpolation(),
    )


@contextmanager
def _opened(path: Path) -> Iterator[InputContainer]:
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError(f"{str(path)!r} holds no video stream")
            # Threads by slice: those by frame lose the error of a file that was cut off.
            container.streams.video[0].thread_type = "SLICE"
            yield container
    except (FFmpegError, IndexError) as error:  # IndexError: PyAV on a file of a few bytes
        raise ValueError(f"{str(path)!r} is not a video that can be read whole ({error})") from None


def _read_container(path: Path) -> tuple[np.ndarray, float | None, list[float]]:
    """Frames, their rate, and the seconds at which each begins; none where that is not known."""
    frames, times = [], []
    with _opened(path) as container:
        stream = container.streams.video[0]
        for frame in container.decode(stream):
            frames.append(_to_rgb(frame))
            times.append(frame.time)
        rate = stream.average_rate or stream.guessed_rate
        said = _said_length(container)
    if not frames:
        raise ValueError(f"{str(path)!r} holds no frames")
    if len({frame.shape for frame in frames}) > 1:
        raise ValueError(f"{str(path)!r} changes its size midway, which one array cannot hold")
    known = [time for time in times if time is not None]
    if len(known) < len(times) or any(later <= time for time, later in pairwise(known)):
        return np.stack(frames), float(rate) if rate else None, []
    _check_whole(path, known, said, float(rate) if rate else None)
    return np.stack(frames), float(rate) if rate else None, known


def _said_length(container: InputContainer) -> float | None:
    """Seconds of video that the file says it has; None where only sound's may be known."""
    stream = container.streams.video[0]
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if container.duration and not container.streams.audio:
        return container.duration / 1e6
    return None


def _check_whole(path: Path, times: list[float], said: float | None, rate: float | None) -> None:
    """Raises ValueError where a file that was cut off decodes without an error (Matroska, WebM)."""
    if said is None or not rate:
        return
    held = times[-1] - times[0] + 1 / rate
    if held < 0.9 * said - 2 / rate:
        raise ValueError(
            f"{str(path)!r} is not a video that can be read whole (it says that it lasts"
            f" {said:.2f} s and ends after {held:.2f} s)"
        )


def _uneven(times: list[float]) -> tuple[float, float] | None:
    """The least and the most time between two frames, where these differ by more than half."""
    steps = [later - time for time, later in pairwise(times)]
    if not steps or max(steps) <= 1.5 * min(steps):
        return None
    return min(steps), max(steps)


def _to_rgb(frame: VideoFrame) -> np.ndarray:
    array = frame.to_ndarray(format="rgb24", interpolation=_interpolation())
    turns = round(frame.rotation / 90)  # phones store turned pictures; anticlockwise
    return np.ascontiguousarray(np.rot90(array, turns)) if turns % 4 else array


def _read_animation(path: Path) -> tuple[np.ndarray, float | None, list[float]]:
    """As ``_read_container``."""
    from PIL import Image, ImageSequence, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            frames, milliseconds = [], []
            for frame in ImageSequence.Iterator(opened):
                frames.append(_on_black(frame))
                milliseconds.append(frame.info.get("duration", 0))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{str(path)!r} is not an animation that can be read ({error})") from None
    total = sum(milliseconds)
    times = [sum(milliseconds[:t]) / 1000 for t in range(len(frames))] if total else []
    return np.stack(frames), 1000 * len(frames) / total if total else None, times


def _read_folder(folder: Path, fps: float | None) -> Video:
    from PIL import Image, UnidentifiedImageError

    files = [p for p in folder.iterdir() if p.suffix.lower() in STILLS and p.is_file()]
    if not files:
        raise ValueError(f"the folder {str(folder)!r} holds no images")
    if fps is None:
        raise ValueError(f"{str(folder)!r} is a folder of images and has no frame rate: give fps")
    frames = []
    for path in sorted(files, key=_natural):
        try:
            with Image.open(path) as opened:
                frames.append(_on_black(opened))
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise ValueError(f"{str(path)!r} is not an image that can be read ({error})") from None
        if frames[-1].shape != frames[0].shape:
            raise ValueError(
                f"{str(path)!r} is {frames[-1].shape[1]}×{frames[-1].shape[0]} pixels, the images"
                f" before it in the folder are {frames[0].shape[1]}×{frames[0].shape[0]}"
            )
    return Video(np.stack(frames), float(fps))


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts frame2 before frame10."""
    pieces = re.findall(r"\d+|\D+", path.name)
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in pieces]


def _on_black(image: Image.Image) -> np.ndarray:
    from PIL import Image

    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "black"), rgba)
    return np.asarray(image.convert("RGB")).copy()
