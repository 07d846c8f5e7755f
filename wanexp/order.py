"""In which order trials run: what is dear to change between two of them changes seldom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from wanexp.config import digest
from wanexp.planned import PlannedTrial


def neighbours(trials: Sequence[PlannedTrial]) -> list[PlannedTrial]:
    """The trials in an order in which those that share weights, case, seed or stages are together.

    Where experts take turns on the device (``memory.offload: model``), a stage is followed first
    by one that begins with the expert at which it ended: the trial that computes both keeps it
    there. No other order of whole trials has fewer ``expert_loads``. Otherwise what comes first
    stays first.
    """
    first: dict[str, int] = {}

    def place(planned: PlannedTrial) -> list[tuple[bool, int]]:
        return [(turns, first.setdefault(key, len(first))) for key, turns in _path(planned)]

    return sorted(trials, key=place)


def _path(planned: PlannedTrial) -> Iterator[tuple[str, bool]]:
    """From what is dearest to change between two trials to what is cheapest.

    With each whether an expert leaves the device for it that the stage before has used.
    """
    root, stages = planned.root, planned.plan.stages
    yield digest({key: root[key] for key in ("model", "weights", "memory")}), False
    yield digest({key: value for key, value in root.items() if key != "seed"}), False
    at_work = None
    for key, stage in zip(planned.stage_keys, stages, strict=True):
        yield key, _take_turns(planned) and at_work not in (None, stage.experts[0])
        at_work = stage.experts[-1]


def expert_loads(trials: Sequence[PlannedTrial]) -> int:
    """Times that an expert's weights go to the device while these run, stages in common once.

    Of trials whose experts take turns there (``memory.offload: model``); 0 for all others. The VAE
    takes the expert's place at the end of each trial.
    """
    seen: set[str] = set()
    loads = 0
    for planned in trials:
        stages = list(zip(planned.stage_keys, planned.plan.stages, strict=True))
        asked = [expert for key, stage in stages if key not in seen for expert in stage.experts]
        loads += len(list(groupby(asked))) if _take_turns(planned) else 0
        seen.update(planned.stage_keys)
    return loads


def _take_turns(planned: PlannedTrial) -> bool:
    return planned.trial.memory.offload == "model"
