"""Records → MLflow, the only file that knows it. A mirror: records on disk are the memory.

One experiment a study, one flat run a trial, one summary run a study. A run is found by its
digest, and is complete once it carries the stamp of the record that it mirrors; whatever else is
found (a run that was killed half way, one of an older record) is replaced.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from wanexp.owner import is_dead, owner
from wanexp.record import RecordError, StudyPaths, TrialPaths, TrialRecord, read_record
from wanexp.tracking import (
    ENVIRONMENT,
    Counts,
    Summary,
    Tracking,
    TrackingError,
    artifact_root,
    experiment_name,
    is_server,
    probe,
    rows,
    sentence,
    store_uri,
    views,
)
from wanexp.video import read_image, read_spread, sheet_indices

if TYPE_CHECKING:
    import numpy as np
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.store.entities import PagedList

T = TypeVar("T")

log = logging.getLogger(__name__)

LAYOUT = 2
"""Of what a run holds; raise it and ``wanexp sync`` makes every run anew."""

STAMP = "wanexp.mirrored"
WRITER = "wanexp.writer"
KIND = "wanexp.kind"
DIGEST = "wanexp.digest"

TABLE = {"path": "arms.json", "type": "table"}

PATIENCE = 30.0
"""Seconds that a sweep waits for MLflow at a time; what is not done by then comes later."""

PAUSE, LONGEST_PAUSE = 60.0, 960.0
"""Seconds without another attempt after MLflow failed; twice as long after each failure more."""

SLOW, REST = 3.0, 9.0
"""A trial that took MLflow more than so many seconds is followed by so many times that without an
attempt: a tenth of a sweep's time at most goes into a slow mirror."""

GRID_FRAMES, GRID_WIDTH = 3, 480
"""Frames of a video that the image grid shows, and how wide."""


@dataclass(kw_only=True)
class Tracker:
    """One study's mirror. Its methods never raise: a sweep goes on without MLflow.

    Attributes:
        patience: Seconds that one attempt may take; None for as long as it takes.
        experiment: MLflow's id of the study's experiment; None until MLflow has answered.
        problem: Why MLflow is not answering; None while all is well.
        waiting: Digests that MLflow still lacks; the next success brings them too.
    """

    tracking: Tracking
    study: StudyPaths
    patience: float | None = PATIENCE
    experiment: str | None = None
    problem: str | None = None
    waiting: list[str] = field(default_factory=list)
    _pause: float = PAUSE
    _resume: float = 0.0
    _rested: float = 0.0
    _facts: dict[str, views.Facts] | None = None

    def mirror(self, paths: TrialPaths) -> bool:
        """Mirror one trial from its folder; False where that failed or waits for later."""
        self.waiting.append(paths.digest)
        began = time.monotonic()
        if began < self._rested or not self._attempt(self._bring):
            return False
        took = time.monotonic() - began
        if took > SLOW:
            self._rested = time.monotonic() + REST * took
        return paths.digest in (self._facts or {})

    def summarise(self, summary: Summary) -> bool:
        """Refresh the study's summary run, and mirror what waited."""

        def work(client: MlflowClient) -> None:
            self._bring(client)
            _summarise(client, self._open(client), self.study.name, summary)
            self._say_scores(client, summary.scores)

        return self._attempt(work)

    def catch_up(self) -> Counts:
        """Mirror every trial of the study that MLflow lacks."""
        counts = Counts()
        done = self._attempt(lambda client: self._bring_all(client, counts))
        if not done and self.problem:
            counts.problems.append(self.problem)
        return counts

    def tell(self, work: Callable[[MlflowClient, str], object]) -> bool:
        """Do one thing more, given the client and the experiment's id; False where that failed."""
        return self._attempt(lambda client: work(client, self._open(client)))

    def _open(self, client: MlflowClient) -> str:
        if self.experiment is None:
            self.experiment = _open_experiment(client, self.tracking, self.study)
        return self.experiment

    def _bring(self, client: MlflowClient) -> None:
        """Mirror the waiting trials."""
        experiment = self._open(client)
        if self._facts is None:  # what earlier sweeps of the study have mirrored
            found = _runs(client, experiment, f"tags.`{KIND}` = 'trial'")
            self._facts = {run.data.tags.get(DIGEST, ""): _facts(run) for run in found}
        while self.waiting:
            paths = self.study.trial(self.waiting[0])
            found = _runs(client, experiment, f"tags.`{DIGEST}` = '{paths.digest}'")
            try:
                self._facts[paths.digest] = _mirror(client, experiment, paths, found)[0]
            except RecordError as error:  # the trial's fault, not MLflow's
                log.warning("%s", error)
            del self.waiting[0]
        _save_views(client, experiment, list(self._facts.values()))

    def _bring_all(self, client: MlflowClient, counts: Counts) -> None:
        experiment = self._open(client)
        by_digest: dict[str, list[Run]] = {}
        for run in _runs(client, experiment, f"tags.`{KIND}` = 'trial'"):
            by_digest.setdefault(run.data.tags.get(DIGEST, ""), []).append(run)
        self._facts = {}
        for paths in self.study.found():
            found = by_digest.get(paths.digest, [])
            try:
                self._facts[paths.digest], made = _mirror(client, experiment, paths, found)
            except RecordError as error:
                counts.problems.append(str(error))
                continue
            counts.unchanged += not made
            counts.replaced += made and bool(found)
            counts.made += not found
        self.waiting.clear()
        _save_views(client, experiment, list(self._facts.values()))

    def _say_scores(self, client: MlflowClient, scores: Mapping[str, Mapping[str, float]]) -> None:
        """Give trials' runs the numbers that are no measurements, where they lack them."""
        if not scores:
            return
        experiment = self._open(client)
        facts = self._facts = self._facts or {}
        for run in _runs(client, experiment, f"tags.`{KIND}` = 'trial'"):
            digest = run.data.tags.get(DIGEST, "")
            own = scores.get(digest, {})
            _log_numbers(client, run, own)
            facts[digest] = views.Facts(run.data.params, {*run.data.metrics, *own})
        _save_views(client, experiment, list(facts.values()))

    def _attempt(self, work: Callable[[MlflowClient], object]) -> bool:
        if not self.tracking.enabled or time.monotonic() < self._resume:
            return False
        try:
            work(_within(self.patience, connect(self.tracking, self.study.root.parent)))
        except Exception as error:
            if self.problem is None:
                words = "%s; what it lacks is brought later, or by `wanexp sync`"
                log.warning(words, sentence(error))
            self.problem = sentence(error)
            self._resume = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            return False
        self.problem, self._pause = None, PAUSE
        return True


def prepare(tracking: Tracking, study: StudyPaths) -> Tracker:
    """The study's mirror, with MLflow's tables and the experiment made.

    Call it once before workers start: MLflow's first use of a new database fails where two
    processes share it. Never raises; ``problem`` says what is wrong.
    """
    tracker = Tracker(tracking=tracking, study=study)
    tracker._attempt(tracker._open)
    return tracker


class _Hurried:
    """A client that takes no more calls once its time is over."""

    def __init__(self, client: MlflowClient, patience: float) -> None:
        self._client, self._patience = client, patience
        self._end = time.monotonic() + patience

    def __getattr__(self, name: str) -> object:
        if time.monotonic() > self._end:
            raise TrackingError(f"MLflow is slow, it took more than {self._patience:g} s")
        return getattr(self._client, name)


def _within(patience: float | None, client: MlflowClient) -> MlflowClient:
    return client if patience is None else cast("MlflowClient", _Hurried(client, patience))


@contextmanager
def in_a_sentence() -> Iterator[None]:
    """Raises TrackingError for whatever MLflow raises."""
    try:
        yield
    except Exception as error:
        raise TrackingError(sentence(error)) from None


def connect(tracking: Tracking, studies: Path) -> MlflowClient:
    """MLflow's client, quiet, once something answers at the server's address.

    Raises:
        TrackingError: Nothing does.
    """
    uri = store_uri(tracking, studies)
    if is_server(uri):
        probe(uri)
    elif not tracking.uri:
        studies.mkdir(parents=True, exist_ok=True)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):  # which the import has just set to chat
        logging.getLogger(name).setLevel(logging.ERROR)
    return MlflowClient(tracking_uri=uri)


def _open_experiment(client: MlflowClient, tracking: Tracking, study: StudyPaths) -> str:
    """The id of the study's experiment, made or brought back where need be."""
    from mlflow.exceptions import MlflowException

    name, studies = experiment_name(tracking, study.name), study.root.parent
    root = artifact_root(tracking, studies)
    place = root and f"{root}/{urllib.parse.quote(study.name)}"
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(name, artifact_location=place)
        except MlflowException:
            found = client.get_experiment_by_name(name)  # another worker was quicker
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    if place and found.artifact_location.rstrip("/") != place:
        raise TrackingError(
            f"{studies} has moved since {store_uri(tracking, studies)} was made: delete that file"
        )
    return found.experiment_id


def _mirror(
    client: MlflowClient, experiment: str, paths: TrialPaths, found: Sequence[Run]
) -> tuple[views.Facts, bool]:
    """One trial, given its runs so far; whether a run was made for it."""
    stamp = _stamp(paths)
    kept = _settled(client, found, stamp)
    return (_facts(kept), False) if kept else (_make_run(client, experiment, paths, stamp), True)


def _facts(run: Run) -> views.Facts:
    return views.Facts(run.data.params, run.data.metrics)


def _save_views(client: MlflowClient, experiment: str, facts: Sequence[views.Facts]) -> None:
    if not facts:
        return
    frames = sheet_indices(int(facts[0].params.get("frames", "1")), GRID_FRAMES)
    tags = client.get_experiment(experiment).tags
    for key, state in views.saved_views(facts, frames[len(frames) // 2]).items():
        value = views.view_tag(key, state, tags.get(f"{views.TAG}{key}"))
        if value is not None:
            client.set_experiment_tag(experiment, f"{views.TAG}{key}", value)


def _settled(client: MlflowClient, runs: Sequence[Run], stamp: str) -> Run | None:
    """The one of a trial's runs that is to stay as it is; the others are deleted."""
    whole = [run for run in runs if run.data.tags.get(STAMP) == stamp]
    kept = next(iter(whole or filter(_in_progress, runs)), None)
    for run in runs:
        if run is not kept:
            client.delete_run(run.info.run_id)
    return kept


def _in_progress(run: Run) -> bool:
    """Whether another living process is filling the run just now."""
    writer, _, since = run.data.tags.get(WRITER, "").partition("@")
    if STAMP in run.data.tags or writer == owner() or not since:
        return False
    return not is_dead(writer, last_sign=float(since))


def _stamp(paths: TrialPaths) -> str:
    """What a run carries once it holds all of this record."""
    try:
        content = paths.record.read_bytes()
    except OSError as error:
        raise RecordError(f"{paths.record}: {error.strerror}") from None
    return f"{LAYOUT}-{hashlib.sha256(content).hexdigest()[:16]}"


def _make_run(client: MlflowClient, experiment: str, paths: TrialPaths, stamp: str) -> views.Facts:
    record, frames = _read(paths)  # before the run is made: a damaged trial makes none
    began = rows.milliseconds(record.started)
    run = client.create_run(
        experiment,
        start_time=began,
        run_name=rows.run_name(record),
        tags={**rows.run_tags(record), WRITER: f"{owner()}@{int(time.time())}"},
    )
    run_id = run.info.run_id
    _log_values(client, run_id, record)
    _log_source(client, run_id, record)
    for path in (paths.record, paths.video, paths.poster, paths.contact_sheet, paths.source):
        if path.is_file():
            client.log_artifact(run_id, str(path))
    if paths.stages.is_dir():
        client.log_artifacts(run_id, str(paths.stages), paths.stages.name)
    if record.error:
        client.log_text(run_id, record.error["traceback"], "error.txt")
    for step, image in frames.items():
        client.log_image(run_id, image, key="frame", step=step, timestamp=began)
    if paths.contact_sheet.is_file():
        sheet = read_image(paths.contact_sheet)
        client.log_image(run_id, sheet, key="contact_sheet", step=0, timestamp=began)
    client.set_terminated(
        run_id,
        status="FAILED" if record.state == "failed" else "FINISHED",
        end_time=rows.milliseconds(record.finished or record.started),
    )
    client.set_tag(run_id, STAMP, stamp)
    return views.Facts(rows.run_params(record), {point.key for point in rows.run_points(record)})


def _read(paths: TrialPaths) -> tuple[TrialRecord, dict[int, np.ndarray]]:
    """The record, and by number the frames of the video that the image grid shows."""
    record = read_record(paths.record)
    if not paths.video.is_file():
        return record, {}
    try:
        return record, read_spread(paths.video, GRID_FRAMES, GRID_WIDTH)
    except (OSError, ValueError) as error:
        raise RecordError(str(error)) from None


def _log_values(client: MlflowClient, run_id: str, record: TrialRecord) -> None:
    from mlflow.entities import Metric, Param

    for params, points in rows.batches(record):
        client.log_batch(
            run_id,
            params=[Param(key, value) for key, value in params],
            metrics=[Metric(p.key, p.value, p.time, p.step) for p in points],
        )


def _log_source(client: MlflowClient, run_id: str, record: TrialRecord) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.exceptions import MlflowException

    source = rows.run_source(record)
    if source:
        tags = [InputTag("mlflow.data.context", "source image")]
        inputs = [DatasetInput(Dataset(**source), tags)]
        try:
            client.log_inputs(run_id, inputs)
        except MlflowException:  # another worker told of the same image between look and write
            client.log_inputs(run_id, inputs)


def _summarise(client: MlflowClient, experiment: str, study: str, summary: Summary) -> None:
    found = _runs(client, experiment, f"tags.`{KIND}` = 'summary'")
    tags = {KIND: "summary", "wanexp.study": study}
    run = found[0] if found else client.create_run(experiment, tags=tags, run_name="summary")
    run_id = run.info.run_id
    # As log_table does, which would append to the table that is there.
    client.set_tag(run_id, "mlflow.loggedArtifacts", json.dumps([TABLE]))
    client.log_text(run_id, summary.split(), TABLE["path"])
    client.log_text(run_id, summary.text, "summary.md")
    client.set_tag(run_id, "mlflow.note.content", summary.text[: rows.LONGEST_TAG])
    _log_numbers(client, run, summary.numbers)
    for path in summary.files:
        client.log_artifact(run_id, str(path))
    client.set_terminated(run_id)


def _log_numbers(client: MlflowClient, run: Run, numbers: Mapping[str, float]) -> None:
    """Metrics of a run that is there already; those that it has stay."""
    for name, value in numbers.items():
        key = rows.safe_key(name)
        if run.data.metrics.get(key) != value:
            client.log_metric(run.info.run_id, key, value)


def _runs(client: MlflowClient, experiment: str, query: str) -> list[Run]:
    """All runs that match, oldest first."""
    order = ["attributes.start_time ASC"]
    return all_pages(
        lambda token: client.search_runs([experiment], query, order_by=order, page_token=token)
    )


def all_pages(page_after: Callable[[str | None], PagedList[T]]) -> list[T]:
    """All that comes in pages; ``page_after`` is given the token of the one before."""
    page = page_after(None)
    found = list(page)
    while page.token:
        page = page_after(page.token)
        found += page
    return found
