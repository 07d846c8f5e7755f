"""Workflows that people have: saved by ComfyUI's page, with its detours, and chained by hand."""

from __future__ import annotations

import json

import pytest

from wanexp.plan import make_plan
from wanexp.presets.comfy_chain import read_chain
from wanexp.presets.comfy_graph import BYPASSED, MUTED, read_graph
from wanexp.presets.comfy_import import Imported, import_chain, imported_recipe
from wanexp.strict import ConfigError

Page = dict[str, object]
HIGH, LOW = "wan2.2_i2v_high_noise_14B.safetensors", "wan2.2_i2v_low_noise_14B.safetensors"


def page() -> Page:
    """Two experts on one schedule, as the page saves them: a reroute, a primitive, a note."""
    return {
        "nodes": [
            node(1, "UNETLoader", [HIGH, "default"], out=["MODEL"]),
            node(2, "UNETLoader", [LOW, "default"], out=["MODEL"]),
            node(3, "LoraLoaderModelOnly", ["a.safetensors", 0.5], {"model": 1}, ["MODEL"]),
            node(4, "ModelSamplingSD3", [5.000000000000001], {"model": 2}, ["MODEL"]),
            node(5, "ModelSamplingSD3", [5], {"model": 3}, ["MODEL"]),
            node(6, "CLIPTextEncode", ["a cup \\(blue\\)"], {}, ["CONDITIONING"]),
            node(7, "CLIPTextEncode", ["blurred"], {}, ["CONDITIONING"]),
            node(8, "LoadImage", ["cat.png", "image"], {}, ["IMAGE", "MASK"]),
            node(
                9,
                "WanImageToVideo",
                [640, 640, 81, 1],
                {"positive": 4, "negative": 5, "start_image": 6},
                ["CONDITIONING", "CONDITIONING", "LATENT"],
            ),
            node(10, "Reroute", None, {"": 7}, ["LATENT"]),
            node(11, "PrimitiveNode", [8, "fixed"], {}, ["INT"]),
            node(
                12,
                "KSamplerAdvanced",
                ["enable", 3000, "randomize", 99, 3.5, "euler", "simple", 0, 4, "enable"],
                {"model": 8, "positive": 9, "negative": 10, "latent_image": 11, "steps": 12},
                ["LATENT"],
            ),
            node(
                13,
                "KSamplerAdvanced",
                ["disable", 0, "fixed", 8, 3.5, "euler", "simple", 4, 10000, "disable"],
                {"model": 13, "positive": 14, "negative": 15, "latent_image": 16},
                ["LATENT"],
            ),
            node(14, "CreateVideo", [16], {}, ["VIDEO"]),
            node(15, "MarkdownNote", ["read me"]),
        ],
        "links": [
            [1, 1, 0, 3, 0, "MODEL"],
            [2, 3, 0, 4, 0, "MODEL"],
            [3, 2, 0, 5, 0, "MODEL"],
            [4, 6, 0, 9, 0, "CONDITIONING"],
            [5, 7, 0, 9, 1, "CONDITIONING"],
            [6, 8, 0, 9, 2, "IMAGE"],
            [7, 9, 2, 10, 0, "LATENT"],
            [8, 4, 0, 12, 0, "MODEL"],
            [9, 9, 0, 12, 1, "CONDITIONING"],
            [10, 9, 1, 12, 2, "CONDITIONING"],
            [11, 10, 0, 12, 3, "LATENT"],
            [12, 11, 0, 12, 4, "INT"],
            [13, 5, 0, 13, 0, "MODEL"],
            [14, 9, 0, 13, 1, "CONDITIONING"],
            [15, 9, 1, 13, 2, "CONDITIONING"],
            [16, 12, 0, 13, 3, "LATENT"],
        ],
    }


def node(number, type_, widgets=None, links=None, out=()) -> dict[str, object]:
    kinds = {"model": "MODEL", "latent_image": "LATENT", "": "LATENT"}
    return {
        "id": number,
        "type": type_,
        "mode": 0,
        "widgets_values": widgets,
        "inputs": [
            {"name": name, "type": kinds.get(name, "*"), "link": link}
            for name, link in (links or {}).items()
        ],
        "outputs": [{"name": kind, "type": kind} for kind in out],
    }


def change(tree: Page, number: int, **fields: object) -> Page:
    nodes = tree["nodes"]
    assert isinstance(nodes, list)
    next(one for one in nodes if one["id"] == number).update(fields)
    return tree


def imported(tree: Page, **more: str) -> Imported:
    chain = read_chain(read_graph(json.dumps(tree), "w"), "w", more.get("node"))
    return import_chain(chain, "w", {})


def refused(tree: Page) -> str:
    with pytest.raises(ConfigError) as error:
        imported(tree)
    assert "\n" not in str(error.value)
    return str(error.value)


def chained(*samplers: dict[str, object], shift: float | None = 5.0) -> Page:
    """A workflow in API format: these samplers one after the other, on the low expert."""
    graph: dict[str, object] = {
        "u": {"class_type": "UNETLoader", "inputs": {"unet_name": LOW}},
        "i": {"class_type": "LoadImage", "inputs": {"image": "cat.png"}},
        "w": {
            "class_type": "WanImageToVideo",
            "inputs": {"width": 64, "height": 48, "length": 9, "start_image": ["i", 0]},
        },
        "h": {"class_type": "UNETLoader", "inputs": {"unet_name": HIGH}},
    }
    for name, source in (("m", "u"), ("n", "h")):
        inputs = {"model": [source, 0], "shift": shift}
        graph[name] = {"class_type": "ModelSamplingSD3", "inputs": inputs}
    latent = ["w", 2]
    for number, own in enumerate(samplers):
        model = {True: ["n", 0], False: ["m", 0]}[number == 0]
        if shift is None:
            model = [["u", "h"][number == 0], 0]
        base = {"model": model, "cfg": 3.5, "sampler_name": "euler", "scheduler": "simple"}
        kind = "KSamplerAdvanced" if "add_noise" in own else "KSampler"
        inputs = {**base, "latent_image": latent, **own}
        graph[f"s{number}"] = {"class_type": kind, "inputs": inputs}
        latent = [f"s{number}", 0]
    return graph


WHOLE = {"seed": 0, "steps": 6, "denoise": 1.0}
FIRST = {"add_noise": "enable", "noise_seed": 0, "steps": 8, "start_at_step": 0, "end_at_step": 4}
SECOND = {"add_noise": "disable", "noise_seed": 1, "steps": 8, "start_at_step": 4}
KEPT, GONE = {"return_with_leftover_noise": "enable"}, {"return_with_leftover_noise": "disable"}
END = {"end_at_step": 10000}


# The page's format


def test_a_saved_workflow_is_read_with_its_reroutes_primitives_and_notes() -> None:
    found = imported(page())
    recipe = imported_recipe(found)
    high, low = make_plan(recipe).stages
    assert [stage.name for stage in recipe.stages] == ["high", "low"]
    assert (recipe.width, recipe.frames, recipe.fps) == (640, 81, 16)
    assert (recipe.steps, recipe.scheduler, recipe.shift) == (8, "simple", 5.0)
    assert high.sigmas[-1] == low.sigmas[0] == pytest.approx(5 / 6)
    assert (high.loras, low.loras) == ((("a.safetensors", 0.5),), ())
    assert (set(high.experts), set(low.experts)) == ({"high"}, {"low"})
    assert (found.prompt, found.negative_prompt) == ("a cup (blue)", "blurred")
    assert (found.image, found.seed) == ("cat.png", 3)


def test_a_bypassed_node_lets_its_input_through() -> None:
    found = imported_recipe(imported(change(page(), 3, mode=BYPASSED)))
    assert all(not stage.loras for stage in found.stages)


def test_a_muted_node_is_not_there() -> None:
    assert "its model is not connected" in refused(change(page(), 4, mode=MUTED))


def test_a_muted_second_half_leaves_the_noise_of_the_first() -> None:
    tree = change(page(), 13, mode=MUTED)
    assert "the last sampler leaves noise" in refused(tree)


def test_widgets_without_the_pages_own_are_read_too() -> None:
    values = ["enable", 3000, 99, 3.5, "euler", "simple", 0, 4, "enable"]
    assert imported(change(page(), 12, widgets_values=values)).seed == 3


def test_a_subgraph_is_read_as_if_its_nodes_lay_outside() -> None:
    tree = page()
    nodes, links = tree["nodes"], tree["links"]
    assert isinstance(nodes, list) and isinstance(links, list)
    inner = next(one for one in nodes if one["id"] == 5)
    nodes.remove(inner)
    shift = {"name": "shift", "type": "FLOAT", "link": 2, "widget": {"name": "shift"}}
    inner["inputs"] = [{"name": "model", "type": "MODEL", "link": 1}, shift]
    inner["widgets_values"] = [99]
    outer = node(5, "a-subgraph", [5.0], {"model": 3}, ["MODEL"])
    outer["inputs"] += [{"name": "shift", "type": "FLOAT", "link": None, "widget": {"name": "x"}}]  # type: ignore[operator]
    nodes.append(outer)
    between = {"type": "MODEL", "origin_slot": 0, "target_slot": 0}
    tree["definitions"] = {
        "subgraphs": [
            {
                "id": "a-subgraph",
                "nodes": [inner],
                "links": [
                    {"id": 1, "origin_id": -10, "target_id": 5, **between},
                    {"id": 2, "origin_id": -10, "target_id": 5, **between, "origin_slot": 1},
                    {"id": 3, "origin_id": 5, "target_id": -20, **between},
                ],
            }
        ]
    }
    assert imported(tree).recipe == imported(page()).recipe


def test_of_several_chains_one_has_to_be_chosen() -> None:
    tree = page()
    nodes, links = tree["nodes"], tree["links"]
    assert isinstance(nodes, list) and isinstance(links, list)
    other = json.loads(json.dumps(next(one for one in nodes if one["id"] == 12)))
    values = ["enable", 0, "fixed", 99, 3.5, "euler", "simple", 0, 10000, "disable"]
    nodes.append(other | {"id": 30, "widgets_values": values})
    assert "2 chains of samplers; --node takes one of 13, 30" in refused(tree)
    assert len(imported(tree, node="13").recipe["stages"]) == 2  # type: ignore[arg-type]
    assert len(imported(tree, node="30").recipe["stages"]) == 1  # type: ignore[arg-type]


# Chains


def test_a_chain_of_whole_samplers_of_any_length_is_renoised() -> None:
    parts = [WHOLE] + [{**WHOLE, "seed": k, "denoise": 0.5} for k in range(1, 6)]
    found = imported(chained(*parts))
    plan = make_plan(imported_recipe(found))
    assert [stage.takeover for stage in plan.stages] == ["noise"] + ["renoise"] * 5
    assert found.seed == 0


def test_a_later_part_of_a_schedule_with_fresh_noise_is_a_share_of_it() -> None:
    part = {"add_noise": "enable", "noise_seed": 1, "steps": 8, "start_at_step": 5, **END, **GONE}
    found = imported(chained(WHOLE, part))
    stage = make_plan(imported_recipe(found)).stages[1]
    assert stage.takeover == "renoise"
    assert stage.sigmas == pytest.approx((0.75, 0.625, 5 / 12, 0), abs=0.05)
    assert stage.steps == 3


def test_three_splits_of_one_schedule_are_three_stages() -> None:
    middle = {**SECOND, "end_at_step": 6, **KEPT}
    last = {**SECOND, "start_at_step": 6, **END, **GONE}
    found = imported(chained({**FIRST, **KEPT}, middle, last))
    plan = make_plan(imported_recipe(found))
    assert [stage.takeover for stage in plan.stages] == ["noise", "continue", "continue"]
    assert [stage.steps for stage in plan.stages] == [4, 2, 2]


def test_without_a_shift_node_the_shift_is_comfyuis_own() -> None:
    assert imported(chained(WHOLE, shift=None)).recipe["shift"] == 8.0


def test_seeds_that_follow_another_rule_are_said_to_be_lost() -> None:
    found = imported(chained({**WHOLE, "seed": 42}))
    assert found.seed is None
    assert any("seeds" in note for note in found.notes)


# Refused by name


@pytest.mark.parametrize(
    ("samplers", "words"),
    [
        (({**FIRST, **KEPT}, {**SECOND, "start_at_step": 5, **END, **GONE}), "stopped at 0.8333"),
        (({**FIRST, **KEPT}, {**WHOLE, "denoise": 0.5}), "still noisy (sigma 0.8333)"),
        (({**FIRST, **KEPT},), "the last sampler leaves noise"),
        (({**SECOND, **END, **GONE},), "it starts from nothing"),
        (({**FIRST, **GONE}, {**WHOLE, "denoise": 0.5}), "no stage of wanexp runs its levels"),
        (({**WHOLE, "sampler_name": "ddpm"},), "does not converge on flow models"),
        (({**WHOLE, "sampler_name": "eular"},), "euler"),
        (({**WHOLE, "scheduler": "polyexponential"},), "no scheduler named 'polyexponential'"),
        (({**FIRST, "start_at_step": 8, **END, **GONE},), "takes no step"),
        (({**WHOLE, "steps": "many"},), "its steps should be a number"),
    ],
)
def test_what_no_recipe_does_is_refused_with_the_node_that_asks_it(samplers, words) -> None:
    told = refused(chained(*samplers))
    assert words in told
    assert "node s" in told


def test_a_low_expert_above_the_boundary_is_refused() -> None:
    tree = chained(WHOLE)
    tree["s0"]["inputs"]["model"] = ["m", 0]  # type: ignore[index]
    assert "the low expert knows only sigma below 0.9" in refused(tree)


def test_a_file_that_names_no_expert_has_to_be_explained() -> None:
    text = json.dumps(chained(WHOLE)).replace(HIGH, "mine.safetensors")
    chain = read_chain(read_graph(text, "w"), "w")
    with pytest.raises(ConfigError, match=r"--expert mine\.safetensors=high"):
        import_chain(chain, "w", {})
    assert import_chain(chain, "w", {"mine.safetensors": "high"}).recipe["stages"]


def test_a_node_that_changes_the_model_is_refused_by_its_name() -> None:
    tree = chained(WHOLE)
    tree["s0"]["inputs"]["model"] = ["z", 0]  # type: ignore[index]
    tree["z"] = {"class_type": "SkipLayerGuidance", "inputs": {"model": ["n", 0]}}
    assert "node z (SkipLayerGuidance): changes the model" in refused(tree)


def test_a_chain_that_starts_from_an_empty_video_is_text_to_video() -> None:
    tree = chained(WHOLE)
    sizes = {key: tree["w"]["inputs"][key] for key in ("width", "height", "length")}  # type: ignore[index]
    tree["w"] = {"class_type": "EmptyHunyuanLatentVideo", "inputs": sizes}
    tree["s0"]["inputs"]["latent_image"] = ["w", 0]  # type: ignore[index]
    found = import_chain(read_chain(read_graph(json.dumps(tree), "w"), "w"), "w", {})
    assert (found.model, found.image) == ("wan22_t2v_a14b", "")


def test_image_to_video_without_an_image_is_refused() -> None:
    tree = chained(WHOLE)
    del tree["w"]["inputs"]["start_image"]  # type: ignore[attr-defined,index]
    assert "has no start_image, and wan22_i2v_a14b needs one" in refused(tree)


def test_another_start_is_refused() -> None:
    tree = chained(WHOLE)
    tree["w"] = {"class_type": "EmptyLatentImage", "inputs": {"width": 64}}
    assert "expected WanImageToVideo" in refused(tree)
