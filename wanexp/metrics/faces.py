"""The face: found once, in the source image, and followed by flow from there.

Never looked for in the frames: detectors miss blurred faces, so the worst frames would drop out and
the mean improve. Boxes are (x0, y0, x1, y1) in pixels, x1 and y1 just outside.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from wanexp.metrics.detail import area_detail
from wanexp.metrics.flow import Grey
from wanexp.metrics.observation import Box, Frames, Observation
from wanexp.metrics.planes import luma
from wanexp.metrics.reading import Reading, undefined

HAAR_SIZES = (320, 448)
"""The source is searched at two sizes (longer side, px); a face is what is found in both. Among 19
faceless photographs one size alone took up to 2 for faces, the two together none."""

LBP_SIZES = (256, 384)
"""The same for the other detector, which costs more than twice as much a pixel: 3, and none."""

SAME_FACE = 0.5
"""Boxes found at two sizes are one face where they overlap by this (intersection over union)."""

LEAST_SCORE = 0.8
"""Of YuNet's, from 0 to 1."""

YUNET_SIZE = 640
"""The longer side, px, at which YuNet looks; larger images are shrunk."""

LEAST_FACE = 16.0
"""A face less wide than this in the frames has no detail that could be lost, px."""

NEARLY = 0.75
"""In parts of LEAST_FACE: a face of this size is still found and named as too small. Looking for
smaller ones, too, would take up to twice as long."""


def face_detail(observation: Observation) -> Reading:
    """``detail`` within the face: the share of the source's fine detail that the face keeps.

    The face is the box that was given or, without one, the largest face found in the source. Large
    turns of the head and changes of expression cannot be followed and give frames without a value.
    """
    box = face_in(observation)
    if box is None:
        return undefined("no face in the source image: none was found and no face box was given")
    side = min(box[2] - box[0], box[3] - box[1])
    if side < LEAST_FACE:
        return undefined(
            f"the face is too small: {side:.0f} px in the frames, at least {LEAST_FACE:.0f} needed"
        )
    reading = area_detail(observation, box, "the face")
    return dataclasses.replace(reading, extras={**reading.extras, "face_px": float(side)})


def face_in(observation: Observation) -> Box | None:
    """Where the face is in the source, frame pixels."""
    if observation.face_box is not None:
        return observation.face_box
    (height, width), portrait = observation.size, observation.portrait.shape
    by_x, by_y = width / portrait[1], height / portrait[0]
    least = NEARLY * LEAST_FACE / max(by_x, by_y)
    found = find_face(observation.portrait, observation.face_model, least)
    return None if found is None else scaled(found, by_x, by_y)


def find_face(image: Frames, model: Path | None = None, least: float = 0.0) -> Box | None:
    """The largest face in an RGB image (H, W, 3), or None.

    With a model, YuNet. Without one, frontal faces only: OpenCV's Haar cascade ``frontalface_alt2``
    where the installed OpenCV has it (version 5 has not), otherwise the LBP cascade that
    scikit-image brings along.

    Args:
        image: uint8.
        model: YuNet's ONNX file, as OpenCV's zoo has it.
        least: A cascade looks for no face less wide than this, px.

    Raises:
        ValueError: The file holds no YuNet.

    Source: Wu et al., "YuNet: a tiny millisecond-level face detector", 2023. Viola and Jones, 2001;
    Lienhart and Maydt, 2002 (Haar). Liao et al., 2007 (LBP).
    """
    if model is not None:
        return _largest(_yunet_faces(image, model))
    grey = np.clip(np.rint(luma(image)), 0, 255).astype(np.uint8)
    cascade = haar_file()
    if cascade is not None:
        faces = _agreed(grey, HAAR_SIZES, haar_detector(cascade), least)
    else:
        faces = _agreed(grey, LBP_SIZES, lbp_detector(), least)
    return _largest(faces)


def scaled(box: Box, by_x: float, by_y: float) -> Box:
    """``box`` in an image that is resized by these factors."""
    return box[0] * by_x, box[1] * by_y, box[2] * by_x, box[3] * by_y


Detector = Callable[[Grey, float], list[Box]]
"""An image, and the least side of a face in it, px → boxes."""


def haar_file() -> Path | None:
    """Where OpenCV keeps the cascade, or None where this OpenCV cannot use one."""
    if not hasattr(cv2, "CascadeClassifier"):
        return None
    path = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_alt2.xml"
    return path if path.exists() else None


def haar_detector(cascade: Path) -> Detector:
    """All boxes that OpenCV's cascade takes for faces."""
    classifier = cv2.CascadeClassifier(str(cascade))

    def detect(grey: Grey, least: float) -> list[Box]:
        found = classifier.detectMultiScale(
            grey, scaleFactor=1.15, minNeighbors=3, minSize=(int(least), int(least))
        )
        return [_box(x, y, width, height) for x, y, width, height in found]

    return detect


def lbp_detector() -> Detector:
    """All boxes that scikit-image's cascade takes for faces."""
    from skimage.data import lbp_frontal_face_cascade_filename
    from skimage.feature import Cascade

    cascade = Cascade(lbp_frontal_face_cascade_filename())

    def detect(grey: Grey, least: float) -> list[Box]:
        side, smallest = max(grey.shape), max(24, int(least))
        found = cascade.detect_multi_scale(
            img=grey,
            scale_factor=1.15,
            step_ratio=1,
            min_size=(smallest, smallest),
            max_size=(side, side),
        )
        return [_box(face["c"], face["r"], face["width"], face["height"]) for face in found]

    return detect


def load_yunet(model: Path, size: tuple[int, int]) -> cv2.FaceDetectorYN:
    """YuNet for images of (width, height).

    Raises:
        ValueError: The file holds none.
    """
    try:
        return cv2.FaceDetectorYN.create(str(model), "", size, score_threshold=LEAST_SCORE)
    except cv2.error as error:
        raise ValueError(f"{str(model)!r} holds no YuNet ({error.err})") from None


def _yunet_faces(image: Frames, model: Path) -> list[Box]:
    """All boxes that YuNet takes for faces, cut to the image."""
    height, width = image.shape[:2]
    shrink = min(1.0, YUNET_SIZE / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    _, found = load_yunet(model, size).detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
    boxes = []
    for row in () if found is None else found:
        x0, y0, x1, y1 = scaled(_box(*map(float, row[:4])), width / size[0], height / size[1])
        boxes.append((max(0.0, x0), max(0.0, y0), min(width, x1), min(height, y1)))
    return boxes


def _largest(faces: list[Box]) -> Box | None:
    return max(faces, key=lambda face: (face[2] - face[0], face), default=None)


def _box(x: float, y: float, width: float, height: float) -> Box:
    return float(x), float(y), float(x + width), float(y + height)


def _agreed(grey: Grey, sizes: tuple[int, int], detect: Detector, least: float) -> list[Box]:
    """The boxes found at the first size that are found at the second too, in ``grey``'s pixels.

    At the second size a box is looked for around itself alone and from half its size on, at a sixth
    of the time.
    """
    first, second = (_resized(grey, size) for size in sizes)
    to_second, to_grey = sizes[1] / sizes[0], max(grey.shape) / sizes[0]
    found = []
    for box in detect(first, least / to_grey):
        wanted = scaled(box, to_second, to_second)
        left, top, nearby = _around(second, wanted)
        half = (wanted[2] - wanted[0]) / 2
        again = (_moved(one, left, top) for one in detect(nearby, half))
        if any(_overlap(wanted, one) >= SAME_FACE for one in again):
            found.append(scaled(box, to_grey, to_grey))
    return found


def _around(grey: Grey, box: Box) -> tuple[int, int, Grey]:
    """The part of an image twice as wide and high as ``box`` about it, and where that begins."""
    reach = (box[2] - box[0]) / 2, (box[3] - box[1]) / 2
    left, top = (max(0, int(edge - by)) for edge, by in zip(box[:2], reach, strict=True))
    right, bottom = (int(edge + by) + 1 for edge, by in zip(box[2:], reach, strict=True))
    return left, top, grey[top:bottom, left:right]


def _moved(box: Box, by_x: float, by_y: float) -> Box:
    return box[0] + by_x, box[1] + by_y, box[2] + by_x, box[3] + by_y


def _resized(grey: Grey, side: int) -> Grey:
    """The image with its longer side at ``side`` px."""
    scale = side / max(grey.shape)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    width, height = (max(1, round(length * scale)) for length in grey.shape[::-1])
    return np.asarray(cv2.resize(grey, (width, height), interpolation=how), np.uint8)


def _overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = width * height
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return both / (areas - both)
