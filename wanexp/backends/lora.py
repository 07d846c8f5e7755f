"""LoRAs: read from the formats that people share, checked, worn by an expert and taken off again.

A low-rank pair is added to its layer's output, so the weights stay as they are and taking a LoRA
off gives the former bits back. Files come in three dialects: Wan's own layer names
(``diffusion_model.blocks.0.self_attn.q.lora_down.weight``), diffusers' (``transformer.blocks.0.
attn1.to_q.lora_A.weight``) and kohya's (``lora_unet_blocks_0_self_attn_q.lora_down.weight``).

Shapes: down is (rank, in), up is (out, rank), a layer's weight (out, in).
Source: Hu et al., 2021 (arXiv:2106.09685): W + strength · alpha/rank · up · down.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional

from wanexp.strict import ConfigError

log = logging.getLogger(__name__)

PREFIXES = re.compile(r"^(base_model\.model\.|diffusion_model\.|transformer\.|model\.)+")
KOHYA = re.compile(r"^lora_unet_blocks_(\d+)_(self_attn|cross_attn|ffn)_(\w+)")
WAN_TO_DIFFUSERS = (
    (r"\bself_attn\.", "attn1."),
    (r"\bcross_attn\.", "attn2."),
    (r"\b(attn\d)\.([qkv])$", r"\1.to_\2"),
    (r"\b(attn\d)\.o$", r"\1.to_out.0"),
    (r"\bffn\.0$", "ffn.net.0.proj"),
    (r"\bffn\.2$", "ffn.net.2"),
    (r"\bnorm3$", "norm2"),  # diffusers numbers the norms in the order of their use
    (r"^time_embedding\.0$", "condition_embedder.time_embedder.linear_1"),
    (r"^time_embedding\.2$", "condition_embedder.time_embedder.linear_2"),
    (r"^text_embedding\.0$", "condition_embedder.text_embedder.linear_1"),
    (r"^text_embedding\.2$", "condition_embedder.text_embedder.linear_2"),
    (r"^time_projection\.1$", "condition_embedder.time_proj"),
    (r"^head\.head$", "proj_out"),
)
SUFFIX = re.compile(
    r"\.(?:(?P<down>lora_(?:down|A)(?:\.\w+)?\.weight)|(?P<up>lora_(?:up|B)(?:\.\w+)?\.weight)"
    r"|(?P<alpha>alpha)|(?P<weight>diff)|(?P<bias>diff_b)|(?P<modulation>diff_m))$"
)
LEFT_OUT = re.compile(r"\b(k_img|v_img|norm_k_img|img_emb|add_k_proj|add_v_proj)\b")
"""Layers of Wan 2.1's image branch, which Wan 2.2 does not have; its LoRAs are used on 2.2."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where a file keeps what: keys of the file, by the expert's own names.

    Attributes:
        low_rank: Layer → role (``down``, ``up``, perhaps ``alpha``) → key.
        shifts: Parameter → key of what is added to it.
        left_out: Keys that no Wan 2.2 expert has a place for.
    """

    low_rank: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    shifts: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """A LoRA, read: layer → (down, up) with alpha/rank in up; parameter → what is added."""

    low_rank: Mapping[str, tuple[Tensor, Tensor]]
    shifts: Mapping[str, Tensor]


def layout_of(keys: Iterable[str], where: str) -> Layout:
    """Sort a file's keys by what they mean.

    Raises:
        ConfigError: A key that means nothing here, or half of a low-rank pair.
    """
    low_rank: dict[str, dict[str, str]] = {}
    shifts: dict[str, str] = {}
    left_out: list[str] = []
    for key in keys:
        match = SUFFIX.search(key)
        if match is None or match.lastgroup is None:
            raise ConfigError(f"{where}: cannot make sense of {key!r}; is it a Wan LoRA?")
        layer, role = _layer(key[: match.start()]), match.lastgroup
        if role == "modulation" or LEFT_OUT.search(layer):
            left_out.append(key)
        elif role in ("weight", "bias"):
            shifts[f"{layer}.{role}"] = key
        else:
            low_rank.setdefault(layer, {})[role] = key
    for layer, roles in low_rank.items():
        if not {"down", "up"} <= roles.keys():
            raise ConfigError(f"{where}: {layer} has only {', '.join(roles)} of a low-rank pair")
    return Layout(low_rank=low_rank, shifts=shifts, left_out=tuple(left_out))


def check_adapter(path: Path, shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Refuse a file that does not fit an expert; reads headers only.

    ``shapes`` are those of the expert's parameters by name.

    Raises:
        ConfigError: One sentence with the first layer that does not fit.
    """
    with safe_open(path, framework="pt") as file:
        layout = layout_of(file.keys(), where)
        given = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    wanted = {
        f"{layer}.weight": (given[roles["up"]][0], given[roles["down"]][-1])
        for layer, roles in layout.low_rank.items()
    }
    wanted |= {name: given[key] for name, key in layout.shifts.items()}
    if not wanted:
        raise ConfigError(f"{where}: {path.name} changes nothing in this model")
    for name, shape in wanted.items():
        if shapes.get(name) != shape:
            there = f"is {list(shapes[name])}" if name in shapes else "does not exist"
            raise ConfigError(
                f"{where}: {path.name} does not fit this model: it is for a {name} of"
                f" {list(shape)}, which here {there}"
            )
    if layout.left_out:
        log.warning(
            "%s: %d of %s's weights have no place in this model and are left out, %s first",
            where,
            len(layout.left_out),
            path.name,
            layout.left_out[0],
        )


def changes_whole(path: Path) -> list[str]:
    """The parameters that a LoRA file adds to as a whole, beside its low-rank layers."""
    with safe_open(path, framework="pt") as file:
        return sorted(layout_of(file.keys(), path.name).shifts)


def read_adapter(path: Path) -> Adapter:
    """A LoRA file's tensors, float32 on the CPU."""
    with safe_open(path, framework="pt") as file:
        layout = layout_of(file.keys(), path.name)
        default = _scale_in_metadata(file.metadata() or {})
        pairs = {}
        for layer, roles in layout.low_rank.items():
            down, up = (file.get_tensor(roles[role]).float() for role in ("down", "up"))
            alpha = file.get_tensor(roles["alpha"]).item() if "alpha" in roles else None
            pairs[layer] = (down, up * (default if alpha is None else alpha / down.shape[0]))
        shifts = {name: file.get_tensor(key).float() for name, key in layout.shifts.items()}
    return Adapter(low_rank=pairs, shifts=shifts)


@torch.no_grad()
def wear(expert: nn.Module, adapters: Sequence[tuple[Adapter, float]]) -> Callable[[], None]:
    """Put LoRAs on an expert, each at its strength; returns what takes them off again, to the bit.

    The tensors go to the device and dtype of the outputs they change, when these first come: a
    layer's own weights may be elsewhere until then, or kept as float8.
    """
    undo: list[Callable[[], None]] = []
    pairs: dict[str, list[tuple[Tensor, Tensor]]] = {}
    shifts: dict[str, Tensor] = {}
    for adapter, strength in adapters:
        for layer, (down, up) in adapter.low_rank.items():
            pairs.setdefault(layer, []).append((down, up * strength))
        for name, shift in adapter.shifts.items():
            shifts[name] = shifts.get(name, torch.zeros(())) + shift * strength
    for layer, several in pairs.items():
        undo.append(_add_low_rank(expert.get_submodule(layer), several))
    for name, shift in shifts.items():
        undo.append(_replace(expert, name, shift))

    def take_off() -> None:
        for step in undo:
            step()

    return take_off


def _add_low_rank(layer: nn.Module, pairs: Sequence[tuple[Tensor, Tensor]]) -> Callable[[], None]:
    down = torch.cat([down for down, _ in pairs])
    up = torch.cat([up for _, up in pairs], dim=1)

    def add(_: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        nonlocal down, up
        down, up = down.to(output), up.to(output)  # a move the first time, nothing after
        return output + functional.linear(functional.linear(given[0], down), up)

    return layer.register_forward_hook(add).remove


def _replace(expert: nn.Module, name: str, shift: Tensor) -> Callable[[], None]:
    """Swap a parameter for its sum with ``shift``; the original is kept, not computed back."""
    holder, _, leaf = name.rpartition(".")
    module, original = expert.get_submodule(holder), expert.get_parameter(name)
    changed = (original.float() + shift.to(original.device)).to(original.dtype)
    setattr(module, leaf, nn.Parameter(changed, requires_grad=False))
    return lambda: setattr(module, leaf, original)


def _layer(name: str) -> str:
    """A layer by the expert's own name, whatever the dialect."""
    name = KOHYA.sub(r"blocks.\1.\2.\3", PREFIXES.sub("", name))
    for pattern, replacement in WAN_TO_DIFFUSERS:
        name = re.sub(pattern, replacement, name)
    return name


def _scale_in_metadata(metadata: Mapping[str, str]) -> float:
    """alpha/rank where diffusers wrote it beside the tensors, else 1."""
    adapter = json.loads(metadata.get("lora_adapter_metadata", "{}"))
    alpha, rank = adapter.get("transformer.lora_alpha"), adapter.get("transformer.r")
    return alpha / rank if alpha and rank else 1.0
