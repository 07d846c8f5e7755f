"""A trial is written whole or not at all: with full disks, kills and failures of every kind."""

from __future__ import annotations

import dataclasses
import itertools
import multiprocessing
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from skimage import data

from wanexp import recording as recording_module
from wanexp.config import trial_from
from wanexp.owner import owner
from wanexp.plan import make_plan
from wanexp.record import StudyPaths, TrialPaths, TrialRecord, read_record, read_study
from wanexp.recording import error_tree, recording, sweep_partials, trial_tree, write_trial
from wanexp.video import read_video, write_image, write_video

DIGEST = "0123456789abcdef"
FRAMES = np.stack([data.astronaut()[i : i + 128, 100 : 100 + 160] for i in range(9)])


def running(digest: str = DIGEST) -> TrialRecord:
    return TrialRecord(
        digest=digest, study="ab", arm="baseline", trial={"seed": 3}, plan={}, started="now"
    )


def completed(**fields: object) -> TrialRecord:
    return dataclasses.replace(running(), state="completed", **fields)  # type: ignore[arg-type]


def failed(message: str = "boom") -> TrialRecord:
    error = {"type": "ValueError", "message": message, "traceback": "…"}
    return dataclasses.replace(running(), state="failed", error=error)


def media(paths: TrialPaths) -> None:
    write_video(paths.video, FRAMES, 16)
    write_image(paths.poster, FRAMES[4])
    paths.stages.mkdir()
    write_image(paths.stage_poster("refine"), FRAMES[0])


@pytest.fixture
def paths(tmp_path: Path) -> TrialPaths:
    return StudyPaths(tmp_path / "ab").trial(DIGEST)


def left_over(paths: TrialPaths) -> list[str]:
    return [p.name for p in paths.root.parent.iterdir() if p.name.startswith(".")]


def test_a_trial_is_written_with_its_media_and_their_sums(paths):
    written = write_trial(paths, completed(timings={"sample": 2.5}), media)
    assert read_record(paths.record) == written
    assert list(written.media) == ["poster.png", "stages/refine.png", "video.mp4"]
    assert written.media["video.mp4"]["bytes"] == paths.video.stat().st_size
    assert len(str(written.media["video.mp4"]["sha256"])) == 64
    assert written.timings["sample"] == 2.5
    assert written.timings["write"] > 0
    assert read_video(paths.video).frames.shape == FRAMES.shape
    assert left_over(paths) == []


def test_an_unfinished_or_foreign_record_is_refused(paths):
    with pytest.raises(ValueError, match="only a record that has ended is written"):
        write_trial(paths, running())
    with pytest.raises(ValueError, match="does not belong into the folder"):
        write_trial(paths.study.trial("ffff"), completed())
    assert not paths.root.parent.exists()


def test_a_failed_trial_is_replaced_and_leaves_nothing_behind(paths):
    def more(partial: TrialPaths) -> None:
        media(partial)
        write_image(partial.stage_poster("polish"), FRAMES[0])

    write_trial(paths, failed(), more)
    written = write_trial(paths, completed(), media)
    assert read_record(paths.record) == written
    files = {str(p.relative_to(paths.root)) for p in paths.root.rglob("*") if p.is_file()}
    assert files == {*written.media, "record.json"}
    assert left_over(paths) == []


def test_a_failed_trial_that_fails_again_holds_the_newer_error(paths):
    write_trial(paths, failed("first"))
    write_trial(paths, failed("second"))
    error = read_record(paths.record).error
    assert error is not None
    assert error["message"] == "second"


def test_a_damaged_record_is_replaced(paths):
    paths.root.mkdir(parents=True)
    paths.record.write_text("{")
    write_trial(paths, completed(), media)
    assert read_record(paths.record).state == "completed"


def test_of_two_workers_that_finish_one_trial_the_first_wins(paths):
    first = write_trial(paths, completed(model_calls=1), media)
    assert write_trial(paths, completed(model_calls=2)) == first
    assert write_trial(paths, failed()) == first
    assert read_record(paths.record) == first
    assert left_over(paths) == []


def test_a_media_writer_that_fails_leaves_no_trace(paths):
    def breaks(partial: TrialPaths) -> None:
        media(partial)
        raise RuntimeError("no encoder")

    with pytest.raises(RuntimeError, match="no encoder"):
        write_trial(paths, completed(), breaks)
    assert list(paths.root.parent.iterdir()) == []


def test_a_replacement_that_is_cut_off_leaves_the_old_record(paths, monkeypatch):
    write_trial(paths, failed("first"))
    replace, seen = Path.replace, []

    def cut_off(path: Path, target: Path) -> Path:
        seen.append(path.name)
        if path.name == "record.json":
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", cut_off)
    with pytest.raises(KeyboardInterrupt):
        write_trial(paths, completed(), media)
    assert seen == ["poster.png", "refine.png", "video.mp4", "record.json"]
    assert read_record(paths.record).state == "failed"
    monkeypatch.undo()
    assert read_record(paths.record).state == "failed"
    assert write_trial(paths, completed(), media).state == "completed"


def test_files_reach_the_disk_before_the_folder_gets_its_name(paths, monkeypatch):
    events: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def note_fsync(handle: int) -> None:
        events.append(Path(f"/proc/self/fd/{handle}").readlink().name)
        fsync(handle)

    def note_rename(path: Path, target: Path) -> Path:
        events.append("rename")
        return rename(path, target)

    monkeypatch.setattr(recording_module.os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "rename", note_rename)
    write_trial(paths, completed(), media)
    before = events[: events.index("rename")]
    assert {"record.json", "video.mp4", "poster.png", "refine.png", "stages"} <= set(before)
    assert before[-1].startswith(".partial-")
    assert events[-1] == "trials"


def test_a_block_that_ends_well_is_recorded_as_completed(paths):
    with recording(paths, running()) as draft:
        draft.record = dataclasses.replace(draft.record, model_calls=86)
        draft.write_media = media
    record = read_record(paths.record)
    assert (record.state, record.model_calls, record.error) == ("completed", 86, None)
    assert record.finished is not None
    assert record.finished.endswith("Z")
    assert draft.record == record


def test_a_failure_is_recorded_with_its_traceback_and_raised_again(paths):
    with pytest.raises(ZeroDivisionError), recording(paths, running()) as draft:
        draft.record = dataclasses.replace(draft.record, timings={"sample": 1.0})
        draft.write_media = media
        print(1 / 0)
    record = read_record(paths.record)
    assert record.state == "failed"
    assert record.error is not None
    assert record.error["type"] == "ZeroDivisionError"
    assert "print(1 / 0)" in record.error["traceback"]
    assert record.timings["sample"] == 1.0
    assert paths.video.is_file()  # what was made before the failure is kept


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_being_stopped_is_no_failure_of_the_trial(paths, stop):
    with pytest.raises(stop), recording(paths, running()):
        raise stop
    assert not paths.root.exists()


def test_a_record_that_cannot_be_written_becomes_a_failure_that_can(paths):
    with pytest.raises(ValueError, match=r"timings\.sample: nan"), recording(paths, running()) as d:
        d.record = dataclasses.replace(d.record, timings={"sample": float("nan")})
    record = read_record(paths.record)
    assert record.state == "failed"
    assert record.error is not None
    assert "nan cannot be recorded" in record.error["message"]


def test_a_failure_that_cannot_be_recorded_is_still_raised_and_says_so(paths):
    paths.root.parent.parent.mkdir(parents=True)
    paths.root.parent.write_text("a file where the folder should be")
    with pytest.raises(ZeroDivisionError) as caught, recording(paths, running()):
        print(1 / 0)
    assert "could not be recorded either" in caught.value.__notes__[0]


def test_text_that_is_not_unicode_is_recorded(paths):
    message = os.fsdecode(b"no file caf\xe9")
    with pytest.raises(ValueError, match="no file"), recording(paths, running()):
        raise ValueError(message)
    error = read_record(paths.record).error
    assert error is not None
    assert error["message"] == message


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(paths):
    trials = paths.root.parent
    trials.mkdir(parents=True)
    child = subprocess.Popen([sys.executable, "-c", ""])
    dead = owner(child.pid)
    child.wait()
    names = {
        f".partial-{DIGEST}~{owner()}~0000": True,
        f".partial-{DIGEST}~{dead}~0000": False,
        f".partial-{DIGEST}~elsewhere-1-1~0000": True,
        ".partial-strange": False,
        DIGEST: True,
    }
    for name in names:
        (trials / name).mkdir()
        (trials / name / "video.mp4").write_bytes(b"half")
    removed = sweep_partials(paths.study)
    assert {p.name for p in trials.iterdir()} == {name for name, stays in names.items() if stays}
    assert {p.name for p in removed} == {name for name, stays in names.items() if not stays}
    assert sweep_partials(StudyPaths(trials / "none")) == []


def test_what_was_asked_comes_back_from_the_record(tmp_path):
    tree = {
        "model": {"name": "wan_mini"},
        "recipe": {
            "stages": {
                "refine_late": {"steps": 4, "cfg": 3.0},
                "a_polish": {"steps": 4, "denoise": 0.5, "loras": {}},
            }
        },
        "case": {
            "name": "astronaut",
            "image": "skimage:astronaut.png",
            "prompt": "she smiles",
            "negative_prompt": "模糊",
            "regions": {"badge": [300, 380, 380, 440]},
        },
        "seed": 0,
    }
    trial = trial_from(tree)
    paths = StudyPaths(tmp_path).trial(DIGEST)
    record = completed(trial=trial_tree(trial), plan=make_plan(trial.recipe).tree())
    write_trial(paths, record)
    back = read_record(paths.record)
    assert trial_from(back.trial) == trial
    assert "name" not in back.trial["recipe"]["stages"]["a_polish"]  # type: ignore[index]
    assert make_plan(trial_from(back.trial).recipe).tree() == back.plan
    assert len(str(back.trial["image_sha256"])) == 64


def test_an_error_is_plain_text():
    try:
        raise ValueError("one sentence") from KeyError("cause")
    except ValueError as error:
        tree = error_tree(error)
    assert (tree["type"], tree["message"]) == ("ValueError", "one sentence")
    assert "KeyError" in tree["traceback"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB; needs root, as mounting does."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.decode().strip()}")
    yield disk
    # Lazily: PyAV leaves a file open whose very first bytes found no room.
    subprocess.run(["umount", "--lazy", disk], check=True)


def fill(folder: Path, leave: int) -> None:
    """Fill the disk but for ``leave`` bytes."""
    stat = os.statvfs(folder)
    with (folder / "ballast").open("wb") as file:
        file.write(b"x" * (stat.f_bavail * stat.f_frsize - leave))


@pytest.mark.parametrize("leave", range(0, 130_000, 8192))
def test_a_full_disk_leaves_the_old_state_or_the_new(small_disk, leave):
    paths = StudyPaths(small_disk / "ab").trial(DIGEST)
    write_trial(paths, failed("earlier"))
    fill(small_disk, leave)
    try:
        write_trial(paths, completed(), media)
    except OSError:
        assert read_record(paths.record).state == "failed"
    else:
        record = read_record(paths.record)
        assert record.state == "completed"
        for name, facts in record.media.items():
            assert (paths.root / name).stat().st_size == facts["bytes"]
        assert len(read_video(paths.video).frames) == len(FRAMES)
    assert left_over(paths) == []


def test_a_disk_too_full_for_the_video_still_takes_the_failure(small_disk):
    paths = StudyPaths(small_disk / "ab").trial(DIGEST)
    fill(small_disk, 40_000)
    with pytest.raises(OSError, match="No space left"), recording(paths, running()) as draft:
        draft.write_media = media
    record = read_record(paths.record)
    assert record.state == "failed"
    assert record.error is not None
    assert "No space left" in record.error["message"]


def test_a_file_size_limit_leaves_nothing_behind(paths):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_trial(paths, completed(), media)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(paths.root.parent.iterdir()) == []


def write_many(study: StudyPaths, first: int) -> None:
    """Trials without end, each failed at first and then completed."""
    for i in itertools.count(first):
        digest = f"{i:016x}"
        for record in (failed(), completed()):
            write_trial(study.trial(digest), dataclasses.replace(record, digest=digest), media)


@pytest.mark.slow
def test_killed_writers_leave_whole_records_and_nothing_else_after_a_sweep(tmp_path):
    study = StudyPaths(tmp_path / "ab")
    chance = random.Random(0)
    for round_number in range(60):
        child = multiprocessing.get_context("fork").Process(
            target=write_many, args=(study, 1000 * round_number)
        )
        child.start()
        time.sleep(chance.uniform(0.02, 0.4))
        child.kill()
        child.join()
    records, bad = read_study(study)
    assert len(records) > 60
    assert bad == []
    for record in records:
        if record.state == "completed":
            assert list(record.media) == ["poster.png", "stages/refine.png", "video.mp4"]
            for name, facts in record.media.items():
                assert (study.trial(record.digest).root / name).stat().st_size == facts["bytes"]
            assert len(read_video(study.trial(record.digest).video).frames) == len(FRAMES)
    assert {record.state for record in records} == {"completed", "failed"}
    assert sweep_partials(study)  # some were killed in the middle
    assert all(not p.name.startswith(".") for p in study.trials.iterdir())
