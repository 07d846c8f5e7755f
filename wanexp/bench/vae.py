"""`wanexp bench vae`: encoding a source and decoding a video, by precision, tiled or whole."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from wanexp.backends.random_parts import random_backend
from wanexp.bench.card import A14B, CARD, LARGE, SMALL, clocked, free, need_card
from wanexp.bench.row import Row, Seconds, Settings
from wanexp.memory import Memory

SIZES = (SMALL, LARGE)
REPEATS = 3


def vae_rows(settings: Settings) -> Iterator[Row]:
    """For every size and VAE setting: encoding, then decoding, beside float32 untiled."""
    need_card()
    base: dict[tuple[str, str], float] = {}
    for dtype, tiled in itertools.product(("float32", "bfloat16"), (False, True)):
        memory = replace(CARD, vae_dtype=dtype, vae_tiling=tiled)  # type: ignore[arg-type]
        for what, size, found in _timed(memory, settings):
            first = base.setdefault((what, size), found.median)
            yield Row(
                what=f"{what}, {dtype}{', tiled' if tiled else ''}",
                size=size,
                seconds=found,
                against="float32, whole frames",
                ratio=found.median / first,
            )


def _timed(memory: Memory, settings: Settings) -> Iterator[tuple[str, str, Seconds]]:
    backend, repeats = random_backend(A14B, memory), settings.repeats or REPEATS
    for size in settings.sizes or SIZES:
        source = np.random.default_rng(0).integers(
            0, 256, (size.height, size.width, 3), dtype=np.uint8
        )
        encoding = clocked(lambda: backend.encode_image(source, size.frames), repeats, warmups=1)  # noqa: B023
        yield "encode", str(size), encoding
        latent = torch.randn(backend.latent_shape(size.width, size.height, size.frames))
        yield "decode", str(size), clocked(lambda: backend.decode(latent), repeats, warmups=1)  # noqa: B023
    backend.release()
    free()
