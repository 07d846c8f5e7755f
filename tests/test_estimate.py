"""What a study will take: from records where there are some, else from a guess that says so."""

from __future__ import annotations

import dataclasses
import functools
import platform
import re

import pytest

from tests.analysis.studies import record
from wanexp.compose import expand_sweep
from wanexp.environment import cpu_model
from wanexp.estimate import GUESSES, estimate
from wanexp.models import MODELS
from wanexp.planned import PlannedTrial, new_model_calls
from wanexp.record import StudyPaths
from wanexp.recording import write_trial
from wanexp.study import plan_trials

HERE = {"host": platform.node(), "cpu": cpu_model()}


@functools.cache
def trials() -> list[PlannedTrial]:
    """Of 86 or 92 calls; 36 are the first stage's, which four arms share."""
    return plan_trials(expand_sweep("ab_protocol"))


def write(folder, digest="a", *, width=128, environment=HERE, call=0.5, peak=3e9, **changes):
    """A record of 10 calls of ``call`` seconds and 3.5 s besides, and what writing it takes."""
    tree = {
        "model": {"name": "wan_mini"},
        "recipe": {"width": width, "height": 128, "frames": 17},
        "memory": {"device": "auto"},
    }
    computed = {"seconds": 10 * call, "model_calls": 10, "stored": False}
    found = record(
        digest,
        trial=tree,
        environment=environment,
        stages={"s": computed, "stored": {"seconds": 900.0, "model_calls": 10, "stored": True}},
        timings={"encode": 50.0, "sample": 5.0, "decode": 2.0, "measure": 1.5, "write": 0.5},
        peak_memory={"rss": int(peak), "cuda": None},
    )
    write_trial(StudyPaths(folder / "other").trial(digest), dataclasses.replace(found, **changes))


def guess(folder, left=None):
    left = trials() if left is None else left
    return estimate(trials(), left, new_model_calls(left), folder)


def test_every_model_has_a_guess():
    assert set(GUESSES) == set(MODELS)


def test_where_nothing_has_run_a_guess_names_itself(tmp_path):
    found = guess(tmp_path)
    assert (found.left, found.measured) == (16, 0)
    assert found.basis == "a guess for a CPU, as nothing of wan_mini has run here yet"
    own = GUESSES["wan_mini"]
    assert found.seconds == pytest.approx(968 * own.call + 16 * own.rest)
    assert found.memory > own.working * 1e9
    assert found.disk > 16 * 2 * 4 * 16 * 16 * 16 * 5


def test_times_come_from_what_ran_here(tmp_path):
    write(tmp_path)
    found = guess(tmp_path)
    assert found.seconds == pytest.approx(968 * 0.5 + 16 * 3.5, abs=2)
    assert (found.measured, found.memory) == (1, 3e9)
    assert found.basis == "the last trial of wan_mini on this machine"
    assert re.fullmatch(
        r"sampling takes \d\d % of the time, and refine 85 % of its model calls", found.dominates
    )


def test_the_time_of_another_size_is_scaled_by_its_latent(tmp_path):
    write(tmp_path, width=256)
    found = guess(tmp_path)
    assert found.seconds == pytest.approx((968 * 0.5 + 16 * 3.5) / 2, abs=1)
    assert "all of another size" in found.basis
    assert found.memory != 3e9


@pytest.mark.parametrize(
    "changes",
    [
        {"environment": {**HERE, "host": "elsewhere"}},
        {"trial": {"model": {"name": "wan22_i2v_a14b"}}},
        {"state": "failed", "error": {"type": "E", "message": "m", "traceback": "t"}},
    ],
)
def test_what_says_nothing_of_this_model_here_does_not_count(tmp_path, changes):
    write(tmp_path, **changes)
    assert guess(tmp_path).measured == 0


def test_what_is_finished_costs_nothing(tmp_path):
    found = guess(tmp_path, [])
    assert (found.seconds, found.left, found.disk) == (0, 0, 0)
    assert found.dominates == "nothing is left to run"


def test_where_little_is_sampled_the_rest_dominates(tmp_path):
    write(tmp_path, call=0.001)
    told = r"decoding, measuring and writing 16 videos take 9\d % of the time"
    assert re.fullmatch(told, guess(tmp_path).dominates)
