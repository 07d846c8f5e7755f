from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from wanexp.backends import Conditioning, load_backend
from wanexp.backends.diffusers import DiffusersBackend
from wanexp.backends.folder import parameter_shapes
from wanexp.backends.lora import check_adapter, layout_of, read_adapter, wear
from wanexp.config import Recipe, recipe_from
from wanexp.generate import generate
from wanexp.memory import Memory
from wanexp.plan import make_plan
from wanexp.strict import ConfigError

CPU = Memory(device="cpu", dtype="float32")
WIDTH, INNER, TEXT, RANK = 24, 48, 32, 4
LAYERS = {
    "blocks.0.attn1.to_q": ("blocks.0.self_attn.q", WIDTH, WIDTH),
    "blocks.1.attn1.to_out.0": ("blocks.1.self_attn.o", WIDTH, WIDTH),
    "blocks.1.attn2.to_v": ("blocks.1.cross_attn.v", WIDTH, WIDTH),
    "blocks.0.ffn.net.0.proj": ("blocks.0.ffn.0", INNER, WIDTH),
    "blocks.1.ffn.net.2": ("blocks.1.ffn.2", WIDTH, INNER),
}
WHOLE = {
    "condition_embedder.text_embedder.linear_1": ("text_embedding.0", WIDTH, TEXT),
    "condition_embedder.time_embedder.linear_2": ("time_embedding.2", WIDTH, WIDTH),
    "condition_embedder.time_proj": ("time_projection.1", 6 * WIDTH, WIDTH),
    "proj_out": ("head.head", 64, WIDTH),
}


def pairs(
    seed: int, layers: Mapping[str, tuple[str, int, int]]
) -> dict[str, tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (
            torch.randn(RANK, inward, generator=generator) / 4,
            torch.randn(outward, RANK, generator=generator) / 4,
        )
        for name, (_, outward, inward) in layers.items()
    }


DIALECTS = {
    "wan": ("diffusion_model.{native}", ".lora_down.weight", ".lora_up.weight"),
    "wan, A and B": ("diffusion_model.{native}", ".lora_A.weight", ".lora_B.weight"),
    "diffusers": ("transformer.{own}", ".lora_A.weight", ".lora_B.weight"),
    "peft": ("base_model.model.{own}", ".lora_A.default.weight", ".lora_B.default.weight"),
    "kohya": ("lora_unet_{kohya}", ".lora_down.weight", ".lora_up.weight"),
}


def write(path: Path, dialect: str, seed: int = 0, alpha: float | None = None) -> Path:
    prefix, down_suffix, up_suffix = DIALECTS[dialect]
    layers = LAYERS if dialect == "kohya" else {**LAYERS, **WHOLE}
    tensors = {}
    for own, (down, up) in pairs(seed, layers).items():
        native = layers[own][0]
        key = prefix.format(native=native, own=own, kohya=native.replace(".", "_"))
        tensors |= {key + down_suffix: down, key + up_suffix: up}
        if alpha is not None:
            tensors[f"{key}.alpha"] = torch.tensor(alpha)
    save_file(tensors, path)
    return path


def expert_of(folder: Path) -> WanTransformer3DModel:
    expert = WanTransformer3DModel.from_pretrained(folder / "transformer")
    return expert.eval().requires_grad_(False)


def answer(expert: WanTransformer3DModel) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        return expert(
            hidden_states=torch.randn(1, 36, 3, 4, 6, generator=generator),
            timestep=torch.tensor([700.0]),
            encoder_hidden_states=torch.randn(1, 5, TEXT, generator=generator),
            return_dict=False,
        )[0]


@torch.no_grad()
def merged(folder: Path, strengths: Mapping[int, float], layers: Mapping) -> Tensor:
    """The answer of an expert whose weights were changed by hand: W + scale · up · down."""
    expert = expert_of(folder)
    for seed, strength in strengths.items():
        for name, (down, up) in pairs(seed, layers).items():
            expert.get_submodule(name).get_parameter("weight").add_(strength * up @ down)
    return answer(expert)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("alpha", [None, 2.0])
def test_a_worn_lora_answers_like_merged_weights_in_every_dialect(
    tiny_a14b, tmp_path, dialect, alpha
) -> None:
    path = write(tmp_path / "a.safetensors", dialect, alpha=alpha)
    check_adapter(path, parameter_shapes(tiny_a14b / "transformer"), "here")
    expert, strength = expert_of(tiny_a14b), 0.7
    bare = answer(expert)
    take_off = wear(expert, [(read_adapter(path), strength)])
    scale = strength * (1.0 if alpha is None else alpha / RANK)
    layers = LAYERS if dialect == "kohya" else {**LAYERS, **WHOLE}
    expected = merged(tiny_a14b, {0: scale}, layers)
    assert (expected - bare).abs().max() > 0.01
    torch.testing.assert_close(answer(expert), expected, atol=1e-5, rtol=1e-5)
    take_off()
    assert torch.equal(answer(expert), bare)


def test_loras_add_up(tiny_a14b, tmp_path) -> None:
    files = [write(tmp_path / f"{seed}.safetensors", "wan", seed) for seed in (0, 1)]
    expert = expert_of(tiny_a14b)
    wear(expert, [(read_adapter(files[0]), 1.0), (read_adapter(files[1]), -0.5)])
    expected = merged(tiny_a14b, {0: 1.0, 1: -0.5}, {**LAYERS, **WHOLE})
    torch.testing.assert_close(answer(expert), expected, atol=1e-5, rtol=1e-5)


def test_shifts_of_weights_and_biases_are_added_and_taken_back_to_the_bit(
    tiny_a14b, tmp_path
) -> None:
    """As distillation LoRAs carry them for norms, biases and the head."""
    generator = torch.Generator().manual_seed(3)
    wanted = {
        "blocks.0.norm2.weight": ("blocks.0.norm3.diff", (WIDTH,)),
        "blocks.0.norm2.bias": ("blocks.0.norm3.diff_b", (WIDTH,)),
        "blocks.1.attn1.norm_q.weight": ("blocks.1.self_attn.norm_q.diff", (WIDTH,)),
        "blocks.1.attn2.to_k.bias": ("blocks.1.cross_attn.k.diff_b", (WIDTH,)),
        "proj_out.weight": ("head.head.diff", (64, WIDTH)),
    }
    shifts = {own: torch.randn(shape, generator=generator) for own, (_, shape) in wanted.items()}
    path = tmp_path / "a.safetensors"
    save_file({f"diffusion_model.{wanted[own][0]}": shift for own, shift in shifts.items()}, path)
    expert, by_hand = expert_of(tiny_a14b), expert_of(tiny_a14b)
    bare = answer(expert)
    take_off = wear(expert, [(read_adapter(path), 0.5)])
    for own, shift in shifts.items():
        by_hand.get_parameter(own).add_(0.5 * shift)
    assert torch.equal(answer(expert), answer(by_hand))
    assert not torch.equal(answer(expert), bare)
    take_off()
    assert torch.equal(answer(expert), bare)


def test_the_scale_that_diffusers_writes_beside_the_tensors_counts(tmp_path) -> None:
    path = tmp_path / "a.safetensors"
    tensors = {
        "transformer.blocks.0.attn1.to_q.lora_A.weight": torch.ones(RANK, WIDTH),
        "transformer.blocks.0.attn1.to_q.lora_B.weight": torch.ones(WIDTH, RANK),
    }
    said = {"transformer.r": RANK, "transformer.lora_alpha": 1}
    save_file(tensors, path, metadata={"lora_adapter_metadata": json.dumps(said)})
    _, up = read_adapter(path).low_rank["blocks.0.attn1.to_q"]
    assert up.unique().tolist() == [0.25]


def test_the_image_branch_of_an_older_model_is_left_out_with_a_warning(
    tiny_a14b, tmp_path, caplog
) -> None:
    path = write(tmp_path / "a.safetensors", "wan")
    extra = {
        "diffusion_model.blocks.0.cross_attn.k_img.lora_down.weight": torch.ones(RANK, WIDTH),
        "diffusion_model.img_emb.proj.1.diff_b": torch.ones(3),
        "diffusion_model.blocks.0.diff_m": torch.ones(1, 6, WIDTH),
    }
    layout = layout_of(extra, "here")
    assert layout.left_out == tuple(extra)
    save_file({**load_file(path), **extra}, path)
    check_adapter(path, parameter_shapes(tiny_a14b / "transformer"), "here")
    assert "3 of a.safetensors's weights have no place" in caplog.text
    assert len(read_adapter(path).low_rank) == len({**LAYERS, **WHOLE})


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"lora_te_text_model.x": (2, 2)}, "cannot make sense of 'lora_te_text_model.x'"),
        ({"blocks.0.self_attn.q.lora_down.weight": (RANK, WIDTH)}, "only down of a low-rank pair"),
        (
            {
                "blocks.0.self_attn.q.lora_down.weight": (RANK, 99),
                "blocks.0.self_attn.q.lora_up.weight": (WIDTH, RANK),
            },
            r"blocks\.0\.attn1\.to_q\.weight of \[24, 99\], which here is \[24, 24\]",
        ),
        (
            {
                "blocks.7.self_attn.q.lora_down.weight": (RANK, WIDTH),
                "blocks.7.self_attn.q.lora_up.weight": (WIDTH, RANK),
            },
            r"blocks\.7\.attn1\.to_q\.weight of \[24, 24\], which here does not exist",
        ),
        ({"blocks.0.cross_attn.k_img.diff_b": (WIDTH,)}, "changes nothing in this model"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tiny_a14b, tmp_path, tensors, message) -> None:
    path = tmp_path / "a.safetensors"
    save_file({key: torch.ones(shape) for key, shape in tensors.items()}, path)
    with pytest.raises(ConfigError, match=message):
        check_adapter(path, parameter_shapes(tiny_a14b / "transformer"), "here")


def recipe_with(folder: Path, loras: dict[str, float], expert: str = "auto") -> Recipe:
    stage = {"sampler": "euler", "steps": 4, "cfg": 1.0, "expert": expert, "loras": loras}
    tree = {"width": 64, "height": 64, "frames": 9, "stages": {"only": stage}}
    return recipe_from({"name": "wan22_i2v_a14b", "source": str(folder)}, tree)


def test_a_trial_after_one_with_a_lora_has_the_bits_of_one_alone(tiny_a14b, tmp_path) -> None:
    path = write(tmp_path / "a.safetensors", "wan")
    plain, worn = (recipe_with(tiny_a14b, loras) for loras in ({}, {str(path): 0.5}))
    generator = torch.Generator().manual_seed(0)
    conditioning = Conditioning(
        positive=torch.randn((1, 5, TEXT), generator=generator),
        negative=None,
        image=torch.randn((1, 20, 3, 8, 8), generator=generator),
        latent_shape=(1, 16, 3, 8, 8),
    )
    backend = load_backend(plain, CPU)
    results = [
        next(generate(make_plan(recipe), conditioning, [1], backend)).latent
        for recipe in (plain, worn, plain, worn)
    ]
    assert torch.equal(results[0], results[2])
    assert torch.equal(results[1], results[3])
    assert (results[0] - results[1]).abs().max() > 0.01


def test_a_missing_lora_is_refused_before_weights_load(tiny_a14b, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match=r"stages\.only\.loras: no file 'a\.safetensors'"):
        load_backend(recipe_with(tiny_a14b, {"a.safetensors": 1.0}), CPU)
    name = "someone/loras/wan/high.safetensors"
    with pytest.raises(ConfigError, match=r"`hf download someone/loras wan/high\.safetensors`"):
        load_backend(recipe_with(tiny_a14b, {name: 1.0}), CPU)


def test_only_the_experts_that_would_wear_a_lora_must_fit_it(tiny_a14b, tmp_path) -> None:
    folder = Path(shutil.copytree(tiny_a14b, tmp_path / "copy"))
    low = folder / "transformer_2" / "diffusion_pytorch_model.safetensors"
    save_file({k: v for k, v in load_file(low).items() if k != "proj_out.bias"}, low)
    path = tmp_path / "a.safetensors"
    save_file({"head.head.diff_b": torch.ones(64)}, path)
    load_backend(recipe_with(folder, {str(path): 1.0}, "high"), CPU)
    for expert in ("auto", "low"):
        with pytest.raises(ConfigError, match="does not fit"):
            load_backend(recipe_with(folder, {str(path): 1.0}, expert), CPU)


def test_every_stage_and_expert_wears_its_own_at_its_own_strength(tiny_a14b, tmp_path) -> None:
    """Two files, two strengths; the expert that wears one answers as with that one alone."""
    files = [str(write(tmp_path / f"{seed}.safetensors", "wan", seed)) for seed in (0, 1)]
    worn = {"first": {files[0]: 0.5}, "second": {files[0]: 0.25, files[1]: 2.0}, "third": {}}
    experts = {"first": "high", "second": "low", "third": "low"}
    parts = {"high": "transformer", "low": "transformer_2"}
    stages = {
        name: {"sampler": "euler", "steps": 2, "cfg": 1.0, "expert": experts[name], "loras": loras}
        for name, loras in worn.items()
    }
    stages["second"]["denoise"] = stages["third"]["denoise"] = 0.1
    recipe = recipe_from(
        {"name": "wan22_i2v_a14b", "source": str(tiny_a14b)},
        {"width": 64, "height": 64, "frames": 9, "scheduler": "karras", "stages": stages},
    )
    backend = load_backend(recipe, CPU)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((1, 16, 3, 8, 8), generator=generator)
    conditioning = Conditioning(
        positive=torch.randn((1, 5, TEXT), generator=generator),
        negative=None,
        image=torch.randn((1, 20, 3, 8, 8), generator=generator),
        latent_shape=(1, 16, 3, 8, 8),
    )
    loaded = {}
    for stage in make_plan(recipe).stages:
        expert = experts[stage.name]
        found = backend.denoiser(conditioning, expert=expert, cfg=1.0, loras=stage.loras)(x, 0.5)
        by_hand = WanTransformer3DModel.from_pretrained(tiny_a14b / parts[expert])
        with torch.no_grad():
            for file, strength in worn[stage.name].items():
                for name, (down, up) in pairs(files.index(file), {**LAYERS, **WHOLE}).items():
                    by_hand.get_submodule(name).get_parameter("weight").add_(strength * up @ down)
            assert conditioning.image is not None
            velocity = by_hand(
                hidden_states=torch.cat([x, conditioning.image], dim=1),
                timestep=torch.tensor([500.0]),
                encoder_hidden_states=conditioning.positive,
                return_dict=False,
            )[0]
        torch.testing.assert_close(found, x - 0.5 * velocity, atol=2e-5, rtol=1e-5)
        assert isinstance(backend, DiffusersBackend)
        module = backend.part(parts[expert])
        assert loaded.setdefault(expert, module) is module  # never loaded again
