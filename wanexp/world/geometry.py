"""Where things are at a time: camera, subjects and heads as maps with exact inverses.

Each map sends what a pixel shows to a place that moves with the thing, and back. Going to the place
at one time and back at another is the exact optical flow.

Axes: B scenes, T times, H W pixels; points end in 2, x first.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wanexp.world.scene import ACTIONS, CAMERA, Scenes, Subjects

REFERENCE_FRAMES = 17
"""Time 1 is this video's last frame; a longer video goes on at the same pace."""

HEAD_HALF_WIDTH, HEAD_HALF_HEIGHT = 0.76, 0.95
"""Of a head whose subject's size is 1."""


def frame_times(frames: int, device: torch.device | str = "cpu") -> Tensor:
    """(T,) times: 0, 1/16, 2/16 and so on."""
    return torch.arange(frames, device=device) / (REFERENCE_FRAMES - 1)


def pixel_grid(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """(H, W, 2) centres of the pixels, the smaller side from −1 to 1."""
    side = min(height, width)
    ys = (2 * torch.arange(height, device=device) + 1 - height) / side
    xs = (2 * torch.arange(width, device=device) + 1 - width) / side
    yy, xx = torch.meshgrid(ys, xs, indexing="ij")
    return torch.stack([xx, yy], dim=-1)


def camera_at(scenes: Scenes, times: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T) zoom and (B, T, 2) position: a pixel p shows the world at p · zoom + position."""
    signs = {"pans left": (-1, 0), "pans right": (1, 0), "pans up": (0, -1), "pans down": (0, 1)}
    logs = {"zooms in": -1.0, "zooms out": 1.0}
    device = scenes.camera.device
    way = torch.tensor([signs.get(name, (0, 0)) for name in CAMERA], device=device).float()
    log = torch.tensor([logs.get(name, 0.0) for name in CAMERA], device=device)
    amount = scenes.camera_amount[:, None] * times
    return torch.exp(log[scenes.camera][:, None] * amount), way[scenes.camera][:, None] * amount[
        ..., None
    ]


def subject_at(subjects: Subjects, times: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T, 2) centre in the world and (B, T) rotation in radians, clockwise."""
    signs = {
        "moves left": (-1, 0),
        "moves right": (1, 0),
        "moves up": (0, -1),
        "moves down": (0, 1),
    }
    device = subjects.kind.device
    way = torch.tensor([signs.get(name, (0, 0)) for name in ACTIONS], device=device).float()
    amount = subjects.amount[:, None] * times
    centre = subjects.centre[:, None] + way[subjects.action][:, None] * amount[..., None]
    rotates = (subjects.action == ACTIONS.index("rotates"))[:, None]
    return centre, subjects.tilt[:, None] + rotates * amount


def to_world(points: Tensor, scenes: Scenes, times: Tensor) -> Tensor:
    """(B, T, H, W, 2) of the world shown by points (…, H, W, 2) of the frame."""
    zoom, position = camera_at(scenes, times)
    return points * zoom[..., None, None, None] + position[:, :, None, None]


def to_frame(world: Tensor, scenes: Scenes, times: Tensor) -> Tensor:
    """Where on the frame the world is seen: the inverse of ``to_world``."""
    zoom, position = camera_at(scenes, times)
    return (world - position[:, :, None, None]) / zoom[..., None, None, None]


def to_subject(world: Tensor, subjects: Subjects, times: Tensor) -> Tensor:
    """World points in a subject's own coordinates, in which its half height is about 1."""
    centre, angle = subject_at(subjects, times)
    away = (world - centre[:, :, None, None]) / subjects.size[:, None, None, None, None]
    return _rotated(away, -angle)


def from_subject(own: Tensor, subjects: Subjects, times: Tensor) -> Tensor:
    """The inverse of ``to_subject``."""
    centre, angle = subject_at(subjects, times)
    turned = _rotated(own, angle) * subjects.size[:, None, None, None, None]
    return turned + centre[:, :, None, None]


def yaw_at(subjects: Subjects, times: Tensor) -> Tensor:
    """(B, T) radians that a head is turned by, positive to the right of the frame."""
    left = (subjects.action == ACTIONS.index("turns left"))[:, None]
    right = (subjects.action == ACTIONS.index("turns right"))[:, None]
    return subjects.amount[:, None] * times * (right.float() - left.float())


def to_skin(own: Tensor, yaw: Tensor) -> Tensor:
    """Points of a head in its own coordinates → the place on its skin, as seen from the front.

    The head is round at every height, so a turn by ``yaw`` (B, T) slides what is shown sideways.
    """
    u, v = own.unbind(-1)
    half = _half_width(v)
    longitude = torch.asin((u / half).clamp(-1, 1)) - yaw[..., None, None]
    return torch.stack([half * torch.sin(longitude), v], dim=-1)


def from_skin(skin: Tensor, yaw: Tensor) -> Tensor:
    """The inverse of ``to_skin``, where the place is on the visible side."""
    u, v = skin.unbind(-1)
    half = _half_width(v)
    longitude = torch.asin((u / half).clamp(-1, 1)) + yaw[..., None, None]
    return torch.stack([half * torch.sin(longitude), v], dim=-1)


def _half_width(v: Tensor) -> Tensor:
    return HEAD_HALF_WIDTH * torch.sqrt((1 - (v / HEAD_HALF_HEIGHT) ** 2).clamp(min=0.01))


def _rotated(points: Tensor, angle: Tensor) -> Tensor:
    cos, sin = angle.cos()[..., None, None], angle.sin()[..., None, None]
    x, y = points.unbind(-1)
    return torch.stack([x * cos - y * sin, x * sin + y * cos], dim=-1)
