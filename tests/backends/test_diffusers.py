from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.pipelines.wan.pipeline_wan_i2v import WanImageToVideoPipeline, prompt_clean
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.backends.reference import CPU, NEGATIVE, PROMPT, SEED, euler, reference
from wanexp.backends import Conditioning, encode, load_backend
from wanexp.backends.diffusers import DiffusersBackend, clean_prompt, open_backend
from wanexp.config import Recipe, recipe_from
from wanexp.generate import generate
from wanexp.images import load_source
from wanexp.memory import Memory
from wanexp.models import weights_folder
from wanexp.plan import make_plan
from wanexp.strict import ConfigError

Module = TypeVar("Module", bound=torch.nn.Module)


def loaded(folder: Path) -> WanImageToVideoPipeline:
    return WanImageToVideoPipeline.from_pretrained(folder, dtype=torch.float32)


def ours(recipe: Recipe, source: np.ndarray) -> Tensor:
    plan = make_plan(recipe)
    backend = open_backend(recipe, CPU)
    conditioning = encode(backend, source, PROMPT, NEGATIVE, recipe.frames)
    *_, end = generate(plan, conditioning, [SEED] * len(plan.stages), backend)
    return end.latent


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return load_source("skimage:astronaut.png", None, 64, 64)


@pytest.mark.parametrize("cfgs", [[3.5], [4.0, 1.5], [2.0, 1.0]], ids=str)
def test_two_experts_make_the_latents_of_diffusers(tiny_a14b: Path, picture, cfgs) -> None:
    recipe = euler("wan22_i2v_a14b", tiny_a14b, cfgs, width=64, height=64, frames=9)
    expected = reference(loaded(tiny_a14b), recipe, cfgs, picture)
    assert expected.std() > 0.5
    torch.testing.assert_close(ours(recipe, picture), expected, atol=1e-5, rtol=0)


def test_a_clean_first_frame_makes_the_latents_of_diffusers(tiny_5b: Path, picture) -> None:
    recipe = euler("wan22_ti2v_5b", tiny_5b, [5.0], width=64, height=64, frames=9)
    expected = reference(loaded(tiny_5b), recipe, [5.0], picture)
    torch.testing.assert_close(ours(recipe, picture), expected, atol=1e-5, rtol=0)


def test_wan_mini_makes_the_latents_of_diffusers() -> None:
    """To 1.2e-5: guiding x0 rounds unlike guiding v, and six trained layers magnify that."""
    folder = weights_folder("wan-mini")
    assert folder is not None
    source = load_source("skimage:astronaut.png", None, 128, 128)
    recipe = euler("wan_mini", folder, [2.0])
    expected = reference(loaded(folder), recipe, [2.0], source)
    torch.testing.assert_close(ours(recipe, source), expected, atol=3e-5, rtol=0)


@pytest.mark.parametrize(
    ("fixture", "model"), [("tiny_a14b", "wan22_i2v_a14b"), ("tiny_5b", "wan22_ti2v_5b")]
)
@torch.no_grad()
def test_a_case_is_encoded_and_decoded_with_the_bits_of_diffusers(
    fixture, model, picture, request
) -> None:
    folder = request.getfixturevalue(fixture)
    recipe = euler(model, folder, [2.0], width=64, height=64, frames=9)
    backend = open_backend(recipe, CPU)
    conditioning = encode(backend, picture, PROMPT, NEGATIVE, 9)
    pipe = loaded(folder)
    tokens = recipe.model.max_tokens
    prompts = pipe.encode_prompt(PROMPT, NEGATIVE, max_sequence_length=tokens)
    for mine, theirs in zip((conditioning.positive, conditioning.negative), prompts, strict=True):
        assert mine is not None
        assert theirs is not None
        assert torch.equal(mine, theirs)
    image = pipe.video_processor.preprocess(Image.fromarray(picture), height=64, width=64)
    latents = torch.randn(conditioning.latent_shape, generator=torch.Generator().manual_seed(1))
    size = {"height": 64, "width": 64, "num_frames": 9, "latents": latents}
    channels = recipe.model.latent_channels
    told = pipe.prepare_latents(
        image, 1, channels, dtype=torch.float32, device=latents.device, **size
    )[1]
    assert conditioning.image is not None
    assert torch.equal(conditioning.image, told)
    mean = torch.tensor(pipe.vae.config.latents_mean).view(1, -1, 1, 1, 1)
    deviation = torch.tensor(pipe.vae.config.latents_std).view(1, -1, 1, 1, 1)
    video = pipe.vae.decode(latents * deviation + mean, return_dict=False)[0]
    frames = pipe.video_processor.postprocess_video(video, output_type="pil")[0]
    assert np.array_equal(backend.decode(latents), np.stack([np.asarray(f) for f in frames]))


@pytest.mark.parametrize(
    "text",
    [PROMPT, "", " a\n\tb  c ", "caf&eacute; &amp;lt;", "<i> &amp;amp; b", "â€œquotedâ€\x9d"],
)
def test_prompts_are_cleaned_as_diffusers_cleans_them(text) -> None:
    assert clean_prompt(text) == prompt_clean(text)


def test_plain_prompts_need_no_mending() -> None:
    """Every printable ASCII character but the ampersand, which begins HTML's entities."""
    plain = "".join(map(chr, range(32, 127))).replace("&", "")
    words = [
        plain,
        plain[::-1],
        *(f"{a}{b} {b}{a}" for a, b in zip(plain, plain[7:], strict=False)),
    ]
    assert [clean_prompt(text) for text in words] == [prompt_clean(text) for text in words]


def part(backend: DiffusersBackend, name: str, kind: type[Module]) -> Module:
    found = backend._ready(name)
    assert isinstance(found, kind)
    return found


def random_conditioning(backend: DiffusersBackend, channels: int, frames: int) -> Conditioning:
    generator = torch.Generator().manual_seed(0)
    shape = backend.latent_shape(64, 64, 9)
    image = torch.randn((1, channels, frames, *shape[3:]), generator=generator)
    texts = torch.randn((2, 1, 7, 32), generator=generator)
    return Conditioning(positive=texts[0], negative=texts[1], image=image, latent_shape=shape)


@pytest.mark.parametrize(("cfg", "expected"), [(1.0, 1), (1.0 + 1e-12, 1), (1.01, 2), (0.0, 2)])
def test_guidance_of_1_makes_one_model_call_and_any_other_two(tiny_a14b, cfg, expected) -> None:
    recipe = euler("wan22_i2v_a14b", tiny_a14b, [2.0], width=64, height=64, frames=9)
    backend = open_backend(recipe, CPU)
    conditioning = random_conditioning(backend, 20, 3)
    denoise = backend.denoiser(conditioning, expert="low", cfg=cfg)
    expert = part(backend, "transformer_2", WanTransformer3DModel)
    seen = []
    expert.register_forward_hook(lambda *_: seen.append(1))
    denoise(torch.zeros(conditioning.latent_shape), 0.5)
    assert backend.model_calls == len(seen) == expected


def test_guidance_without_a_negative_prompt_is_refused(tiny_a14b) -> None:
    recipe = euler("wan22_i2v_a14b", tiny_a14b, [2.0], width=64, height=64, frames=9)
    backend = open_backend(recipe, CPU)
    given = random_conditioning(backend, 20, 3)
    alone = Conditioning(**{**vars(given), "negative": None})
    backend.denoiser(alone, expert="low", cfg=1.0)
    with pytest.raises(ValueError, match="negative prompt"):
        backend.denoiser(alone, expert="low", cfg=2.0)


def test_a_known_first_frame_stays_as_it_is_whatever_x_holds_there(tiny_5b) -> None:
    recipe = euler("wan22_ti2v_5b", tiny_5b, [2.0], width=64, height=64, frames=9)
    backend = open_backend(recipe, CPU)
    conditioning = random_conditioning(backend, 48, 1)
    denoise = backend.denoiser(conditioning, expert="dense", cfg=2.0)
    x = torch.randn(conditioning.latent_shape, generator=torch.Generator().manual_seed(1))
    elsewhere = x.clone()
    elsewhere[:, :, 0] += 10
    one, other = denoise(x, 0.7), denoise(elsewhere, 0.7)
    assert torch.equal(one, other)
    assert conditioning.image is not None
    assert torch.equal(one[:, :, :1], conditioning.image)


def test_a_caller_can_tell_diffusers_caches_the_branches_apart(tiny_a14b, monkeypatch) -> None:
    recipe = euler("wan22_i2v_a14b", tiny_a14b, [2.0], width=64, height=64, frames=9)
    backend = open_backend(recipe, CPU)
    conditioning = random_conditioning(backend, 20, 3)
    expert = part(backend, "transformer", WanTransformer3DModel)
    inside, kept = [], expert.cache_context

    def watched(name: str):
        inside.append(name)
        return kept(name)

    monkeypatch.setattr(expert, "cache_context", watched)
    denoise = backend.denoiser(conditioning, expert="high", cfg=2.0)
    denoise(torch.zeros(conditioning.latent_shape), 0.95)
    assert inside == ["cond", "uncond"]


def test_bfloat16_stays_inside_the_model(tiny_a14b) -> None:
    recipe = euler("wan22_i2v_a14b", tiny_a14b, [2.0], width=64, height=64, frames=9)
    exact, coarse = (
        open_backend(recipe, Memory(device="cpu", dtype=dtype)) for dtype in ("float32", "bfloat16")
    )
    conditioning = random_conditioning(exact, 20, 3)
    x = torch.randn(conditioning.latent_shape, generator=torch.Generator().manual_seed(1))
    one, other = (b.denoiser(conditioning, expert="high", cfg=2.0)(x, 0.9) for b in (exact, coarse))
    assert other.dtype == torch.float32
    assert 0 < (one - other).abs().max() < 0.1
    expert = part(coarse, "transformer", WanTransformer3DModel)
    assert expert.patch_embedding.weight.dtype == torch.bfloat16
    vae = part(coarse, "vae", AutoencoderKLWan)
    assert vae.quant_conv.weight.dtype == torch.float32


def test_wan_minis_half_precision_vae_runs_in_float32() -> None:
    recipe = recipe_from({"name": "wan_mini"}, {"stages": {"a": {"steps": 1}}})
    vae = open_backend(recipe, CPU)._ready("vae")
    assert {p.dtype for p in vae.parameters()} == {torch.float32}


def test_a_backend_is_kept_until_other_weights_or_memory_are_asked_for(tiny_a14b, tiny_5b) -> None:
    recipe = euler("wan22_i2v_a14b", tiny_a14b, [2.0], width=64, height=64, frames=9)
    other = euler("wan22_i2v_a14b", tiny_a14b, [3.0, 1.0], width=64, height=64, frames=5)
    first = load_backend(recipe, CPU)
    assert isinstance(first, DiffusersBackend)
    assert load_backend(other, CPU) is first
    first._ready("vae")
    second = load_backend(recipe, Memory(device="cpu", dtype="bfloat16"))
    assert second is not first
    assert not first._places.parts
    assert load_backend(recipe, CPU) is not first


def test_a_released_backend_loads_again(tiny_a14b) -> None:
    recipe = euler("wan22_i2v_a14b", tiny_a14b, [2.0], width=64, height=64, frames=9)
    backend = open_backend(recipe, CPU)
    before = backend.encode_text("a")
    backend.release()
    assert torch.equal(backend.encode_text("a"), before)


def test_offloading_changes_no_bit(tiny_a14b, picture) -> None:
    recipe = euler("wan22_i2v_a14b", tiny_a14b, [3.0, 2.0], width=64, height=64, frames=9)
    results = []
    for offload in ("none", "model"):
        backend = open_backend(recipe, Memory(device="cpu", offload=offload))
        conditioning = encode(backend, picture, PROMPT, NEGATIVE, 9)
        *_, end = generate(make_plan(recipe), conditioning, [1, 2], backend)
        results.append(backend.decode(end.latent))
    assert np.array_equal(*results)


def test_the_vae_saves_memory_where_it_is_told_to(tiny_a14b) -> None:
    recipe = euler("wan22_i2v_a14b", tiny_a14b, [2.0], width=64, height=64, frames=9)
    thrifty = open_backend(recipe, Memory(device="cpu", vae_tiling=True, vae_slicing=True))
    vae, plain = (part(b, "vae", AutoencoderKLWan) for b in (thrifty, open_backend(recipe, CPU)))
    assert (vae.use_tiling, vae.use_slicing) == (True, True)
    assert (plain.use_tiling, plain.use_slicing) == (False, False)


def test_a_card_that_is_not_there_is_refused(tiny_a14b, monkeypatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    recipe = euler("wan22_i2v_a14b", tiny_a14b, [2.0], width=64, height=64, frames=9)
    with pytest.raises(ConfigError, match="PyTorch sees no CUDA"):
        open_backend(recipe, Memory(device="cuda"))


@pytest.mark.gpu
def test_offloading_keeps_one_part_on_the_card_and_changes_no_bit(tiny_a14b, picture) -> None:
    recipe = euler("wan22_i2v_a14b", tiny_a14b, [3.0, 2.0], width=64, height=64, frames=9)
    results = []
    for offload in ("none", "model"):
        backend = open_backend(recipe, Memory(device="cuda", offload=offload))
        conditioning = encode(backend, picture, PROMPT, NEGATIVE, 9)
        *_, end = generate(make_plan(recipe), conditioning, [1, 2], backend)
        results.append(backend.decode(end.latent))
        devices = [next(p.parameters()).device.type for p in backend._places.parts.values()]
        assert devices.count("cuda") == (3 if offload == "none" else 1)  # the text encoder left
    assert np.array_equal(*results)


def edited(folder: Path, to: Path, changes: Mapping[str, Mapping[str, object]]) -> Path:
    """A copy whose JSON files say something else and whose weights are not weights."""
    copy = Path(shutil.copytree(folder, to / "copy"))
    for path in copy.rglob("*.safetensors"):
        path.write_bytes(b"nothing that loads")
    for name, values in changes.items():
        path = copy / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return copy


CONTRADICTIONS = {
    "is a WanPipeline, but": {"model_index.json": {"_class_name": "WanPipeline"}},
    "boundary_ratio is 0.875, but wan22_i2v_a14b has 0.9": {
        "model_index.json": {"boundary_ratio": 0.875}
    },
    "expand_timesteps is True": {"model_index.json": {"expand_timesteps": True}},
    "incomplete .no transformer_2.": {"model_index.json": {"transformer_2": [None, None]}},
    "vae z_dim is 48": {"vae/config.json": {"z_dim": 48}},
    "vae scale_factor_spatial is 16": {"vae/config.json": {"scale_factor_spatial": 16}},
    "transformer in_channels is 16, but .* 36": {"transformer/config.json": {"in_channels": 16}},
    "transformer_2 out_channels is 48": {"transformer_2/config.json": {"out_channels": 48}},
    "image_dim is 1280": {"transformer/config.json": {"image_dim": 1280}},
}


@pytest.mark.parametrize("message", CONTRADICTIONS)
def test_a_folder_that_is_not_the_model_is_refused_before_weights_load(
    tiny_a14b, tmp_path, message
) -> None:
    folder = edited(tiny_a14b, tmp_path, CONTRADICTIONS[message])
    recipe = euler("wan22_i2v_a14b", folder, [2.0], width=64, height=64, frames=9)
    with pytest.raises(ConfigError, match=message):
        open_backend(recipe, CPU)


def test_a_second_expert_that_the_model_does_not_have_is_refused(tiny_5b, tmp_path) -> None:
    entry = {"transformer_2": ["diffusers", "WanTransformer3DModel"]}
    folder = edited(tiny_5b, tmp_path, {"model_index.json": entry})
    recipe = euler("wan22_ti2v_5b", folder, [2.0], width=64, height=64, frames=9)
    with pytest.raises(ConfigError, match="only one expert"):
        open_backend(recipe, CPU)


def test_the_dense_model_may_call_itself_a_text_to_video_pipeline(tiny_5b, tmp_path) -> None:
    folder = edited(tiny_5b, tmp_path, {"model_index.json": {"_class_name": "WanPipeline"}})
    recipe = euler("wan22_ti2v_5b", folder, [2.0], width=64, height=64, frames=9)
    open_backend(recipe, CPU)


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("model_index.json", "no model_index.json"),
        ("vae/config.json", "no vae/config.json"),
        ("transformer_2/diffusion_pytorch_model.safetensors", "no transformer_2/.*safetensors"),
        ("text_encoder/model.safetensors", "no text_encoder/.*safetensors"),
    ],
)
def test_a_folder_that_lacks_a_part_is_refused(tiny_a14b, tmp_path, lost, message) -> None:
    folder = edited(tiny_a14b, tmp_path, {})
    (folder / lost).unlink()
    recipe = euler("wan22_i2v_a14b", folder, [2.0], width=64, height=64, frames=9)
    with pytest.raises(ConfigError, match=message):
        open_backend(recipe, CPU)


def test_a_missing_shard_is_named(tiny_a14b, tmp_path) -> None:
    folder = edited(tiny_a14b, tmp_path, {})
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_name("a-1-of-2.safetensors"))
    index = {"weight_map": {"x": "a-1-of-2.safetensors", "y": "a-2-of-2.safetensors"}}
    weights.with_name("a.safetensors.index.json").write_text(json.dumps(index))
    recipe = euler("wan22_i2v_a14b", folder, [2.0], width=64, height=64, frames=9)
    with pytest.raises(ConfigError, match=r"no transformer/a-2-of-2\.safetensors"):
        open_backend(recipe, CPU)


def test_weights_that_are_not_in_the_file_are_not_made_up(tiny_a14b, tmp_path) -> None:
    folder = Path(shutil.copytree(tiny_a14b, tmp_path / "copy"))
    path = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    del weights["proj_out.bias"]
    save_file(weights, path, metadata={"format": "pt"})
    recipe = euler("wan22_i2v_a14b", folder, [2.0], width=64, height=64, frames=9)
    with pytest.raises(ConfigError, match=r"lacks 1 weights, proj_out.bias first"):
        open_backend(recipe, CPU)._ready("transformer")


def test_weights_that_nobody_downloaded_come_with_the_command(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    stages = {"only": {"steps": 2}}
    recipe = recipe_from({"name": "wan22_i2v_a14b", "revision": "abc"}, {"stages": stages})
    command = "hf download Wan-AI/Wan2.2-I2V-A14B-Diffusers --revision abc"
    with pytest.raises(ConfigError, match=command):
        open_backend(recipe, CPU)


def test_an_unknown_attention_backend_is_refused_with_the_nearest(tiny_a14b) -> None:
    recipe = euler("wan22_i2v_a14b", tiny_a14b, [2.0], width=64, height=64, frames=9)
    with pytest.raises(ConfigError, match="'natve'; did you mean 'native'"):
        open_backend(recipe, Memory(device="cpu", attention="natve"))


def test_an_attention_backend_that_cannot_run_here_is_refused(tiny_a14b) -> None:
    recipe = euler("wan22_i2v_a14b", tiny_a14b, [2.0], width=64, height=64, frames=9)
    with pytest.raises(ConfigError, match=r"memory.attention: aiter_fa2_hub cannot run here"):
        open_backend(recipe, Memory(device="cpu", attention="aiter_fa2_hub"))
