"""ComfyUI workflows as data: nodes, links, and what wanexp knows of each node. No ComfyUI here.

A workflow in API format maps a node's id to ``class_type`` and ``inputs``; an input is a plain
value, or a link ``[id, index]`` to another node's output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from wanexp.models import Model
from wanexp.names import lookup
from wanexp.strict import ConfigError
from wanexp.weights.files import comfy_name

Link = tuple[str, int]
"""A node's id, and which of its outputs."""

FIRST_VERSION = (0, 3, 46)
"""Of ComfyUI: the first that loads Wan 2.2 and has every node used here but those in LATER."""

LATER: dict[str, tuple[int, int, int]] = {"ManualSigmas": (0, 7, 0)}
"""Nodes that came after it."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One node; ``title`` is what its header says, empty where it has none of its own."""

    type: str
    inputs: Mapping[str, object] = field(default_factory=dict)
    title: str = ""


Graph = dict[str, Node]


@dataclass(kw_only=True)
class GraphBuilder:
    """A workflow that grows; a node that is there already is used again."""

    nodes: Graph = field(default_factory=dict)

    def add(self, kind: str, inputs: Mapping[str, object], title: str = "") -> str:
        """The id of a node with these inputs."""
        node = Node(type=kind, inputs=inputs, title=title)
        for name, known in self.nodes.items():
            if known == node:
                return name
        name = str(len(self.nodes) + 1)
        self.nodes[name] = node
        return name


@dataclass(frozen=True, kw_only=True)
class Files:
    """Names of files in ComfyUI's model folders, as its official templates call them.

    Attributes:
        experts: From the highest noise to the lowest.
        image: In ComfyUI's ``input`` folder.
    """

    experts: tuple[str, ...]
    clip: str = "umt5_xxl_fp8_e4m3fn_scaled.safetensors"
    vae: str
    image: str = "source.png"


FILES: dict[str, Files] = {
    "wan22_i2v_a14b": Files(
        experts=(
            "wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors",
            "wan2.2_i2v_low_noise_14B_fp8_scaled.safetensors",
        ),
        vae="wan_2.1_vae.safetensors",
    ),
    "wan22_t2v_a14b": Files(
        experts=(
            "wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors",
            "wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors",
        ),
        vae="wan_2.1_vae.safetensors",
    ),
    "wan22_ti2v_5b": Files(
        experts=("wan2.2_ti2v_5B_fp16.safetensors",), vae="wan2.2_vae.safetensors"
    ),
}
"""The models that ComfyUI can load, and what their files are called there."""


def files_for(model: Model, given: Mapping[str, str]) -> Files:
    """The model's files, those in ``given`` (by expert, ``clip``, ``vae``, ``image``) replaced.

    Raises:
        ConfigError: ComfyUI has no such model, or ``given`` names no file of it.
    """
    if model.name not in FILES:
        raise ConfigError(
            f"comfyui: ComfyUI cannot load {model.name}, whose parts are of wanexp's own sizes;"
            " give --model wan22_i2v_a14b to export the same stages for the large model, or --to"
            " diffusers"
        )
    official = FILES[model.name]
    names = dict.fromkeys((*model.experts, "clip", "vae", "image"))
    for key in given:
        try:
            lookup("file", names, key)
        except KeyError as error:
            raise ConfigError(f"--file: {error.args[0]}") from None
    experts = zip(model.experts, official.experts, strict=True)
    return Files(
        experts=tuple(given.get(expert, name) for expert, name in experts),
        clip=given.get("clip", official.clip),
        vae=given.get("vae", official.vae),
        image=given.get("image", official.image),
    )


def own_names(files: Mapping[str, str]) -> dict[str, str]:
    """What ComfyUI calls the single files of a recipe, by ``files_for``'s keys."""
    keys = {part: part.removeprefix("experts.") for part in files if part != "tokenizer"}
    keys |= {"text_encoder": "clip"} if "text_encoder" in files else {}
    return {key: comfy_name(files[part], part) for part, key in keys.items()}


def minimum_version(graph: Graph) -> str:
    """The first version of ComfyUI that has every node of a workflow."""
    needed = max([FIRST_VERSION, *(LATER[n.type] for n in graph.values() if n.type in LATER)])
    return ".".join(map(str, needed))


def api_tree(graph: Graph) -> dict[str, object]:
    """The workflow as ComfyUI's ``/prompt`` takes it."""
    return {
        name: {
            "class_type": node.type,
            "inputs": {key: _plain(value) for key, value in node.inputs.items()},
            "_meta": {"title": node.title or node.type},
        }
        for name, node in graph.items()
    }


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
