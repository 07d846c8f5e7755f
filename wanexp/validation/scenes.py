"""Eight scenes with a face in each, filmed by a panning, zooming or resting camera.

Their textures are three times as fine as the frames and smoothed, so that what moves by a part of a
pixel is neither blurred nor aliased: a clean video has no fault of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from wanexp.world.faults import blurred
from wanexp.world.render import Box, owner_masks, render
from wanexp.world.render import face_boxes as boxes_of
from wanexp.world.scene import ACTIONS, CAMERA, SUBJECTS, Scenes, Subjects, draw_scenes
from wanexp.world.textures import photograph, texture_bank

FRAMES = 8
SEED = 14

TEXTURES_A_HALF_SIDE = 2 / 3
"""Half textures that half a smaller side shows."""

TEXELS = 3
"""To a pixel, so that sampling between them loses nothing that a pixel could show."""

LENS = 0.7
"""Deviation of a lens's blur, px. With 0.5 the pixels alias: detail is lost wherever they move."""

DRAWN_SIDE = 768
"""Of drawn backgrounds, before they are resized, px."""

LEAVES = "leaves"
"""The background that is drawn; all others are photographs that scikit-image brings along.

No stripes and checks: along a stripe nothing can be seen to move, so no flow has their truth.
"""


@dataclass(frozen=True, kw_only=True)
class Take:
    """One scene in words.

    Attributes:
        background: LEAVES or a picture of scikit-image's.
        camera: One of CAMERA; ``pace`` is its amount, see ``Scenes``.
        face: What the face does, one of ACTIONS.
        other: A second subject, one of SUBJECTS, in front.
    """

    background: str
    camera: str
    pace: float
    face: str = "stays still"
    other: str = "none"


TAKES = {
    "astronaut": Take(background="astronaut.png", camera="pans right", pace=0.12),
    "chelsea": Take(background="chelsea.png", camera="pans up", pace=0.10, face="moves left"),
    "coffee": Take(background="coffee.png", camera="zooms in", pace=0.10),
    "motorcycle": Take(background="motorcycle_left.png", camera="pans left", pace=0.16),
    "brick": Take(background="brick.png", camera="pans down", pace=0.08, other="ball"),
    "gravel": Take(background="gravel.png", camera="static", pace=0.0, face="moves right"),
    "leaves": Take(background="leaves", camera="zooms out", pace=0.10, other="box"),
    "tissue": Take(background="ihc.png", camera="pans right", pace=0.06, face="moves up"),
}

NAMES = tuple(TAKES)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """All takes at one size, ready to be filmed.

    Attributes:
        size: Of the square frames, px.
        scenes: In the order of NAMES.
        bank: (B, 3, S, S) backgrounds.
    """

    size: int
    scenes: Scenes
    bank: Tensor

    def film(self, scenes: Scenes | None = None) -> Tensor:
        """(B, 3, T, H, W) float32 in [−1, 1], of other ``scenes`` where they are given."""
        return render(scenes or self.scenes, self.bank, FRAMES, self.size, self.size)

    def faces(self) -> Tensor:
        """(B, T, H, W): 1 on the faces."""
        masks = [owner_masks(self.scenes, t, self.size, self.size) == 1 for t in range(FRAMES)]
        return torch.stack(masks, dim=1).float()

    def face_boxes(self) -> list[Box | None]:
        """Each face's box in the first frame, px."""
        return boxes_of(self.scenes, 0, self.size, self.size)


def make_stage(size: int) -> Stage:
    """The takes at frames of size × size pixels."""
    return Stage(size=size, scenes=_scenes(), bank=_bank(size))


def panned(scenes: Scenes, times: float) -> Scenes:
    """The same with a pan of ``times`` 0.16 half sides in sixteen frames to the right."""
    return _filmed(scenes, "pans right", 0.16 * times)


def zoomed(scenes: Scenes, amount: float) -> Scenes:
    """The same with a zoom: ``amount`` of log magnification in sixteen frames, out below 0."""
    return _filmed(scenes, "zooms in" if amount > 0 else "zooms out", abs(amount))


def crossed(scenes: Scenes, amount: float) -> Scenes:
    """The same with a ball that goes through the picture: half sides in sixteen frames."""
    count = len(scenes)
    ball = replace(
        scenes.second,
        kind=torch.full((count,), SUBJECTS.index("ball")),
        action=torch.full((count,), ACTIONS.index("moves right")),
        amount=torch.full((count,), amount),
        centre=torch.tensor([[-0.6, 0.55]]).repeat(count, 1),
        size=torch.full((count,), 0.25),
    )
    return replace(scenes, second=ball)


def _filmed(scenes: Scenes, camera: str, amount: float) -> Scenes:
    count = len(scenes)
    return replace(
        scenes,
        camera=torch.full((count,), CAMERA.index(camera)),
        camera_amount=torch.full((count,), amount),
    )


def _scenes() -> Scenes:
    takes = list(TAKES.values())
    count = len(takes)
    drawn = draw_scenes(count, seed=SEED, textures=count, faulty=0.0)
    return replace(
        drawn,
        camera=torch.tensor([CAMERA.index(take.camera) for take in takes]),
        camera_amount=torch.tensor([take.pace for take in takes]),
        texture=torch.arange(count),
        texture_scale=torch.full((count,), TEXTURES_A_HALF_SIDE),
        texture_offset=torch.zeros(count, 2),
        first=_subjects(drawn.first, ["face"] * count, [t.face for t in takes], 0.42, (0.05, -0.1)),
        second=_subjects(
            drawn.second, [t.other for t in takes], ["moves left"] * count, 0.22, (0.6, 0.6)
        ),
    )


def _subjects(
    drawn: Subjects, kinds: list[str], actions: list[str], size: float, centre: tuple[float, float]
) -> Subjects:
    count = len(kinds)
    return replace(
        drawn,
        kind=torch.tensor([SUBJECTS.index(kind) for kind in kinds]),
        action=torch.tensor([ACTIONS.index(action) for action in actions]),
        amount=torch.full((count,), 0.16),
        centre=torch.tensor([centre]).repeat(count, 1),
        size=torch.full((count,), size),
        texture=torch.arange(count).roll(1),
    )


def _bank(size: int) -> Tensor:
    """Textures of TEXELS a pixel, smoothed as a lens would."""
    side = round(TEXELS * size / TEXTURES_A_HALF_SIDE)
    # One of each kind, drawn at one size: another size would draw other pictures.
    leaves = texture_bank(4, seed=SEED, size=DRAWN_SIDE)[2].float()
    names = [take.background for take in TAKES.values()]
    pictures = [_square(leaves if name == LEAVES else photograph(name), side) for name in names]
    smooth = blurred(torch.stack(pictures)[:, :, None], torch.full((len(pictures),), LENS * TEXELS))
    return smooth[:, :, 0]


def _square(picture: Tensor, side: int) -> Tensor:
    """The middle square of a picture (3, H, W), resized."""
    edge = min(picture.shape[1:])
    top, left = ((length - edge) // 2 for length in picture.shape[1:])
    middle = picture[None, :, top : top + edge, left : left + edge]
    return F.interpolate(middle, (side, side), mode="bicubic", antialias=True)[0].clamp(-1, 1)
