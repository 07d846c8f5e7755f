"""What is tried when memory runs out, step by step, in the guide's order.

Each step is taken once, where it can free anything, and only if ``memory.out_of_memory`` names it.
Emptying the cache changes nothing in the video. All others do, so a trial that took one is no
longer the one that was asked for, and its record says so (state ``changed``).

Source: the guide's section on memory: tiled VAE and an emptied cache first, then fewer frames
(16 → 12), a lower resolution (768 → 512), and one stage of 30 to 35 steps as the last resort.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from wanexp.config import Trial, trial_digest
from wanexp.memory import LADDER
from wanexp.plan import make_plan
from wanexp.strict import ConfigError

if TYPE_CHECKING:
    from wanexp.planned import PlannedTrial

FEWER, SMALLER = 12 / 16, 512 / 768
"""What is left of the frames, and of either side, after the guide's steps."""

SINGLE_STEPS = 30
"""Steps that a first stage gets at least where it is left alone."""

HELPS = {"vae_tiling": ("encode", "decode")}
"""The phases in which a step can free anything; of the others it can in all."""

WORDS = (
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""How libraries beside PyTorch's allocator say that a device's memory is full."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device's memory was full; the host's own (``MemoryError``) has no ladder."""
    if type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in WORDS)


class Ladder:
    """A trial on its way down.

    Attributes:
        now: The trial as it runs now; at the start as it was asked.
        changes: The steps taken so far, as a record keeps them.
    """

    def __init__(self, planned: PlannedTrial) -> None:
        self.now = planned
        self.changes: list[Mapping[str, object]] = []
        self._left = [s for s in LADDER if s in planned.trial.memory.out_of_memory]

    def step(self, phase: str, error: Exception) -> bool:
        """Takes the next step that can help where ``phase`` failed; False where none is left."""
        while self._left:
            name = self._left.pop(0)
            after = _taken(name, self.now, phase)
            if after is None:
                continue
            was, now = settings(self.now), settings(after)
            changed = [key for key in {**was, **now} if was.get(key) != now.get(key)]
            self.changes.append(
                {
                    "step": name,
                    "phase": phase,
                    "error": str(error).splitlines()[0] if str(error) else type(error).__name__,
                    "was": {key: was.get(key) for key in changed},
                    "now": {key: now.get(key) for key in changed},
                }
            )
            self.now = after
            return True
        return False


def settings(planned: PlannedTrial) -> dict[str, object]:
    """What a step can change."""
    recipe = planned.trial.recipe
    return {
        "vae_tiling": planned.trial.memory.vae_tiling,
        "frames": recipe.frames,
        "width": recipe.width,
        "height": recipe.height,
        "stages": [stage.name for stage in recipe.stages],
        "steps": sum(stage.steps for stage in planned.plan.stages),
    }


def _taken(name: str, planned: PlannedTrial, phase: str) -> PlannedTrial | None:
    """The trial after a step; None where the step is of no use or cannot be taken."""
    try:
        trial = None if phase not in HELPS.get(name, (phase,)) else STEPS[name](planned.trial)
        plan = None if trial is None else make_plan(trial.recipe)
    except ConfigError:
        return None
    if trial is None or plan is None:
        return None
    return dataclasses.replace(
        planned, trial=trial, plan=plan, digest=trial_digest(trial, plan.key())
    )


def _empty_cache(trial: Trial) -> Trial | None:
    return trial


def _vae_tiling(trial: Trial) -> Trial | None:
    if trial.memory.vae_tiling:
        return None
    return dataclasses.replace(trial, memory=dataclasses.replace(trial.memory, vae_tiling=True))


def _fewer_frames(trial: Trial) -> Trial | None:
    recipe = trial.recipe
    stride = recipe.model.frame_stride
    frames = int((FEWER * (recipe.frames - 1)) // stride * stride + 1)
    if not 1 < frames < recipe.frames:
        return None
    return dataclasses.replace(trial, recipe=dataclasses.replace(recipe, frames=frames))


def _lower_resolution(trial: Trial) -> Trial | None:
    recipe, multiple = trial.recipe, trial.recipe.model.size_multiple
    width, height = (
        max(int(SMALLER * side) // multiple, 1) * multiple for side in (recipe.width, recipe.height)
    )
    if (width, height) == (recipe.width, recipe.height):
        return None
    smaller = dataclasses.replace(recipe, width=width, height=height)
    return dataclasses.replace(trial, recipe=smaller)


def _fewer_stages(trial: Trial) -> Trial | None:
    """The first stage alone, where it runs to a video of its own."""
    first, *later = trial.recipe.stages
    if not later or first.sigma_end:
        return None
    steps = max(first.steps or trial.recipe.steps or 0, SINGLE_STEPS)
    alone = dataclasses.replace(trial.recipe, stages=(dataclasses.replace(first, steps=steps),))
    return dataclasses.replace(trial, recipe=alone)


STEPS: dict[str, Callable[[Trial], Trial | None]] = {
    "empty_cache": _empty_cache,
    "vae_tiling": _vae_tiling,
    "fewer_frames": _fewer_frames,
    "lower_resolution": _lower_resolution,
    "fewer_stages": _fewer_stages,
}
