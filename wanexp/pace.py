"""How long is left: seconds of a model call and of a trial's rest, learnt while a sweep runs.

Work is counted in model calls times latent cells (width × height × latent frames), so that trials
of different sizes speak for each other, and stages that are shared or unguided count for what they
really cost.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Sequence

from wanexp.config import Recipe
from wanexp.plan import PlannedStage
from wanexp.record import TrialRecord

REMEMBERED = 20
"""Trials that the pace rests on; older ones may have run on a colder card."""


def cells(recipe: Recipe) -> int:
    """Latent cells of a video."""
    frames = (recipe.frames - 1) // recipe.model.frame_stride + 1
    return recipe.width * recipe.height * frames


class Pace:
    """What work takes here. Trials that ended say so exactly; before the first of them, its steps.

    The steps are seen from the host, which may be some model calls ahead of a GPU.
    """

    def __init__(self) -> None:
        self._calls: deque[float] = deque(maxlen=REMEMBERED)
        self._rests: deque[float] = deque(maxlen=REMEMBERED)
        self._stage: PlannedStage | None = None
        self._since, self._seen, self._work = 0.0, 0.0, 0.0

    def step(self, stage: PlannedStage, size: int) -> None:
        """An evaluation of a stage is over."""
        now = time.monotonic()
        if stage is self._stage:  # the first of a stage holds its expert's loading
            self._seen += now - self._since
            self._work += size * stage.model_calls / len(stage.experts)
        self._stage, self._since = stage, now

    def trial(self, record: TrialRecord, size: int) -> None:
        """A trial is over."""
        self._stage = None
        computed = [stage for stage in record.stages.values() if not stage.get("stored")]
        work = size * sum(int(str(stage["model_calls"])) for stage in computed)
        if work:
            seconds = sum(float(str(stage["seconds"])) for stage in computed)
            self._calls.append(seconds / work)
        behind = ("measure", "write") if not record.overlapped else ()
        spent = [record.timings.get(name, 0.0) for name in ("encode", "decode", *behind)]
        self._rests.append(sum(spent) / size)

    def seconds(self, calls: int, rests: int, size: int) -> float | None:
        """Of so many model calls and trials' rests at a size; None while nothing is known."""
        call = _usual(self._calls)
        if call is None and self._work:
            call = self._seen / self._work
        if call is None:
            return None
        return size * (calls * call + rests * (_usual(self._rests) or 0.0))


def _usual(values: Sequence[float]) -> float | None:
    """The median; without the first while there are others, since it holds what loading took."""
    later = list(values)[1:] or list(values)
    return statistics.median(later) if later else None
