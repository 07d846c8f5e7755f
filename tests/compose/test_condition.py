"""Conditions that leave cells of a grid out."""

from __future__ import annotations

import pytest

from wanexp.compose.condition import cell_lookup, holds, parse_condition
from wanexp.compose.expand import expand_sweep
from wanexp.strict import ConfigError

TREE = {
    "recipe": {
        "shift": None,
        "scheduler": "karras",
        "stages": {"establish": {"steps": 18, "cfg": 4.0}, "refine": {"denoise": 0.5, "cfg": None}},
    },
    "memory": {"device": "cpu"},
}
FIND = cell_lookup({"arm": "A", "case": "coffee", "seed": 3, "recipe": "guide/two_stage"}, TREE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("refine.denoise > 0.4", True),
        ("recipe.stages.refine.denoise >= 0.5 and establish.steps < 18", False),
        ("scheduler in ('karras', 'beta') or seed == 4", True),
        ("not (arm == 'A')", False),
        ("17 < establish.steps <= 18", True),
        ("establish.steps * refine.denoise - 1 == 8", True),
        ("refine.cfg == null", True),
        ("refine.cfg != null and refine.cfg > 3", False),
        ("case not in ['coffee', 'moon']", False),
        ("recipe == 'guide/two_stage' and memory.device == 'cpu'", True),
        ("seed > -1", True),
    ],
)
def test_a_condition_compares_what_a_cell_has(text, expected):
    assert holds(parse_condition(text), FIND) is expected


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "open('x')",
        "refine.denoise.__class__()",
        "[x for x in (1, 2)]",
        "(lambda: 1)()",
        "seed ** 9999999",
        "f'{seed}'",
        "case[0] == 'c'",
        "seed is 3",
        "(a := 3)",
        "b'a' == case",
    ],
)
def test_nothing_but_comparisons_is_allowed(text):
    with pytest.raises(ConfigError, match=r"^drop: "):
        parse_condition(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("refine.denois > 0.4", "drop: nothing is called 'refine.denois'; did you mean 'refi"),
        ("refine.cfg > 3", "drop: refine.cfg > 3: '>' not supported between instances of"),
        ("1 / (seed - 3) > 0", "drop: 1 / (seed - 3) > 0: division by zero"),
    ],
)
def test_what_a_cell_has_not_is_told(text, expected):
    with pytest.raises(ConfigError) as error:
        holds(parse_condition(text), FIND)
    assert str(error.value).startswith(expected)


def test_what_cannot_be_read_is_told():
    with pytest.raises(ConfigError, match=r"^drop: cannot read 'seed >'; expected a comparison"):
        parse_condition("seed >")


SPARSE = """# @package _global_
hydra:
  sweeper:
    params:
      recipe.stages.refine.denoise: "0.4,0.5,0.6"
      recipe.stages.refine.steps: "20,25"
      seed: "0,1"
      case: coffee
    drop: {drop}
"""


def sparse(folder, monkeypatch, drop):
    monkeypatch.chdir(folder)
    (folder / "sweeps").mkdir(exist_ok=True)
    (folder / "sweeps" / "mine.yaml").write_text(SPARSE.format(drop=drop))
    return expand_sweep("mine")


def test_a_sweep_leaves_out_the_cells_of_which_a_condition_is_true(tmp_path, monkeypatch):
    drop = '["refine.denoise > 0.55 and refine.steps == 20", "seed == 1 and refine.steps == 25"]'
    sweep = sparse(tmp_path, monkeypatch, drop)
    assert [(point.arm, point.seed) for point in sweep.points] == [
        ("refine.denoise=0.4,refine.steps=20", 0),
        ("refine.denoise=0.4,refine.steps=25", 0),
        ("refine.denoise=0.5,refine.steps=20", 0),
        ("refine.denoise=0.5,refine.steps=25", 0),
        ("refine.denoise=0.6,refine.steps=25", 0),
        ("refine.denoise=0.4,refine.steps=20", 1),
        ("refine.denoise=0.5,refine.steps=20", 1),
    ]
    assert "refine.denoise=0.6,refine.steps=20" not in sweep.arms


@pytest.mark.parametrize(
    ("drop", "expected"),
    [
        ('["seed >= 0"]', "hydra.sweeper.drop: nothing is left after seed >= 0"),
        ('"seed > 0"', "hydra.sweeper.drop: expected a list of conditions, got 'seed > 0'"),
    ],
)
def test_conditions_that_make_no_sense_are_refused(tmp_path, monkeypatch, drop, expected):
    with pytest.raises(ConfigError) as error:
        sparse(tmp_path, monkeypatch, drop)
    assert str(error.value).startswith(expected)
