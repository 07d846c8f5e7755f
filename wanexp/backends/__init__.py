"""Backends own weights and a device; this is the shape they share, and where they are found.

Nothing heavy is imported here: a backend's module loads with the first call of ``load_backend``.
Axes of latents: B=1, C channels, F latent frames, h w latent cells; of frames: T H W 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from wanexp.config import Recipe
from wanexp.memory import Memory
from wanexp.models import Model
from wanexp.names import lookup

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from wanexp.denoise import Denoise
    from wanexp.step_cache import StepCache


@dataclass(frozen=True, kw_only=True)
class Conditioning:
    """What one case tells the model, encoded once per case: float32, on the CPU.

    Attributes:
        positive: (1, tokens, width) text embedding, zeros after the prompt's end.
        negative: The same of the negative prompt; None where no stage is guided.
        image: The source. Where it enters as ``channels``: (1, stride + C, F, h, w), the mask and
            the latent of the source followed by grey frames. As ``first_frame``: (1, C, 1, h, w).
            Latents are in model space (normalised). None where words are all there is.
        latent_shape: (1, C, F, h, w) of the latents that this conditions.
    """

    positive: Tensor
    negative: Tensor | None
    image: Tensor | None
    latent_shape: tuple[int, int, int, int, int]


class Backend(Protocol):
    """What can run a stage.

    Attributes:
        device: Where latents live.
        model_calls: Latents put through an expert since loading, counted at the expert itself.
    """

    device: torch.device
    model_calls: int

    @property
    def weights(self) -> str:
        """Sixteen hex digits of the weights that a name and a revision stand for today."""
        ...

    def check(self, recipe: Recipe) -> None:
        """Refuse, before weights load, what a recipe asks and these weights cannot do."""
        ...

    def latent_shape(self, width: int, height: int, frames: int) -> tuple[int, int, int, int, int]:
        """(1, C, F, h, w) of a video's latent."""
        ...

    def encode_text(self, text: str) -> Tensor:
        """(1, tokens, width) float32 on the CPU, zeros after the prompt's end."""
        ...

    def encode_image(self, source: np.ndarray, frames: int) -> Tensor:
        """The ``Conditioning.image`` of a (H, W, 3) uint8 source, at its own size."""
        ...

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
        """``denoise(x, sigma) -> x0`` of one expert; x float32 on the device, model space.

        One denoiser is for one stage: its step cache, if any, begins empty. ``evaluations`` is how
        often the stage will ask it.
        """
        ...

    def decode(self, latent: Tensor) -> np.ndarray:
        """(T, H, W, 3) uint8 frames of a (1, C, F, h, w) latent in model space."""
        ...

    def finish_stage(self) -> None:
        """Wait for the device, so that a clock read now is right, and tidy up its memory."""
        ...

    def release(self) -> None:
        """Let go of all weights. The backend loads them again if it is used again."""
        ...


def encode(
    backend: Backend, source: np.ndarray, prompt: str, negative_prompt: str | None, frames: int
) -> Conditioning:
    """A case's conditioning, from a (H, W, 3) uint8 source at the video's size.

    ``negative_prompt`` is None where no stage is guided.
    """
    height, width = source.shape[:2]
    return Conditioning(
        positive=backend.encode_text(prompt),
        negative=None if negative_prompt is None else backend.encode_text(negative_prompt),
        image=backend.encode_image(source, frames),
        latent_shape=backend.latent_shape(width, height, frames),
    )


def _open_diffusers(recipe: Recipe, memory: Memory) -> Backend:
    from wanexp.backends.diffusers import open_backend

    return open_backend(recipe, memory)


BACKENDS: dict[str, Callable[[Recipe, Memory], Backend]] = {"diffusers": _open_diffusers}

Key = tuple[str, Model, str, str | None, tuple[tuple[str, str], ...], Memory]

_loaded: dict[Key, Backend] = {}


def load_backend(recipe: Recipe, memory: Memory, name: str = "diffusers") -> Backend:
    """The backend for a recipe's weights, kept for the next trial with the same ones.

    One process runs many trials of one model, and holds one model: other weights, or other
    memory settings, let the former ones go first.

    Raises:
        ConfigError: The weights are missing or are not the model's, or a LoRA does not fit them;
            nothing was loaded.
        KeyError: There is no such backend.
    """
    opener = lookup("backend", BACKENDS, name)
    files = tuple(sorted(recipe.files.items()))
    key = (name, recipe.model, recipe.source, recipe.revision, files, memory)
    if key not in _loaded:
        fresh = opener(recipe, memory)
        for former in _loaded.values():
            former.release()
        _loaded.clear()
        _loaded[key] = fresh
    _loaded[key].check(recipe)
    return _loaded[key]
