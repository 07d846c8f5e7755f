"""A drawn face with what a face metric looks for: hair, brows, irises, freckles, lips.

It has the proportions of a face, not the looks of a person. All its parts are at least about two
pixels wide when the head fills half of a 128-pixel frame, so that a good model can keep them.

Axes: B faces, T times, H W pixels; colours (B, 3, T, H, W) in [−1, 1].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wanexp.world.geometry import HEAD_HALF_HEIGHT, HEAD_HALF_WIDTH, to_skin, yaw_at
from wanexp.world.scene import ACTIONS, Subjects

EYE_X, EYE_Y, EYE_HALF_WIDTH, EYE_HALF_HEIGHT = 0.29, -0.1, 0.17, 0.12
MOUTH_Y, MOUTH_HALF_WIDTH = 0.5, 0.3


def draw_face(
    own: Tensor, subjects: Subjects, times: Tensor, skin_texture: Tensor, edge: Tensor
) -> tuple[Tensor, Tensor]:
    """Colours (B, 3, T, H, W) and cover (B, T, H, W) of heads.

    Args:
        subjects: Faces only.
        times: (T,) see ``frame_times``.
        own: (B, T, H, W, 2) each pixel in the head's own coordinates.
        skin_texture: (B, 3, T, H, W) freckles and pores, fixed to the skin.
        edge: (B,) the size of a pixel in the head's coordinates.
    """
    soft = edge[:, None, None, None]
    skin = to_skin(own, yaw_at(subjects, times))
    u, v = skin.unbind(-1)
    look = subjects.looks
    blink, talk = _eyelids(subjects, times), _mouth(subjects, times)
    colour = _skin(own, look) + 0.16 * skin_texture
    colour = _laid(colour, _cheeks(u, v), torch.tensor([0.45, -0.25, -0.25]), 0.25)
    for side in (-1, 1):
        colour = _eye(colour, u - side * EYE_X, v - EYE_Y, look, blink, soft)
    colour = _nose(colour, u, v, soft)
    colour = _lips(colour, u, v, talk, soft)
    colour = _hair(colour, u, v, look, soft)
    cover = _inside(
        1
        - torch.sqrt((own[..., 0] / HEAD_HALF_WIDTH) ** 2 + (own[..., 1] / HEAD_HALF_HEIGHT) ** 2),
        soft,
    )
    return colour, cover


def moving_parts(skin: Tensor, subjects: Subjects) -> Tensor:
    """(B, T, H, W) where a face changes in itself: eyes that blink, a mouth that talks.

    There the optical flow of the head says nothing.
    """
    u, v = skin.unbind(-1)
    eyes = (((u.abs() - EYE_X) / 0.24) ** 2 + ((v - EYE_Y) / 0.2) ** 2) < 1
    mouth = ((u / 0.42) ** 2 + ((v - MOUTH_Y) / 0.3) ** 2) < 1
    blinks = (subjects.action == ACTIONS.index("blinks"))[:, None, None, None]
    talks = (subjects.action == ACTIONS.index("talks"))[:, None, None, None]
    return (eyes & blinks) | (mouth & talks)


def _eyelids(subjects: Subjects, times: Tensor) -> Tensor:
    """(B, T) 0 open to 1 closed: one blink, shut at time 0.5."""
    blinks = (subjects.action == ACTIONS.index("blinks"))[:, None]
    bump = torch.sin(math.pi * ((times - 0.2) / 0.6).clamp(0, 1)) ** 2
    return blinks * bump


def _mouth(subjects: Subjects, times: Tensor) -> Tensor:
    """(B, T) 0 shut to 1 wide open, twice in the reference time."""
    talks = (subjects.action == ACTIONS.index("talks"))[:, None]
    return talks * (0.5 - 0.5 * torch.cos(4 * math.pi * times))


def _skin(own: Tensor, look: Tensor) -> Tensor:
    """The tone, lit from above on the left; the light stays when the head turns."""
    tone = torch.tensor([0.9, 0.42, 0.18], device=look.device) * (0.2 + look[:, :1])
    tone = tone + (look[:, 1:4] - 0.5) * 0.2 - 0.2
    u, v = own.unbind(-1)
    light = -0.22 * u - 0.18 * v - 0.25 * (u**2 + 0.5 * v**2)
    return tone[:, :, None, None, None] + light[:, None]


def _cheeks(u: Tensor, v: Tensor) -> Tensor:
    return torch.exp(-(((u.abs() - 0.4) / 0.16) ** 2) - ((v - 0.25) / 0.14) ** 2)


def _eye(colour: Tensor, x: Tensor, y: Tensor, look: Tensor, blink: Tensor, soft: Tensor) -> Tensor:
    opening = (EYE_HALF_HEIGHT * (1 - 0.93 * blink))[..., None, None]
    white = _ellipse(x, y, EYE_HALF_WIDTH, opening, soft)
    iris = white * _ellipse(x, y, 0.1, 0.1, soft)
    spokes = 0.25 * torch.sin(torch.atan2(y, x) * 9)
    colour = _laid(colour, white, torch.tensor([0.85, 0.85, 0.8]))
    tint = look[:, 4:7] * 1.4 - 0.8
    colour = torch.lerp(colour, tint[..., None, None, None] + spokes[:, None], iris[:, None])
    colour = _laid(colour, white * _ellipse(x, y, 0.045, 0.045, soft), torch.tensor([-0.95] * 3))
    glint = white * _ellipse(x - 0.035, y + 0.04, 0.03, 0.03, soft)
    colour = _laid(colour, glint, torch.tensor([1.0] * 3))
    lid = _ellipse(x, y, EYE_HALF_WIDTH + 0.04, opening + 0.035, soft) * (1 - white)
    colour = _laid(colour, lid, torch.tensor([-0.6, -0.7, -0.7]), 0.7)
    brow = _ellipse(x, y + 0.24 + 0.5 * x**2, 0.2, 0.045, soft)
    return torch.lerp(colour, _hair_colour(look), 0.9 * brow[:, None])


def _nose(colour: Tensor, u: Tensor, v: Tensor, soft: Tensor) -> Tensor:
    ridge = torch.exp(-(((u - 0.05) / 0.05) ** 2) - ((v - 0.12) / 0.16) ** 2)
    colour = _laid(colour, ridge, torch.tensor([-0.3, -0.45, -0.5]), 0.35)
    for side in (-1, 1):
        nostril = _ellipse(u - side * 0.06, v - 0.29, 0.035, 0.025, soft)
        colour = _laid(colour, nostril, torch.tensor([-0.6, -0.75, -0.8]), 0.8)
    return colour


def _lips(colour: Tensor, u: Tensor, v: Tensor, talk: Tensor, soft: Tensor) -> Tensor:
    opening = (0.015 + 0.13 * talk)[..., None, None]
    y = v - MOUTH_Y + 0.12 * u**2
    colour = _laid(
        colour,
        _ellipse(u, y, MOUTH_HALF_WIDTH, opening + 0.06, soft),
        torch.tensor([0.4, -0.4, -0.3]),
    )
    inside = _ellipse(u, y, 0.24, opening, soft)
    colour = _laid(colour, inside, torch.tensor([-0.75, -0.85, -0.85]))
    teeth = inside * _ellipse(u, y + opening, 0.2, 0.6 * opening, soft)
    return _laid(colour, teeth, torch.tensor([0.9, 0.9, 0.85]))


def _hair(colour: Tensor, u: Tensor, v: Tensor, look: Tensor, soft: Tensor) -> Tensor:
    """A fringe of strands over the forehead and the temples."""
    waves = (3 + 4 * look[:, 10])[:, None, None, None]
    fringe = -(v + 0.5 + 0.1 * torch.cos(u * waves)) + 0.9 * (u.abs() - 0.55).clamp(min=0)
    strands = (22 + 12 * look[:, 11])[:, None, None, None]
    lines = torch.sin((u + 0.35 * (v + 0.5) * u) * strands)
    shade = _hair_colour(look) + 0.28 * lines[:, None]
    return torch.lerp(colour, shade, _inside(fringe, soft)[:, None])


def _hair_colour(look: Tensor) -> Tensor:
    base = torch.tensor([0.5, 0.1, -0.3], device=look.device) * look[:, 7:8]
    return (base + 0.3 * (look[:, 7:10] - 0.5) - 0.45)[..., None, None, None]


def _inside(level: Tensor, soft: Tensor) -> Tensor:
    """1 where a level is above 0, 0 below, one pixel wide in between."""
    return (level / soft + 0.5).clamp(0, 1)


def _ellipse(x: Tensor, y: Tensor, a: float | Tensor, b: float | Tensor, soft: Tensor) -> Tensor:
    """How much of a pixel an ellipse with half axes a and b covers."""
    radius = torch.sqrt((x / a) ** 2 + (y / b) ** 2)
    smaller = torch.minimum(
        torch.as_tensor(a, device=x.device), torch.as_tensor(b, device=x.device)
    )
    return _inside((1 - radius) * smaller, soft)


def _laid(colour: Tensor, cover: Tensor, paint: Tensor, strength: float = 1.0) -> Tensor:
    """A paint of three numbers over a colour."""
    layer = paint.to(colour)[None, :, None, None, None].expand_as(colour)
    return torch.lerp(colour, layer, strength * cover[:, None])
