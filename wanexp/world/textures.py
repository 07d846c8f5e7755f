"""Pictures that scenes are made of: photographs, dead leaves, fractal clouds and patterns.

Dead leaves (discs of all sizes that hide each other) have the edges and the scaling of natural
images and never run out: Lee, Mumford & Huang, "Occlusion models for natural images" (2001).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

HELD_OUT = ("astronaut.png", "chelsea.png", "motorcycle_left.png")
"""Photographs that no training may see. (Nor logo.png, nor the other eye of motorcycle_left.)"""

TRAINING = (
    "brick.png",
    "camera.png",
    "cell.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "microaneurysms.png",
    "moon.png",
    "page.png",
    "retina.jpg",
    "rocket.jpg",
    "text.png",
)

PHOTOGRAPHS, CLOUDS, LEAVES, PATTERNS = 0.45, 0.15, 0.25, 0.15
"""The shares of a texture bank."""


def photograph(name: str) -> Tensor:
    """A picture that scikit-image bundles: (3, H, W) float32 in [−1, 1].

    Raises:
        FileNotFoundError: There is no such file; pictures that would be downloaded do not count.
    """
    import skimage.data
    import skimage.io

    path = Path(skimage.data.__file__).parent / name
    pixels = np.asarray(skimage.io.imread(path))
    pixels = np.stack([pixels] * 3, axis=-1) if pixels.ndim == 2 else pixels[..., :3]
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).float() / 127.5 - 1


def texture_bank(
    count: int,
    *,
    seed: int,
    size: int = 256,
    photographs: Sequence[str] = TRAINING,
    device: torch.device | str = "cpu",
) -> Tensor:
    """(count, 3, size, size) float16 in [−1, 1] on the device; the same for the same seed.

    The kinds follow each other in blocks, so that a bank of any size holds all of them.
    """
    random = torch.Generator().manual_seed(seed)
    clouds, leaves, patterns = (round(count * share) for share in (CLOUDS, LEAVES, PATTERNS))
    parts = [
        _crops(count - clouds - leaves - patterns, size, photographs, random, device),
        _clouds(clouds, size, random, device),
        _dead_leaves(leaves, size, random, device),
        _patterns(patterns, size, random, device),
    ]
    return torch.cat(parts).clamp(-1, 1).half()


def _uniform(
    random: torch.Generator, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0
) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=random)


def _crops(
    count: int,
    size: int,
    names: Sequence[str],
    random: torch.Generator,
    device: torch.device | str,
) -> Tensor:
    """Squares cut from photographs, mirrored and recoloured: few pictures have to last."""
    pictures = [photograph(name).to(device) for name in names]
    out = torch.empty(count, 3, size, size, device=device)
    for i in range(count):
        numbers = _uniform(random, (8,)).tolist()
        picture = pictures[int(numbers[0] * len(pictures))]
        height, width = picture.shape[1:]
        side = int((0.35 + 0.65 * numbers[1]) * min(height, width))
        top, left = int(numbers[2] * (height - side + 1)), int(numbers[3] * (width - side + 1))
        square = picture[None, :, top : top + side, left : left + side]
        crop = F.interpolate(square, (size, size), mode="bilinear", antialias=True)[0]
        if numbers[4] < 0.5:
            crop = crop.flip(-1)
        if numbers[5] < 0.5:
            crop = crop[torch.randperm(3, generator=random).to(device)]
        out[i] = crop * (0.6 + 0.5 * numbers[6]) + (0.5 * numbers[7] - 0.25)
    return out


def _clouds(count: int, size: int, random: torch.Generator, device: torch.device | str) -> Tensor:
    """Coloured noise in five octaves, each 0.55 times as strong as the one before it."""
    out = _colours(count, random)[..., None, None].to(device).repeat(1, 1, size, size)
    chroma = _uniform(random, (count, 1, 1, 1)).to(device)
    for octave in range(2, 7):
        grid = torch.randn(count, 4, 2**octave, 2**octave, generator=random).to(device)
        grown = F.interpolate(grid, (size, size), mode="bicubic")
        mixed = torch.lerp(grown[:, :1].expand(-1, 3, -1, -1), grown[:, 1:], chroma)
        out += mixed * 0.55 * 0.55 ** (octave - 2)
    return out


def _colours(count: int, random: torch.Generator) -> Tensor:
    """(count, 3): mostly near grey, as surfaces are; one in five vivid."""
    grey = _uniform(random, (count, 1), -0.9, 0.9)
    chroma = _uniform(random, (count, 3), -1, 1)
    strength = torch.where(_uniform(random, (count, 1)) < 0.2, 0.9, 0.3)
    return (grey * (1 - 0.5 * strength) + chroma * strength).clamp(-1, 1)


def _dead_leaves(
    count: int, size: int, random: torch.Generator, device: torch.device | str, leaves: int = 160
) -> Tensor:
    """Discs with power-law radii (exponent 3), each shaded a little, front ones hiding others."""
    axis = torch.linspace(-1, 1, size, device=device)
    yy, xx = torch.meshgrid(axis, axis, indexing="ij")
    out = _colours(count, random)[..., None, None].to(device).repeat(1, 1, size, size)
    smallest, largest, pixel = 0.06, 0.8, 2 / size
    for _ in range(leaves):
        numbers = _uniform(random, (count, 5)).to(device)
        inverse = smallest**-2 + numbers[:, 0] * (largest**-2 - smallest**-2)
        radius = inverse.rsqrt()[:, None, None]
        dx, dy = (
            (xx - (numbers[:, 1, None, None] * 2.4 - 1.2)),
            (yy - (numbers[:, 2, None, None] * 2.4 - 1.2)),
        )
        cover = ((radius - torch.sqrt(dx**2 + dy**2)) / pixel + 0.5).clamp(0, 1)[:, None]
        shade = 0.3 * (
            dx * (numbers[:, 3, None, None] - 0.5) + dy * (numbers[:, 4, None, None] - 0.5)
        )
        colour = _colours(count, random).to(device)[..., None, None] + (shade / radius)[:, None]
        out = torch.lerp(out, colour, cover)
    grain = torch.randn(count, 1, size // 3, size // 3, generator=random).to(device)
    strength = _uniform(random, (count, 1, 1, 1), 0, 0.12).to(device)
    return out + strength * F.interpolate(grain, (size, size), mode="bicubic")


def _patterns(count: int, size: int, random: torch.Generator, device: torch.device | str) -> Tensor:
    """Stripes and checks of two colours at any angle, edges one pixel soft."""
    axis = torch.linspace(0, 1, size, device=device)
    yy, xx = torch.meshgrid(axis, axis, indexing="ij")
    numbers = _uniform(random, (count, 3)).to(device)[..., None, None]
    angle, waves = numbers[:, 0] * math.pi, (3 + 11 * numbers[:, 1]).floor()
    along = torch.sin(2 * math.pi * waves * (xx * angle.cos() + yy * angle.sin()))
    across = torch.sin(2 * math.pi * waves * (yy * angle.cos() - xx * angle.sin()))
    steep = size / (2 * math.pi * waves)
    waves_along, waves_across = ((wave * steep).clamp(-1, 1) for wave in (along, across))
    checks = waves_along * waves_across
    mask = torch.where(numbers[:, 2] < 0.5, checks, waves_along)[:, None] / 2 + 0.5
    first, second = (_colours(count, random).to(device)[..., None, None] for _ in range(2))
    return torch.lerp(first, second, mask)
