"""The folder that training grows: a diffusers pipeline folder, each part read and written alone.

Every part is one file of at most 16 MiB in half precision, so that a training can be carried from
one machine to the next and continued from it.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteScheduler,
)
from torch import Tensor, nn
from transformers import UMT5EncoderModel

from wanexp.mini.shapes import (
    BOUNDARY,
    SHIFT,
    new_expert,
    new_text_encoder,
    new_tokenizer,
    new_vae,
)

EXPERTS = {"high": "transformer", "low": "transformer_2"}


def load_vae(folder: Path) -> AutoencoderKLWan:
    """The folder's VAE in float32, or an untrained one where there is none yet."""
    if (folder / "vae").exists():
        return AutoencoderKLWan.from_pretrained(folder / "vae", torch_dtype=torch.float32)
    return new_vae()


def load_expert(folder: Path, name: str) -> WanTransformer3DModel:
    """An expert in float32: its own, else the other one's weights to start from, else untrained."""
    other = next(n for n in EXPERTS if n != name)
    for part in (EXPERTS[name], EXPERTS[other]):
        if (folder / part).exists():
            return WanTransformer3DModel.from_pretrained(folder / part, torch_dtype=torch.float32)
    return new_expert()


def load_text_encoder(folder: Path) -> UMT5EncoderModel:
    """The folder's text encoder in float32."""
    return UMT5EncoderModel.from_pretrained(folder / "text_encoder", dtype=torch.float32).eval()


def save_vae(folder: Path, vae: AutoencoderKLWan, state: dict[str, Tensor] | None = None) -> None:
    """In half precision, with the statistics of its latents in its config."""
    _save(folder / "vae", vae, new_vae(), state)


def save_expert(
    folder: Path, name: str, expert: WanTransformer3DModel, state: dict[str, Tensor] | None = None
) -> None:
    """In half precision."""
    _save(folder / EXPERTS[name], expert, new_expert(), state)


def save_words(folder: Path) -> None:
    """What needs no training: words, text encoder, scheduler and the pipeline's index."""
    new_tokenizer().save_pretrained(folder / "tokenizer")
    new_text_encoder().half().save_pretrained(folder / "text_encoder")
    FlowMatchEulerDiscreteScheduler(shift=SHIFT).save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "WanImageToVideoPipeline",
        "_diffusers_version": "0.42.1",
        "boundary_ratio": BOUNDARY,
        "expand_timesteps": False,
        "image_encoder": [None, None],
        "image_processor": [None, None],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "transformer": ["diffusers", "WanTransformer3DModel"],
        "transformer_2": ["diffusers", "WanTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLWan"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _save(
    folder: Path,
    module: AutoencoderKLWan | WanTransformer3DModel,
    empty: AutoencoderKLWan | WanTransformer3DModel,
    state: dict[str, Tensor] | None,
) -> None:
    weights = module.state_dict() if state is None else state
    empty.load_state_dict({key: value.float().cpu() for key, value in weights.items()})
    empty.register_to_config(
        **{key: module.config[key] for key in module.config if key.startswith("latents_")}
    )
    nn.Module.half(empty)
    empty.save_pretrained(folder)
