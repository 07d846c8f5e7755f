"""The verbs ``export`` and ``import``, from a study with planted measurements to files and back."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from wanexp.cli import main
from wanexp.compose import compose_tree
from wanexp.config import recipe_from, trial_from
from wanexp.plan import make_plan
from wanexp.presets.comfy_graph import read_graph
from wanexp.record import StudyPaths, TrialRecord, read_record


@pytest.fixture(scope="module")
def folder(swept, tmp_path_factory) -> Path:
    """A finished study in which A is better than the baseline by flicker."""
    return shutil.copytree(swept, tmp_path_factory.mktemp("exporting") / "home")


def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """(status, standard output, standard error) of a command line run in ``folder``."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        status = main(arguments)
    return status, out.getvalue(), err.getvalue()


def exported(folder: Path, *arguments: str) -> str:
    status, out, err = run(folder, "export", "mine", "tracking=none", *arguments, "--out", "-")
    assert status == 0, err
    return out


def refused(folder: Path, *arguments: str) -> str:
    status, out, err = run(folder, *arguments)
    assert status == 2 and out == "" and err.count("\n") == 1, (out, err)
    return err


# Choosing


def test_the_best_preset_is_the_winner_with_its_evidence(folder) -> None:
    preset = yaml.safe_load(exported(folder, "--best"))
    evidence = preset["evidence"]
    assert (evidence["arm"], evidence["baseline"], evidence["metric"]) == (
        "A",
        "baseline",
        "flicker",
    )
    assert evidence["verdict"].startswith("A is better than baseline: flicker is 50 % lower")
    assert evidence["effect"] == "50 % lower"
    assert (evidence["cases"], evidence["pairs"]) == (8, 8)
    assert evidence["numbers"]["low"] <= evidence["numbers"]["mean"] < 0
    assert "Confirm it" in evidence["reach"]
    assert preset["recipe"]["stages"]["refine"]["denoise"] == 0.5
    assert preset["model"]["name"] == "wan_mini"
    assert len(preset["model"]["weights"]) == 16


def record_of(folder: Path, arm: str, case: str) -> TrialRecord:
    for paths in StudyPaths(folder / "studies" / "mine").found():
        record = read_record(paths.record)
        told = record.trial["case"]
        if record.arm == arm and isinstance(told, dict) and told["name"] == case:
            return record
    raise AssertionError((arm, case))


def test_a_preset_holds_the_plan_that_ran(folder) -> None:
    preset = yaml.safe_load(exported(folder, "--arm", "B", "--case", "brick"))
    ran = record_of(folder, "B", "brick").plan["stages"]
    assert isinstance(ran, dict)
    assert preset["example"]["case"] == "brick"
    for name, stage in preset["plan"]["stages"].items():
        assert stage["sigmas"] == pytest.approx(ran[name]["sigmas"])
        assert stage["experts"] == ran[name]["experts"]


def test_an_arm_that_did_not_win_says_so(folder) -> None:
    preset = yaml.safe_load(exported(folder, "--arm", "B"))
    assert preset["recipe"]["stages"]["refine"]["steps"] == 28
    assert "B is better" not in preset["evidence"]["verdict"]
    baseline = yaml.safe_load(exported(folder, "--arm", "baseline"))
    assert baseline["evidence"]["verdict"] == "The baseline; A is better by flicker."


def test_another_metric_is_a_hint_and_not_a_verdict(folder) -> None:
    preset = yaml.safe_load(exported(folder, "--best", "--metric", "motion_top5"))
    assert preset["evidence"]["arm"] == "baseline"
    assert preset["evidence"]["verdict"] == "No arm is shown to be better than baseline."
    assert "chosen after looking" in preset["evidence"]["chosen_by"]


def test_a_trial_is_chosen_by_the_beginning_of_its_digest(folder) -> None:
    digest = record_of(folder, "C", "moon").digest
    preset = yaml.safe_load(exported(folder, "--trial", digest[:10]))
    assert preset["name"] == preset["evidence"]["trial"] == digest
    assert preset["evidence"]["verdict"] == "One video, which was compared with nothing."
    assert preset["evidence"]["values"]["flicker"] == pytest.approx(
        record_of(folder, "C", "moon").measurements["flicker"]["value"]
    )


def test_what_does_not_exist_is_refused_by_name(folder) -> None:
    assert "no study 'mien' in" in refused(folder, "export", "mien", "--best")
    assert "no arm named 'a'" in refused(folder, "export", "mine", "--arm", "a")
    assert "no trial begins with 'xyz'" in refused(folder, "export", "mine", "--trial", "xyz")
    assert "--to: no target named 'comfy'" in refused(
        folder, "export", "mine", "--best", "--to", "comfy"
    )
    assert "has no such trial" in refused(folder, "export", "mine", "--arm", "A", "--case", "x")
    assert "one of --best, --arm NAME and --trial" in refused(folder, "export", "mine")
    assert "choose from a STUDY" in refused(folder, "export", "recipe=single", "--best")
    assert "only comfyui" in refused(
        folder, "export", "mine", "--best", "--file", "high=x", "--out", "-"
    )


def altered(folder: Path, home: Path, digest: str, change: Callable[[dict], object]) -> None:
    """A copy of the studies in which one trial's record says something else."""
    shutil.copytree(folder / "studies", home / "studies", dirs_exist_ok=True)
    path = home / "studies" / "mine" / "trials" / digest / "record.json"
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))


def test_a_trial_that_ran_by_another_plan_is_refused(folder, tmp_path) -> None:
    digest = record_of(folder, "B", "moon").digest

    def move(tree: dict) -> None:
        tree["plan"]["stages"]["refine"]["sigmas"][1] += 0.01

    altered(folder, tmp_path, digest, move)
    assert "ran by another plan" in refused(tmp_path, "export", "mine", "--trial", digest)


def test_a_preset_whose_weights_have_changed_says_so(folder, tmp_path) -> None:
    digest = record_of(folder, "B", "moon").digest
    assert "other_weights" not in exported(folder, "--trial", digest)
    altered(folder, tmp_path, digest, lambda tree: tree["trial"].update(weights="f" * 16))
    preset = yaml.safe_load(exported(tmp_path, "--trial", digest))
    assert "others by now" in preset["evidence"]["other_weights"]
    assert preset["model"]["weights"] == "f" * 16


# Targets


def test_a_hydra_recipe_is_read_back_as_the_plan_that_it_was(folder, tmp_path) -> None:
    (tmp_path / "conf" / "recipe").mkdir(parents=True)
    text = exported(folder, "--best", "--to", "hydra")
    (tmp_path / "conf" / "recipe" / "best.yaml").write_text(text)
    with contextlib.chdir(tmp_path):
        back = trial_from(compose_tree(["recipe=best"]))
        other = trial_from(compose_tree(["recipe=best", "recipe.stages.refine.denoise=0.4"]))
    ran = record_of(folder, "A", "brick").trial
    assert make_plan(back.recipe).key() == make_plan(recipe_from(ran["model"], ran["recipe"])).key()
    assert other.recipe.stages[1].denoise == 0.4
    assert "A is better than baseline" in text.splitlines()[1]


def test_the_recipe_in_a_preset_file_is_one_too(folder) -> None:
    preset = yaml.safe_load(exported(folder, "--best"))
    recipe = recipe_from({"name": preset["model"]["name"]}, preset["recipe"])
    plan = make_plan(recipe)
    assert plan.model_calls == preset["plan"]["model_calls"]
    for stage in plan.stages:
        assert list(stage.sigmas) == pytest.approx(preset["plan"]["stages"][stage.name]["sigmas"])


def test_a_script_carries_its_evidence(folder) -> None:
    text = exported(folder, "--best", "--to", "diffusers")
    assert "A is better than baseline: flicker is 50 % lower" in text
    compile(text, "made.py", "exec")


def test_the_same_stages_go_to_comfyui_on_the_large_model_or_are_refused_by_name(folder) -> None:
    told = refused(folder, "export", "mine", "--best", "--to", "comfyui", "--out", "-")
    assert "ComfyUI cannot load wan_mini" in told
    large = ("--to", "comfyui", "--model", "wan22_i2v_a14b", "--out", "-")
    told = refused(folder, "export", "mine", "--best", *large)
    assert "recipe.stages.establish: dpmpp_2m keeps a history" in told


def test_another_model_takes_its_own_sizes_and_no_credit(folder) -> None:
    preset = yaml.safe_load(exported(folder, "--best", "--model", "wan22_i2v_a14b"))
    assert preset["recipe"]["width"] == 832
    assert preset["recipe"]["shift"] == 5.0
    assert preset["recipe"]["stages"]["refine"]["cfg"] == 3.5
    assert "nothing is known of it on wan22_i2v_a14b" in preset["evidence"]["another_model"]


def test_a_recipe_without_a_study_is_exported_with_no_evidence(tmp_path) -> None:
    asked = ("recipe=split_high_low", "model=wan22_i2v_a14b", "seed=4")
    status, out, _ = run(tmp_path, "export", *asked, "--to", "comfyui", "--file", "low=my.gguf")
    assert status == 0
    assert "Nothing has been measured" in out
    assert "Needs ComfyUI 0.3.46 or newer" in out
    graph = read_graph((tmp_path / "split_high_low.comfyui.json").read_text(), "w")
    assert {"4000", "my.gguf"} <= {str(v) for node in graph.values() for v in node.inputs.values()}


def test_files_go_to_the_studys_presets_and_json_says_where(folder) -> None:
    arguments = ("export", "mine", "--arm", "C", "--to", "diffusers", "tracking=none", "--json")
    told = json.loads(run(folder, *arguments)[1])
    assert told["target"] == "diffusers"
    assert told["file"].endswith("studies/mine/presets/C.py")
    assert (folder / told["file"]).is_file()


def test_the_best_preset_is_kept_with_the_study(folder) -> None:
    assert run(folder, "export", "mine", "--best", "--to", "hydra", "tracking=none")[0] == 0
    kept = yaml.safe_load((folder / "studies" / "mine" / "presets" / "best.yaml").read_text())
    assert kept["evidence"]["arm"] == "A"


# The way back


def test_an_exported_workflow_is_imported_as_a_recipe_that_composes(tmp_path) -> None:
    asked = ("recipe=split_high_low", "model=wan22_i2v_a14b", "seed=4")
    run(tmp_path, "export", *asked, "--to", "comfyui")
    status, out, _ = run(tmp_path, "import", "split_high_low.comfyui.json")
    assert status == 0
    assert "recipe=split_high_low model=wan22_i2v_a14b seed=4" in out
    assert "high: 8 steps of euler, sigma 1.000 to 0.882" in out
    with contextlib.chdir(tmp_path):
        back = trial_from(compose_tree(["recipe=split_high_low", *asked[1:]]))
    again = make_plan(back.recipe)
    with contextlib.chdir(Path(__file__).parent):
        own = make_plan(trial_from(compose_tree(list(asked))).recipe)
    assert again.key() == own.key()


def test_a_recipe_that_is_there_is_not_written_over(tmp_path) -> None:
    asked = ("recipe=split_high_low", "model=wan22_i2v_a14b")
    run(tmp_path, "export", *asked, "--to", "comfyui")
    run(tmp_path, "import", "split_high_low.comfyui.json")
    assert "is there already" in refused(tmp_path, "import", "split_high_low.comfyui.json")
    told = run(tmp_path, "import", "split_high_low.comfyui.json", "--out", "x.yaml", "--json")
    assert json.loads(told[1])["model"] == "wan22_i2v_a14b"


def test_what_is_no_workflow_is_refused(tmp_path) -> None:
    for name, content in {
        "a.json": "{",
        "b.json": "{}",
        "c.json": '{"nodes": [{"id": 1}]}',
    }.items():
        (tmp_path / name).write_text(content)
        assert name in refused(tmp_path, "import", name)
    (tmp_path / "d.json").write_bytes(b"\x89PNG\xff")
    assert "not text" in refused(tmp_path, "import", "d.json")
    assert "no file" in refused(tmp_path, "import", "e.json")
