"""Trials that are scored while the next is sampled: the same records, files and counts."""

from __future__ import annotations

import dataclasses
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from tests.few import Few, few_sweep
from wanexp import run
from wanexp.backends import load_backend
from wanexp.claim import claimed
from wanexp.compose import Sweep
from wanexp.config import digest
from wanexp.owner import owner
from wanexp.plan import PlannedStage
from wanexp.planned import KEY_LENGTH, PlannedTrial
from wanexp.record import read_record
from wanexp.run import overlaps
from wanexp.staged import machine_digest

Make = Callable[..., Few]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return few_sweep(tmp_path_factory.mktemp("user"))


@pytest.fixture
def few(tmp_path: Path, sweep: Sweep) -> Make:
    def make(
        name: str, *, overlap: Literal["auto", True, False] = "auto", store: bool = True
    ) -> Few:
        return Few(sweep, tmp_path / name, overlap=overlap, store=store)

    return make


def test_the_same_videos_and_numbers_as_one_after_another(few):
    plain, behind = few("plain", overlap=False), few("behind", overlap=True)
    assert plain.run() == behind.run()
    assert plain.media() == behind.media() and len(plain.media()) == 3 * 6
    for one, other in zip(plain.records, behind.records, strict=True):
        assert (one.measurements, one.series) == (other.measurements, other.series)
        assert one.model_calls_executed == other.model_calls_executed == 6
        assert (one.overlapped, other.overlapped) == (False, True)
        assert set(other.timings) - set(one.timings) == {"wait"}


def test_phases_tell_seconds_and_peaks_and_add_up_to_the_timings(few):
    plain, behind = few("plain", overlap=False), few("behind", overlap=True)
    for study in (plain, behind):
        study.run()
    for record in (plain.records[0], behind.records[0]):
        names = ["encode", "handover", "stage/establish", "stage/refine", "decode", "measure"]
        assert list(record.phases) == names
        seconds = {name: float(str(phase["seconds"])) for name, phase in record.phases.items()}
        sampled = sum(s for n, s in seconds.items() if n.startswith("stage/") or n == "handover")
        assert sampled == pytest.approx(record.timings["sample"], rel=0.1, abs=0.02)
        assert seconds["measure"] == pytest.approx(record.timings["measure"], rel=0.1, abs=0.02)
        known = [phase["rss"] for phase in record.phases.values() if phase.get("rss")]
        assert max(map(int, known)) <= int(record.peak_memory["rss"] or 0)
    assert "rss" not in behind.records[0].phases["measure"]  # another trial's may be in it


def test_the_next_is_sampled_while_the_last_is_scored_and_ends_come_in_order(few, monkeypatch):
    """And the claim on a trial is held until its record is written."""
    two, claims, begun = few("two", overlap=True), [], threading.Event()
    score, begin = run.score, run.begin_trial

    def scored(*given: object) -> object:
        if begun.wait(20):  # until the next trial has begun
            claims.append(claimed(two.study.claims))
        return score(*given)  # type: ignore[arg-type]

    def begins(planned: PlannedTrial, *given: object, **more: object) -> object:
        if planned.seed == 1:
            begun.set()
        return begin(planned, *given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(run, "score", scored)
    monkeypatch.setattr(run, "begin_trial", begins)
    tally = two.run()
    assert tally.completed == 3
    first, second, _ = (planned.digest for planned in two.trials)
    assert claims[0] == {first, second}
    assert claimed(two.study.claims) == set()
    assert [what for what in two.log.told if what[0] == "ended"] == [("ended", s) for s in range(3)]
    assert two.log.told.index(("begins", 1)) < two.log.told.index(("ended", 0))
    assert [r.digest for r in two.records] == [planned.digest for planned in two.trials]


def test_what_fails_behind_is_that_trials_failure_and_the_others_run(few, monkeypatch):
    study, score = few("failing", overlap=True), run.score

    def fails(*given: object) -> object:
        if len(study.records) == 1:
            raise RuntimeError("no luck")
        return score(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(run, "score", fails)
    tally = study.run()
    failed = study.trials[1].digest
    assert (tally.completed, tally.errors) == (2, {failed: "RuntimeError: no luck"})
    assert [r.state for r in study.records] == ["completed", "failed", "completed"]
    record = read_record(study.study.trial(failed).record)
    assert record.error is not None and record.error["message"] == "no luck"
    assert record.model_calls_executed == 6 and record.timings["sample"] > 0
    monkeypatch.undo()
    again = study.run()
    assert (again.completed, again.model_calls) == (1, 0)


def test_the_first_ctrl_c_finishes_the_stage_and_drains_what_is_behind(few, monkeypatch):
    study = few("stopped", overlap=True)
    log = study.log

    def evaluated(stage: PlannedStage, done: int) -> None:
        if log.told[-1] != ("begins", 0) and (stage.name, done) == ("establish", 1):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(log, "evaluated", evaluated)
    tally = study.run()
    assert (
        tally.stopped == "after establish of default · coffee · seed 1, which the stage store has"
    )
    assert (tally.completed, tally.model_calls, tally.at_once) == (1, 6 + 4, False)
    assert [r.state for r in study.records] == ["completed"]
    assert claimed(study.study.claims) == set()
    monkeypatch.undo()
    rest = study.run()
    assert (rest.completed, rest.model_calls, rest.stopped) == (2, 3 * 6 - 10, "")


def test_without_the_store_the_first_ctrl_c_loses_the_trial_and_says_so(few, monkeypatch):
    study = few("storeless", store=False)

    def evaluated(stage: PlannedStage, done: int) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(study.log, "evaluated", evaluated)
    tally = study.run()
    assert "which is lost (cache.enabled=false)" in tally.stopped
    assert (tally.completed, tally.model_calls) == (0, 2)


def test_in_the_last_stage_the_trial_is_finished_first(few, monkeypatch):
    study = few("last")

    def evaluated(stage: PlannedStage, done: int) -> None:
        if (stage.name, done) == ("refine", 2):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(study.log, "evaluated", evaluated)
    tally = study.run()
    assert (tally.completed, tally.stopped) == (1, "after default · coffee · seed 0")


def test_the_second_ctrl_c_stops_at_once(few, monkeypatch):
    study = few("twice")

    def evaluated(stage: PlannedStage, done: int) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(study.log, "evaluated", evaluated)
    tally = study.run()
    assert (tally.completed, tally.model_calls) == (0, 4)
    assert (tally.stopped, tally.at_once) == ("at once", True)
    assert not list(study.study.trials.glob("*/record.json"))


def others_claim(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}~{owner()}~other").touch()


def test_ctrl_c_while_others_run_the_last_trials_stops_at_once_and_says_one_thing(few, monkeypatch):
    study, said = few("waiting"), []
    others_claim(study.study.claims, *(t.digest for t in study.trials))
    monkeypatch.setattr(study.log, "waits", lambda count: signal.raise_signal(signal.SIGINT))
    monkeypatch.setattr(study.log, "stopping", lambda: said.append("stopping"))
    tally = study.run()
    assert (tally.stopped, tally.at_once) == ("while waiting for other processes", False)
    assert (tally.completed, said) == (0, [])


def test_ctrl_c_while_another_process_computes_the_stage_stops_at_once(few, monkeypatch):
    study, said = few("awaited"), []
    planned = study.trials[0]
    backend = load_backend(planned.trial.recipe, planned.trial.memory)
    content = {"stage": planned.stage_keys[0], "machine": machine_digest(backend)}
    others_claim(study.options.cache_folder / "claims", digest(content, KEY_LENGTH))
    monkeypatch.setattr("time.sleep", lambda seconds: signal.raise_signal(signal.SIGINT))
    monkeypatch.setattr(study.log, "stopping", lambda: said.append("stopping"))
    tally = study.run()
    name = "default · coffee · seed 0"
    assert tally.stopped == f"while another process computes a stage of {name}"
    assert (tally.completed, tally.model_calls, tally.at_once, said) == (0, 0, False, [])
    assert claimed(study.study.claims) == set()


@pytest.mark.parametrize(("device", "auto"), [("cpu", False), ("cuda", True), ("cuda:1", True)])
def test_overlap_is_for_gpus_unless_it_is_asked_for(few, device, auto):
    study = few("auto")
    planned = study.trials[0].trial
    trial = dataclasses.replace(planned, memory=dataclasses.replace(planned.memory, device=device))
    assert overlaps(study.options, trial) is auto
    for asked in (True, False):
        assert overlaps(dataclasses.replace(study.options, overlap=asked), trial) is asked
