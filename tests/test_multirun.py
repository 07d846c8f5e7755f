"""Hydra's own multirun as a study: nothing twice, every failure told, whole at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wanexp.compose import shipped_folder

APPLICATION = '''
"""Stands in for wanexp.run: records are written, no model is loaded."""
import sys
import time
from pathlib import Path

from wanexp.compose.application import run_application
from wanexp.config import trial_digest, trial_from
from wanexp.options import options_from
from wanexp.plan import make_plan
from wanexp.record import StudyPaths, TrialRecord, utc_now
from wanexp.recording import recording, trial_tree


def task(tree):
    trial, options = trial_from(tree), options_from(tree)
    plan = make_plan(trial.recipe)
    digest = trial_digest(trial, plan.key())
    study = StudyPaths(options.folder / str(tree["study"]))
    with Path("ran.txt").open("a") as file:
        print(tree["arm"], tree["seed"], file=file)
    record = TrialRecord(
        digest=digest, study=study.name, arm=str(tree["arm"]), trial=trial_tree(trial),
        plan=plan.tree(), started=utc_now(),
    )
    with recording(study.trial(digest), record):
        if Path("slow").exists():
            time.sleep(60)
        if tree["arm"] in Path("failing").read_text().split():
            raise RuntimeError(f"{tree['arm']} has no luck")


if __name__ == "__main__":
    run_application(task)
'''
SWEEP = """# @package _global_
# Question: which?
defaults:
  - override /recipe: two_stage
  - override /protocol: smoke
  - override /tracking: none
hydra:
  mode: MULTIRUN
  sweeper:
    params: {seed: "0,1"}
    arms:
      long: [recipe.stages.refine.steps=30]
      other: [recipe.stages.establish.steps=9]
      same: [recipe.stages.refine.steps=30]
      short: [recipe.stages.refine.steps=3]
    drop: ["arm == 'short' and seed == 1"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "application.py").write_text(APPLICATION)
    (tmp_path / "failing").write_text("")
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "mine.yaml").write_text(SWEEP)
    return tmp_path


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    (folder / "ran.txt").unlink(missing_ok=True)
    return subprocess.Popen(
        [sys.executable, "application.py", "+sweeps=mine", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(shipped_folder())},
    )


def run(folder: Path, *arguments: str) -> tuple[int, list[str], str]:
    """Exit status, what ran, what was said on standard error."""
    process = start(folder, *arguments)
    _, err = process.communicate(timeout=120)
    ran = folder / "ran.txt"
    return process.returncode, ran.read_text().splitlines() if ran.exists() else [], err


def states(folder: Path) -> list[str]:
    records = (folder / "studies" / "mine" / "trials").glob("[!.]*/record.json")
    return sorted(json.loads(path.read_text())["state"] for path in records)


def test_equal_plans_run_once_beside_those_that_begin_alike_and_never_again(folder):
    status, ran, err = run(folder)
    assert status == 0, err
    assert ran == ["long 0", "short 0", "other 0", "long 1", "other 1"]
    assert states(folder) == ["completed"] * 5
    study = json.loads((folder / "studies" / "mine" / "study.json").read_text())
    assert len(study["trials"]) == 7  # "same" is answered by the trials of "long"
    assert run(folder)[:2] == (0, [])
    assert run(folder, "seed=0,1,2")[1] == ["long 2", "short 2", "other 2"]


def test_failing_trials_stop_nothing_and_are_told_twice(folder):
    (folder / "failing").write_text("long short")
    status, ran, err = run(folder)
    assert (status, len(ran)) == (1, 5)
    assert states(folder) == ["completed"] * 2 + ["failed"] * 3
    assert err.count("failed long · astronaut · seed 0: RuntimeError: long has no luck") == 2
    assert err.count("failed short · astronaut · seed 0: RuntimeError: short has no luck") == 2
    assert "Traceback" not in err
    (folder / "failing").write_text("")
    assert run(folder)[1] == ["long 0", "short 0", "long 1"]


def test_ctrl_c_ends_with_one_sentence_and_a_whole_study(folder):
    (folder / "slow").touch()
    process = start(folder)
    deadline = time.monotonic() + 60
    while not (folder / "ran.txt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "goes on where it was" in err and "Traceback" not in err
    assert (folder / "studies" / "mine" / "videos").is_dir()
    (folder / "slow").unlink()
    assert run(folder)[0] == 0
    assert states(folder) == ["completed"] * 5


def test_a_sweep_that_cannot_run_is_refused_before_any_trial(folder):
    status, ran, err = run(folder, "recipe.width=100")
    assert (status, ran) == (1, [])
    assert "recipe.width: wan_mini needs a multiple of 16" in err
    assert not (folder / "studies").exists()
