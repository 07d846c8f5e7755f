"""What must hold of the readings, and whether it does."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from wanexp.metrics import METRICS
from wanexp.metrics.motion import STATIC_BELOW
from wanexp.validation.ladders import CENTRAL, COUPLED, LADDERS, NUISANCES
from wanexp.validation.readings import Reading

MOST_FOREIGN = 0.10
MOST_NUISANCE = 0.05
MOST_ERROR = 0.05
MOST_BEND = 0.10

WARP_READS = 0.78
"""What warp reads of a wobble that is alike over a seventh of the frame."""

LEAST_MOTION = 0.5
"""A scene of which a motion metric reads less than this is still to it, %/s: the scenes that move
read at least 3, and a camera at rest 0."""

CLIMBS = "rises with its own fault in every scene that has it"

CALIBRATED = {"flicker": 1.0, "jitter": 1.0}
"""Metrics that read the draw itself, and what they read of it."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One rule for one metric.

    Attributes:
        rule: In a few words.
        about: The fault or nuisance.
        value: The worst that was found; None where there was nothing to look at.
        limit: What it must not pass, in words.
        holds: Whether it does not.
        note: Where the worst was found, or what the value is.
        worst: Where a median was taken, the worst video and its value.
        over: How many videos alone pass the limit that the median keeps.
    """

    metric: str
    rule: str
    about: str
    value: float | None
    limit: str
    holds: bool
    note: str
    worst: tuple[str, float] | None = None
    over: int = 0


class Table:
    """Readings looked up by what was done; every lookup is over scenes and sizes."""

    def __init__(self, readings: Iterable[Reading]) -> None:
        self._at = {(r.size, r.scene, r.change, r.level): r for r in readings}
        self.places = list(dict.fromkeys((size, scene) for size, scene, _, _ in self._at))

    def reading(self, place: tuple[int, str], change: str, level: float) -> Reading:
        """The video of this scene and size with this change."""
        return self._at[(*place, change, level)]

    def value(self, place: tuple[int, str], metric: str, change: str, level: float) -> float:
        """A metric's value, NaN where it is undefined."""
        found = self.reading(place, change, level).values.get(metric)
        return math.nan if found is None else found

    def moved(self, place: tuple[int, str], metric: str, change: str, level: float) -> float:
        """How far a change moves a metric from the clean video's value."""
        return self.value(place, metric, change, level) - self.value(place, metric, "", 0.0)


def own_fault(metric: str) -> str | None:
    """The fault whose ladder a metric has to climb."""
    return next((fault for fault, one in LADDERS.items() if metric in one.owners), None)


def span(table: Table, place: tuple[int, str], metric: str) -> float:
    """How far the strongest level of its own fault moves a metric; where it has none, any fault."""
    own = own_fault(metric)
    if own is not None:
        return abs(table.moved(place, metric, own, LADDERS[own].levels[-1]))
    tops = [table.moved(place, metric, f, one.levels[-1]) for f, one in LADDERS.items()]
    return max((abs(top) for top in tops if not math.isnan(top)), default=math.nan)


def response(table: Table, metric: str, change: str, level: float) -> dict[tuple[int, str], float]:
    """Place → a change's effect in parts of the own fault's strongest, signed."""
    parts = {
        place: table.moved(place, metric, change, level) / span(table, place, metric)
        for place in table.places
    }
    return {place: part for place, part in parts.items() if math.isfinite(part)}


def rank_agreement(table: Table, place: tuple[int, str], metric: str) -> float:
    """Spearman's correlation of a metric with the levels of its own fault, the clean one first.

    NaN where the metric is undefined or the same at every level.
    """
    fault = own_fault(metric)
    assert fault is not None, metric
    steps = [("", 0.0), *((fault, level) for level in LADDERS[fault].levels)]
    values = [table.value(place, metric, change, level) for change, level in steps]
    if METRICS[metric].direction == "higher" or metric in ("detail", "face_detail"):
        values = [-value for value in values]
    if any(math.isnan(value) for value in values) or len(set(values)) == 1:
        return math.nan
    # Equal values share their ranks' mean, so that a metric that stands still does not rise.
    ranks = [(sum(a < b for a in values) + sum(a <= b for a in values)) / 2 for b in values]
    return float(np.corrcoef(np.arange(len(values)), ranks)[0, 1])


def answers(table: Table, place: tuple[int, str], metric: str) -> bool:
    """Whether a scene can show a metric's fault: one that stands still cannot be frozen."""
    return own_fault(metric) != "freeze" or table.value(place, metric, "", 0.0) >= LEAST_MOTION


def checks(table: Table, metrics: Sequence[str]) -> list[Check]:
    """All rules, the central metrics' first."""
    found = [_climbs(table, metric) for metric in metrics if own_fault(metric)]
    for metric in CENTRAL:
        found += _selective(table, metric)
    for metric, factor in CALIBRATED.items():
        found.append(_calibrated(table, metric, factor))
    found.append(_linear(table))
    found.append(_catches_stills(table))
    return found


def _climbs(table: Table, metric: str) -> Check:
    asked = [place for place in table.places if answers(table, place, metric)]
    left_out = [_where(place) for place in table.places if place not in asked]
    ranks = {place: rank_agreement(table, place, metric) for place in asked}
    if not ranks:
        return Check(
            metric=metric,
            rule=CLIMBS,
            about=own_fault(metric) or "",
            value=None,
            limit="Spearman = 1",
            holds=False,
            note=f"no scene answers: {', '.join(left_out)} stand still",
        )
    worst = min(ranks, key=lambda place: (not math.isnan(ranks[place]), ranks[place]))
    return Check(
        metric=metric,
        rule=CLIMBS,
        about=own_fault(metric) or "",
        value=ranks[worst],
        limit="Spearman = 1",
        holds=ranks[worst] > 0.999,
        note=_where(worst) + (f"; still, so not asked: {', '.join(left_out)}" if left_out else ""),
    )


def _selective(table: Table, metric: str) -> list[Check]:
    changes = [(f, one.levels[-1], MOST_FOREIGN) for f, one in LADDERS.items()]
    changes += [(n, lv, MOST_NUISANCE) for n, one in NUISANCES.items() for lv in one.levels]
    found = []
    for change, level, most in changes:
        if change == own_fault(metric) or (metric, change) in COUPLED:
            continue
        parts = {place: abs(part) for place, part in response(table, metric, change, level).items()}
        typical = float(np.median(list(parts.values()))) if parts else None
        worst = max(parts, key=lambda place: parts[place], default=None)
        found.append(
            Check(
                metric=metric,
                rule="hardly moved by a nuisance" if change in NUISANCES else "selective",
                about=f"{change} {level:g}",
                value=typical,
                limit=f"≤ {most:.2f} of its own",
                holds=typical is not None and typical <= most,
                note=f"median of {len(parts)}",
                worst=None if worst is None else (_where(worst), parts[worst]),
                over=sum(part > most for part in parts.values()),
            )
        )
    return found


def _calibrated(table: Table, metric: str, factor: float) -> Check:
    """Off the draw by at most MOST_ERROR, at every level of which the clean reading is a tenth."""
    fault = own_fault(metric) or ""
    errors = {}
    for place in table.places:
        floor = table.value(place, metric, "", 0.0)
        for level in LADDERS[fault].levels:
            reading = table.reading(place, fault, level)
            ideal = factor * (reading.ideal or math.nan)
            if floor <= 0.1 * ideal:
                errors[(place, level)] = table.value(place, metric, fault, level) / ideal - 1
    worst = max(errors, key=lambda key: abs(errors[key]))
    return Check(
        metric=metric,
        rule="reads the draw",
        about=fault,
        value=errors[worst],
        limit=f"within {MOST_ERROR:.0%}",
        holds=abs(errors[worst]) <= MOST_ERROR,
        note=f"{_where(worst[0])}, level {worst[1]:g}; {len(errors)} videos",
    )


def _linear(table: Table) -> Check:
    """The typical reading of every level, in parts of the draw, beside what warp states."""
    factors = {}
    for level in LADDERS["wobble"].levels:
        parts = []
        for place in table.places:
            reading = table.reading(place, "wobble", level)
            floor = table.value(place, "warp", "", 0.0)
            read = table.value(place, "warp", "wobble", level)
            parts.append(math.sqrt(max(read**2 - floor**2, 0.0)) / (reading.ideal or math.nan))
        factors[level] = float(np.median(parts))
    worst = max(factors, key=lambda level: abs(factors[level] / WARP_READS - 1))
    return Check(
        metric="warp",
        rule=f"proportional: reads {WARP_READS:g} of the draw",
        about="wobble",
        value=factors[worst],
        limit=f"within {MOST_BEND:.0%}",
        holds=abs(factors[worst] / WARP_READS - 1) <= MOST_BEND,
        note="medians " + ", ".join(f"{level:g}: {part:.3f}" for level, part in factors.items()),
    )


def _catches_stills(table: Table) -> Check:
    fastest = max(table.value(place, "motion_top5", "freeze", 1.0) for place in table.places)
    slowest = min(table.value(place, "motion_top5", "", 0.0) for place in table.places)
    return Check(
        metric="motion_top5",
        rule="calls a frozen video static, a moving one not",
        about="freeze 1",
        value=fastest,
        limit=f"< {STATIC_BELOW:g} %/s",
        holds=fastest < STATIC_BELOW <= slowest,
        note=f"the slowest clean video reads {slowest:.1f} %/s",
    )


def _where(place: tuple[int, str]) -> str:
    return f"{place[1]} at {place[0]} px"
