"""A sweep of three trials on wan-mini, a few steps each, run in this process."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Literal

from wanexp.compose import Sweep, expand_sweep
from wanexp.options import options_from
from wanexp.plan import PlannedStage
from wanexp.planned import PlannedTrial
from wanexp.record import StudyPaths, TrialRecord
from wanexp.runner import Tally, run_trials, to_run
from wanexp.study import plan_trials

FEW = """# @package _global_
# Question:    does it run?
# Expectation: yes.
# Budget:      3 trials.
defaults:
  - override /recipe: two_stage
  - override /protocol: smoke
  - override /memory: cpu
metrics: [motion, flicker]
recipe:
  width: 64
  height: 64
  frames: 9
  stages:
    establish: {steps: 2, sampler: euler, scheduler: simple}
    refine: {steps: 2, sampler: euler, scheduler: simple, cfg: 1.0}
hydra:
  sweeper:
    params:
      case: coffee
      seed: "0,1,2"
"""


class Log:
    """A watcher that keeps what it is told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def begins(self, planned: PlannedTrial, number: int) -> None:
        self.told.append(("begins", planned.seed))

    def evaluated(self, stage: PlannedStage, done: int) -> None: ...
    def waits(self, count: int) -> None: ...
    def stopping(self) -> None: ...

    def ended(self, planned: PlannedTrial, record: TrialRecord) -> None:
        self.told.append(("ended", planned.seed))

    def failed(self, planned: PlannedTrial, error: Exception) -> None:
        self.told.append(("failed", planned.seed))


class Few:
    """Three trials on wan-mini, a few steps each."""

    def __init__(
        self, sweep: Sweep, folder: Path, *, overlap: Literal["auto", True, False], store: bool
    ) -> None:
        self.trials = plan_trials(sweep)
        options = options_from({**sweep.options, "studies": str(folder)})
        cache = dataclasses.replace(options.cache, enabled=store)
        self.options = dataclasses.replace(options, overlap=overlap, cache=cache)
        self.study = StudyPaths(folder / "few")
        self.log = Log()
        self.records: list[TrialRecord] = []

    def run(self) -> Tally:
        waiting = to_run(self.trials, self.study)
        return run_trials(waiting, self.study, self.options, self.log, self.records.append)

    def media(self) -> dict[str, bytes]:
        found = [p for p in self.study.trials.rglob("*") if p.is_file()]
        return {
            str(p.relative_to(self.study.root)): p.read_bytes()
            for p in found
            if p.suffix != ".json"
        }


def few_sweep(folder: Path) -> Sweep:
    """Composed once, since that takes longer than a trial."""
    (folder / "sweeps").mkdir()
    (folder / "sweeps" / "few.yaml").write_text(FEW)
    with contextlib.chdir(folder):
        return expand_sweep("few")
