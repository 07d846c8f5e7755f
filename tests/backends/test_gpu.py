"""What only a card can show. Needs torch, diffusers and transformers; `pytest -m gpu` runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from wanexp.backends import encode
from wanexp.backends.diffusers import DiffusersBackend, open_backend
from wanexp.config import recipe_from
from wanexp.generate import generate
from wanexp.images import load_source
from wanexp.memory import Memory
from wanexp.plan import make_plan
from wanexp.step_cache import SKIPS_BLOCKS

pytestmark = pytest.mark.gpu

CARD = Memory(device="cuda", dtype="bfloat16", guidance="sequential")
TWO: Mapping[str, object] = {
    "establish": {"sampler": "dpmpp_2m_sde", "steps": 6, "cfg": 2.0},
    "refine": {"sampler": "euler_ancestral", "steps": 6, "denoise": 0.5, "cfg": 2.0},
}
CACHES = {
    "first_block": {"kind": "first_block", "threshold": 0.3},
    "mag": {"kind": "mag", "ratios": {"high": [1.0] * 6, "low": [1.0] * 6}},
    "taylorseer": {"kind": "taylorseer", "interval": 2, "warmup": 2},
}


def latent(memory: Memory, **recipe: object) -> Tensor:
    """The last latent of a two-stage chain of both experts on wan-mini."""
    tree = {"scheduler": "simple", "stages": TWO, **recipe}
    whole = recipe_from({"name": "wan_mini"}, tree)
    backend = open_backend(whole, memory)
    source = load_source("skimage:astronaut.png", None, 128, 128)
    told = encode(backend, source, "high quality , a face moves left", "blurry", 17)
    *_, end = generate(make_plan(whole), told, [5, 6], backend)
    backend.decode(end.latent)
    backend.release()
    return end.latent.cpu()


def off(a: Tensor, b: Tensor) -> float:
    """Root mean square of the difference, as a share of the deviation."""
    return ((a - b).pow(2).mean().sqrt() / b.std()).item()


@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])
def test_the_same_trial_gives_the_same_bits_twice(compiled) -> None:
    memory = replace(CARD, compile=compiled)
    assert torch.equal(latent(memory), latent(memory))


@pytest.mark.parametrize("offload", ["model", "group"])
@pytest.mark.parametrize("weights", ["dtype", "float8", "float8_scaled"])
def test_weights_that_travel_give_the_bits_of_those_that_stay(offload, weights) -> None:
    stay = replace(CARD, weights=weights)
    assert torch.equal(latent(replace(stay, offload=offload)), latent(stay))


@pytest.mark.parametrize("kind", CACHES)
def test_a_step_cache_gives_the_same_bits_wherever_the_weights_are(kind) -> None:
    cache = CACHES[kind]
    stay = latent(CARD, step_cache=cache)
    assert off(stay, latent(CARD)) > 0.01
    assert torch.equal(latent(CARD, step_cache=cache), stay)
    assert torch.equal(latent(replace(CARD, offload="model"), step_cache=cache), stay)
    if kind not in SKIPS_BLOCKS:
        assert torch.equal(latent(replace(CARD, offload="group"), step_cache=cache), stay)


@pytest.mark.parametrize("kind", CACHES)
def test_a_step_cache_works_with_compiled_blocks(kind) -> None:
    single = replace(CARD, dtype="float32")
    plain = latent(single, step_cache=CACHES[kind])
    assert off(latent(replace(single, compile=True), step_cache=CACHES[kind]), plain) < 0.02


def test_compiled_blocks_come_near_plain_ones() -> None:
    single = replace(CARD, dtype="float32")
    assert off(latent(replace(single, compile=True)), latent(single)) < 0.01


def test_both_prompts_at_once_come_near_one_after_the_other() -> None:
    single = replace(CARD, dtype="float32")
    assert off(latent(replace(single, guidance="batched")), latent(single)) < 0.01


def test_the_loop_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch raises an error where the host would wait for the card."""
    call = DiffusersBackend._call

    def watched(*given: object, clean_first: bool) -> Tensor:
        torch.cuda.set_sync_debug_mode("error")
        try:
            return call(*given, clean_first=clean_first)  # type: ignore[arg-type]
        finally:
            torch.cuda.set_sync_debug_mode("default")

    latent(CARD)  # what is done once may wait
    monkeypatch.setattr(DiffusersBackend, "_call", watched)
    latent(CARD)


def test_the_text_encoder_leaves_the_card_after_use() -> None:
    recipe = recipe_from({"name": "wan_mini"}, {"scheduler": "simple", "stages": TWO})
    backend = open_backend(recipe, CARD)
    backend.encode_text("a face")
    encoder = backend.part("text_encoder")
    assert {p.device.type for p in encoder.parameters()} == {"cuda"}
    backend.part("vae")
    assert {p.device.type for p in encoder.parameters()} == {"cpu"}
    before = backend.encode_text("a face")
    backend.part("transformer")
    assert torch.equal(backend.encode_text("a face"), before)


def test_a_limit_makes_the_card_small() -> None:
    recipe = recipe_from({"name": "wan_mini"}, {"scheduler": "simple", "stages": TWO})
    backend = open_backend(recipe, replace(CARD, limit_gib=1.0))
    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(2 * 2**30, dtype=torch.uint8, device=backend.device)
    open_backend(recipe, CARD)
    torch.empty(2 * 2**30, dtype=torch.uint8, device=backend.device)
