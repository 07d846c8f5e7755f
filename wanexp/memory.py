"""How a model's weights live on the device, as a setting.

None of it says what the video should be. Some of it changes the last bits of a result all the
same; those settings are told apart here, since a digest counts them and no others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from wanexp.strict import ConfigError, known

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
DEVICE = re.compile(r"auto|cpu|mps|(cuda|xpu)(:\d+)?")

BITS = ("dtype", "vae_dtype", "vae_tiling", "attention", "weights", "compile", "guidance")
"""The fields of Memory that change bits of the result; the others only move weights about."""

LATER_BITS = ("weights", "compile", "guidance")
"""Those that came later: unless set they leave digests as they were."""

BATCHED_TOKENS = 2048
"""Tokens of a latent up to which ``guidance: auto`` puts both prompts into one call.

On an H200 that takes 0.37 to 0.96 of the time of two calls up to 1,280 tokens, 0.94 to 0.97 beyond
(docs/performance.md), where the memory of a second latent in flight begins to count.
"""

LADDER = ("empty_cache", "vae_tiling", "fewer_frames", "lower_resolution", "fewer_stages")
"""What can be tried when memory runs out, in the guide's order (``wanexp.ladder``)."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """How the weights live on the device; changes bits a little, and memory and speed a lot.

    Attributes:
        device: ``auto`` is CUDA where there is one.
        dtype: Of the experts; ``auto`` is bfloat16 on a GPU and float32 on a CPU.
        weights: How the experts' weights are kept: as ``dtype``, or as ``float8`` (e4m3), half the
            bytes of bfloat16, cast to ``dtype`` layer by layer when each is needed;
            ``float8_scaled`` gives every row of a weight a scale of its own.
        offload: What leaves the device while it is not needed: ``none`` but the text encoder,
            whole ``model`` parts (text encoder, VAE, the expert that is not at work), or each
            ``group`` of an expert's layers as well, which travels ahead of its use.
        attention: A backend of diffusers' attention dispatcher.
        compile: The experts' blocks, once for each size: seconds at first, faster calls after.
        guidance: Wanted and negative prompt one after the other (``sequential``), in one call of
            two (``batched``), or what is faster for the size (``auto``).
        empty_cache: Give cached memory back between stages.
        limit_gib: Use no more than so many GiB of the device, as a smaller card would have; None is
            all of it.
        out_of_memory: Which steps of ``LADDER`` may be tried when memory runs out. All but
            ``empty_cache`` make another video than the one that was asked for.
    """

    device: str = "auto"
    dtype: Dtype = "auto"
    weights: Literal["dtype", "float8", "float8_scaled"] = "dtype"
    vae_dtype: Dtype = "float32"
    vae_tiling: bool = False
    vae_slicing: bool = False
    offload: Literal["none", "model", "group"] = "none"
    attention: str = "native"
    compile: bool = False
    guidance: Literal["auto", "sequential", "batched"] = "auto"
    empty_cache: bool = False
    limit_gib: float | None = None
    out_of_memory: tuple[str, ...] = ("empty_cache",)

    def __post_init__(self) -> None:
        for name in self.out_of_memory:
            known("memory.out_of_memory", "step", dict.fromkeys(LADDER), name)
        if not DEVICE.fullmatch(self.device):
            raise ConfigError(
                f"memory.device: expected auto, cpu, cuda or cuda:N, got {self.device!r}"
            )
        if self.limit_gib is not None and self.limit_gib <= 0:
            raise ConfigError(f"memory.limit_gib: expected more than 0, got {self.limit_gib:g}")
        if self.compile and self.offload == "group":
            raise ConfigError(
                "memory.compile: layers that travel (memory.offload=group) cannot be compiled; use"
                " memory.offload=model, or leave compile off"
            )

    def bits(self) -> dict[str, object]:
        """The settings that change bits of a result; what came later only where it is set."""
        default = {name: f.default for name, f in self.__dataclass_fields__.items()}
        return {
            key: getattr(self, key)
            for key in BITS
            if key not in LATER_BITS or getattr(self, key) != default[key]
        }

    def puts_prompts_together(self, tokens: int, *, on_card: bool) -> bool:
        """Whether guidance puts both prompts, of a latent of so many tokens, into one call."""
        if self.guidance != "auto":
            return self.guidance == "batched"
        return on_card and tokens <= BATCHED_TOKENS
