"""A search: arms that are proposed one after another, each in the light of those before.

Optuna proposes; its memory is ``studies/NAME/search.journal``, beside the study. All that a video
is made by and judged by is the study's own: plans, stage store, records, the comparison with the
baseline. An arm is one of Optuna's trials, and has a video for every case and seed.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Generator, Iterator, Mapping, Sequence

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from analysis.effects import MOTION, PairedEffects, Readings, paired_effects
from analysis.verdict import margin_on
from wanexp.compose import Axis, Sweep, arm_label, is_dropped
from wanexp.config import digest, trial_digest
from wanexp.metrics import METRICS
from wanexp.options import COSTS, Protocol, Search
from wanexp.plan import make_plan
from wanexp.planned import PlannedTrial
from wanexp.record import RecordError, StudyPaths, TrialRecord, read_record
from wanexp.rounds import Asked, Round
from wanexp.runner import join_study, leave_study
from wanexp.strict import ConfigError
from wanexp.study import arm_alone

OVER = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Arm:
    """One proposal, planned.

    Attributes:
        number: Optuna's.
        alone: The sweep of this arm and nothing else.
        news: What to say before it runs.
    """

    number: int
    label: str
    alone: Sweep
    trials: list[PlannedTrial]
    news: str


def search_rounds(asked: Asked, search: Search, study: StudyPaths) -> Iterator[Round]:
    """The baseline, then arm after arm until there are as many as the search asks for.

    Stopped anywhere it goes on with the arm that was in hand.
    """
    yield Round(trials=asked.trials)
    book = open_book(asked, search, study)
    said = ""
    while (trial := _next(book, search, asked.sweep.space)) is not None:
        overrides = _overrides(asked.sweep.space, trial.params)
        label = arm_label(overrides)
        head = f"{said}arm {_over(book, asked.sweep.space) + 1} of {search.arms}: {label}"
        try:
            alone, trials = arm_alone(asked.sweep, label, overrides)
            if is_dropped(asked.sweep, alone.points[0]):
                raise ConfigError(f"{label}: a condition of drop leaves it out")
        except ConfigError as error:
            book.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
            said = f"{error}\n"
            continue
        arm = _Arm(number=trial.number, label=label, alone=alone, trials=trials, news=head)
        why = yield from _run_arm(arm, asked, search, study)
        said = f"{label} {why}\n" if why else ""
        _tell(book, arm, asked, search, study, pruned=bool(why))
    yield Round(trials=(), news=said.strip() or None)


def open_book(asked: Asked, search: Search, study: StudyPaths) -> optuna.Study:
    """Optuna's memory of this question; another question has another one in the same file."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sweep = asked.sweep
    question = {
        "space": {key: dataclasses.asdict(axis) for key, axis in sweep.space.items()},
        "drop": list(sweep.drop),
        "baseline": [planned.digest for planned in asked.trials],
        "objectives": list(search.objectives),
        "seed": search.seed,
    }
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(study.root / "search.journal"))),
        study_name=f"{sweep.name} {digest(question)}",
        directions=["minimize" if name in COSTS else "maximize" for name in search.objectives],
        load_if_exists=True,
    )


def _next(
    book: optuna.Study, search: Search, space: Mapping[str, Axis]
) -> FrozenTrial | optuna.Trial | None:
    """The arm that was in hand when the search was stopped, or a new one; None at its end."""
    for trial in book.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if len(trial.params) == len(space):
            return trial
        book.tell(trial.number, state=TrialState.FAIL)  # stopped while it was being proposed
    if _over(book, space) >= search.arms:
        return None
    # A sampler of its own for every arm: what it proposes then follows from the seed and the arms
    # before alone, and not from where the search was stopped.
    count = len(book.get_trials(deepcopy=False))
    book.sampler = optuna.samplers.TPESampler(
        n_startup_trials=search.startup, seed=(1000 * search.seed + count) % 2**32
    )
    return book.ask({key: _distribution(axis) for key, axis in space.items()})


def _over(book: optuna.Study, space: Mapping[str, Axis]) -> int:
    """How many arms are over; what was stopped before it was an arm is none."""
    trials = book.get_trials(deepcopy=False, states=OVER)
    return sum(len(trial.params) == len(space) for trial in trials)


def _distribution(axis: Axis) -> BaseDistribution:
    """How Optuna draws it; of values in order it draws the place, so that it knows neighbours."""
    if axis.ordered:
        return IntDistribution(0, len(axis.values) - 1)
    if axis.values:
        return CategoricalDistribution(axis.values)
    if axis.whole:
        return IntDistribution(int(axis.low), int(axis.high), log=axis.log)
    return FloatDistribution(axis.low, axis.high, log=axis.log)


def _overrides(space: Mapping[str, Axis], chosen: Mapping[str, object]) -> list[str]:
    found = []
    for key, axis in space.items():
        value = chosen[key]
        if axis.ordered and isinstance(value, int):
            value = axis.values[value]
        if not isinstance(value, str | int | float):
            raise TypeError(f"{key}: Optuna chose {value!r}")
        found.append(axis.override(value))
    return found


def _run_arm(
    arm: _Arm, asked: Asked, search: Search, study: StudyPaths
) -> Generator[Round, None, str | None]:
    """Runs an arm, on its first cases first; returns why it was given up, where it was."""
    first = asked.sweep.cases[: search.prune_after]
    early = [planned for planned in arm.trials if planned.case in first]
    news: str | None = arm.news
    if search.quality and early and len(first) < len(asked.sweep.cases):
        half = _to_second_stage(early) if asked.options.cache.enabled else []
        if half:
            yield Round(trials=half, added=half, news=news)
            news = None
            stage = half[0].plan.stages[-1].name
            if _clearly_worse(half, asked, search.quality, study, stage):
                return f"was given up after its second stage: {_worse_words(asked, search)}"
        join_study(study, _only(arm.alone, first), early)
        yield Round(trials=early, added=early, news=news)
        news = None
        if _clearly_worse(early, asked, search.quality, study, None):
            leave_study(study, arm.label)
            return f"was given up: {_worse_words(asked, search)}"
    join_study(study, arm.alone, arm.trials)
    yield Round(trials=arm.trials, added=arm.trials, news=news)
    return None


def _only(alone: Sweep, cases: Sequence[str]) -> Sweep:
    points = tuple(point for point in alone.points if point.case in cases)
    return dataclasses.replace(alone, cases=tuple(cases), points=points)


def _to_second_stage(trials: Sequence[PlannedTrial]) -> list[PlannedTrial]:
    """The same trials, ended after their second stage; none where that is the last or no end.

    The stage store keeps both stages, so going on costs the rest alone.
    """
    found = []
    for planned in trials:
        stages = planned.plan.stages
        if len(stages) < 3 or stages[1].sigma_end > 0:
            return []
        recipe = planned.trial.recipe
        short = dataclasses.replace(recipe, stages=recipe.stages[:2])
        trial, plan = dataclasses.replace(planned.trial, recipe=short), make_plan(short)
        arm = f"{planned.arm} (to {stages[1].name})"
        found.append(
            dataclasses.replace(
                planned, arm=arm, trial=trial, plan=plan, digest=trial_digest(trial, plan.key())
            )
        )
    return found


def _clearly_worse(
    trials: Sequence[PlannedTrial],
    asked: Asked,
    metric: str,
    study: StudyPaths,
    stage: str | None,
) -> bool:
    """Whether every case so far is worse than the baseline's by more than what matters."""
    paired = _paired(trials, asked, metric, study, stage)
    return is_clearly_worse(paired, asked.protocol, len({planned.case for planned in trials}))


def is_clearly_worse(paired: PairedEffects, protocol: Protocol, cases: int) -> bool:
    """Whether each of so many cases has an effect, worse by more than the protocol's margin."""
    margin = margin_on(paired.scale, protocol.margin)
    gains = paired.values() * paired.scale.better
    return len(gains) == cases and bool((gains < -margin).all())


def _worse_words(asked: Asked, search: Search) -> str:
    count = min(search.prune_after, len(asked.sweep.cases))
    cases = "the first case" if count == 1 else f"each of the first {count} cases"
    return f"{search.quality} is worse than the baseline's by more than the margin in {cases}"


def _tell(
    book: optuna.Study,
    arm: _Arm,
    asked: Asked,
    search: Search,
    study: StudyPaths,
    *,
    pruned: bool,
) -> None:
    values = None if pruned else arm_values(arm.trials, asked, search, study)
    if values is None:
        state = TrialState.PRUNED if pruned else TrialState.FAIL
        book.tell(arm.number, state=state, skip_if_finished=True)
    else:
        book.tell(arm.number, values, skip_if_finished=True)


def arm_values(
    trials: Sequence[PlannedTrial], asked: Asked, search: Search, study: StudyPaths
) -> list[float] | None:
    """What an arm reached by each objective; None where one of them is not known.

    Metrics are gains over the baseline on the metric's scale. What moves too little has gained
    nothing: a gain counts only up to what is missing of the motion that the protocol asks for.
    """
    values = []
    for name in search.objectives:
        value = (
            _cost(name, trials, study)
            if name in COSTS
            else _gain(name, trials, asked, study, _missing_motion(trials, asked, study))
        )
        if value is None:
            return None
        values.append(value)
    return values


def _gain(
    metric: str, trials: Sequence[PlannedTrial], asked: Asked, study: StudyPaths, missing: float
) -> float | None:
    paired = _paired(trials, asked, metric, study)
    if not paired.by_case:
        return None
    gain = float(paired.values().mean()) * paired.scale.better
    return min(gain, -missing) if missing > 0 and metric not in MOTION else gain


def _missing_motion(trials: Sequence[PlannedTrial], asked: Asked, study: StudyPaths) -> float:
    """How far below the least motion that is allowed, in logarithms; 0 where it is kept."""
    paired = _paired(trials, asked, MOTION[0], study)
    if not paired.by_case:
        return 0.0
    lost = -float(paired.values().mean()) + math.log1p(-asked.protocol.motion_margin)
    return max(lost, 0.0)


def _cost(name: str, trials: Sequence[PlannedTrial], study: StudyPaths) -> float | None:
    if name == "model_calls":
        return float(trials[0].plan.model_calls)
    records = _records(trials, study).values()
    took = [sum(float(str(s["seconds"])) for s in r.stages.values()) for r in records]
    return statistics.median(took) if took else None


def _paired(
    trials: Sequence[PlannedTrial],
    asked: Asked,
    metric: str,
    study: StudyPaths,
    stage: str | None = None,
) -> PairedEffects:
    """The trials against the baseline's, of which ``stage`` counts where it was measured."""
    cases = tuple(dict.fromkeys(planned.case for planned in trials))
    ours = _readings(_records(trials, study), None)
    theirs = _readings(_records(asked.trials, study), stage)
    return paired_effects(ours, theirs, metric, METRICS[metric].direction, cases)


def _records(
    trials: Sequence[PlannedTrial], study: StudyPaths
) -> dict[tuple[str, int], TrialRecord]:
    """The completed ones, by case and seed."""
    found = {}
    for planned in trials:
        try:
            record = read_record(study.trial(planned.digest).record)
        except (OSError, RecordError):
            continue
        if record.state == "completed":
            found[planned.case, planned.seed] = record
    return found


def _readings(records: Mapping[tuple[str, int], TrialRecord], stage: str | None) -> Readings:
    """Metric → (case, seed) → value: of that stage's end where it was measured, else of the end."""
    found: dict[str, dict[tuple[str, int], float]] = {}
    for key, record in records.items():
        own = record.stages.get(stage, {}) if stage else {}
        measured = own.get("measurements") or record.measurements
        if not isinstance(measured, Mapping):
            continue
        for name, one in measured.items():
            value = one["value"]
            number = float(str(value)) if value is not None else math.nan
            found.setdefault(str(name), {})[key] = number
    return found
