"""Facts about each model, as data: no code here or elsewhere asks ``if name == …``.

Sizes are in pixels, ``shift`` is the flow shift of the time axis, ``boundary`` the noise level
(sigma) at and above which the high-noise expert works.
"""

from __future__ import annotations

import functools
import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

EDGE_BYTES = 1 << 20
"""How much of each end of a weight file its fingerprint reads."""

ROUNDING = 1e-9
"""How far two ways of computing one noise level may lie apart."""

Condition = Literal["channels", "first_frame", "none"]


@dataclass(frozen=True, kw_only=True)
class Model:
    """What the planner must know of a model before any weights load.

    Attributes:
        experts: From the highest noise to the lowest; one name for a dense model.
        boundary: Sigma at and above which the first expert works; None for a dense model.
        size_multiple: Width and height must be multiples of this (VAE stride × patch).
        frame_stride: Frames must be ``frame_stride · n + 1``.
        vae_stride: Pixels per latent cell, each way.
        latent_channels: Channels of the VAE's latent.
        condition: How the source enters: concatenated ``channels`` (mask and latent), as a clean
            ``first_frame`` whose tokens have timestep 0 (where there is one: without it the model
            goes by the words), or ``none``: it makes video from words alone.
        max_tokens: Length that prompts are padded or cut to.
        shift, cfg, steps, fps, width, height, frames: The model's own defaults.
        source: Hub id or folder of the weights in diffusers format.
        revision: Hub revision; None for a folder or the newest.
    """

    name: str
    experts: tuple[str, ...]
    boundary: float | None
    size_multiple: int
    frame_stride: int = 4
    vae_stride: int
    latent_channels: int
    condition: Condition
    max_tokens: int
    shift: float
    cfg: float
    steps: int
    fps: int
    width: int
    height: int
    frames: int
    source: str
    revision: str | None = None

    @property
    def needs_image(self) -> bool:
        """Whether there is no video without a source."""
        return self.condition == "channels"

    @property
    def takes_image(self) -> bool:
        """Whether a source, where there is one, is shown to the model."""
        return self.condition != "none"

    def expert_at(self, sigma: float) -> str:
        """The expert that the official rule picks: high if and only if sigma ≥ boundary.

        A level that rounding put a hair below the boundary (shift 6, t = 0.6) lies at it.
        """
        if self.boundary is None or sigma >= self.boundary - ROUNDING:
            return self.experts[0]
        return self.experts[-1]


# Defaults of the official repository (wan/configs); its 480p advice is shift 3.
_I2V_A14B = Model(
    name="wan22_i2v_a14b",
    experts=("high", "low"),
    boundary=0.9,
    size_multiple=16,
    vae_stride=8,
    latent_channels=16,
    condition="channels",
    max_tokens=512,
    shift=5.0,
    cfg=3.5,
    steps=40,
    fps=16,
    width=832,
    height=480,
    frames=81,
    source="Wan-AI/Wan2.2-I2V-A14B-Diffusers",
)

MODELS: dict[str, Model] = {
    "wan_mini": Model(
        name="wan_mini",
        experts=("high", "low"),
        boundary=0.9,
        size_multiple=16,
        vae_stride=8,
        latent_channels=16,
        condition="channels",
        max_tokens=24,
        shift=2.0,
        cfg=2.0,
        steps=25,
        fps=12,
        width=128,
        height=128,
        frames=17,
        source="wan-mini",
    ),
    "wan22_i2v_a14b": _I2V_A14B,
    # Officially the low expert is guided by 3 (a stage of its own: `cfg: 3`).
    "wan22_t2v_a14b": replace(
        _I2V_A14B,
        name="wan22_t2v_a14b",
        boundary=0.875,
        condition="none",
        shift=12.0,
        cfg=4.0,
        source="Wan-AI/Wan2.2-T2V-A14B-Diffusers",
    ),
    "wan22_ti2v_5b": Model(
        name="wan22_ti2v_5b",
        experts=("dense",),
        boundary=None,
        size_multiple=32,
        vae_stride=16,
        latent_channels=48,
        condition="first_frame",
        max_tokens=512,
        shift=5.0,
        cfg=5.0,
        steps=50,
        fps=24,
        width=1280,
        height=704,
        frames=121,
        source="Wan-AI/Wan2.2-TI2V-5B-Diffusers",
    ),
}


def weights_folder(source: str) -> Path | None:
    """The local folder that ``source`` names, or None where it is a Hub id.

    ``wan-mini`` is the miniature that ships inside the package.
    """
    if source == "wan-mini":
        return Path(__file__).parent / "mini" / "weights"
    folder = Path(source).expanduser()
    return folder if folder.is_dir() else None


def fingerprint(source: str, revision: str | None) -> str:
    """Sixteen hex digits that change when the weights do.

    ``source`` is a model's folder, a LoRA's file, or either of them on the Hub, which is its id and
    revision. A local file counts with its name, its size and the first and last mebibyte: enough to
    notice other weights, and quick for tens of gigabytes. Hidden files (``.git``, a downloader's
    ``.cache``) do not count.
    """
    file = Path(source).expanduser()
    if file.is_file():
        return _content_digest(file.parent, (_entry(file, file.parent),))
    folder = weights_folder(source)
    if folder is None:
        return hashlib.sha256(f"{source}@{revision}".encode()).hexdigest()[:16]
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    places = [path.relative_to(folder).parts for path in files]
    return _content_digest(
        folder,
        tuple(
            _entry(path, folder)
            for path, parts in zip(files, places, strict=True)
            if not any(part.startswith(".") for part in parts)
        ),
    )


def _entry(path: Path, folder: Path) -> tuple[str, int, int]:
    """Name, size and time of change."""
    stat = path.stat()
    return path.relative_to(folder).as_posix(), stat.st_size, stat.st_mtime_ns


@functools.lru_cache(maxsize=64)
def _content_digest(folder: Path, files: tuple[tuple[str, int, int], ...]) -> str:
    """Read again only where a name, a size or a time of change (``files``) is another."""
    digest = hashlib.sha256()
    for place, size, _ in files:
        digest.update(f"{place}:{size}:".encode())
        with (folder / place).open("rb") as file:
            digest.update(file.read(EDGE_BYTES))
            if size > EDGE_BYTES:
                file.seek(max(EDGE_BYTES, size - EDGE_BYTES), os.SEEK_SET)
                digest.update(file.read(EDGE_BYTES))
    return digest.hexdigest()[:16]
