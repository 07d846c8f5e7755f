"""A study's records → plain data for the page: trials, arms, cases, metrics, what went wrong.

Everything that is missing is there with the reason why.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.load import StudyTable
from wanexp.metrics import METRICS
from wanexp.record import StudyPaths, Tree, TrialPaths, TrialRecord, read_study
from wanexp.troubles import troubles

NOTHING: Mapping[str, object] = {"values": {}, "reasons": {}, "series": {}, "stages": []}
"""What the page compares of a trial that it must not compare."""

DIGITS = 5
"""Significant digits of every number on the page."""

SHORT_UNITS = {"ratio": "", "% of the smaller side per second": "% of side/s"}
"""What a unit is called where there is little room."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """A study, ready to be shown.

    Attributes:
        tree: Plain values under ``trials arms cases metrics damaged``; videos and pictures stand in
            it as keys of ``media``.
        media: Key → file.
        names: Key → what the file is called beside the page, without its ending.
    """

    tree: Mapping[str, object]
    media: Mapping[str, Path]
    names: Mapping[str, str]


class _Media:
    """Files by key. What trials have in common (a first stage's video) has one key."""

    def __init__(self) -> None:
        self.files: dict[str, Path] = {}
        self.names: dict[str, str] = {}

    def add(self, paths: TrialPaths, record: TrialRecord, file: Path, name: str) -> str | None:
        """The key of a trial's file; None where it is not on disk."""
        if not file.is_file():
            return None
        inside = file.relative_to(paths.root).as_posix()
        known = record.media.get(inside, {}).get("sha256")
        key = str(known)[:16] if known else f"{paths.digest}-{inside.replace('/', '-')}"
        self.files.setdefault(key, file)
        self.names.setdefault(key, name)
        return key


def study_content(study: StudyPaths, table: StudyTable) -> Content:
    """Everything that the page shows of single trials."""
    records, damaged = read_study(study)
    by_digest = {record.digest: record for record in records}
    media = _Media()
    asked = _rows(table.study)
    trials = [_trial(row, by_digest.get(str(row["digest"])), study, media) for row in asked]
    names = list(dict.fromkeys(str(row["arm"]) for row in asked))
    first = {str(row["arm"]): by_digest.get(str(row["digest"])) for row in reversed(asked)}
    as_asked = {digest: own for digest, own in by_digest.items() if own.state != "changed"}
    known = {
        str(row["arm"]): as_asked[str(row["digest"])]
        for row in reversed(asked)
        if str(row["digest"]) in as_asked
    }
    tree = {
        "trials": trials,
        "arms": [_arm(name, table.study, known.get(name) or first.get(name)) for name in names],
        "cases": _cases(asked, by_digest, study, media),
        "metrics": [_metric(name, records) for name in table.metrics],
        "damaged": damaged,
        "machine": _machine(records),
    }
    return Content(tree=tree, media=media.files, names=media.names)


def short(value: float) -> float:
    """The number with as many digits as the page needs."""
    return float(f"{value:.{DIGITS}g}")


def _rows(study: Mapping[str, object]) -> list[Mapping[str, object]]:
    rows = study.get("trials")
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []


def _trial(
    asked: Mapping[str, object], record: TrialRecord | None, study: StudyPaths, media: _Media
) -> dict[str, object]:
    row: dict[str, object] = {key: asked[key] for key in ("arm", "case", "seed", "digest")}
    row |= {key: bool(asked.get(key)) for key in ("held_out", "confirms")}
    paths = study.trial(str(asked["digest"]))
    if record is None:
        gone = "its record cannot be read" if paths.record.exists() else None
        return {**row, "state": "missing", "gone": gone}
    recipe = _mapping(record.trial.get("recipe"))
    name = f"{asked['arm']}--{asked['case']}--seed{asked['seed']}"
    done = record.state == "completed"
    video = media.add(paths, record, paths.video, name) if done else None
    row |= {
        "state": record.state,
        "frames": recipe.get("frames"),
        "fps": recipe.get("fps"),
        "width": recipe.get("width"),
        "height": recipe.get("height"),
        "model_calls": record.model_calls,
        "executed": record.model_calls_executed,
        "seconds": short(sum(_seconds(stage) for stage in record.stages.values())),
        "video": video,
        **_readings(record.measurements),
        "series": {name: _series(own) for name, own in record.series.items()},
        "stages": [_stage(stage, record, paths, media, name) for stage in record.stages],
    }
    if done and video is None:
        row["gone"] = f"{paths.video.name} is no longer in {paths.root.name}"
    row["troubles"] = troubles(record)
    if record.error:
        row["error"] = dict(record.error)
    # Of a video that is not the one that was asked for nothing stands among the others'.
    return {**row, **NOTHING} if record.state == "changed" else row


def _stage(
    name: str, record: TrialRecord, paths: TrialPaths, media: _Media, trial: str
) -> dict[str, object]:
    own = record.stages[name]
    last = name == list(record.stages)[-1]
    file = paths.video if last else paths.stage_video(name)
    label = trial if last else f"{trial}--{name}"
    measured = own.get("measurements")
    return {
        "name": name,
        "seconds": short(_seconds(own)),
        "model_calls": own.get("model_calls"),
        "stored": bool(own.get("stored")),
        "video": media.add(paths, record, file, label),
        **_readings(measured if isinstance(measured, Mapping) else {}),
    }


def _seconds(stage: Tree) -> float:
    value = stage.get("seconds")
    return float(value) if isinstance(value, int | float) else 0.0


def _readings(measurements: Mapping[str, Tree]) -> dict[str, object]:
    """Metric to value, and of those that are undefined metric to reason."""
    values, reasons = {}, {}
    for name, measurement in measurements.items():
        value = measurement.get("value")
        if isinstance(value, int | float):
            values[name] = short(value)
        else:
            reasons[name] = str(measurement.get("reason") or "no reason was recorded")
    return {"values": values, "reasons": reasons}


def _series(values: Sequence[float | None]) -> list[float | None]:
    return [None if value is None else short(value) for value in values]


def _arm(name: str, study: Mapping[str, object], record: TrialRecord | None) -> dict[str, object]:
    entry = _mapping(_mapping(study.get("arms")).get(name))
    plan = _mapping(record.plan) if record else {}
    stages = _mapping(plan.get("stages"))
    return {
        "name": name,
        "overrides": list(map(str, _list(entry.get("overrides")))),
        "combines": list(map(str, _list(entry.get("combines")))),
        "model_calls": plan.get("model_calls"),
        "warnings": list(map(str, _list(plan.get("warnings")))),
        "stages": [_planned(key, _mapping(stage)) for key, stage in stages.items()],
    }


def _planned(name: str, stage: Mapping[str, object]) -> dict[str, object]:
    sigmas = [short(float(str(sigma))) for sigma in _list(stage.get("sigmas"))]
    kept = ("takeover", "sampler", "scheduler", "shift", "steps", "denoise", "cfg")
    more = ("sigma_start", "sigma_end", "sigma_end_wanted", "experts", "model_calls", "loras")
    return {"name": name, "sigmas": sigmas} | {key: stage.get(key) for key in (*kept, *more)}


def _cases(
    asked: Sequence[Mapping[str, object]],
    by_digest: Mapping[str, TrialRecord],
    study: StudyPaths,
    media: _Media,
) -> list[dict[str, object]]:
    """Every case with its words and its source image, as the first trial that has it saw it."""
    found: dict[str, dict[str, object]] = {}
    for row in asked:
        name = str(row["case"])
        own = found.setdefault(name, {"name": name, "source": None})
        record = by_digest.get(str(row["digest"]))
        if record is None or own["source"] is not None:
            continue
        case, paths = _mapping(record.trial.get("case")), study.trial(record.digest)
        own |= {key: case.get(key) for key in ("prompt", "negative_prompt", "why")}
        own["words"] = case.get("image") is None
        own["source"] = media.add(paths, record, paths.source, f"source--{name}")
    return list(found.values())


def _metric(name: str, records: Sequence[TrialRecord]) -> dict[str, object]:
    """How a metric reads; its formula where this wanexp knows it."""
    known = METRICS.get(name.partition(":")[0])
    recorded = next((r.measurements[name] for r in records if name in r.measurements), {})
    unit = str(recorded.get("unit", ""))
    return {
        "name": name,
        "direction": recorded.get("direction"),
        "unit": SHORT_UNITS.get(unit, unit),
        "version": recorded.get("version"),
        "source": known.source if known else None,
        "confuses": known.confuses if known else None,
        "literature": bool(known and known.literature),
    }


def _machine(records: Sequence[TrialRecord]) -> dict[str, object]:
    """Where the last trial ran, for the page's foot."""
    if not records:
        return {}
    last = max(records, key=lambda record: record.started)
    flat = {k: v for k, v in last.environment.items() if isinstance(v, str | int | float)}
    return {**flat, "finished": last.finished}


def finite(value: float | None) -> float | None:
    """The number for the page; None where there is none."""
    return None if value is None or not math.isfinite(value) else short(value)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else ()
