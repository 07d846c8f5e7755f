"""Scenes as numbers: what is in front of the camera, how it moves, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

CAMERA = ("static", "pans left", "pans right", "pans up", "pans down", "zooms in", "zooms out")
SUBJECTS = ("none", "face", "ball", "box")
ACTIONS = (
    "stays still",
    "moves left",
    "moves right",
    "moves up",
    "moves down",
    "rotates",
    "turns left",
    "turns right",
    "blinks",
    "talks",
)
FAULTS = ("none", "blurry", "flickering", "warping", "noisy", "jittery")

SLOW_PAN, FAST_PAN = (0.14, 0.18), (0.38, 0.44)
SLOW_ZOOM, FAST_ZOOM = (0.12, 0.15), (0.28, 0.33)
"""How far the camera gets in sixteen frames: half sides, or the logarithm of the magnification.

The ranges are narrow, so that a caption with its speed all but fixes the video.
"""

OBJECT_ACTIONS = 6
"""Balls and boxes know the first six actions, faces all of them."""

LOOKS = 24
"""Numbers in [0, 1] from which a drawing takes its colours and proportions."""

FAULT_AMOUNTS = {
    "none": (0.0, 0.0),
    "blurry": (2.2, 3.4),  # px, the deviation of a Gaussian, at 128 px
    "flickering": (8.0, 16.0),  # %, the deviation of a frame's gain
    "warping": (1.5, 2.5),  # px RMS of non-rigid displacement, at 128 px
    "noisy": (22.0, 36.0),  # grey levels of 255, the deviation
    "jittery": (1.0, 2.0),  # px, the deviation of the camera's position, at 128 px
}
"""In the units of ``wanexp.world.faults``; drawn uniformly."""


@dataclass(frozen=True, kw_only=True)
class Subjects:
    """One subject in each of B scenes; a kind of 0 is none.

    Attributes:
        kind: (B,) index into SUBJECTS.
        action: (B,) index into ACTIONS.
        amount: (B,) of the action at time 1: half sides moved, or radians turned.
        centre: (B, 2) at time 0, half sides, x first.
        size: (B,) half height, half sides.
        tilt: (B,) radians, clockwise.
        texture: (B,) index into a texture bank.
        looks: (B, LOOKS) in [0, 1].
    """

    kind: Tensor
    action: Tensor
    amount: Tensor
    centre: Tensor
    size: Tensor
    tilt: Tensor
    texture: Tensor
    looks: Tensor


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """B scenes.

    Attributes:
        camera: (B,) index into CAMERA.
        camera_amount: (B,) half sides panned, or log magnification, at time 1.
        texture: (B,) the background's index into a texture bank.
        texture_scale: (B,) half textures to a half side.
        texture_offset: (B, 2) where in the texture the first frame's centre is.
        first, second: Two subjects; the second one stands in front of the first.
        fault: (B,) index into FAULTS.
        fault_amount: (B,) as FAULT_AMOUNTS says.
    """

    camera: Tensor
    camera_amount: Tensor
    texture: Tensor
    texture_scale: Tensor
    texture_offset: Tensor
    first: Subjects
    second: Subjects
    fault: Tensor
    fault_amount: Tensor

    def __len__(self) -> int:
        return len(self.camera)


def moved(scenes: Scenes, device: torch.device | str) -> Scenes:
    """The same on another device."""
    return _mapped(scenes, lambda tensor: tensor.to(device))


def taken(scenes: Scenes, rows: Tensor) -> Scenes:
    """Some of them: ``rows`` is an index or a mask over B."""
    return _mapped(scenes, lambda tensor: tensor[rows])


def taken_subjects(subjects: Subjects, rows: Tensor) -> Subjects:
    """Some of the subjects: ``rows`` is an index or a mask over B."""
    return _mapped_subjects(subjects, lambda tensor: tensor[rows])


def draw_scenes(
    count: int,
    *,
    seed: int,
    textures: int,
    faulty: float = 0.25,
    dense: float = 0.0,
    speakable: bool = True,
) -> Scenes:
    """Scenes from a seed, the same on every machine.

    Args:
        count: B.
        seed: Of everything.
        textures: How many pictures the texture bank holds.
        faulty: The share of scenes with a fault, their kinds equally often.
        dense: The share of scenes whose background has up to three times the usual detail, as a
            whole photograph has.
        speakable: Camera speeds are the two that captions name; else anything from still to half
            as fast again.
    """
    random = torch.Generator().manual_seed(seed)
    fault = torch.randint(1, len(FAULTS), (count,), generator=random)
    fault = fault * (torch.rand(count, generator=random) < faulty)
    camera = torch.randint(len(CAMERA), (count,), generator=random)
    low, high = torch.tensor(list(FAULT_AMOUNTS.values()))[fault].unbind(-1)
    scenes = Scenes(
        camera=camera,
        camera_amount=_camera_amount(camera, random, speakable=speakable),
        texture=torch.randint(textures, (count,), generator=random),
        texture_scale=0.3 + 0.2 * torch.rand(count, generator=random),
        texture_offset=(torch.rand(count, 2, generator=random) - 0.5) * 0.4,
        first=_draw_subjects(count, random, textures, shares=(0.25, 0.45, 0.15, 0.15)),
        second=_draw_subjects(count, random, textures, shares=(0.8, 0.0, 0.1, 0.1)),
        fault=fault,
        fault_amount=low + (high - low) * torch.rand(count, generator=random),
    )
    chosen, scale = torch.rand(2, count, generator=random)
    crowded = torch.where(chosen < dense, 0.5 + 0.5 * scale, scenes.texture_scale)
    return replace(scenes, texture_scale=crowded)


def _camera_amount(camera: Tensor, random: torch.Generator, *, speakable: bool) -> Tensor:
    zooms = camera >= CAMERA.index("zooms in")
    fast = torch.rand(len(camera), generator=random) < 0.5
    slow_range = torch.where(zooms[:, None], torch.tensor(SLOW_ZOOM), torch.tensor(SLOW_PAN))
    fast_range = torch.where(zooms[:, None], torch.tensor(FAST_ZOOM), torch.tensor(FAST_PAN))
    low, high = torch.where(fast[:, None], fast_range, slow_range).unbind(-1)
    share = torch.rand(len(camera), generator=random)
    amount = low + (high - low) * share if speakable else 1.5 * fast_range[:, 1] * share
    return amount * (camera > 0)


def _draw_subjects(
    count: int, random: torch.Generator, textures: int, *, shares: tuple[float, ...]
) -> Subjects:
    kind = torch.multinomial(torch.tensor(shares), count, replacement=True, generator=random)
    action = torch.randint(len(ACTIONS), (count,), generator=random)
    faces = kind == SUBJECTS.index("face")
    action = torch.where(faces, action, action % OBJECT_ACTIONS)
    share, sizes = torch.rand(2, count, generator=random)
    turning = action >= ACTIONS.index("rotates")
    return Subjects(
        kind=kind,
        action=action,
        amount=torch.where(turning, 0.55 + 0.1 * share, 0.32 + 0.08 * share),
        centre=(torch.rand(count, 2, generator=random) - 0.5)
        * torch.where(faces, 0.5, 1.0)[:, None],
        size=torch.where(faces, 0.5 + 0.25 * sizes, 0.25 + 0.25 * sizes),
        tilt=(torch.rand(count, generator=random) - 0.5) * 0.4,
        texture=torch.randint(textures, (count,), generator=random),
        looks=torch.rand(count, LOOKS, generator=random),
    )


def _mapped(scenes: Scenes, change: Callable[[Tensor], Tensor]) -> Scenes:
    names = [field.name for field in fields(Scenes) if field.name not in ("first", "second")]
    return Scenes(
        first=_mapped_subjects(scenes.first, change),
        second=_mapped_subjects(scenes.second, change),
        **{name: change(getattr(scenes, name)) for name in names},
    )


def _mapped_subjects(subjects: Subjects, change: Callable[[Tensor], Tensor]) -> Subjects:
    return Subjects(**{f.name: change(getattr(subjects, f.name)) for f in fields(Subjects)})
