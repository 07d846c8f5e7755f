"""Faults with a known strength: one number spoils a video, and the realised draw is handed out.

Each fault takes (B, 3, T, H, W) videos in [−1, 1] and a strength per video, the random ones a seed
too, and leaves the first frame as it is: image-to-video is given it. A strength of 0 changes
nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from wanexp.world.geometry import pixel_grid
from wanexp.world.scene import FAULTS, Scenes

RIPPLE_LENGTH, RIPPLE_FRAMES = 0.8, 5.0
"""From crest to crest, in half sides and in frames."""

WOBBLE_CELLS = 7
"""Control points of the non-rigid displacement along the smaller side; bicubic in between."""


@dataclass(frozen=True, kw_only=True)
class Spoiled:
    """A faulty video and the draw that made it.

    Attributes:
        video: (B, 3, T, H, W) in [−1, 1].
        draw: What was realised in each frame: gains (B, T) of ``flicker``, shifts (B, T, 2) in px
            of ``jitter``, displacements (B, T, H, W, 2) in px of ``wobble``, kept frames (B, T) of
            ``freeze`` and ``stutter``; elsewhere the strengths (B,).
    """

    video: Tensor
    draw: Tensor


def flicker(video: Tensor, strength: Tensor, seed: int) -> Spoiled:
    """Every frame brighter or darker by its own gain: ``strength`` is its deviation in %."""
    normal = _normal((len(video), video.shape[2]), seed, video)
    gains = 1 + strength[:, None] / 100 * normal
    gains = torch.cat([torch.ones_like(gains[:, :1]), gains[:, 1:]], dim=1).clamp(min=0)
    brighter = (video + 1) * (gains - 1)[:, None, :, None, None]
    return Spoiled(video=(video + brighter).clamp(-1, 1), draw=gains)


def jitter(video: Tensor, strength: Tensor, seed: int) -> Spoiled:
    """A shaken camera: ``strength`` is the deviation of its position on each axis, in px."""
    shifts = strength[:, None, None] * _normal((len(video), video.shape[2], 2), seed, video)
    shifts = torch.cat([torch.zeros_like(shifts[:, :1]), shifts[:, 1:]], dim=1)
    height, width = video.shape[3:]
    field = shifts[:, :, None, None].expand(-1, -1, height, width, -1)
    return Spoiled(video=displaced(video, field), draw=shifts)


def wobble(video: Tensor, strength: Tensor, seed: int) -> Spoiled:
    """Non-rigid displacement, new in every frame: ``strength`` is its RMS length in px."""
    batch, _, frames, height, width = video.shape
    grid = _normal((batch * frames, 2, WOBBLE_CELLS, WOBBLE_CELLS), seed, video)
    field = F.interpolate(grid, (height, width), mode="bicubic", align_corners=True)
    field = field.view(batch, frames, 2, height, width).permute(0, 1, 3, 4, 2)
    # Without its mean, so that it is no jitter, and of the asked strength in each video.
    field = field - field.mean((2, 3), keepdim=True)
    rms = (field[:, 1:] ** 2).sum(-1).mean((1, 2, 3)).clamp(min=1e-12).sqrt()
    field = field * (strength / rms)[:, None, None, None, None]
    field = torch.cat([torch.zeros_like(field[:, :1]), field[:, 1:]], dim=1)
    return Spoiled(video=displaced(video, field), draw=field)


def ripple(video: Tensor, strength: Tensor, seed: int) -> Spoiled:
    """A picture seen through moving water: ``strength`` is the displacement's RMS length in px.

    Two waves travel in directions of their own, one shifting the picture across, one down. A video
    model can learn this warping; that of ``wobble`` has nothing to learn.
    """
    frames, height, width = video.shape[2:]
    angle, phase = 2 * math.pi * _uniform((2, len(video), 2), seed, video)
    way = torch.stack([angle.cos(), angle.sin()], dim=-1) * (2 * math.pi / RIPPLE_LENGTH)
    along = torch.einsum("hwd,bkd->bhwk", pixel_grid(height, width, video.device), way)
    turns = torch.arange(frames, device=video.device) * (2 * math.pi / RIPPLE_FRAMES)
    waves = torch.sin(along[:, None] + phase[:, None, None, None] + turns[:, None, None, None])
    field = waves * strength[:, None, None, None, None]
    field = torch.cat([torch.zeros_like(field[:, :1]), field[:, 1:]], dim=1)
    return Spoiled(video=displaced(video, field), draw=field)


def blur(video: Tensor, strength: Tensor) -> Spoiled:
    """A Gaussian over each frame: ``strength`` is its deviation in px."""
    return Spoiled(video=_after_first(video, blurred(video, strength)), draw=strength)


def noise(video: Tensor, strength: Tensor, seed: int) -> Spoiled:
    """Grain, new in every pixel: ``strength`` is its deviation in grey levels of 255."""
    grain = (
        _normal(tuple(video.shape), seed, video) * (strength * 2 / 255)[:, None, None, None, None]
    )
    return Spoiled(video=_after_first(video, (video + grain).clamp(-1, 1)), draw=strength)


def ghosting(video: Tensor, strength: Tensor) -> Spoiled:
    """Each frame keeps a share of the one before it, which had kept its own: in [0, 1)."""
    kept, frames = strength[:, None, None, None], [video[:, :, 0]]
    for frame in video.unbind(2)[1:]:
        frames.append(torch.lerp(frame, frames[-1], kept))
    return Spoiled(video=torch.stack(frames, dim=2), draw=strength)


def sharpening(video: Tensor, strength: Tensor) -> Spoiled:
    """Unsharp masking: ``strength`` times what a Gaussian of 1 px takes away is added."""
    detail = video - blurred(video, torch.ones_like(strength))
    sharp = (video + strength[:, None, None, None, None] * detail).clamp(-1, 1)
    return Spoiled(video=_after_first(video, sharp), draw=strength)


def saturation(video: Tensor, strength: Tensor) -> Spoiled:
    """Colours pushed away from grey: 0 changes nothing, 1 doubles their distance."""
    weights = video.new_tensor([0.2126, 0.7152, 0.0722])[None, :, None, None, None]
    grey = (video * weights).sum(1, keepdim=True)
    vivid = (video + strength[:, None, None, None, None] * (video - grey)).clamp(-1, 1)
    return Spoiled(video=_after_first(video, vivid), draw=strength)


def freeze(video: Tensor, strength: Tensor) -> Spoiled:
    """The last share of the frames stands still: 1 is a still picture."""
    frames = video.shape[2]
    last = ((1 - strength) * (frames - 1)).round().long()
    kept = torch.minimum(torch.arange(frames, device=video.device)[None], last[:, None])
    return Spoiled(video=_frames(video, kept), draw=kept)


def stutter(video: Tensor, strength: Tensor, seed: int) -> Spoiled:
    """A frame repeats its predecessor with this probability."""
    chance = _uniform((len(video), video.shape[2]), seed, video)
    shown = torch.arange(video.shape[2], device=video.device)[None].expand(len(video), -1)
    fresh = torch.where(chance >= strength[:, None], shown, 0)
    kept = fresh.cummax(dim=1).values
    return Spoiled(video=_frames(video, kept), draw=kept)


Fault = Callable[[Tensor, Tensor, int], Spoiled]
"""(video, strength, seed) → the spoiled video."""

FAULT_FUNCTIONS: dict[str, Fault] = {
    "flicker": flicker,
    "jitter": jitter,
    "wobble": wobble,
    "blur": lambda video, strength, _: blur(video, strength),
    "noise": noise,
    "ghosting": lambda video, strength, _: ghosting(video, strength),
    "sharpening": lambda video, strength, _: sharpening(video, strength),
    "saturation": lambda video, strength, _: saturation(video, strength),
    "freeze": lambda video, strength, _: freeze(video, strength),
    "stutter": stutter,
}

SPOKEN: dict[str, Fault] = {
    "blurry": lambda video, strength, _: blur(video, strength),
    "flickering": flicker,
    "warping": ripple,
    "noisy": noise,
    "jittery": jitter,
}
"""The word of a caption → the fault that it names."""

IN_PIXELS = ("blurry", "warping", "jittery")
"""Words whose amounts are in px of a 128-pixel frame and grow with it."""


def spoiled(video: Tensor, scenes: Scenes, seed: int) -> Tensor:
    """Each video with its scene's own fault."""
    out = video.clone()
    for word, fault in SPOKEN.items():
        rows = (scenes.fault == FAULTS.index(word)).nonzero()[:, 0]
        if len(rows):
            scale = min(video.shape[3:]) / 128 if word in IN_PIXELS else 1.0
            out[rows] = fault(video[rows], scenes.fault_amount[rows] * scale, seed).video
    return out


def face_blur(video: Tensor, strength: Tensor, faces: Tensor) -> Spoiled:
    """Only the faces lose their detail: ``strength`` in px, ``faces`` (B, T, H, W) in [0, 1]."""
    soft = torch.lerp(video, blurred(video, strength), faces[:, None].to(video))
    return Spoiled(video=_after_first(video, soft), draw=strength)


def displaced(video: Tensor, field: Tensor) -> Tensor:
    """Each pixel shows what lies at its place plus a (B, T, H, W, 2) displacement in px.

    By cubic B-splines through the pixels, mirrored beyond the edges. Not by PyTorch's bicubic
    samples: their slope at a pixel is 1.5 times the picture's, so that small displacements came out
    up to half as large again as they were asked for.

    Source: Unser, 1999, Splines: A Perfect Fit for Signal and Image Processing.
    """
    batch, _, frames, height, width = video.shape
    flat = video.transpose(1, 2).reshape(batch * frames, 3, height, width)
    knots = (_spline(height, video) @ flat @ _spline(width, video).T).permute(0, 2, 3, 1)
    knots = knots.reshape(-1, 3)  # three colours side by side are fetched at once
    y, x = torch.meshgrid(
        torch.arange(height, device=video.device),
        torch.arange(width, device=video.device),
        indexing="ij",
    )
    field = field.reshape(batch * frames, height, width, 2)
    columns, across = _taps(x + field[..., 0], width)
    rows, down = _taps(y + field[..., 1], height)
    image = torch.arange(batch * frames, device=video.device)[:, None, None] * (height * width)
    moved = torch.zeros_like(knots)
    for row, weight in zip(rows, down, strict=True):
        for column, other in zip(columns, across, strict=True):
            places = (image + row * width + column).flatten()
            moved += knots[places] * (weight * other).flatten()[:, None]
    moved = moved.view(batch, frames, height, width, 3).permute(0, 4, 1, 2, 3).clamp(-1, 1)
    unmoved = (field == 0).flatten(1).all(1).view(batch, 1, frames, 1, 1)
    return torch.where(unmoved, video, moved)  # an unmoved frame is not resampled


def _spline(length: int, like: Tensor) -> Tensor:
    """(L, L): what turns pixels into the spline's knots; the edge pixels are mirrored."""
    matrix = torch.eye(length, dtype=torch.float64) * 4
    matrix += torch.diag(torch.ones(length - 1, dtype=torch.float64), 1)
    matrix += torch.diag(torch.ones(length - 1, dtype=torch.float64), -1)
    matrix[0, 0] += 1
    matrix[-1, -1] += 1
    return torch.linalg.inv(matrix / 6).to(like)


def _taps(places: Tensor, length: int) -> tuple[list[Tensor], list[Tensor]]:
    """The four knots about each place along an axis, and their weights."""
    first = places.floor()
    t = places - first
    weights = [
        (1 - t) ** 3 / 6,
        (3 * t**3 - 6 * t**2 + 4) / 6,
        (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
        t**3 / 6,
    ]
    knots = [first.long() + offset for offset in (-1, 0, 1, 2)]
    periods = [knot.remainder(2 * length) for knot in knots]
    return [torch.minimum(knot, 2 * length - 1 - knot) for knot in periods], weights


def blurred(video: Tensor, sigma: Tensor) -> Tensor:
    """Each video under its own Gaussian, (B,) px; mirrored at the edges."""
    out = video.clone()
    for row, deviation in enumerate(sigma.tolist()):
        if deviation > 0:
            reach = max(1, math.ceil(3 * deviation))
            axis = torch.arange(-reach, reach + 1, device=video.device)
            kernel = torch.exp(-(axis**2) / (2 * deviation**2))
            kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
            frames = video[row].transpose(0, 1)
            wide = F.conv2d(F.pad(frames, (reach, reach, 0, 0), "reflect"), kernel, groups=3)
            tall = F.conv2d(
                F.pad(wide, (0, 0, reach, reach), "reflect"), kernel.transpose(2, 3), groups=3
            )
            out[row] = tall.transpose(0, 1)
    return out


def _uniform(shape: tuple[int, ...], seed: int, like: Tensor) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)).to(like)


def _normal(shape: tuple[int, ...], seed: int, like: Tensor) -> Tensor:
    """From the CPU, so that every device gets the same draw."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(like)


def _after_first(clean: Tensor, faulty: Tensor) -> Tensor:
    return torch.cat([clean[:, :, :1], faulty[:, :, 1:]], dim=2)


def _frames(video: Tensor, kept: Tensor) -> Tensor:
    index = kept[:, None, :, None, None].expand_as(video)
    return torch.gather(video, 2, index)
