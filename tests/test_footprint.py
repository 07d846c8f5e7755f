"""Predictions beside what `wanexp bench memory` measured on one NVIDIA H200 (docs/memory.md)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import wanexp
from wanexp.bench.card import A14B, DENSE
from wanexp.bench.memory import SETUPS, WORDS
from wanexp.config import Recipe, recipe_from
from wanexp.footprint import GIB, PARTS, advice, footprint
from wanexp.memory import Memory

CARD = Memory(device="cuda", dtype="bfloat16")
CONF = Path(wanexp.__file__).resolve().parent.parent / "conf"

PHASES = ("text", "source", "sampling", "decode")
WHOLE, TILED = "everything resident", "offload=model, tiled bfloat16 VAE"

# GiB of each phase; None where it was not measured on its own.
MEASURED = [
    (A14B, WHOLE, (512, 512, 17), (64.89, 59.30, 54.57, 59.58)),
    (A14B, WHOLE, (480, 832, 81), (64.92, 62.37, 57.55, 62.81)),
    (A14B, WHOLE, (768, 768, 17), (64.89, 65.89, 55.26, 66.53)),
    (A14B, "everything resident, bfloat16 VAE", (720, 1280, 81), (64.71, 63.44, 61.91, 63.95)),
    (A14B, "vram_48gb", (512, 512, 17), (10.90, 1.89, 27.11, 1.97)),
    (A14B, "vram_48gb", (480, 832, 81), (10.93, 2.26, 28.77, None)),
    (A14B, "vram_24gb", (512, 512, 17), (10.91, 1.91, 14.44, None)),
    (A14B, "vram_24gb", (480, 832, 81), (10.94, 2.28, 16.30, None)),
    (A14B, "vram_16gb", (512, 512, 17), (10.89, 1.89, 2.41, 1.96)),
    (A14B, "vram_16gb", (480, 832, 81), (10.92, 2.25, 5.38, 2.48)),
    (A14B, "vram_12gb", (512, 512, 17), (10.91, 0.99, 2.43, 1.03)),
    (A14B, "vram_12gb", (480, 832, 49), (10.93, 1.10, 4.06, 1.18)),
    (WORDS, "offload=model", (512, 512, 17), (10.89, None, 27.34, 6.09)),
    (DENSE, WHOLE, (512, 512, 17), (22.85, None, 12.25, 17.85)),
    (DENSE, WHOLE, (1280, 704, 121), (22.87, None, 17.13, 33.08)),
    (DENSE, TILED, (512, 512, 17), (10.88, 1.68, 9.63, 2.12)),
    (DENSE, TILED, (1280, 704, 121), (10.90, 1.71, 14.51, 4.42)),
    (DENSE, "vram_24gb", (512, 512, 17), (10.89, 3.32, 5.03, 4.20)),
    (DENSE, "vram_24gb", (1280, 704, 121), (10.91, 3.35, 7.71, 8.41)),
]


def recipe(model: str, size: tuple[int, int, int]) -> Recipe:
    width, height, frames = size
    sizes = {"width": width, "height": height, "frames": frames}
    return recipe_from({"name": model}, {**sizes, "stages": {"only": {"steps": 2}}})


@pytest.mark.parametrize(("model", "profile", "size", "found"), MEASURED)
def test_predictions_are_within_a_twentieth_of_what_was_measured(model, profile, size, found):
    (setup,) = (s for s in SETUPS if (s.model, s.profile) == (model, profile))
    predicted = footprint(recipe(model, size), setup.memory)
    for phase, gib in zip(PHASES, found, strict=True):
        if gib is not None:
            assert predicted[phase] / GIB == pytest.approx(gib, rel=0.05), phase


@pytest.mark.parametrize("profile", ["vram_12gb", "vram_16gb", "vram_24gb", "vram_48gb"])
def test_the_profiles_measured_are_those_that_ship(profile):
    (measured, *others) = (s.memory for s in SETUPS if s.profile == profile)
    ships = yaml.safe_load((CONF / "memory" / f"{profile}.yaml").read_text(encoding="utf-8"))
    del ships["defaults"], ships["limit_gib"]
    assert measured == Memory(**ships, guidance="sequential")
    assert all(other == measured for other in others)


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


def test_two_prompts_in_one_call_have_two_latents_in_flight():
    small, large = recipe(DENSE, (512, 512, 17)), recipe(A14B, (480, 832, 81))
    one, two = (replace(CARD, guidance=way) for way in ("sequential", "batched"))
    for asked, tokens in ((small, 1280), (large, 32760)):
        more = footprint(asked, two)["sampling"] - footprint(asked, one)["sampling"]
        assert more == pytest.approx(PARTS[asked.model.name].per_token * tokens, abs=2)
    assert footprint(small, CARD) == footprint(small, two)  # auto: few tokens go together
    assert footprint(large, CARD) == footprint(large, one)
