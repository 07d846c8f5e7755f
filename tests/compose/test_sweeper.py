"""The plain Hydra application makes the same trials as ``wanexp sweep``, and stays Hydra's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wanexp.compose import expand_sweep, shipped_folder

APPLICATION = """
import json
from pathlib import Path
from wanexp.compose.application import run_application

def task(tree):
    with Path("seen.jsonl").open("a") as file:
        print(json.dumps(tree), file=file)

def drive(sweep, launch):
    for sentence in launch(sweep.points):
        print("then", sentence)

if __name__ == "__main__":
    run_application(task)
"""
SWEEP = """# @package _global_
defaults:
  - override /recipe: two_stage
  - override /protocol: smoke
hydra:
  mode: MULTIRUN
  sweeper:
    drive: application.drive
    params:
      recipe.stages.refine.denoise: "0.4,0.5"
    arms:
      plain: []
      cold: [recipe.stages.refine.cfg=1.0]
      other: [recipe=guide/two_stage]
"""

ONE = ["recipe.stages.refine.denoise=0.4"]

Tree = dict[str, object]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A user's folder with an application that records what it is asked to run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "application.py").write_text(APPLICATION)
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "mine.yaml").write_text(SWEEP)
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "seen.jsonl").unlink(missing_ok=True)
    return subprocess.run(
        [sys.executable, "application.py", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(shipped_folder())},
    )


def seen(folder: Path, *arguments: str) -> list[Tree]:
    done = run(folder, *arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (folder / "seen.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        [*ONE, "case=coffee,brick", "seed=range(2)", "recipe.width=64", "seed=3,4"],
        [*ONE, "case=template/face", "case.image=skimage:coffee.png", "seed=0"],
        ["case.prompt='a face, talking','it\\'s'", *ONE],
    ],
    ids=["file", "axes", "template", "quotes"],
)
def test_hydra_runs_the_trials_that_the_sweep_asks_for(folder, overrides):
    sweep = expand_sweep("mine", overrides)
    expected = [{**point.tree, "arm": point.arm, "study": "mine"} for point in sweep.points]
    assert seen(folder, "+sweeps=mine", *overrides) == expected


def test_without_several_values_hydra_runs_one_trial(folder):
    (tree,) = seen(folder, "seed=4", "case=coffee")
    assert (tree["seed"], tree["study"], tree["arm"]) == (4, "runs", "default")


def test_hydras_own_multirun_needs_no_sweep_file(folder):
    axes = ["recipe=single,two_stage", "seed=3", "case=coffee", "study=mine"]
    trees = seen(folder, "-m", *axes, "hydra.sweeper.drive=application.drive")
    assert [(tree["arm"], tree["seed"], tree["study"]) for tree in trees] == [
        ("single", 3, "mine"),
        ("two_stage", 3, "mine"),
    ]


def test_hydras_own_flags_work_and_run_nothing(folder):
    shown = run(folder, "--cfg", "job", "recipe=single", "case=coffee")
    assert shown.returncode == 0
    assert "name: coffee" in shown.stdout
    help_text = run(folder, "--help")
    assert help_text.returncode == 0
    assert "sweeps: ab_protocol," in help_text.stdout
    assert ", mine," in help_text.stdout
    assert run(folder, "+sweeps=mine", "--info", "searchpath").returncode == 0
    assert not (folder / "seen.jsonl").exists()


def test_hydra_looks_into_no_folder_of_the_users_but_conf_and_sweeps(folder):
    (folder / "data" / "deep").mkdir(parents=True)
    (folder / "data" / "deep" / "stray.yaml").write_text("a: 1\n")
    assert "stray" not in run(folder, "--help").stdout


def test_what_cannot_mean_anything_is_refused_before_any_trial_runs(folder):
    done = run(folder, "-m", "+sweeps=mine", "tracking=none,local")
    assert done.returncode != 0
    assert "tracking: an axis belongs to one of" in done.stderr
    assert not (folder / "seen.jsonl").exists()


@pytest.mark.slow  # it loads PyTorch
def test_the_programme_itself_is_such_an_application(folder):
    done = subprocess.run(
        [sys.executable, "-m", "wanexp.run", "--cfg", "job", "seed=0"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(shipped_folder())},
    )
    assert done.returncode == 0, done.stderr
    assert "seed: 0" in done.stdout
