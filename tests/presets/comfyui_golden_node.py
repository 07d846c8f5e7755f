"""A node for ComfyUI that hands out the conditions of ``tests/golden/e2e`` and an empty latent.

``comfyui_rig.py`` copies it into a ComfyUI that the live tests ask; nothing else imports it.
``ManualSigmas`` stands in for the core node of that name where ComfyUI is older than 0.7.
"""

from pathlib import Path

import comfy.latent_formats  # type: ignore[import-not-found]
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


class Known:
    """Stands where a VAE does, for the one thing that is asked of it here."""

    def __init__(self, latent):
        self.latent = latent

    def encode(self, image):
        return self.latent


class WanexpKnown:
    """For TI2V-5B, whose own node puts the encoded picture into the latent's first frame."""

    RETURN_TYPES = ("CONDITIONING", "CONDITIONING", "VAE", "IMAGE")
    FUNCTION = "give"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {}}

    def give(self):
        here = Path(__file__).parent
        given, first = load_file(here / "inputs.safetensors"), load_file(here / "first.safetensors")
        positive, negative = ([[given[key], {}]] for key in ("positive", "negative"))
        scale = comfy.latent_formats.Wan22()
        known = Known(scale.process_out(first["latent"]))
        return positive, negative, known, torch.zeros(1, 96, 128, 3)


class WanexpModelSpace:
    """A latent as the model has it, without the scale of its VAE, which its channels tell."""

    RETURN_TYPES = ("LATENT",)
    FUNCTION = "give"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"samples": ("LATENT",)}}

    def give(self, samples):
        latent = samples["samples"]
        formats = comfy.latent_formats
        scale = formats.Wan22() if latent.shape[1] == 48 else formats.Wan21()
        return ({"samples": scale.process_in(latent)},)


NODE_CLASS_MAPPINGS = {
    "WanexpGolden": WanexpGolden,
    "WanexpKnown": WanexpKnown,
    "WanexpModelSpace": WanexpModelSpace,
}
OLDER = {"ManualSigmas": ManualSigmas}
