"""What one model call computes, counted: floating-point operations by shape, and the ceiling."""

from __future__ import annotations

from dataclasses import dataclass

from wanexp.bench.row import Size
from wanexp.models import Model


@dataclass(frozen=True, kw_only=True)
class Shape:
    """An expert's widths.

    Attributes:
        dim: Of a token.
        ffn: Of the feed-forward layer.
        layers: Blocks.
    """

    dim: int
    ffn: int
    layers: int


SHAPES = {
    "wan22_i2v_a14b": Shape(dim=5120, ffn=13824, layers=40),
    "wan22_ti2v_5b": Shape(dim=3072, ffn=14336, layers=30),
}


def tokens(model: Model, size: Size) -> int:
    """Tokens of a video: patches of 1 × 2 × 2 latent cells."""
    frames = (size.frames - 1) // model.frame_stride + 1
    return frames * (size.height // model.vae_stride // 2) * (size.width // model.vae_stride // 2)


def call_flops(model: Model, size: Size) -> float:
    """Floating-point operations of one model call: a multiplication and an addition are two.

    The blocks' matrix products and attention; what is left out (embeddings, norms) is under 1 %.
    """
    shape, n, text = SHAPES[model.name], tokens(model, size), model.max_tokens
    d, f = shape.dim, shape.ffn
    linears = 2 * n * (6 * d * d + 2 * d * f) + 2 * text * 2 * d * d
    attention = 4 * n * n * d + 4 * n * text * d
    return float(shape.layers * (linears + attention))
