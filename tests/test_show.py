"""Tables for people."""

import io

from rich.console import Console

from analysis.compare import compare_study
from tests.analysis.tables import drawn, protocol
from wanexp.show import _folded, show_verdicts


def test_verdicts_are_a_table_and_then_sentences():
    study = drawn({"base": 0.0, "A": -0.6, "B": 0.0}, spread=0.1, motion={"B": -0.5})
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    show_verdicts(console, compare_study(study, protocol()))
    assert isinstance(console.file, io.StringIO)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert lines[1].startswith("against base, decided by flicker (protocol p;")
    assert lines[2].split() == ["arm", "verdict", "flicker", "95", "%", "interval", "n", "motion"]
    assert lines[3].split()[:2] == ["A", "better"] and lines[3].split()[-2:] == ["12", "kept"]
    assert lines[4].startswith("B    no difference found") and lines[4].endswith("lost")
    assert lines[6].startswith("A is better than base: flicker is 4")


def test_a_long_name_of_several_settings_leaves_room_for_the_numbers():
    assert _folded("baseline") == "baseline"
    name = "refine.sigma_start=0.484,refine.steps=18,refine.cfg=2,refine.sampler=euler"
    lines = _folded(name).split(",\n")
    assert ",".join(lines) == name
    assert lines[0] == "refine.sigma_start=0.484" and max(map(len, lines)) <= 30
