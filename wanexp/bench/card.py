"""What the benchmarks on a card share: a clock that waits for it, its ceiling, conditions."""

from __future__ import annotations

from collections.abc import Callable

import torch

from wanexp.backends import Conditioning
from wanexp.backends.diffusers import DiffusersBackend
from wanexp.bench.row import Seconds, Size, timed
from wanexp.memory import Memory
from wanexp.models import MODELS, Model
from wanexp.step_cache import StepCache
from wanexp.strict import ConfigError

CARD = Memory(device="cuda", dtype="bfloat16", guidance="sequential")
A14B, DENSE = "wan22_i2v_a14b", "wan22_ti2v_5b"
SMALL = Size(width=512, height=512, frames=17)
LARGE = Size(width=480, height=832, frames=81)

MATRIX = 8192
"""Side of the matrices whose product gives the ceiling."""

SIGMA = 0.7
"""A noise level at which the low expert works; a call takes as long at any."""

TEXT_WIDTH = 4096


def need_card() -> None:
    """Refuse a machine without CUDA.

    Raises:
        ConfigError: It has none.
    """
    if not torch.cuda.is_available():
        raise ConfigError("this benchmark needs a CUDA card, and PyTorch sees none here")


def clocked(work: Callable[[], object], repeats: int, warmups: int = 2) -> Seconds:
    """``timed`` on a card: the clock stops when the card has."""
    with torch.no_grad():
        return timed(work, repeats=repeats, warmups=warmups, wait=torch.cuda.synchronize)


def ceiling(repeats: int = 20) -> float:
    """Floating-point operations a second of a bfloat16 matrix product: what the card can do."""
    a, b = (torch.randn(MATRIX, MATRIX, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2 * MATRIX**3 / clocked(lambda: a @ b, repeats).median


def conditions(backend: DiffusersBackend, model: Model, size: Size) -> Conditioning:
    """Random prompts and, where the model takes one, a random source."""
    shape = backend.latent_shape(size.width, size.height, size.frames)
    text = torch.randn(2, model.max_tokens, TEXT_WIDTH)
    channels, frames = model.latent_channels, 1
    if model.condition == "channels":
        channels, frames = channels + model.frame_stride, shape[2]
    image = torch.randn(1, channels, frames, *shape[3:]) if model.takes_image else None
    return Conditioning(positive=text[:1], negative=text[1:], image=image, latent_shape=shape)


def calling(
    backend: DiffusersBackend,
    name: str,
    size: Size,
    *,
    cfg: float = 1.0,
    cache: StepCache | None = None,
    evaluations: int = 0,
) -> Callable[[], torch.Tensor]:
    """A function that asks a model's last expert once: one model call, or two where cfg is not 1.

    The clean estimate that the samplers see, with all that the backend does for it.
    """
    model = MODELS[name]
    told = conditions(backend, model, size)
    x = torch.randn(told.latent_shape, device=backend.device)
    denoise = backend.denoiser(
        told, expert=model.experts[-1], cfg=cfg, step_cache=cache, evaluations=evaluations
    )
    return lambda: denoise(x, SIGMA)


def free() -> None:
    """Give what earlier rows held back to the card, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
