"""Parts of the true shapes with random weights: what a model takes, without its weights.

Time and memory of Wan do not depend on the values of its weights; pictures do, so what these make
is noise. For benchmarks, and for tests on a machine that has no weights.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import nn
from transformers import UMT5Config, UMT5EncoderModel

from wanexp.backends.diffusers import DiffusersBackend
from wanexp.backends.single import VAE_22_DEVIATION, VAE_22_MEAN
from wanexp.memory import Memory
from wanexp.models import MODELS, Model, weights_folder

UMT5_XXL = {
    "vocab_size": 256384,
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
}


def random_backend(name: str, memory: Memory, *, layers: int | None = None) -> DiffusersBackend:
    """A backend of a model in ``MODELS`` whose weights are random, with nothing loaded from a disk.

    ``layers`` keeps just the first of each expert, for what need not have all. Prompts are read by
    wan-mini's tokenizer.
    """
    model, folder = MODELS[name], weights_folder("wan-mini")
    if folder is None:
        raise FileNotFoundError("wan-mini's tokenizer is missing")
    resident = memory.offload == "none" and memory.device != "cpu" and torch.cuda.is_available()
    place = torch.device("cuda" if resident else "cpu")
    load = functools.partial(random_part, model, layers, place)
    return DiffusersBackend(folder=folder, model=model, memory=memory, load=load)


def random_part(
    model: Model, layers: int | None, place: torch.device, part: str, dtype: torch.dtype
) -> nn.Module:
    """A part by its folder's name, with random weights, as loading it would leave it.

    Made on a GPU where there is one, since that is quick, and moved to ``place``.
    """
    makers: dict[str, Callable[[], nn.Module]] = {
        "text_encoder": lambda: UMT5EncoderModel(UMT5Config(**UMT5_XXL)),
        "vae": lambda: _vae(model),
        "transformer": lambda: _expert(model, layers),
        "transformer_2": lambda: _expert(model, layers),
    }
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    quick = "cuda" if torch.cuda.is_available() and place.type != "meta" else place.type
    try:
        with torch.device(quick):
            made = makers[part]()
    finally:
        torch.set_default_dtype(before)
    for name, parameter in made.named_parameters():
        single = any(word in name for word in getattr(made, "_keep_in_fp32_modules", None) or ())
        if single and part.startswith("transformer"):  # transformers does so for float16 alone
            parameter.data = parameter.data.float()
    return made.to(place)


def _expert(model: Model, layers: int | None) -> WanTransformer3DModel:
    channels = model.latent_channels
    beside = model.frame_stride + channels if model.condition == "channels" else 0
    heads, wide, deep = (40, 13824, 40) if len(model.experts) > 1 else (24, 14336, 30)
    return WanTransformer3DModel(
        num_attention_heads=heads,
        attention_head_dim=128,
        in_channels=channels + beside,
        out_channels=channels,
        text_dim=UMT5_XXL["d_model"],  # type: ignore[arg-type]  (a number)
        ffn_dim=wide,
        num_layers=layers or deep,
    )


def _vae(model: Model) -> AutoencoderKLWan:
    if model.vae_stride == 8:
        return AutoencoderKLWan()
    return vae_22(base_dim=160, decoder_base_dim=256)


def vae_22(*, base_dim: int, decoder_base_dim: int) -> AutoencoderKLWan:
    """The TI2V-5B's autoencoder at any width."""
    return AutoencoderKLWan(
        base_dim=base_dim,
        decoder_base_dim=decoder_base_dim,
        z_dim=48,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        is_residual=True,
        scale_factor_spatial=16,
        latents_mean=list(VAE_22_MEAN),
        latents_std=list(VAE_22_DEVIATION),
    )
