"""Scenes → videos, and what only their maker knows: flow, masks, boxes.

Axes: B scenes, T frames, H W pixels, 3 colours in [−1, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from wanexp.images import Box
from wanexp.world.face import draw_face, moving_parts
from wanexp.world.geometry import (
    HEAD_HALF_HEIGHT,
    HEAD_HALF_WIDTH,
    frame_times,
    from_skin,
    from_subject,
    pixel_grid,
    subject_at,
    to_frame,
    to_skin,
    to_subject,
    to_world,
    yaw_at,
)
from wanexp.world.scene import SUBJECTS, Scenes, Subjects, taken_subjects

FACE, BALL, BOX = (SUBJECTS.index(name) for name in ("face", "ball", "box"))
BALL_RADIUS, BOX_HALF = 0.9, 0.8
SKIN_TEXTURES_A_UNIT, OBJECT_TEXTURES_A_UNIT = 0.35, 0.4


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Where each pixel of one frame goes in another.

    Attributes:
        flow: (B, H, W, 2) in px, x first.
        valid: (B, H, W) whether what the pixel shows is seen in the other frame too, by the same
            owner, inside the frame, and not on a blinking eye or a talking mouth.
    """

    flow: Tensor
    valid: Tensor


def render(scenes: Scenes, bank: Tensor, frames: int, height: int, width: int) -> Tensor:
    """(B, 3, T, H, W) float32 in [−1, 1], on the device of the scenes and the bank.

    The scene's fault is not applied: see ``wanexp.world.faults.spoiled``.
    """
    device = bank.device
    times = frame_times(frames, device)
    world = to_world(pixel_grid(height, width, device), scenes, times)
    pixel = 2 / min(height, width)
    video = _background(scenes, world, bank, pixel)
    for subjects in (scenes.first, scenes.second):
        for kind in (FACE, BALL, BOX):
            rows = (subjects.kind == kind).nonzero()[:, 0]
            if len(rows):
                some = taken_subjects(subjects, rows)
                colour, cover = _drawn(kind, some, world[rows], times, bank, pixel)
                video[rows] = torch.lerp(video[rows], colour, cover[:, None])
    return video.clamp(-1, 1)


def _background(scenes: Scenes, world: Tensor, bank: Tensor, pixel: float) -> Tensor:
    """The texture behind everything, at about one of its own pixels to a pixel of the frame."""
    offset = scenes.texture_offset[:, None, None, None]
    places = world * scenes.texture_scale[:, None, None, None, None] + offset
    texels = scenes.texture_scale * bank.shape[-1] * pixel / 2
    levels = torch.log2(texels).round().clamp(min=0).long()
    video = world.new_empty(len(scenes), 3, *world.shape[1:4])
    for level in levels.unique().tolist():
        rows = (levels == level).nonzero()[:, 0]
        textures = bank[scenes.texture[rows]].float()
        video[rows] = sampled(F.avg_pool2d(textures, 2**level), places[rows])
    return video


def sampled(textures: Tensor, places: Tensor) -> Tensor:
    """(B, 3, T, H, W) colours of (B, 3, S, S) textures at (B, T, H, W, 2) places in [−1, 1].

    Beyond its edges a texture is mirrored.
    """
    batch, frames, height, width, _ = places.shape
    flat = F.grid_sample(
        textures.float(),
        places.reshape(batch, frames * height, width, 2),
        mode="bilinear",
        padding_mode="reflection",
        align_corners=False,
    )
    return flat.view(batch, 3, frames, height, width)


def true_flow(scenes: Scenes, start: int, end: int, height: int, width: int) -> Flow:
    """The exact flow from frame ``start`` to frame ``end``, on the device of the scenes."""
    device = scenes.camera.device
    here, there = (torch.tensor([frame / 16.0], device=device) for frame in (start, end))
    grid = pixel_grid(height, width, device)
    world = to_world(grid, scenes, here)
    owner, target, living = _carried(scenes, world, here, there)
    seen = to_frame(target, scenes, there)[:, 0]
    side = min(height, width)
    flow = (seen - grid) * (side / 2)
    limit = torch.tensor([width / side, height / side], device=device)
    inside = (seen.abs() <= limit - 1.0 / side).all(-1)
    owner_there = _owners(scenes, to_world(seen[:, None], scenes, there), there)[:, 0]
    valid = inside & (owner[:, 0] == owner_there) & ~living[:, 0]
    return Flow(flow=flow, valid=valid)


def owner_masks(scenes: Scenes, frame: int, height: int, width: int) -> Tensor:
    """(B, H, W): 0 where the background is seen, 1 the first subject, 2 the second."""
    device = scenes.camera.device
    time = torch.tensor([frame / 16.0], device=device)
    world = to_world(pixel_grid(height, width, device), scenes, time)
    return _owners(scenes, world, time)[:, 0]


def face_masks(scenes: Scenes, frames: int, height: int, width: int) -> Tensor:
    """(B, 1, T, H, W) float32: one where a face's head and hair are seen."""
    times = frame_times(frames, scenes.camera.device)
    owners = _owners(
        scenes, to_world(pixel_grid(height, width, times.device), scenes, times), times
    )
    kinds = torch.stack(
        [torch.full_like(scenes.first.kind, -1)] + [s.kind for s in (scenes.first, scenes.second)],
        1,
    )
    return (kinds.gather(1, owners.flatten(1)).view_as(owners) == FACE)[:, None].float()


def face_boxes(scenes: Scenes, frame: int, height: int, width: int) -> list[Box | None]:
    """(x0, y0, x1, y1) in px of each scene's face, None without one; clipped to the frame.

    The box holds brows to chin, as face detectors draw it, and is upright.
    """
    time = torch.tensor([frame / 16.0], device=scenes.camera.device)
    centre, _ = subject_at(scenes.first, time)
    middle = to_frame(centre[:, :, None, None], scenes, time)[:, 0, 0, 0]
    edge = to_frame((centre + scenes.first.size[:, None, None])[:, :, None, None], scenes, time)
    size = (edge[:, 0, 0, 0, 0] - middle[:, 0]) * 0.72
    side = min(height, width)
    boxes: list[Box | None] = []
    for kind, (x, y), half in zip(
        scenes.first.kind.tolist(), middle.tolist(), size.tolist(), strict=True
    ):
        chin = y + 0.1 * half  # the middle of a face is a little below that of its head
        box = (
            _pixel(x - half, width, side),
            _pixel(chin - half, height, side),
            _pixel(x + half, width, side),
            _pixel(chin + half, height, side),
        )
        boxes.append(box if kind == FACE else None)
    return boxes


def _pixel(place: float, extent: int, side: int) -> int:
    return min(max(round(place * side / 2 + extent / 2), 0), extent)


def _drawn(
    kind: int, subjects: Subjects, world: Tensor, times: Tensor, bank: Tensor, pixel: float
) -> tuple[Tensor, Tensor]:
    own = to_subject(world, subjects, times)
    edge = pixel / subjects.size
    textures = bank[subjects.texture]
    if kind == FACE:
        skin = to_skin(own, yaw_at(subjects, times))
        return draw_face(own, subjects, times, sampled(textures, skin * SKIN_TEXTURES_A_UNIT), edge)
    colour = sampled(textures, own * OBJECT_TEXTURES_A_UNIT)
    level = _level(kind, own)
    if kind == BALL:
        u, v = own.unbind(-1)
        colour = colour * (1 - 0.35 * (u**2 + v**2 + 0.5 * u))[:, None].clamp(0.2, 1.2)
    return colour, (level / edge[:, None, None, None] + 0.5).clamp(0, 1)


def _level(kind: int, own: Tensor) -> Tensor:
    """Above 0 inside a subject's outline, in its own coordinates."""
    u, v = own.unbind(-1)
    if kind == FACE:
        return 1 - torch.sqrt((u / HEAD_HALF_WIDTH) ** 2 + (v / HEAD_HALF_HEIGHT) ** 2)
    if kind == BALL:
        return BALL_RADIUS - torch.sqrt(u**2 + v**2)
    return BOX_HALF - torch.maximum(u.abs(), v.abs())


def _inside(subjects: Subjects, world: Tensor, time: Tensor) -> Tensor:
    """(B, T, H, W) whether a subject covers each point of the world."""
    own = to_subject(world, subjects, time)
    kinds = subjects.kind[:, None, None, None]
    return torch.stack([(kinds == k) & (_level(k, own) > 0) for k in (FACE, BALL, BOX)]).any(0)


def _owners(scenes: Scenes, world: Tensor, time: Tensor) -> Tensor:
    first, second = (_inside(s, world, time) for s in (scenes.first, scenes.second))
    return torch.where(second, 2, torch.where(first, 1, 0))


def _carried(
    scenes: Scenes, world: Tensor, here: Tensor, there: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Owner, place in the world at the other time, and whether a face changes there in itself."""
    owner = _owners(scenes, world, here)
    target, living = world, torch.zeros_like(owner, dtype=torch.bool)
    for number, subjects in enumerate((scenes.first, scenes.second), start=1):
        own = to_subject(world, subjects, here)
        skin = to_skin(own, yaw_at(subjects, here))
        turned = from_skin(skin, yaw_at(subjects, there))
        faces = (subjects.kind == FACE)[:, None, None, None]
        own_there = torch.where(faces[..., None], turned, own)
        moved_there = from_subject(own_there, subjects, there)
        mine = owner == number
        target = torch.where(mine[..., None], moved_there, target)
        living = living | (mine & faces & moving_parts(skin, subjects))
    return owner, target, living
