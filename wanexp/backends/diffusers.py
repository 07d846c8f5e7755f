"""Wan models in diffusers' format: encode, denoise, decode.

One code path for every model, driven by its row in ``wanexp.models``: two experts or one, the
source as extra channels or as a clean first frame. The stage loop is not here; a model call is.

Axes: C channels, F latent frames, h w latent cells; T H W 3 for frames. Latents are in model space
(normalised by the VAE's mean and deviation), float32 outside the modules.
"""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from diffusers.models.attention_dispatch import AttentionBackendName
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase, UMT5EncoderModel

from wanexp.backends import Conditioning
from wanexp.backends.folder import (
    EXPERT_FOLDERS,
    check_source,
    find_lora,
    parameter_shapes,
)
from wanexp.backends.loading import load_part, quietly
from wanexp.backends.lora import Adapter, check_adapter, read_adapter, wear
from wanexp.backends.steady import steady
from wanexp.config import Memory, Recipe
from wanexp.denoise import Branch, Denoise, guided, holding, is_guided
from wanexp.models import Model, fingerprint
from wanexp.names import nearest
from wanexp.strict import ConfigError

TIMESTEPS = 1000.0
"""A Wan transformer's timestep is sigma times this, as a float32: an integer would shift sigma."""

Loras = tuple[tuple[str, float], ...]
"""LoRA file or Hub file, and strength."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def open_backend(recipe: Recipe, memory: Memory) -> DiffusersBackend:
    """A backend for the recipe's weights, checked; the weights load when they are first needed.

    Raises:
        ConfigError: The weights are missing, incomplete or another model's, there is no such
            device, or the attention backend is unknown or cannot run here.
    """
    if memory.device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"memory.device: {memory.device} is asked, but PyTorch sees no CUDA here")
    folder = check_source(recipe.model, recipe.source, recipe.revision)
    check_attention(memory.attention)
    return DiffusersBackend(folder=folder, model=recipe.model, memory=memory)


def check_attention(name: str) -> None:
    """Refuse an attention backend that diffusers does not know, or that cannot run here."""
    known = [backend.value for backend in AttentionBackendName]
    if name not in known:
        raise ConfigError(
            f"memory.attention: no attention backend named {name!r}{nearest(name, known)}"
            f" (have: {', '.join(sorted(known))})"
        )
    with torch.device("meta"):  # a model without weights is enough to ask
        probe = WanTransformer3DModel(
            num_attention_heads=1, attention_head_dim=12, num_layers=1, ffn_dim=8, text_dim=8
        )
    _set_attention(probe, name)


class DiffusersBackend:
    """Wan's parts (text encoder, VAE, experts), loaded and moved one by one as they are needed.

    Attributes:
        device: Where latents live.
        dtype: Of the text encoder and the experts.
        model_calls: Latents put through an expert so far, counted at the expert itself.
    """

    def __init__(self, *, folder: Path, model: Model, memory: Memory) -> None:
        auto = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(auto if memory.device == "auto" else memory.device)
        by_device = "bfloat16" if self.device.type == "cuda" else "float32"
        self.dtype = DTYPES[by_device if memory.dtype == "auto" else memory.dtype]
        self.vae_dtype = DTYPES[by_device if memory.vae_dtype == "auto" else memory.vae_dtype]
        self.model_calls = 0
        self._folder = folder
        self._model = model
        self._memory = memory
        self._parts: dict[str, nn.Module] = {}
        self._at_work: str | None = None
        self._adapters: dict[str, Adapter] = {}
        self._worn: dict[str, tuple[Loras, Callable[[], None]]] = {}

    @property
    def weights(self) -> str:
        """Sixteen hex digits of the weights that a name and a revision stand for today."""
        return fingerprint(str(self._folder), None)

    def check(self, recipe: Recipe) -> None:
        """Refuse a stage's LoRA that is missing or does not fit the experts it would be worn by.

        Raises:
            ConfigError: One sentence with the first layer that does not fit.
        """
        for stage in recipe.stages:
            where = f"recipe.stages.{stage.name}.loras"
            for name in stage.loras:
                path = find_lora(name, where)
                for expert, part in zip(self._model.experts, EXPERT_FOLDERS, strict=False):
                    if stage.expert in ("auto", expert):
                        check_adapter(path, parameter_shapes(self._folder / part), where)

    def latent_shape(self, width: int, height: int, frames: int) -> tuple[int, int, int, int, int]:
        """(1, C, F, h, w) of a video's latent."""
        model = self._model
        latent_frames = (frames - 1) // model.frame_stride + 1
        cells = height // model.vae_stride, width // model.vae_stride
        return (1, model.latent_channels, latent_frames, *cells)

    @torch.no_grad()
    def encode_text(self, text: str) -> Tensor:
        """(1, tokens, width) float32 on the CPU, zeros after the prompt's end.

        Source: as diffusers' ``WanImageToVideoPipeline`` prepares its prompts.
        """
        tokens = self._tokenizer(
            [clean_prompt(text)],
            padding="max_length",
            max_length=self._model.max_tokens,
            truncation=True,
            add_special_tokens=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        mask = tokens.attention_mask
        encoder = cast(UMT5EncoderModel, self._ready("text_encoder"))
        states = encoder(tokens.input_ids.to(self.device), mask.to(self.device)).last_hidden_state
        states[:, int(mask.sum()) :] = 0
        return states.float().cpu()

    @torch.no_grad()
    def encode_image(self, source: np.ndarray, frames: int) -> Tensor:
        """The source, (H, W, 3) uint8 at the video's size, as the model is told it.

        See ``Conditioning.image``. ``frames`` are the video's; they do not matter where the source
        is a clean first frame.
        """
        picture = torch.tensor(source).permute(2, 0, 1).float() / 255 * 2 - 1
        if self._model.condition == "first_frame":
            return self._encode(picture[None, :, None])
        grey = picture.new_zeros(1, 3, frames - 1, *picture.shape[1:])
        latent = self._encode(torch.cat([picture[None, :, None], grey], dim=2))
        mask = latent.new_zeros(1, self._model.frame_stride, *latent.shape[2:])
        mask[:, :, 0] = 1  # one channel for each frame that a latent frame stands for
        return torch.cat([mask, latent], dim=1)

    def denoiser(
        self,
        conditioning: Conditioning,
        *,
        expert: str,
        cfg: float,
        loras: Sequence[tuple[str, float]] = (),
    ) -> Denoise:
        """``denoise(x, sigma) -> x0`` of one expert; x float32 on the device, model space."""
        if is_guided(cfg) and conditioning.negative is None:
            raise ValueError(f"cfg {cfg:g} needs a negative prompt's embedding, there is none")
        image = conditioning.image.to(self.device)
        texts = {"cond": conditioning.positive, "uncond": conditioning.negative}
        texts = {k: v.to(self.device, self.dtype) for k, v in texts.items() if v is not None}
        beside = self._model.condition == "channels"

        def velocity(x: Tensor, sigma: float, branch: Branch) -> Tensor:
            told = torch.cat([x, image.to(x)], dim=1) if beside else x
            transformer = self._expert(expert, tuple(loras))
            return self._call(transformer, told, sigma, texts[branch], branch).to(x)

        return guided(velocity, cfg) if beside else holding(guided(velocity, cfg), image)

    @torch.no_grad()
    def decode(self, latent: Tensor) -> np.ndarray:
        """(T, H, W, 3) uint8 frames of a (1, C, F, h, w) latent in model space."""
        vae = cast(AutoencoderKLWan, self._ready("vae"))
        mean, deviation = _statistics(vae)
        raw = latent.float().cpu() * deviation + mean
        video = vae.decode(raw.to(self.device, self.vae_dtype), return_dict=False)[0]
        frames = ((video[0].float() * 0.5 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        return frames.permute(1, 2, 3, 0).cpu().numpy()

    def finish_stage(self) -> None:
        """Wait for the device, so that a clock read now is right, and tidy up its memory."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            if self._memory.empty_cache:
                torch.cuda.empty_cache()

    def release(self) -> None:
        """Let go of all weights. They load again if the backend is used again."""
        self._parts.clear()
        self._adapters.clear()
        self._worn.clear()
        self._at_work = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @functools.cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        return AutoTokenizer.from_pretrained(self._folder / "tokenizer")

    @torch.no_grad()
    def _call(
        self,
        transformer: WanTransformer3DModel,
        told: Tensor,
        sigma: float,
        text: Tensor,
        branch: Branch,
    ) -> Tensor:
        """One model call: the velocity. The only place where an expert runs."""
        self.model_calls += len(told)
        with transformer.cache_context(branch):  # diffusers' caches keep the branches apart by it
            return transformer(
                hidden_states=told.to(self.dtype),
                timestep=self._times(told, sigma, transformer.config["patch_size"]),
                encoder_hidden_states=text,
                return_dict=False,
            )[0]

    def _times(self, told: Tensor, sigma: float, patch: tuple[int, int, int]) -> Tensor:
        """(1,) timestep, or (1, tokens) where those of the clean first frame are at time 0."""
        if self._model.condition == "channels":
            return torch.full((1,), sigma, device=self.device) * TIMESTEPS
        frames, height, width = (n // p for n, p in zip(told.shape[2:], patch, strict=True))
        times = torch.full((1, frames, height, width), sigma, device=self.device) * TIMESTEPS
        times[:, 0] = 0
        return times.flatten(1)

    def _encode(self, video: Tensor) -> Tensor:
        """The latent (its mode) of a (1, 3, T, H, W) video in [−1, 1], normalised, on the CPU."""
        vae = cast(AutoencoderKLWan, self._ready("vae"))
        with steady(list(vae.encoder.down_blocks)):
            posterior = vae.encode(video.to(self.device, self.vae_dtype), return_dict=False)[0]
        mean, deviation = _statistics(vae)
        # Times the reciprocal, as diffusers does it: the same bits are easier to compare.
        return (posterior.mode().float().cpu() - mean) * (1.0 / deviation)

    def _expert(self, name: str, loras: Loras) -> WanTransformer3DModel:
        """An expert on the device, wearing just these LoRAs."""
        part = EXPERT_FOLDERS[self._model.experts.index(name)]
        transformer = cast(WanTransformer3DModel, self._ready(part))
        if self._worn.get(part, ((), None))[0] != loras:
            self._take_off(part)
            adapters = [(self._adapter(path), strength) for path, strength in loras]
            self._worn[part] = (loras, wear(transformer, adapters))
        return transformer

    def _adapter(self, name: str) -> Adapter:
        if name not in self._adapters:
            self._adapters[name] = read_adapter(find_lora(name, "recipe.stages"))
        return self._adapters[name]

    def _take_off(self, part: str) -> None:
        _, undo = self._worn.pop(part, ((), None))
        if undo is not None:
            undo()

    def _ready(self, part: str) -> nn.Module:
        """A part on the device. Under offload the part that worked before leaves it first."""
        if part != self._at_work:
            if part not in self._parts:
                self._parts[part] = self._load(part)
            if self._memory.offload == "model" and self._at_work is not None:
                self._take_off(self._at_work)
                self._parts[self._at_work].to("cpu")
            self._parts[part].to(self.device)
            self._at_work = part
        return self._parts[part]

    def _load(self, part: str) -> nn.Module:
        dtype = self.vae_dtype if part == "vae" else self.dtype
        module = load_part(self._folder, part, dtype)
        if isinstance(module, AutoencoderKLWan):
            module.use_tiling = self._memory.vae_tiling
            module.use_slicing = self._memory.vae_slicing
        if isinstance(module, WanTransformer3DModel):
            _set_attention(module, self._memory.attention)
        return module.eval().requires_grad_(False)


def clean_prompt(text: str) -> str:
    """A prompt with broken Unicode mended, HTML entities resolved and white space collapsed.

    Source: as diffusers' ``WanImageToVideoPipeline`` does before it counts tokens.
    """
    import ftfy

    mended = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", mended).strip()


def _set_attention(transformer: WanTransformer3DModel, name: str) -> None:
    with quietly():
        try:
            transformer.set_attention_backend(name)
        except (RuntimeError, ValueError, ImportError) as error:
            raise ConfigError(f"memory.attention: {name} cannot run here: {error}") from None


def _statistics(vae: AutoencoderKLWan) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the VAE's latents, (1, C, 1, 1, 1) each."""
    mean, deviation = (
        torch.tensor(vae.config[key]).view(1, -1, 1, 1, 1)
        for key in ("latents_mean", "latents_std")
    )
    return mean, deviation
