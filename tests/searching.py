"""A search whose videos are planted: flicker follows from the recipe by a formula, at no cost.

Run as a program it is the verb itself, killed without warning after so many trials.
"""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import sys
from collections.abc import Callable

from tests.analysis.studies import measured
from tests.planted import Standing, with_numbers
from wanexp import run
from wanexp.cli import main
from wanexp.generate import OnEvaluation
from wanexp.options import Options
from wanexp.planned import PlannedTrial
from wanexp.record import StudyPaths, TrialRecord
from wanexp.recording import recording

BEST = 0.42
"""The denoise of the refining stage with the least flicker."""


def flicker_of(planned: PlannedTrial) -> float:
    """Least at ``BEST``; more steps help a little; each picture has its own level."""
    refine = planned.trial.recipe.stages[1]
    far = abs((refine.denoise or 0) - BEST)
    picture = 0.1 * (sum(map(ord, planned.case)) % 5)
    return 0.3 * math.exp(3 * far - 0.01 * (refine.steps or 0) + picture)


class Planted:
    """Makes a trial's record; counts what ran, and may end it."""

    def __init__(
        self,
        *,
        stop_after: int | None = None,
        kill_after: int | None = None,
        motion: Callable[[PlannedTrial], float] = lambda _: 20.0,
    ) -> None:
        self.ran: list[PlannedTrial] = []
        self.stop_after, self.kill_after = stop_after, kill_after
        self.motion = motion

    def __call__(
        self,
        planned: PlannedTrial,
        study: StudyPaths,
        options: Options,
        on_evaluation: OnEvaluation | None = None,
    ) -> TrialRecord:
        if len(self.ran) == self.kill_after:
            os.kill(os.getpid(), signal.SIGKILL)
        if len(self.ran) == self.stop_after:
            raise KeyboardInterrupt
        self.ran.append(planned)
        with recording(study.trial(planned.digest), run.new_record(planned, study)) as draft:
            record = with_numbers(draft.record, planned, flicker_of(planned))
            moved = measured(self.motion(planned), "higher")
            values = {**record.measurements, "motion_top5": moved}
            draft.record = dataclasses.replace(record, measurements=values)
        return draft.record


if __name__ == "__main__":
    run.begin_trial = Standing(Planted(kill_after=int(sys.argv[1])))
    sys.exit(main(sys.argv[2:]))
