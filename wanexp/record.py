"""The trial folder and its record: every path, every field, and how they are read.

    studies/NAME/study.json  videos/ARM--CASE--seedN.mp4 (links)
    studies/NAME/trials/DIGEST/record.json  video.mp4  poster.png  contact_sheet.png  source.png
                               stages/STAGE.mp4  stages/STAGE.png  latents.safetensors

Durations are seconds, sizes bytes, times UTC in ISO 8601.
"""

from __future__ import annotations

import gc
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn

SCHEMA = 3
"""Of record.json; raise it with every change of its fields, and add the step to UPGRADES."""

Tree = Mapping[str, object]
"""Plain values: what JSON holds."""

State = Literal["running", "completed", "changed", "failed"]
STATES = ("running", "completed", "changed", "failed")


class RecordError(ValueError):
    """A record that cannot be read; the message names the file and says why."""


@dataclass(frozen=True)
class TrialPaths:
    """Every path of one trial; nobody else joins strings. ``root`` is named by the digest."""

    root: Path

    @property
    def digest(self) -> str:
        """The trial's, which names the folder."""
        return self.root.name

    @property
    def study(self) -> StudyPaths:
        """The study that the trial belongs to."""
        return StudyPaths(self.root.parent.parent)

    @property
    def record(self) -> Path:
        """All that is known of the trial."""
        return self.root / "record.json"

    @property
    def video(self) -> Path:
        """H.264, for looking at; measurements were taken on the frames before encoding."""
        return self.root / "video.mp4"

    @property
    def poster(self) -> Path:
        """The middle frame."""
        return self.root / "poster.png"

    @property
    def contact_sheet(self) -> Path:
        """Frames spread over the video on one page."""
        return self.root / "contact_sheet.png"

    @property
    def source(self) -> Path:
        """The source image as the model saw it."""
        return self.root / "source.png"

    @property
    def latents(self) -> Path:
        """The last latent, where it was asked for."""
        return self.root / "latents.safetensors"

    @property
    def stages(self) -> Path:
        """The folder of stages that were measured on their own."""
        return self.root / "stages"

    def stage_video(self, name: str) -> Path:
        """The end of one stage, decoded."""
        return self.stages / f"{name}.mp4"

    def stage_poster(self, name: str) -> Path:
        """The middle frame of a stage's end."""
        return self.stages / f"{name}.png"


@dataclass(frozen=True)
class StudyPaths:
    """Every path of one study; ``root`` is ``studies/NAME``."""

    root: Path

    @property
    def name(self) -> str:
        """The study's."""
        return self.root.name

    @property
    def study(self) -> Path:
        """The question, its arms, and which trial answers what."""
        return self.root / "study.json"

    @property
    def trials(self) -> Path:
        """The folder of trial folders."""
        return self.root / "trials"

    @property
    def claims(self) -> Path:
        """Who runs which trial at the moment (``wanexp.claim``)."""
        return self.root / ".claims"

    @property
    def videos(self) -> Path:
        """Links to the trials' videos by readable names."""
        return self.root / "videos"

    def trial(self, digest: str) -> TrialPaths:
        """The paths of the trial with this digest, whether it exists or not."""
        return TrialPaths(self.trials / digest)

    def found(self) -> list[TrialPaths]:
        """The trial folders that exist, by digest; unfinished writes are not among them."""
        if not self.trials.is_dir():
            return []
        with os.scandir(self.trials) as entries:
            names = sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir())
        return [self.trial(name) for name in names]


def studies_in(folder: Path) -> dict[str, StudyPaths]:
    """The studies of a folder by name; what holds no trials is none."""
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    studies = [StudyPaths(root) for root in found if (root / "trials").is_dir()]
    return {study.name: study for study in studies}


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """All that is known of one trial.

    Attributes:
        state: ``running`` lives in memory only. ``changed``: a video was made, but not the one
            that was asked for, since memory ran out (``changes``); whoever counts what was
            completed leaves it out.
        trial: What was asked (``trial_tree``); ``trial_from`` takes it back.
        plan: What ran (``Plan.tree``); of a changed trial the changed one.
        measurements: Metric name to ``value, reason, direction, unit, version``; an undefined
            value is None and its reason says why.
        series: Metric name to one number (or None) per frame or frame pair.
        stages: Stage name to ``seconds, model_calls, …`` and its own ``measurements``. Where it
            was ``stored``, seconds and model calls are those of the run that made it.
        timings: Seconds that this trial spent in ``encode, sample, decode, measure, write``; and in
            ``wait``, where the trial before it was still being scored.
        phases: Phase (``encode``, ``stage/NAME``, ``handover``, ``decode``, ``measure``) to its
            ``seconds`` and its peaks of ``rss, cuda, cuda_reserved``.
        peak_memory: Bytes, ``rss`` and ``cuda`` (None without a GPU).
        system: Time-stamped samples of the machine (``wanexp.monitor``).
        throttled: What held the GPU's clock down (``wanexp.nvml.REASONS``), to the share of the
            samples in which it did.
        overlapped: Whether it was scored behind the next trial, so that ``rss`` and the samples of
            either hold something of the other.
        changes: Steps that were taken when memory ran out, in turn: ``step``, the ``phase`` that
            failed, its ``error``, and the settings that changed as they ``was`` and are ``now``
            (both empty where only the cache was emptied).
        model_calls: What the video costs alone: the sum over its stages.
        model_calls_executed: In this trial; fewer where stages were taken from the store.
        media: File to ``bytes`` and ``sha256``.
        error: ``type, message, traceback`` of a failed trial.
    """

    digest: str
    study: str
    arm: str
    trial: Tree
    plan: Tree
    started: str
    finished: str | None = None
    state: State = "running"
    measurements: Mapping[str, Tree] = field(default_factory=dict)
    series: Mapping[str, list[float | None]] = field(default_factory=dict)
    stages: Mapping[str, Tree] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    phases: Mapping[str, Tree] = field(default_factory=dict)
    peak_memory: Mapping[str, int | None] = field(default_factory=dict)
    system: Tree = field(default_factory=dict)
    throttled: Mapping[str, float] = field(default_factory=dict)
    overlapped: bool = False
    changes: list[Tree] = field(default_factory=list)
    model_calls: int = 0
    model_calls_executed: int = 0
    environment: Tree = field(default_factory=dict)
    media: Mapping[str, Tree] = field(default_factory=dict)
    error: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(f"state: expected one of {', '.join(STATES)}, got {self.state!r}")
        if (self.state == "failed") != (self.error is not None):
            raise ValueError(
                f"error: a {self.state} record {'needs' if not self.error else 'has no'} one"
            )
        for name, measurement in self.measurements.items():
            if (measurement.get("value") is None) == (measurement.get("reason") is None):
                raise ValueError(
                    f"measurements.{name}: expected a value, or None with a reason,"
                    f" got {dict(measurement)!r}"
                )


def read_record(path: Path) -> TrialRecord:
    """The record in a ``record.json`` of any schema up to this one.

    Raises:
        FileNotFoundError: There is none.
        RecordError: It is damaged, or from a newer wanexp.
    """
    try:
        tree = json.loads(path.read_bytes(), parse_constant=_refuse)
    except ValueError as error:  # bad JSON and bad UTF-8
        raise RecordError(f"{path}: damaged, not valid JSON ({error})") from None
    schema = tree.get("schema") if isinstance(tree, dict) else None
    if not isinstance(schema, int):
        raise RecordError(f"{path}: damaged, it does not say its schema")
    if schema > SCHEMA:
        raise RecordError(
            f"{path}: has schema {schema}, this wanexp reads up to {SCHEMA}: update wanexp"
        )
    try:
        while schema < SCHEMA:
            tree = UPGRADES[schema](tree)
            schema += 1
        del tree["schema"]
        return TrialRecord(**tree)  # type: ignore[arg-type]
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise RecordError(f"{path}: damaged ({error})") from None


class StudyRecords(NamedTuple):
    """What is on disk of a study.

    Attributes:
        records: By digest; states are mixed.
        bad: Of every record that cannot be used, its file and why.
    """

    records: list[TrialRecord]
    bad: list[str]


def read_study(study: StudyPaths) -> StudyRecords:
    """Every record of a study; those that cannot be read are listed, not raised."""
    records, bad = [], []
    with _no_collection():
        for paths in study.found():
            try:
                record = read_record(paths.record)
            except (OSError, RecordError) as error:
                bad.append(str(error))
                continue
            if record.digest == paths.digest:
                records.append(record)
            else:
                bad.append(f"{paths.record}: the record of another trial, {record.digest}")
    return StudyRecords(records, bad)


def record_text(record: TrialRecord) -> str:
    """The record as JSON, fields in their order here and stages in theirs, lists on one line.

    Raises:
        ValueError: Naming the place of a NaN, an infinity or a value that is not plain.
    """
    return _lines(_plain("record", {"schema": SCHEMA, **vars(record)}), "") + "\n"


def utc_now() -> str:
    """Now, as ``2026-01-31T12:00:00.000Z``."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _to_2(tree: dict[str, object]) -> dict[str, object]:
    """Before the stage store every stage was computed in its own trial."""
    stages = tree.get("stages", {})
    if not isinstance(stages, Mapping):
        raise ValueError(f"stages: expected a mapping, got {stages!r}")
    return {
        **tree,
        "model_calls_executed": tree.get("model_calls", 0),
        "stages": {name: {**stage, "stored": False} for name, stage in stages.items()},
    }


def _to_3(tree: dict[str, object]) -> dict[str, object]:
    """Before phases, throttling, overlap and changes were recorded there were none of the last two.

    What is not known of phases and throttling stays empty.
    """
    return {**tree, "overlapped": False, "changes": []}


UPGRADES: dict[int, Callable[[dict[str, object]], dict[str, object]]] = {1: _to_2, 2: _to_3}
"""Schema number to the step from it to the next; a record of any age climbs them in turn."""


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pause the garbage collector, which would walk what has no cycles over and over.

    It takes a third of the time in which thousands of records load.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")


def _plain(where: str, value: object) -> object:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        raise ValueError(f"{where}: {value} cannot be recorded; an undefined value is None")
    if isinstance(value, Mapping):
        return {str(key): _plain(f"{where}.{key}", item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(f"{where}[{i}]", item) for i, item in enumerate(value)]
    raise ValueError(f"{where}: a {type(value).__name__} is not a plain value")


def _lines(value: object, margin: str) -> str:
    """Indented JSON in which a list of numbers stays on one line."""
    inner = margin + "  "
    if isinstance(value, dict) and value:
        items = [f"{inner}{json.dumps(k)}: {_lines(v, inner)}" for k, v in value.items()]
        return "{\n" + ",\n".join(items) + f"\n{margin}}}"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return "[\n" + ",\n".join(inner + _lines(v, inner) for v in value) + f"\n{margin}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
