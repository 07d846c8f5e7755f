"""Experts whose large weights are kept as float8 (e4m3): half the bytes of bfloat16.

A layer casts its weight when it is used and forgets the cast one. ``float8`` rounds weights as they
are, which is what diffusers' layerwise casting and most shared float8 files do; ``float8_scaled``
divides each output's row by its own largest value first, which spends the eight bits better (most
weights of Wan lie below e4m3's smallest normal number, 2⁻⁶). Biases, norms and embeddings stay.

Own layers instead of diffusers' ``enable_layerwise_casting``: that casts back after each use, and
cannot be compiled. For the same weights both give the same bits.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

STORED = torch.float8_e4m3fn
LARGEST = torch.finfo(STORED).max


class Float8Linear(nn.Linear):
    """A linear layer whose (out, in) weight is float8, times ``scale``, (out,) or (1,), if any."""

    scale: Tensor | None

    def forward(self, input: Tensor) -> Tensor:
        """As ``nn.Linear``, in the input's dtype."""
        weight = self.weight.to(input.dtype)
        if self.scale is None:
            return functional.linear(input, weight, self.bias)
        output = functional.linear(input, weight) * self.scale.to(input.dtype)
        return output if self.bias is None else output + self.bias


@torch.no_grad()
def keep_as_float8(expert: nn.Module, *, scaled: bool) -> None:
    """Turn the linear layers of an expert's ``blocks`` into ``Float8Linear``, in place."""
    for layer in list(expert.get_submodule("blocks").modules()):
        if type(layer) is nn.Linear:
            scale = None
            weight = layer.weight.data
            if scaled:
                peaks = weight.float().abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
                scale = peaks / LARGEST
                weight = weight.float() / scale[:, None]
            become_float8(layer, weight.to(STORED), scale)


def become_float8(layer: nn.Linear, weight: Tensor, scale: Tensor | None) -> None:
    """Make a linear layer a ``Float8Linear`` of this (out, in) float8 weight and its scale."""
    layer.weight = nn.Parameter(weight, requires_grad=False)
    layer.__class__ = Float8Linear
    layer.register_buffer("scale", scale, persistent=False)
