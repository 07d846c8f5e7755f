"""What makes an expert's calls cheaper: attention, compiled blocks, step caches.

All of it is diffusers' and PyTorch's; here it is put on, in the order in which it goes together.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from diffusers.hooks.first_block_cache import FirstBlockCacheConfig
from diffusers.hooks.mag_cache import MagCacheConfig
from diffusers.hooks.taylorseer_cache import TaylorSeerCacheConfig
from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import Tensor, nn
from torch.utils._triton import has_triton

from wanexp.backends.loading import quietly
from wanexp.names import nearest
from wanexp.step_cache import StepCache
from wanexp.strict import ConfigError

SIZES = 64
"""Sizes (and batches) for which one process may compile the blocks."""


def check_attention(name: str, device: torch.device, dtype: torch.dtype) -> None:
    """Refuse an attention backend that diffusers does not know, or that cannot run here.

    A few tokens are put through it: some backends only say then what they lack.

    Raises:
        ConfigError: With the nearest name, or what is missing.
    """
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
    set_attention(probe, name)
    tokens = torch.zeros(1, 16, 1, 128, device=device, dtype=dtype)
    try:
        dispatch_attention_fn(tokens, tokens, tokens, backend=AttentionBackendName(name))
    except (RuntimeError, ValueError, ImportError) as error:
        raise _cannot_run(name, error) from None


def _cannot_run(name: str, error: Exception) -> ConfigError:
    first = str(error).splitlines()[0]
    return ConfigError(f"memory.attention: {name} cannot run here: {first}")


def check_compile() -> None:
    """Refuse compiling for a card where PyTorch's compiler has no Triton to do it with.

    Raises:
        ConfigError: With what to do instead.
    """
    if not has_triton():
        raise ConfigError(
            "memory.compile: PyTorch compiles for a card by Triton, which is not here (pip install"
            " triton, or triton-windows); or set memory.compile=false"
        )


def set_attention(transformer: WanTransformer3DModel, name: str) -> None:
    """Let an expert compute attention by one of diffusers' backends."""
    with quietly():
        try:
            transformer.set_attention_backend(name)
        except (RuntimeError, ValueError, ImportError) as error:
            raise _cannot_run(name, error) from None


class Blocks:
    """An expert's blocks, compiled or as they are, and its step cache.

    Attributes:
        compiled: Whether the compiled ones are at work now.
    """

    def __init__(self, transformer: WanTransformer3DModel, *, compile_blocks: bool) -> None:
        self.compiled = False
        self._transformer = transformer
        self._may_compile = compile_blocks

    def prepare(self, cache: StepCache, expert: str, calls: int, *, plain: bool) -> None:
        """Make ready for a stage: an empty step cache, and blocks compiled unless ``plain``.

        A layer's hooks (a LoRA) are invisible to what was compiled without them, so an expert that
        wears LoRAs runs as it is.

        Args:
            cache: The stage's.
            expert: The expert's name, for ``cache.ratios``.
            calls: How often the stage asks this expert, under one prompt.
            plain: Do without compiled blocks.
        """
        if self._transformer.is_cache_enabled:
            self._transformer.disable_cache()
        self._compile(on=self._may_compile and not plain)
        if cache.on:
            with quietly():
                self._transformer.enable_cache(_CONFIGS[cache.kind](cache, expert, calls))

    def _compile(self, *, on: bool) -> None:
        """Swap the blocks' forward; a step cache hooks on to whichever is there."""
        if on == self.compiled:
            return
        for block in self._transformer.blocks:
            if on:
                setattr(block, "forward", functools.partial(_compiled(type(block)), block))  # noqa: B010
            else:
                delattr(block, "forward")
        self.compiled = on


@functools.cache
def _compiled(kind: type[nn.Module]) -> Callable[..., Tensor]:
    """A kind of block's forward, compiled once for all blocks of it, and again for each size."""
    torch._dynamo.config.recompile_limit = max(SIZES, torch._dynamo.config.recompile_limit)
    return torch.compile(kind.forward, fullgraph=True, dynamic=False)


def _first_block(cache: StepCache, expert: str, calls: int) -> FirstBlockCacheConfig:  # noqa: ARG001
    return FirstBlockCacheConfig(threshold=cache.threshold or 0.0)


def _mag(cache: StepCache, expert: str, calls: int) -> MagCacheConfig:
    return MagCacheConfig(
        threshold=cache.threshold or 0.0,
        max_skip_steps=cache.max_skip or 1,
        retention_ratio=cache.retention or 0.0,
        num_inference_steps=calls,
        mag_ratios=list((cache.ratios or {})[expert]),
    )


def _taylorseer(cache: StepCache, expert: str, calls: int) -> TaylorSeerCacheConfig:  # noqa: ARG001
    return TaylorSeerCacheConfig(
        cache_interval=cache.interval or 1,
        disable_cache_before_step=cache.warmup or 1,
        max_order=cache.order or 0,
        taylor_factors_dtype=torch.float32,
        use_lite_mode=True,
    )


_CONFIGS = {"first_block": _first_block, "mag": _mag, "taylorseer": _taylorseer}
