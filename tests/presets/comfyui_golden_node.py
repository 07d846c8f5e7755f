"""A node for ComfyUI that hands out the conditions of ``tests/golden/e2e`` and an empty latent.

``comfyui_rig.py`` copies it into a ComfyUI that the live tests ask; nothing else imports it.
``ManualSigmas`` stands in for the core node of that name where ComfyUI is older than 0.7.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file


class WanexpGolden:
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING", "LATENT")
    FUNCTION = "give"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {}}

    def give(self):
        given = load_file(Path(__file__).parent / "inputs.safetensors")
        beside = {"concat_latent_image": given["image_latent"], "concat_mask": given["mask"]}
        positive, negative = ([[given[key], dict(beside)]] for key in ("positive", "negative"))
        return positive, negative, {"samples": torch.zeros_like(given["image_latent"])}


class ManualSigmas:
    RETURN_TYPES = ("SIGMAS",)
    FUNCTION = "give"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"sigmas": ("STRING", {"default": "1, 0.5"})}}

    def give(self, sigmas):
        return (torch.tensor([float(text) for text in sigmas.split(",")], dtype=torch.float32),)


NODE_CLASS_MAPPINGS = {"WanexpGolden": WanexpGolden}
OLDER = {"ManualSigmas": ManualSigmas}
