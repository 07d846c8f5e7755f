"""The worked example of docs/statistics.md, computed."""

import re
from pathlib import Path

import pytest

from analysis.compare import compare_study
from analysis.sentences import comparison_sentences
from tests.analysis.tables import protocol, table

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "statistics.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (\w+) \| (0\.\d+) \| (0\.\d+) \| (0\.\d+) \| (0\.\d+) \|$", re.MULTILINE)


def example():
    rows = []
    for case, *values in ROW.findall(TEXT):
        base, arm = map(float, values[:2]), map(float, values[2:])
        for seed, pair in enumerate(zip(base, arm, strict=True)):
            for name, flicker in zip(("baseline", "A"), pair, strict=True):
                measured = {"flicker": flicker, "motion_top5": 20.0}
                rows.append({"arm": name, "case": case, "seed": seed, **measured})
    return compare_study(table(rows), protocol())


def test_the_worked_example_is_what_the_code_finds():
    found = example()
    assert comparison_sentences(found)[0] in TEXT
    arm = found.arms[0]
    assert arm.primary.p == pytest.approx(0.001, abs=5e-5)
    assert arm.p_sign_flip == pytest.approx(0.031, abs=5e-4)
    assert arm.primary.mean == pytest.approx(-0.273, abs=5e-4)
    assert arm.primary.spread == pytest.approx(0.097, abs=5e-4)
    assert (arm.primary.low, arm.primary.high) == pytest.approx((-0.375, -0.171), abs=5e-4)
