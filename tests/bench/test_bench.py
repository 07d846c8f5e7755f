"""The benchmarks: their rows, how they are shown, and that every metric is in one family."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from wanexp.bench.command import BENCHMARKS, as_typed
from wanexp.bench.metrics import FAMILIES, SIZES, filmed, metric_rows
from wanexp.bench.row import Row, Seconds, Settings, Size, seconds, size_from, timed
from wanexp.bench.show import rows_as_json, short, show_rows
from wanexp.bench.trial import trial_rows
from wanexp.bench.vae import psnr, vae_rows
from wanexp.cli import main
from wanexp.metrics import METRICS

SMALL = Size(width=64, height=48, frames=4)
SECOND = Seconds(median=1.0, least=0.9, most=1.2, repeats=3)


def test_a_median_stands_between_the_least_and_the_most():
    assert seconds([3.0, 1.0, 2.0]) == Seconds(median=2.0, least=1.0, most=3.0, repeats=3)


def test_warming_up_is_not_timed_and_what_was_started_is_waited_for():
    ran, waited = [], []
    taken = timed(
        lambda: ran.append(len(ran)), repeats=3, warmups=2, wait=lambda: waited.append(len(ran))
    )
    assert taken.repeats == 3
    assert len(ran) == 5
    assert waited == [2, 3, 3, 4, 4, 5]  # before and after each that is timed


@pytest.mark.parametrize("given", [{"ratio": 1.0}, {"against": "a bare forward"}])
def test_a_ratio_says_what_it_is_to(given):
    with pytest.raises(ValueError, match="belong together"):
        Row(what="loop", seconds=SECOND, **given)


def test_a_size_reads_as_it_is_written():
    size = size_from("480x832x81")
    assert size == Size(width=480, height=832, frames=81)
    assert size_from(str(size)) == size


@pytest.mark.parametrize("text", ["480x832", "ax2x3", "0x2x3", "1x2x3x4", ""])
def test_a_size_that_is_none_is_one_sentence(text, capsys):
    assert main(["bench", "metrics", "--size", text]) == 2
    assert capsys.readouterr().err.startswith("wanexp: --size: expected WIDTHxHEIGHTxFRAMES")


def test_every_metric_is_in_one_family():
    counted = Counter(name for names in FAMILIES.values() for name in names)
    assert counted == dict.fromkeys(METRICS, 1)


@pytest.mark.parametrize("size", [SMALL, *SIZES[:1]], ids=str)
def test_the_video_has_its_size_and_moves(size):
    frames = filmed(size)
    assert frames.shape == (size.frames, size.height, size.width, 3)
    assert frames.dtype == np.uint8
    assert not np.array_equal(frames[0], frames[-1])


def test_the_metrics_are_timed_in_all_and_family_by_family():
    rows = list(metric_rows(Settings(sizes=[SMALL], repeats=1)))
    assert [row.what.strip() for row in rows[-len(FAMILIES) - 1 : -1]] == list(FAMILIES)
    assert (rows[0].what, rows[-1].what) == ("all metrics", "  LPIPS")
    assert all(row.size == "64×48×4" and row.seconds.median > 0 for row in rows)


def test_a_size_that_was_generated_is_compared_with_generating_it(monkeypatch):
    monkeypatch.setattr("wanexp.bench.metrics.CALL", {(64, 48, 4): 0.5})
    row = next(metric_rows(Settings(sizes=[SMALL], repeats=1)))
    assert row.ratio == pytest.approx(row.seconds.median / 40)
    assert "40 steps" in row.against


def test_programs_get_rows_machine_and_command_as_one_object(capsys):
    command = ["bench", "metrics", "--size", "64x48x4", "--repeats", "1"]
    assert main([*command, "--json"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    tree = json.loads(out)
    assert tree["command"] == "wanexp " + " ".join(command)
    assert {"cpu", "cores", "gpu", "packages", "python"} <= set(tree["machine"])
    assert tree["rows"][0]["what"] == "all metrics"
    assert set(tree["rows"][0]["seconds"]) == {"median", "least", "most", "repeats"}


def test_people_get_a_table_what_ratios_are_to_and_the_machine():
    row = Row(
        what="loop",
        size="64×48×4",
        seconds=SECOND,
        against="a call",
        ratio=1.01,
        note="target 1.02",
    )
    console = Console(file=StringIO(), width=100)
    show_rows(console, [row], "wanexp bench loop")
    said = console.file.getvalue()  # type: ignore[attr-defined]
    for words in (
        "0.9 … 1.2",
        "1.01",
        "beside a call; target 1.02",
        "cores of",
        "wanexp bench loop",
    ):
        assert words in said


def test_json_holds_no_nan():
    assert "NaN" not in rows_as_json([Row(what="loop", seconds=SECOND)], "wanexp bench loop")


def test_no_name_lists_the_benchmarks_and_a_wrong_one_gets_the_nearest(capsys):
    assert main(["bench"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in BENCHMARKS)
    assert main(["bench", "metrcs"]) == 2
    assert "did you mean 'metrics'?" in capsys.readouterr().err
    assert main(["bench", "metrics", "--repeats", "0"]) == 2


def test_what_is_printed_as_the_command_runs_the_same():
    settings = Settings(sizes=[SMALL], repeats=2)
    assert as_typed(["metrics"], settings) == "wanexp bench metrics --size 64x48x4 --repeats 2"


@pytest.mark.parametrize(
    ("given", "shown"), [(0.00123456, "0.00123"), (12.345, "12.3"), (1234.5, "1234")]
)
def test_seconds_have_three_digits(given, shown):
    assert short(given) == shown


def test_the_metrics_are_timed_where_hydra_mlflow_and_the_like_are_not_installed():
    code = """
import sys
for name in ("hydra", "omegaconf", "mlflow", "av", "lpips", "ftfy", "torchsde", "diffusers"):
    sys.modules[name] = None
from wanexp.cli import main
sys.exit(main(["bench", "metrics", "--size", "64x48x4", "--repeats", "1"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_trials_and_a_study_are_timed_where_hydra_mlflow_and_the_like_are_not_installed():
    """The numbers of a card's machine come from one that has little beyond torch and diffusers."""
    code = """
import sys
for name in ABSENT:
    sys.modules[name] = None
from wanexp.cli import main
asked = ["--model", "wan_mini", "--size", "32x32x5", "--json"]
sys.exit(main(["bench", "sweep", "trial", *asked]))
"""
    absent = ["av", "ftfy", "hydra", "lpips", "matplotlib", "mlflow", "omegaconf", "optuna"]
    absent += ["pandas", "plotly", "torchsde"]
    done = subprocess.run(
        [sys.executable, "-c", code.replace("ABSENT", repr(absent))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    tree = json.loads(done.stdout)
    assert tree["command"] == "wanexp bench sweep trial --model wan_mini --size 32x32x5"
    theirs, shared, alone, measuring, *trial = tree["rows"]
    assert theirs["ratio"] == 1
    assert shared["note"].startswith("96 model calls; ")
    assert alone["note"].startswith("144 model calls; ")
    assert theirs["note"] == "144 model calls; 1.00 times as fast"
    assert measuring["what"] == "measuring the 5 videos"
    assert [row["what"].strip() for row in trial] == [
        "a video by diffusers' pipeline",
        "a trial's video",
        *("encoding", "sampling", "decoding", "measuring"),  # nor written, without PyAV
        "a whole trial",
    ]


def test_a_whole_trial_is_the_sum_of_its_phases():
    asked = Settings(sizes=[Size(width=32, height=32, frames=5)], model="wan_mini", repeats=1)
    theirs, video, *phases, whole = trial_rows(asked)
    took = {row.what.strip(): row.seconds.median for row in phases}
    assert list(took) == ["encoding", "sampling", "decoding", "measuring", "writing"]
    assert sum(took.values()) == pytest.approx(whole.seconds.median)
    made = took["encoding"] + took["sampling"] + took["decoding"]
    assert made == pytest.approx(video.seconds.median)
    assert video.ratio == pytest.approx(video.seconds.median / theirs.seconds.median)


def test_what_precision_does_to_a_video_is_measured_where_weights_are_real():
    asked = Settings(sizes=[Size(width=32, height=32, frames=5)], model="wan_mini")
    rows = {row.what: row for row in vae_rows(asked)}
    assert list(rows) == [
        "decode, float32",
        "decode, float32, tiled",
        "decode, bfloat16",
        "decode, bfloat16, tiled",
    ]
    assert rows["decode, float32"].ratio == 1
    # One tile holds all of so small a frame.
    assert "inf dB to float32's whole frames" in rows["decode, float32, tiled"].note
    assert "inf dB" not in rows["decode, bfloat16"].note


def test_decibels_are_those_of_a_grey_level_and_equal_videos_have_no_end_of_them():
    video = np.full((2, 3, 4, 3), 100, np.uint8)
    assert psnr(video, video + 1) == pytest.approx(20 * math.log10(255))
    assert psnr(video, video) == math.inf


@pytest.mark.parametrize(
    ("name", "takes"),
    [("call", "no model but its own"), ("sweep", "wan22_i2v_a14b or wan_mini")],
)
def test_a_model_that_a_benchmark_is_not_about_is_refused(name, takes, capsys):
    assert main(["bench", name, "--model", "wan22_ti2v_5b"]) == 2
    said = f"wanexp: --model: {name} takes {takes}, got wan22_ti2v_5b\n"
    assert capsys.readouterr().err == said
