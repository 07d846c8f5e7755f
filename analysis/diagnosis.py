"""What goes wrong between stages, why, and the override that is said to mend it.

A rule looks at what the stages of one trial measured and finds a sign or nothing. Its causes come
in order; the first that the recipe's settings show names the fix, an override that can be run. The
rules are those of a guide on chained samplers; ``evidence`` says what wan-mini's studies made of
them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from analysis.effects import scale_of
from analysis.remedies import EVIDENCE, Cause, causes_of
from wanexp.models import MODELS
from wanexp.record import TrialRecord

WORSE = 0.1
"""Of |log detail|, and of log ratios: what matters in the protocols that ship."""

SEEN = 0.03
"""A change of every metric by less cannot be seen."""

OVERSHOOT = 5.0
"""% of pixels beyond what the source has around them; sharpened photographs reach it."""

BURNT = 1.15
"""Colour, as a ratio to the source's."""

SHARPENED = 1.1
"""Detail, as a ratio to the source's: more than there was is invented."""

MANY_STEPS = 55
"""Beyond it, says the guide, a chain is too long."""

LOOKED_AT = ("detail", "detail_incoherence", "warp", "flicker", "jitter", "overshoot")


@dataclass(frozen=True, kw_only=True)
class StageReading:
    """One stage: its settings as planned, and what was measured of its end.

    Attributes:
        values: Metric → value; undefined ones are absent.
    """

    name: str
    steps: int
    cfg: float
    denoise: float | None
    sigma_start: float
    sampler: str
    scheduler: str
    values: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One trial, as the rules see it.

    Attributes:
        own_cfg: The model's.
        directions: Metric → ``lower``, ``higher`` or ``one``.
        memory: The memory profile's settings.
        error: Type and message of a failed trial.
    """

    digest: str
    arm: str
    case: str
    seed: int
    size: tuple[int, int, int]
    own_cfg: float
    stages: tuple[StageReading, ...]
    directions: Mapping[str, str]
    memory: Mapping[str, object]
    error: str | None

    @property
    def measured(self) -> tuple[StageReading, ...]:
        """The stages whose end was measured."""
        return tuple(stage for stage in self.stages if stage.values)

    @property
    def last(self) -> StageReading:
        """The one that the video is."""
        return self.stages[-1]

    @property
    def steps(self) -> int:
        """Of all stages."""
        return sum(stage.steps for stage in self.stages)


@dataclass(frozen=True, kw_only=True)
class Sign:
    """That a rule applies.

    Attributes:
        stage: Where it shows.
        shows: The numbers, in words.
        size: How far it goes, on a scale where 0 is not at all; what a fix is to lessen.
    """

    stage: str
    shows: str
    size: float


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One thing that goes wrong.

    Attributes:
        name: In code and in overrides.
        problem: In words.
        find: The sign, or None.
    """

    name: str
    problem: str
    find: Callable[[Reading], Sign | None]


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """One rule that applies to one trial, and what is said to mend it.

    Attributes:
        cause: The first that the settings show; None where none does.
        evidence: What wan-mini's studies say of the rule.
    """

    rule: str
    problem: str
    sign: Sign
    cause: Cause | None
    others: tuple[Cause, ...]
    evidence: str


def reading_of(record: TrialRecord) -> Reading:
    """The record as the rules see it."""
    trial, planned = record.trial, _mapping(record.plan.get("stages"))
    recipe, case = _mapping(trial.get("recipe")), _mapping(trial.get("case"))
    model = str(_mapping(trial.get("model")).get("name"))
    measured = {
        name: _mapping(_mapping(s).get("measurements")) for name, s in record.stages.items()
    }
    if planned and record.measurements:
        measured[list(planned)[-1]] = record.measurements
    directions = {
        str(name): str(_mapping(one).get("direction"))
        for own in measured.values()
        for name, one in own.items()
    }
    error = record.error
    return Reading(
        digest=record.digest,
        arm=record.arm,
        case=str(case.get("name")),
        seed=int(str(trial.get("seed", 0))),
        size=(_whole(recipe, "width"), _whole(recipe, "height"), _whole(recipe, "frames")),
        own_cfg=MODELS[model].cfg if model in MODELS else 1.0,
        stages=tuple(
            _stage(name, _mapping(stage), measured.get(name, {})) for name, stage in planned.items()
        ),
        directions=directions,
        memory=_mapping(trial.get("memory")),
        error=f"{error['type']}: {error['message']}" if error else None,
    )


def diagnose(reading: Reading) -> list[Diagnosis]:
    """Every rule that applies, in the order of the table."""
    found = []
    for rule in RULES:
        sign = rule.find(reading)
        if sign is not None:
            causes = causes_of(rule.name, reading, sign.stage)
            found.append(
                Diagnosis(
                    rule=rule.name,
                    problem=rule.problem,
                    sign=sign,
                    cause=causes[0] if causes else None,
                    others=tuple(causes[1:]),
                    evidence=EVIDENCE[rule.name],
                )
            )
    return found


def find_again(rule: str, reading: Reading) -> Sign | None:
    """What one rule finds."""
    return next(one.find(reading) for one in RULES if one.name == rule)


def _second_worse(reading: Reading) -> Sign | None:
    """Whether the second stage is worse than the first, by detail, warp or jitter."""
    if len(reading.measured) < 2:
        return None
    before, after = reading.measured[:2]
    lost = {name: -_gain(reading, name, before, after) for name in ("detail", "warp", "jitter")}
    name = max(lost, key=lambda key: lost[key])
    if lost[name] <= WORSE:
        return None
    return Sign(stage=after.name, shows=_change(name, before, after), size=lost[name])


def _no_change(reading: Reading) -> Sign | None:
    """Whether the second stage leaves everything as it was."""
    if len(reading.measured) < 2:
        return None
    before, after = reading.measured[:2]
    changes = [
        abs(_gain(reading, name, before, after))
        for name in LOOKED_AT
        if name in before.values and name in after.values
    ]
    if not changes or max(changes) >= SEEN:
        return None
    shows = f"no metric changes by more than {100 * max(changes):.1f} %"
    from_ = f"it starts from sigma {after.sigma_start:.3f}"
    return Sign(stage=after.name, shows=f"{shows}; {from_}", size=1 - max(changes) / SEEN)


def _flicker_rises(reading: Reading) -> Sign | None:
    """Where flicker rises most from one stage to the next."""
    worst = None
    for before, after in pairwise(reading.measured):
        rise = -_gain(reading, "flicker", before, after)
        if rise > WORSE and (worst is None or rise > worst.size):
            worst = Sign(stage=after.name, shows=_change("flicker", before, after), size=rise)
    return worst


def _third_artefacts(reading: Reading) -> Sign | None:
    """Whether the third stage adds ringing, or detail that the source has not."""
    if len(reading.measured) < 3:
        return None
    before, after = reading.measured[1:3]
    added = {
        name: -_gain(reading, name, before, after) for name in ("overshoot", "detail_incoherence")
    }
    name = max(added, key=lambda key: added[key])
    if added[name] <= WORSE:
        return None
    return Sign(stage=after.name, shows=_change(name, before, after), size=added[name])


def _over_processed(reading: Reading) -> Sign | None:
    """Whether the video rings, burns or is sharper than its source."""
    values = reading.last.values if reading.stages else {}
    beyond = {
        name: math.log(values[name] / limit)
        for name, limit in (("overshoot", OVERSHOOT), ("saturation", BURNT), ("detail", SHARPENED))
        if values.get(name, 0.0) > limit
    }
    if not beyond:
        return None
    shows = " and ".join(f"{name} is {values[name]:.3g} ({LIMITS[name]})" for name in beyond)
    return Sign(stage=reading.last.name, shows=shows, size=max(beyond.values()))


def _too_slow(reading: Reading) -> Sign | None:
    """Whether the chain is longer than the guide advises."""
    if reading.steps <= MANY_STEPS:
        return None
    each = " + ".join(str(stage.steps) for stage in reading.stages)
    shows = f"{each} = {reading.steps} steps; {MANY_STEPS} are enough, says the guide"
    return Sign(stage=reading.last.name, shows=shows, size=math.log(reading.steps / MANY_STEPS))


def _out_of_memory(reading: Reading) -> Sign | None:
    """Whether the trial failed for want of memory."""
    error = reading.error or ""
    if "outofmemory" not in error.lower() and "out of memory" not in error.lower():
        return None
    width, height, frames = reading.size
    name = reading.last.name if reading.stages else ""
    return Sign(
        stage=name,
        shows=f"{width} × {height} × {frames} with {len(reading.stages)} stages: {error[:120]}",
        size=1.0,
    )


LIMITS: Mapping[str, str] = {
    "overshoot": f"more than {OVERSHOOT:g} % rings",
    "saturation": f"more than {BURNT:g} burns",
    "detail": f"more than {SHARPENED:g} is sharper than the source",
}

RULES: tuple[Rule, ...] = (
    Rule(name="out_of_memory", problem="it runs out of memory", find=_out_of_memory),
    Rule(name="second_worse", problem="stage 2 looks worse than stage 1", find=_second_worse),
    Rule(name="no_change", problem="stage 2 changes nothing visible", find=_no_change),
    Rule(name="flicker_rises", problem="flicker rises in a later stage", find=_flicker_rises),
    Rule(
        name="third_artefacts",
        problem="stage 3 brings artefacts that stage 2 has not",
        find=_third_artefacts,
    ),
    Rule(name="over_processed", problem="it looks over-processed", find=_over_processed),
    Rule(name="too_slow", problem="it takes long", find=_too_slow),
)


def _gain(reading: Reading, metric: str, before: StageReading, after: StageReading) -> float:
    """How much better ``after`` is, on the metric's scale; 0 where one of them is undefined."""
    if metric not in before.values or metric not in after.values:
        return 0.0
    scale = scale_of(metric, reading.directions[metric])
    found = (scale.of(after.values[metric]) - scale.of(before.values[metric])) * scale.better
    return 0.0 if math.isnan(found) else found


def _change(metric: str, before: StageReading, after: StageReading) -> str:
    one, other = before.values[metric], after.values[metric]
    return f"{metric} goes from {one:.3g} after {before.name} to {other:.3g} after {after.name}"


def _stage(
    name: str, planned: Mapping[str, object], measured: Mapping[str, object]
) -> StageReading:
    denoise = planned.get("denoise")
    values = {key: _mapping(one).get("value") for key, one in measured.items()}
    return StageReading(
        name=name,
        steps=_whole(planned, "steps"),
        cfg=float(str(planned.get("cfg"))),
        denoise=None if denoise is None else float(str(denoise)),
        sigma_start=float(str(planned.get("sigma_start"))),
        sampler=str(planned.get("sampler")),
        scheduler=str(planned.get("scheduler")),
        values={key: float(str(value)) for key, value in values.items() if value is not None},
    )


def _whole(tree: Mapping[str, object], key: str) -> int:
    return int(str(tree.get(key, 0)))


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def counted(readings: Sequence[Reading]) -> dict[tuple[str, str], list[tuple[Reading, Diagnosis]]]:
    """(arm, rule) → the trials that it applies to, arms and rules in their order."""
    found: dict[tuple[str, str], list[tuple[Reading, Diagnosis]]] = {}
    for reading in readings:
        for diagnosis in diagnose(reading):
            found.setdefault((reading.arm, diagnosis.rule), []).append((reading, diagnosis))
    arms = list(dict.fromkeys(reading.arm for reading in readings))
    rules = [rule.name for rule in RULES]
    return dict(
        sorted(found.items(), key=lambda one: (arms.index(one[0][0]), rules.index(one[0][1])))
    )
