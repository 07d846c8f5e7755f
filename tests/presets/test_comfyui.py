"""Workflows: what is exported fits ComfyUI's nodes, and comes back as the recipe that it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.golden_chains import chain_recipe
from tests.presets.recipes import CASE, CPU, KINDS, random_trials, recipe_of, trial_of
from wanexp.config import Case, Trial, recipe_from
from wanexp.memory import Memory
from wanexp.plan import Plan, PlannedStage, make_plan
from wanexp.presets.comfy_chain import read_chain
from wanexp.presets.comfy_export import comfyui_workflow, escaped, notes
from wanexp.presets.comfy_graph import WIDGETS, read_graph
from wanexp.presets.comfy_import import Imported, import_chain, imported_recipe, plain_prompt
from wanexp.presets.comfy_nodes import api_tree, files_for, minimum_version
from wanexp.sampler_facts import SAMPLER_FACTS
from wanexp.schedules import SCHEDULES
from wanexp.strict import ConfigError

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
FACTS = json.loads((GOLDEN / "comfyui_nodes.json").read_text())["nodes"]
CHAINS = json.loads((GOLDEN / "e2e" / "chains.json").read_text())
NUMBERS = {"INT": int, "FLOAT": (int, float)}


def exported(trial: Trial, plan: Plan) -> dict[str, dict]:
    graph = comfyui_workflow(trial, plan, files_for(trial.recipe.model, {}), "test")
    return json.loads(json.dumps(api_tree(graph)))


def kind(name: str) -> dict[str, dict]:
    return exported(*trial_of(KINDS[name]))


def types(graph: dict[str, dict]) -> list[str]:
    return [node["class_type"] for node in graph.values()]


def only(graph: dict[str, dict], type_: str) -> dict:
    (found,) = (node["inputs"] for node in graph.values() if node["class_type"] == type_)
    return found


def imported(graph: dict[str, dict]) -> Imported:
    return import_chain(read_chain(read_graph(json.dumps(graph), "w"), "w"), "w", {})


def refusal(tree: dict[str, object], **model: object) -> str:
    with pytest.raises(ConfigError) as error:
        recipe = recipe_from(model, tree) if model else recipe_of(tree)
        exported(Trial(recipe=recipe, case=CASE, seed=0, memory=CPU), make_plan(recipe))
    assert "\n" not in str(error.value)
    return str(error.value)


# What ComfyUI's server would say


def assert_valid(graph: dict[str, dict]) -> None:
    """What a server checks of a workflow before it runs, files aside."""
    for name, node in graph.items():
        fact = FACTS[node["class_type"]]
        given = node["inputs"]
        assert set(given) <= set(fact["inputs"]), (name, node)
        for key, told in fact["inputs"].items():
            if key not in given:
                assert not told["required"], (name, key)
                continue
            value = given[key]
            if isinstance(value, list):
                source, output = graph[value[0]], value[1]
                assert FACTS[source["class_type"]]["outputs"][output] == told["type"], (name, key)
            elif told["type"] == "COMBO":
                assert value in told.get("options", [value]), (name, key, value)
            elif told["type"] in NUMBERS:
                assert isinstance(value, NUMBERS[told["type"]])
                assert told.get("min", value) <= value <= told.get("max", value), (name, key)
            else:
                assert isinstance(value, bool if told["type"] == "BOOLEAN" else str)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_stage_fits_the_nodes_that_comfyui_describes(name) -> None:
    assert_valid(kind(name))


def test_random_recipes_fit_the_nodes_that_comfyui_describes() -> None:
    for trial, plan in random_trials(1000, 400):
        try:
            graph = exported(trial, plan)
        except ConfigError:
            continue
        assert_valid(graph)


@pytest.mark.parametrize("model", ["wan22_t2v_a14b", "wan22_ti2v_5b"])
def test_video_from_words_fits_the_nodes_too(model) -> None:
    recipe = recipe_from(
        {"name": model}, {"steps": 4, "stages": {"only": {"sampler": "euler", "cfg": 1.0}}}
    )
    case = Case(name="words", prompt="a boat")
    trial = Trial(recipe=recipe, case=case, seed=0, memory=CPU)
    graph = exported(trial, make_plan(recipe))
    assert_valid(graph)
    assert "LoadImage" not in {node["class_type"] for node in graph.values()}


def test_comfyui_knows_every_sampler_and_scheduler_by_the_same_name() -> None:
    offered = FACTS["KSampler"]["inputs"]
    assert set(SAMPLER_FACTS) <= set(offered["sampler_name"]["options"])
    assert set(SCHEDULES) <= set(offered["scheduler"]["options"])


def test_the_page_lists_its_widgets_in_the_order_of_the_servers_inputs() -> None:
    for name in set(WIDGETS) & set(FACTS):
        values = ("INT", "FLOAT", "STRING", "COMBO", "BOOLEAN")
        told = [key for key, own in FACTS[name]["inputs"].items() if own["type"] in values]
        assert [k for k in WIDGETS[name] if k not in ("control_after_generate", "upload")] == told


# The simplest node that runs exactly the levels


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("whole", ["KSampler"]),
        ("renoise", ["KSampler"] * 3),
        ("split", ["KSamplerAdvanced"] * 3),
        ("sde_split", ["KSamplerAdvanced"] * 2),
        ("official_rule", ["KSamplerAdvanced"] * 2),
        ("karras_from_sigma", ["KSampler", "SamplerCustomAdvanced"]),
        ("dropped_level", ["KSampler"] * 3),
        ("mixed_split", ["SamplerCustomAdvanced", "KSamplerAdvanced"]),
        ("typed_levels", ["KSampler", "SamplerCustomAdvanced"]),
        ("typed_sde", ["SamplerCustomAdvanced", "SamplerCustom"]),
    ],
)
def test_a_stage_becomes_the_simplest_node_that_runs_its_levels(name, expected) -> None:
    assert [t for t in types(kind(name)) if "latent_image" in FACTS[t]["inputs"]] == expected


def test_a_golden_chain_is_exported_as_the_nodes_that_it_was() -> None:
    for chain in CHAINS.values():
        nodes = exported(*trial_of(chain_recipe(chain))).values()
        samplers = [node["inputs"] for node in nodes if "latent_image" in node["inputs"]]
        for node, golden in zip(samplers, chain, strict=True):
            words = {"sampler": "sampler_name", "start": "start_at_step", "end": "end_at_step"}
            for key in ("steps", "cfg", "sampler", "scheduler", "denoise", "start", "end"):
                if key in golden:
                    assert node[words.get(key, key)] == golden[key]


def test_seeds_are_those_of_the_stages() -> None:
    graph = exported(*trial_of(KINDS["renoise"], seed=7))
    seeds = [n["inputs"]["seed"] for n in graph.values() if n["class_type"] == "KSampler"]
    assert seeds == [7000, 7001, 7002]


def test_the_decode_is_tiled_where_the_memory_profile_says_so() -> None:
    trial, plan = trial_of(KINDS["whole"])
    tiled = Trial(
        recipe=trial.recipe, case=CASE, seed=0, memory=Memory(device="cpu", vae_tiling=True)
    )
    graph = exported(tiled, plan)
    assert_valid(graph)
    assert "VAEDecodeTiled" in types(graph)
    assert "VAEDecode" not in types(graph)


def test_model_files_have_their_official_names_until_others_are_given() -> None:
    trial, plan = trial_of(KINDS["split"])
    names = [n["inputs"]["unet_name"] for n in kind("split").values() if "UNET" in n["class_type"]]
    assert names == [
        "wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors",
        "wan2.2_i2v_low_noise_14B_fp8_scaled.safetensors",
    ]
    files = files_for(trial.recipe.model, {"low": "mine.safetensors", "image": "cat.png"})
    graph = api_tree(comfyui_workflow(trial, plan, files, "x"))
    text = json.dumps(graph)
    assert "mine.safetensors" in text
    assert only(json.loads(text), "LoadImage") == {"image": "cat.png"}


def test_loras_are_loaded_for_their_stage_by_their_files_names() -> None:
    loaders = [n["inputs"] for n in kind("lora").values() if "Lora" in n["class_type"]]
    found = {lora["lora_name"]: lora["strength_model"] for lora in loaders}
    assert found == {"a.safetensors": 1.0, "b.safetensors": -0.5}


def test_the_minimum_version_follows_from_the_nodes() -> None:
    def version(name: str) -> str:
        trial, plan = trial_of(KINDS[name])
        return minimum_version(comfyui_workflow(trial, plan, files_for(trial.recipe.model, {}), ""))

    assert version("karras_from_sigma") == "0.3.46"
    assert version("typed_levels") == "0.7.0"


def test_what_comfyui_draws_on_the_device_is_said() -> None:
    stage = {"steps": 4, "sampler": "lcm", "expert": "high"}
    assert "a (lcm)" in told_of({"stages": {"a": stage}})
    assert told_of(KINDS["sde"]) == ""


def told_of(tree: dict[str, object]) -> str:
    trial, plan = trial_of(tree)
    graph = comfyui_workflow(trial, plan, files_for(trial.recipe.model, {}), "x")
    return " ".join(notes(trial, plan, graph))


def test_what_comfyuis_page_would_round_is_said() -> None:
    stage = {"steps": 4, "expert": "high", "cfg": 3.567}
    assert "would round cfg 3.567 of a: post the file" in told_of({"stages": {"a": stage}})
    assert told_of(KINDS["karras_from_sigma"]) == ""
    far = {**KINDS["karras_from_sigma"], "shift": 5.123}
    assert "shift 5.123 of ModelSamplingSD3" in told_of(far)


# Refused by name


def test_a_change_of_expert_is_refused_where_the_sampler_remembers() -> None:
    for sampler, what in (("dpmpp_2m", "a history"), ("dpmpp_sde", "one stream of noise")):
        told = refusal({"stages": {"only": {"steps": 10, "sampler": sampler}}})
        assert told.startswith(f"comfyui: recipe.stages.only: {sampler} keeps {what}")
        assert "sigma_end" in told


def test_the_advice_against_a_change_of_expert_works() -> None:
    told = refusal({"steps": 10, "stages": {"only": {}}})
    at = float(told.split("sigma_end: ")[1].split()[0])
    exported(*trial_of({"steps": 10, "stages": {"high": {"sigma_end": at}, "low": {}}}))


def test_a_step_that_asks_two_experts_is_refused() -> None:
    told = refusal({"stages": {"only": {"steps": 10, "sampler": "heun"}}})
    assert "two experts within the step" in told


def test_a_renoised_leftover_is_refused() -> None:
    told = refusal(
        {
            "steps": 8,
            "stages": {
                "high": {"sigma_end": 0.6, "expert": "high", "sampler": "euler"},
                "low": {"steps": 4, "sigma_start": 0.7, "expert": "low"},
            },
        }
    )
    assert "recipe.stages.low: renoises a latent that still has noise" in told


def test_uni_pc_with_one_step_is_refused() -> None:
    told = refusal({"stages": {"a": {"steps": 1, "sampler": "uni_pc", "expert": "high"}}})
    assert "takes no step" in told


def test_wan_mini_is_refused_with_what_to_do() -> None:
    told = refusal({"stages": {"a": {"steps": 4, "sampler": "euler"}}}, name="wan_mini")
    assert "ComfyUI cannot load wan_mini" in told
    assert "--to diffusers" in told


def test_a_split_of_the_5b_is_refused() -> None:
    stages = {"a": {"sampler": "euler", "sigma_end": 0.5}, "b": {"sampler": "euler"}}
    told = refusal({"steps": 8, "stages": stages}, name="wan22_ti2v_5b")
    assert "known first frame" in told


def test_an_unknown_file_is_named() -> None:
    trial, _ = trial_of(KINDS["whole"])
    with pytest.raises(ConfigError, match=r"hihg.*high"):
        files_for(trial.recipe.model, {"hihg": "x"})


# There and back


def by_file(stage: PlannedStage) -> dict[str, float]:
    return {file.rsplit("/", 1)[-1]: strength for file, strength in stage.loras}


def assert_same(trial: Trial, plan: Plan) -> None:
    back = imported(exported(trial, plan))
    recipe = imported_recipe(back)
    again, own = make_plan(recipe), trial.recipe
    assert [stage.name for stage in again.stages] == [stage.name for stage in plan.stages]
    for mine, theirs in zip(plan.stages, again.stages, strict=True):
        a, b = dict(mine.key()), dict(theirs.key())
        for key in ("sigmas", "sigma_start"):
            assert b.pop(key) == pytest.approx(a.pop(key), abs=1e-6)
        assert a | {"loras": by_file(mine)} == b | {"loras": by_file(theirs)}
    assert (recipe.width, recipe.height, recipe.frames, recipe.fps) == (
        own.width,
        own.height,
        own.frames,
        own.fps,
    )
    assert (back.model, back.seed) == (own.model.name, trial.seed)
    assert (back.prompt, back.negative_prompt) == (CASE.prompt, CASE.negative_prompt)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_stage_comes_back_as_it_was(name) -> None:
    assert_same(*trial_of(KINDS[name]))


@pytest.mark.parametrize("draws", [150, pytest.param(800, marks=pytest.mark.slow)])
def test_random_recipes_come_back_as_they_were(draws) -> None:
    count = 0
    for trial, plan in random_trials(20_000, draws):
        try:
            exported(trial, plan)
        except ConfigError:
            continue
        assert_same(trial, plan)
        count += 1
    assert count > draws // 16


def test_parts_that_the_official_rule_would_cut_elsewhere_are_not_joined() -> None:
    graph = kind("official_rule")
    first, second = (n["inputs"] for n in graph.values() if n["class_type"] == "KSamplerAdvanced")
    first["end_at_step"] = second["start_at_step"] = first["end_at_step"] + 1
    with pytest.raises(ConfigError, match="no stage of wanexp runs its levels"):
        imported(graph)


def test_a_single_stage_of_the_5b_comes_back() -> None:
    recipe = recipe_from({"name": "wan22_ti2v_5b"}, {"stages": {"a": {"steps": 5}}})
    trial = Trial(recipe=recipe, case=CASE, seed=1, memory=CPU)
    graph = exported(trial, make_plan(recipe))
    assert_valid(graph)
    assert_same(trial, make_plan(recipe))


@pytest.mark.parametrize("text", ["a (b) c", "\\(x\\)", "((a:1.2))", "no", "a\\b ("])
def test_an_escaped_prompt_comes_back(text) -> None:
    assert plain_prompt(escaped(text)) == text
