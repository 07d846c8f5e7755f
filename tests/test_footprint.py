"""Predictions beside what `wanexp bench memory` measured on one NVIDIA H200 (docs/memory.md)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from wanexp.config import Recipe, recipe_from
from wanexp.footprint import GIB, PARTS, advice, footprint
from wanexp.memory import Memory

CARD = Memory(device="cuda", dtype="bfloat16")
A14B, DENSE = "wan22_i2v_a14b", "wan22_ti2v_5b"

MEASURED = [
    (A14B, (512, 512, 17), "float32", {"text": 64.89, "sampling": 54.60, "decode": 59.61}),
    (A14B, (480, 832, 81), "float32", {"text": 64.92, "sampling": 57.58, "decode": 62.84}),
    (A14B, (768, 768, 17), "float32", {"text": 64.89, "sampling": 55.29, "decode": 66.56}),
    (A14B, (720, 1280, 81), "bfloat16", {"text": 64.71, "sampling": 61.94, "decode": 63.98}),
    (DENSE, (512, 512, 17), "float32", {"text": 22.85, "sampling": 12.25, "decode": 17.85}),
    (DENSE, (1280, 704, 121), "float32", {"text": 22.87, "sampling": 17.13, "decode": 33.08}),
]


def recipe(model: str, size: tuple[int, int, int]) -> Recipe:
    width, height, frames = size
    sizes = {"width": width, "height": height, "frames": frames}
    return recipe_from({"name": model}, {**sizes, "stages": {"only": {"steps": 2}}})


@pytest.mark.parametrize(("model", "size", "vae", "found"), MEASURED)
def test_predictions_are_within_a_tenth_of_what_was_measured(model, size, vae, found):
    memory = replace(CARD, vae_dtype=vae)
    predicted = footprint(recipe(model, size), memory)
    for phase, gib in found.items():
        assert predicted[phase] / GIB == pytest.approx(gib, rel=0.1), phase


def test_every_way_to_save_memory_saves_some():
    whole = footprint(recipe(A14B, (512, 512, 17)), CARD)
    for memory in (
        replace(CARD, offload="model"),
        replace(CARD, offload="group"),
        replace(CARD, weights="float8"),
        replace(CARD, vae_tiling=True),
        replace(CARD, vae_dtype="bfloat16"),
    ):
        less = footprint(recipe(A14B, (512, 512, 17)), memory)
        assert max(less.values()) <= max(whole.values())
        assert sum(less.values()) < sum(whole.values())


def test_advice_comes_where_a_phase_does_not_fit_and_only_there():
    small = recipe(A14B, (512, 512, 17))
    assert advice(small, CARD) is None
    assert advice(small, replace(CARD, limit_gib=80.0)) is None
    said = advice(small, replace(CARD, limit_gib=24.0))
    assert said is not None
    assert "more than the 24 of memory.limit_gib" in said
    assert "memory.offload=model" in said


def test_what_is_counted_is_what_the_library_builds():
    import torch

    from wanexp.backends.random_parts import random_part
    from wanexp.models import MODELS

    for name, parts in PARTS.items():
        part = random_part(MODELS[name], None, torch.device("meta"), "transformer", torch.bfloat16)
        assert sum(p.numel() for p in part.parameters()) == parts.expert
