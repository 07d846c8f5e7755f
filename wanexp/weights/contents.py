"""What a single safetensors file holds: an expert, a VAE or a text encoder, whole or not.

Weights come as they are (float32, bfloat16, float16), as bare float8, or as float8 with one
scale for each tensor: weight = float8 · scale. ComfyUI writes the scale as ``LAYER.scale_weight``
(with a marker ``scaled_fp8``) or, newer, as ``LAYER.weight_scale`` (with ``LAYER.comfy_quant``).
Source: ComfyUI's QUANTIZATION.md.
"""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from wanexp.strict import ConfigError
from wanexp.weights.header import Entry, Header, read_header, tensor_bytes
from wanexp.weights.layouts import (
    Shapes,
    Sizes,
    hugging_face_name,
    text_shapes,
    text_sizes,
    transformer_shapes,
    transformer_sizes,
)

Kind = Literal["expert", "vae", "text_encoder"]

PREFIX = re.compile(r"^(model\.)?diffusion_model\.")
SCALE = re.compile(r"^(?P<layer>.+)\.(scale_weight|weight_scale)$")
BESIDE = re.compile(r"(^|\.)(scaled_fp8|scale_input|input_scale|comfy_quant)$")
"""Markers, and the scales of activations, which only a float8 matrix product needs."""
OTHER_SCALES = re.compile(r"\.(weight_scale_2|pre_quant_scale|absmax|quant_map)$")
LORA = re.compile(r"(^lora_|\.lora_(up|down|A|B)\b|\.alpha$)")

PRECISIONS = {
    "F32": "fp32",
    "BF16": "bf16",
    "F16": "fp16",
    "F8_E4M3": "fp8_e4m3fn",
    "F8_E5M2": "fp8_e5m2",
}
"""Types that weights may have here, and what people call them."""

FLOAT8_FORMATS = ("float8_e4m3fn", "float8_e5m2")

TOKENIZER = "spiece_model"
"""The tensor of bytes in which ComfyUI keeps a text encoder's sentencepiece model."""

FOREIGN = (
    (r"^img_emb\.|\.k_img\.", "an image-to-video model of Wan 2.1, which wanexp has no row for"),
    (r"^vace_", "a VACE model, which wanexp has no row for"),
    (r"^(face_adapter|motion_encoder|pose_patch)", "Wan Animate, which wanexp has no row for"),
    (r"^(casual_audio|audio_injector|cond_encoder)", "Wan S2V, which wanexp has no row for"),
    (r"^(ref_conv|control_adapter)", "a Fun control model, which wanexp has no row for"),
)
"""What weights beyond Wan 2.2's own mean."""


@dataclass(frozen=True, kw_only=True)
class Weight:
    """One weight: its key in the file, and that of its scale where it has one."""

    key: str
    shape: tuple[int, ...]
    dtype: str
    scale: str | None = None


@dataclass(frozen=True, kw_only=True)
class Contents:
    """A file's part of a model.

    Attributes:
        weights: By Wan's own names (a text encoder's by Hugging Face's).
        sizes: See ``wanexp.weights.layouts``; a VAE has ``latent_channels``, ``pixels`` (channels
            that it takes), ``width`` and ``decoder_width``.
        tokenizer: Key of the sentencepiece model that a text encoder's file may carry.
        precision: In people's words: ``fp8_e4m3fn scaled``.
        bytes: Of the weights.
    """

    kind: Kind
    weights: Mapping[str, Weight]
    sizes: Sizes = field(default_factory=dict)
    tokenizer: str | None = None
    precision: str
    bytes: int


def contents_of(path: Path, where: str) -> Contents:
    """What a file holds, by its header; ``where`` is the setting that names it.

    Raises:
        ConfigError: One sentence: not safetensors, cut off, no part of a Wan model, or a part in
            a form that is not read here.
    """
    read_header(path, where)
    stat = path.stat()
    try:
        return _contents(path, stat.st_size, stat.st_mtime_ns)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


@functools.lru_cache(maxsize=64)
def _contents(path: Path, _size: int, _changed: int) -> Contents:
    """Looked at again only where size or time of change is another."""
    at, header = path.name, read_header(path, path.name)
    tensors = {PREFIX.sub("", key): (key, entry) for key, entry in header.tensors.items()}
    kind = _kind(tensors, at)
    _check_formats(path, header, at)
    tokenizer = tensors.pop(TOKENIZER, (None, None))[0] if kind == "text_encoder" else None
    weights = _weights(tensors, at)
    if kind == "text_encoder":
        weights = {hugging_face_name(name): weight for name, weight in weights.items()}
        weights.pop("encoder.embed_tokens.weight", None)  # a copy of shared.weight
    return Contents(
        kind=kind,
        weights=weights,
        sizes=_sizes(kind, weights, at),
        tokenizer=tokenizer,
        precision=_precision(header, weights),
        bytes=sum(header.tensors[weight.key].bytes for weight in weights.values()),
    )


def _kind(names: Mapping[str, object], at: str) -> Kind:
    if "patch_embedding.weight" in names and "blocks.0.self_attn.q.weight" in names:
        return "expert"
    if {"encoder.conv1.weight", "decoder.conv1.weight", "conv2.weight"} <= names.keys():
        return "vae"
    if {"encoder.final_layer_norm.weight", "shared.weight"} <= names.keys() or {
        "token_embedding.weight",
        "blocks.0.attn.q.weight",
    } <= names.keys():
        return "text_encoder"
    if any(LORA.search(name) for name in names):
        raise ConfigError(
            f"{at} is a LoRA; it goes to a stage: recipe.stages.NAME.loras={{FILE: STRENGTH}}"
        )
    if any(name.startswith(("condition_embedder.", "encoder.conv_in.")) for name in names):
        raise ConfigError(
            f"{at} has diffusers' names for its weights; give the folder that it comes from as"
            " model.source"
        )
    raise ConfigError(
        f"{at} is no part of a Wan model (its first tensor is {next(iter(names), 'missing')!r})"
    )


def _weights(tensors: Mapping[str, tuple[str, Entry]], at: str) -> dict[str, Weight]:
    """The weights, each with its scale; what only describes them left out."""
    other = next((name for name in tensors if OTHER_SCALES.search(name)), None)
    if other is not None:
        raise ConfigError(
            f"{at} is quantised in a way that wanexp does not read ({other!r}); take the fp16 file,"
            " or the fp8 one with one scale for each tensor"
        )
    scales = {match["layer"]: name for name in tensors if (match := SCALE.match(name))}
    weights = {}
    for name, (key, entry) in tensors.items():
        if SCALE.match(name) or BESIDE.search(name):
            continue
        if entry.dtype not in PRECISIONS:
            raise ConfigError(
                f"{at} holds {name} as {entry.dtype}, which wanexp does not read; take the fp16 or"
                " fp8 file"
            )
        scale = scales.pop(name.removesuffix(".weight"), None) if name.endswith("weight") else None
        if scale is not None and _count(tensors[scale][1].shape) != 1:
            raise ConfigError(
                f"{at}: {scale} has the shape {list(tensors[scale][1].shape)}; only one scale for"
                " each tensor is read here"
            )
        weights[name] = Weight(
            key=key,
            shape=entry.shape,
            dtype=entry.dtype,
            scale=tensors[scale][0] if scale is not None else None,
        )
    if scales:
        raise ConfigError(f"{at} has a scale for {next(iter(scales))}, which is not in it")
    return weights


def _check_formats(path: Path, header: Header, at: str) -> None:
    """Refuse layers that say of themselves that they are quantised in another way than float8."""
    stated = header.metadata.get("_quantization_metadata")
    layers = json.loads(stated).get("layers", {}) if stated else {}
    formats = {str(layer.get("format")) for layer in layers.values()}
    for key, entry in header.tensors.items():
        if key.endswith(".comfy_quant"):
            formats.add(str(json.loads(tensor_bytes(path, entry)).get("format")))
    unread = sorted(formats.difference(FLOAT8_FORMATS))
    if unread:
        raise ConfigError(
            f"{at} is quantised as {', '.join(unread)}, which wanexp does not read; take the fp16"
            " or fp8 file"
        )


def _sizes(kind: Kind, weights: Mapping[str, Weight], at: str) -> Sizes:
    shapes = {name: weight.shape for name, weight in weights.items()}
    if kind == "vae":
        return {
            "latent_channels": shapes["conv2.weight"][0],
            "pixels": shapes["encoder.conv1.weight"][1],
            "width": shapes["encoder.conv1.weight"][0],
            "decoder_width": shapes["decoder.conv1.weight"][0],
        }
    for pattern, model in FOREIGN:
        if any(re.search(pattern, name) for name in shapes):
            raise ConfigError(f"{at} is {model}")
    if kind == "text_encoder" and not _is_umt5(shapes):
        raise ConfigError(
            f"{at} is a T5 text encoder; Wan's is UMT5-XXL (umt5_xxl_…), which other models' is not"
        )
    read, expected = READERS[kind]
    try:
        sizes = read(shapes)
    except (KeyError, ValueError, IndexError) as error:
        raise ConfigError(f"{at} lacks weights of a whole {_WORDS[kind]} ({error})") from None
    _check_whole(shapes, expected(sizes), at, _WORDS[kind])
    return sizes


READERS: dict[str, tuple[Callable[[Mapping[str, tuple[int, ...]]], Sizes], Callable[..., Shapes]]]
READERS = {
    "expert": (transformer_sizes, transformer_shapes),
    "text_encoder": (text_sizes, text_shapes),
}
_WORDS = {"expert": "Wan transformer", "text_encoder": "UMT5 encoder"}


def _is_umt5(names: Iterable[str]) -> bool:
    """UMT5 has a position bias in every block, T5 in the first alone."""
    layers = {n.split(".")[2] for n in names if n.startswith("encoder.block.")}
    biases = {n.split(".")[2] for n in names if "relative_attention_bias" in n}
    return layers == biases


def _check_whole(given: Mapping[str, tuple[int, ...]], wanted: Shapes, at: str, what: str) -> None:
    missing = [name for name in wanted if name not in given]
    extra = [name for name in given if name not in wanted]
    if missing:
        raise ConfigError(f"{at} lacks {len(missing)} weights of a {what}, {missing[0]} first")
    if extra:
        raise ConfigError(
            f"{at} has {len(extra)} weights that a {what} of Wan 2.2 has not, {extra[0]} first"
        )
    for name, shape in wanted.items():
        if given[name] != shape:
            raise ConfigError(
                f"{at}: {name} is {list(given[name])}, where a {what} of its sizes has"
                f" {list(shape)}"
            )


def _precision(header: Header, weights: Mapping[str, Weight]) -> str:
    """The type that most of the bytes have, and whether they are scaled."""
    held: Counter[str] = Counter()
    for weight in weights.values():
        held[weight.dtype] += header.tensors[weight.key].bytes
    scaled = " scaled" if any(weight.scale for weight in weights.values()) else ""
    return PRECISIONS[held.most_common(1)[0][0]] + scaled


def _count(shape: tuple[int, ...]) -> int:
    number = 1
    for size in shape:
        number *= size
    return number
