"""Exported workflows in a real ComfyUI: its server takes them, and they give wanexp's latents.

They run where ``WANEXP_COMFYUI_URL`` says where it is; ``comfyui_rig.py`` says how to make one
ready. The experts are the two of ``tests/golden/e2e``, which wanexp runs through diffusers.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.golden_chains import CHAINS, GOLDEN, chain_recipe, golden_conditioning, statistics
from tests.presets.comfyui_rig import (
    FILES,
    LORA,
    WORDS,
    Server,
    dense,
    first_frame,
    lora,
    widened,
    words,
)
from tests.presets.recipes import CASE, CPU, KINDS, random_trials, trial_of
from wanexp.backends import Conditioning
from wanexp.backends.diffusers import DiffusersBackend
from wanexp.config import Case, Trial, recipe_from
from wanexp.generate import generate
from wanexp.models import MODELS
from wanexp.plan import Plan, make_plan
from wanexp.presets.comfy_export import comfyui_workflow
from wanexp.presets.comfy_nodes import api_tree, files_for
from wanexp.sampler_facts import SAMPLER_FACTS
from wanexp.seeds import stage_seed
from wanexp.strict import ConfigError

URL = os.environ.get("WANEXP_COMFYUI_URL", "")

pytestmark = pytest.mark.comfyui


def graph_of(trial: Trial, plan: Plan) -> dict[str, dict]:
    model = trial.recipe.model
    named = FILES if model.takes_image else WORDS
    files = files_for(model, {expert: named[expert] for expert in model.experts})
    return json.loads(json.dumps(api_tree(comfyui_workflow(trial, plan, files, "test"))))


@pytest.fixture(scope="module")
def conditioning() -> Conditioning:
    return golden_conditioning()


@pytest.fixture(scope="module")
def backend() -> DiffusersBackend:
    return DiffusersBackend(folder=GOLDEN, model=MODELS["wan22_i2v_a14b"], memory=CPU)


def asked(graph: dict[str, dict]) -> dict[str, Tensor]:
    """ComfyUI's latent after every sampler, by its title."""
    titles = [n["_meta"]["title"] for n in graph.values() if "latent_image" in n["inputs"]]
    return dict(zip(titles, Server(URL).latents(graph), strict=True))


@pytest.mark.parametrize("name", CHAINS)
def test_an_exported_golden_chain_gives_the_golden_latents(name) -> None:
    graph = graph_of(*trial_of(chain_recipe(CHAINS[name])))
    samplers = [node for node in graph.values() if "latent_image" in node["inputs"]]
    for node, golden in zip(samplers, CHAINS[name], strict=True):
        node["inputs"]["seed" if "seed" in node["inputs"] else "noise_seed"] = golden["seed"]
    expected = load_file(GOLDEN / "latents.safetensors")
    for k, found in enumerate(asked(graph).values()):
        difference = (found - expected[f"{name}.{k}"]).abs().max().item()
        print(f"{name}.{k}: {difference:.2g}")
        assert difference < 5e-5


def compare(trial: Trial, plan: Plan, conditioning, backend) -> float:
    """The largest difference at any stage's end, over the latents' own deviation."""
    seeds = [stage_seed(trial.seed, k) for k in range(len(plan.stages))]
    (mean, deviation), worst = statistics(), 0.0
    found = asked(graph_of(trial, plan))
    for end in generate(plan, conditioning, seeds, backend):
        ours = end.latent / (1 - end.sigma) * deviation + mean
        parts = [latent for title, latent in found.items() if title.split()[0] == end.name]
        worst = max(worst, ((parts[-1] - ours).abs().max() / ours.std()).item())
    return worst


def allowed(plan: Plan) -> float:
    """ComfyUI's uni_pc goes through noise and back in single precision, which costs digits."""
    return 5e-3 if any(stage.sampler.startswith("uni_pc") for stage in plan.stages) else 1e-4


@pytest.mark.parametrize("name", [kind for kind in KINDS if kind != "lora"])
def test_every_kind_of_stage_ends_in_comfyui_where_it_ends_here(
    name, conditioning, backend
) -> None:
    trial, plan = trial_of(KINDS[name])
    difference = compare(trial, plan, conditioning, backend)
    print(f"{name}: {difference:.2g}")
    assert difference < allowed(plan)


def test_a_lora_does_in_comfyui_what_it_does_here(tmp_path, conditioning, backend) -> None:
    file = tmp_path / LORA
    save_file(lora(), file)
    stage = {"steps": 4, "expert": "high", "cfg": 3.5}
    worn = trial_of({"stages": {"only": {**stage, "loras": {str(file): 0.8}}}})
    difference = compare(*worn, conditioning, backend)
    print(f"lora: {difference:.2g}")
    assert difference < 1e-4


DENSE: dict[str, dict[str, dict[str, object]]] = {
    "euler": {"only": {"steps": 5, "sampler": "euler"}},
    "renoise": {
        "establish": {"steps": 5, "sampler": "dpmpp_2m"},
        "refine": {"steps": 4, "sampler": "heun", "denoise": 0.5, "scheduler": "karras"},
        "polish": {"steps": 4, "sampler": "dpmpp_2m_sde", "sigma_start": 0.4},
    },
}


def compare_random(folder: Path, trial: Trial, image: Tensor | None, told: str) -> None:
    """Every stage of a trial on random experts, which ``folder`` holds, beside ComfyUI's."""
    recipe, plan = trial.recipe, make_plan(trial.recipe)
    own = DiffusersBackend(folder=folder, model=recipe.model, memory=CPU)
    given = load_file(GOLDEN / "inputs.safetensors")
    conditioning = Conditioning(
        positive=widened(given["positive"]),
        negative=widened(given["negative"]),
        image=image,
        latent_shape=own.latent_shape(recipe.width, recipe.height, recipe.frames),
    )
    found = asked(graph_of(trial, plan))
    seeds = [stage_seed(trial.seed, k) for k in range(len(plan.stages))]
    for end in generate(plan, conditioning, seeds, own):
        ours = end.latent / (1 - end.sigma)
        difference = ((found[end.name] - ours).abs().max() / ours.std()).item()
        print(f"{told} {end.name}: {difference:.2g}")
        assert difference < 1e-4


SMALL = {"width": 128, "height": 96, "frames": 9, "scheduler": "simple"}


@pytest.mark.parametrize("name", DENSE)
def test_the_5b_keeps_its_first_frame_in_comfyui_as_here(name, tmp_path) -> None:
    dense(tmp_path)
    recipe = recipe_from({"name": "wan22_ti2v_5b"}, {**SMALL, "stages": DENSE[name]})
    trial = Trial(recipe=recipe, case=CASE, seed=3, memory=CPU)
    compare_random(tmp_path, trial, first_frame(), f"5b {name}")


WORDED: dict[str, dict[str, dict[str, object]]] = {
    "split": {
        "high": {"sampler": "euler", "sigma_end": 0.87, "expert": "high", "cfg": 4.0},
        "low": {"sampler": "euler", "expert": "low", "cfg": 3.0},
    },
    "renoise": {
        "establish": {"steps": 5, "sampler": "dpmpp_2m", "expert": "high"},
        "refine": {"steps": 4, "sampler": "heun", "denoise": 0.3, "expert": "low"},
    },
}


@pytest.mark.parametrize("name", WORDED)
def test_video_from_words_ends_in_comfyui_where_it_ends_here(name, tmp_path) -> None:
    words(tmp_path)
    tree = {**SMALL, "steps": 20, "shift": 8.0, "stages": WORDED[name]}
    recipe = recipe_from({"name": "wan22_t2v_a14b"}, tree)
    case = Case(name="words", prompt="a boat", negative_prompt="blurry")
    trial = Trial(recipe=recipe, case=case, seed=3, memory=CPU)
    compare_random(tmp_path, trial, None, f"words {name}")


def test_random_recipes_end_in_comfyui_where_they_end_here(conditioning, backend) -> None:
    worst: dict[bool, list[float]] = {True: [], False: []}
    for trial, plan in random_trials(40_000, 700):
        drawn = {SAMPLER_FACTS[stage.sampler].stochastic for stage in plan.stages}
        worn = any(stage.loras for stage in plan.stages)
        if "normal" in drawn or worn or plan.model_calls > 60:
            continue
        try:
            graph_of(trial, plan)
        except ConfigError:
            continue
        difference = compare(trial, plan, conditioning, backend)
        worst[allowed(plan) > 1e-4].append(difference)
        assert difference < allowed(plan), [(s.sampler, s.sigmas) for s in plan.stages]
    for uni_pc, found in worst.items():
        print(f"{len(found)} recipes {'with' if uni_pc else 'without'} uni_pc: {max(found):.2g}")


def test_the_server_finds_no_fault_with_a_whole_workflow() -> None:
    """Everything but the files, which are not there: those it names, and nothing else."""
    for kind in KINDS.values():
        told = Server(URL).queue(graph_of(*trial_of(kind)))
        faults = [e for node in told["node_errors"].values() for e in node["errors"]]
        assert {e["type"] for e in faults} <= {"value_not_in_list", "custom_validation_failed"}
        names = {e["extra_info"].get("input_name") for e in faults}
        assert names <= {"clip_name", "vae_name", "image", "lora_name"}, faults
