"""Tiny random models, and their parts as the single files that people have.

Widths are small; names, types and the way of scaling are those of Wan's and ComfyUI's files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from wanexp.backends.single import transformer_names, vae_names
from wanexp.weights.layouts import transformer_shapes, transformer_sizes

TEXT_WIDTH = 32
STAGES = (1, 2, 4, 4)
"""Widths of a VAE's stages."""

LARGEST = torch.finfo(torch.float8_e4m3fn).max


def vae_21() -> AutoencoderKLWan:
    return AutoencoderKLWan(base_dim=4, z_dim=16)


def transformer(
    *, in_channels: int, out_channels: int, heads: int = 1, width: int = 128
) -> WanTransformer3DModel:
    """Of one head, as wide as all of Wan's heads are, unless others are asked."""
    return WanTransformer3DModel(
        num_attention_heads=heads,
        attention_head_dim=width,
        in_channels=in_channels,
        out_channels=out_channels,
        text_dim=TEXT_WIDTH,
        ffn_dim=48,
        num_layers=2,
    )


def own_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a part's folder in diffusers' layout, by diffusers' names."""
    (file,) = folder.glob("*.safetensors")
    return load_file(file)


def in_wans_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A transformer's weights by the official repository's names."""
    by_wan = {
        "patch_embedding.weight": state["patch_embedding.weight"],
        "head.head.weight": state["proj_out.weight"],
        "blocks.0.ffn.0.weight": state["blocks.0.ffn.net.0.proj.weight"],
        "text_embedding.0.weight": state["condition_embedder.text_embedder.linear_1.weight"],
        "time_embedding.0.weight": state["condition_embedder.time_embedder.linear_1.weight"],
        "blocks.1.modulation": state["blocks.1.scale_shift_table"],
    }
    shapes = transformer_shapes(transformer_sizes({k: tuple(v.shape) for k, v in by_wan.items()}))
    names = transformer_names(shapes)
    assert names.keys() == state.keys()
    return {names[own]: tensor for own, tensor in state.items()}


def vae_in_wans_names(state: Mapping[str, Tensor], *, residual: bool) -> dict[str, Tensor]:
    """A VAE's weights by the official repository's names."""
    official = set(official_vae_names(residual=residual))
    names = vae_names(official, residual=residual)
    assert names.keys() == state.keys()
    return {names[own]: tensor for own, tensor in state.items()}


def official_vae_names(*, residual: bool) -> Iterator[str]:
    """Names in the official repository's vae2_1.py and vae2_2.py (``residual``)."""
    for layer in ("conv1", "conv2", "encoder.conv1", "decoder.conv1"):
        yield from _both(layer)
    for half in ("encoder", "decoder"):
        for index in (0, 2):
            yield from _residual(f"{half}.middle.{index}", changes_width=False)
        yield f"{half}.middle.1.norm.gamma"
        for layer in ("to_qkv", "proj"):
            yield from _both(f"{half}.middle.1.{layer}")
        yield f"{half}.head.0.gamma"
        yield from _both(f"{half}.head.2")
    yield from _stages("encoder.downsamples", 2, (1, *STAGES), residual=residual)
    yield from _stages("decoder.upsamples", 3, (4, *reversed(STAGES)), residual=residual)


def _stages(name: str, blocks: int, widths: tuple[int, ...], *, residual: bool) -> Iterator[str]:
    inner = name.rpartition(".")[2]
    up, position = "upsamples" in name, 0
    for stage, (before, after) in enumerate(pairwise(widths)):
        # vae2_1.py halves the channels while it enlarges, all but the first time.
        given = before // 2 if up and stage and not residual else before
        for block in range(blocks):
            place = f"{name}.{stage}.{inner}.{block}" if residual else f"{name}.{position}"
            yield from _residual(place, changes_width=block == 0 and given != after)
            position += 1
        if stage < len(widths) - 2:
            place = f"{name}.{stage}.{inner}.{blocks}" if residual else f"{name}.{position}"
            yield from _both(f"{place}.resample.1")
            if stage < 2 if up else stage > 0:
                yield from _both(f"{place}.time_conv")
            position += 1


def _residual(place: str, *, changes_width: bool) -> Iterator[str]:
    for index in (0, 3):
        yield f"{place}.residual.{index}.gamma"
    for index in (2, 6):
        yield from _both(f"{place}.residual.{index}")
    if changes_width:
        yield from _both(f"{place}.shortcut")


def _both(layer: str) -> Iterator[str]:
    yield f"{layer}.weight"
    yield f"{layer}.bias"


def scaled(state: Mapping[str, Tensor], form: str = "older") -> dict[str, Tensor]:
    """Matrices of blocks as float8 with one scale each, as ComfyUI's files have them.

    ``form`` is ``older`` (scale_weight, scaled_fp8) or ``newer`` (weight_scale, comfy_quant).
    """
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if tensor.ndim != 2 or "block" not in name or not name.endswith(".weight"):
            found[name] = tensor
            continue
        scale = tensor.float().abs().max() / LARGEST
        layer = name.removesuffix(".weight")
        found[name] = (tensor.float() / scale).to(torch.float8_e4m3fn)
        if form == "older":
            found[f"{layer}.scale_weight"] = scale.reshape(1)
            found[f"{layer}.scale_input"] = torch.ones(1)
        else:
            found[f"{layer}.weight_scale"] = scale.reshape(())
            said = json.dumps({"format": "float8_e4m3fn"}).encode()
            found[f"{layer}.comfy_quant"] = torch.tensor(list(said), dtype=torch.uint8)
    if form == "older":
        found["scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)
    return found


def multiplied_out(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The float32 weights that a scaled file stands for."""
    found = {}
    for name, tensor in state.items():
        layer = name.removesuffix(".weight")
        scale = state.get(f"{layer}.scale_weight", state.get(f"{layer}.weight_scale"))
        if tensor.dtype == torch.float8_e4m3fn and scale is not None:
            found[name] = tensor.float() * scale.reshape(())
        elif not any(word in name for word in ("scale_", "_scale", "scaled_fp8", "comfy_quant")):
            found[name] = tensor.float()
    return found


def write(path: Path, state: Mapping[str, Tensor], prefix: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({prefix + name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path
