"""`wanexp bench memory`: every phase's peak on a card, beside what ``wanexp plan`` predicts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from wanexp.backends import Conditioning
from wanexp.backends.diffusers import DiffusersBackend
from wanexp.backends.random_parts import random_backend
from wanexp.bench.card import A14B, DENSE, SIGMA, conditions, free, need_card
from wanexp.bench.row import Row, Settings, Size, seconds
from wanexp.config import Recipe, recipe_from
from wanexp.footprint import GIB, footprint
from wanexp.memory import Memory

WORDS = "wan22_t2v_a14b"
PROMPT = "she turns her head and smiles"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A model under a memory profile, and the sizes to make with it."""

    model: str
    profile: str
    memory: Memory
    sizes: tuple[Size, ...]


def _size(width: int, height: int, frames: int) -> Size:
    return Size(width=width, height=height, frames=frames)


WHOLE = Memory(device="cuda", dtype="bfloat16", guidance="sequential")
VRAM_12GB = replace(WHOLE, offload="group", vae_tiling=True, vae_dtype="bfloat16", empty_cache=True)
VRAM_16GB = replace(VRAM_12GB, vae_dtype="float32")
VRAM_48GB = replace(WHOLE, offload="model", vae_tiling=True, compile=True)
VRAM_24GB = replace(VRAM_48GB, weights="float8_scaled")
"""The profiles of ``conf/memory``, one prompt at a time and without their limit: random weights
are made on the card."""

SETUPS = (
    Setup(
        model=A14B,
        profile="everything resident",
        memory=WHOLE,
        sizes=(_size(512, 512, 17), _size(480, 832, 81), _size(768, 768, 17)),
    ),
    Setup(
        model=A14B,
        profile="everything resident, bfloat16 VAE",
        memory=replace(WHOLE, vae_dtype="bfloat16"),
        sizes=(_size(720, 1280, 81),),
    ),
    Setup(
        model=A14B,
        profile="vram_48gb",
        memory=VRAM_48GB,
        sizes=(_size(512, 512, 17), _size(480, 832, 81)),
    ),
    Setup(
        model=A14B,
        profile="vram_24gb",
        memory=VRAM_24GB,
        sizes=(_size(512, 512, 17), _size(480, 832, 81)),
    ),
    Setup(
        model=A14B,
        profile="vram_16gb",
        memory=VRAM_16GB,
        sizes=(_size(512, 512, 17), _size(480, 832, 81)),
    ),
    Setup(
        model=A14B,
        profile="vram_12gb",
        memory=VRAM_12GB,
        sizes=(_size(512, 512, 17), _size(480, 832, 49)),
    ),
    Setup(
        model=WORDS,
        profile="offload=model",
        memory=replace(WHOLE, offload="model"),
        sizes=(_size(512, 512, 17),),
    ),
    Setup(
        model=DENSE,
        profile="everything resident",
        memory=WHOLE,
        sizes=(_size(512, 512, 17), _size(1280, 704, 121)),
    ),
    Setup(
        model=DENSE,
        profile="offload=model, tiled bfloat16 VAE",
        memory=replace(WHOLE, offload="model", vae_tiling=True, vae_dtype="bfloat16"),
        sizes=(_size(512, 512, 17), _size(1280, 704, 121)),
    ),
    Setup(
        model=DENSE,
        profile="vram_24gb",
        memory=VRAM_24GB,
        sizes=(_size(512, 512, 17), _size(1280, 704, 121)),
    ),
)


def memory_rows(settings: Settings) -> Iterator[Row]:
    """For every setup and size: the peak of each phase; the ratio is measured over predicted."""
    need_card()
    for setup in SETUPS:
        backend = random_backend(setup.model, setup.memory)
        for size in settings.sizes or setup.sizes:
            recipe = recipe_of(setup.model, size)
            predicted = footprint(recipe, setup.memory)
            dict(_phases(backend, recipe, size))  # from the second case on all is loaded that stays
            for phase, (peak, spent) in dict(_phases(backend, recipe, size)).items():
                yield _row(setup, size, phase, peak, predicted[phase], spent)
        backend.release()
        free()


def recipe_of(model: str, size: Size) -> Recipe:
    """Any recipe of a model at a size."""
    sizes = {"width": size.width, "height": size.height, "frames": size.frames}
    return recipe_from({"name": model}, {**sizes, "stages": {"only": {"steps": 2}}})


def _phases(
    backend: DiffusersBackend, recipe: Recipe, size: Size
) -> Iterator[tuple[str, tuple[int, float]]]:
    """Phase → (bytes at the peak, seconds), in the order of a trial."""
    source = np.zeros((size.height, size.width, 3), np.uint8)
    told = conditions(backend, recipe.model, size)
    latent = torch.randn(told.latent_shape)
    calls = {
        expert: _asked(backend, told, expert)
        for expert in dict.fromkeys((recipe.model.experts[0], recipe.model.experts[-1]))
    }
    yield "text", _peak(lambda: backend.encode_text(PROMPT))
    backend.part("vae")  # so that the text encoder has left before the next peak is counted
    if recipe.model.takes_image:
        yield "source", _peak(lambda: backend.encode_image(source, size.frames))
    first, *second = calls.values()
    yield "sampling", _peak(first)
    for other in second:
        yield "hand_over", _peak(other)
    backend.part("vae")  # and the expert
    yield "decode", _peak(lambda: backend.decode(latent))


def _asked(backend: DiffusersBackend, told: Conditioning, expert: str) -> Callable[[], object]:
    x = torch.randn(told.latent_shape, device=backend.device)
    denoise = backend.denoiser(told, expert=expert, cfg=1.0)
    return lambda: denoise(x, SIGMA)


def _peak(work: Callable[[], object]) -> tuple[int, float]:
    free()
    torch.cuda.reset_peak_memory_stats()
    begun = time.perf_counter()
    work()
    torch.cuda.synchronize()
    spent = time.perf_counter() - begun
    return torch.cuda.max_memory_allocated(), spent


def _row(setup: Setup, size: Size, phase: str, peak: int, predicted: int, spent: float) -> Row:
    return Row(
        what=f"{setup.model}, {setup.profile}: {phase}",
        size=str(size),
        seconds=seconds([spent]),
        against=f"{predicted / GIB:.2f} GiB predicted",
        ratio=peak / predicted,
        note=f"peak {peak / GIB:.2f} GiB",
    )
