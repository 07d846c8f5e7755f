"""A trial's record as what an MLflow run holds: its name, tags, parameters and metrics."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from wanexp.troubles import change_words, throttle_words

if TYPE_CHECKING:
    from wanexp.record import TrialRecord

STAGE_PARAMS = (
    "sampler",
    "scheduler",
    "steps",
    "cfg",
    "shift",
    "denoise",
    "sigma_start",
    "sigma_end",
    "takeover",
    "model_calls",
)

SYSTEM_KEYS = {
    "cpu_percent": ("process_cpu_percentage", 1.0),
    "rss": ("process_memory_megabytes", 1e-6),
    "gpu_memory": ("gpu_memory_megabytes", 1e-6),
    "gpu_percent": ("gpu_utilization_percentage", 1.0),
    "gpu_power": ("gpu_power_usage_watts", 1.0),
    "gpu_temperature": ("gpu_temperature_celsius", 1.0),
    "gpu_clock": ("gpu_clock_megahertz", 1.0),
}
"""A record's series to MLflow's name and unit."""

NOTES = ("error", "changed", "throttled", "undefined", "warnings")
"""Tags that a run's page shows as its description."""

PARAMS_A_CALL, POINTS_A_CALL = 100, 900
"""What MLflow takes in one batch: a hundred parameters, a thousand of everything."""

LETTERS = 3
"""Of a stage's name where it stands in an arm's; one letter more is left whole."""

LONGEST_PARAM = 6000
LONGEST_TAG = 8000
"""What MLflow takes."""


class Point(NamedTuple):
    """One value of a metric: ``time`` is milliseconds since the epoch."""

    key: str
    value: float
    step: int
    time: int


def run_name(record: TrialRecord) -> str:
    """What a run is called in lists: arm, case and seed; and that it is not what was asked for."""
    changed = " (changed)" if record.state == "changed" else ""
    return f"{short_arm(record)} · {_case(record)} · {_seed(record)}{changed}"


def short_arm(record: TrialRecord) -> str:
    """An arm's name as it fits MLflow's lists.

    ``establish.cfg=2,refine.cfg=3`` is ``est.cfg=2,ref.cfg=3``, unless two stages of the recipe
    would then be called alike.
    """
    stages = list(_mapping(record.plan.get("stages")))
    short = {name: name[:LETTERS] for name in stages if len(name) > LETTERS + 1}
    if len({short.get(name, name) for name in stages}) < len(stages):
        return record.arm
    return re.sub(r"(?<![\w.])(\w+)(?=\.\w+=)", lambda m: short.get(m[1], m[1]), record.arm)


def run_tags(record: TrialRecord) -> dict[str, str]:
    """What runs are found by, and what cannot be a number: undefined metrics, the error."""
    tags = {
        "wanexp.kind": "trial",
        "wanexp.study": record.study,
        "wanexp.arm": record.arm,
        "wanexp.case": _case(record),
        "wanexp.seed": _seed(record),
        "wanexp.digest": record.digest,
        "wanexp.state": record.state,
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": "wanexp",
    }
    undefined = {n: m["reason"] for n, m in record.measurements.items() if m["value"] is None}
    tags["wanexp.undefined"] = "\n".join(f"{name}: {why}" for name, why in undefined.items())
    tags["wanexp.warnings"] = "\n".join(map(str, _list(record.plan.get("warnings"))))
    tags["wanexp.changed"] = change_words(record.changes) if record.changes else ""
    tags["wanexp.throttled"] = throttle_words(record.throttled)
    if record.error:
        tags["wanexp.error"] = f"{record.error['type']}: {record.error['message']}"
    notes = [tags.get(f"wanexp.{key}", "") for key in NOTES]
    tags["mlflow.note.content"] = "\n\n".join(note for note in notes if note)
    git = _mapping(record.environment.get("git"))
    if git.get("revision"):
        tags["mlflow.source.git.commit"] = str(git["revision"])
    return {key: value[:LONGEST_TAG] for key, value in tags.items() if value}


def run_params(record: TrialRecord) -> dict[str, str]:
    """Settings, resolved: a stage's under its name (``refine.sigma_start``), numbers as numbers."""
    recipe, model = _mapping(record.trial.get("recipe")), _mapping(record.trial.get("model"))
    stages = {name: _mapping(s) for name, s in _mapping(record.plan.get("stages")).items()}
    case = _mapping(record.trial.get("case"))
    values: dict[str, object] = {
        "arm": short_arm(record),
        "case": case.get("name"),
        "seed": record.trial.get("seed"),
        "model": model.get("name"),
        "model.source": model.get("source"),
        "model.revision": model.get("revision"),
        "model.files": _files(model),
        **{key: recipe.get(key) for key in ("width", "height", "frames", "fps")},
        "stages": " → ".join(stages),
        "steps": sum(int(_number(stage.get("steps"))) for stage in stages.values()),
        "prompt": case.get("prompt"),
        "negative_prompt": case.get("negative_prompt"),
    }
    for name, stage in stages.items():
        values |= {f"{name}.{key}": stage.get(key) for key in STAGE_PARAMS}
        values[f"{name}.expert"] = " → ".join(dict.fromkeys(map(str, _list(stage.get("experts")))))
        loras = _mapping(stage.get("loras"))
        values[f"{name}.loras"] = ", ".join(f"{k}:{_text(v)}" for k, v in loras.items())
    memory = _mapping(record.trial.get("memory"))
    values |= {f"memory.{key}": value for key, value in memory.items()}
    for change in record.changes:  # what it is, not what was asked for
        now = _mapping(change.get("now"))
        values |= {key: now[key] for key in ("frames", "width", "height") if key in now}
        values |= {f"memory.{key}": now[key] for key in ("vae_tiling",) if key in now}
    known = {key: _text(value) for key, value in values.items() if value not in (None, "")}
    return {safe_key(key): text[:LONGEST_PARAM] for key, text in known.items()}


def _files(model: Mapping[str, object]) -> str:
    """The single files of a model, by part, without the folders that they lie in."""
    experts = {f"experts.{name}": file for name, file in _mapping(model.get("experts")).items()}
    single = {key: model.get(key) for key in ("vae", "text_encoder", "tokenizer")}
    named = {part: str(file) for part, file in {**experts, **single}.items() if file}
    return ", ".join(f"{part}:{file.rpartition('/')[2]}" for part, file in named.items())


def run_points(record: TrialRecord) -> list[Point]:
    """All numbers: of the video, of its frames (step = frame), of each stage, and the costs."""
    began = milliseconds(record.started)
    singles = {name: m["value"] for name, m in record.measurements.items()}
    for stage, facts in record.stages.items():
        measured = _mapping(facts.get("measurements"))
        singles |= {f"stage/{stage}/{n}": _mapping(m).get("value") for n, m in measured.items()}
        singles |= {f"stage/{stage}/{key}": facts.get(key) for key in ("seconds", "model_calls")}
    singles |= {f"seconds/{name}": value for name, value in record.timings.items()}
    singles |= {f"peak_mb/{name}": _mb(value) for name, value in record.peak_memory.items()}
    if record.timings:  # what it took, without the wait for others: overlapping trials add up
        singles["seconds"] = sum(s for name, s in record.timings.items() if name != "wait")
    singles |= _phase_singles(record.phases)
    singles |= {f"throttled/{name}": share for name, share in record.throttled.items()}
    singles["model_calls"] = record.model_calls
    singles["model_calls_executed"] = record.model_calls_executed
    points = [
        Point(safe_key(name), float(_number(value)), 0, began)
        for name, value in singles.items()
        if value is not None
    ]
    for name, series in record.series.items():
        key = safe_key(f"frame/{name}")
        points += [Point(key, v, i, began) for i, v in enumerate(series) if v is not None]
    return points + _system_points(record.system)


def _phase_singles(phases: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
    """Peaks of phases, on the GPU where there is one; seconds of what no timing and stage tells."""
    found: dict[str, object] = {}
    for phase, facts in phases.items():
        place = f"{phase}/peak_mb" if "/" in phase else f"peak_mb/{phase}"
        found[place] = _mb(facts.get("cuda") or facts.get("rss"))
    if "handover" in phases:
        found["seconds/handover"] = phases["handover"].get("seconds")
    return found


def run_source(record: TrialRecord) -> dict[str, str] | None:
    """The source image, as the fields of the dataset that a run used."""
    case, digest = _mapping(record.trial.get("case")), record.trial.get("image_sha256")
    if not digest:
        return None
    return {
        "name": str(case.get("name")),
        "digest": str(digest)[:16],
        "source_type": "local",
        "source": json.dumps({"uri": case.get("image")}),
        "profile": json.dumps({key: case.get(key) for key in ("why", "crop")}),
    }


def batches(record: TrialRecord) -> Iterator[tuple[list[tuple[str, str]], list[Point]]]:
    """Parameters and metrics in portions that MLflow takes in one call."""
    params, points = list(run_params(record).items()), run_points(record)
    calls = max(math.ceil(len(params) / PARAMS_A_CALL), math.ceil(len(points) / POINTS_A_CALL))
    for i in range(calls):
        yield (
            params[i * PARAMS_A_CALL : (i + 1) * PARAMS_A_CALL],
            points[i * POINTS_A_CALL : (i + 1) * POINTS_A_CALL],
        )


def milliseconds(moment: str) -> int:
    """An ISO time as milliseconds since the epoch."""
    return round(datetime.fromisoformat(moment).timestamp() * 1000)


def safe_key(name: str) -> str:
    """The name as MLflow takes it for parameters and metrics."""
    return re.sub(r"[^\w\-./ :]", "_", name)


def _system_points(system: Mapping[str, object]) -> list[Point]:
    """Samples of the machine under the names that MLflow's page of system metrics looks for."""
    if not system.get("started"):
        return []
    began = milliseconds(str(system["started"]))
    times = [began + round(1000 * float(_number(s))) for s in _list(system.get("seconds"))]
    points = []
    for name, (key, scale) in SYSTEM_KEYS.items():
        values = zip(times, _list(system.get(name)), strict=False)
        points += [
            Point(f"system/{key}", float(_number(value)) * scale, step, time)
            for step, (time, value) in enumerate(values)
            if value is not None
        ]
    return points


def _case(record: TrialRecord) -> str:
    return str(_mapping(record.trial.get("case")).get("name"))


def _seed(record: TrialRecord) -> str:
    return str(record.trial.get("seed"))


def _text(value: object) -> str:
    """Six digits of a float, so that an axis reads 0.866667; whole numbers whole."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _mb(size: object) -> float | None:
    return None if size is None else float(_number(size)) / 1e6


def _number(value: object) -> float:
    return value if isinstance(value, int | float) else float("nan")


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
