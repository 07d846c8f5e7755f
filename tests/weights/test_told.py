"""Where the names of single files turn up: doctor, plan, exports, MLflow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.weights.tiny import comfy, text_encoder, write
from wanexp.cli import main
from wanexp.config import Recipe, recipe_from
from wanexp.doctor import examine
from wanexp.presets.comfy_nodes import files_for, own_names
from wanexp.weights.files import comfy_name

SPLIT = ["model=wan22_i2v_a14b", "recipe=split_high_low"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    models = comfy(tmp_path / "ComfyUI" / "models")
    shapes = text_encoder() | {"spiece_model": (4,)}
    write(models / "text_encoders" / "umt5_xxl.safetensors", shapes)
    return models


def recipe_of(folder: Path, **files: str) -> Recipe:
    tree = {"name": "wan22_i2v_a14b", "source": str(folder), **files}
    return recipe_from(tree, {"stages": {"only": {"steps": 2}}})


def test_doctor_names_the_files_and_what_is_wrong_with_one(folder: Path) -> None:
    asked = ["model=wan22_i2v_a14b", f"model.source={folder}", "tracking=none"]
    (check,) = [check for check in examine(asked) if check.name.startswith("model")]
    assert check.state == "ok"
    assert "experts.high is wan2.2_i2v_high_noise_14B.safetensors (fp16, 0.00 GiB)" in check.detail
    wrong = "model.experts.low=wan2.2_i2v_high_noise_14B.safetensors"
    (check,) = [check for check in examine([*asked, wrong]) if check.name.startswith("model")]
    assert check.state == "fail"
    assert "says of itself that it is the high expert" in check.detail


def test_a_plan_names_the_files_and_refuses_the_wrong_ones(folder: Path, tmp_path, capsys) -> None:
    asked = ["plan", "first_look", "model=wan22_i2v_a14b", f"model.source={folder}"]
    asked.append(f"studies={tmp_path / 'studies'}")
    assert main([*asked, "--json"]) == 0
    (model,) = json.loads(capsys.readouterr().out)["models"]
    assert Path(model["experts"]["low"]).name == "wan2.2_i2v_low_noise_14B.safetensors"
    assert main(asked) == 0
    assert "model.vae: wan_2.1_vae.safetensors (fp16" in capsys.readouterr().out
    assert main([*asked, "model.vae=wan2.2_vae.safetensors"]) != 0
    assert "wan2.2_vae.safetensors is Wan 2.2's VAE" in capsys.readouterr().err


def test_a_comfyui_workflow_loads_the_files_that_the_recipe_used(folder: Path) -> None:
    write(folder / "vae" / "mine" / "vae_fp16.safetensors", {"x": (1,)})
    recipe = recipe_of(folder, vae="mine/vae_fp16.safetensors")
    names = files_for(recipe.model, {**own_names(recipe.files), "clip": "given.safetensors"})
    assert names.experts == (
        "wan2.2_i2v_high_noise_14B.safetensors",
        "wan2.2_i2v_low_noise_14B.safetensors",
    )
    assert (names.vae, names.clip) == ("mine/vae_fp16.safetensors", "given.safetensors")


def test_an_exported_workflow_has_them(folder: Path, capsys) -> None:
    command = ["export", "--to", "comfyui", "--out", "-", *SPLIT, f"model.source={folder}"]
    assert main(command) == 0
    text = capsys.readouterr().out
    for name in ("wan2.2_i2v_high_noise_14B", "wan2.2_i2v_low_noise_14B", "umt5_xxl"):
        assert f'"{name}.safetensors"' in text


def test_an_exported_script_says_that_it_loads_other_files(folder: Path, capsys) -> None:
    command = ["export", "--to", "diffusers", "--out", "-", *SPLIT, f"model.source={folder}"]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "MODEL = 'Wan-AI/Wan2.2-I2V-A14B-Diffusers'" in text
    assert "Its weights are single files" in text


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("/a/ComfyUI/models/diffusion_models/wan/high.safetensors", "wan/high.safetensors"),
        ("/a/unet/high.safetensors", "high.safetensors"),
        ("/a/vae/high.safetensors", "high.safetensors"),
        ("high.safetensors", "high.safetensors"),
    ],
)
def test_comfyui_calls_a_file_by_its_place_below_its_folder(name, expected) -> None:
    assert comfy_name(name, "experts.high") == expected
