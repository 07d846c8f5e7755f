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

from wanexp.backends.folder import parameter_shapes
from wanexp.backends.single import load_single, single_shapes
from wanexp.strict import ConfigError


def load_part(
    place: Path, part: str, dtype: torch.dtype, *, keep_float8: bool = False
) -> nn.Module:
    """A part on the CPU, from its folder in diffusers' layout or from a single file.

    ``part`` is the name of its folder in that layout. ``keep_float8`` leaves a single file's
    float8 layers as they are (``wanexp.backends.float8``); it changes nothing for a folder.

    Raises:
        ConfigError: Weights are missing.
    """
    with quietly():
        if place.is_file():
            return load_single(place, dtype, keep_float8=keep_float8)
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


def part_shapes(place: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter of an expert by diffusers' names, from headers alone."""
    return single_shapes(place) if place.is_file() else parameter_shapes(place)


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
