"""Every weight of a Wan transformer and of its text encoder, by its own name, with its shape.

Names are those of the official repository (transformers) and of Hugging Face (the text encoder);
ComfyUI's files have the same ones. Shapes follow from a handful of sizes, which the files show.
Source: github.com/Wan-Video/Wan2.2, wan/modules/model.py; transformers' UMT5.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

HEAD_WIDTH = 128
"""Of every Wan transformer: heads = width / 128."""

PATCH = (1, 2, 2)

Shapes = dict[str, tuple[int, ...]]
Sizes = Mapping[str, int]

BLOCK = re.compile(r"^(?:encoder\.block|blocks)\.(\d+)\.")

OFFICIAL_TEXT_NAMES = (
    (r"^token_embedding\.", "shared."),
    (r"^norm\.", "encoder.final_layer_norm."),
    (r"^blocks\.(\d+)\.norm1\.", r"encoder.block.\1.layer.0.layer_norm."),
    (r"^blocks\.(\d+)\.norm2\.", r"encoder.block.\1.layer.1.layer_norm."),
    (r"^blocks\.(\d+)\.attn\.", r"encoder.block.\1.layer.0.SelfAttention."),
    (
        r"^blocks\.(\d+)\.pos_embedding\.embedding\.",
        r"encoder.block.\1.layer.0.SelfAttention.relative_attention_bias.",
    ),
    (r"^blocks\.(\d+)\.ffn\.gate\.0\.", r"encoder.block.\1.layer.1.DenseReluDense.wi_0."),
    (r"^blocks\.(\d+)\.ffn\.fc1\.", r"encoder.block.\1.layer.1.DenseReluDense.wi_1."),
    (r"^blocks\.(\d+)\.ffn\.fc2\.", r"encoder.block.\1.layer.1.DenseReluDense.wo."),
)
"""The text encoder as the official repository names it → Hugging Face's names."""


def hugging_face_name(name: str) -> str:
    """A weight of the text encoder by the name that transformers gives it."""
    for pattern, replacement in OFFICIAL_TEXT_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def transformer_sizes(shapes: Mapping[str, tuple[int, ...]]) -> Sizes:
    """What decides a transformer's shapes, read off a few of them.

    Raises:
        KeyError, ValueError: These weights are not there, or are not what they are called.
    """
    width, channels, *_ = shapes["patch_embedding.weight"]
    out, _ = shapes["head.head.weight"]
    return {
        "width": width,
        "in_channels": channels,
        "out_channels": out // (PATCH[0] * PATCH[1] * PATCH[2]),
        "ffn": shapes["blocks.0.ffn.0.weight"][0],
        "text": shapes["text_embedding.0.weight"][1],
        "frequencies": shapes["time_embedding.0.weight"][1],
        "layers": _layers(shapes),
    }


def transformer_shapes(sizes: Sizes) -> Shapes:
    """Every weight of a Wan 2.2 transformer of these sizes."""
    width, ffn = sizes["width"], sizes["ffn"]
    shapes: Shapes = {
        "patch_embedding.weight": (width, sizes["in_channels"], *PATCH),
        "patch_embedding.bias": (width,),
        "head.modulation": (1, 2, width),
        **_linear("text_embedding.0", width, sizes["text"]),
        **_linear("text_embedding.2", width, width),
        **_linear("time_embedding.0", width, sizes["frequencies"]),
        **_linear("time_embedding.2", width, width),
        **_linear("time_projection.1", 6 * width, width),
        **_linear("head.head", sizes["out_channels"] * PATCH[0] * PATCH[1] * PATCH[2], width),
    }
    for index in range(sizes["layers"]):
        block = f"blocks.{index}"
        shapes |= {
            f"{block}.modulation": (1, 6, width),
            f"{block}.norm3.weight": (width,),
            f"{block}.norm3.bias": (width,),
            **_linear(f"{block}.ffn.0", ffn, width),
            **_linear(f"{block}.ffn.2", width, ffn),
        }
        for attention in (f"{block}.self_attn", f"{block}.cross_attn"):
            shapes |= {f"{attention}.{norm}.weight": (width,) for norm in ("norm_q", "norm_k")}
            for layer in "qkvo":
                shapes |= _linear(f"{attention}.{layer}", width, width)
    return shapes


def text_sizes(shapes: Mapping[str, tuple[int, ...]]) -> Sizes:
    """What decides a text encoder's shapes, read off a few of them.

    Raises:
        KeyError, ValueError: These weights are not there, or are not what they are called.
    """
    vocabulary, width = shapes["shared.weight"]
    first = "encoder.block.0.layer"
    buckets, heads = shapes[f"{first}.0.SelfAttention.relative_attention_bias.weight"]
    return {
        "vocabulary": vocabulary,
        "width": width,
        "buckets": buckets,
        "heads": heads,
        "inner": shapes[f"{first}.0.SelfAttention.q.weight"][0],
        "ffn": shapes[f"{first}.1.DenseReluDense.wi_0.weight"][0],
        "layers": _layers(shapes),
    }


def text_shapes(sizes: Sizes) -> Shapes:
    """Every weight of a UMT5 encoder of these sizes."""
    width, inner, ffn = sizes["width"], sizes["inner"], sizes["ffn"]
    shapes: Shapes = {
        "shared.weight": (sizes["vocabulary"], width),
        "encoder.final_layer_norm.weight": (width,),
    }
    for index in range(sizes["layers"]):
        attention = f"encoder.block.{index}.layer.0"
        dense = f"encoder.block.{index}.layer.1"
        bias = (sizes["buckets"], sizes["heads"])
        shapes |= {
            f"{attention}.layer_norm.weight": (width,),
            f"{attention}.SelfAttention.relative_attention_bias.weight": bias,
            **{f"{attention}.SelfAttention.{layer}.weight": (inner, width) for layer in "qkv"},
            f"{attention}.SelfAttention.o.weight": (width, inner),
            f"{dense}.layer_norm.weight": (width,),
            f"{dense}.DenseReluDense.wi_0.weight": (ffn, width),
            f"{dense}.DenseReluDense.wi_1.weight": (ffn, width),
            f"{dense}.DenseReluDense.wo.weight": (width, ffn),
        }
    return shapes


def _linear(name: str, outward: int, inward: int) -> Shapes:
    return {f"{name}.weight": (outward, inward), f"{name}.bias": (outward,)}


def _layers(names: Mapping[str, object]) -> int:
    return 1 + max(int(match[1]) for name in names if (match := BLOCK.match(name)))
