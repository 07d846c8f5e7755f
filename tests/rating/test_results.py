"""What a study says of its ratings: in words, in the terminal, on the page."""

import json

import pytest

from analysis.load import load_study
from tests.report.studies import make_numbered_study
from wanexp.cli import main
from wanexp.rating.pairs import draw_pairs
from wanexp.rating.results import count_ratings, rating_numbers, rating_words, trial_scores
from wanexp.rating.votes import QUESTIONS, Answer, Choice, keep_answer
from wanexp.report.page import write_folder

CASES = ("astronaut", "coffee", "brick", "rocket", "cell", "cat")
LIKED = ("C", "A", "baseline")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("rated") / "studies" / "ab"
    study = make_numbered_study(root, cases=CASES, frames=5)
    for pair in draw_pairs(study, load_study(study.root), "anna"):
        left = LIKED.index(pair.left.arm) < LIKED.index(pair.right.arm)
        answer = Answer(
            rater="anna", case=pair.case, seed=pair.seed, left=pair.left.arm,
            right=pair.right.arm, seconds=2.0,
            choices=dict.fromkeys(QUESTIONS, "left" if left else "right"),
        )  # fmt: skip
        keep_answer(study, answer)
    return study


def test_words_say_what_people_like_more_and_how_sure_that_is(study):
    ratings = count_ratings(study, load_study(study.root))
    assert ratings is not None
    first, second = rating_words(ratings)
    assert first.startswith("C: ") and second.startswith("A: ")
    assert "over baseline [" in first and first.endswith("people like it more")
    assert "(12 chosen, 0 not, 0 the same)" in first


def test_the_terminal_and_json_say_the_same(study, capsys):
    where = f"studies={study.root.parent}"
    assert main(["rate", "ab", where, "--results"]) == 0
    said = capsys.readouterr().out
    assert "18 pairs answered by anna (18)" in said
    assert "flicker sees what people prefer best" in said
    assert main(["rate", "ab", where, "--json"]) == 0
    tree = json.loads(capsys.readouterr().out)
    assert [row["arm"] for row in tree["preferences"]["overall"]] == ["C", "A", "baseline"]


def test_every_video_has_the_share_of_votes_that_it_won(tmp_path):
    study = make_numbered_study(tmp_path / "studies" / "ab", cases=("cat",), frames=5)
    said: dict[tuple[str, str], Choice] = {
        ("baseline", "A"): "same",
        ("baseline", "C"): "right",
        ("A", "C"): "left",
    }
    for (left, right), choice in said.items():
        keep_answer(
            study,
            Answer(
                rater="anna", case="cat", seed=0, left=left, right=right, seconds=1.0,
                choices=dict.fromkeys(QUESTIONS, choice),
            ),
        )  # fmt: skip
    table = load_study(study.root)
    scores = trial_scores(study, table)
    by_arm = {
        arm: scores[d] for arm, d in zip(table.trials["arm"], table.trials["digest"], strict=True)
    }
    assert {arm: own["people/overall"] for arm, own in by_arm.items()} == {
        "baseline": 0.25, "A": 0.75, "C": 0.5,
    }  # fmt: skip
    assert all(own["people/votes"] == 2 for own in by_arm.values())
    assert set(by_arm["A"]) == {f"people/{name}" for name in (*QUESTIONS, "votes")}


def test_the_summarys_numbers_are_chances_over_the_baseline_and_what_metrics_see(study):
    ratings = count_ratings(study, load_study(study.root))
    assert ratings is not None
    numbers = rating_numbers(ratings)
    assert numbers["people/overall/baseline"] == 0.5
    assert numbers["people/overall/C"] > numbers["people/overall/A"] > 0.5
    assert numbers["people/tau/flicker"] == 1


def test_the_page_has_a_section_of_people_only_where_somebody_rated(study, tmp_path):
    rated = write_folder(study, tmp_path / "rated").page.read_text(encoding="utf-8")
    other = make_numbered_study(tmp_path / "studies" / "fresh", frames=5)
    fresh = write_folder(other, tmp_path / "fresh").page.read_text(encoding="utf-8")
    assert "What people say" in rated
    assert "What people say" not in fresh


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fresh", "--results"], "nobody has rated it yet"),
        (["frash"], "did you mean 'fresh'?"),
        (["fresh", "--rater", "a b"], "--rater: expected 1 to 40 letters"),
        (["alone"], "nothing to rate"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(tmp_path, capsys, arguments, said):
    make_numbered_study(tmp_path / "studies" / "fresh", frames=5)
    make_numbered_study(tmp_path / "studies" / "alone", arms=("baseline",), frames=5)
    status = main(["rate", *arguments, f"studies={tmp_path / 'studies'}", "--no-open"])
    assert status == 2
    assert said in capsys.readouterr().err
