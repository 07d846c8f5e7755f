"""Where the mirror goes, what a run holds, how its pages open: all without MLflow."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import socket
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import pytest

from wanexp import tracking
from wanexp.record import TrialRecord, read_record
from wanexp.strict import ConfigError
from wanexp.tracking import (
    Tracking,
    TrackingError,
    artifact_root,
    experiment_name,
    probe,
    rows,
    store_uri,
    tracking_from,
    ui,
    views,
)
from wanexp.tracking.views import Facts

FIXTURE = Path(__file__).parent / "records" / "v1.json"


@pytest.fixture
def record() -> TrialRecord:
    return read_record(FIXTURE)


def test_the_default_store_lies_beside_the_studies():
    tracking, studies = Tracking(), Path("/data/my studies")
    assert store_uri(tracking, studies) == "sqlite:////data/my studies/mlflow.db"
    assert artifact_root(tracking, studies) == "file:///data/my%20studies/mlartifacts"
    assert experiment_name(tracking, "ab") == "wanexp/ab"


def test_a_server_keeps_its_own_files():
    tracking = Tracking(uri="http://host:5000", experiment="me")
    assert store_uri(tracking, Path("/data")) == "http://host:5000"
    assert artifact_root(tracking, Path("/data")) is None
    assert experiment_name(tracking, "ab") == "me/ab"


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"uri": "host:5000"}, r"tracking\.uri: expected http://HOST:PORT or sqlite:///FILE"),
        ({"experiment": " / "}, r"tracking\.experiment: expected a name"),
        ({"url": "http://host"}, "unknown key 'url'; did you mean 'uri'"),
        ({"enabled": "yes"}, r"tracking\.enabled: expected true or false"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_their_path(tree, message):
    with pytest.raises(ConfigError, match=message):
        tracking_from({"tracking": tree})
    assert tracking_from({}) == Tracking()


def test_a_dead_address_is_known_at_once():
    began = time.monotonic()
    with pytest.raises(TrackingError, match=r"no MLflow server answers at http://127\.0\.0\.1:9"):
        probe("http://127.0.0.1:9")
    assert time.monotonic() - began < 1


def test_a_server_that_hangs_is_known_by_its_silence(monkeypatch):
    monkeypatch.setattr(tracking, "PROBE", 0.3)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(16)  # it takes connections and never says a word
        for scheme in ("http", "https"):
            began = time.monotonic()
            with pytest.raises(TrackingError, match=r"no MLflow server answers .*timed out"):
                probe(f"{scheme}://127.0.0.1:{deaf.getsockname()[1]}")
            assert time.monotonic() - began < 2


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_says_anything_is_there(scheme):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            line, _ = server.accept()
            line.recv(100)
            line.sendall(b"HTTP/1.0 403 no\r\n\r\n")
            line.close()

        thread = threading.Thread(target=answer)
        thread.start()
        probe(f"{scheme}://127.0.0.1:{server.getsockname()[1]}")
        thread.join()


def test_a_server_behind_a_proxy_is_left_to_the_proxy(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "other")
    probe("http://mlflow.example:5000")


def test_stage_settings_are_numbers_under_the_stages_name(record):
    params = rows.run_params(record)
    assert params["refine.denoise"] == "0.5"
    assert params["refine.sigma_start"] == "0.667"
    assert params["refine.steps"] == "2"
    assert params["establish.expert"] == "high → low"
    assert params["stages"] == "establish → refine"
    assert params["steps"] == "6"
    assert params["seed"] == "7"
    assert params["width"] == "128"
    assert params["negative_prompt"] == "模糊"
    assert "establish.denoise" not in params  # None is no setting
    for key, value in params.items():
        if key.rpartition(".")[2] in ("cfg", "shift", "steps", "denoise", "sigma_start", "width"):
            assert math.isfinite(float(value))


def test_numbers_of_the_video_its_frames_its_stages_and_its_costs_are_points(record):
    points = rows.run_points(record)
    latest = {p.key: p.value for p in points}
    assert latest["flicker"] == 0.8125
    assert latest["stage/establish/flicker"] == 1.25
    assert latest["stage/refine/model_calls"] == 4
    assert latest["seconds"] == sum(record.timings.values())  # not the wall, where trials overlap
    assert latest["seconds/sample"] == 6.75
    assert latest["model_calls"] == 12
    assert latest["peak_mb/rss"] == 1500
    assert "face_detail" not in latest  # undefined is not 0
    assert "peak_mb/cuda" not in latest
    assert [(p.step, p.value) for p in points if p.key == "frame/flicker"] == [
        (1, 0.75),
        (2, 0.875),
        (3, 0.8125),
    ]
    began = rows.milliseconds("2026-01-31T12:00:00.000Z")
    memory = [p for p in points if p.key == "system/process_memory_megabytes"]
    assert [(p.step, p.time - began) for p in memory] == [(0, 0), (1, 1000), (2, 2000)]
    assert [p.value for p in memory] == [900, 1400, 1500]


def test_phases_and_slowing_are_points_and_troubles_are_tags(record):
    """A changed trial says what it is, in its name, its tags and its parameters."""
    change = {"step": "fewer_frames", "phase": "decode", "error": "out of memory"}
    changed = dataclasses.replace(
        record,
        state="changed",
        changes=[{**change, "was": {"frames": 17}, "now": {"frames": 13}}],
        phases={
            "encode": {"seconds": 1.0, "rss": 2_000_000, "cuda": None},
            "handover": {"seconds": 0.25, "rss": 2_000_000, "cuda": None},
            "stage/refine": {"seconds": 4.0, "rss": 2_000_000, "cuda": 7_000_000},
        },
        throttled={"thermal": 0.25, "power_cap": 1.0},
        system={**record.system, "gpu_power": [None, 650.5, 700.0]},
        timings={**record.timings, "wait": 100.0},
    )
    latest = {p.key: p.value for p in rows.run_points(changed)}
    assert (latest["peak_mb/encode"], latest["stage/refine/peak_mb"]) == (2, 7)
    assert (latest["seconds/handover"], latest["throttled/thermal"]) == (0.25, 0.25)
    assert latest["system/gpu_power_usage_watts"] == 700
    assert (latest["seconds"], latest["seconds/wait"]) == (sum(record.timings.values()), 100)
    tags = rows.run_tags(changed)
    assert tags["wanexp.changed"] == "frames 13 (asked: 17), out of memory in decode"
    assert tags["wanexp.throttled"] == "the GPU was slowed down (thermal in 25% of the samples)"
    assert tags["wanexp.changed"] in tags["mlflow.note.content"]
    assert (tags["wanexp.state"], rows.run_params(changed)["frames"]) == ("changed", "13")
    assert rows.run_name(changed) == f"{rows.run_name(record)} (changed)"
    assert "wanexp.changed" not in rows.run_tags(record)


@pytest.mark.parametrize(
    ("arm", "stages", "short"),
    [
        ("establish.cfg=2,refine.steps=12", ("establish", "refine"), "est.cfg=2,ref.steps=12"),
        ("high.cfg=2", ("high", "low"), "high.cfg=2"),
        ("refine_a.cfg=2", ("refine_a", "refine_b"), "refine_a.cfg=2"),
        ("refine.sampler=dpmpp_2m", ("refine",), "ref.sampler=dpmpp_2m"),
        ("three_stage", ("establish", "refine", "polish"), "three_stage"),
        ("steps=12", ("establish",), "steps=12"),
    ],
)
def test_an_arms_name_is_short_in_lists_and_whole_in_a_tag(record, arm, stages, short):
    plan = {**record.plan, "stages": {name: {"steps": 1} for name in stages}}
    changed = dataclasses.replace(record, arm=arm, plan=plan)
    assert rows.run_name(changed) == f"{short} · astronaut · 7"
    assert rows.run_params(changed)["arm"] == short
    assert rows.run_tags(changed)["wanexp.arm"] == arm


def test_tags_find_a_run_and_say_why_something_is_undefined(record):
    tags = rows.run_tags(record)
    assert tags["wanexp.digest"] == record.digest
    assert (tags["wanexp.study"], tags["wanexp.arm"]) == ("guide_ab", "A")
    assert (tags["wanexp.case"], tags["wanexp.seed"]) == ("astronaut", "7")
    assert tags["wanexp.undefined"] == "face_detail: no face found in the source"
    assert "refine: a warning" in tags["mlflow.note.content"]
    assert tags["mlflow.source.git.commit"].startswith("0af8ff1c")
    assert "wanexp.error" not in tags
    assert rows.run_name(record) == "A · astronaut · 7"


def test_a_failed_record_says_its_error(record):
    error = {"type": "OutOfMemoryError", "message": "no room", "traceback": "…"}
    failed = dataclasses.replace(record, state="failed", error=error, measurements={})
    assert rows.run_tags(failed)["wanexp.error"] == "OutOfMemoryError: no room"
    assert rows.run_tags(failed)["wanexp.state"] == "failed"


def test_a_record_that_failed_before_anything_was_known_is_mirrored_too():
    bare = TrialRecord(
        digest="ab",
        study="s",
        arm="x",
        trial={},
        plan={},
        started="2026-01-31T12:00:00.000Z",
        state="failed",
        error={"type": "E", "message": "m", "traceback": "t"},
    )
    assert rows.run_tags(bare)["wanexp.error"] == "E: m"
    assert [p.key for p in rows.run_points(bare)] == ["model_calls", "model_calls_executed"]
    assert rows.run_source(bare) is None
    assert list(rows.batches(bare))


def test_batches_hold_all_and_no_more_than_mlflow_takes(record):
    long = dataclasses.replace(
        record,
        series={f"m{i}": [float(j) for j in range(81)] for i in range(25)},
        plan={"stages": {f"stage{i}": record.plan["stages"]["refine"] for i in range(12)}},  # type: ignore[index]
    )
    for whole in (long, dataclasses.replace(long, series={})):
        portions = list(rows.batches(whole))
        assert len(portions) >= 2
        assert all(len(params) <= 100 for params, _ in portions)
        assert all(len(params) + len(points) <= 1000 for params, points in portions)
        assert dict(pair for params, _ in portions for pair in params) == rows.run_params(whole)
        assert [point for _, points in portions for point in points] == rows.run_points(whole)


def test_long_and_strange_texts_fit(record):
    case = {"name": "c", "prompt": "x" * 10_000}
    series = {"detail:Käse, 2€": [1.0]}
    strange = dataclasses.replace(record, trial={"case": case}, series=series)
    assert len(rows.run_params(strange)["prompt"]) == rows.LONGEST_PARAM
    assert "frame/detail:Käse_ 2_" in {p.key for p in rows.run_points(strange)}


def test_the_source_image_is_a_dataset(record):
    source = rows.run_source(record)
    assert source is not None
    assert source["name"] == "astronaut"
    assert len(source["digest"]) <= 36
    assert json.loads(source["source"]) == {"uri": "skimage:astronaut.png"}


RUNS = [
    Facts(
        {"arm": "baseline", "refine.denoise": "0.45", "cfg": "6"}, ["flicker", "motion", "seconds"]
    ),
    Facts({"arm": "A", "refine.denoise": "0.5", "cfg": "6"}, ["flicker", "motion", "face_detail"]),
]


def unpacked(tag: str) -> dict[str, object]:
    state = json.loads(tag)["state"]
    return json.loads(zlib.decompress(base64.b64decode(state.removeprefix("deflate;"))))


def test_the_parallel_axes_are_what_differs_and_what_every_run_has():
    state = views.saved_views(RUNS, 8)["videos"]
    cards = {card["type"]: card for card in state["compareRunCharts"]}  # type: ignore[attr-defined]
    assert cards["PARALLEL"]["selectedParams"] == ["refine.denoise"]
    assert cards["PARALLEL"]["selectedMetrics"] == ["model_calls", "seconds", "motion", "flicker"]
    sections = {section["uuid"] for section in state["compareRunSections"]}  # type: ignore[attr-defined]
    assert {card["metricSectionId"] for card in cards.values()} <= sections


def test_what_follows_from_other_settings_is_no_axis():
    runs = [
        Facts({"refine.cfg": cfg, "refine.model_calls": calls, "refine.expert": expert}, [])
        for cfg, calls, expert in (("1", "25", "low"), ("2", "50", "high → low"))
    ]
    assert views.varied(runs) == ["refine.cfg"]
    sums = [Facts({"steps": str(18 + n), "refine.steps": str(n)}, []) for n in (3, 4)]
    assert views.varied(sums) == ["refine.steps"]
    assert views.varied([Facts({"steps": n}, []) for n in ("18", "25")]) == ["steps"]


def test_arms_have_a_view_of_their_own_where_there_are_several():
    assert set(views.saved_views(RUNS, 8)) == {"videos", "arms"}
    assert set(views.saved_views(RUNS[:1], 8)) == {"videos"}
    grouped = views.saved_views(RUNS, 8)["arms"]["groupBy"]
    assert grouped == {
        "aggregateFunction": "average",
        "groupByKeys": [{"mode": "param", "groupByData": "arm"}],
    }


def test_a_view_is_written_once_renewed_when_it_changes_and_left_to_the_user():
    state = views.saved_views(RUNS, 8)["videos"]
    tag = views.view_tag("videos", state, None)
    assert tag is not None
    assert unpacked(tag) == json.loads(json.dumps(state))
    assert len(tag) < 5000
    assert views.view_tag("videos", state, tag) is None
    changed = views.saved_views(RUNS, 4)["videos"]
    assert views.view_tag("videos", changed, tag) is not None
    users = json.dumps({"name": "mine", "state": "deflate;…"})
    assert views.view_tag("videos", changed, users) is None


def test_every_study_has_a_page_that_opens_the_charts():
    experiments = {
        "wanexp/ab": {"id": "3", f"{views.TAG}arms": "…", f"{views.TAG}videos": "…"},
        "wanexp/one": {"id": "4", f"{views.TAG}videos": "…"},
        "Default": {"id": "0"},
    }
    pages = views.pages("http://h:1/", experiments, "wanexp/", saved=True)
    start = "http://h:1/#/experiments/"
    query = "/runs?workflowType=machine_learning&compareRunsMode=CHART"
    assert pages == {
        "ab": f"{start}3{query}&viewStateShareKey=arms",
        "one": f"{start}4{query}&viewStateShareKey=videos",
    }
    plain = views.pages("http://h:1", experiments, "wanexp/", saved=False)
    assert plain["ab"] == f"{start}3{query}"


def test_a_taken_port_gives_the_next_free_one():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert port < ui.free_port("127.0.0.1", port) < port + ui.PORTS


def test_a_host_of_another_machine_is_refused():
    with pytest.raises(TrackingError, match=r"ports 5000 to 5019 of 192\.0\.2\.1 cannot be used"):
        ui.free_port("192.0.2.1", 5000)


def test_the_command_serves_our_store_and_the_address_can_be_visited():
    base, command = ui.ui_command(Tracking(), Path("/data"), host="0.0.0.0", port=5005)
    assert base == "http://127.0.0.1:5005"
    assert command[:4] == [sys.executable, "-m", "mlflow", "server"]
    assert command[command.index("--backend-store-uri") + 1] == "sqlite:////data/mlflow.db"
    assert command[command.index("--host") + 1] == "0.0.0.0"
    assert ui.ui_command(Tracking(), Path("/"), host="::1", port=1)[0] == "http://[::1]:1"


def test_a_server_that_ends_before_it_answers_says_its_last_word():
    command = [sys.executable, "-c", "import sys; print('first'); sys.exit('the disk is on fire')"]
    with pytest.raises(TrackingError, match="did not start: the disk is on fire"):
        ui.serve(command, "http://127.0.0.1:9", lambda: None)


SERVER = """
import http.server, subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Healthy).serve_forever()
"""

DRIVER = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let background jobs ignore it
from wanexp.tracking import ui
command = [sys.executable, "-c", sys.argv[2], sys.argv[1]]
code = ui.serve(command, "http://127.0.0.1:" + sys.argv[1], lambda: print("ready", flush=True))
print("ended", code, flush=True)
"""


@pytest.mark.parametrize("word", ["INT", "TERM", "HUP"])
def test_ctrl_c_and_its_like_end_the_server_and_its_workers(word):
    port = str(ui.free_port("127.0.0.1", 5700))
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, port, SERVER], stdout=subprocess.PIPE, text=True
    )
    assert driver.stdout is not None
    assert driver.stdout.readline() == "ready\n"
    groups = subprocess.run(
        ["ps", "-o", "pgid=", "--ppid", str(driver.pid)], capture_output=True, text=True, check=True
    )
    (group,) = groups.stdout.split()
    subprocess.run(["kill", f"-{word}", str(driver.pid)], check=True)
    assert driver.stdout.readline() == "ended 0\n"
    driver.wait()
    driver.stdout.close()
    left = subprocess.run(["pgrep", "-g", group], capture_output=True, text=True, check=False)
    alive = subprocess.run(
        ["ps", "-o", "stat=", "-p", ",".join(left.stdout.split()) or "0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert all(state.startswith("Z") for state in alive.stdout.split())
