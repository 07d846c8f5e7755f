"""Arms that combine what won, as pure functions and as sweeps write them."""

from __future__ import annotations

import pytest

from wanexp.compose.combine import combine, names_of, possible
from wanexp.compose.expand import arm_points, expand_sweep, with_arm
from wanexp.strict import ConfigError

ARMS = {
    "baseline": ["recipe.shift=5"],
    "A": ["recipe.shift=5", "recipe.stages.refine.denoise=0.5"],
    "B": ["recipe.stages.refine.steps=28"],
    "C": ["recipe.stages.refine.cfg=7.0", "recipe.stages.refine.steps=28"],
    "E": ["+recipe.stages.refine.steps=30"],
}


def test_winners_are_put_together_setting_by_setting():
    found = combine(ARMS, ["C", "A"])
    assert found.of == ("C", "A") and found.left == {}
    assert found.overrides == (
        "recipe.stages.refine.cfg=7.0",
        "recipe.stages.refine.steps=28",
        "recipe.shift=5",
        "recipe.stages.refine.denoise=0.5",
    )


def test_what_two_winners_set_alike_is_no_conflict():
    assert combine(ARMS, ["B", "C"]).of == ("B", "C")


def test_of_two_that_set_the_same_key_the_better_is_taken_whole():
    found = combine(ARMS, ["E", "C", "A"])
    assert (found.of, found.left) == (("E", "A"), {"C": "E"})
    assert "recipe.stages.refine.cfg=7.0" not in found.overrides


def test_all_that_may_come_of_it_is_listed_once():
    found = [combination.of for combination in possible(ARMS, ["A", "C", "E"])]
    assert found == [("A", "C"), ("A", "E")]


def test_names_read_as_one_says_them():
    assert [names_of(n) for n in (["A"], ["A", "B"], "ABC")] == ["A", "A and B", "A, B and C"]


def test_a_combination_becomes_an_arm_at_every_place_of_the_sweep():
    sweep = expand_sweep("ab_protocol")
    found = combine(sweep.arms, ["C", "A"])
    made = with_arm(sweep, "D", found)
    own = made.points[len(sweep.points) :]
    assert made.points[: len(sweep.points)] == sweep.points
    assert [(p.case, p.seed) for p in own] == [
        (p.case, p.seed) for p in sweep.points if p.arm == "A"
    ]
    for point in own:
        refine = point.tree["recipe"]["stages"]["refine"]  # type: ignore[index]
        assert (refine["denoise"], refine["steps"], refine["cfg"]) == (0.5, 25, 7.0)
    assert made.made == {"D": ("C", "A")}


def test_an_arm_made_later_is_what_it_would_have_been_from_the_start():
    sweep = expand_sweep("ab_protocol", ["case.prompt='a face talks'", "recipe.shift=4"])
    assert arm_points(sweep, "B", sweep.arms["B"]) == tuple(
        point for point in sweep.points if point.arm == "B"
    )


@pytest.mark.parametrize(
    ("arms", "params", "expected"),
    [
        ("{a: [], b: [], d: {combin: [a, b]}}", "", "arms.d: expected a list of overrides, or {"),
        ("{a: [], b: [], d: {combine: a}}", "", "arms.d: expected a list of overrides, or {c"),
        ("{a: [], bee: [], d: {combine: [be, a]}}", "", "arms.d: no arm 'be' to combine; did you"),
        ("{a: [], b: [], d: {combine: [b]}}", "", "arms.d: combine takes 2 to 6 arms, got 1"),
        ("{a: [], b: [], d: {combine: [a, b]}}", "", "arms.d: a is the baseline, which the others"),
        (
            "{a: [], b: [recipe.steps=3], c: [recipe.steps=4], d: {combine: [b, c]}}",
            "",
            "arms.d: b, c all set the same thing, so no two of them can be combined",
        ),
        (
            "{a: [], b: [recipe.steps=3], c: [], d: {combine: [b, c]}}",
            "recipe.shift: '3,4'",
            "arms.d: arms that are combined and a grid do not go together",
        ),
    ],
)
def test_a_combination_that_could_never_be_made_is_refused(
    arms, params, expected, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweeps").mkdir()
    text = f"# @package _global_\nhydra:\n  sweeper:\n    params: {{{params}}}\n    arms: {arms}\n"
    (tmp_path / "sweeps" / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        expand_sweep("mine")
    assert str(error.value).startswith(expected)
