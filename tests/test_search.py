"""Searches: what is proposed, given up, remembered and said; with planted videos."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.effects import PairedEffects, Scale
from tests.planted import Standing, expand_once
from tests.searching import BEST, Planted
from wanexp import commands, run
from wanexp.cli import main
from wanexp.compose import shipped_folder
from wanexp.options import Protocol
from wanexp.search import is_clearly_worse

SWEEP = """# @package _global_
# Question:    which is better?
# Expectation: none.
# Budget:      some.
defaults:
  - override /recipe: {recipe}
  - override /protocol: smoke
protocol:
  primary: flicker
  margin: 0.1
hydra:
  sweeper:
    search: {search}
    params:
      case: "astronaut,brick,cell,coffee,coins"
      seed: "0"
      recipe.stages.refine.denoise: "{denoise}"
      recipe.stages.refine.steps: "10,20"
"""


def write(
    folder: Path,
    search: str = "{arms: 12}",
    *,
    recipe: str = "two_stage",
    denoise: str = "interval(0.3, 0.9)",
) -> None:
    (folder / "sweeps").mkdir(exist_ok=True)
    text = SWEEP.format(search=search, recipe=recipe, denoise=denoise)
    (folder / "sweeps" / "mine.yaml").write_text(text)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    return tmp_path


def sweep(monkeypatch, planted: Planted, *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr(run, "begin_trial", Standing(planted))
    monkeypatch.setattr(commands, "expand_sweep", expand_once)
    return talk("sweep", "mine", "tracking=none", *arguments)


def talk(*arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        status = main(arguments)
    return status, " ".join(out.getvalue().split())


def arms(folder: Path) -> dict[str, list[str]]:
    """Arm → its cases, from the study's file."""
    study = json.loads((folder / "studies" / "mine" / "study.json").read_text())
    found: dict[str, list[str]] = {}
    for row in study["trials"]:
        found.setdefault(row["arm"], []).append(row["case"])
    return found


def test_a_search_makes_as_many_arms_as_it_is_asked_for_and_finds_the_best(folder, monkeypatch):
    status, out = sweep(monkeypatch, Planted())
    assert status == 0
    assert "arm 1 of 12: refine.denoise=" in out and "arm 12 of 12: refine.denoise=" in out
    assert "arm 13" not in out
    assert "The best of" in out and "protocol=confirm" in out
    denoise = [float(arm.split("denoise=")[1].split(",")[0]) for arm in arms(folder) if "=" in arm]
    assert min(abs(value - BEST) for value in denoise) < 0.03


def test_the_baseline_runs_first_and_is_what_the_others_are_compared_with(folder, monkeypatch):
    planted = Planted()
    sweep(monkeypatch, planted)
    assert {one.arm for one in planted.ran[:5]} == {"baseline"}
    status, out = talk("compare", "mine", "--json")
    assert status == 0 and json.loads(out)["baseline"] == "baseline"


def test_an_arm_that_is_clearly_worse_in_its_first_cases_is_given_up(folder, monkeypatch):
    planted = Planted()
    _, out = sweep(monkeypatch, planted)
    assert (
        "was given up: flicker is worse than the baseline's by more than the margin in each" in out
    )
    ran: dict[str, int] = {}
    for one in planted.ran:
        ran[one.arm] = ran.get(one.arm, 0) + 1
    stopped = {arm for arm, count in ran.items() if count == 2}
    assert stopped and not stopped & set(arms(folder))
    assert set(map(len, arms(folder).values())) == {5}


def test_without_pruning_every_arm_has_every_case(folder, monkeypatch):
    write(folder, "{arms: 6, prune_after: 0}")
    _, out = sweep(monkeypatch, Planted())
    assert "given up" not in out
    assert set(map(len, arms(folder).values())) == {5}


def test_an_arm_of_three_stages_is_given_up_after_its_second(folder, monkeypatch):
    write(folder, "{arms: 8}", recipe="three_stage", denoise="0.55,0.9")
    planted = Planted()
    _, out = sweep(monkeypatch, planted)
    assert "was given up after its second stage" in out
    short = [one for one in planted.ran if one.arm.endswith("(to refine)")]
    assert short and {len(one.plan.stages) for one in short} == {2}
    worse = {one.arm.removesuffix(" (to refine)") for one in short if "0.9" in one.arm}
    assert worse and not worse & {one.arm for one in planted.ran}


def test_started_again_it_does_nothing_and_more_arms_run_the_difference(folder, monkeypatch):
    sweep(monkeypatch, Planted())
    first = arms(folder)
    again = Planted()
    status, _ = sweep(monkeypatch, again)
    assert status == 0 and not again.ran
    more = Planted()
    _, out = sweep(monkeypatch, more, "hydra.sweeper.search.arms=15")
    assert "of 15" in out and "arm 12 of 15" not in out
    assert more.ran and set(first) <= set(arms(folder))
    assert not {one.arm for one in more.ran} & set(first)


def test_the_same_seed_proposes_the_same_and_another_one_does_not(tmp_path, monkeypatch):
    found = []
    for name, search in (("a", "{arms: 5}"), ("b", "{arms: 5}"), ("c", "{arms: 5, seed: 1}")):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        write(tmp_path / name, search)
        planted = Planted()
        sweep(monkeypatch, planted)
        found.append([one.arm for one in planted.ran])
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_ended_anywhere_it_goes_on_with_the_arm_in_hand(tmp_path, monkeypatch, end):
    whole = Planted()
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
        write(tmp_path / name)
    monkeypatch.chdir(tmp_path / "whole")
    sweep(monkeypatch, whole)
    monkeypatch.chdir(tmp_path / "cut")
    after, first = 23, []
    if end == "stop":
        planted = Planted(stop_after=after)
        assert sweep(monkeypatch, planted)[0] == 130
        first = [one.arm for one in planted.ran]
    else:
        command = [sys.executable, "-m", "tests.searching", str(after), "sweep", "mine"]
        killed = subprocess.run(
            [*command, "tracking=none"],
            cwd=tmp_path / "cut",
            env={**os.environ, "PYTHONPATH": str(shipped_folder())},
            capture_output=True,
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL
        first = [one.arm for one in whole.ran[:after]]
    rest = Planted()
    sweep(monkeypatch, rest)
    assert first + [one.arm for one in rest.ran] == [one.arm for one in whole.ran]
    assert arms(tmp_path / "cut") == arms(tmp_path / "whole")


def test_a_limit_stops_it_and_the_same_command_goes_on(folder, monkeypatch):
    first, rest = Planted(), Planted()
    sweep(monkeypatch, first, "--limit", "9")
    assert len(first.ran) == 9
    sweep(monkeypatch, rest)
    assert not {one.digest for one in first.ran} & {one.digest for one in rest.ran}
    assert "baseline" not in {one.arm for one in rest.ran}


def test_what_it_found_can_be_confirmed_on_new_pictures(folder, monkeypatch):
    sweep(monkeypatch, Planted())
    planted = Planted()
    status, out = sweep(monkeypatch, planted, "protocol=confirm", "case=grass,moon,page,rocket")
    assert status == 0, out
    ran = {one.arm for one in planted.ran}
    assert len(ran) == 2 and "baseline" in ran
    assert "is confirmed on" in " ".join(talk("compare", "mine", "--json")[1].split())


def refusal(*overrides: str) -> str:
    status, out = talk("plan", "mine", *overrides)
    assert status == 2
    return out


def test_what_cannot_be_searched_is_refused_before_anything_loads(folder):
    write(folder, "{arms: 4, objectivs: [flicker]}")
    assert "search: unknown key 'objectivs'; did you mean 'objectives'?" in refusal()
    write(folder, "{arms: 4, objectives: [flickr, model_calls]}")
    assert "search.objectives: no metric named 'flickr'; did you mean 'flicker'?" in refusal()
    write(folder, "{arms: 4, objectives: [flicker, model_call]}")
    assert "did you mean 'model_calls'?" in refusal()
    write(folder, "{arms: 0}")
    assert "search.arms: expected at least 1, got 0" in refusal()
    write(folder, "{seed: 3}")
    assert "search: 'arms' is missing" in refusal()
    write(folder, "3")
    assert "hydra.sweeper.search: expected a mapping" in refusal()
    write(folder, denoise="interval(0.5, 1.5)")
    assert "refine.denoise: expected a number in (0, 1], got 1.5" in refusal()
    write(folder, denoise="interval(0.9, 0.3)")
    assert "low < high" in refusal()


def test_arms_of_ones_own_and_a_search_do_not_go_together(folder):
    path = folder / "sweeps" / "mine.yaml"
    path.write_text(path.read_text() + "    arms: {one: []}\n")
    assert "so 'one' cannot be one as well" in refusal()


def test_a_stretch_without_a_search_is_refused_with_the_way_out(folder):
    write(folder, "null")
    assert "an interval has no list of values; use choice or range, or a search" in refusal()


def test_the_plan_says_what_a_search_takes_at_most(folder):
    status, out = talk("plan", "mine")
    assert status == 0
    assert "a search: 12 arms beside the baseline, for flicker and model_calls" in out
    assert "at most 60 trials and 4,560 model calls more" in out  # 36 + 2 × 20 each
    assert "recipe.stages.refine.denoise: 0.3 to 0.9" in out


def test_hydras_own_launcher_refuses_a_search(folder):
    command = [sys.executable, "-m", "wanexp.run", "-m", "+sweeps=mine"]
    run_ = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert run_.returncode != 0 and "a search runs with 'wanexp sweep mine'" in run_.stderr


def effects(*gains: float) -> PairedEffects:
    """By a metric of which less is better."""
    return PairedEffects(
        metric="flicker",
        scale=Scale(kind="ratio", better=-1),
        by_case={f"case{i}": -gain for i, gain in enumerate(gains)},
        pairs=len(gains),
        asked=len(gains),
        undefined=0,
        static=0,
    )


def test_only_what_is_worse_in_every_case_by_more_than_the_margin_is_clearly_worse():
    protocol = Protocol(name="p", primary="flicker", margin=0.1)
    assert is_clearly_worse(effects(-0.2, -0.11), protocol, 2)
    assert not is_clearly_worse(effects(-0.2, -0.1), protocol, 2)  # 10 % is 0.105 in logarithms
    assert not is_clearly_worse(effects(-0.2, 0.3), protocol, 2)
    assert not is_clearly_worse(effects(-0.2), protocol, 2)  # one is undefined


def test_motion_that_is_missing_takes_the_gain_away(folder, monkeypatch):
    still = Planted(motion=lambda planned: 20.0 if planned.arm == "baseline" else 12.0)
    sweep(monkeypatch, still)
    found = json.loads(talk("compare", "mine", "--json")[1])
    assert [arm["arm"] for arm in found["front"] if arm["front_calls"]] == ["baseline"]
    lost = math.log(20 / 12) + math.log1p(-0.1)
    journal = (folder / "studies" / "mine" / "search.journal").read_text()
    values = [json.loads(line).get("values") for line in journal.splitlines()]
    gains = [pair[0] for pair in values if pair]
    assert gains and max(gains) == pytest.approx(-lost)
