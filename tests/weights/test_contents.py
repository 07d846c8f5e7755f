"""Files known by their headers, and refused in one sentence."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.weights.tiny import TEXT, expert, text_encoder, vae, write
from wanexp.strict import ConfigError
from wanexp.weights.contents import contents_of
from wanexp.weights.header import read_header, tensor_bytes


def raw(path: Path, tensors: dict[str, tuple[str, list[int], int]]) -> Path:
    """A safetensors file of any types: name → (type, shape, bytes)."""
    header: dict[str, object] = {}
    place = 0
    for name, (dtype, shape, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(place))
    return path


def float8(shapes, scale: str = "", **more) -> dict[str, tuple[str, list[int], int]]:
    """A file's tensors with float8 matrices, all but the last, and perhaps a scale for each."""
    found = {}
    for name, shape in shapes.items():
        matrix = len(shape) == 2 and name != "head.head.weight"
        count = int(np.prod(shape))
        found[name] = ("F8_E4M3" if matrix else "BF16", list(shape), count * (1 if matrix else 2))
        if matrix and scale:
            found[f"{name.removesuffix('.weight')}.{scale}"] = ("F32", [1], 4)
    return {**found, **more}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"GGUF" + bytes(40), "is a GGUF file, .* take the fp16 or fp8 safetensors"),
        (b"PK\x03\x04" + bytes(40), "is a PyTorch pickle, which can run code"),
        (b"\x80\x02}q" + bytes(40), "is a PyTorch pickle, which can run code"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer .* `git lfs pull`"),
        (b"hello", "is no safetensors file"),
        (b"", "is no safetensors file"),
        (struct.pack("<Q", 5000) + b'{"a"', "is cut off: it ends inside its own header"),
        (struct.pack("<Q", 4) + b"{{{{", "is no safetensors file: its header cannot be read"),
        (struct.pack("<Q", 9) + b'{"a": {}}', "is no safetensors file: its header cannot be read"),
    ],
)
def test_what_is_no_safetensors_file_is_refused_by_what_it_is(content, sentence, tmp_path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"^model\.vae: x\.safetensors {sentence}"):
        read_header(path, "model.vae")


def test_a_file_that_was_not_downloaded_whole_is_refused(tmp_path) -> None:
    path = write(tmp_path / "x.safetensors", vae())
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(ConfigError, match=rf"cut off: {len(whole) - 1:,} of {len(whole):,} bytes"):
        read_header(path, "model.vae")


def test_a_missing_file_is_refused(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"^model\.vae: no file '.*x\.safetensors'"):
        read_header(tmp_path / "x.safetensors", "model.vae")


def test_a_header_is_read_again_where_the_file_is_another(tmp_path) -> None:
    path = write(tmp_path / "x.safetensors", vae())
    assert contents_of(path, "x").sizes["latent_channels"] == 16
    write(path, vae(48))
    assert contents_of(path, "x").sizes["latent_channels"] == 48


def test_one_tensor_is_read_by_itself(tmp_path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": np.arange(4, dtype=np.uint8), "b": np.arange(9, dtype=np.uint8)}, path)
    assert tensor_bytes(path, read_header(path, "x").tensors["b"]) == bytes(range(9))


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "diffusion_model."])
def test_an_expert_is_known_with_its_sizes(prefix, tmp_path) -> None:
    shapes = {prefix + name: shape for name, shape in expert(36, text=8).items()}
    found = contents_of(write(tmp_path / "x.safetensors", shapes), "x")
    assert found.kind == "expert"
    assert found.precision == "fp16"
    assert found.sizes == {
        "width": 128,
        "in_channels": 36,
        "out_channels": 16,
        "ffn": 16,
        "text": 8,
        "frequencies": 8,
        "layers": 2,
    }
    assert found.bytes == 2 * sum(int(np.prod(shape)) for shape in shapes.values())


def test_a_real_expert_has_as_many_weights_as_its_index_says() -> None:
    """1,095 tensors and 14.29 B numbers, as Wan-AI/Wan2.2-I2V-A14B-Diffusers lists them."""
    from wanexp.weights.layouts import transformer_shapes

    sizes = {"width": 5120, "in_channels": 36, "out_channels": 16, "ffn": 13824}
    shapes = transformer_shapes({**sizes, "text": 4096, "frequencies": 256, "layers": 40})
    assert len(shapes) == 1095
    assert sum(int(np.prod(s)) for s in shapes.values()) == pytest.approx(14.29e9, rel=1e-3)


def test_a_text_encoder_is_known_with_its_sizes_and_its_tokenizer(tmp_path) -> None:
    path = tmp_path / "x.safetensors"
    tensors = {name: np.zeros(shape, np.float16) for name, shape in text_encoder().items()}
    save_file(tensors, path)
    assert contents_of(path, "x").tokenizer is None
    copy = {"encoder.embed_tokens.weight": np.zeros((11, 8), np.float16)}
    save_file({**tensors, **copy, "spiece_model": np.zeros(30, np.uint8)}, path)
    found = contents_of(path, "x")
    assert (found.kind, found.tokenizer, found.sizes) == ("text_encoder", "spiece_model", TEXT)
    assert found.weights.keys() == text_encoder().keys()


@pytest.mark.parametrize("scale", ["scale_weight", "weight_scale"])
def test_scales_are_found_beside_their_weights(scale, tmp_path) -> None:
    more = {"scaled_fp8": ("F8_E4M3", [0], 0), "blocks.0.ffn.0.scale_input": ("F32", [], 4)}
    found = contents_of(raw(tmp_path / "x.safetensors", float8(expert(), scale, **more)), "x")
    assert found.precision == "fp8_e4m3fn scaled"
    assert found.weights.keys() == expert().keys()
    weight = found.weights["blocks.1.ffn.2.weight"]
    assert (weight.dtype, weight.scale) == ("F8_E4M3", f"blocks.1.ffn.2.{scale}")
    assert found.weights["head.head.weight"].scale is None


def test_float8_without_scales_is_called_so(tmp_path) -> None:
    found = contents_of(raw(tmp_path / "x.safetensors", float8(expert())), "x")
    assert found.precision == "fp8_e4m3fn"


UNREAD = {
    "holds blocks.0.ffn.0.weight as U8": {"blocks.0.ffn.0.weight": ("U8", [16, 128], 2048)},
    "quantised in a way .*weight_scale_2": {"blocks.0.ffn.0.weight_scale_2": ("F32", [], 4)},
    "scale for blocks.9.ffn.0, which is not": {"blocks.9.ffn.0.scale_weight": ("F32", [], 4)},
    r"scale_weight has the shape \[16\]": {"blocks.0.ffn.0.scale_weight": ("F32", [16], 64)},
}


@pytest.mark.parametrize("sentence", UNREAD)
def test_other_ways_of_quantising_are_refused(sentence, tmp_path) -> None:
    path = raw(tmp_path / "x.safetensors", float8(expert(), **UNREAD[sentence]))
    with pytest.raises(ConfigError, match=sentence):
        contents_of(path, "model.experts.high")


def test_a_layers_own_word_for_its_format_is_believed(tmp_path) -> None:
    path = tmp_path / "x.safetensors"
    tensors = {name: np.zeros(shape, np.float16) for name, shape in expert().items()}
    for form in ("float8_e4m3fn", "nvfp4"):
        said = np.frombuffer(json.dumps({"format": form}).encode(), np.uint8)
        save_file({**tensors, "blocks.0.ffn.0.comfy_quant": said}, path)
        if form == "nvfp4":
            with pytest.raises(ConfigError, match="quantised as nvfp4"):
                contents_of(path, "x")
        else:
            contents_of(path, "x")
    layers = {"_quantization_metadata": json.dumps({"layers": {"a": {"format": "mxfp8"}}})}
    save_file(tensors, path, metadata=layers)
    with pytest.raises(ConfigError, match="quantised as mxfp8"):
        contents_of(path, "x")


def without(shapes, *names: str):
    return {name: shape for name, shape in shapes.items() if name not in names}


STRANGERS = {
    "an image-to-video model of Wan 2.1": expert() | {"img_emb.proj.0.weight": (4,)},
    "a VACE model": expert() | {"vace_blocks.0.x": (4,)},
    "lacks 1 weights of a Wan transformer, head.modulation": without(expert(), "head.modulation"),
    "lacks weights of a whole Wan transformer": without(expert(), "head.head.weight"),
    "has 1 weights that a Wan transformer of Wan 2.2 has not, new.x": expert() | {"new.x": (4,)},
    r"blocks.1.ffn.2.bias is \[7\]": expert() | {"blocks.1.ffn.2.bias": (7,)},
    "is a T5 text encoder; Wan's is UMT5-XXL": without(
        text_encoder(), "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight"
    ),
    "is a LoRA; it goes to a stage": {"blocks.0.self_attn.q.lora_down.weight": (4, 4)},
    "has diffusers' names": {"condition_embedder.time_proj.weight": (4, 4)},
    r"is no part of a Wan model \(its first tensor is 'double_blocks": {"double_blocks.0": (4,)},
}


@pytest.mark.parametrize("sentence", STRANGERS)
def test_what_is_no_whole_part_is_refused_by_what_it_is(sentence, tmp_path) -> None:
    path = write(tmp_path / "x.safetensors", STRANGERS[sentence])
    with pytest.raises(
        ConfigError, match=rf"^model\.experts\.high: x\.safetensors:? ?.*{sentence}"
    ):
        contents_of(path, "model.experts.high")
