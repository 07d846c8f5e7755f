"""Plain trees into dataclasses: the right types, or one sentence that says where and what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pytest

from wanexp.strict import ConfigError, build


@dataclass(frozen=True, kw_only=True)
class Leg:
    length: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Table:
    name: str
    legs: int = 4
    height: float = 0.7
    folds: bool = False
    wood: Literal["oak", "pine"] = "oak"
    drawers: int | None = None
    size: tuple[float, float] = (1.0, 2.0)
    tags: tuple[str, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    leg: Leg = Leg()
    extra: object = None


def message(**tree: object) -> str:
    with pytest.raises(ConfigError) as error:
        build(Table, {"name": "t", **tree}, "table")
    return str(error.value)


def test_a_tree_with_the_right_types_becomes_the_dataclass():
    tree = {
        "name": "desk",
        "legs": 3,
        "height": 1,
        "folds": True,
        "wood": "pine",
        "drawers": None,
        "size": [1, 2.5],
        "tags": ["a", "b"],
        "weights": {"top": 2},
        "leg": {"length": 0.5},
        "extra": [{}],
    }
    table = build(Table, tree, "table")
    assert table == Table(
        name="desk",
        legs=3,
        height=1.0,
        folds=True,
        wood="pine",
        size=(1.0, 2.5),
        tags=("a", "b"),
        weights={"top": 2.0},
        leg=Leg(length=0.5),
        extra=[{}],
    )
    assert isinstance(table.height, float)
    assert isinstance(table.weights["top"], float)


def test_what_is_left_out_has_its_default_and_null_is_not_left_out():
    assert build(Table, {"name": "t"}, "table") == Table(name="t")
    assert message(legs=None) == "table.legs: expected a whole number, got None"


def test_a_missing_key_is_named():
    with pytest.raises(ConfigError, match=r"^table: 'name' is missing$"):
        build(Table, {"legs": 3}, "table")


def test_an_unknown_key_is_told_the_nearest_and_all_that_are_known():
    assert message(wieghts={}) == (
        "table: unknown key 'wieghts'; did you mean 'weights'? (known: drawers, extra, folds,"
        " height, leg, legs, name, size, tags, weights, wood)"
    )
    assert "did you mean" not in message(qqq=1)
    assert message(leg={"lenght": 1}).startswith(
        "table.leg: unknown key 'lenght'; did you mean 'length'?"
    )


@pytest.mark.parametrize("key", [1, None, True, ("a",)])
def test_a_key_that_is_no_text_is_unknown(key):
    with pytest.raises(ConfigError, match="unknown key"):
        build(Table, {"name": "t", key: 1}, "table")


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize(("key", "words"), [("legs", "a whole number"), ("height", "a number")])
def test_booleans_are_not_numbers(key, words, value):
    assert message(**{key: value}) == f"table.{key}: expected {words}, got {value}"


@pytest.mark.parametrize("value", [0, 1, "true", None])
def test_numbers_and_words_are_not_booleans(value):
    assert message(folds=value) == f"table.folds: expected true or false, got {value!r}"


@pytest.mark.parametrize(
    "value", [3.5, float("inf"), float("-inf"), float("nan"), 10**400, "x", []]
)
def test_a_whole_number_is_whole_and_finite(value):
    assert message(legs=value) == f"table.legs: expected a whole number, got {value!r}"


def test_a_whole_number_may_be_written_with_a_point():
    table = build(Table, {"name": "t", "legs": 3.0, "drawers": 0.0}, "table")
    assert (table.legs, table.drawers) == (3, 0)
    assert isinstance(table.legs, int)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 10**400, -1e301, None, "x", {}])
def test_a_number_is_finite(value):
    assert message(height=value) == f"table.height: expected a number, got {value!r}"


@pytest.mark.parametrize("value", ["1e-3", "0.5", "7"])
def test_a_number_in_quotes_is_said_to_be_a_text(value):
    expected = f"table.height: expected a number, got the text {value!r} (leave the quotes away)"
    assert message(height=value) == expected


def test_a_text_is_a_text():
    for value in (1, True, None, ["a"]):
        with pytest.raises(ConfigError, match=r"^table\.name: expected text, got"):
            build(Table, {"name": value}, "table")


def test_a_choice_is_told_the_nearest():
    assert message(wood="oka") == (
        "table.wood: expected one of oak, pine, got 'oka'; did you mean 'oak'?"
    )
    assert message(wood=False) == "table.wood: expected one of oak, pine, got False"


def test_a_list_is_neither_a_text_nor_of_another_length():
    assert message(tags="ab") == "table.tags: expected a list, got 'ab'"
    assert message(tags=["a", 1]) == "table.tags[1]: expected text, got 1"
    assert message(size=[1]) == "table.size: expected 2 values, got [1]"
    assert message(size=[1, "b"]) == "table.size[1]: expected a number, got 'b'"
    assert message(size={"a": 1}) == "table.size: expected a list, got {'a': 1}"


def test_a_mapping_names_the_entry_that_is_wrong():
    assert message(weights=[1]) == "table.weights: expected a mapping, got [1]"
    assert message(weights={"top": True}) == "table.weights.top: expected a number, got True"
    assert message(leg=3) == "table.leg: expected a mapping, got 3"
    with pytest.raises(ConfigError, match=r"^table: expected a mapping, got None$"):
        build(Table, None, "table")


def test_an_optional_value_is_checked_like_the_value():
    assert build(Table, {"name": "t", "drawers": 2}, "table").drawers == 2
    assert message(drawers=1.5) == "table.drawers: expected a whole number, got 1.5"


def test_every_error_is_one_line_and_a_value_error():
    assert issubclass(ConfigError, ValueError)
    for tree in ({"legs": "a"}, {"folds": 1}, {"wood": 2}, {"nope": 1}, {"size": []}):
        assert "\n" not in message(**tree)
