"""What the table of effects may colour: verdicts, and nothing else."""

from dataclasses import replace

import pytest

from analysis.load import load_study
from wanexp.compare import compared
from wanexp.report.verdict import effects_tree


@pytest.fixture(scope="module")
def table(forms):
    return load_study(forms.study.root)


@pytest.fixture(scope="module")
def found(table):
    return compared(table)


@pytest.mark.parametrize(
    ("verdict", "state"),
    [("better", "gain"), ("worse", "loss"), ("no difference found", "open")],
)
def test_the_deciding_effect_is_coloured_by_its_verdict_whatever_its_own_interval(
    table, found, verdict, state
):
    assert found is not None
    arms = tuple(
        replace(arm, ruling=replace(arm.ruling, verdict=verdict)) for arm in found.comparison.arms
    )
    tree = effects_tree(table, replace(found, comparison=replace(found.comparison, arms=arms)))
    assert isinstance(tree, dict)
    cell = tree["arms"]["C"]["flicker"]
    assert cell["low"] > 0  # the interval leaves zero out
    assert cell["state"] == state


def test_what_was_not_tested_has_no_colour(table, found):
    tree = effects_tree(table, found)
    assert isinstance(tree, dict)
    others = {name: cell["state"] for name, cell in tree["arms"]["C"].items() if name != "flicker"}
    assert others and set(others.values()) <= {"open", "none"}
