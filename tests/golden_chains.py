"""The golden chains: two small experts, what went into them, and their chains as recipes."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from safetensors.torch import load_file
from torch import Tensor

from wanexp.backends import Conditioning
from wanexp.schedules import sigmas

GOLDEN = Path(__file__).parent / "golden" / "e2e"
CHAINS = json.loads((GOLDEN / "chains.json").read_text())
SHAPE = (1, 16, 3, 6, 8)


def statistics() -> tuple[Tensor, Tensor]:
    """Mean and deviation of Wan 2.1's latents, which the VAE's class has as its defaults."""
    given = inspect.signature(AutoencoderKLWan.__init__).parameters
    mean, deviation = (torch.tensor(given[k].default) for k in ("latents_mean", "latents_std"))
    return mean.view(1, 16, 1, 1, 1), deviation.view(1, 16, 1, 1, 1)


def golden_conditioning() -> Conditioning:
    """What the chains were told, as wanexp's experts want it."""
    given, (mean, deviation) = load_file(GOLDEN / "inputs.safetensors"), statistics()
    mask = (1 - given["mask"]).repeat(1, 4, 1, 1, 1)
    return Conditioning(
        positive=given["positive"],
        negative=given["negative"],
        image=torch.cat([mask, (given["image_latent"] - mean) / deviation], dim=1),
        latent_shape=SHAPE,
    )


def chain_recipe(chain: list[dict]) -> dict[str, object]:
    """ComfyUI's nodes as a recipe: nodes with start and end steps are a split."""
    stages = {}
    for node in chain:
        stage = {k: node[k] for k in ("expert", "cfg", "sampler", "denoise") if k in node}
        if node.get("leftover"):
            levels = sigmas(node["scheduler"], node["steps"], node["shift"])
            stage["sigma_end"] = float(levels[node["end"]])
        if "start" not in node:
            stage |= {k: node[k] for k in ("steps", "scheduler", "shift")}
        stages[f"node_{len(stages)}"] = stage
    return {**{k: chain[0][k] for k in ("steps", "scheduler", "shift")}, "stages": stages}
