"""Studies in rounds: looks that stop them, arms that combine what won, winners tried again."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from analysis.compare import compare_study
from analysis.load import load_study
from tests.planted import CALLS, plant, study, sweep, write_sweep
from wanexp.options import protocol_from

BETTER, ALIKE = 0.5, 1.0
TWO_WIN = {"A": BETTER, "B": ALIKE, "C": 0.6}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_sweep(tmp_path)
    return tmp_path


def settings(folder: Path, arm: str) -> object:
    arms = study(folder)["arms"]
    assert isinstance(arms, dict)
    return arms[arm]["overrides"] if arm in arms else None


def rows(folder: Path, arm: str) -> int:
    trials = study(folder)["trials"]
    assert isinstance(trials, list)
    return sum(row["arm"] == arm for row in trials)


# Arms that combine what won


def test_what_won_is_combined_and_run_by_itself(folder, monkeypatch):
    ran = plant(monkeypatch, TWO_WIN | {"D": 0.3})
    status, result, talk = sweep(folder)
    assert (status, result["trials"], result["completed"]) == (0, 40, 40)
    assert [t.arm for t in ran[-8:]] == ["D"] * 8
    refine = ran[-1].plan.stages[1]
    assert (refine.denoise, refine.steps, refine.cfg) == (0.5, 25, 3.0)
    assert settings(folder, "D") == [
        "recipe.stages.refine.denoise=0.5",
        "recipe.stages.refine.cfg=3.0",
    ]
    assert "A and C are better than baseline: D is both: 8 trials, 688 model calls" in talk
    assert "D combines what is better: A and C." in talk
    assert "D is better than baseline: flicker is 7" in talk


def test_a_finished_study_runs_nothing_again(folder, monkeypatch):
    ran = plant(monkeypatch, TWO_WIN)
    sweep(folder)
    before = study(folder)
    ran.clear()
    _, result, talk = sweep(folder)
    assert ran == [] and study(folder) == before
    assert (result["trials"], result["skipped"], result["model_calls_executed"]) == (40, 40, 0)
    assert "nothing is left to do" in talk


def test_where_nothing_won_nothing_is_combined(folder, monkeypatch):
    ran = plant(monkeypatch, {"A": ALIKE, "B": 1.5, "C": ALIKE})
    _, result, talk = sweep(folder)
    assert (len(ran), result["trials"], rows(folder, "D")) == (32, 32, 0)
    assert (
        "D was not run: it combines what is shown to be better than baseline, and none of A, B"
        in talk
    )


def test_one_winner_is_not_run_twice(folder, monkeypatch):
    ran = plant(monkeypatch, {"A": ALIKE, "B": BETTER, "C": 1.4})
    _, result, talk = sweep(folder)
    assert (len(ran), result["trials"], rows(folder, "D")) == (32, 32, 0)
    assert "D would be B alone, the only one of A, B and C that is better than" in talk


def test_of_winners_that_set_the_same_the_better_is_taken(folder, monkeypatch):
    text = (folder / "sweeps" / "mine.yaml").read_text()
    text = text.replace("refine.steps=28", "refine.denoise=0.6")
    (folder / "sweeps" / "mine.yaml").write_text(text)
    plant(monkeypatch, {"A": 0.7, "B": BETTER, "C": 0.6})
    _, _, talk = sweep(folder)
    assert settings(folder, "D") == [
        "recipe.stages.refine.denoise=0.6",
        "recipe.stages.refine.cfg=3.0",
    ]
    assert "D combines what is better: B and C; A would set the same thing less well." in talk


def test_a_new_seed_that_changes_what_won_changes_what_is_combined(folder, monkeypatch):
    plant(monkeypatch, TWO_WIN)
    sweep(folder)
    assert settings(folder, "D") is not None
    plant(monkeypatch, {"A": 9.0, "B": ALIKE, "C": 0.6})
    _, result, talk = sweep(folder, "seed=0,1")
    assert rows(folder, "D") == 0
    assert (result["trials"], result["completed"]) == (64, 32)
    assert "D would be C alone" in talk


@pytest.mark.parametrize("stop_after", [0, 5, 31, 32, 33, 39])
def test_a_study_that_was_stopped_anywhere_goes_on_where_it_was(folder, monkeypatch, stop_after):
    ran = plant(monkeypatch, TWO_WIN, stop_after=stop_after)
    status, result, talk = sweep(folder)
    assert (status, len(ran), result["completed"]) == (130, stop_after, stop_after)
    assert "the same command goes on where it was" in talk
    again = plant(monkeypatch, TWO_WIN)
    status, result, _ = sweep(folder)
    assert (status, result["trials"], result["completed"]) == (0, 40, 40 - stop_after)
    assert not {t.digest for t in ran} & {t.digest for t in again}
    assert Counter(t.arm for t in [*ran, *again]) == dict.fromkeys([*CALLS, "D"], 8)


def test_a_limit_counts_over_all_rounds(folder, monkeypatch):
    ran = plant(monkeypatch, TWO_WIN)
    done = [sweep(folder, "--limit", "15")[1]["completed"] for _ in range(4)]
    assert (done, len(ran)) == ([15, 15, 10, 0], 40)


def test_the_others_verdicts_do_not_change_when_the_combination_has_run(folder, monkeypatch):
    gains = {"A": BETTER, "B": 0.6, "C": 0.6, "D": 0.1}
    plant(monkeypatch, gains, stop_after=32, noisy=["B"])
    sweep(folder)

    def judged():
        table = load_study(folder / "studies" / "mine")
        return compare_study(table, protocol_from(table.study))

    before = judged().arms
    plant(monkeypatch, gains, noisy=["B"])
    sweep(folder)
    assert judged().arms[:3] == before[:3]
    assert [arm.arm for arm in judged().arms] == ["A", "B", "C", "D"]
    # D counts from the start: B's p, the third of four by size, is multiplied by two.
    alone = before[1].primary.p
    assert alone is not None and 0.025 < alone < 0.05
    assert before[1].p_holm == pytest.approx(2 * alone)


# Looks


def test_a_look_at_which_all_is_decided_is_the_last(tmp_path, monkeypatch):
    write_sweep(tmp_path, looks="[5]")
    ran = plant(monkeypatch, {"A": 0.2, "B": 3.0, "C": 4.0})
    status, result, talk = sweep(tmp_path)
    assert status == 0
    assert Counter(t.arm for t in ran) == dict.fromkeys(CALLS, 5)
    assert (result["trials"], result["completed"], result["skipped"]) == (32, 20, 12)
    # one tree: 36 in common, then 50, 50, 56 and 50
    assert "decided at 5 of 8 cases: what is left need not run, which saves 726 model" in talk
    assert result["model_calls_saved"] == 3 * (36 + 50 + 50 + 56 + 50)
    ran.clear()
    assert sweep(tmp_path)[1]["completed"] == 0
    assert ran == []


def test_a_look_that_leaves_a_question_open_is_not(tmp_path, monkeypatch):
    write_sweep(tmp_path, looks="[5]")
    ran = plant(monkeypatch, {"A": 0.2, "B": ALIKE, "C": 4.0}, noisy=["B"])
    _, result, talk = sweep(tmp_path)
    assert (len(ran), result["completed"]) == (32, 32)
    assert [t.case for t in ran[:20]].count("moon") == 0
    assert "up to the look at 5 of 8 cases: 20 trials, 1210 model calls" in talk


def test_at_any_time_the_first_case_that_decides_is_the_last(tmp_path, monkeypatch):
    write_sweep(tmp_path, any_time="true")
    ran = plant(monkeypatch, {"A": 0.1, "B": 9.0, "C": 8.0})
    _, result, _ = sweep(tmp_path)
    cases = len(dict.fromkeys(t.case for t in ran))
    assert 5 <= cases < 8
    assert result["completed"] == 4 * cases


def test_what_won_at_a_look_is_combined_at_the_same_look(tmp_path, monkeypatch):
    write_sweep(tmp_path, looks="[5]")
    ran = plant(monkeypatch, {"A": 0.2, "B": 4.0, "C": 0.3, "D": 0.1})
    _, result, talk = sweep(tmp_path)
    assert Counter(t.arm for t in ran) == dict.fromkeys([*CALLS, "D"], 5)
    assert (result["trials"], result["completed"]) == (40, 25)
    assert "D is better than baseline" in talk


def test_a_combination_that_is_open_at_a_look_goes_on_beside_the_baseline(tmp_path, monkeypatch):
    write_sweep(tmp_path, looks="[5]")
    ran = plant(monkeypatch, {"A": 0.2, "B": 4.0, "C": 0.3, "D": 0.9}, noisy=["D"])
    sweep(tmp_path)
    assert Counter(t.arm for t in ran) == {"baseline": 8, "A": 5, "B": 5, "C": 5, "D": 8}
    ran.clear()
    sweep(tmp_path)
    assert ran == []


# Confirming


def test_a_winner_is_confirmed_beside_the_baseline_by_the_studys_own_protocol(folder, monkeypatch):
    ran = plant(monkeypatch, {"A": BETTER, "B": ALIKE, "C": ALIKE})
    sweep(folder)
    before = study(folder)
    ran.clear()
    held = "case=cameraman,chelsea,logo,motorcycle,motorcycle_tank"
    status, result, talk = sweep(folder, "protocol=confirm", "seed=100", held)
    assert (status, result["trials"], result["completed"]) == (0, 10, 10)
    assert Counter(t.arm for t in ran) == {"baseline": 5, "A": 5}
    assert all(t.trial.case.held_out for t in ran)
    after = study(folder)
    assert after["protocol"] == before["protocol"] and after["earlier_protocols"] == []
    assert "A is confirmed on held-back cases" in talk
    assert "D would be A alone" in talk
    ran.clear()
    assert sweep(folder, "protocol=confirm", "seed=100", held)[1]["completed"] == 0
    assert "A is confirmed on held-back cases" in sweep(folder)[2]
    assert ran == []


def test_a_combination_that_won_is_confirmed_as_it_was_made(folder, monkeypatch):
    ran = plant(monkeypatch, TWO_WIN | {"D": 0.2})
    sweep(folder)
    ran.clear()
    _, result, talk = sweep(folder, "protocol=confirm", "seed=100", "case=moon,page,cell,coins")
    assert Counter(t.arm for t in ran) == {"baseline": 4, "D": 4}
    assert "D is confirmed on fresh seeds" in talk
    assert result["completed"] == 8


def test_confirming_chooses_nothing(folder, monkeypatch):
    plant(monkeypatch, {"A": BETTER, "B": ALIKE, "C": ALIKE})
    sweep(folder)
    plant(monkeypatch, {"A": 3.0})
    _, _, talk = sweep(folder, "protocol=confirm", "seed=100", "case=moon,page,cell,coins")
    assert "A is better than baseline" in talk
    assert "A is not confirmed on fresh seeds" in talk


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["seed=0", "case=moon"], "mine: these cases and seeds chose A, so they cannot confirm it"),
        (["recipe.shift=3"], "mine: baseline or A has changed since it was chosen; run 'wanexp sw"),
    ],
)
def test_what_cannot_confirm_is_refused(folder, monkeypatch, overrides, expected):
    plant(monkeypatch, {"A": BETTER, "B": ALIKE, "C": ALIKE})
    sweep(folder)
    before = study(folder)
    status, _, talk = sweep(folder, "protocol=confirm", *overrides)
    assert status == 2
    assert talk.startswith(f"wanexp: {expected}")
    assert study(folder) == before


def test_before_a_study_has_run_there_is_nothing_to_confirm(folder):
    status, _, talk = sweep(folder, "protocol=confirm")
    assert (status, list(folder.iterdir())) == (2, [folder / "sweeps"])
    assert talk.startswith("wanexp: mine: there is no winner to confirm yet; run 'wanexp sweep mi")


def test_where_nothing_won_there_is_nothing_to_confirm(folder, monkeypatch):
    plant(monkeypatch, {"A": ALIKE, "B": ALIKE, "C": ALIKE})
    sweep(folder)
    status, _, talk = sweep(folder, "protocol=confirm")
    assert status == 2 and "no arm is better than baseline, so there is nothing to conf" in talk


def test_a_protocol_that_is_changed_after_looking_is_remembered(folder, monkeypatch):
    plant(monkeypatch, TWO_WIN, stop_after=3)
    sweep(folder)
    plant(monkeypatch, TWO_WIN)
    _, _, talk = sweep(folder, "protocol.margin=0.3", "protocol.why=because")
    earlier = study(folder)["earlier_protocols"]
    assert isinstance(earlier, list) and [one["name"] for one in earlier] == ["mine"]
    assert "The protocol was changed after trials had run (it was mine)" in talk
    assert json.dumps(earlier) == json.dumps(study(folder)["earlier_protocols"])
