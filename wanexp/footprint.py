"""What a trial takes of a GPU's memory, phase by phase, before anything loads.

Weights are counted from the model's shapes; what is in flight beside them follows from the size of
the video by a few coefficients that were measured on one NVIDIA H200 (``wanexp bench memory``
measures them again and sets both side by side; docs/memory.md has the table). Bytes throughout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from wanexp.config import Recipe
from wanexp.memory import Memory
from wanexp.models import Model

GIB = 2**30
TILE = 256
"""Side of the VAE's tiles in pixels (diffusers' own value)."""

WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Parameters of a model's parts, and bytes in flight beside them.

    Attributes:
        expert: Of one expert; ``linear`` of them are in its blocks' linear layers, which float8
            halves, ``single`` stay float32.
        blocks: How many it has; ``block`` is one's, ``layer`` its largest layer's.
        text, vae: Of the text encoder and the VAE.
        per_token: Bytes in flight during a model call in bfloat16, for each token.
        decode: Bytes in flight while the VAE decodes in float32, for each pixel of a frame.
        encode: The same while it encodes.
    """

    expert: int
    linear: int
    single: int
    blocks: int
    block: int
    layer: int
    text: int
    vae: int
    per_token: float
    decode: float
    encode: float


_I2V_A14B = Parts(
    expert=14_288_901_184,
    linear=14_050_918_400,
    single=29_184_000,
    blocks=40,
    block=351_394_304,
    layer=13_824 * 5_120,
    text=5_680_910_336,
    vae=126_892_531,
    per_token=115.4e3,
    decode=22.55e3,
    encode=21.37e3,
)

PARTS: Mapping[str, Parts] = {
    "wan22_i2v_a14b": _I2V_A14B,
    # Without the source's 20 channels; what is in flight is the same.
    "wan22_t2v_a14b": replace(_I2V_A14B, expert=14_288_491_584),
    "wan22_ti2v_5b": Parts(
        expert=4_999_787_712,
        linear=4_907_335_680,
        single=10_973_184,
        blocks=30,
        block=163_656_704,
        layer=14_336 * 3_072,
        text=5_680_910_336,
        vae=704_688_668,
        per_token=201.5e3,
        decode=23.5e3,
        encode=10.5e3,
    ),
}

WORKSPACE = int(0.05 * GIB)
"""What PyTorch's libraries take for themselves during a phase."""

ROUNDING = 1.003
"""Of weights: PyTorch leaves up to 1 MiB unused behind a large tensor."""

TEXT_WORK = int(0.25 * GIB)
"""In flight while the text encoder reads a prompt."""

COMPILED = 0.56
"""The share of ``per_token`` that compiled blocks need."""

CASTS = 3
"""Of the largest layer's weights in bfloat16: float8 ones are cast a little ahead of their use."""

VIDEO, TILED_VIDEO, STITCHED = 13.3, 20.0, 57.0
"""Bytes in flight for each pixel of the whole video in float32: beside the VAE's work on whole
frames, beside its work on a tile (tiles overlap), and when the tiles are put together."""


def footprint(recipe: Recipe, memory: Memory) -> dict[str, int]:
    """Phase → bytes at its peak, in a study of several cases.

    ``text`` and ``source`` are a case's encoding (no source where the model takes none),
    ``sampling`` the model calls of any stage, ``hand_over`` the change from one expert to the
    other, ``decode`` the VAE's.
    """
    parts = PARTS[recipe.model.name]
    weights = _weights(recipe.model, parts, memory)
    beside = {
        name: int(ROUNDING * _resident(name, weights, memory)) + WORKSPACE
        for name in ("text", "vae", "expert")
    }
    sampling = beside["expert"] + _call_work(parts, recipe, memory)
    encode = beside["vae"] + _encode_work(parts, recipe, memory)
    return {
        "text": beside["text"] + TEXT_WORK,
        **({"source": encode} if recipe.model.takes_image else {}),
        "sampling": sampling,
        "hand_over": sampling,
        "decode": beside["vae"] + _decode_work(parts, recipe, memory),
    }


def advice(recipe: Recipe, memory: Memory) -> str | None:
    """What to change where a phase does not fit into ``memory.limit_gib``; None where all do."""
    if memory.limit_gib is None or recipe.model.name not in PARTS:
        return None
    limit = memory.limit_gib * GIB
    over = {phase: size for phase, size in footprint(recipe, memory).items() if size > limit}
    if not over:
        return None
    phase = max(over, key=lambda name: over[name])
    remedies = []
    if phase in ("source", "decode") and not memory.vae_tiling:
        remedies.append("memory.vae_tiling=true")
    if phase in ("source", "decode") and memory.vae_dtype == "float32":
        remedies.append("memory.vae_dtype=bfloat16")
    if memory.offload != "group":
        remedies.append("memory.offload=" + ("model" if memory.offload == "none" else "group"))
    remedies.append("a smaller recipe.width, recipe.height or recipe.frames")
    return (
        f"{phase} needs {over[phase] / GIB:.1f} GiB, more than the {memory.limit_gib:g} of"
        f" memory.limit_gib; try {', or '.join(remedies)}"
    )


def _tokens(recipe: Recipe) -> int:
    model = recipe.model
    frames = (recipe.frames - 1) // model.frame_stride + 1
    cell = 2 * model.vae_stride
    return frames * (recipe.height // cell) * (recipe.width // cell)


def _weights(model: Model, parts: Parts, memory: Memory) -> dict[str, int]:
    """Part → bytes of its weights; ``expert`` is all of the experts that stay together."""
    width = WIDTHS[_dtype(memory.dtype)]
    large = 1 if memory.weights != "dtype" else width
    expert = (
        parts.linear * large
        + (parts.expert - parts.linear - parts.single) * width
        + parts.single * 4
    )
    return {
        "text": parts.text * width,
        "vae": parts.vae * WIDTHS[_dtype(memory.vae_dtype)],
        "expert": expert,
        "experts": expert * len(model.experts),
        "block": parts.block * large,
        "rest": (parts.expert - parts.blocks * parts.block) * width + parts.single * (4 - width),
    }


def _dtype(name: str) -> str:
    return "bfloat16" if name == "auto" else name


def _resident(part: str, weights: Mapping[str, int], memory: Memory) -> int:
    """Bytes of all weights on the device while ``part`` is at work."""
    if memory.offload == "none":
        own = weights["text"] if part == "text" else 0
        return weights["experts"] + weights["vae"] + own
    if memory.offload == "group" and part == "expert":
        return 2 * weights["block"] + weights["rest"]
    return weights[part]


def _call_work(parts: Parts, recipe: Recipe, memory: Memory) -> int:
    """In flight during a model call, of two latents where both prompts go together."""
    per_token = parts.per_token * (COMPILED if memory.compile else 1)
    if memory.puts_prompts_together(_tokens(recipe), on_card=True) and _guided(recipe):
        per_token *= 2
    casts = 0 if memory.weights == "dtype" else CASTS * parts.layer * 2
    return int(per_token * _tokens(recipe)) + casts


def _guided(recipe: Recipe) -> bool:
    """Whether any stage may ask for the negative prompt, too."""
    return any(stage.cfg != 1 for stage in recipe.stages)


def _encode_work(parts: Parts, recipe: Recipe, memory: Memory) -> int:
    """In flight while the source is encoded: alone, or as the first frame of a grey video."""
    frames = 1 if recipe.model.condition == "first_frame" else recipe.frames
    video = VIDEO * recipe.width * recipe.height * frames
    return _in_vae(parts.encode * _working(recipe, memory) + video, memory)


def _decode_work(parts: Parts, recipe: Recipe, memory: Memory) -> int:
    """In flight while a latent is decoded."""
    pixels = recipe.width * recipe.height * recipe.frames
    frame = parts.decode * _working(recipe, memory)
    if not memory.vae_tiling:
        return _in_vae(frame + VIDEO * pixels, memory)
    return _in_vae(max(frame + TILED_VIDEO * pixels, STITCHED * pixels), memory)


def _working(recipe: Recipe, memory: Memory) -> int:
    """Pixels of a frame that the VAE works on at once."""
    pixels = recipe.width * recipe.height
    return min(pixels, TILE * TILE) if memory.vae_tiling else pixels


def _in_vae(bytes_in_float32: float, memory: Memory) -> int:
    return int(bytes_in_float32 * WIDTHS[_dtype(memory.vae_dtype)] / 4)
