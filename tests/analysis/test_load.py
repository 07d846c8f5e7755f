import pandas as pd
import pytest

from analysis.arms import arm_table, undefined_counts
from analysis.load import MISSING, load_study
from tests.analysis.studies import measured, record, write_study

ROWS = [
    ("one", "astronaut", 0, "d1"),
    ("one", "astronaut", 1, "d2"),
    ("two", "astronaut", 0, "d3"),
    ("two", "astronaut", 1, "d4"),
]


@pytest.fixture
def study(tmp_path):
    records = [
        record("d1", measurements={"jitter": measured(1.0), "face": measured(0.5, "one")}),
        record(
            "d2",
            measurements={"jitter": measured(3.0), "face": measured(None, "one", "no face")},
            timings={"sample": 4.0},
        ),
        record(
            "d3",
            state="failed",
            error={"type": "ValueError", "message": "too hot", "traceback": ""},
            model_calls=0,
            timings={},
        ),
    ]
    return write_study(tmp_path, ROWS, records)


def test_every_asked_trial_is_a_row_whatever_became_of_it(study):
    trials = load_study(study.root).trials
    assert list(trials["state"]) == ["completed", "completed", "failed", MISSING]
    assert trials.loc[2, "error"] == "too hot"


def test_undefined_is_nan_and_never_zero(study):
    trials = load_study(study.root).trials
    assert trials.loc[0, "face"] == 0.5
    assert pd.isna(trials.loc[1, "face"]) and pd.isna(trials.loc[3, "jitter"])
    assert undefined_counts(load_study(study.root)) == {"face": 1}


def test_costs_are_those_of_the_video_alone_and_those_of_the_trial(tmp_path):
    """Another trial left this one its first stage."""
    stages = {
        "establish": {"seconds": 3.0, "model_calls": 40, "stored": True},
        "refine": {"seconds": 1.5, "model_calls": 10, "stored": False},
    }
    one = record("d1", stages=stages, timings={"sample": 1.6}, model_calls_executed=10)
    row = load_study(write_study(tmp_path, ROWS[:1], [one]).root).trials.loc[0]
    assert (row["model_calls"], row["model_calls_executed"], row["seconds"]) == (50, 10, 4.5)


def test_directions_come_from_the_records(study):
    assert load_study(study.root).directions == {"jitter": "lower", "face": "one"}


def test_an_arms_row_holds_medians_of_what_is_done(study):
    arms = arm_table(load_study(study.root))
    assert list(arms.index) == ["one", "two"]
    assert arms.loc["one", ["done", "asked", "failed"]].tolist() == [2, 2, 0]
    assert arms.loc["two", ["done", "asked", "failed"]].tolist() == [0, 2, 1]
    assert arms.loc["one", ["jitter", "face", "seconds"]].tolist() == [2.0, 0.5, 3.0]
    assert pd.isna(arms.loc["two", "jitter"])


def test_one_trial_answers_for_two_arms_with_equal_plans(tmp_path):
    rows = [("one", "astronaut", 0, "d1"), ("again", "astronaut", 0, "d1")]
    study = write_study(tmp_path, rows, [record("d1", measurements={"jitter": measured(1.0)})])
    assert arm_table(load_study(study.root))["jitter"].tolist() == [1.0, 1.0]


def test_a_damaged_record_is_named_and_its_trial_counts_as_missing(study):
    study.trial("d1").record.write_text("{")
    table = load_study(study.root)
    assert table.trials.loc[0, "state"] == MISSING
    assert len(table.damaged) == 1 and "d1" in table.damaged[0]


def test_a_study_without_any_record_has_a_table(tmp_path):
    table = load_study(write_study(tmp_path, ROWS, []).root)
    assert table.metrics == () and set(table.trials["state"]) == {MISSING}
    arms = arm_table(table)
    assert arms["done"].tolist() == [0, 0] and arms["seconds"].isna().tolist() == [True, True]
