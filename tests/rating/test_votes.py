"""Answers on disk: nothing is lost, and what is damaged is said."""

import json

import pytest

from wanexp.rating.votes import (
    QUESTIONS,
    Answer,
    Choice,
    keep_answer,
    rater_from,
    ratings_folder,
    read_answers,
)
from wanexp.record import StudyPaths
from wanexp.strict import ConfigError


def answer(choice: Choice = "left", *, rater="anna", case="coffee", left="A", right="B", seed=0):
    choices: dict[str, Choice] = dict.fromkeys(QUESTIONS, choice)
    return Answer(
        rater=rater, case=case, seed=seed, left=left, right=right, choices=choices, seconds=3.0
    )


@pytest.fixture
def study(tmp_path):
    return StudyPaths(tmp_path / "ab")


def test_what_was_kept_is_read(study):
    keep_answer(study, answer())
    keep_answer(study, answer("right", rater="ben"))
    kept = read_answers(study).answers
    assert [(a.rater, a.better("motion")) for a in kept] == [("anna", "A"), ("ben", "B")]
    assert [a.rater for a in read_answers(study, "ben").answers] == ["ben"]
    assert kept[0].at.endswith("Z")


def test_the_later_answer_to_a_pair_counts_whichever_way_round(study):
    keep_answer(study, answer("left"))
    keep_answer(study, answer("left", left="B", right="A"))
    (kept,) = read_answers(study).answers
    assert kept.better("overall") == "B"


def test_a_line_cut_short_is_named_and_the_next_one_is_whole(study):
    keep_answer(study, answer())
    path = ratings_folder(study) / "anna.jsonl"
    with path.open("a") as file:
        file.write('{"rater": "anna", "ca')  # as after a crash
    keep_answer(study, answer(case="brick"))
    read = read_answers(study)
    assert [a.case for a in read.answers] == ["coffee", "brick"]
    assert len(read.damaged) == 1 and "anna.jsonl:2" in read.damaged[0]


@pytest.mark.parametrize(
    "change",
    [
        {"choices": {"motion": "left"}},
        {"choices": dict.fromkeys(QUESTIONS, "up")},
        {"choices": 3},
        {"seed": "x"},
    ],
)
def test_a_line_that_is_no_answer_is_left_out_and_named(study, change):
    keep_answer(study, answer())
    path = ratings_folder(study) / "anna.jsonl"
    line = json.loads(path.read_text())
    path.write_text(json.dumps({**line, **change}) + "\n[]\n")
    read = read_answers(study)
    assert read.answers == []
    assert len(read.damaged) == 2


def test_a_study_that_nobody_rated_has_no_answers(study):
    assert read_answers(study).answers == []


@pytest.mark.parametrize("name", ["anna", "Anna-2", "łukasz"])
def test_names_that_can_be_files_are_raters(name):
    assert rater_from(name) == name


@pytest.mark.parametrize("name", ["", "../x", "a b", "x" * 41, "a/b"])
def test_names_that_cannot_be_files_are_refused(name):
    with pytest.raises(ConfigError, match="--rater"):
        rater_from(name)
