"""What ``wanexp compare`` prints of a study on disk."""

import contextlib
import io
import json
import subprocess
import sys

import pytest

from tests.analysis.studies import measured, record, write_study
from wanexp.cli import main

PROTOCOL = {"protocol": {"name": "p", "primary": "flicker"}}


@pytest.fixture
def folder(tmp_path):
    """Two arms on five cases; the second flickers half as much and costs twice as much."""
    rows, records = [], []
    for case in range(5):
        for arm, gain, calls in (("one", 1.0, 40), ("two", 0.5, 80)):
            digest = f"{arm}{case}"
            rows.append((arm, f"case{case}", 0, digest))
            values = {
                "flicker": measured(gain * (1 + 0.01 * case)),
                "warp": measured(1.0),
                "motion_top5": measured(20.0, "higher"),
            }
            records.append(record(digest, measurements=values, model_calls=calls))
    paths = write_study(tmp_path, rows, records)
    paths.study.write_text(json.dumps(json.loads(paths.study.read_text()) | PROTOCOL))
    return tmp_path


def verb(folder, *arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(["compare", *arguments, f"studies={folder}"])
    return status, " ".join(out.getvalue().split()), err.getvalue()


def test_a_study_is_compared_again_from_its_records_alone(folder):
    status, out, _ = verb(folder, "tiny")
    assert status == 0
    assert "two is better than one: flicker is 50 % lower" in out
    assert "Worth their model calls, as no other arm is as good for fewer:" in out
    assert "one (40), two (80, 50 % lower)." in out
    assert "By flicker two comes first, in 100 % of redrawn sets of cases" in out


def test_another_metric_is_a_hint_and_says_so(folder):
    _, out, _ = verb(folder, "tiny", "--metric", "warp")
    assert "decided by warp" in out
    assert "the study was to be decided by flicker; what warp says after looking is a hint" in out
    assert "hint" not in verb(folder, "tiny", "--metric", "flicker")[1]


def test_json_is_one_object_on_stdout(folder):
    _, out, _ = verb(folder, "tiny", "--json")
    tree = json.loads(out)
    assert tree["winner"] == "two"
    assert [arm["front_calls"] for arm in tree["front"]] == [True, True]


def test_a_study_that_is_not_there_is_refused_with_the_nearest_name(folder):
    status, _, err = verb(folder, "tinny")
    assert status == 2 and "no study 'tinny'" in err and "did you mean 'tiny'?" in err


def test_a_metric_that_was_not_measured_is_refused_with_the_nearest_name(folder):
    status, _, err = verb(folder, "tiny", "--metric", "flickr")
    assert status == 2 and "--metric: flickr was not measured" in err and "'flicker'" in err


def test_comparing_loads_no_model_and_no_optimiser(folder):
    code = (
        "import sys; from wanexp.cli import main;"
        f"main(['compare', 'tiny', 'studies={folder}', '--json']);"
        "print(*sorted({'torch', 'optuna', 'diffusers', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""
