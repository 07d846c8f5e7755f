"""The command line: what goes where, exit codes, and one sentence for what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from wanexp.cli import main, parse
from wanexp.compose import shipped_folder

HEAVY = ("torch", "diffusers", "transformers", "mlflow", "cv2", "av", "lpips", "skimage")


def run(*arguments: str, flags: tuple[str, ...] = (), cwd: object = None):
    return subprocess.run(
        [sys.executable, *flags, "-m", "wanexp.cli", *arguments],
        cwd=cwd,  # type: ignore[call-overload]
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(shipped_folder()), "COLUMNS": "100"},
    )


def imported(stderr: str) -> set[str]:
    """Top-level modules in the report of ``-X importtime``."""
    lines = [line for line in stderr.splitlines() if line.startswith("import time:")]
    return {line.rsplit("|", 1)[1].strip().split(".")[0] for line in lines}


# Output


def test_help_loads_nothing_but_the_parser():
    done = run("--help", flags=("-X", "importtime"))
    assert done.returncode == 0
    for verb in ("demo", "sweep", "plan", "sync", "cache", "ui", "doctor"):
        assert f"\n    {verb} " in done.stdout
    assert not imported(done.stderr) & {*HEAVY, "hydra", "omegaconf", "numpy", "rich", "scipy"}


def test_a_plan_for_programs_is_one_object_on_stdout_and_loads_no_model(tmp_path):
    done = run("plan", "first_look", "--json", "seed=0", flags=("-X", "importtime"), cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.count("\n") == 1
    summary = json.loads(done.stdout)
    assert (summary["trials"], summary["cases"], summary["seeds"]) == (6, 2, 1)
    assert list(summary["arms"]) == ["single", "two_stage", "three_stage"]
    assert "torch" not in imported(done.stderr)
    assert "diffusers" not in imported(done.stderr)
    assert not [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert list(tmp_path.iterdir()) == []  # planning writes nothing


def test_a_plan_for_people_shows_every_arm_and_what_it_costs(capsys):
    assert main(["plan", "first_look", "case=coffee", "seed=0"]) == 0
    out = capsys.readouterr().out
    for word in ("single", "two_stage", "three_stage", "establish", "refine", "polish", "266"):
        assert word in out


def test_a_reader_that_closes_the_pipe_gets_no_traceback():
    script = f'{sys.executable} -m wanexp.cli plan stage_count | head -1; echo "${{PIPESTATUS[0]}}"'
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=shipped_folder(),
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "0"


# Errors


def test_a_wrong_name_is_one_sentence_on_stderr_and_status_2():
    done = run("plan", "dmo", "--json")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("wanexp: no sweep 'dmo'; did you mean 'demo'? (have: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["plan", "first_look", "case=cofee"], "no case 'cofee'; did you mean 'coffee'? (have: "),
        (["plan", "polish", "recipe.stages.polish.cgf=3"], "recipe.stages.polish.cgf: recipe.stag"),
        (["plan", "first_look", "+foo=1"], "the configuration: unknown key 'foo' (known: "),
        (
            ["plan", "first_look", "metrics=[flickr]"],
            "metrics: no metric named 'flickr'; did you mean",
        ),
        (
            ["plan", "first_look", "protocol.primary=x"],
            "protocol.primary: no metric named 'x' (have: ",
        ),
        (
            ["plan", "first_look", "model.name=wan_mni"],
            "arm single: model.name: no model named 'wan_mn",
        ),
        (
            ["plan", "first_look", "recipe.frames=16"],
            "arm single: recipe.frames: wan_mini makes 4n + 1",
        ),
        (
            ["plan", "first_look", "recipe.width=100"],
            "arm single: recipe.width: wan_mini needs a multi",
        ),
        (
            ["plan", "first_look", "case.image=no.png"],
            "arm single: case.astronaut.image: no file 'no.pn",
        ),
        (["plan", "first_look", "seed=x"], "seed: expected whole numbers, got x"),
        (
            ["plan", "first_look", "memory.device=gpu"],
            "arm single: memory.device: expected auto, cpu,",
        ),
        (["sweep", "dmo"], "no sweep 'dmo'; did you mean 'demo'?"),
        (["sweep", "demo", "--limit", "0"], "--limit: expected at least 1, got 0"),
    ],
)
def test_what_cannot_run_ends_with_status_2_and_says_why(arguments, expected, capsys):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"wanexp: {expected}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "required: VERB"),
        (["paln", "demo"], "invalid choice: 'paln'"),
        (["plan"], "required: name"),
        (["plan", "first_look", "--jsn"], "unrecognized arguments: --jsn"),
        (["plan", "first_look", "--json", "coffee"], "unrecognized arguments: coffee"),
        (["validate", "recipe=single"], "unrecognized arguments: recipe=single"),
        (["score", "a.mp4", "--source", "a.png", "fps=8"], "unrecognized arguments: fps=8"),
        (["sweep", "demo", "--limit", "many"], "invalid int value: 'many'"),
    ],
)
def test_a_command_line_that_cannot_be_read_ends_with_status_2(arguments, expected, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan", "first_look", "seed=0", "~memory", "--json"],
        ["plan", "--json", "first_look", "seed=0", "~memory"],
        ["plan", "first_look", "--json", "seed=0", "~memory"],
        ["plan", "first_look", "seed=0", "--json", "~memory"],
    ],
)
def test_overrides_may_stand_before_and_after_options(arguments):
    options = parse(arguments)
    assert (options.name, options.overrides, options.json) == (
        "first_look",
        ["seed=0", "~memory"],
        True,
    )


def test_overrides_keep_their_order_around_options():
    options = parse(["demo", "seed=0", "--limit", "2", "seed=1"])
    assert (options.limit, options.overrides) == (2, ["seed=0", "seed=1"])
