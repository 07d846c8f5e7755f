"""A study's records → one table: a row a trial, a column a setting, a cost or a metric.

Reads the disk only; MLflow is a mirror and is never asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from wanexp.record import StudyPaths, TrialRecord, read_study

MISSING = "missing"
"""The state of a trial that the study asks for and nobody has run yet."""

COSTS = ("model_calls", "new_model_calls", "model_calls_executed", "seconds")


@dataclass(frozen=True)
class StudyTable:
    """What a study asked, and what it has.

    Attributes:
        study: The study file: question, protocol, arms, trials.
        trials: Columns ``arm case seed digest state model_calls seconds held_out confirms
            new_model_calls model_calls_executed error`` and one column a metric, NaN where a metric
            is undefined for that video. ``model_calls`` and ``seconds`` (of sampling) are what its
            video takes alone; ``new_model_calls`` is what it adds to the trials before it, and
            ``model_calls_executed`` what it took here, where others may have left it its first
            stages. A ``state`` of ``changed`` is a video that is not the one asked for, since
            memory ran out: only what is ``completed`` is compared. ``confirms`` marks trials that
            were asked for to confirm a winner.
        metrics: The metric columns, in the order they were measured.
        directions: Metric to ``lower``, ``higher`` or ``one``.
        damaged: Record files that could not be read, with the reason.
    """

    study: Mapping[str, object]
    trials: pd.DataFrame
    metrics: tuple[str, ...]
    directions: Mapping[str, str]
    damaged: tuple[str, ...]


def load_study(folder: Path) -> StudyTable:
    """The table of one study folder.

    Raises:
        FileNotFoundError: The folder holds no study file.
    """
    paths = StudyPaths(folder)
    study = json.loads(paths.study.read_text(encoding="utf-8"))
    records, damaged = read_study(paths)
    by_digest = {record.digest: record for record in records}
    rows = [_row(asked, by_digest.get(str(asked["digest"]))) for asked in study["trials"]]
    used = [by_digest[d] for d in dict.fromkeys(str(r["digest"]) for r in rows) if d in by_digest]
    directions: dict[str, str] = {}
    for record in used:
        for name, measurement in record.measurements.items():
            directions.setdefault(name, str(measurement["direction"]))
    frame = pd.DataFrame(rows)
    for name in (*COSTS, *directions):
        frame[name] = pd.to_numeric(frame[name]) if name in frame else float("nan")
    return StudyTable(
        study=study,
        trials=frame,
        metrics=tuple(directions),
        directions=directions,
        damaged=tuple(damaged),
    )


def choosing(table: StudyTable) -> pd.DataFrame:
    """The trials that choose: all but those that were asked for to confirm a choice."""
    if "confirms" not in table.trials:
        return table.trials
    return pd.DataFrame(table.trials[~table.trials["confirms"].astype(bool)])


def _row(asked: Mapping[str, object], record: TrialRecord | None) -> dict[str, object]:
    row: dict[str, object] = {key: asked[key] for key in ("arm", "case", "seed", "digest")}
    row["held_out"] = bool(asked.get("held_out"))
    row["confirms"] = bool(asked.get("confirms"))
    row["new_model_calls"] = asked.get("new_model_calls")
    if record is None:
        return {**row, "state": MISSING}
    row |= {
        "state": record.state,
        "model_calls": record.model_calls,
        "model_calls_executed": record.model_calls_executed,
        "seconds": _sampling_seconds(record),
        "error": record.error["message"] if record.error else None,
    }
    return row | {name: m["value"] for name, m in record.measurements.items()}


def _sampling_seconds(record: TrialRecord) -> float | None:
    """Of all stages, each as long as it took the run that computed it."""
    if not record.stages:
        return record.timings.get("sample")
    return sum(float(str(stage["seconds"])) for stage in record.stages.values())
