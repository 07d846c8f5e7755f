"""`wanexp bench vae`: encoding a source and decoding a video, by precision, tiled or whole.

With ``--model wan_mini``, whose weights are real, what precision and tiles do to a video.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from wanexp.backends.diffusers import DiffusersBackend
from wanexp.backends.random_parts import random_backend
from wanexp.bench.card import A14B, CARD, LARGE, SMALL, clocked, free, need_card
from wanexp.bench.metrics import filmed
from wanexp.bench.row import Row, Seconds, Settings, Size, beside, timed
from wanexp.memory import Dtype, Memory
from wanexp.models import MODELS, Model, weights_folder

SIZES = (SMALL, LARGE)
REPEATS = 3
SETTINGS: tuple[tuple[Dtype, bool], ...] = (
    ("float32", False),
    ("float32", True),
    ("bfloat16", False),
    ("bfloat16", True),
)
"""Precision, and whether in tiles."""


def vae_rows(settings: Settings) -> Iterator[Row]:
    """For every size and VAE setting: encoding, then decoding, beside float32 untiled."""
    if settings.model is not None:
        yield from _quality_rows(MODELS[settings.model], settings)
        return
    need_card()
    base: dict[tuple[str, Size], float] = {}
    for dtype, tiled in SETTINGS:
        memory = replace(CARD, vae_dtype=dtype, vae_tiling=tiled)
        for what, size, found in _timed(memory, settings):
            first = base.setdefault((what, size), found.median)
            words = f"{what}, {_words(dtype, tiled=tiled)}"
            yield beside(words, size, found, first, "float32, whole frames")


def _timed(memory: Memory, settings: Settings) -> Iterator[tuple[str, Size, Seconds]]:
    backend, repeats = random_backend(A14B, memory), settings.repeats or REPEATS
    for size in settings.sizes or SIZES:
        source = np.random.default_rng(0).integers(
            0, 256, (size.height, size.width, 3), dtype=np.uint8
        )
        encoding = clocked(lambda: backend.encode_image(source, size.frames), repeats, warmups=1)  # noqa: B023
        yield "encode", size, encoding
        latent = torch.randn(backend.latent_shape(size.width, size.height, size.frames))
        yield "decode", size, clocked(lambda: backend.decode(latent), repeats, warmups=1)  # noqa: B023
    backend.release()
    free()


def _quality_rows(model: Model, settings: Settings) -> Iterator[Row]:
    """A film encoded in float32 and decoded in every setting, beside the film and float32's."""
    own = Size(width=model.width, height=model.height, frames=model.frames)
    for size in settings.sizes or (own,):
        film = filmed(size)
        pixels = torch.tensor(film).permute(3, 0, 1, 2)[None].float() / 255 * 2 - 1
        exact = _decoder(model, "float32", tiled=False)
        latent = exact.encode_video(pixels)
        whole = exact.decode(latent)
        base = 0.0
        for dtype, tiled in SETTINGS:
            backend = _decoder(model, dtype, tiled=tiled)
            decode = functools.partial(backend.decode, latent)
            frames = decode()
            taken = timed(decode, repeats=settings.repeats or 1, warmups=0)
            base = base or taken.median
            note = (
                f"{psnr(frames, film):.2f} dB to the film,"
                f" {psnr(frames, whole):.2f} dB to float32's whole frames"
            )
            words = f"decode, {_words(dtype, tiled=tiled)}"
            yield beside(words, size, taken, base, "float32, whole frames", note)


def _decoder(model: Model, dtype: Dtype, *, tiled: bool) -> DiffusersBackend:
    memory = Memory(device="cpu", vae_dtype=dtype, vae_tiling=tiled)
    return DiffusersBackend(folder=weights_folder(model.source), model=model, memory=memory)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Decibels between two uint8 videos of one shape; infinite where they are equal."""
    error = np.square(one.astype(np.float64) - other).mean()
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def _words(dtype: Dtype, *, tiled: bool) -> str:
    return f"{dtype}{', tiled' if tiled else ''}"
