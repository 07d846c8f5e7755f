"""The experts' school: many scenes encoded once, with prompts as people write them.

Axes: N videos, 16 channels, F=5 latent frames, 16×16 cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import Tensor, nn

from wanexp.mini.folder import load_text_encoder, load_vae, save_vae
from wanexp.mini.loop import Log
from wanexp.mini.onepass import encode_moments
from wanexp.mini.shapes import FRAMES, HEIGHT, MAX_TOKENS, WIDTH, new_tokenizer
from wanexp.world.captions import loose_captions
from wanexp.world.faults import spoiled
from wanexp.world.render import render
from wanexp.world.scene import draw_scenes, moved

WORDINGS = 4
"""Prompts for each video, one of them drawn at each step."""

BATCH = 64


@dataclass(frozen=True, kw_only=True)
class School:
    """What experts learn from, on their device.

    Attributes:
        latents: (N, 16, F, 16, 16) float16, normalised.
        sources: The same shape: each first frame followed by grey, as the model is told it.
        prompts: (N, WORDINGS) index into ``texts``.
        texts: (M, MAX_TOKENS, width) float16, zeros after a prompt's end.
    """

    latents: Tensor
    sources: Tensor
    prompts: Tensor
    texts: Tensor


@torch.no_grad()
def encode_scenes(
    folder: Path, bank: Tensor, count: int, path: Path, log: Log, *, seed: int
) -> None:
    """Renders and encodes scenes; writes raw latents and prompts to a file of torch's."""
    vae = load_vae(folder).eval()
    nn.Module.to(vae, bank.device)
    latents, sources, prompts = [], [], []
    for first in range(0, count, BATCH):
        scenes = moved(
            draw_scenes(BATCH, seed=seed + first, textures=len(bank), dense=0.25), bank.device
        )
        video = spoiled(render(scenes, bank, FRAMES, HEIGHT, WIDTH), scenes, seed + first)
        latents.append(_encoded(vae, video))
        sources.append(_encoded(vae, told(video[:, :, :1])))
        wordings = [loose_captions(scenes, seed=seed + first + k) for k in range(WORDINGS)]
        prompts += list(zip(*wordings, strict=True))
    torch.save(
        {
            "latents": torch.cat(latents).cpu(),
            "sources": torch.cat(sources).cpu(),
            "prompts": prompts,
        },
        path,
    )
    log({"part": "latents", "videos": count})


def told(first: Tensor) -> Tensor:
    """(B, 3, 17, H, W): the first frame, then grey."""
    grey = first.new_zeros(len(first), 3, FRAMES - 1, *first.shape[3:])
    return torch.cat([first, grey], dim=2)


def set_statistics(folder: Path, paths: list[Path]) -> None:
    """Write mean and deviation of the latents, per channel, into the VAE's config."""
    raw = torch.cat([torch.load(path)["latents"].float() for path in paths])
    vae = load_vae(folder)
    vae.register_to_config(
        latents_mean=raw.mean((0, 2, 3, 4)).tolist(), latents_std=raw.std((0, 2, 3, 4)).tolist()
    )
    save_vae(folder, vae)


@torch.no_grad()
def load_school(folder: Path, paths: list[Path], device: torch.device) -> School:
    """Everything that ``encode_scenes`` wrote, normalised by the VAE's statistics."""
    files = [torch.load(path) for path in paths]
    vae = load_vae(folder)
    mean, deviation = (
        torch.tensor(vae.config[key]).view(1, -1, 1, 1, 1).half().to(device)
        for key in ("latents_mean", "latents_std")
    )
    rows = [row for file in files for row in file["prompts"]]
    table = {text: i for i, text in enumerate(sorted({text for row in rows for text in row}))}
    return School(
        latents=(torch.cat([f["latents"] for f in files]).to(device) - mean) / deviation,
        sources=(torch.cat([f["sources"] for f in files]).to(device) - mean) / deviation,
        prompts=torch.tensor([[table[text] for text in row] for row in rows], device=device),
        texts=read_texts(folder, list(table), device),
    )


@torch.no_grad()
def read_texts(folder: Path, texts: list[str], device: torch.device) -> Tensor:
    """(M, MAX_TOKENS, width) float16 of prompts, zeros after each one's end."""
    encoder, tokenizer = load_text_encoder(folder), new_tokenizer()
    nn.Module.to(encoder, device)
    parts = []
    for first in range(0, len(texts), 1024):
        tokens = tokenizer(
            texts[first : first + 1024],
            padding="max_length",
            max_length=MAX_TOKENS,
            truncation=True,
            return_tensors="pt",
        ).to(device)
        states = encoder(tokens.input_ids, tokens.attention_mask).last_hidden_state
        parts.append((states * tokens.attention_mask[..., None]).half())
    return torch.cat(parts)


def _encoded(vae: AutoencoderKLWan, video: Tensor) -> Tensor:
    with torch.autocast(video.device.type, torch.bfloat16):
        return encode_moments(vae, video)[0].half()
