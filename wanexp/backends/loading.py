"""A model's parts, read from files into modules, with every weight accounted for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import torch
import transformers
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.utils import logging as diffusers_logging
from torch import nn
from transformers import UMT5EncoderModel

from wanexp.strict import ConfigError


def load_part(folder: Path, part: str, dtype: torch.dtype) -> nn.Module:
    """A part of a folder in diffusers' layout, on the CPU.

    Raises:
        ConfigError: Weights are missing.
    """
    place = folder / part
    with quietly():
        if part == "text_encoder":
            loaded = UMT5EncoderModel.from_pretrained(place, dtype=dtype, output_loading_info=True)
        elif part == "vae":
            loaded = AutoencoderKLWan.from_pretrained(place, dtype=dtype, output_loading_info=True)
        else:
            loaded = WanTransformer3DModel.from_pretrained(
                place, dtype=dtype, output_loading_info=True
            )
    module, info = cast(tuple[nn.Module, Mapping[str, Collection[str]]], loaded)
    lost = sorted(info["missing_keys"])
    if lost:  # the libraries would fill them with random numbers and a warning
        raise ConfigError(f"model.source: {place} lacks {len(lost)} weights, {lost[0]} first")
    return module


@contextmanager
def quietly() -> Iterator[None]:
    """Without the libraries' own progress bars and advice: whoever calls has a display."""
    level, bars = diffusers_logging.get_verbosity(), diffusers_logging.is_progress_bar_enabled()
    others = transformers.utils.logging.is_progress_bar_enabled()
    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        diffusers_logging.set_verbosity(level)
        if bars:
            diffusers_logging.enable_progress_bar()
        if others:
            transformers.utils.logging.enable_progress_bar()
