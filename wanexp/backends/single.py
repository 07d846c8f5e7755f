"""Parts of a model from single safetensors files, in the layouts of Wan and ComfyUI.

The sizes of a module are read off the file's header (``wanexp.weights``); names are turned into
diffusers' by its own converters, but for the 5B's VAE, for which it has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

import torch
from accelerate import init_empty_weights
from diffusers.loaders.single_file_utils import (
    convert_wan_transformer_to_diffusers,
    convert_wan_vae_to_diffusers,
)
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from safetensors import safe_open
from torch import Tensor, nn
from transformers import UMT5Config, UMT5EncoderModel

from wanexp.backends.float8 import become_float8
from wanexp.strict import ConfigError
from wanexp.weights.contents import Contents, Weight, contents_of
from wanexp.weights.layouts import HEAD_WIDTH, PATCH, Sizes

BLOCKS = "blocks."
"""Where a transformer's layers may stay float8; the few outside work in float32 or feed all."""

WIDEST = 4
"""A VAE's widest stage is this many times its narrowest."""

VAE_22_NAMES = (
    (r"^conv1\.", "quant_conv."),
    (r"^conv2\.", "post_quant_conv."),
    (r"^(encoder|decoder)\.conv1\.", r"\1.conv_in."),
    (r"\.head\.0\.", ".norm_out."),
    (r"\.head\.2\.", ".conv_out."),
    (r"\.middle\.0\.", ".mid_block.resnets.0."),
    (r"\.middle\.1\.", ".mid_block.attentions.0."),
    (r"\.middle\.2\.", ".mid_block.resnets.1."),
    (r"\.downsamples\.(\d+)\.downsamples\.\d+\.(resa|time)", r".down_blocks.\1.downsampler.\2"),
    (r"\.upsamples\.(\d+)\.upsamples\.\d+\.(resa|time)", r".up_blocks.\1.upsampler.\2"),
    (r"\.downsamples\.(\d+)\.downsamples\.", r".down_blocks.\1.resnets."),
    (r"\.upsamples\.(\d+)\.upsamples\.", r".up_blocks.\1.resnets."),
    (r"\.residual\.0\.", ".norm1."),
    (r"\.residual\.2\.", ".conv1."),
    (r"\.residual\.3\.", ".norm2."),
    (r"\.residual\.6\.", ".conv2."),
    (r"\.shortcut\.", ".conv_shortcut."),
)
"""The 5B's VAE as the official repository names it → diffusers' names."""

# Of every channel of the 5B's latents; they are in no file of weights.
# Source: github.com/Wan-Video/Wan2.2, wan/modules/vae2_2.py (Wan2_2_VAE).
# fmt: off
VAE_22_MEAN = (
    -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557,
    -0.1382, 0.0542, 0.2813, 0.0891, 0.1570, -0.0098, 0.0375, -0.1825,
    -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
    -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230,
    -0.0313, -0.1649, 0.0117, 0.0723, -0.2839, -0.2083, -0.0520, 0.3748,
    0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667,
)
VAE_22_DEVIATION = (
    0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013,
    0.8158, 1.0344, 0.5894, 1.0901, 0.6885, 0.6165, 0.8454, 0.4978,
    0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659,
    0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093,
    0.5709, 0.6065, 0.6415, 0.4944, 0.5726, 1.2042, 0.5458, 1.6887,
    0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
)
# fmt: on


def load_single(path: Path, dtype: torch.dtype, *, keep_float8: bool = False) -> nn.Module:
    """What a file holds as a module on the CPU, in ``dtype``.

    Args:
        path: A file that ``wanexp.weights.check`` has let pass.
        dtype: Float8 weights are multiplied out to it.
        keep_float8: Leave the float8 layers of a transformer's blocks as they are in the file, with
            their scales (``wanexp.backends.float8``).

    Raises:
        ConfigError: Weights are missing or too many.
    """
    contents = contents_of(path, "model")
    if contents.kind == "text_encoder":
        return _text_encoder(path, contents, dtype)
    if contents.kind == "vae":
        return _vae(path, contents, dtype)
    return _transformer(path, contents, dtype, keep_float8=keep_float8)


def single_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter of an expert's file by diffusers' names, from its header."""
    contents = contents_of(path, "model")
    names = transformer_names(contents.weights)
    return {own: contents.weights[name].shape for own, name in names.items()}


def transformer_names(names: Iterable[str]) -> dict[str, str]:
    """Diffusers' name of every weight of a transformer → Wan's."""
    return convert_wan_transformer_to_diffusers({name: name for name in names})


def vae_names(names: Iterable[str], *, residual: bool) -> dict[str, str]:
    """Diffusers' name of every weight of a VAE → Wan's; ``residual`` is the 5B's."""
    if not residual:
        return convert_wan_vae_to_diffusers({name: name for name in names})
    return {_vae_22_name(name): name for name in names}


def _vae_22_name(name: str) -> str:
    for pattern, replacement in VAE_22_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _transformer(
    path: Path, contents: Contents, dtype: torch.dtype, *, keep_float8: bool
) -> nn.Module:
    with init_empty_weights():
        made = WanTransformer3DModel.from_config(_transformer_config(contents.sizes))
    module = cast(WanTransformer3DModel, made)
    names = transformer_names(contents.weights)
    weights = {own: contents.weights[name] for own, name in names.items()}
    kept = [
        own.removesuffix(".weight")
        for own, weight in weights.items()
        if keep_float8 and weight.dtype.startswith("F8") and own.startswith(BLOCKS)
        if len(weight.shape) == 2 and own.endswith(".weight")
    ]
    whole = set(getattr(WanTransformer3DModel, "_keep_in_fp32_modules", None) or ())
    dtypes = {
        own: torch.float32 if whole.intersection(own.split(".")) else dtype for own in weights
    }
    for layer in kept:
        del dtypes[f"{layer}.weight"]  # as it is in the file
    _fill(module, path, weights, dtypes)
    with safe_open(path, framework="pt") as file:
        for layer in kept:
            linear = cast(nn.Linear, module.get_submodule(layer))
            scale = _scale(file, weights[f"{layer}.weight"])
            become_float8(linear, linear.weight.data, scale)
    return module


def _transformer_config(sizes: Sizes) -> dict[str, object]:
    return {
        "patch_size": PATCH,
        "num_attention_heads": sizes["width"] // HEAD_WIDTH,
        "attention_head_dim": HEAD_WIDTH,
        "in_channels": sizes["in_channels"],
        "out_channels": sizes["out_channels"],
        "text_dim": sizes["text"],
        "freq_dim": sizes["frequencies"],
        "ffn_dim": sizes["ffn"],
        "num_layers": sizes["layers"],
    }


def _vae(path: Path, contents: Contents, dtype: torch.dtype) -> nn.Module:
    sizes = contents.sizes
    config: dict[str, object] = {
        "z_dim": sizes["latent_channels"],
        "base_dim": sizes["width"],
        "decoder_base_dim": sizes["decoder_width"] // WIDEST,
    }
    residual = sizes["pixels"] != 3
    if residual:
        config |= {
            "is_residual": True,
            "patch_size": 2,
            "in_channels": sizes["pixels"],
            "out_channels": sizes["pixels"],
            "scale_factor_spatial": 16,
            "latents_mean": list(VAE_22_MEAN),
            "latents_std": list(VAE_22_DEVIATION),
        }
    with init_empty_weights():
        module = cast(AutoencoderKLWan, AutoencoderKLWan.from_config(config))
    names = vae_names(contents.weights, residual=residual)
    weights = {own: contents.weights[name] for own, name in names.items()}
    _fill(module, path, weights, dict.fromkeys(weights, dtype))
    return module


def _text_encoder(path: Path, contents: Contents, dtype: torch.dtype) -> nn.Module:
    sizes = contents.sizes
    config = UMT5Config(
        vocab_size=sizes["vocabulary"],
        d_model=sizes["width"],
        d_kv=sizes["inner"] // sizes["heads"],
        d_ff=sizes["ffn"],
        num_layers=sizes["layers"],
        num_heads=sizes["heads"],
        relative_attention_num_buckets=sizes["buckets"],
    )
    dtypes = {
        # As transformers does it: in float16 these would overflow.
        name: torch.float32 if dtype == torch.float16 and ".wo." in name else dtype
        for name in contents.weights
    }
    with safe_open(path, framework="pt") as file:
        state = {
            name: _read(file, weight, dtypes[name]) for name, weight in contents.weights.items()
        }
    return UMT5EncoderModel.from_pretrained(None, config=config, state_dict=state, dtype=dtype)


def _fill(
    module: nn.Module,
    path: Path,
    weights: Mapping[str, Weight],
    dtypes: Mapping[str, torch.dtype],
) -> None:
    """Put a file's weights in place of a module's empty ones; those without a dtype as they are."""
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    given = {own: weight.shape for own, weight in weights.items()}
    wrong = sorted(set(given.items()) ^ set(wanted.items()))
    if wrong:
        raise ConfigError(f"{path}: {wrong[0][0]} is missing, unknown or of another shape")
    with safe_open(path, framework="pt") as file:
        state = {
            own: _read(file, weight, dtypes[own]) if own in dtypes else file.get_tensor(weight.key)
            for own, weight in weights.items()
        }
    module.load_state_dict(state, strict=True, assign=True)


def _read(file: safe_open, weight: Weight, dtype: torch.dtype) -> Tensor:
    """A weight as it is meant: times its scale where it has one, in ``dtype``, rounded once."""
    tensor, scale = file.get_tensor(weight.key), _scale(file, weight)
    return tensor.to(dtype) if scale is None else (tensor.float() * scale).to(dtype)


def _scale(file: safe_open, weight: Weight) -> Tensor | None:
    """(1,) float32, what the whole weight is to be multiplied by."""
    if weight.scale is None:
        return None
    return file.get_tensor(weight.scale).float().reshape(1)
