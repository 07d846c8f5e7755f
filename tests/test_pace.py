"""Time left: from what model calls took, for what is really left."""

from __future__ import annotations

import dataclasses
import io

import pytest
from rich.console import Console

from tests.test_runner import trials
from wanexp import pace as pace_module
from wanexp import progress as progress_module
from wanexp.pace import Pace, cells
from wanexp.planned import new_model_calls
from wanexp.progress import SweepProgress, clock_words
from wanexp.record import TrialRecord


class Clock:
    """Time that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pace_module, "time", clock)
    monkeypatch.setattr(progress_module, "time", clock)
    return clock


def ended(seconds: float, calls: int, *, stored: int = 0, overlapped: bool = False) -> TrialRecord:
    stages = {
        "establish": {"seconds": seconds, "model_calls": calls, "stored": False},
        "refine": {"seconds": 999.0, "model_calls": stored, "stored": True},
    }
    timings = {"encode": 1.0, "sample": seconds, "decode": 2.0, "measure": 3.0, "write": 4.0}
    return TrialRecord(
        digest="0" * 16,
        study="few",
        arm="a",
        trial={},
        plan={},
        started="2026-01-31T12:00:00.000Z",
        state="completed",
        stages=stages,
        timings=timings,
        overlapped=overlapped,
    )


def test_a_call_takes_what_calls_that_were_executed_took():
    pace = Pace()
    assert pace.seconds(10, 1, 8) is None
    pace.trial(ended(20.0, 10, stored=500), 4)
    assert pace.seconds(10, 0, 4) == pytest.approx(20)
    assert pace.seconds(10, 0, 8) == pytest.approx(40)  # twice the size
    assert pace.seconds(0, 3, 4) == pytest.approx(3 * 10)


def test_the_first_trial_counts_no_more_once_there_are_others():
    """It holds the loading of weights."""
    pace = Pace()
    for seconds in (500.0, 20.0, 20.0):
        pace.trial(ended(seconds, 10), 4)
    assert pace.seconds(10, 0, 4) == pytest.approx(20)


def test_what_is_done_behind_the_next_trial_takes_no_time_of_its_own():
    pace = Pace()
    pace.trial(ended(20.0, 10, overlapped=True), 4)
    assert pace.seconds(0, 1, 4) == pytest.approx(1 + 2)


def test_a_trial_and_the_sweep_have_times_of_their_own(clock):
    """Stages that the store has count nothing, in the trial that runs too."""
    two = trials()[:2]
    costs = new_model_calls(two)
    size = cells(two[0].trial.recipe)
    progress = SweepProgress(Console(file=io.StringIO()), two, costs)
    progress.begins(two[0], 1)
    assert progress.seconds_of_trial() is None
    first, last = two[0].plan.stages
    each = first.model_calls // len(first.experts)
    for done in (1, 2, 3):
        clock.now += 2.0 * each  # two seconds a model call
        progress.evaluated(first, done)
    left = 2 * (two[0].plan.model_calls - 3 * each)
    assert progress.seconds_of_trial() == pytest.approx(left)
    assert progress.seconds_of_all() == pytest.approx(left + 2 * costs[1])
    clock.now += 1
    assert progress.seconds_of_trial() == pytest.approx(left - 1)
    progress.evaluated(last, 1)
    each = last.model_calls // len(last.experts)
    left = pytest.approx(2 * (last.model_calls - each), rel=0.05)
    assert progress.seconds_of_trial() == left
    record = dataclasses.replace(ended(size * 1.0, size), digest=two[0].digest)
    progress.begins(two[1], 2)
    progress.ended(two[0], record)
    assert progress.numbers[two[0].digest] == 1
    assert costs[1] < two[1].plan.model_calls
    assert progress.seconds_of_trial() == pytest.approx(costs[1] + 10)


@pytest.mark.parametrize(("seconds", "words"), [(5, "0:05"), (245.9, "4:05"), (3845, "1:04:05")])
def test_times_read_as_on_a_clock(seconds, words):
    assert clock_words(seconds) == words
