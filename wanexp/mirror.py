"""The mirror as a whole: whether MLflow answers, rebuilding it from disk, opening its pages."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from wanexp.names import lookup
from wanexp.record import StudyPaths, studies_in
from wanexp.track import Tracker, all_pages, connect, in_a_sentence
from wanexp.tracking import (
    Counts,
    Summary,
    Tracking,
    TrackingError,
    experiment_name,
    is_server,
    store_uri,
    ui,
    views,
)


def reachable(tracking: Tracking, studies: Path) -> str | None:
    """None where MLflow answers, else the sentence that says why not. Makes no database."""
    if not tracking.uri and not (studies / "mlflow.db").exists():
        return None
    try:
        with in_a_sentence():
            connect(tracking, studies).search_experiments(max_results=1)
    except TrackingError as error:
        return str(error)
    return None


def sync(
    studies: Path,
    tracking: Tracking,
    names: Sequence[str] = (),
    summarise: Callable[[StudyPaths], Summary | None] | None = None,
) -> dict[str, Counts]:
    """Rebuild MLflow from the records on disk; what is there already stays. Counts by study.

    ``names`` picks studies, all by default; ``summarise`` makes the content of summary runs.

    Raises:
        TrackingError: MLflow does not answer.
        KeyError: There is no such study.
    """
    problem = reachable(tracking, studies)
    if problem:
        raise TrackingError(problem)
    found = studies_in(studies)
    chosen = [lookup("study", found, name) for name in names] or list(found.values())
    counts = {}
    for study in chosen:
        tracker = Tracker(
            tracking=dataclasses.replace(tracking, enabled=True), study=study, patience=None
        )
        counts[study.name] = tracker.catch_up()
        summary = summarise(study) if summarise else None
        if summary is not None and not tracker.summarise(summary):
            counts[study.name].problems.append(f"summary: {tracker.problem}")
    return counts


def _say_at_once(line: str) -> None:
    """Also into a file or a pipe, where words would otherwise wait until the server has ended."""
    print(line, flush=True)


def run_ui(
    tracking: Tracking,
    studies: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 5000,
    say: Callable[[str], None] = _say_at_once,
) -> int:
    """Serve MLflow's pages until Ctrl-C, and say where each study's charts are.

    Where ``tracking.uri`` is a server, it serves them already: only the addresses are said.

    Raises:
        TrackingError: MLflow does not answer or start, or no port is free.
    """
    uri = store_uri(tracking, studies)

    def tell(base: str, *, saved: bool) -> None:
        with in_a_sentence():
            client = connect(tracking, studies)
            found = all_pages(lambda token: client.search_experiments(page_token=token))
        tags = {e.name: {"id": e.experiment_id, **e.tags} for e in found}
        prefix = experiment_name(tracking, "")
        ui.say_pages(base, views.pages(base, tags, prefix, saved=saved), say)

    if is_server(uri):
        # Saved views are known to work in the version that they were made for.
        tell(uri, saved=(ui.server_version(uri) or "").startswith("3.17."))
        return 0
    with in_a_sentence():
        connect(tracking, studies)  # makes a new database before the server could
    base, command = ui.ui_command(tracking, studies, host=host, port=ui.free_port(host, port))
    return ui.serve(command, base, lambda: tell(base, saved=True))
