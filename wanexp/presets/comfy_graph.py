"""Workflow files of ComfyUI → nodes: its API format, and the format that its page saves.

The page's format keeps a node's settings as a list in the order of its widgets, its links in a
table, and has nodes that are bypassed or muted, reroutes, primitives and subgraphs; here all of
them become the plain nodes and links that would run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from wanexp.presets.comfy_nodes import Graph, Link, Node
from wanexp.strict import ConfigError

MUTED, BYPASSED = 2, 4
"""A node's ``mode``; every other one runs."""

REROUTE, PRIMITIVE = "Reroute", "PrimitiveNode"
SUBGRAPH_INPUT, SUBGRAPH_OUTPUT = -10, -20
"""The ids by which links inside a subgraph mean its own inputs and outputs."""

CONTROL = "control_after_generate"
"""A widget of the page alone, beside every seed."""

WIDGETS: dict[str, tuple[str, ...]] = {
    "KSampler": ("seed", CONTROL, "steps", "cfg", "sampler_name", "scheduler", "denoise"),
    "KSamplerAdvanced": (
        "add_noise",
        "noise_seed",
        CONTROL,
        "steps",
        "cfg",
        "sampler_name",
        "scheduler",
        "start_at_step",
        "end_at_step",
        "return_with_leftover_noise",
    ),
    "SamplerCustom": ("add_noise", "noise_seed", CONTROL, "cfg"),
    "CFGGuider": ("cfg",),
    "RandomNoise": ("noise_seed", CONTROL),
    "KSamplerSelect": ("sampler_name",),
    "BasicScheduler": ("scheduler", "steps", "denoise"),
    "KarrasScheduler": ("steps", "sigma_max", "sigma_min", "rho"),
    "ExponentialScheduler": ("steps", "sigma_max", "sigma_min"),
    "SamplingPercentToSigma": ("sampling_percent", "return_actual_sigma"),
    "SplitSigmas": ("step",),
    "SetFirstSigma": ("sigma",),
    "ManualSigmas": ("sigmas",),
    "ModelSamplingSD3": ("shift",),
    "LoraLoaderModelOnly": ("lora_name", "strength_model"),
    "LoraLoader": ("lora_name", "strength_model", "strength_clip"),
    "UNETLoader": ("unet_name", "weight_dtype"),
    "UnetLoaderGGUF": ("unet_name",),
    "CLIPTextEncode": ("text",),
    "LoadImage": ("image", "upload"),
    "WanImageToVideo": ("width", "height", "length", "batch_size"),
    "Wan22ImageToVideoLatent": ("width", "height", "length", "batch_size"),
    "EmptyHunyuanLatentVideo": ("width", "height", "length", "batch_size"),
    "CreateVideo": ("fps",),
    "PrimitiveInt": ("value", CONTROL),
    "PrimitiveFloat": ("value",),
    "PrimitiveString": ("value",),
    "PrimitiveStringMultiline": ("value",),
    PRIMITIVE: ("value", CONTROL),
}
"""The settings of the nodes that are read here, in the order of their widgets."""


def read_graph(text: str, where: str) -> Graph:
    """The nodes that a workflow file would run.

    Raises:
        ConfigError: It is no workflow; ``where`` names it.
    """
    try:
        tree = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{where}: not JSON ({error})") from None
    if isinstance(tree, dict) and isinstance(tree.get("prompt"), dict):
        tree = tree["prompt"]
    if isinstance(tree, dict) and isinstance(tree.get("nodes"), list):
        return _page_graph(tree, where)
    if not isinstance(tree, dict) or not tree or not all(map(_is_api_node, tree.values())):
        raise ConfigError(f"{where}: not a ComfyUI workflow, neither as saved nor in API format")
    return {
        str(name): Node(
            type=node["class_type"],
            inputs={key: _value(value) for key, value in node["inputs"].items()},
            title=str((node.get("_meta") or {}).get("title", "")),
        )
        for name, node in tree.items()
    }


def _is_api_node(node: object) -> bool:
    return (
        isinstance(node, Mapping)
        and isinstance(node.get("class_type"), str)
        and isinstance(node.get("inputs"), Mapping)
    )


def _value(value: object) -> object:
    """A plain value, or a link."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[1], int):
        return str(value[0]), value[1]
    return value


@dataclass(frozen=True, kw_only=True)
class _PageNode:
    """A node as the page saves it; ``links`` are its inputs' sources by name."""

    type: str
    title: str
    mode: int
    widgets: object
    links: Mapping[str, Link]
    slots: Sequence[tuple[str, str]]
    """Its inputs, name and type, in order."""
    outputs: Sequence[str]
    """Types."""


@dataclass(kw_only=True)
class _Page:
    """All nodes of a saved workflow, those of subgraphs under ``OUTER:INNER``."""

    where: str
    definitions: Mapping[str, Mapping[str, object]]
    nodes: dict[str, _PageNode] = field(default_factory=dict)
    outlets: dict[Link, Link] = field(default_factory=dict)
    """An output of a subgraph's node → what gives it inside."""


def _page_graph(tree: Mapping[str, object], where: str) -> Graph:
    inner = _mapping(tree.get("definitions")).get("subgraphs")
    definitions = {str(one["id"]): one for one in _mappings(inner)}
    page = _Page(where=where, definitions=definitions)
    try:
        _collect(page, tree, "", {})
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ConfigError(
            f"{where}: damaged, its nodes or links cannot be read ({error})"
        ) from None
    graph: Graph = {}
    for name, node in page.nodes.items():
        if node.mode in (MUTED, BYPASSED) or node.type in (REROUTE, PRIMITIVE):
            continue
        found = {key: _source(page, link) for key, link in node.links.items()}
        linked = {key: value for key, value in found.items() if value is not None}
        graph[name] = Node(type=node.type, inputs=_settings(node) | linked, title=node.title)
    return graph


def _collect(
    page: _Page, tree: Mapping[str, object], prefix: str, inlets: Mapping[int, Link]
) -> None:
    """Add the nodes of a workflow, or of a subgraph whose inputs ``inlets`` feed."""
    sources = {number: (origin, slot) for number, origin, slot in _links(tree.get("links"))}

    def source(number: object) -> Link | None:
        if number is None or int(str(number)) not in sources:
            return None
        origin, slot = sources[int(str(number))]
        return inlets.get(slot) if origin == SUBGRAPH_INPUT else (f"{prefix}{origin}", slot)

    for raw in _mappings(tree.get("nodes")):
        name, slots = f"{prefix}{raw['id']}", _mappings(raw.get("inputs"))
        found = {str(slot["name"]): source(slot.get("link")) for slot in slots}
        node = _PageNode(
            type=str(raw["type"]),
            title=str(raw.get("title") or ""),
            mode=int(str(raw.get("mode") or 0)),
            widgets=raw.get("widgets_values"),
            links={key: link for key, link in found.items() if link is not None},
            slots=[(str(slot["name"]), str(slot.get("type"))) for slot in slots],
            outputs=[str(slot.get("type")) for slot in _mappings(raw.get("outputs"))],
        )
        if node.type not in page.definitions or node.mode in (MUTED, BYPASSED):
            page.nodes[name] = node
            continue
        inside = page.definitions[node.type]
        fed = {i: node.links[key] for i, (key, _) in enumerate(node.slots) if key in node.links}
        _collect(page, inside, f"{name}:", _promoted(page, name, raw) | fed)
        for number, slot, link in _outlets(inside):
            page.outlets[(name, slot)] = (f"{name}:{number}", link)


def _promoted(page: _Page, name: str, raw: Mapping[str, object]) -> dict[int, Link]:
    """A subgraph's own widgets, which stand for settings inside: as primitives that feed them."""
    slots = _mappings(raw.get("inputs"))
    widgets = [number for number, slot in enumerate(slots) if slot.get("widget")]
    values = raw.get("widgets_values")
    fed: dict[int, Link] = {}
    for number, value in zip(widgets, values if isinstance(values, list) else [], strict=False):
        inlet = f"{name}<{number}"
        page.nodes[inlet] = _PageNode(
            type=PRIMITIVE, title="", mode=0, widgets=[value], links={}, slots=(), outputs=()
        )
        fed[number] = inlet, 0
    return fed


def _outlets(inside: Mapping[str, object]) -> Iterable[tuple[int, int, int]]:
    """(node, output of the subgraph, output of the node) of what leaves a subgraph."""
    for link in _mappings(inside.get("links")):
        if link["target_id"] == SUBGRAPH_OUTPUT:
            yield (
                int(str(link["origin_id"])),
                int(str(link["target_slot"])),
                int(str(link["origin_slot"])),
            )


def _links(links: object) -> Iterable[tuple[int, int, int]]:
    """(number, node, output) of every link: lists outside, mappings in subgraphs."""
    for link in links if isinstance(links, list) else []:
        if isinstance(link, Mapping):
            yield int(link["id"]), int(link["origin_id"]), int(link["origin_slot"])
        else:
            yield int(link[0]), int(link[1]), int(link[2])


def _source(page: _Page, link: Link) -> object:
    """The node that really feeds a link, or a primitive's value; None where nothing does."""
    for _ in range(len(page.nodes) + len(page.outlets) + 1):  # a loop of reroutes has no source
        if link in page.outlets:
            link = page.outlets[link]
            continue
        node = page.nodes.get(link[0])
        if node is None:
            return None
        if node.type == PRIMITIVE:
            return _settings(node).get("value")
        if node.type != REROUTE and node.mode != BYPASSED:
            return link
        through = _through(node, link[1])
        if through is None:
            return None
        link = through
    raise ConfigError(f"{page.where}: node {link[0]} feeds itself")


def _through(node: _PageNode, output: int) -> Link | None:
    """What a bypassed node or a reroute lets through: its first input of the output's type."""
    if node.type == REROUTE:
        return next(iter(node.links.values()), None)
    kind = node.outputs[output] if output < len(node.outputs) else ""
    names = [name for name, type_ in node.slots if type_ == kind and name in node.links]
    return node.links[names[0]] if names else None


def _settings(node: _PageNode) -> dict[str, object]:
    """A node's widgets by name; of a node that is not known here only what the file names."""
    if isinstance(node.widgets, Mapping):
        return dict(node.widgets)
    names = WIDGETS.get(node.type, ())
    values = node.widgets if isinstance(node.widgets, list) else []
    if len(values) < len(names):  # a file without the page's own widgets
        names = tuple(name for name in names if name != CONTROL)
    return {key: v for key, v in zip(names, values, strict=False) if key != CONTROL}


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: object) -> list[Mapping[str, object]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
