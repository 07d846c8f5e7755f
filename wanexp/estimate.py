"""What a study will take before it runs: seconds, memory, disk, and what most of it goes into.

Times and memory come from the records of earlier trials of the same model on this machine; where
there are none, from a guess that names itself.
"""

from __future__ import annotations

import platform
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wanexp.config import Recipe
from wanexp.environment import cpu_model
from wanexp.footprint import PARTS, advice, footprint
from wanexp.memory import Memory
from wanexp.models import MODELS, Model
from wanexp.order import expert_loads
from wanexp.planned import PlannedTrial, distinct
from wanexp.record import RecordError, TrialRecord, read_record, studies_in

MOST_RECORDS = 100
"""The newest that are read: enough for a median, and quick among ten thousand."""

GB = 1e9


@dataclass(frozen=True, kw_only=True)
class Guess:
    """A model's pace and size where nothing was measured here.

    Attributes:
        call: Seconds of a model call at the model's own size.
        rest: Seconds of a trial outside model calls (decode, measure, write), at that size.
        on: The machine that this is said of.
        expert, others: Parameters of one expert, and of text encoder and VAE, in 10⁹.
        working: Memory for tensors in flight at the model's own size, in 10⁹ bytes.
    """

    call: float
    rest: float
    on: str
    expert: float
    others: float
    working: float


# Calls and decode as measured on one H200, not compiled (docs/performance.md); T2V was not.
_A14B = Guess(call=3.3, rest=25.0, on="one H200", expert=14.3, others=5.8, working=12.0)

GUESSES: Mapping[str, Guess] = {
    # Measured on one core of a Xeon.
    "wan_mini": Guess(call=0.05, rest=2.3, on="a CPU", expert=0.003, others=0.004, working=1.2),
    "wan22_i2v_a14b": _A14B,
    "wan22_t2v_a14b": _A14B,
    # Measured as the A14B's.
    "wan22_ti2v_5b": Guess(
        call=1.2, rest=40.0, on="one H200", expert=5.0, others=6.4, working=16.0
    ),
}

FILES_PER_PIXEL = 1.25
"""Bytes that a trial's folder takes for each pixel of one of its frames and each frame."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What running the trials will take.

    Attributes:
        seconds: In one process, of all that is not finished.
        left: Trials that are not finished.
        measured: How many records times rest on; 0 for a guess.
        basis: A sentence that says what times and memory rest on.
        memory: Bytes at the peak, on the device that samples.
        expert_loads: Times that an expert goes to the device; 0 where none has to leave it whole.
        phases: Bytes at the peak of each phase on a GPU, for the models that run on one.
        fits: What to change where a phase does not fit; None where all do.
        disk: Bytes of records and media, and of the stage store.
        dominates: A sentence that says what most of the time goes into.
    """

    seconds: float
    left: int
    measured: int
    basis: str
    memory: int
    expert_loads: int
    phases: Mapping[str, int]
    fits: str | None
    disk: int
    dominates: str

    def tree(self) -> dict[str, object]:
        """For ``wanexp plan --json``."""
        return {
            "trials_left": self.left,
            "seconds": round(self.seconds, 1),
            "measured_records": self.measured,
            "basis": self.basis,
            "peak_memory_bytes": self.memory,
            "expert_loads": self.expert_loads,
            "peak_memory_by_phase": dict(self.phases),
            "fits": self.fits,
            "disk_bytes": self.disk,
            "dominates": self.dominates,
        }


def estimate(
    trials: Sequence[PlannedTrial],
    left: Sequence[PlannedTrial],
    new_calls: Sequence[int],
    studies: Path,
) -> Estimate:
    """What it takes to run ``left``, of which each adds ``new_calls``."""
    pace = _pace(trials[0].trial.recipe, trials[0].trial.memory, studies)
    sampling = sum(
        calls * pace.call * _size(t.trial.recipe) for t, calls in zip(left, new_calls, strict=True)
    )
    rest = sum(pace.rest * _size(t.trial.recipe) for t in left)
    largest = max(trials, key=lambda t: _size(t.trial.recipe)).trial.recipe
    memory = trials[0].trial.memory
    phases = footprint(largest, memory) if largest.model.name in PARTS else {}
    guessed = max(phases.values(), default=None) or _memory(largest, memory)
    return Estimate(
        seconds=sampling + rest,
        left=len(left),
        measured=pace.records,
        basis=pace.basis,
        memory=guessed if pace.memory is None else pace.memory,
        expert_loads=expert_loads(left),
        phases=phases,
        fits=advice(largest, memory),
        disk=sum(_disk(t) for t in left),
        dominates=_dominates(left, sampling, rest),
    )


@dataclass(frozen=True, kw_only=True)
class _Pace:
    """Seconds of a model call and of a trial's rest at the model's own size."""

    call: float
    rest: float
    memory: int | None
    records: int
    basis: str


def _pace(recipe: Recipe, memory: Memory, studies: Path) -> _Pace:
    model = recipe.model
    found = [r for r in _recent(studies) if _is_of(r, model, memory)]
    calls = [second for record in found for second in _call_seconds(record)]
    if not calls:
        guess = GUESSES[model.name]
        return _Pace(
            call=guess.call,
            rest=guess.rest,
            memory=None,
            records=0,
            basis=f"a guess for {guess.on}, as nothing of {model.name} has run here yet",
        )
    rests = [
        sum(record.timings.get(key, 0.0) for key in ("decode", "measure", "write"))
        / _recorded_size(record, model)
        for record in found
    ]
    alike = [r for r in found if _sizes(r) == [recipe.width, recipe.height, recipe.frames]]
    other = "" if alike else ", all of another size"
    return _Pace(
        call=statistics.median(calls),
        rest=statistics.median(rests),
        memory=max((_peak(record) for record in alike), default=None),
        records=len(found),
        basis=f"the last {_trials(len(found))} of {model.name} on this machine{other}",
    )


def _trials(count: int) -> str:
    return "trial" if count == 1 else f"{count} trials"


def _recent(studies: Path) -> Iterator[TrialRecord]:
    """The newest completed records of any study, those of other machines left out."""
    paths = [trial.record for study in studies_in(studies).values() for trial in study.found()]
    newest = sorted((path for path in paths if path.exists()), key=lambda p: -p.stat().st_mtime_ns)
    for path in newest[:MOST_RECORDS]:
        try:
            record = read_record(path)
        except (OSError, RecordError):
            continue
        here = record.environment
        same = (here.get("host"), here.get("cpu")) == (platform.node(), cpu_model())
        if same and record.state == "completed":
            yield record


def _is_of(record: TrialRecord, model: Model, memory: Memory) -> bool:
    """Whether it is of this model on the device that is asked for."""
    own, place = record.trial.get("model"), record.trial.get("memory")
    named = isinstance(own, Mapping) and own.get("name") == model.name
    return named and isinstance(place, Mapping) and place.get("device") == memory.device


def _call_seconds(record: TrialRecord) -> Iterator[float]:
    """Of every stage that was computed in the trial: seconds of a call at the model's own size."""
    own = record.trial.get("model")
    name = str(own.get("name")) if isinstance(own, Mapping) else ""
    for stage in record.stages.values():
        calls, seconds = int(str(stage["model_calls"])), float(str(stage["seconds"]))
        if calls and seconds and not stage.get("stored"):
            yield seconds / calls / _recorded_size(record, MODELS[name])


def _sizes(record: TrialRecord) -> list[int]:
    recipe = record.trial.get("recipe")
    own = recipe if isinstance(recipe, Mapping) else {}
    return [int(str(own[key])) for key in ("width", "height", "frames")]


def _recorded_size(record: TrialRecord, model: Model) -> float:
    return _share(model, *_sizes(record))


def _size(recipe: Recipe) -> float:
    return _share(recipe.model, recipe.width, recipe.height, recipe.frames)


def _share(model: Model, width: int, height: int, frames: int) -> float:
    """Latent cells as a share of those of the model's own size; time is taken to follow them."""

    def cells(width: int, height: int, frames: int) -> int:
        return width * height * ((frames - 1) // model.frame_stride + 1)

    return cells(width, height, frames) / cells(model.width, model.height, model.frames)


def _peak(record: TrialRecord) -> int:
    return record.peak_memory.get("cuda") or record.peak_memory.get("rss") or 0


def _memory(recipe: Recipe, memory: Memory) -> int:
    """A rough rule for what runs on a CPU: all weights, and tensors in flight by size."""
    guess, model = GUESSES[recipe.model.name], recipe.model
    width = 2 if memory.dtype in ("bfloat16", "float16") else 4
    weights = (guess.expert * len(model.experts) + guess.others) * width * GB
    return int(weights + guess.working * GB * max(_size(recipe), 0.2))


def _disk(planned: PlannedTrial) -> int:
    """Media and record, and what the store keeps of each stage; shared stages count again."""
    recipe, model = planned.trial.recipe, planned.trial.recipe.model
    cells = recipe.width * recipe.height // model.vae_stride**2
    frames = (recipe.frames - 1) // model.frame_stride + 1
    latent = 4 * model.latent_channels * cells * frames
    latents = sum(latent * (1 if s.sigma_end == 0 else 2) for s in planned.plan.stages)
    return int(FILES_PER_PIXEL * recipe.width * recipe.height * recipe.frames) + latents


def _dominates(left: Sequence[PlannedTrial], sampling: float, rest: float) -> str:
    if not left:
        return "nothing is left to run"
    if rest > sampling:
        share = 100 * rest / (rest + sampling)
        return f"decoding, measuring and writing {len(left)} videos take {share:.0f} % of the time"
    seen: set[str] = set()
    stages: Counter[str] = Counter()
    for planned in distinct(left):
        for key, stage in zip(planned.stage_keys, planned.plan.stages, strict=True):
            if key not in seen:
                seen.add(key)
                stages[stage.name] += stage.model_calls
    name, calls = stages.most_common(1)[0]
    total = sum(stages.values())
    return (
        f"sampling takes {100 * sampling / (rest + sampling):.0f} % of the time, and {name}"
        f" {100 * calls / total:.0f} % of its model calls"
    )
