"""Is wan-mini good? Videos made the way users make them, beside the truth they should meet.

Everything runs through the same plan, sampling and backend as any trial; only the scenes and the
photographs are ones that no training saw.

Axes: B scenes, T frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from wanexp.backends import encode, load_backend
from wanexp.config import recipe_from
from wanexp.generate import generate
from wanexp.images import Box
from wanexp.memory import Memory
from wanexp.mini.folder import load_vae
from wanexp.mini.onepass import decode_video, encode_moments
from wanexp.mini.shapes import FRAMES, HEIGHT, WIDTH
from wanexp.plan import make_plan
from wanexp.seeds import stage_seed
from wanexp.world.captions import captions
from wanexp.world.render import face_boxes, owner_masks, render
from wanexp.world.scene import Scenes, draw_scenes
from wanexp.world.textures import HELD_OUT, photograph, texture_bank

SCENES, TEXTURES = 64, 512
SCENES_SEED, BANK_SEED = 2**40, 2
"""Neither is used in training."""

MARGIN = 4
"""How far, px, a subject's motion leaks into the flow of what is beside it."""

NEGATIVE = "blurry, flickering, warping, noisy"

ONE_STAGE: Mapping[str, object] = {
    "stages": {"only": {"steps": 25, "cfg": 2.0, "sampler": "euler", "scheduler": "simple"}}
}
TWO_STAGES: Mapping[str, object] = {
    "stages": {
        "establish": {"steps": 18, "cfg": 2.0, "sampler": "euler", "scheduler": "simple"},
        "refine": {
            "steps": 25, "cfg": 2.0, "sampler": "euler", "scheduler": "simple", "sigma_start": 0.45,
        },
    }
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """What wan-mini is judged on.

    Attributes:
        scenes: Faultless, from seeds and textures that no training used.
        videos: (B, T, H, W, 3) uint8, the truth.
        prompts: The whole truth in words.
        faces: (x0, y0, x1, y1) in the first frame, or None.
        crossed: (B, H, W) bool, where a subject is in any frame of the truth, or within MARGIN.
    """

    scenes: Scenes
    videos: np.ndarray
    prompts: list[str]
    faces: list[Box | None]
    crossed: np.ndarray


def held_out(count: int = SCENES, textures: int = TEXTURES) -> HeldOut:
    """Scenes with seeds, textures and clouds of their own; of photographs, other crops."""
    bank = texture_bank(textures, seed=BANK_SEED)
    scenes = draw_scenes(count, seed=SCENES_SEED, textures=len(bank), faulty=0.0)
    return HeldOut(
        scenes=scenes,
        videos=as_frames(render(scenes, bank, FRAMES, HEIGHT, WIDTH)),
        prompts=captions(scenes),
        faces=face_boxes(scenes, 0, HEIGHT, WIDTH),
        crossed=_crossed(scenes),
    )


def held_out_photographs() -> dict[str, np.ndarray]:
    """The middle square of each photograph that no training saw, (128, 128, 3) uint8."""
    return {name.partition(".")[0]: _square(photograph(name)) for name in HELD_OUT}


def make(
    folder: Path,
    source: np.ndarray,
    prompt: str,
    *,
    negative: str = NEGATIVE,
    recipe: Mapping[str, object] = ONE_STAGE,
    seed: int = 0,
) -> np.ndarray:
    """(T, H, W, 3) uint8: a video of a source (H, W, 3), as a trial makes it."""
    asked = recipe_from({"name": "wan_mini", "source": str(folder)}, recipe)
    plan = make_plan(asked)
    backend = load_backend(asked, Memory(dtype="float32", vae_dtype="float32"))
    conditioning = encode(backend, source, prompt, negative, asked.frames)
    seeds = [stage_seed(seed, stage) for stage in range(len(plan.stages))]
    ends = list(generate(plan, conditioning, seeds, backend))
    return backend.decode(ends[-1].denoised)


def reconstruct(folder: Path, video: np.ndarray) -> np.ndarray:
    """(T, H, W, 3) uint8 through the folder's VAE and back."""
    vae = load_vae(folder).eval()
    with torch.no_grad():
        latent, _ = encode_moments(vae, as_tensor(video)[None])
        return as_frames(decode_video(vae, latent))[0]


def with_setting(recipe: Mapping[str, object], **setting: float) -> dict[str, object]:
    """The recipe with a value changed in all its stages."""
    stages = recipe["stages"]
    assert isinstance(stages, Mapping)
    return {**recipe, "stages": {name: {**stage, **setting} for name, stage in stages.items()}}


def psnr(made: np.ndarray, truth: np.ndarray) -> float:
    """DB of 8-bit pictures or videos."""
    error = np.mean((made.astype(np.float64) - truth) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def distance(made: np.ndarray, truth: np.ndarray) -> float:
    """Mean absolute difference, on a scale of 0 to 1."""
    return float(np.mean(np.abs(made.astype(np.float64) - truth)) / 255)


def as_frames(video: Tensor) -> np.ndarray:
    """(B, T, H, W, 3) uint8 of (B, 3, T, H, W) in [−1, 1]."""
    pixels = ((video.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 4, 1).cpu().numpy()


def as_tensor(video: np.ndarray) -> Tensor:
    """(3, T, H, W) in [−1, 1] of (T, H, W, 3) uint8."""
    return torch.tensor(video).permute(3, 0, 1, 2).float() / 127.5 - 1


def _crossed(scenes: Scenes) -> np.ndarray:
    masks = [owner_masks(scenes, frame, HEIGHT, WIDTH) > 0 for frame in range(FRAMES)]
    anywhere = torch.stack(masks).any(dim=0)
    wide = F.max_pool2d(anywhere[:, None].float(), 2 * MARGIN + 1, stride=1, padding=MARGIN)
    return (wide[:, 0] > 0).cpu().numpy()


def _square(picture: Tensor) -> np.ndarray:
    height, width = picture.shape[1:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = picture[None, :, top : top + side, left : left + side]
    small = F.interpolate(square, (HEIGHT, WIDTH), mode="bilinear", antialias=True)
    return as_frames(small[:, :, None])[0, 0]
