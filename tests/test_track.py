"""MLflow mirrors the disk: whole, once, and again after it was lost."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from skimage import data

from tests.small_study import ARMS, make_record, warped, write_failed, write_one, write_small
from wanexp.mirror import reachable, run_ui, sync
from wanexp.owner import owner
from wanexp.record import StudyPaths, TrialPaths, read_record
from wanexp.track import PATIENCE, PAUSE, prepare
from wanexp.tracking import Summary, Tracking, TrackingError, ui, views


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One place for all tests: MLflow takes a second to look through a database at a new one."""
    return tmp_path_factory.mktemp("home") / "studies"


@pytest.fixture
def study(home: Path, tables: Path) -> StudyPaths:
    """A study without trials beside an empty database."""
    study = StudyPaths(home / "guide_ab")
    for former in home.glob("*"):
        if former.is_dir():
            shutil.rmtree(former)
    study.trials.mkdir(parents=True)
    with sqlite3.connect(tables) as empty, sqlite3.connect(home / "mlflow.db") as live:
        empty.backup(live)
    return study


def client_of(study: StudyPaths, uri: str | None = None) -> MlflowClient:
    return MlflowClient(tracking_uri=uri or f"sqlite:///{study.root.parent / 'mlflow.db'}")


def runs_of(client: MlflowClient, study: StudyPaths, kind: str = "trial") -> list[Run]:
    experiment = client.get_experiment_by_name(f"wanexp/{study.name}")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], f"tags.`wanexp.kind` = '{kind}'"))


def files_of(client: MlflowClient, run: Run, folder: str | None = None) -> set[str]:
    return {file.path for file in client.list_artifacts(run.info.run_id, folder)}


def check_mirror(client: MlflowClient, run: Run, paths: TrialPaths) -> None:
    """All that a completed trial's run must hold."""
    record = read_record(paths.record)
    assert run.info.status == "FINISHED"
    assert run.info.start_time == 1769860800000
    assert run.info.end_time == run.info.start_time + 9250
    assert "mlflow.parentRunId" not in run.data.tags
    assert run.data.tags["wanexp.arm"] == record.arm
    params = run.data.params
    assert float(params["refine.denoise"]) == ARMS[record.arm]
    assert float(params["refine.sigma_start"]) < 1
    assert (params["refine.steps"], params["seed"]) == ("3", "7")
    assert run.data.metrics["flicker"] == record.measurements["flicker"]["value"]
    history = client.get_metric_history(run.info.run_id, "frame/flicker")
    assert [m.step for m in history] == list(range(1, len(record.series["flicker"])))
    assert [m.value for m in history] == record.series["flicker"][1:]
    cpu = client.get_metric_history(run.info.run_id, "system/process_cpu_percentage")
    assert [m.timestamp - run.info.start_time for m in cpu] == [0, 1000, 2000, 3000]
    assert run.data.metrics["stage/establish/model_calls"] == 8
    assert run.inputs is not None
    (source,) = run.inputs.dataset_inputs
    assert source.dataset.name == params["case"]
    files = files_of(client, run)
    assert files >= {"video.mp4", "poster.png", "contact_sheet.png", "source.png", "record.json"}
    assert files_of(client, run, "stages") == {"stages/establish.mp4", "stages/establish.png"}
    steps = {file.split("+")[2] for file in files_of(client, run, "images") if "frame+" in file}
    last = len(record.series["flicker"]) - 1
    assert steps == {"0", str(last // 2), str(last)}
    assert len(files_of(client, run, "images")) == 8  # three frames, one sheet, two sizes each


def test_a_study_is_mirrored_whole_flat_and_once(study):
    for arm in ("baseline", "A"):
        write_small(study, arm)
    write_failed(study)
    counts = sync(study.root.parent, Tracking())["guide_ab"]
    assert (counts.made, counts.replaced, counts.unchanged, counts.problems) == (3, 0, 0, [])
    client = client_of(study)
    runs = {run.data.tags["wanexp.digest"]: run for run in runs_of(client, study)}
    assert len(runs) == 3
    for paths in study.found():
        if paths.digest != "f" * 16:
            check_mirror(client, runs[paths.digest], paths)
    again = sync(study.root.parent, Tracking())["guide_ab"]
    assert (again.made, again.replaced, again.unchanged, again.problems) == (0, 0, 3, [])
    assert {run.info.run_id for run in runs_of(client, study)} == {
        run.info.run_id for run in runs.values()
    }


def test_a_failed_trial_is_a_failed_run_with_its_error(study):
    write_failed(study)
    sync(study.root.parent, Tracking())
    client = client_of(study)
    (run,) = runs_of(client, study)
    assert run.info.status == "FAILED"
    assert run.data.tags["wanexp.error"] == "OutOfMemoryError: CUDA out of memory"
    assert files_of(client, run) == {"record.json", "error.txt"}
    assert "flicker" not in run.data.metrics


def test_the_mp4_in_mlflow_is_the_one_on_disk(study, tmp_path):
    paths = write_small(study)
    sync(study.root.parent, Tracking())
    client = client_of(study)
    (run,) = runs_of(client, study)
    copy = client.download_artifacts(run.info.run_id, "video.mp4", str(tmp_path))
    assert Path(copy).read_bytes() == paths.video.read_bytes()
    assert (study.root.parent / "mlartifacts" / "guide_ab" / run.info.run_id).is_dir()


def test_an_undefined_measurement_is_no_number_and_says_why(study):
    frames = warped(data.coffee(), 0.4, 3)
    record = make_record(study.name, "baseline", "coffee", frames)
    write_one(study.trial(record.digest), record, frames)
    sync(study.root.parent, Tracking())
    (run,) = runs_of(client_of(study), study)
    assert "face_detail" not in run.data.metrics
    assert run.data.tags["wanexp.undefined"] == "face_detail: no face found in the source"


def test_a_run_that_was_cut_off_is_made_again(study, monkeypatch):
    paths = write_small(study)
    tracker = prepare(Tracking(), study)

    def cut_off(*_: object, **__: object) -> None:
        raise MlflowException("the server went away")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_image", cut_off)
        assert not tracker.mirror(paths)
    client = client_of(study)
    (half,) = runs_of(client, study)
    assert half.info.status == "RUNNING"
    assert tracker.problem == "MLflow failed: the server went away"
    counts = sync(study.root.parent, Tracking())["guide_ab"]
    assert (counts.made, counts.replaced) == (0, 1)
    (whole,) = runs_of(client, study)
    assert whole.info.run_id != half.info.run_id
    check_mirror(client, whole, paths)


def test_a_run_that_another_living_process_fills_is_left_to_it(study, monkeypatch):
    paths = write_small(study)
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with monkeypatch.context() as patch:
        patch.setattr("wanexp.track.owner", lambda: owner(other.pid))
        patch.setattr(MlflowClient, "log_image", lambda *_, **__: print(1 / 0))
        prepare(Tracking(), study).mirror(paths)
    client = client_of(study)
    (begun,) = runs_of(client, study)
    assert sync(study.root.parent, Tracking())["guide_ab"].unchanged == 1
    assert [run.info.run_id for run in runs_of(client, study)] == [begun.info.run_id]
    other.kill()
    other.communicate()
    assert sync(study.root.parent, Tracking())["guide_ab"].replaced == 1
    assert len(runs_of(client, study)) == 1


def test_a_trial_that_was_run_again_replaces_its_run(study):
    paths = write_failed(study)
    sync(study.root.parent, Tracking())
    frames = warped(data.astronaut(), 0.5, 3)
    record = make_record(study.name, "A", "astronaut", frames)
    write_one(paths, dataclasses.replace(record, digest=paths.digest), frames)
    counts = sync(study.root.parent, Tracking())["guide_ab"]
    assert (counts.replaced, counts.unchanged) == (1, 0)
    (run,) = runs_of(client_of(study), study)
    check_mirror(client_of(study), run, paths)


def test_a_run_that_is_there_twice_loses_its_copy(study):
    paths = write_small(study)
    sync(study.root.parent, Tracking())
    client = client_of(study)
    (run,) = runs_of(client, study)
    client.create_run(run.info.experiment_id, tags=run.data.tags)
    assert sync(study.root.parent, Tracking())["guide_ab"].unchanged == 1
    (kept,) = runs_of(client, study)
    assert kept.info.run_id == run.info.run_id
    assert paths.digest == kept.data.tags["wanexp.digest"]


def test_a_damaged_trial_is_a_problem_and_no_obstacle(study):
    good, damaged, cut = write_small(study), write_small(study, "A"), write_small(study, "C")
    damaged.record.write_text("{")
    cut.video.write_bytes(cut.video.read_bytes()[:1000])
    counts = sync(study.root.parent, Tracking())["guide_ab"]
    assert counts.made == 1
    assert len(counts.problems) == 2
    assert any("record.json: damaged" in problem for problem in counts.problems)
    assert any("not a video that can be read whole" in problem for problem in counts.problems)
    assert not any("MLflow failed" in problem for problem in counts.problems)
    (run,) = runs_of(client_of(study), study)
    assert run.data.tags["wanexp.digest"] == good.digest
    tracker = prepare(Tracking(), study)
    assert not tracker.mirror(damaged)
    assert tracker.problem is None  # MLflow itself is well


def test_the_summary_is_one_run_that_is_refreshed(study, monkeypatch):
    write_small(study)
    report = study.root / "report.html"
    report.write_text("<p>first</p>")
    for flicker, verdict in ((1.5, "nothing yet"), (None, "A is better")):
        summary = Summary(
            table={"arm": ["baseline", "A"], "flicker": [2.0, flicker]},
            text=f"# Verdict\n\n{verdict}\n",
            files=(report,),
        )
        counts = sync(study.root.parent, Tracking(), summarise=lambda _: summary)  # noqa: B023
        assert counts["guide_ab"].problems == []
    client = client_of(study)
    (run,) = runs_of(client, study, "summary")
    assert "A is better" in run.data.tags["mlflow.note.content"]
    assert files_of(client, run) == {"arms.json", "summary.md", "report.html"}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{study.root.parent / 'mlflow.db'}")
    table = client.load_table(run.info.experiment_id, "arms.json", [run.info.run_id])
    assert table["arm"].tolist() == ["baseline", "A"]
    assert table["flicker"].tolist()[0] == 2
    assert table["flicker"].isna().tolist() == [False, True]


def test_what_people_say_becomes_metrics_of_runs_and_summary_once(study):
    paths = write_small(study)
    for share in (0.25, 0.75, 0.75):
        summary = Summary(
            table={}, text="", numbers={"people/overall/A": share},
            scores={paths.digest: {"people/overall": share, "people/votes": 4}},
        )  # fmt: skip
        sync(study.root.parent, Tracking(), summarise=lambda _: summary)  # noqa: B023
    client = client_of(study)
    (run,), (about,) = runs_of(client, study), runs_of(client, study, "summary")
    assert run.data.metrics["people/overall"] == 0.75
    assert about.data.metrics == {"people/overall/A": 0.75}
    assert len(client.get_metric_history(run.info.run_id, "people/votes")) == 1
    experiment = client.get_experiment(run.info.experiment_id)
    assert "people/overall" in str(view_state(experiment.tags[f"{views.TAG}videos"]))


def view_state(tag: str) -> object:
    packed = json.loads(tag)["state"].removeprefix("deflate;")
    return json.loads(zlib.decompress(base64.b64decode(packed)))


def test_the_pages_open_on_saved_views(study):
    for arm in ("baseline", "A"):
        write_small(study, arm)
    sync(study.root.parent, Tracking())
    experiment = client_of(study).get_experiment_by_name("wanexp/guide_ab")
    assert experiment is not None
    assert {f"{views.TAG}videos", f"{views.TAG}arms"} <= set(experiment.tags)


def test_a_tracker_follows_a_sweep_and_knows_what_earlier_ones_mirrored(study):
    first = write_small(study)
    assert prepare(Tracking(), study).mirror(first)
    tracker = prepare(Tracking(), study)
    assert tracker.mirror(write_small(study, "A"))
    assert tracker.summarise(Summary(table={"arm": ["A"]}, text="done"))
    experiment = client_of(study).get_experiment_by_name("wanexp/guide_ab")
    assert experiment is not None
    assert f"{views.TAG}arms" in experiment.tags  # two arms, of two sweeps
    assert len(runs_of(client_of(study), study)) == 2


def test_what_could_not_be_mirrored_comes_with_the_next_success(study, monkeypatch, caplog):
    tracker = prepare(Tracking(), study)

    def down(*_: object, **__: object) -> None:
        raise MlflowException("down")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_run", down)
        assert not tracker.mirror(write_small(study))
        monkeypatch.setattr(tracker, "_resume", 0.0)  # a minute later
        assert not tracker.mirror(write_small(study, "A"))
        assert "by `wanexp sync`" in caplog.text
        assert len(caplog.records) == 1
        assert len(tracker.waiting) == 2
    assert runs_of(client_of(study), study) == []
    assert tracker._resume > time.monotonic() + PAUSE - 30
    monkeypatch.setattr(tracker, "_resume", 0.0)
    assert tracker.summarise(Summary(table={"arm": ["A"]}, text="done"))
    assert tracker.waiting == []
    assert tracker.problem is None
    assert len(runs_of(client_of(study), study)) == 2


def test_a_slow_mirror_takes_a_tenth_of_a_sweeps_time_and_brings_all_in_the_end(study, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    create = MlflowClient.create_run

    def slow(*told, **more):
        clock[0] += 5
        return create(*told, **more)

    monkeypatch.setattr(MlflowClient, "create_run", slow)
    tracker = prepare(Tracking(), study)
    assert tracker.mirror(write_small(study))
    clock[0] += 44  # nine times five is 45
    assert not tracker.mirror(write_small(study, "A"))
    assert (tracker.problem, len(tracker.waiting)) == (None, 1)
    clock[0] += 2
    assert tracker.mirror(write_small(study, "C"))
    assert tracker.waiting == []
    assert len(runs_of(client_of(study), study)) == 3


def test_a_mirror_that_takes_too_long_is_left_and_tried_again_later_and_later(study, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    tracker = prepare(Tracking(), study)
    with monkeypatch.context() as patch:

        def crawl(*told, **more):
            clock[0] += PATIENCE + 1

        patch.setattr(MlflowClient, "log_batch", crawl)
        for pause in (PAUSE, 2 * PAUSE, 4 * PAUSE):
            began = clock[0]
            tracker.mirror(write_small(study))
            assert clock[0] - began < PATIENCE + 2
            assert tracker.problem == "MLflow is slow, it took more than 30 s"
            clock[0] += pause - 1
            before = clock[0]
            tracker.mirror(write_small(study))
            assert clock[0] == before  # not even tried
            clock[0] += 2
    assert tracker.mirror(write_small(study))
    (run,) = runs_of(client_of(study), study)
    check_mirror(client_of(study), run, study.trial(run.data.tags["wanexp.digest"]))


def test_a_server_that_is_not_there_costs_a_sweep_no_time_and_no_error(study, caplog):
    tracking = Tracking(uri="http://127.0.0.1:9")
    paths = write_small(study)
    began = time.monotonic()
    tracker = prepare(tracking, study)
    assert time.monotonic() - began < 1
    assert "no MLflow server answers at http://127.0.0.1:9" in (tracker.problem or "")
    began = time.monotonic()
    assert not any(tracker.mirror(paths) for _ in range(100))
    assert not tracker.summarise(Summary(table={}, text=""))
    assert time.monotonic() - began < 0.1
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert reachable(tracking, study.root.parent) == tracker.problem
    with pytest.raises(TrackingError, match="no MLflow server answers"):
        sync(study.root.parent, tracking)


def test_tracking_that_is_off_touches_nothing(tmp_path):
    study = StudyPaths(tmp_path / "studies" / "ab")
    paths = write_small(study)
    tracker = prepare(Tracking(enabled=False), study)
    assert not tracker.mirror(paths)
    assert tracker.problem is None
    assert {p.name for p in study.root.parent.iterdir()} == {"ab"}


def test_asking_whether_mlflow_answers_makes_no_database(tmp_path):
    assert reachable(Tracking(), tmp_path / "studies") is None
    assert not (tmp_path / "studies").exists()


def test_a_folder_that_moved_is_told_what_to_do(study, tmp_path):
    write_small(study)
    sync(study.root.parent, Tracking())
    shutil.copytree(study.root.parent, tmp_path / "moved")
    counts = sync(tmp_path / "moved", Tracking())["guide_ab"]
    assert "has moved since" in counts.problems[0]
    assert "delete that file" in counts.problems[0]


def test_studies_are_chosen_by_name(study):
    write_small(study)
    (study.root.parent / "other" / "trials").mkdir(parents=True)
    assert set(sync(study.root.parent, Tracking(), ["other"])) == {"other"}
    with pytest.raises(KeyError, match="did you mean 'guide_ab'"):
        sync(study.root.parent, Tracking(), ["guide_abc"])


def test_the_users_own_settings_of_mlflow_stay(study, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "7")
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    assert prepare(Tracking(), study).problem is None
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "7"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_importing_the_mirror_loads_no_mlflow():
    code = "import sys, wanexp.mirror; print('mlflow' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


SYNC = """
import sys
from pathlib import Path
from wanexp.mirror import sync
from wanexp.tracking import Tracking
print(sync(Path(sys.argv[1]), Tracking()))
"""


@pytest.mark.slow
def test_a_lost_database_is_rebuilt_from_disk_without_a_word(study):
    paths = write_small(study)
    write_failed(study)
    for made in (2, 0, 2):
        done = subprocess.run(
            [sys.executable, "-c", SYNC, str(study.root.parent)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert f"made={made}" in done.stdout
        assert done.stderr == ""  # no chatter of MLflow's or Alembic's
        if made == 0:
            (study.root.parent / "mlflow.db").unlink()
            shutil.rmtree(study.root.parent / "mlartifacts")
    client = client_of(study)
    runs = {run.data.tags["wanexp.digest"]: run for run in runs_of(client, study)}
    assert len(runs) == 2
    check_mirror(client, runs[paths.digest], paths)


@pytest.mark.slow
def test_a_mirror_that_is_killed_anywhere_is_made_whole(study):
    """SIGKILL at six moments; then one sync, and every trial has one whole run."""
    trials = [write_small(study, arm) for arm in ARMS]
    code = SYNC.replace("print(sync", "print('ready', flush=True)\nprint(sync")
    for wait in (0.2, 0.5, 0.8, 1.1, 1.4, 2.0):
        child = subprocess.Popen(
            [sys.executable, "-c", "import mlflow\n" + code, str(study.root.parent)],
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(wait)
        child.kill()
        child.communicate()
    assert sync(study.root.parent, Tracking())["guide_ab"].problems == []
    client = client_of(study)
    runs = {run.data.tags["wanexp.digest"]: run for run in runs_of(client, study)}
    assert len(runs_of(client, study)) == len(runs) == len(trials)
    for paths in trials:
        check_mirror(client, runs[paths.digest], paths)


def test_an_image_that_another_worker_told_of_in_between_costs_no_trial(study, monkeypatch):
    """Two that tell of one image at the same moment: one of them meets the other's row."""
    paths = write_small(study, "A")
    tell = MlflowClient.log_inputs
    refusals = [MlflowException("UNIQUE constraint failed: datasets.name, datasets.digest")]

    def late(client, run_id, datasets):
        if refusals:
            raise refusals.pop()
        tell(client, run_id, datasets)

    monkeypatch.setattr(MlflowClient, "log_inputs", late)
    tracker = prepare(Tracking(), study)
    assert tracker.mirror(paths), tracker.problem
    (run,) = runs_of(client_of(study), study)
    check_mirror(client_of(study), run, paths)


@pytest.mark.slow
def test_workers_share_a_database_that_was_prepared(tmp_path):
    """Four processes mirror one trial each at the same time, into what the first one made.

    A place of its own: this process keeps connections to a database that it has used, and a
    file removed under them reads "readonly" until they are dropped.
    """
    study = StudyPaths(tmp_path / "studies" / "guide_ab")
    study.trials.mkdir(parents=True)
    trials = [write_small(study, arm) for arm in ARMS] + [write_failed(study)]
    assert prepare(Tracking(), study).problem is None
    code = (
        "import sys; from pathlib import Path\n"
        "from wanexp.record import StudyPaths; from wanexp.track import prepare\n"
        "from wanexp.tracking import Tracking\n"
        "study = StudyPaths(Path(sys.argv[1])); tracker = prepare(Tracking(), study)\n"
        "assert tracker.mirror(study.trial(sys.argv[2])), tracker.problem"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", code, str(study.root), paths.digest])
        for paths in trials
    ]
    assert [worker.wait() for worker in workers] == [0, 0, 0, 0]
    assert len(runs_of(client_of(study), study)) == 4


@pytest.mark.slow
def test_a_servers_runs_hold_the_same(study, tmp_path, monkeypatch):
    port = ui.free_port("127.0.0.1", 5800)
    home = tmp_path / "server"
    home.mkdir()
    shutil.copy(study.root.parent / "mlflow.db", home / "mlflow.db")
    base = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{home}/mlflow.db"]
    server = subprocess.Popen(
        [*command, "--artifacts-destination", str(home / "files")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 180
        while ui.server_version(base) is None:
            assert time.monotonic() < deadline
            time.sleep(0.5)
        tracking = Tracking(uri=base)
        paths = write_small(study)
        tracker = prepare(tracking, study)
        assert tracker.mirror(paths), tracker.problem
        assert sync(study.root.parent, tracking)["guide_ab"].unchanged == 1
        client = client_of(study, base)
        (run,) = runs_of(client, study)
        check_mirror(client, run, paths)
        said: list[str] = []
        assert run_ui(tracking, study.root.parent, say=said.append) == 0
        assert said[0] == f"MLflow: {base}"
        assert said[1].endswith("compareRunsMode=CHART&viewStateShareKey=videos")
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    monkeypatch.setattr(tracker, "_rested", 0.0)  # however slow this machine is
    began = time.monotonic()
    assert not tracker.mirror(write_small(study, "A"))
    assert time.monotonic() - began < 5
    assert "no MLflow server answers" in (tracker.problem or "")


@pytest.mark.slow
def test_a_server_that_hangs_is_given_up_in_a_bounded_time(study, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(16)
        tracking = Tracking(uri=f"http://127.0.0.1:{deaf.getsockname()[1]}")
        began = time.monotonic()
        tracker = prepare(tracking, study)
        assert time.monotonic() - began < 15
        assert tracker.problem is not None
        assert "\n" not in tracker.problem
        began = time.monotonic()
        assert not tracker.mirror(write_small(study))
        assert time.monotonic() - began < 1
