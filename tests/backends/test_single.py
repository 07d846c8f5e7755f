"""Single files, against the same weights in a folder of diffusers' layout."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import UMT5EncoderModel

from tests.backends.single_files import (
    in_wans_names,
    multiplied_out,
    own_weights,
    scaled,
    vae_in_wans_names,
    write,
)
from wanexp.backends import encode, load_backend
from wanexp.backends.diffusers import DiffusersBackend, open_backend
from wanexp.backends.float8 import Float8Linear
from wanexp.backends.loading import load_part, part_shapes
from wanexp.backends.lora import Adapter, wear
from wanexp.backends.single import VAE_22_DEVIATION, VAE_22_MEAN, load_single, transformer_names
from wanexp.config import Recipe, recipe_from
from wanexp.generate import generate
from wanexp.images import load_source
from wanexp.memory import Memory
from wanexp.plan import make_plan
from wanexp.strict import ConfigError

CPU = Memory(device="cpu", dtype="float32")
MODELS = {
    "wan22_i2v_a14b": {"high": "transformer", "low": "transformer_2"},
    "wan22_ti2v_5b": {"dense": "transformer"},
}
FIXTURES = {"wan22_i2v_a14b": "wide_a14b", "wan22_ti2v_5b": "wide_5b"}
STAGES = {
    "first": {"sampler": "euler", "steps": 3, "cfg": 2.0},
    "second": {"sampler": "euler", "steps": 3, "cfg": 1.0, "denoise": 0.6},
}
SIZE = {"width": 64, "height": 64, "frames": 5}

Change = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]


def as_it_is(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    return state


def single_files(
    model: str, folder: Path, to: Path, change: Change = as_it_is, prefix: str = ""
) -> dict[str, object]:
    """A folder's parts as single files; the ``model`` tree that names them."""
    experts = {
        name: write(
            to / f"wan_{name}.safetensors",
            change(in_wans_names(own_weights(folder / part))),
            prefix,
        )
        for name, part in MODELS[model].items()
    }
    vae = vae_in_wans_names(own_weights(folder / "vae"), residual=model == "wan22_ti2v_5b")
    text = own_weights(folder / "text_encoder")
    return {
        "name": model,
        "experts": {name: str(path) for name, path in experts.items()},
        "vae": str(write(to / "wan_vae.safetensors", vae)),
        "text_encoder": str(write(to / "umt5.safetensors", change(text))),
        "tokenizer": str(folder / "tokenizer"),
    }


def recipe_of(tree: Mapping[str, object]) -> Recipe:
    return recipe_from(tree, {"stages": STAGES, **SIZE})


def whole_video(recipe: Recipe, memory: Memory = CPU) -> tuple[Tensor, Tensor, np.ndarray]:
    """The text's embedding, the last latent and the frames of a recipe."""
    backend = open_backend(recipe, memory)
    source = load_source("skimage:astronaut.png", None, 64, 64)
    conditioning = encode(backend, source, "a face moves left", "blurry", 5)
    *_, end = generate(make_plan(recipe), conditioning, [1, 2], backend)
    return conditioning.positive, end.latent, backend.decode(end.latent)


def assert_same(one: tuple[Tensor, Tensor, np.ndarray], two: tuple[Tensor, Tensor, np.ndarray]):
    assert one[1].std() > 0.1
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])
    assert np.array_equal(one[2], two[2])


@pytest.mark.parametrize(
    ("model", "prefix"), [("wan22_i2v_a14b", ""), ("wan22_ti2v_5b", "model.diffusion_model.")]
)
def test_single_files_make_the_bits_of_the_folder(model, prefix, tmp_path, request) -> None:
    folder = request.getfixturevalue(FIXTURES[model])
    tree = single_files(model, folder, tmp_path, prefix=prefix)
    expected = whole_video(recipe_of({"name": model, "source": str(folder)}))
    assert_same(whole_video(recipe_of(tree)), expected)


@pytest.mark.parametrize("form", ["older", "newer"])
def test_both_forms_of_scaled_float8_are_read_as_what_they_stand_for(
    form, wide_a14b, tmp_path
) -> None:
    state = scaled(in_wans_names(own_weights(wide_a14b / "transformer")), form)
    own = load_single(write(tmp_path / "high.safetensors", state), torch.float32).state_dict()
    plain = multiplied_out(state)
    assert all(torch.equal(own[k], plain[wan]) for k, wan in transformer_names(plain).items())
    assert not torch.equal(own["blocks.0.ffn.net.2.weight"], state["blocks.0.ffn.2.weight"].float())


def test_scaled_float8_makes_the_bits_of_what_it_stands_for(wide_a14b, tmp_path) -> None:
    tree = single_files("wan22_i2v_a14b", wide_a14b, tmp_path, scaled)
    folder = Path(shutil.copytree(wide_a14b, tmp_path / "folder"))
    for part, file in (
        ("transformer", "wan_high"),
        ("transformer_2", "wan_low"),
        ("text_encoder", "umt5"),
    ):
        (own,) = (folder / part).glob("*.safetensors")
        plain = multiplied_out(load_file(tmp_path / f"{file}.safetensors"))
        if part != "text_encoder":
            names = transformer_names(plain)
            plain = {name: plain[wan] for name, wan in names.items()}
        assert plain.keys() == load_file(own).keys()
        assert any(not torch.equal(plain[k], v) for k, v in load_file(own).items())
        save_file(plain, own, metadata={"format": "pt"})
    expected = whole_video(recipe_of({"name": "wan22_i2v_a14b", "source": str(folder)}))
    assert_same(whole_video(recipe_of(tree)), expected)


def test_float8_that_is_kept_answers_like_float8_multiplied_out(wide_a14b, tmp_path) -> None:
    """Not to the bit: a kept layer's output is multiplied by the scale, not its weight."""
    state = scaled(in_wans_names(own_weights(wide_a14b / "transformer")))
    path = write(tmp_path / "high.safetensors", state)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 3e-2)):
        whole, kept = (load_part(path, "transformer", dtype, keep_float8=k) for k in (False, True))
        expected = answer(whole, dtype)
        assert expected.abs().max() > 0.3
        torch.testing.assert_close(answer(kept, dtype), expected, atol=tolerance, rtol=0)
        layers = [m for m in kept.modules() if isinstance(m, Float8Linear)]
        assert len(layers) == 2 * 10  # q, k, v, o of two attentions, and two of the feed-forward
        assert {layer.weight.dtype for layer in layers} == {torch.float8_e4m3fn}
        assert not any(isinstance(m, Float8Linear) for m in whole.modules())


def test_float8_without_a_scale_is_what_it_says(wide_a14b, tmp_path) -> None:
    state = in_wans_names(own_weights(wide_a14b / "transformer"))
    bare = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in state.items()}
    path = write(tmp_path / "high.safetensors", bare)
    own = load_single(path, torch.float32).state_dict()
    names = transformer_names(bare)
    assert all(torch.equal(own[name], bare[wan].float()) for name, wan in names.items())
    kept = load_single(path, torch.float32, keep_float8=True)
    assert torch.equal(answer(kept), answer(load_single(path, torch.float32)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("part", ["transformer", "vae", "text_encoder"])
def test_every_weight_gets_the_dtype_that_it_has_from_a_folder(
    part, dtype, wide_a14b, tmp_path
) -> None:
    """Norms and the time embedding stay float32 in both."""
    tree = single_files("wan22_i2v_a14b", wide_a14b, tmp_path)
    experts = tree["experts"]
    assert isinstance(experts, dict)
    path = Path(str({**tree, "transformer": experts["high"]}[part]))
    theirs = load_part(wide_a14b / part, part, dtype).state_dict()
    mine = load_part(path, part, dtype).state_dict()
    assert mine.keys() == theirs.keys()
    assert {k: v.dtype for k, v in mine.items()} == {k: v.dtype for k, v in theirs.items()}
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_no_buffer_is_left_without_numbers(wide_a14b, tmp_path) -> None:
    """The rotary embedding is in no file, and is made anew."""
    tree = single_files("wan22_i2v_a14b", wide_a14b, tmp_path)
    experts = tree["experts"]
    assert isinstance(experts, dict)
    theirs = dict(
        load_part(wide_a14b / "transformer", "transformer", torch.float32).named_buffers()
    )
    mine = dict(load_part(Path(experts["high"]), "transformer", torch.float32).named_buffers())
    assert theirs
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_the_officials_own_names_of_the_text_encoder_are_read_too(wide_a14b, tmp_path) -> None:
    state = own_weights(wide_a14b / "text_encoder")
    names = {
        "shared.weight": "token_embedding.weight",
        "encoder.final_layer_norm.weight": "norm.weight",
        "encoder.block.0.layer.0.layer_norm.weight": "blocks.0.norm1.weight",
        "encoder.block.0.layer.1.layer_norm.weight": "blocks.0.norm2.weight",
        "encoder.block.0.layer.1.DenseReluDense.wi_0.weight": "blocks.0.ffn.gate.0.weight",
        "encoder.block.0.layer.1.DenseReluDense.wi_1.weight": "blocks.0.ffn.fc1.weight",
        "encoder.block.0.layer.1.DenseReluDense.wo.weight": "blocks.0.ffn.fc2.weight",
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": (
            "blocks.0.pos_embedding.embedding.weight"
        ),
        **{
            f"encoder.block.0.layer.0.SelfAttention.{layer}.weight": f"blocks.0.attn.{layer}.weight"
            for layer in "qkvo"
        },
    }
    official = write(tmp_path / "b.safetensors", {names[own]: t for own, t in state.items()})
    expected = UMT5EncoderModel.from_pretrained(wide_a14b / "text_encoder")
    ids = torch.tensor([[3, 4, 5, 1]])
    with torch.no_grad():
        mine = load_single(official, torch.float32)(ids).last_hidden_state
        assert torch.equal(mine, expected(ids).last_hidden_state)


def test_parts_of_a_folder_and_single_files_mix(wide_a14b, tmp_path) -> None:
    tree = single_files("wan22_i2v_a14b", wide_a14b, tmp_path)
    mixed = {key: tree[key] for key in ("name", "experts")} | {"source": str(wide_a14b)}
    expected = whole_video(recipe_of({"name": "wan22_i2v_a14b", "source": str(wide_a14b)}))
    assert_same(whole_video(recipe_of(mixed)), expected)


def test_a_folder_needs_only_what_no_file_was_given_for(wide_a14b, tmp_path) -> None:
    tree = single_files("wan22_i2v_a14b", wide_a14b, tmp_path / "files")
    folder = Path(shutil.copytree(wide_a14b, tmp_path / "folder"))
    mixed = {key: tree[key] for key in ("name", "experts")} | {"source": str(folder)}
    for part in ("transformer", "transformer_2"):
        shutil.rmtree(folder / part)
    open_backend(recipe_of(mixed), CPU)
    shutil.rmtree(folder / "vae")
    with pytest.raises(ConfigError, match=r"no vae/config\.json"):
        open_backend(recipe_of(mixed), CPU)
    open_backend(recipe_of({**mixed, "vae": tree["vae"]}), CPU)


def test_experts_for_other_texts_than_the_folders_are_refused(wide_a14b, tmp_path) -> None:
    tree = single_files("wan22_i2v_a14b", wide_a14b, tmp_path / "files")
    folder = Path(shutil.copytree(wide_a14b, tmp_path / "folder"))
    config = folder / "text_encoder" / "config.json"
    config.write_text(config.read_text().replace('"d_model": 32', '"d_model": 64'))
    mixed = {key: tree[key] for key in ("name", "experts")} | {"source": str(folder)}
    with pytest.raises(ConfigError, match=r"experts\.high is for texts of width 32.* gives 64"):
        open_backend(recipe_of(mixed), CPU)


def test_the_backend_is_kept_by_its_files(wide_a14b, tmp_path) -> None:
    tree = single_files("wan22_i2v_a14b", wide_a14b, tmp_path)
    first = load_backend(recipe_of(tree), CPU)
    assert load_backend(recipe_of(tree), CPU) is first
    other = shutil.copy(str(tree["vae"]), tmp_path / "other_vae.safetensors")
    second = load_backend(recipe_of({**tree, "vae": str(other)}), CPU)
    assert second is not first
    assert second.weights != first.weights


def test_weights_that_change_under_their_name_are_other_weights(wide_a14b, tmp_path) -> None:
    tree = single_files("wan22_i2v_a14b", wide_a14b, tmp_path)
    backend = open_backend(recipe_of(tree), CPU)
    before = backend.weights
    vae = Path(str(tree["vae"]))
    write(vae, {name: tensor + 1 for name, tensor in load_file(vae).items()})
    assert backend.weights != before


@pytest.mark.parametrize("keep", [False, True])
@torch.no_grad()
def test_a_lora_on_a_single_file_answers_like_merged_weights(keep, wide_a14b, tmp_path) -> None:
    path = write(
        tmp_path / "high.safetensors",
        scaled(in_wans_names(own_weights(wide_a14b / "transformer"))),
    )
    generator = torch.Generator().manual_seed(0)
    layer = "blocks.1.attn1.to_q"
    assert part_shapes(path)[f"{layer}.weight"] == (128, 128)
    pair = (torch.randn(4, 128, generator=generator), torch.randn(128, 4, generator=generator))
    expert, merged = (load_single(path, torch.float32, keep_float8=k) for k in (keep, False))
    bare = answer(expert)
    take_off = wear(expert, [(Adapter(low_rank={layer: pair}, shifts={}), 0.5)])
    merged.get_parameter(f"{layer}.weight").add_(0.5 * (pair[1] @ pair[0]))
    assert (answer(expert) - bare).abs().max() > 1e-3
    torch.testing.assert_close(answer(expert), answer(merged), atol=1e-5, rtol=1e-5)
    take_off()
    assert torch.equal(answer(expert), bare)


def test_a_part_that_lost_a_weight_is_not_filled_with_chance(wide_a14b, tmp_path) -> None:
    state = vae_in_wans_names(own_weights(wide_a14b / "vae"), residual=False)
    del state["decoder.head.0.gamma"]
    path = write(tmp_path / "vae.safetensors", state)
    with pytest.raises(ConfigError, match=r"decoder\.norm_out\.gamma is missing"):
        load_single(path, torch.float32)


def test_the_5bs_latents_have_their_statistics() -> None:
    """Sums of what the official repository lists, so that no number is lost or mistyped."""
    assert len(VAE_22_MEAN) == len(VAE_22_DEVIATION) == 48
    assert sum(VAE_22_MEAN) == pytest.approx(-0.5589, abs=5e-5)
    assert sum(VAE_22_DEVIATION) == pytest.approx(32.536, abs=5e-5)


def answer(expert: torch.nn.Module, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        return expert(
            hidden_states=torch.randn(1, 36, 2, 4, 4, generator=generator).to(dtype),
            timestep=torch.tensor([700.0]),
            encoder_hidden_states=torch.randn(1, 5, 32, generator=generator).to(dtype),
            return_dict=False,
        )[0]


def test_a_backend_of_single_files_holds_no_folder(wide_a14b, tmp_path) -> None:
    backend = open_backend(recipe_of(single_files("wan22_i2v_a14b", wide_a14b, tmp_path)), CPU)
    assert isinstance(backend, DiffusersBackend)
    assert backend._folder is None
