"""Wan models in diffusers' format: encode, denoise, decode.

One code path for every model, driven by its row in ``wanexp.models``: two experts or one, the
source as extra channels, as a clean first frame, or none. The stage loop is not here; a model call
is.

Axes: C channels, F latent frames, h w latent cells; T H W 3 for frames. Latents are in model space
(normalised by the VAE's mean and deviation), float32 outside the modules.
"""

from __future__ import annotations

import functools
import gc
import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, UMT5EncoderModel

from wanexp.backends import Conditioning
from wanexp.backends.float8 import keep_as_float8
from wanexp.backends.folder import EXPERT_FOLDERS, check_source, located_fingerprint
from wanexp.backends.loading import load_part, part_shapes
from wanexp.backends.lora import Adapter, changes_whole, check_adapter, read_adapter, wear
from wanexp.backends.placing import Places
from wanexp.backends.speed import Blocks, check_attention, check_compile, set_attention
from wanexp.backends.steady import steady
from wanexp.backends.tokens import load_tokenizer
from wanexp.config import Recipe
from wanexp.denoise import Branch, Denoise, guided, guided_together, holding, is_guided
from wanexp.memory import Memory
from wanexp.models import Model
from wanexp.step_cache import StepCache
from wanexp.strict import ConfigError
from wanexp.weights.files import find_file

TIMESTEPS = 1000.0
"""A Wan transformer's timestep is sigma times this, as a float32: an integer would shift sigma."""

Loras = tuple[tuple[str, float], ...]
"""LoRA file or Hub file, and strength."""

PATCH = 4
"""Latent cells that one token stands for (patches of 1 × 2 × 2)."""

LoadPart = Callable[[str, torch.dtype], nn.Module]
"""A part by name, in a dtype, on the CPU or already on the device."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def open_backend(recipe: Recipe, memory: Memory) -> DiffusersBackend:
    """A backend for the recipe's weights, checked; the weights load when they are first needed.

    Raises:
        ConfigError: The weights are missing, incomplete or another model's, there is no such
            device, or the attention backend is unknown or cannot run here.
    """
    if memory.device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"memory.device: {memory.device} is asked, but PyTorch sees no CUDA here")
    found = check_source(recipe.model, recipe.source, recipe.revision, recipe.files)
    backend = DiffusersBackend(
        folder=found.folder, files=found.files, model=recipe.model, memory=memory
    )
    check_attention(memory.attention, backend.device, backend.dtype)
    if memory.compile and backend.device.type == "cuda":
        check_compile()
    return backend


@dataclass(frozen=True, kw_only=True, eq=False)
class _Use:
    """What one stage wants of one expert; no two stages share one."""

    part: str
    expert: str
    loras: Loras
    step_cache: StepCache
    evaluations: int


class DiffusersBackend:
    """Wan's parts (text encoder, VAE, experts), loaded and moved one by one as they are needed.

    Attributes:
        device: Where latents live.
        dtype: Of the text encoder and the experts.
        model_calls: Latents put through an expert so far, counted at the expert itself.
    """

    def __init__(
        self,
        *,
        folder: Path | None,
        model: Model,
        memory: Memory,
        files: Mapping[str, Path] | None = None,
        load: LoadPart | None = None,
    ) -> None:
        auto = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(auto if memory.device == "auto" else memory.device)
        by_device = "bfloat16" if self.device.type == "cuda" else "float32"
        self.dtype = DTYPES[by_device if memory.dtype == "auto" else memory.dtype]
        self.vae_dtype = DTYPES[by_device if memory.vae_dtype == "auto" else memory.vae_dtype]
        _limit(self.device, memory.limit_gib)
        self.model_calls = 0
        self._folder = folder
        self._files = dict(files or {})
        self._model = model
        self._memory = memory
        self._load_part = load or self._read
        self._places = Places(self._load, self.device, memory)
        self._blocks: dict[str, Blocks] = {}
        self._adapters: dict[str, Adapter] = {}
        self._worn: dict[str, tuple[Loras, Callable[[], None]]] = {}
        self._stage: dict[str, object] = {}

    @property
    def weights(self) -> str:
        """Sixteen hex digits of the weights that a name and a revision stand for today."""
        return located_fingerprint(self._folder, self._files)

    def check(self, recipe: Recipe) -> None:
        """Refuse a stage's LoRA that is missing or does not fit the experts it would be worn by.

        Raises:
            ConfigError: One sentence with the first layer that does not fit.
        """
        for stage in recipe.stages:
            where = f"recipe.stages.{stage.name}.loras"
            for name in stage.loras:
                path = find_file(name, where)
                for expert, part in zip(self._model.experts, EXPERT_FOLDERS, strict=False):
                    if stage.expert in ("auto", expert):
                        check_adapter(path, part_shapes(self._place(part)), where)
                self._check_shifts(path, where)

    def _check_shifts(self, path: Path, where: str) -> None:
        """Refuse what changes whole weights where these travel by layers or are float8."""
        memory = self._memory
        if memory.offload != "group" and memory.weights == "dtype":
            return
        if shifts := changes_whole(path):
            setting = "offload=group" if memory.offload == "group" else f"weights={memory.weights}"
            raise ConfigError(
                f"{where}: {path.name} changes whole weights ({shifts[0]} first), which"
                f" memory.{setting} cannot do; only its low-rank layers could be worn"
            )

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
            return self.encode_video(picture[None, :, None])
        grey = picture.new_zeros(1, 3, frames - 1, *picture.shape[1:])
        latent = self.encode_video(torch.cat([picture[None, :, None], grey], dim=2))
        mask = latent.new_zeros(1, self._model.frame_stride, *latent.shape[2:])
        mask[:, :, 0] = 1  # one channel for each frame that a latent frame stands for
        return torch.cat([mask, latent], dim=1)

    @torch.no_grad()
    def encode_video(self, video: Tensor) -> Tensor:
        """The latent (its mode) of a (1, 3, T, H, W) video in [−1, 1], normalised, on the CPU."""
        vae = cast(AutoencoderKLWan, self._ready("vae"))
        with steady(list(vae.encoder.down_blocks)):
            posterior = vae.encode(video.to(self.device, self.vae_dtype), return_dict=False)[0]
        mean, deviation = _statistics(vae)
        # Times the reciprocal, as diffusers does it: the same bits are easier to compare.
        return (posterior.mode().float().cpu() - mean) * (1.0 / deviation)

    def denoiser(
        self,
        conditioning: Conditioning,
        *,
        expert: str,
        cfg: float,
        loras: Sequence[tuple[str, float]] = (),
        step_cache: StepCache | None = None,
        evaluations: int = 0,
    ) -> Denoise:
        """``denoise(x, sigma) -> x0`` of one expert in one stage; x float32 on the device.

        See ``Backend.denoiser``.
        """
        if is_guided(cfg) and conditioning.negative is None:
            raise ValueError(f"cfg {cfg:g} needs a negative prompt's embedding, there is none")
        use = _Use(
            part=EXPERT_FOLDERS[self._model.experts.index(expert)],
            expert=expert,
            loras=tuple(loras),
            step_cache=step_cache or StepCache(),
            evaluations=evaluations,
        )
        texts = self._texts(conditioning)
        image = None if conditioning.image is None else conditioning.image.to(self.device)
        beside = image if self._model.condition == "channels" else None
        first = image if self._model.condition == "first_frame" else None
        call = functools.partial(self._call, clean_first=first is not None)

        def told(x: Tensor) -> Tensor:
            return x if beside is None else torch.cat([x, beside.to(x)], dim=1)

        def velocity(x: Tensor, sigma: float, branch: Branch) -> Tensor:
            return call(self._expert(use), told(x), sigma, texts[branch], branch).to(x)

        def velocities(x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
            twice = told(x).expand(2, *[-1] * (x.ndim - 1))
            words = torch.cat([texts["cond"], texts["uncond"]])
            both = call(self._expert(use), twice, sigma, words, "cond").to(x)
            return both[:1], both[1:]

        together = is_guided(cfg) and self._at_once(conditioning.latent_shape, use.step_cache)
        denoise = guided_together(velocities, cfg) if together else guided(velocity, cfg)
        return denoise if first is None else holding(denoise, first)

    def _texts(self, conditioning: Conditioning) -> dict[str, Tensor]:
        """The prompts' embeddings on the device, by guidance's branch."""
        texts = {"cond": conditioning.positive, "uncond": conditioning.negative}
        return {k: v.to(self.device, self.dtype) for k, v in texts.items() if v is not None}

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

    @property
    def experts(self) -> tuple[str, ...]:
        """The experts' names, from the highest noise to the lowest."""
        return self._model.experts

    def part(self, name: str) -> nn.Module:
        """A part by its folder's name, on the device: for what compares with the library itself."""
        return self._ready(name)

    def release(self) -> None:
        """Let go of all weights. They load again if the backend is used again."""
        self._places.clear()
        self._blocks.clear()
        self._adapters.clear()
        self._worn.clear()
        self._stage.clear()
        gc.collect()  # compiled blocks refer to themselves
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @functools.cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        alone = "text_encoder" in self._files and "tokenizer" not in self._files
        return load_tokenizer(self._place("text_encoder" if alone else "tokenizer"))

    @torch.no_grad()
    def _call(
        self,
        transformer: WanTransformer3DModel,
        told: Tensor,
        sigma: float,
        text: Tensor,
        branch: Branch,
        *,
        clean_first: bool,
    ) -> Tensor:
        """One model call: the velocity. The only place where an expert runs."""
        self.model_calls += len(told)
        with transformer.cache_context(branch):  # diffusers' caches keep the branches apart by it
            return transformer(
                hidden_states=told.to(self.dtype),
                timestep=_times(told, sigma, transformer.config["patch_size"], clean_first),
                encoder_hidden_states=text,
                return_dict=False,
            )[0]

    def _at_once(self, shape: tuple[int, int, int, int, int], cache: StepCache) -> bool:
        """Whether guidance puts both prompts into one call; a step cache keeps them apart."""
        _, _, frames, height, width = shape
        tokens, on_card = frames * height * width // PATCH, self.device.type == "cuda"
        return not cache.on and self._memory.puts_prompts_together(tokens, on_card=on_card)

    def _expert(self, use: _Use) -> WanTransformer3DModel:
        """An expert on the device, ready for one stage: just its LoRAs, an empty step cache."""
        transformer = cast(WanTransformer3DModel, self._ready(use.part))
        if self._worn.get(use.part, ((), None))[0] != use.loras:
            self._take_off(use.part)
            adapters = [(self._adapter(path), strength) for path, strength in use.loras]
            self._worn[use.part] = (use.loras, wear(transformer, adapters))
        if self._stage.get(use.part) is not use:
            self._blocks[use.part].prepare(
                use.step_cache, use.expert, use.evaluations, plain=bool(use.loras)
            )
            self._stage[use.part] = use
        return transformer

    def _adapter(self, name: str) -> Adapter:
        if name not in self._adapters:
            self._adapters[name] = read_adapter(find_file(name, "recipe.stages"))
        return self._adapters[name]

    def _take_off(self, part: str) -> None:
        _, undo = self._worn.pop(part, ((), None))
        if undo is not None:
            undo()

    def _ready(self, part: str) -> nn.Module:
        """A part on the device; a LoRA comes off an expert before it leaves."""
        if self._memory.offload == "model":
            for other in [worn for worn in self._worn if worn != part]:
                self._take_off(other)
        return self._places.ready(part)

    def _place(self, part: str) -> Path:
        """The part's single file, or its folder in diffusers' layout."""
        if part in self._files:
            return self._files[part]
        assert self._folder is not None, "check_source finds a folder unless files hold every part"
        return self._folder / part

    def _read(self, part: str, dtype: torch.dtype) -> nn.Module:
        keep = self._memory.weights != "dtype"
        return load_part(self._place(part), part, dtype, keep_float8=keep)

    def _load(self, part: str) -> nn.Module:
        dtype = self.vae_dtype if part == "vae" else self.dtype
        module = self._load_part(part, dtype)
        if isinstance(module, AutoencoderKLWan):
            module.use_tiling = self._memory.vae_tiling
            module.use_slicing = self._memory.vae_slicing
        module.eval().requires_grad_(False)
        if isinstance(module, WanTransformer3DModel):
            set_attention(module, self._memory.attention)
            if self._memory.weights != "dtype":
                keep_as_float8(module, scaled=self._memory.weights == "float8_scaled")
            self._blocks[part] = Blocks(module, compile_blocks=self._memory.compile)
        return module


def _limit(device: torch.device, gib: float | None) -> None:
    """Let this process take no more than so many GiB of a CUDA device; None is all of it."""
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        share = 1.0 if gib is None else min(1.0, gib * 2**30 / total)
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.set_per_process_memory_fraction(share, index)


def _times(told: Tensor, sigma: float, patch: tuple[int, int, int], clean_first: bool) -> Tensor:
    """(1,) timestep, or (1, tokens) where those of a clean first frame are at time 0."""
    if not clean_first:
        return torch.full((1,), sigma, device=told.device) * TIMESTEPS
    frames, height, width = (n // p for n, p in zip(told.shape[2:], patch, strict=True))
    times = torch.full((1, frames, height, width), sigma, device=told.device) * TIMESTEPS
    times[:, 0] = 0
    return times.flatten(1)


def clean_prompt(text: str) -> str:
    """A prompt with broken Unicode mended, HTML entities resolved and white space collapsed.

    Source: as diffusers' ``WanImageToVideoPipeline`` does before it counts tokens.
    """
    if not (text.isascii() and text.isprintable() and "&" not in text):  # else all is well with it
        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", text).strip()


def _statistics(vae: AutoencoderKLWan) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the VAE's latents, (1, C, 1, 1, 1) each."""
    mean, deviation = (
        torch.tensor(vae.config[key]).view(1, -1, 1, 1, 1)
        for key in ("latents_mean", "latents_std")
    )
    return mean, deviation
