"""Writing trials: whole or not at all, failures with the same care.

A trial is written into a sibling folder, flushed to the disk and renamed into place; whoever
reads sees the old state or the new one, whatever is killed or full.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
import shutil
import time
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wanexp.config import case_content, model_tree, weights_of
from wanexp.owner import is_dead, owner
from wanexp.record import (
    RecordError,
    StudyPaths,
    Tree,
    TrialPaths,
    TrialRecord,
    read_record,
    record_text,
    utc_now,
)

if TYPE_CHECKING:
    from wanexp.config import Trial

PARTIAL = ".partial-"

MediaWriter = Callable[[TrialPaths], None]
"""Writes the video and its pictures to the paths that it is given."""


def write_trial(
    paths: TrialPaths, record: TrialRecord, write_media: MediaWriter | None = None
) -> TrialRecord:
    """Write a finished trial's folder, whole or not at all; returns the record that is on disk.

    An earlier failed, changed or damaged record is replaced. A completed one stays, since equal
    digests mean equal results: of two workers that finish the same trial the first wins.

    Raises:
        ValueError: The trial still runs, is not the folder's, or holds what JSON cannot (NaN).
        OSError: The disk is full or the like; nothing has changed.
    """
    if record.state == "running":
        raise ValueError(f"trial {record.digest}: only a record that has ended is written")
    if record.digest != paths.digest:
        raise ValueError(f"trial {record.digest} does not belong into the folder {paths.digest!r}")
    began = time.perf_counter()
    paths.root.parent.mkdir(parents=True, exist_ok=True)
    partial = TrialPaths(_partial(paths))
    try:
        partial.root.mkdir()
        if write_media is not None:
            write_media(partial)
        record = dataclasses.replace(
            record,
            media=_media(partial.root),
            timings={**record.timings, "write": round(time.perf_counter() - began, 6)},
        )
        # Paths may hold bytes that are no text; JSON reads them back as they were.
        partial.record.write_bytes(record_text(record).encode("utf-8", "surrogatepass"))
        _flush(partial.root)
        return record if _publish(partial, paths) else read_record(paths.record)
    finally:
        shutil.rmtree(partial.root, ignore_errors=True)


def is_completed(paths: TrialPaths) -> bool:
    """Whether the trial has a whole record that says so."""
    try:
        return read_record(paths.record).state == "completed"
    except (OSError, RecordError):
        return False


def is_settled(paths: TrialPaths, allowed: Collection[str]) -> bool:
    """Whether the trial needs no run: completed, or changed by steps that are ``allowed``.

    What a narrower policy no longer allows is tried again as it was asked.
    """
    try:
        record = read_record(paths.record)
    except (OSError, RecordError):
        return False
    if record.state == "changed":
        return all(change["step"] in allowed for change in record.changes)
    return record.state == "completed"


@dataclass(kw_only=True)
class Draft:
    """A trial while it runs: its record so far, and what will write its media."""

    record: TrialRecord
    write_media: MediaWriter | None = None


@contextmanager
def recording(paths: TrialPaths, record: TrialRecord) -> Iterator[Draft]:
    """Write the trial when the block ends: completed, or failed and the exception raised again.

    The block fills ``draft.record`` (with ``dataclasses.replace``) and ``draft.write_media``.
    KeyboardInterrupt and SystemExit are no result of a trial: nothing is written then.
    """
    draft = Draft(record=record)
    with failures_recorded(paths, draft):
        yield draft
        write_draft(paths, draft)


@contextmanager
def failures_recorded(paths: TrialPaths, draft: Draft) -> Iterator[None]:
    """Writes an exception of the block as the trial's failure, and raises it again."""
    start = draft.record
    try:
        yield
    except Exception as error:
        _write_failure(paths, start, draft, error)
        raise


def write_draft(paths: TrialPaths, draft: Draft) -> None:
    """Writes a trial that has ended well; ``draft.record`` is then what is on disk."""
    altered = any(change["was"] != change["now"] for change in draft.record.changes)
    state = "changed" if altered else "completed"
    done = dataclasses.replace(draft.record, state=state, error=None, finished=utc_now())
    draft.record = write_trial(paths, done, draft.write_media)


def sweep_partials(study: StudyPaths) -> list[Path]:
    """Remove what killed processes left half written; returns the folders that were removed.

    What a living process writes stays, also one on another machine that shares the disk.
    """
    removed = []
    for folder in study.trials.glob(f"{PARTIAL}*"):
        who = folder.name.split("~")[1:2]
        if not who or is_dead(who[0], last_sign=folder.stat().st_mtime):
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder)
    return removed


def trial_tree(trial: Trial) -> dict[str, object]:
    """What was asked, as plain values that ``trial_from`` takes back, and what they led to.

    ``weights`` and ``image_sha256`` say which bytes the names stood for on the day.
    """
    recipe = trial.recipe
    sizes = ("width", "height", "frames", "fps", "steps", "scheduler", "shift")
    stages = {
        stage.name: {
            **{key: value for key, value in vars(stage).items() if key != "name"},
            "step_cache": stage.step_cache and stage.step_cache.settings(),
        }
        for stage in recipe.stages
    }
    own = {"step_cache": recipe.step_cache.settings(), "stages": stages}
    return {
        "model": model_tree(recipe),
        "recipe": {**{key: getattr(recipe, key) for key in sizes}, **own},
        "case": dict(vars(trial.case)),
        "seed": trial.seed,
        "memory": dict(vars(trial.memory)),
        "weights": weights_of(recipe),
        "image_sha256": case_content(trial.case)["image"],
    }


def error_tree(error: BaseException) -> dict[str, str]:
    """A failure as plain text: its type, message and traceback."""
    return {
        "type": type(error).__name__,
        "message": str(error),
        "traceback": "".join(traceback.format_exception(error)),
    }


def _write_failure(paths: TrialPaths, start: TrialRecord, draft: Draft, error: Exception) -> None:
    """Record ``error`` with all that is known, or else with what was known at the start."""
    end = {"state": "failed", "error": error_tree(error), "finished": utc_now()}
    try:
        try:
            write_trial(paths, dataclasses.replace(draft.record, **end), draft.write_media)
        except Exception:
            write_trial(paths, dataclasses.replace(start, **end))
    except Exception as second:
        error.add_note(f"The failure could not be recorded either: {second}")


def _partial(paths: TrialPaths) -> Path:
    return paths.root.parent / f"{PARTIAL}{paths.digest}~{owner()}~{os.urandom(4).hex()}"


def _media(folder: Path) -> dict[str, Tree]:
    return {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _flush(folder: Path) -> None:
    """Force files and then their folders onto the disk, so that the rename comes after them."""
    for path in sorted(folder.rglob("*"), reverse=True):
        _flush_one(path)
    _flush_one(folder)


def _flush_one(path: Path) -> None:
    if path.is_dir() and os.name != "posix":
        return  # Windows has no handle of a folder to flush
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _publish(partial: TrialPaths, paths: TrialPaths) -> bool:
    """Move the finished folder into place; False where a completed trial is there already."""
    try:
        partial.root.rename(paths.root)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        if is_completed(paths):
            return False
        _replace(partial, paths)
    _flush_one(paths.root.parent)
    return True


def _replace(partial: TrialPaths, paths: TrialPaths) -> None:
    """Replace a folder file by file, the record last: until then the old record stands."""
    fresh = [path for path in sorted(partial.root.rglob("*")) if path.is_file()]
    fresh.sort(key=lambda path: path == partial.record)
    for path in fresh:
        target = paths.root / path.relative_to(partial.root)
        target.parent.mkdir(exist_ok=True)
        path.replace(target)
    kept = {path.relative_to(partial.root) for path in fresh}
    for path in paths.root.rglob("*"):
        if path.is_file() and path.relative_to(paths.root) not in kept:
            path.unlink()
    _flush_one(paths.root)
