"""The statistics hold: the simulation of docs/statistics.md, smaller."""

import json

import numpy as np
import pytest

from analysis.simulate import (
    SHAPES,
    coverage,
    draw_effects,
    false_positives,
    followed,
    main,
    motion_kept,
)

STUDIES = 2000
ROOM = 3 * (0.05 * 0.95 / STUDIES) ** 0.5
"""Three standard errors of a share of 5 %."""


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_has_mean_zero_and_deviation_one(name):
    drawn = SHAPES[name](np.random.default_rng(0), (400_000,))
    assert drawn.mean() == pytest.approx(0, abs=0.01)
    assert drawn.std() == pytest.approx(1, abs=0.05)


def test_seeds_share_what_their_case_has_of_its_own():
    one, many = (
        draw_effects(np.random.default_rng(1), studies=20_000, cases=2, seeds=seeds, arms=1)
        for seeds in (1, 500)
    )
    # Two arms, each with a case's part (variance 1) and a seed's (variance 1 / seeds).
    assert one.var() == pytest.approx(4, rel=0.05)
    assert many.var() == pytest.approx(2, rel=0.05)


def test_false_positives_stay_below_their_rate_whatever_the_rule():
    for row in false_positives(np.random.default_rng(2), STUDIES):
        for rule in ("one arm", "one look", "planned looks", "any time"):
            share = row[rule]
            assert isinstance(share, float)
            assert share <= 100 * (0.05 + ROOM), row
        if row["cases"] == 3:
            assert row["one look"] == 0
        if row["cases"] == 20:
            assert isinstance(row["careless"], float) and row["careless"] > 25


def test_intervals_hold_the_truth_at_every_number_of_cases():
    for row in coverage(np.random.default_rng(3), STUDIES):
        for column in ("normal", "heavy tails", "all planned looks", "any time"):
            share = row[column]
            assert isinstance(share, float)
            assert share >= 100 * (0.95 - ROOM), row
        if row["cases"] == 5:
            assert isinstance(row["bootstrap"], float) and row["bootstrap"] < 87


def test_motion_that_is_lost_is_hardly_ever_called_kept():
    room = 3 * (0.025 * 0.975 / STUDIES) ** 0.5
    for row in motion_kept(np.random.default_rng(5), STUDIES):
        lost, gone = row["10% less"], row["20% less"]
        assert isinstance(lost, float) and isinstance(gone, float)
        assert gone <= lost <= 100 * (0.025 + room), row


def test_following_the_number_asked_for_nearly_gives_the_power_promised():
    for row in followed(np.random.default_rng(4), 200):
        share = row["power reached"]
        assert isinstance(share, float) and 65 < share < 85


def test_the_script_prints_tables_and_json(capsys):
    main(["--studies", "40"])
    printed = capsys.readouterr().out.strip().splitlines()
    assert "| effects | cases | seeds |" in printed[2]
    tables = json.loads(printed[-1])["tables"]
    assert len(tables) == 7 and all(tables.values())
