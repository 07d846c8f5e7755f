"""Whole sweeps on wan-mini, through the command line, as a user runs them (a few steps each)."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest

from wanexp import making, run
from wanexp.backends.diffusers import DiffusersBackend
from wanexp.cache import held, read_entry
from wanexp.cli import main
from wanexp.recent import Recent
from wanexp.record import StudyPaths, read_record, read_study
from wanexp.video import read_video

SWEEP = """# @package _global_
# Question:    does it run?
# Expectation: yes.
# Budget:      4 trials.
defaults:
  - override /recipe: two_stage
  - override /protocol: smoke
recipe:
  frames: 9
  stages:
    establish: {steps: 2, sampler: euler, scheduler: simple}
    refine: {steps: 1, sampler: euler, scheduler: simple, cfg: 1.0}
hydra:
  sweeper:
    params:
      case: coffee
      seed: "0,1"
    arms:
      half: [recipe.stages.refine.denoise=0.5]
      third: [recipe.stages.refine.sigma_start=0.3, recipe.stages.refine.denoise=null]
"""
CALLS = 2 * 2 + 1
"""Of one trial alone."""
SHARED = 2 * 2 + 1 + 1
"""Of both arms on one case and seed."""
SMALL = ("recipe.width=64", "recipe.height=64", "recipe.frames=5")
LITTLE = ("metrics=[flicker]", "measure_stages=false")
"""Where what is measured is not the question."""


def sweep(folder, *arguments, name="tiny"):
    """Runs the verb in this process, which has torch loaded already: (status, result, talk)."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), redirect_stdout(out), redirect_stderr(err):
        status = main(["sweep", name, "tracking=none", *arguments, "--json"])
    last = out.getvalue().strip().splitlines()[-1:]
    return status, json.loads(last[0]) if last else {}, err.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A user's folder with a sweep of its own, run once."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "sweeps").mkdir()
    (folder / "sweeps" / "tiny.yaml").write_text(SWEEP)
    status, result, talk = sweep(folder)
    assert status == 0, talk
    assert result == {
        "study": str(folder / "studies" / "tiny"),
        "trials": 4,
        "completed": 4,
        "changed": 0,
        "failed": 0,
        "skipped": 0,
        "model_calls_executed": 2 * SHARED,
        "model_calls_saved": 0,
    }
    return folder


@pytest.fixture
def study(folder):
    return StudyPaths(folder / "studies" / "tiny")


def test_every_trial_has_a_whole_folder(study):
    records = read_study(study).records
    assert len(records) == 4
    for record in records:
        paths = study.trial(record.digest)
        frames, fps, _ = read_video(paths.video)
        assert frames.shape == (9, 128, 128, 3) and fps == 12
        for file in (
            paths.poster,
            paths.contact_sheet,
            paths.source,
            paths.stage_video("establish"),
        ):
            assert file.stat().st_size > 0
        assert record.model_calls == CALLS == record.plan["model_calls"]
        stored = {name for name, facts in record.stages.items() if facts["stored"]}
        assert stored == (set() if record.arm == "half" else {"establish"})
        assert record.model_calls_executed == CALLS - 4 * len(stored)
        assert set(record.timings) == {"encode", "sample", "decode", "measure", "write"}


def test_stages_are_measured_too(study):
    for record in read_study(study).records:
        assert list(record.stages) == ["establish", "refine"]
        measured = record.stages["establish"]["measurements"]
        assert isinstance(measured, dict) and set(measured) == set(record.measurements)
        assert record.stages["refine"]["measurements"] == record.measurements


def test_the_first_frame_shows_the_source(study):
    from skimage.metrics import peak_signal_noise_ratio

    paths = study.trial(read_study(study).records[0].digest)
    frame = read_video(paths.video).frames[0]
    source = _picture(paths.source)
    assert peak_signal_noise_ratio(source, frame) > 15


def _picture(path):
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB"))


def test_a_second_run_does_nothing_and_says_so(folder, study):
    before = {p: p.stat().st_mtime_ns for p in study.trials.rglob("record.json")}
    status, result, talk = sweep(folder)
    assert status == 0 and "nothing is left to do" in talk
    assert result["skipped"] == 4 and result["model_calls_executed"] == 0
    assert before == {p: p.stat().st_mtime_ns for p in study.trials.rglob("record.json")}


def test_adding_a_seed_runs_the_difference(folder):
    status, result, talk = sweep(folder, "seed=0,1,2", *LITTLE)
    assert status == 0, talk
    assert (result["completed"], result["skipped"]) == (2, 4)
    assert result["model_calls_executed"] == SHARED


def test_a_limit_leaves_the_rest_for_later(folder):
    _, result, _ = sweep(folder, "--limit", "1", "seed=7,8", *LITTLE)
    assert (result["completed"], result["skipped"], result["trials"]) == (1, 3, 4)


@pytest.fixture
def forgetful(monkeypatch):
    """Nothing in memory of what trials before made."""

    def forget():
        monkeypatch.setattr(making, "recent_videos", Recent(making.KEPT))
        monkeypatch.setattr(run, "recent_scores", Recent(making.KEPT))

    forget()
    return forget


def test_trials_whose_stages_are_all_stored_are_measured_without_a_model_call(folder, forgetful):
    store = f"cache.folder={folder / 'common'}"
    _, once, _ = sweep(folder, "seed=0", "studies=here", store, *SMALL)
    forgetful()
    status, result, talk = sweep(folder, "seed=0", "studies=there", store, *SMALL)
    assert status == 0, talk
    assert (once["model_calls_executed"], once["completed"]) == (SHARED, 2)
    assert (result["model_calls_executed"], result["completed"]) == (0, 2)
    first = {r.digest: r for r in read_study(StudyPaths(folder / "here" / "tiny")).records}
    for record in read_study(StudyPaths(folder / "there" / "tiny")).records:
        before = first[record.digest]
        assert (record.model_calls, record.model_calls_executed) == (CALLS, 0)
        assert record.measurements == before.measurements
        for name, facts in record.stages.items():
            assert facts == {**before.stages[name], "stored": True}


def test_a_stage_in_common_is_decoded_and_measured_once(folder, forgetful, monkeypatch):
    made = []

    def decode(backend, latent, plain=DiffusersBackend.decode):
        made.append("video")
        return plain(backend, latent)

    def score(*told, plain=run.score):
        made.append("score")
        return plain(*told)

    monkeypatch.setattr(DiffusersBackend, "decode", decode)
    monkeypatch.setattr(run, "score", score)
    _, result, _ = sweep(folder, "seed=3", "studies=common", *SMALL)
    assert result["completed"] == 2
    assert (made.count("video"), made.count("score")) == (3, 3)  # of establish one, of refine two
    records = read_study(StudyPaths(folder / "common" / "tiny")).records
    first, second = (record.stages["establish"]["measurements"] for record in records)
    assert first == second and first
    assert records[0].measurements != records[1].measurements


def test_a_trial_that_fails_after_sampling_costs_no_model_call_again(
    folder, forgetful, monkeypatch
):
    def fails(backend, latent):
        raise RuntimeError("no memory to decode")

    arguments = ("seed=0", "studies=failing", *SMALL, *LITTLE)
    monkeypatch.setattr(DiffusersBackend, "decode", fails)
    _, first, _ = sweep(folder, *arguments)
    assert (first["failed"], first["model_calls_executed"]) == (2, SHARED)
    records = read_study(StudyPaths(folder / "failing" / "tiny")).records
    assert sum(record.model_calls_executed for record in records) == SHARED
    assert all(record.timings["sample"] > 0 for record in records)
    monkeypatch.undo()
    _, second, _ = sweep(folder, *arguments)
    assert (second["completed"], second["model_calls_executed"]) == (2, 0)


def test_without_the_store_every_trial_is_computed_whole(folder):
    arguments = ("seed=0", "studies=off", "cache.enabled=false", *SMALL, *LITTLE)
    _, result, talk = sweep(folder, *arguments)
    assert result["model_calls_executed"] == 2 * CALLS
    assert f"2 trials, {2 * CALLS} model calls" in talk
    assert not (folder / "off" / ".cache").exists()


def test_the_stage_store_is_shown_and_cleared(folder):
    where = f"cache.folder={folder / 'kept'}"
    _, first, _ = sweep(folder, "seed=0", "studies=one", where, *SMALL, *LITTLE)

    def cache(*arguments):
        out = io.StringIO()
        with contextlib.chdir(folder), redirect_stdout(out):
            assert main(["cache", where, *arguments]) == 0
        return out.getvalue()

    tree = json.loads(cache("--json"))
    assert tree["folder"] == str(folder / "kept")
    # three stages; prompt, negative prompt and source
    assert (tree["entries"], tree["models"]["wan_mini"]["entries"]) == (6, 6)
    assert 0 < tree["bytes"] == tree["models"]["wan_mini"]["bytes"] < tree["limit_bytes"]
    assert tree["removed"] == {"entries": 0, "bytes": 0}
    assert "kept: 6 entries, " in cache() and "wan_mini: 6 entries, " in cache()
    cleared = json.loads(cache("--clear", "--json"))
    assert cleared["removed"] == {"entries": 6, "bytes": tree["bytes"]}
    assert (cleared["entries"], cleared["oldest"]) == (0, None)
    assert cache() == "kept: empty\n"
    _, again, _ = sweep(folder, "seed=0", "studies=two", where, *SMALL, *LITTLE)
    assert again["model_calls_executed"] == first["model_calls_executed"] == SHARED


def test_a_failing_trial_is_recorded_and_the_others_run(folder):
    arm = "broken: [recipe.stages.refine.denoise=0.3, memory.device=cuda]"
    (folder / "sweeps" / "broken.yaml").write_text(
        SWEEP.replace("      half: [", f"      {arm}\n      half: [")
    )
    status, result, talk = sweep(folder, "seed=0", *LITTLE, *SMALL, name="broken")
    assert status == 1
    assert (result["completed"], result["failed"], result["trials"]) == (2, 1, 3)
    records = {r.arm: r for r in read_study(StudyPaths(Path(result["study"]))).records}
    error = records["broken"].error
    assert records["broken"].state == "failed" and error is not None and error["traceback"]
    assert " ".join(talk.split()).count(error["message"][:40]) >= 2


@pytest.mark.slow
def test_the_same_trial_alone_gives_the_same_bits(folder, study):
    """After others in one process, and alone in a process of its own."""
    records = {(r.arm, r.trial["seed"]): r for r in read_study(study).records}
    process = start(folder, "seed=1", "studies=alone", "--limit", "1")
    process.communicate(timeout=300)
    assert process.returncode == 0
    alone = read_study(StudyPaths(folder / "alone" / "tiny")).records[0]
    together = records[alone.arm, 1]
    assert alone.digest == together.digest
    assert alone.measurements == together.measurements and alone.series == together.series


@pytest.mark.slow
def test_a_single_run_is_a_plain_hydra_application(folder):
    run = subprocess.run(
        [
            *(sys.executable, "-m", "wanexp.run", "tracking=none", "case=coffee", "recipe=single"),
            *("recipe.stages.establish.steps=1", "recipe.stages.establish.sampler=euler"),
            "recipe.scheduler=simple",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    records = read_study(StudyPaths(folder / "studies" / "runs")).records
    assert [r.state for r in records] == ["completed"] and records[0].model_calls == 2


def start(folder, *arguments):
    """The verb in a process of its own."""
    command = [sys.executable, "-m", "wanexp.cli", "sweep", "tiny", "tracking=none", *arguments]
    return subprocess.Popen(
        command, cwd=folder, start_new_session=True, stderr=subprocess.PIPE, text=True
    )


def wait_for_a_record(trials):
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and not list(trials.glob("[!.]*/record.json")):
        time.sleep(0.05)


@pytest.mark.slow
def test_kill_costs_at_most_the_trial_in_flight(folder):
    process = start(folder, "studies=killed")
    trials = folder / "killed" / "tiny" / "trials"
    wait_for_a_record(trials)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = {p: p.stat().st_mtime_ns for p in trials.glob("[!.]*/record.json")}
    assert 1 <= len(done) < 4
    status, result, _ = sweep(folder, "studies=killed")
    assert status == 0 and result["completed"] == 4 - len(done)
    assert {p: p.stat().st_mtime_ns for p in done} == done
    assert not list(trials.glob(".partial*"))
    assert all(read_record(p).state == "completed" for p in trials.glob("[!.]*/record.json"))


@pytest.mark.slow
def test_ctrl_c_stops_with_one_sentence(folder):
    process = start(folder, "studies=stopped")
    trials = folder / "stopped" / "tiny" / "trials"
    wait_for_a_record(trials)
    process.send_signal(signal.SIGINT)
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "Traceback" not in stderr and "goes on where it was" in stderr
    assert all(read_record(p).state == "completed" for p in trials.glob("[!.]*/record.json"))


COUNTING = """
import os, sys
from torch.nn.modules.module import register_module_forward_pre_hook
from wanexp.cli import main

file = os.open(sys.argv[1], os.O_APPEND | os.O_CREAT | os.O_WRONLY)

def count(module, arguments):
    if type(module).__name__ == "WanTransformer3DModel":
        os.write(file, b".")

register_module_forward_pre_hook(count)
sys.exit(main(sys.argv[2:]))
"""
"""The command line in a process that leaves a dot in a file for each latent through an expert."""

LONGER = ("recipe.stages.establish.steps=8", "metrics=[motion]", "measure_stages=false")
TREE = 2 * (16 + 1 + 1)


def start_counting(folder, dots, *arguments):
    command = [sys.executable, "-c", COUNTING, str(dots), "sweep", "tiny", "tracking=none"]
    return subprocess.Popen(
        [*command, *SMALL, *LONGER, *arguments, "--json"],
        cwd=folder,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
    )


def result_of(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def calls_in(store):
    """Model calls of the stages that a store holds."""
    facts = [read_entry(entry.path).facts for entry in held(store)]
    return sum(int(str(f["model_calls"])) for f in facts if f["kind"] == "stage")


@pytest.mark.slow
def test_a_sweep_killed_again_and_again_never_computes_a_finished_stage_twice(folder):
    store, spent = folder / "torn" / ".cache", 0
    for number, last_call in enumerate((5, 3, 1)):
        dots = folder / f"torn{number}.dots"
        process = start_counting(folder, dots, "studies=torn")
        before = calls_in(store)
        while not dots.exists() or dots.stat().st_size < last_call:
            assert process.poll() is None
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        spent += len(dots.read_bytes()) - (calls_in(store) - before)  # in the stage in flight
    stored, dots = calls_in(store), folder / "torn.dots"
    result = result_of(start_counting(folder, dots, "studies=torn"))
    assert len(dots.read_bytes()) == result["model_calls_executed"] == TREE - stored
    assert calls_in(store) == TREE
    assert spent < 3 * 16


@pytest.mark.slow
def test_a_sweep_killed_between_its_stages_costs_its_tree_in_all(folder):
    """The first stage is stored, the second has not begun."""
    store, dots = folder / "cut" / ".cache", folder / "cut.dots"
    process = start_counting(folder, dots, "studies=cut", "recipe.stages.refine.steps=300")
    while calls_in(store) < 16:
        assert process.poll() is None
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    result = result_of(start_counting(folder, folder / "rest.dots", "studies=cut"))
    assert result["model_calls_executed"] == TREE - 16


@pytest.mark.slow
def test_two_processes_on_one_sweep_share_its_trials_and_compute_nothing_twice(folder):
    dots = [folder / "left.dots", folder / "right.dots"]
    both = [start_counting(folder, path, "studies=both") for path in dots]
    results = [result_of(process) for process in both]
    assert [result["trials"] for result in results] == [4, 4]
    assert sum(result["completed"] for result in results) == 4
    assert sum(result["failed"] for result in results) == 0
    calls = [len(path.read_bytes()) if path.exists() else 0 for path in dots]
    assert calls == [result["model_calls_executed"] for result in results]
    assert sum(calls) == calls_in(folder / "both" / ".cache") == TREE
    records = read_study(StudyPaths(folder / "both" / "tiny")).records
    assert [record.state for record in records] == ["completed"] * 4
    assert sum(record.model_calls_executed for record in records) == TREE
    assert not list((folder / "both").rglob("*~*"))  # no claim is left
