"""The script for diffusers: run by itself, without wanexp, it makes wanexp's own latents."""

from __future__ import annotations

import ast
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.presets.recipes import CASE, CPU, KINDS, trial_of
from wanexp.backends import encode, load_backend
from wanexp.config import Trial, recipe_from
from wanexp.generate import generate
from wanexp.images import load_source
from wanexp.plan import Plan, make_plan
from wanexp.presets.bundle import bundle, sampler_functions
from wanexp.presets.script import ALWAYS, GIVEN, diffusers_script
from wanexp.sampler_facts import SAMPLER_FACTS
from wanexp.seeds import stage_seed

ALLOWED = {"torch", "diffusers", "transformers", "numpy", "PIL", "torchsde", "safetensors"}
ALLOWED |= {"huggingface_hub"}
"""What a script may import besides the standard library; the last three come with the others."""

SMALL = {"width": 64, "height": 64, "frames": 9, "scheduler": "simple"}

RUN = """
import runpy, sys
script = sys.argv.pop(1)
sys.argv[0] = script
runpy.run_path(script, run_name="__main__")
assert "wanexp" not in sys.modules
"""


def mini_trial(stages: dict[str, dict[str, object]]) -> tuple[Trial, Plan]:
    recipe = recipe_from({"name": "wan_mini"}, {**SMALL, "stages": stages})
    return Trial(recipe=recipe, case=CASE, seed=3, memory=CPU), make_plan(recipe)


def run_script(trial: Trial, plan: Plan, folder: Path, monkeypatch) -> dict[str, torch.Tensor]:
    """The latents of a trial's script, run here: starting Python anew takes twenty seconds."""
    script, latents = folder / "made.py", folder / "latents.safetensors"
    script.write_text(diffusers_script(trial, plan, "A preset", ["Evidence."]))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [str(script), "--latents", str(latents), "--device", "cpu"])
    runpy.run_path(str(script), run_name="__main__")
    return load_file(latents)


def run_alone(trial: Trial, plan: Plan, folder: Path, monkeypatch) -> dict[str, torch.Tensor]:
    """The same in a process that never loads wanexp."""
    script, latents = folder / "made.py", folder / "latents.safetensors"
    script.write_text(diffusers_script(trial, plan, "A preset", ["Evidence."]))
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(script), "--latents", str(latents), "--device", "cpu"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return load_file(latents)


def run_here(trial: Trial, plan: Plan) -> dict[str, torch.Tensor]:
    recipe, case = trial.recipe, trial.case
    backend = load_backend(recipe, trial.memory)
    assert case.image is not None
    source = load_source(case.image, case.crop, recipe.width, recipe.height)
    told = encode(backend, source, case.prompt, case.negative_prompt, recipe.frames)
    seeds = [stage_seed(trial.seed, k) for k in range(len(plan.stages))]
    return {end.name: end.latent for end in generate(plan, told, seeds, backend)}


@pytest.mark.parametrize("run", [run_script, pytest.param(run_alone, marks=pytest.mark.slow)])
def test_the_script_makes_wanexps_latents_without_wanexp(run, tmp_path, monkeypatch) -> None:
    trial, plan = mini_trial(
        {
            "establish": {"steps": 4, "sampler": "dpmpp_2m"},
            "guideless": {"steps": 3, "sampler": "uni_pc", "sigma_start": 0.7, "cfg": 1},
            "sde": {"steps": 3, "sampler": "dpmpp_sde", "sigma_start": 0.6},
            "ancestral": {"steps": 3, "sampler": "euler_ancestral", "sigma_start": 0.4},
            "high": {"steps": 2, "sampler": "er_sde", "sigma_start": 0.5, "sigma_end": 0.3},
            "low": {"sampler": "deis", "steps": 2},
        }
    )
    there, here = run(trial, plan, tmp_path, monkeypatch), run_here(trial, plan)
    assert list(there) == sorted(here)
    for name, latent in here.items():
        difference = (there[name] - latent).abs().max().item()
        print(f"{name}: {difference:.2g}")
        assert difference < 1e-5


@pytest.mark.slow
def test_the_script_wears_loras_as_wanexp_does(tmp_path, monkeypatch) -> None:
    draw = torch.Generator().manual_seed(1)
    file = tmp_path / "style.safetensors"
    down, up = torch.randn(2, 256, generator=draw), torch.randn(256, 2, generator=draw)
    name = "diffusion_model.blocks.0.self_attn.q"
    save_file({f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}, file)
    plain = {"steps": 2, "sampler": "euler"}
    trial, plan = mini_trial(
        {
            "bare": plain,
            "worn": {**plain, "sigma_start": 0.8, "loras": {str(file): 0.3}},
            "off": {**plain, "sigma_start": 0.5},
        }
    )
    there, here = run_alone(trial, plan, tmp_path, monkeypatch), run_here(trial, plan)
    for stage, latent in here.items():
        torch.testing.assert_close(there[stage], latent, atol=1e-5, rtol=0)


def imported(text: str) -> set[str]:
    roots = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            roots.add(node.module.split(".")[0])
    return roots - set(sys.stdlib_module_names)


def test_a_script_defines_all_that_it_uses_and_imports_nothing_else(tmp_path) -> None:
    for sampler, facts in SAMPLER_FACTS.items():
        stages: dict[str, dict[str, object]] = {"a": {"steps": 3, "sampler": sampler}}
        text = diffusers_script(*mini_trial(stages), "t", [])
        assert imported(text) <= ALLOWED
        assert ("torchsde" in imported(text)) == (facts.stochastic == "brownian")
        (tmp_path / f"{sampler}.py").write_text(text)
    ruff = [Path(sys.executable).parent / "ruff", "check", "--isolated", "--select=F", "."]
    done = subprocess.run(ruff, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_script_for_the_5b_and_one_with_loras_define_all_that_they_use() -> None:
    recipe = recipe_from({"name": "wan22_ti2v_5b"}, {"stages": {"a": {"steps": 3}}})
    dense = Trial(recipe=recipe, case=CASE, seed=0, memory=CPU), make_plan(recipe)
    for trial, plan in (dense, trial_of(KINDS["lora"])):
        compile(diffusers_script(trial, plan, "t", []), "made.py", "exec")


def test_no_two_definitions_of_a_script_have_one_name() -> None:
    lora = [("wanexp.backends.lora", name) for name in ("read_adapter", "wear")]
    noise = [("wanexp.noise", name) for name in ("_normal_source", "_brownian_source")]
    every = [*sampler_functions().values(), *ALWAYS, *lora, *noise]
    names = [name for _, name in bundle(list(dict.fromkeys(every)), GIVEN).definitions]
    assert len(names) == len(set(names))


def test_text_of_the_evidence_cannot_end_the_scripts_docstring() -> None:
    text = diffusers_script(*trial_of(KINDS["whole"]), 'a """ title \\', ['""" + quit()'])
    assert isinstance(ast.parse(text).body[0], ast.Expr)
    assert "quit" in (ast.get_docstring(ast.parse(text)) or "")
