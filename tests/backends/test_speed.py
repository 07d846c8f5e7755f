from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from typing import cast

import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import Tensor, nn
from torch.nn import functional

from wanexp.backends import encode, load_backend
from wanexp.backends.diffusers import open_backend
from wanexp.backends.float8 import Float8Linear, keep_as_float8
from wanexp.backends.placing import HostCopy
from wanexp.backends.speed import Blocks
from wanexp.config import Trial, recipe_from
from wanexp.generate import generate
from wanexp.images import load_source
from wanexp.memory import Memory
from wanexp.models import weights_folder
from wanexp.plan import make_plan
from wanexp.step_cache import SKIPS_BLOCKS, StepCache
from wanexp.strict import ConfigError

CPU = Memory(device="cpu", dtype="float32")
CHAIN = {
    "first": {"sampler": "euler", "steps": 5, "cfg": 2.0},
    "second": {"sampler": "euler", "steps": 4, "cfg": 2.0, "denoise": 0.5},
}
FLAT = {"high": [1.0] * 5, "low": [1.0] * 5}
BOLD = {
    "first_block": {"kind": "first_block", "threshold": 1.0},
    "mag": {"kind": "mag", "ratios": FLAT, "threshold": 1.0},
    "taylorseer": {"kind": "taylorseer", "interval": 2, "warmup": 2},
}
TIMID = {
    "first_block": {"kind": "first_block", "threshold": 0.0},
    "mag": {"kind": "mag", "ratios": FLAT, "retention": 1.0},
    "taylorseer": {"kind": "taylorseer", "interval": 1, "warmup": 5},
}


def latents(memory: Memory = CPU, **recipe: object) -> list[Tensor]:
    """What every stage of a chain hands over, on wan-mini at 64 × 64 × 9."""
    sizes = {"width": 64, "height": 64, "frames": 9, "scheduler": "simple"}
    whole = recipe_from({"name": "wan_mini"}, {**sizes, "stages": CHAIN, **recipe})
    backend = load_backend(whole, memory)
    source = load_source("skimage:astronaut.png", None, 64, 64)
    told = encode(backend, source, "high quality , a face moves left", "blurry", 9)
    plan = make_plan(whole)
    return [end.latent for end in generate(plan, told, list(range(len(plan.stages))), backend)]


@pytest.fixture(scope="module")
def plain() -> list[Tensor]:
    return latents()


@pytest.mark.parametrize("cache", TIMID.values(), ids=TIMID)
def test_a_step_cache_that_leaves_nothing_out_changes_nothing(cache, plain):
    for one, other in zip(latents(step_cache=cache), plain, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("kind", BOLD)
def test_a_bold_step_cache_computes_less(kind, plain):
    computed = []
    backend = load_backend(recipe_from({"name": "wan_mini"}, {"stages": CHAIN}), CPU)
    middles = [backend.part(p).blocks[3].attn1 for p in ("transformer", "transformer_2")]  # type: ignore[attr-defined]
    hooks = [m.register_forward_hook(lambda *_: computed.append(1)) for m in middles]
    made = latents(step_cache=BOLD[kind])[-1]
    for hook in hooks:
        hook.remove()
    evaluations = 2 * (5 + 4)
    assert len(computed) < evaluations
    assert not torch.equal(made, plain[-1])


@pytest.mark.parametrize("kind", BOLD)
def test_every_stage_begins_with_an_empty_cache(kind):
    """Twice the same bits, and a stage with a cache leaves the next one as it is without."""
    once = latents(step_cache=BOLD[kind])
    assert all(map(torch.equal, once, latents(step_cache=BOLD[kind])))
    first = {**CHAIN["first"], "step_cache": BOLD[kind]}
    only_first = latents(stages={"first": first, "second": CHAIN["second"]})
    assert torch.equal(only_first[0], once[0])
    assert not torch.equal(only_first[1], once[1])
    assert all(map(torch.equal, latents(), latents()))


def test_both_prompts_in_one_call_make_nearly_the_same(plain):
    for one, other in zip(latents(replace(CPU, guidance="batched")), plain, strict=True):
        torch.testing.assert_close(one, other, atol=3e-4, rtol=0)


@pytest.mark.parametrize("scaled", [False, True])
def test_a_float8_layer_computes_with_its_weights_multiplied_out(scaled):
    torch.manual_seed(0)
    expert = nn.ModuleDict({"blocks": nn.ModuleList([nn.Linear(24, 16), nn.LayerNorm(16)])})
    layer = expert["blocks"][0]  # type: ignore[index]
    before = layer.weight.detach().clone()
    keep_as_float8(expert, scaled=scaled)
    assert isinstance(layer, Float8Linear)
    assert layer.weight.dtype == torch.float8_e4m3fn
    scale = 1.0 if layer.scale is None else layer.scale[:, None]
    whole = layer.weight.float() * scale
    x = torch.randn(3, 24)
    torch.testing.assert_close(layer(x), functional.linear(x, whole, layer.bias))
    assert (whole - before).abs().max() <= before.abs().max() / 16


def test_plain_float8_is_what_diffusers_casting_gives():
    folder = weights_folder("wan-mini")
    assert folder is not None
    torch.manual_seed(0)
    given = (torch.randn(1, 36, 2, 8, 8), torch.tensor([500.0]), torch.randn(1, 24, 64))
    ours, theirs = (
        WanTransformer3DModel.from_pretrained(folder / "transformer").eval() for _ in range(2)
    )
    given = (*given[:2], torch.randn(1, 24, ours.config["text_dim"]))
    keep_as_float8(ours, scaled=False)
    for block in theirs.blocks:
        for layer in block.modules():
            if type(layer) is nn.Linear:
                layer.weight.data = layer.weight.data.to(torch.float8_e4m3fn).float()
    with torch.no_grad():
        assert torch.equal(*(m(*given, return_dict=False)[0] for m in (ours, theirs)))


def test_weights_move_into_one_block_and_back_unchanged():
    module = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2).to(torch.bfloat16))
    before = [p.detach().clone() for p in module.parameters()]
    copy = HostCopy(module)
    blocks = {p.untyped_storage().data_ptr() for p in module.parameters()}
    assert len(blocks) == 1
    copy.to_device(torch.device("cpu"))
    copy.back()
    copy.unlock()
    assert all(map(torch.equal, before, module.parameters()))


@pytest.mark.parametrize("kind", SKIPS_BLOCKS)
def test_layers_that_travel_refuse_caches_that_leave_some_out(kind):
    from wanexp.config import Case

    case = Case(name="a", image="skimage:astronaut.png", prompt="a face")
    recipe = recipe_from({"name": "wan_mini"}, {"stages": CHAIN, "step_cache": BOLD[kind]})
    with pytest.raises(ConfigError, match=f"{kind} leaves out layers"):
        Trial(recipe=recipe, case=case, seed=0, memory=Memory(offload="group"))


@pytest.mark.slow
def test_compiled_blocks_make_nearly_the_same_with_and_without_caches(plain):
    compiled = replace(CPU, compile=True)
    for one, other in zip(latents(compiled), plain, strict=True):
        torch.testing.assert_close(one, other, atol=3e-4, rtol=0)
    cached = latents(CPU, step_cache=BOLD["taylorseer"])
    for one, other in zip(latents(compiled, step_cache=BOLD["taylorseer"]), cached, strict=True):
        torch.testing.assert_close(one, other, atol=3e-4, rtol=0)


def test_released_weights_are_gone_at_once():
    """Compiled blocks refer to themselves, so they would stay until Python looks for such rings."""
    gc.disable()
    try:
        recipe = recipe_from({"name": "wan_mini"}, {"stages": CHAIN})
        backend = open_backend(recipe, CPU)
        expert = cast(WanTransformer3DModel, backend.part("transformer"))
        Blocks(expert, compile_blocks=True).prepare(StepCache(), "high", 1, plain=False)
        layers = [weakref.ref(layer) for layer in expert.modules()]
        del expert
        backend.release()
        assert [layer() for layer in layers] == [None] * len(layers)
    finally:
        gc.enable()


def test_attention_that_needs_a_card_is_refused_without_one() -> None:
    recipe = recipe_from({"name": "wan_mini"}, {"stages": CHAIN})
    with pytest.raises(ConfigError, match=r"memory.attention: _native_cudnn cannot run here"):
        load_backend(recipe, replace(CPU, attention="_native_cudnn"))
