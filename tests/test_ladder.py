"""What is tried when memory runs out: in order, only what is allowed, and never in disguise."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from analysis.load import load_study
from tests.few import Few, few_sweep
from wanexp.backends.diffusers import DiffusersBackend
from wanexp.compose import Sweep
from wanexp.ladder import HELPS, STEPS, Ladder, is_out_of_memory
from wanexp.memory import LADDER, Memory
from wanexp.plan import make_plan
from wanexp.planned import PlannedTrial
from wanexp.record import read_record
from wanexp.recording import is_settled
from wanexp.runner import open_study, to_run
from wanexp.strict import ConfigError
from wanexp.troubles import change_words

FULL = "CUDA out of memory. Tried to allocate 2.00 GiB."


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return few_sweep(tmp_path_factory.mktemp("user"))


def allowing(few: Few, *steps: str) -> Few:
    """One trial, and what may be done to it."""
    planned = few.trials[0]
    memory = dataclasses.replace(planned.trial.memory, out_of_memory=steps)
    few.trials = [
        dataclasses.replace(planned, trial=dataclasses.replace(planned.trial, memory=memory))
    ]
    return few


@pytest.fixture
def few(tmp_path: Path, sweep: Sweep) -> Few:
    few = Few(sweep, tmp_path, overlap="auto", store=True)
    open_study(sweep, few.trials[:1], few.options)
    return few


# Steps


def test_every_step_of_the_guides_ladder_is_there_in_its_order():
    assert tuple(STEPS) == LADDER
    assert set(HELPS) <= set(LADDER)


def test_a_step_that_does_not_exist_is_refused_with_the_nearest():
    with pytest.raises(
        ConfigError, match=r"memory.out_of_memory: no step named 'fewer_frame'.*fewer_frames"
    ):
        Memory(out_of_memory=("fewer_frame",))


def down(planned: PlannedTrial, phase: str) -> list[object]:
    ladder, found = Ladder(planned), []
    while ladder.step(phase, torch.OutOfMemoryError(FULL)):
        found.append((ladder.changes[-1]["step"], ladder.changes[-1]["now"]))
    return found


def test_all_of_it_is_taken_in_order_each_once_where_it_can_help(few):
    planned = allowing(few, *reversed(LADDER)).trials[0]
    less = [
        ("empty_cache", {}),
        ("fewer_frames", {"frames": 5}),
        ("lower_resolution", {"width": 32, "height": 32}),
        ("fewer_stages", {"stages": ["establish"], "steps": 30}),
    ]
    assert down(planned, "stage/refine") == less
    assert down(planned, "decode") == [less[0], ("vae_tiling", {"vae_tiling": True}), *less[1:]]


def test_what_cannot_be_less_is_left_out(few):
    planned = allowing(few, *LADDER).trials[0]
    recipe = planned.trial.recipe
    low = dataclasses.replace(recipe, frames=1, width=16, height=16, stages=recipe.stages[:1])
    tiled = dataclasses.replace(planned.trial.memory, vae_tiling=True)
    trial = dataclasses.replace(planned.trial, recipe=low, memory=tiled)
    assert down(dataclasses.replace(planned, trial=trial, plan=make_plan(low)), "decode") == [
        ("empty_cache", {})
    ]


def test_a_split_keeps_its_stages(few):
    """Its first stage makes no video of its own."""
    planned = allowing(few, "fewer_stages").trials[0]
    first, last = planned.trial.recipe.stages
    ends = dataclasses.replace(first, sigma_end=0.9)
    last = dataclasses.replace(last, denoise=None)
    recipe = dataclasses.replace(planned.trial.recipe, steps=4, stages=(ends, last))
    trial = dataclasses.replace(planned.trial, recipe=recipe)
    assert down(dataclasses.replace(planned, trial=trial, plan=make_plan(recipe)), "decode") == []


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (torch.OutOfMemoryError(FULL), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
        (MemoryError(), False),
    ],
)
def test_a_full_device_is_told_from_other_failures(error, full):
    assert is_out_of_memory(error) is full


def test_a_change_is_said_with_what_was_asked_and_where_memory_ran_out():
    changes = [
        {"step": "empty_cache", "phase": "decode", "error": FULL, "was": {}, "now": {}},
        {"step": "fewer_frames", "phase": "decode", "was": {"frames": 17}, "now": {"frames": 13}},
    ]
    assert change_words(changes[:1]) == "tried again with an empty cache, out of memory in decode"
    assert change_words(changes) == "frames 13 (asked: 17), out of memory in decode"


# Trials: memory is said to be full where it is, since there is no card here to fill


def decoding_fails(
    monkeypatch: pytest.MonkeyPatch, times: int, *, unless_tiled: bool
) -> list[object]:
    decode, tried = DiffusersBackend.decode, []

    def full(backend: DiffusersBackend, latent: Tensor) -> np.ndarray:
        tried.append(latent)
        tiled = unless_tiled and backend._memory.vae_tiling
        if len(tried) <= times and not tiled:
            raise torch.OutOfMemoryError(FULL)
        return decode(backend, latent)

    monkeypatch.setattr(DiffusersBackend, "decode", full)
    return tried


def test_an_emptied_cache_changes_nothing_and_costs_no_model_call(few, monkeypatch):
    decoding_fails(monkeypatch, 1, unless_tiled=False)
    tally = allowing(few, "empty_cache").run()
    (record,) = few.records
    assert (record.state, tally.completed, tally.changed) == ("completed", 1, {})
    assert record.changes == [
        {"step": "empty_cache", "phase": "decode", "error": FULL, "was": {}, "now": {}}
    ]
    assert record.model_calls_executed == record.model_calls == 6


def test_a_changed_trial_never_poses_as_the_one_that_was_asked_for(few, monkeypatch):
    decoding_fails(monkeypatch, 99, unless_tiled=True)
    tally = allowing(few, "empty_cache", "vae_tiling").run()
    (record,), (planned,) = few.records, few.trials
    assert (record.state, record.digest) == ("changed", planned.digest)
    assert record.model_calls_executed == 6  # what was sampled is decoded again, not sampled again
    assert record.changes[-1]["now"] == {"vae_tiling": True}
    words = "vae_tiling true (asked: false), out of memory in decode"
    assert tally.changed == {planned.digest: f"default · coffee · seed 0: {words}"}
    assert few.study.trial(planned.digest).video.exists()
    row = load_study(few.study.root).trials.iloc[0]
    assert row["state"] == "changed"


def test_a_changed_trial_is_not_tried_for_ever_but_when_it_is_no_longer_allowed(few, monkeypatch):
    tried = decoding_fails(monkeypatch, 99, unless_tiled=True)
    allowing(few, "vae_tiling").run()
    paths = few.study.trial(few.trials[0].digest)
    assert to_run(few.trials, few.study) == []
    assert is_settled(paths, ["vae_tiling"]) and not is_settled(paths, ["empty_cache"])
    monkeypatch.undo()
    asked = allowing(few, "empty_cache")
    assert to_run(asked.trials, few.study) == asked.trials
    asked.run()
    record = read_record(paths.record)
    assert (record.state, record.changes, len(tried)) == ("completed", [], 3)


def test_what_ran_is_the_plan_and_the_size_of_a_smaller_video(few, monkeypatch):
    denoiser = DiffusersBackend.denoiser

    def full(backend: DiffusersBackend, conditioning: object, **more: object) -> object:
        if conditioning.latent_shape[-1] > 4:  # type: ignore[attr-defined]
            raise torch.OutOfMemoryError(FULL)
        return denoiser(backend, conditioning, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(DiffusersBackend, "denoiser", full)
    allowing(few, "empty_cache", "lower_resolution").run()
    (record,) = few.records
    assert [change["phase"] for change in record.changes] == ["stage/establish"] * 2
    assert record.changes[-1]["was"] == {"width": 64, "height": 64}
    assert record.trial["recipe"]["width"] == 64  # type: ignore[index]
    from wanexp.video import read_video

    frames = read_video(few.study.trial(record.digest).video).frames
    assert frames.shape == (9, 32, 32, 3)


def test_where_no_step_is_allowed_the_trial_fails_and_says_what_was(few, monkeypatch):
    decoding_fails(monkeypatch, 99, unless_tiled=False)
    tally = allowing(few).run()
    (record,) = few.records
    assert (record.state, tally.failed) == ("failed", 1)
    assert record.error is not None
    assert "memory.out_of_memory allows no further step: it is empty" in record.error["traceback"]
    assert record.phases["decode"] and record.model_calls_executed == 6
