"""Source images: found, checked, cropped and resized to a recipe's frame.

Axes: H W 3, RGB uint8. Boxes are (x0, y0, x1, y1) in pixels.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from wanexp.names import nearest
from wanexp.strict import ConfigError

if TYPE_CHECKING:
    import numpy as np

Box = tuple[float, float, float, float]
BUNDLED = "skimage:"
ORIENTATION = 0x0112
"""The EXIF tag for how a camera was held; 5 to 8 mean turned by a quarter."""


@functools.cache
def _bundled_folder() -> Path:
    spec = importlib.util.find_spec("skimage")  # finds the package without importing it
    if spec is None or spec.origin is None:
        raise ConfigError("scikit-image is not installed; its bundled images cannot be used")
    return Path(spec.origin).parent / "data"


def image_path(image: str) -> Path:
    """The file behind ``image``: a path, or ``skimage:NAME`` for one that ships with skimage."""
    if not image.startswith(BUNDLED):
        return Path(image).expanduser()
    return _bundled_folder() / image.removeprefix(BUNDLED)


def check_image(where: str, image: str) -> tuple[int, int]:
    """(width, height), upright, of an image file that exists and is whole, else a ConfigError."""
    from PIL import Image, UnidentifiedImageError

    if image == "???":
        raise ConfigError(f"{where}: fill in a file, or skimage:NAME")
    path = image_path(image)
    if not path.is_file():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise ConfigError(f"{where}: no file {str(path)!r}{nearest(path.name, siblings)}")
    stat = path.stat()
    try:
        return _upright_size(path, stat.st_mtime_ns, stat.st_size)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError) as error:
        raise ConfigError(f"{where}: {str(path)!r} is not an image ({error})") from None


@functools.lru_cache(maxsize=256)
def _upright_size(path: Path, mtime: int, size: int) -> tuple[int, int]:  # noqa: ARG001
    """Checked once as long as the file keeps its time of change and its size."""
    from PIL import Image

    with Image.open(path) as opened:
        opened.load()
        width, height = opened.size
        sideways = opened.getexif().get(ORIENTATION, 1) >= 5
    return (height, width) if sideways else (width, height)


def image_digest(path: Path) -> str:
    """SHA-256 of the file's bytes."""
    stat = path.stat()
    return _digest_of(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=256)
def _digest_of(path: Path, mtime: int, size: int) -> str:  # noqa: ARG001  (changed files differ)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def frame_window(
    size: tuple[int, int], crop: Box | None, width: int, height: int
) -> tuple[float, float, float, float]:
    """The part of the image that becomes the frame: the crop, cut at its centre to the aspect.

    ``size`` is the image's (width, height).
    """
    x0, y0, x1, y1 = crop or (0, 0, *size)
    scale = min((x1 - x0) / width, (y1 - y0) / height)
    w, h = width * scale, height * scale
    # Rounding may give a hair more than there is, which resampling would refuse.
    left, top = max((x0 + x1 - w) / 2, x0), max((y0 + y1 - h) / 2, y0)
    return left, top, min(left + w, x1), min(top + h, y1)


def load_source(image: str, crop: Box | None, width: int, height: int) -> np.ndarray:
    """The image as the model's first frame: (height, width, 3) uint8 RGB, Lanczos resampled.

    Transparency is laid on black; greyscale is repeated in three channels, its upper eight bits
    where it has sixteen.
    """
    import numpy as np
    from PIL import Image, ImageOps

    with Image.open(image_path(image)) as opened:
        upright = ImageOps.exif_transpose(opened)
        if upright.mode.startswith("I;16"):  # which Pillow would cut off at 255
            upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
        if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
            upright = Image.alpha_composite(
                Image.new("RGBA", upright.size, "black"), upright.convert("RGBA")
            )
        rgb = upright.convert("RGB")
    box = frame_window(rgb.size, crop, width, height)
    return np.asarray(rgb.resize((width, height), Image.Resampling.LANCZOS, box=box)).copy()


def to_frame(box: Box, window: Box, width: int, height: int) -> Box | None:
    """A box of the image file in pixels of the frame, clipped; None where nothing is left."""
    left, top, right, bottom = window
    sx, sy = width / (right - left), height / (bottom - top)
    x0, x1 = (min(max((x - left) * sx, 0), width) for x in (box[0], box[2]))
    y0, y1 = (min(max((y - top) * sy, 0), height) for y in (box[1], box[3]))
    return (x0, y0, x1, y1) if x1 - x0 >= 1 and y1 - y0 >= 1 else None
