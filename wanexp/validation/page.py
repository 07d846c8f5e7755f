"""What the validation found, as one folder: a page to read, its pictures, and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from wanexp.validation.ladders import COUPLED, LADDERS, NUISANCES
from wanexp.validation.readings import Reading
from wanexp.validation.rules import Check, Table, checks

PAGE, MATRIX, CURVES = "validation.md", "validation-matrix.png", "validation-ladders.png"


def write_page(folder: Path, readings: Sequence[Reading]) -> list[Check]:
    """Writes PAGE with its two pictures into ``folder``; the checks that it shows."""
    from wanexp.validation.plots import heat_map, ladder_plots

    table, metrics = Table(readings), names_in(readings)
    found = checks(table, metrics)
    folder.mkdir(parents=True, exist_ok=True)
    heat_map(table, metrics, folder / MATRIX)
    ladder_plots(table, metrics, folder / CURVES)
    (folder / PAGE).write_text(page(found, table), encoding="utf-8")
    return found


def page(found: Sequence[Check], table: Table) -> str:
    """The page in Markdown."""
    broken = [check for check in found if not check.holds]
    sizes = sorted({size for size, _ in table.places})
    scenes = len({scene for _, scene in table.places})
    rules = [check for check in found if not check.rule.startswith(("selective", "hardly"))]
    quiet = [check for check in found if check not in rules]
    said = "all hold" if not broken else f"{len(broken)} do not hold"
    lines = [
        "# Validation of the metrics",
        "",
        f"Measured by `wanexp validate` on {scenes} procedural scenes of known truth at"
        f" {' and '.join(f'{size}×{size}' for size in sizes)} px: {len(found)} rules, {said}.",
        "",
        f"![response of every metric to every fault and nuisance]({MATRIX})",
        "",
        f"![every metric on the ladder of its own fault]({CURVES})",
        "",
        "## Rules",
        "",
        *_rows(rules),
        "",
        "## What else moves the central metrics",
        "",
        "In parts of what the strongest level of a metric's own fault moves it by. The median over"
        " scenes and sizes has to keep the limit; a single video may pass it, and the worst one"
        " stands beside.",
        "",
        *_quiet_rows(quiet),
        "",
        "Single videos that pass the limit:",
        "",
        *_passing(quiet),
        "",
        "## Couplings that are physics",
        "",
        *(f"- `{metric}` and {fault}: {why}." for (metric, fault), why in COUPLED.items()),
        "",
        "## Faults and nuisances",
        "",
        *(f"- {name}: {_levels(one.levels)} {one.unit}" for name, one in LADDERS.items()),
        *(
            f"- {name} (no fault): {_levels(one.levels)} {one.unit}"
            for name, one in NUISANCES.items()
        ),
        "",
    ]
    return "\n".join(lines)


def tree(found: Sequence[Check], readings: Sequence[Reading]) -> dict[str, object]:
    """The same for programs, without NaN."""
    return {
        "holds": all(check.holds for check in found),
        "checks": [
            {
                "metric": check.metric,
                "rule": check.rule,
                "about": check.about,
                "value": _finite(check.value),
                "limit": check.limit,
                "holds": check.holds,
                "note": check.note,
                "worst": None if check.worst is None else list(check.worst),
                "over": check.over,
            }
            for check in found
        ],
        "readings": [
            {
                "size": reading.size,
                "scene": reading.scene,
                "change": reading.change or None,
                "level": reading.level,
                "ideal": reading.ideal,
                "values": dict(reading.values),
            }
            for reading in readings
        ],
    }


def names_in(readings: Sequence[Reading]) -> list[str]:
    """Every metric that the clean videos were measured by."""
    clean: Mapping[str, object] = next(r.values for r in readings if not r.change)
    return list(clean)


def as_json(found: Sequence[Check], readings: Sequence[Reading]) -> str:
    """``tree`` as one line."""
    return json.dumps(tree(found, readings), allow_nan=False)


def _rows(found: Sequence[Check]) -> list[str]:
    lines = ["| metric | rule | about | worst | limit | holds | |", "|---|---|---|---|---|---|---|"]
    for check in found:
        value = "–" if _finite(check.value) is None else f"{check.value:.3g}"
        cells = (check.rule, check.about, value, check.limit, "yes" if check.holds else "**no**")
        lines.append(f"| `{check.metric}` | {' | '.join(cells)} | {check.note} |")
    return lines


def _quiet_rows(found: Sequence[Check]) -> list[str]:
    lines = ["| metric | by | median | worst | limit | holds |", "|---|---|---|---|---|---|"]
    for check in found:
        where, most = check.worst or ("–", math.nan)
        value = "–" if check.value is None else f"{check.value:.3f}"
        cells = (check.about, value, f"{most:.3f} ({where})", check.limit)
        holds = "yes" if check.holds else "**no**"
        lines.append(f"| `{check.metric}` | {' | '.join(cells)} | {holds} |")
    return lines


def _passing(found: Sequence[Check]) -> list[str]:
    lines = []
    for check in found:
        if check.over and check.worst:
            where, most = check.worst
            lines.append(
                f"- `{check.metric}` by {check.about}: {check.over}; at most {most:.2f}, {where}."
            )
    return lines or ["- none."]


def _levels(levels: Sequence[float]) -> str:
    return ", ".join(f"{level:g}" for level in levels)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
