"""Which trial is run next, and by whom, where several processes run one sweep."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.analysis.studies import record
from wanexp import runner
from wanexp.claim import claimed, try_claim
from wanexp.compose import expand_sweep
from wanexp.order import neighbours
from wanexp.owner import owner
from wanexp.plan import PlannedStage
from wanexp.planned import PlannedTrial
from wanexp.record import StudyPaths, TrialRecord
from wanexp.recording import write_trial
from wanexp.stopping import StopSign
from wanexp.study import plan_trials


@functools.cache
def trials() -> list[PlannedTrial]:
    """Four arms with the same first stage, on two cases and two seeds."""
    return neighbours(plan_trials(expand_sweep("ab_protocol")))


class Log:
    """A watcher that only remembers how often there was nothing to do but wait."""

    def __init__(self) -> None:
        self.waited: list[int] = []

    def begins(self, planned: PlannedTrial, number: int) -> None: ...
    def evaluated(self, stage: PlannedStage, done: int) -> None: ...
    def ended(self, planned: PlannedTrial, record: TrialRecord) -> None: ...
    def failed(self, planned: PlannedTrial, error: Exception) -> None: ...
    def stopping(self) -> None: ...

    def waits(self, count: int) -> None:
        self.waited.append(count)


@pytest.fixture
def study(tmp_path: Path) -> StudyPaths:
    return StudyPaths(tmp_path / "ab")


def finish(study: StudyPaths, planned: PlannedTrial) -> None:
    write_trial(study.trial(planned.digest), record(planned.digest))


def work(
    study: StudyPaths, log: Log, done: Callable[[PlannedTrial], None] | None = None
) -> list[PlannedTrial]:
    ran = []
    for planned, claim in runner._one_by_one(trials(), study, log, StopSign()):
        with claim:
            ran.append(planned)
            if done is not None:
                done(planned)
            finish(study, planned)
    return ran


def rival(study: StudyPaths, planned: PlannedTrial, who: str) -> Path:
    study.claims.mkdir(parents=True, exist_ok=True)
    path = study.claims / f"{planned.digest}~{who}~rival"
    path.touch()
    return path


def test_alone_every_trial_is_run_in_order_and_claimed_meanwhile(study):
    log = Log()

    def is_claimed(planned: PlannedTrial) -> None:
        assert claimed(study.claims) == {planned.digest}

    assert work(study, log, is_claimed) == trials()
    assert (claimed(study.claims), log.waited) == (set(), [])


def test_who_joins_begins_where_nobody_else_has_and_helps_at_the_end(study):
    """And the trial that another runs is that one's, as long as it lives."""
    log, first = Log(), trials()[0]
    path = rival(study, first, owner())

    def other_ends(planned: PlannedTrial) -> None:
        if len(list(study.trials.glob("*/record.json"))) == 14:
            finish(study, first)
            path.unlink()

    ran = work(study, log, other_ends)
    same = [t for t in trials()[1:] if t.stage_keys[0] == first.stage_keys[0]]
    others = [t for t in trials() if t.stage_keys[0] != first.stage_keys[0]]
    assert (len(same), len(others)) == (3, 12)
    assert ran == [*others, *same]


def test_what_others_have_in_hand_is_waited_for(study, monkeypatch):
    log, last = Log(), trials()[-1]
    path = rival(study, last, owner())

    def look_again() -> float:
        if time.monotonic() > soon:
            finish(study, last)
            path.unlink(missing_ok=True)
        return 0.01

    soon = time.monotonic() + 0.2
    monkeypatch.setattr(runner, "pause", look_again)
    assert work(study, log) == trials()[:-1]
    assert log.waited == [1]


def test_what_the_dead_had_in_hand_is_run(study):
    rival(study, trials()[0], owner().rsplit("-", 1)[0] + "-1")
    assert work(study, Log()) == trials()


def test_what_another_finished_between_look_and_claim_is_not_run(study, monkeypatch):
    finished = trials()[3]

    def late(folder: Path, name: str) -> object:
        if name == finished.digest:
            finish(study, finished)
        return try_claim(folder, name)

    monkeypatch.setattr(runner, "try_claim", late)
    assert work(study, Log()) == [t for t in trials() if t != finished]


def test_a_disk_that_takes_no_claim_stops_nothing(study):
    study.root.mkdir()
    study.claims.write_text("in the way")
    with pytest.raises(OSError):
        try_claim(study.claims, "a")
    assert work(study, Log()) == trials()
