"""What is done to clean videos, by how much, and which metric has to notice.

A ladder is one fault at rising levels with one draw: only its strength changes. A nuisance is
something that is no fault, and that no metric of faults may take for one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from wanexp.validation.scenes import Stage, crossed, panned, zoomed
from wanexp.world import faults
from wanexp.world.faults import Spoiled
from wanexp.world.scene import Scenes

SEED = 3

CELLS = 8
"""Boiling: control points of the gain along each side."""


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """One fault.

    Attributes:
        spoil: (stage, video, strength of each video) → the spoiled videos and their draw.
        levels: Rising, in ``unit``.
        in_pixels: Whether levels are px of a 256-pixel frame and shrink with it.
        owners: The metrics whose own fault it is.
    """

    spoil: Callable[[Stage, Tensor, Tensor], Spoiled]
    levels: tuple[float, ...]
    unit: str
    owners: tuple[str, ...]
    in_pixels: bool = False

    def strength(self, level: float, size: int) -> float:
        """The level in frames of size × size pixels."""
        return level * size / 256 if self.in_pixels else level


@dataclass(frozen=True, kw_only=True)
class Nuisance:
    """One thing that is no fault; ``levels`` in ``unit``."""

    film: Callable[[Stage, float], Tensor]
    levels: tuple[float, ...]
    unit: str


def boiling(video: Tensor, strength: Tensor, seed: int) -> Spoiled:
    """Every part of every frame brighter or darker by its own gain: deviation ``strength`` in %.

    The gains of a frame average to 1, so that it is no flicker of the whole.
    """
    batch, _, frames, height, width = video.shape
    random = torch.Generator().manual_seed(seed)
    grid = torch.randn((batch * frames, 1, CELLS, CELLS), generator=random)
    field = F.interpolate(grid, (height, width), mode="nearest").view(batch, frames, height, width)
    field = field - field.mean((2, 3), keepdim=True)
    gains = 1 + strength[:, None, None, None] / 100 * field
    gains = torch.cat([torch.ones_like(gains[:, :1]), gains[:, 1:]], dim=1).clamp(min=0)
    return Spoiled(video=((video + 1) * gains[:, None] - 1).clamp(-1, 1), draw=gains)


def _ramp(stage: Stage, level: float) -> Tensor:
    """Brightness that rises evenly to 1 + level at the last frame, from where it does not clip."""
    video = stage.film()
    gains = 1 + level * torch.linspace(0, 1, video.shape[2])
    return (video + 1) * gains[:, None, None] / (1 + level) - 1


def _filmed(change: Callable[[Scenes, float], Scenes]) -> Callable[[Stage, float], Tensor]:
    return lambda stage, level: stage.film(change(stage.scenes, level))


LADDERS: dict[str, Ladder] = {
    "flicker": Ladder(
        spoil=lambda _, video, strength: faults.flicker(video, strength, SEED),
        levels=(0.5, 2.0, 8.0),
        unit="% deviation of a frame's gain",
        owners=("flicker",),
    ),
    "boiling": Ladder(
        spoil=lambda _, video, strength: boiling(video, strength, SEED),
        levels=(0.5, 2.0, 8.0),
        unit="% deviation of the gain of each of 8 x 8 parts",
        owners=("local_flicker",),
    ),
    "jitter": Ladder(
        spoil=lambda _, video, strength: faults.jitter(video, strength, SEED),
        levels=(0.25, 0.5, 2.0),
        unit="px deviation of the camera's place, at 256 px",
        owners=("jitter",),
        in_pixels=True,
    ),
    "wobble": Ladder(
        spoil=lambda _, video, strength: faults.wobble(video, strength, SEED),
        levels=(0.25, 0.5, 1.0, 2.0),
        unit="px RMS of non-rigid displacement, at 256 px",
        owners=("warp", "background_warp"),
        in_pixels=True,
    ),
    "blur": Ladder(
        spoil=lambda _, video, strength: faults.blur(video, strength),
        levels=(0.5, 0.8, 1.2, 3.0),
        unit="px deviation of a Gaussian",
        owners=("detail", "ssim_source"),
    ),
    "face blur": Ladder(
        spoil=lambda stage, video, strength: faults.face_blur(video, strength, stage.faces()),
        levels=(0.5, 0.8, 1.2, 3.0),
        unit="px deviation of a Gaussian on the face alone",
        owners=("face_detail",),
    ),
    "noise": Ladder(
        spoil=lambda _, video, strength: faults.noise(video, strength, SEED),
        levels=(5.0, 20.0),
        unit="grey levels of grain",
        owners=("noise", "detail_incoherence"),
    ),
    "sharpening": Ladder(
        spoil=lambda _, video, strength: faults.sharpening(video, strength),
        levels=(1.0, 4.0),
        unit="times an unsharp mask of 1 px",
        owners=("overshoot",),
    ),
    "saturation": Ladder(
        spoil=lambda _, video, strength: faults.saturation(video, strength),
        levels=(0.4, 1.5),
        unit="added saturation",
        owners=("saturation",),
    ),
    "ghosting": Ladder(
        spoil=lambda _, video, strength: faults.ghosting(video, strength),
        levels=(0.7,),
        unit="share of the frame before",
        owners=(),
    ),
    "stutter": Ladder(
        spoil=lambda _, video, strength: faults.stutter(video, strength, SEED),
        levels=(0.4,),
        unit="chance that a frame repeats",
        owners=(),
    ),
    "freeze": Ladder(
        spoil=lambda _, video, strength: faults.freeze(video, strength),
        levels=(0.25, 0.5, 1.0),
        unit="share of the frames that stand still",
        owners=("motion", "motion_top5"),
    ),
}

NUISANCES: dict[str, Nuisance] = {
    "pan": Nuisance(
        film=_filmed(panned), levels=(0.25, 3.0), unit="times 0.16 half sides a second"
    ),
    "zoom": Nuisance(film=_filmed(zoomed), levels=(-0.3, 0.3), unit="log magnification a second"),
    "object": Nuisance(
        film=_filmed(crossed), levels=(0.5,), unit="half sides a second of a ball that passes"
    ),
    "ramp": Nuisance(film=_ramp, levels=(0.4,), unit="rise of brightness by the end"),
}

CENTRAL = ("flicker", "jitter", "warp", "detail", "face_detail")
"""The metrics that the strict rules are for."""

COUPLED: dict[tuple[str, str], str] = {
    ("jitter", "stutter"): "a repeated frame is a camera that stops and jumps: judder is jitter",
    ("detail", "sharpening"): "detail reads sharpening on the other side of 1",
    ("face_detail", "sharpening"): "detail reads sharpening on the other side of 1",
    ("detail", "ghosting"): "a ghost is a blur along the motion",
    ("face_detail", "ghosting"): "a ghost is a blur along the motion",
    ("face_detail", "blur"): "the blur of a frame is on its face too",
    ("detail", "face blur"): "the face is a part of the frame",
}
"""(metric, fault) → why a fault that is not its own moves it: physics, and wanted."""
