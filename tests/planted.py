"""Studies whose measurements are planted: what a runner does with verdicts, without a model."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from tests.analysis.studies import measured
from wanexp import commands, run
from wanexp.cli import main
from wanexp.compose import Sweep, expand_sweep
from wanexp.generate import OnEvaluation
from wanexp.options import Options
from wanexp.planned import PlannedTrial
from wanexp.record import StudyPaths, TrialRecord
from wanexp.recording import recording

SWEEP = """# @package _global_
# Question:    which is better?
# Expectation: none.
# Budget:      some.
defaults:
  - override /recipe: two_stage
  - override /protocol: smoke
protocol:
  name: mine
  primary: flicker
  looks: {looks}
  any_time: {any_time}
hydra:
  sweeper:
    params:
      case: {cases}
      seed: "0"
    arms:
      baseline: []
      A: [recipe.stages.refine.denoise=0.5]
      B: [recipe.stages.refine.steps=28]
      C: [recipe.stages.refine.cfg=3.0]
      D: {{combine: [A, B, C]}}
"""
CASES = "'astronaut,brick,cell,coffee,coins,grass,moon,page'"
ORDER = CASES.strip("'").split(",")
CALLS = {"baseline": 86, "A": 86, "B": 92, "C": 86}
"""Model calls of an arm alone; the first stage, 36 of them, is common."""


def write_sweep(
    folder: Path, looks: str = "[]", any_time: str = "false", cases: str = CASES
) -> None:
    (folder / "sweeps").mkdir(exist_ok=True)
    text = SWEEP.format(looks=looks, any_time=any_time, cases=cases)
    (folder / "sweeps" / "mine.yaml").write_text(text)


def plant(
    monkeypatch: pytest.MonkeyPatch,
    gains: Mapping[str, float],
    *,
    stop_after: int | None = None,
    noisy: Sequence[str] = (),
) -> list[PlannedTrial]:
    """Trials that measure flicker as ``gains`` say, by arm; returns the list of those that ran.

    Arms that are not named have 0.4 of the baseline's, ``noisy`` ones differ from case to case.
    Ctrl-C comes after ``stop_after`` of them.
    """
    ran: list[PlannedTrial] = []

    def run_trial(
        planned: PlannedTrial,
        study: StudyPaths,
        options: Options,
        on_evaluation: OnEvaluation | None = None,
    ) -> TrialRecord:
        if len(ran) == stop_after:
            raise KeyboardInterrupt
        ran.append(planned)
        gain = 1.0 if planned.arm == "baseline" else gains.get(planned.arm, 0.4)
        spread = 0.8 if planned.arm in noisy else 0.05
        turn = ORDER.index(planned.case) % 3 - 1 if planned.case in ORDER else 0
        flicker = 0.5 * gain * math.exp(spread * turn)
        with recording(study.trial(planned.digest), run.new_record(planned, study)) as draft:
            for stage in planned.plan.stages:
                for done in range(1, len(stage.experts) + 1):
                    if on_evaluation is not None:
                        on_evaluation(stage, done)
            draft.record = with_numbers(draft.record, planned, flicker)
        return draft.record

    monkeypatch.setattr(run, "begin_trial", Standing(run_trial))
    monkeypatch.setattr(commands, "expand_sweep", expand_once)
    return ran


class Standing:
    """Stands where ``wanexp.run.begin_trial`` does, and hands over what ran already."""

    def __init__(self, run_trial: Callable[..., TrialRecord]) -> None:
        self.run_trial = run_trial

    def __call__(
        self,
        planned: PlannedTrial,
        study: StudyPaths,
        options: Options,
        on_evaluation: OnEvaluation | None = None,
        sign: object = None,
        *,
        overlapped: bool = False,
    ) -> Standing:
        self.record = self.run_trial(planned, study, options, on_evaluation)
        return self

    def finish(self, waited: float = 0.0) -> TrialRecord:
        return self.record


def expand_once(name: str, overrides: Sequence[str]) -> Sweep:
    """Composing takes longer than all the rest, so what was composed once is kept."""
    text = (Path.cwd() / "sweeps" / f"{name}.yaml").read_text()
    return _expanded(name, tuple(o for o in overrides if not o.startswith("studies=")), text)


@functools.cache
def _expanded(name: str, overrides: tuple[str, ...], text: str) -> Sweep:
    return expand_sweep(name, overrides)


def with_numbers(record: TrialRecord, planned: PlannedTrial, flicker: float) -> TrialRecord:
    values = {"flicker": measured(flicker), "motion_top5": measured(20.0, "higher")}
    calls = planned.plan.model_calls
    return dataclasses.replace(
        record, measurements=values, model_calls=calls, model_calls_executed=calls
    )


def sweep(folder: Path, *arguments: str) -> tuple[int, dict[str, object], str]:
    """Runs the verb: (status, result, talk)."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), redirect_stdout(out), redirect_stderr(err):
        status = main(["sweep", "mine", "tracking=none", *arguments, "--json"])
    last = out.getvalue().strip().splitlines()[-1:]
    return status, json.loads(last[0]) if last else {}, " ".join(err.getvalue().split())


def study(folder: Path) -> dict[str, object]:
    return json.loads((folder / "studies" / "mine" / "study.json").read_text())
