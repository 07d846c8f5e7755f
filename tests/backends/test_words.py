"""Video from words alone: the latents of diffusers, and a study from its first trial to presets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers.pipelines.wan.pipeline_wan import WanPipeline
from safetensors.torch import load_file
from torch import Tensor

from tests.backends.reference import CPU, NEGATIVE, PROMPT, SEED, euler, reference
from tests.backends.single_files import in_wans_names, own_weights, write
from wanexp.backends.diffusers import open_backend
from wanexp.cli import main
from wanexp.compose import compose_tree
from wanexp.config import Case, Recipe, Trial, recipe_from, trial_from
from wanexp.generate import generate
from wanexp.metrics import METRICS, NO_SOURCE
from wanexp.planned import plan_trial
from wanexp.record import StudyPaths, read_record
from wanexp.staged import encode_case
from wanexp.strict import ConfigError

CASE = Case(name="words", prompt=PROMPT, negative_prompt=NEGATIVE)


def ours(recipe: Recipe) -> Tensor:
    planned = plan_trial(Trial(recipe=recipe, case=CASE, seed=SEED, memory=CPU), "a")
    backend = open_backend(recipe, CPU)
    told = encode_case(planned, None, backend, None)
    *_, end = generate(planned.plan, told, [SEED] * len(planned.plan.stages), backend)
    return end.latent


def theirs(folder: Path, recipe: Recipe, cfgs: list[float]) -> Tensor:
    return reference(WanPipeline.from_pretrained(folder, dtype=torch.float32), recipe, cfgs)


@pytest.mark.parametrize("cfgs", [[4.0], [4.0, 3.0], [2.0, 1.0]], ids=str)
def test_two_experts_make_the_latents_of_diffusers(wide_t2v: Path, cfgs: list[float]) -> None:
    recipe = euler("wan22_t2v_a14b", wide_t2v, cfgs, width=64, height=64, frames=9)
    expected = theirs(wide_t2v, recipe, cfgs)
    assert expected.std() > 0.5
    torch.testing.assert_close(ours(recipe), expected, atol=1e-5, rtol=0)


def test_the_dense_model_goes_by_words_where_a_case_has_no_image(tiny_5b: Path) -> None:
    recipe = euler("wan22_ti2v_5b", tiny_5b, [5.0], width=64, height=64, frames=9)
    expected = theirs(tiny_5b, recipe, [5.0])
    torch.testing.assert_close(ours(recipe), expected, atol=1e-5, rtol=0)


def test_each_kind_of_a14b_refuses_the_others_folder(wide_t2v: Path, wide_a14b: Path) -> None:
    with pytest.raises(ConfigError, match="is a WanPipeline, but wan22_i2v_a14b is a WanImage"):
        open_backend(euler("wan22_i2v_a14b", wide_t2v, [2.0], width=64, height=64, frames=9), CPU)
    with pytest.raises(ConfigError, match="is a WanImageToVideoPipeline, but wan22_t2v_a14b is a"):
        open_backend(euler("wan22_t2v_a14b", wide_a14b, [2.0], width=64, height=64, frames=9), CPU)


def test_single_files_make_the_bits_of_the_folder(wide_t2v: Path, tmp_path: Path) -> None:
    parts = {"high": "transformer", "low": "transformer_2"}
    files = {
        name: write(tmp_path / f"t2v_{name}.safetensors", in_wans_names(own_weights(wide_t2v / p)))
        for name, p in parts.items()
    }
    whole = euler("wan22_t2v_a14b", wide_t2v, [4.0, 3.0], width=64, height=64, frames=9)
    experts = {name: str(path) for name, path in files.items()}
    tree = {"name": "wan22_t2v_a14b", "source": str(wide_t2v), "experts": experts}
    stages = {stage.name: {**vars(stage)} for stage in whole.stages}
    for stage in stages.values():
        del stage["name"]
    size = {key: getattr(whole, key) for key in ("width", "height", "frames", "steps", "shift")}
    assert torch.equal(ours(recipe_from(tree, {**size, "stages": stages})), ours(whole))


def test_a_case_of_a_picture_is_words_to_a_model_that_sees_none() -> None:
    case = trial_from(compose_tree(["model=wan22_t2v_a14b", "case=astronaut"])).case
    assert (case.image, case.crop, case.face_box, case.regions) == (None, None, None, {})
    assert case.prompt == "high quality, a face talks, camera pans left"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["case.image=null"], r"astronaut\.crop: a part of an image, and there is none"),
        (["case.crop=null", "case.face_box=null", "case.image=null"], "wan_mini makes video from"),
    ],
)
def test_what_needs_an_image_says_so(changes: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        trial_from(compose_tree(["case=astronaut", *changes]))


@pytest.fixture(scope="module")
def study(wide_t2v: Path, tmp_path_factory: pytest.TempPathFactory) -> StudyPaths:
    """One finished trial of words."""
    folder = tmp_path_factory.mktemp("words") / "studies"
    model = ["model=wan22_t2v_a14b", f"model.source={wide_t2v}"]
    sizes = ["recipe.width=64", "recipe.height=64", "recipe.frames=9"]
    stages = ["recipe.stages.establish.steps=2", "recipe.stages.refine.steps=2"]
    more = ["keep_latents=true", "tracking=none", "metrics=null", f"studies={folder}"]
    primary = "protocol.primary=flicker"
    assert main(["sweep", "demo", "--limit", "1", primary, *model, *sizes, *stages, *more]) == 0
    return StudyPaths(folder / "demo")


def test_a_trial_of_words_is_measured_by_what_needs_no_source(study: StudyPaths) -> None:
    (paths,) = study.found()
    record = read_record(paths.record)
    assert record.trial["image_sha256"] is None
    assert not paths.source.exists()
    reasons = {name: one["reason"] for name, one in record.measurements.items()}
    against = {name for name, metric in METRICS.items() if metric.against_source}
    assert {name for name, reason in reasons.items() if reason == NO_SOURCE} == against
    assert record.measurements["motion_top5"]["value"] is not None
    assert record.measurements["flicker"]["reason"] != NO_SOURCE


def test_likeness_to_a_source_decides_no_study_of_words(capsys) -> None:
    assert main(["plan", "demo", "model=wan22_t2v_a14b"]) == 2
    said = capsys.readouterr().err
    assert "protocol.primary: detail compares with a source image" in said
    assert "these need none: flicker, " in said
    assert main(["plan", "search", "model=wan22_t2v_a14b", "protocol.primary=flicker"]) == 2
    assert "search.objectives: detail compares" in capsys.readouterr().err
    assert main(["plan", "demo", "model=wan22_t2v_a14b", "protocol.primary=flicker"]) == 0


def test_a_workflow_of_words_asks_for_no_picture(tmp_path: Path, capsys) -> None:
    file, words = tmp_path / "words.json", ["model=wan22_t2v_a14b", "recipe=split_high_low"]
    shared = ["export", *words, "recipe.stages.high.sigma_end=0.87", "case=coffee"]
    assert main([*shared, "--to", "comfyui", "--out", str(file)]) == 0
    assert "picture" not in capsys.readouterr().out
    nodes = {node["class_type"]: node["inputs"] for node in json.loads(file.read_text()).values()}
    assert nodes["EmptyHunyuanLatentVideo"]["length"] == 81
    assert not nodes.keys() & {"LoadImage", "WanImageToVideo"}
    assert main(["import", str(file), "--json", "--out", str(tmp_path / "back.yaml")]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == "wan22_t2v_a14b"


def test_the_dense_models_workflow_has_a_picture_only_where_the_case_has_one(
    tmp_path: Path,
) -> None:
    file = tmp_path / "dense.json"
    nothing = ["case.crop=null", "case.face_box=null", "case.image=null"]
    for changes, loads in (([], True), (nothing, False)):
        given = ["model=wan22_ti2v_5b", "recipe=single", "recipe.stages.establish.sampler=euler"]
        assert main(["export", *given, *changes, "--to", "comfyui", "--out", str(file)]) == 0
        nodes = {n["class_type"]: n["inputs"] for n in json.loads(file.read_text()).values()}
        assert ("LoadImage" in nodes) == loads
        assert ("start_image" in nodes["Wan22ImageToVideoLatent"]) == loads


@pytest.mark.slow
def test_the_exported_script_makes_the_trials_latents(study: StudyPaths, tmp_path: Path) -> None:
    script, latents = tmp_path / "words.py", tmp_path / "latents.safetensors"
    assert main([*export(study, "diffusers"), "--out", str(script)]) == 0
    command = [sys.executable, str(script), "--device", "cpu", "--latents", str(latents)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (paths,) = study.found()
    kept, made = load_file(paths.latents), load_file(latents)
    assert kept.keys() == made.keys() == {"establish", "refine"}
    assert all(torch.equal(kept[name], made[name]) for name in kept)


def test_its_page_says_that_there_is_no_source(study: StudyPaths, capsys) -> None:
    assert main(["report", study.name, f"studies={study.root.parent}"]) == 0
    page = study.root / "report" / "index.html"
    assert page.is_file(), capsys.readouterr().out
    assert '"words":true' in page.read_text(encoding="utf-8").replace(" ", "")


def export(study: StudyPaths, to: str) -> list[str]:
    (paths,) = study.found()
    studies = f"studies={study.root.parent}"
    return ["export", study.name, "--trial", paths.digest, "--to", to, studies]
