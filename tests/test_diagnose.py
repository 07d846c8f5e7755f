"""``wanexp diagnose`` on studies whose stages were planted."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json

import pytest

from tests.analysis.studies import measured
from tests.planted import Standing
from wanexp import run
from wanexp.cli import main
from wanexp.diagnose import changed
from wanexp.generate import OnEvaluation
from wanexp.options import Options
from wanexp.planned import PlannedTrial
from wanexp.record import StudyPaths, TrialRecord
from wanexp.recording import recording
from wanexp.strict import ConfigError

SWEEP = """# @package _global_
defaults:
  - override /recipe: two_stage
  - override /protocol: smoke
hydra:
  sweeper:
    params:
      case: "astronaut,brick"
      seed: "0"
    arms:
      strong: [recipe.stages.refine.denoise=0.6]
      mild: [recipe.stages.refine.denoise=0.4]
"""


def detail_after(planned: PlannedTrial) -> float:
    """A second stage above denoise 0.4 loses detail; brick loses it below that, too."""
    denoise = planned.plan.stages[-1].denoise or 0
    if planned.case == "brick":
        return 0.6
    return 0.6 if denoise > 0.4 else 0.9


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """The study, run; the list grows with what runs later."""
    done: list[PlannedTrial] = []

    def run_trial(
        planned: PlannedTrial,
        study: StudyPaths,
        options: Options,
        on_evaluation: OnEvaluation | None = None,
    ) -> TrialRecord:
        done.append(planned)
        with recording(study.trial(planned.digest), run.new_record(planned, study)) as draft:
            motion = {"motion_top5": measured(20.0, "higher")}
            ends = {"establish": 0.8, "refine": detail_after(planned)}
            scores = {
                name: {"detail": measured(value, "one"), **motion} for name, value in ends.items()
            }
            stages = {
                name: {"seconds": 1.0, "model_calls": 40, "measurements": own}
                for name, own in scores.items()
                if options.measure_stages
            }
            draft.record = dataclasses.replace(
                draft.record, measurements=scores["refine"], stages=stages, model_calls=80
            )
        return draft.record

    monkeypatch.setattr(run, "begin_trial", Standing(run_trial))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "mine.yaml").write_text(SWEEP)
    assert talk("sweep", "mine", "tracking=none")[0] == 0
    return done


def talk(*arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        status = main(arguments)
    return status, " ".join(out.getvalue().split())


def test_a_study_is_told_arm_by_arm_what_its_stages_show(ran):
    status, out = talk("diagnose", "mine")
    assert status == 0
    assert "strong: stage 2 looks worse than stage 1, in 2 of 2 videos" in out
    assert "mild: stage 2 looks worse than stage 1, in 1 of 2 videos" in out
    assert "detail goes from 0.8 after establish to 0.6 after refine" in out
    assert "fix recipe.stages.refine.denoise=0.35" in out
    assert out.count("wan-mini the remedies do nothing") == 1


def test_one_trial_is_told_by_the_first_digits_of_its_digest(ran):
    status, out = talk("diagnose", ran[0].digest[:8])
    assert status == 0 and "strong: stage 2 looks worse than stage 1 shown by" in out


def test_the_fix_runs_beside_what_it_mends_and_says_whether_it_helped(ran):
    before = len(ran)
    status, out = talk("diagnose", "mine", "--run", "tracking=none")
    assert status == 0
    assert "strong: recipe.stages.refine.denoise=0.35 against second_worse helped in 1 of 2" in out
    assert "in 1 of them it is gone" in out
    again = ran[before:]
    assert {one.arm for one in again} >= {"strong", "recipe.stages.refine.denoise=0.35"}
    assert {one.plan.stages[1].denoise for one in again if "0.35" in one.arm} == {0.35}
    assert talk("compare", "mine-strong-fixes")[0] == 0


def test_the_study_that_is_diagnosed_stays_as_it_was(ran, tmp_path):
    study = tmp_path / "studies" / "mine" / "study.json"
    before = study.read_bytes()
    talk("diagnose", "mine", "--run", "tracking=none")
    assert study.read_bytes() == before


def test_json_has_every_sign_and_every_fix(ran):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        main(["diagnose", "mine", "--run", "--json", "tracking=none"])
    tree = json.loads(out.getvalue())
    assert [one["rule"] for one in tree["found"]] == ["second_worse"] * 3
    assert [one["fix"] for one in tree["found"]][-1] is None  # mild's settings show no cause
    (strong,) = tree["fixes"]
    assert (strong["arm"], strong["helped"], strong["after"][0]) == ("strong", 1, 0.0)


def test_stages_that_were_not_measured_are_named(tmp_path, ran):
    assert talk("sweep", "mine", "tracking=none", "measure_stages=false", "seed=1")[0] == 0
    _, out = talk("diagnose", "mine")
    assert "of 4 videos the stages were not measured" in out


def test_what_is_not_there_is_refused_with_the_nearest_name(ran):
    status, out = talk("diagnose", "mne")
    assert status == 2 and "no study or trial 'mne'" in out and "did you mean 'mine'?" in out
    assert talk("diagnose", "abcd")[0] == 2


def test_a_line_of_overrides_changes_a_trial_and_nothing_else():
    tree = {"recipe": {"frames": 17, "stages": {"a": {"cfg": 2.0}, "b": {"cfg": 1.0}}}}
    own = changed(tree, "recipe.stages.a.cfg=null recipe.frames=13 ~recipe.stages.b")
    assert own == {"recipe": {"frames": 13, "stages": {"a": {"cfg": None}}}}
    assert tree["recipe"]["frames"] == 17
    with pytest.raises(ConfigError, match=r"the trial has no recipe\.stages\.c\.cfg"):
        changed(tree, "recipe.stages.c.cfg=1")
