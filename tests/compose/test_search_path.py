"""Where files come from: shipped ones, and a user's own, which win."""

from __future__ import annotations

from pathlib import Path

import pytest

from wanexp.compose import available, compose_tree, expand_sweep, shipped_folder
from wanexp.compose.folders import find, user_folder
from wanexp.config import trial_from
from wanexp.strict import ConfigError

CASE = "name: mine\nimage: skimage:coffee.png\nprompt: a cup\n"
SWEEP = """# @package _global_
# Question:    {question}
defaults:
  - override /recipe: single
  - override /protocol: smoke
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a space and a percent sign in its name."""
    here = tmp_path / "my work 100%"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_the_shipped_folder_has_both_and_a_bare_one_has_neither(folder):
    assert (shipped_folder() / "conf" / "config.yaml").is_file()
    assert (shipped_folder() / "sweeps" / "demo.yaml").is_file()
    assert user_folder() is None
    (folder / "conf").mkdir()
    assert user_folder() == folder


def test_the_checkout_is_not_its_own_user(monkeypatch):
    monkeypatch.chdir(shipped_folder())
    assert user_folder() is None


def test_everything_shipped_works_from_any_folder(folder):
    assert trial_from(compose_tree()).case.name == "astronaut"
    assert len(expand_sweep("first_look").points) == 12
    assert "guide/two_stage" in available("conf/recipe")


def test_a_users_own_case_stands_beside_the_shipped_ones(folder):
    write(folder / "conf" / "case" / "mine.yaml", CASE)
    assert {"mine", "astronaut", "template/face"} < set(available("conf/case"))
    assert trial_from(compose_tree(["case=mine"])).case.prompt == "a cup"
    assert trial_from(compose_tree(["case=coffee"])).case.name == "coffee"
    sweep = expand_sweep("demo", ["case=mine,coffee", "seed=0"])
    assert sweep.cases == ("mine", "coffee")
    assert "mine" in expand_sweep("demo", ["case=glob(*)", "seed=0"]).cases


def test_a_users_file_wins_over_the_shipped_one_of_its_name(folder):
    write(folder / "conf" / "case" / "astronaut.yaml", CASE)
    assert find("conf/case", "astronaut") == folder / "conf" / "case" / "astronaut.yaml"
    assert trial_from(compose_tree()).case.prompt == "a cup"


def test_a_users_recipe_may_extend_a_shipped_one(folder):
    write(
        folder / "conf" / "recipe" / "mine.yaml",
        "defaults:\n  - two_stage\n  - _self_\nstages:\n  refine:\n    denoise: 0.2\n",
    )
    refine = trial_from(compose_tree(["recipe=mine"])).recipe.stages[1]
    assert (refine.denoise, refine.steps) == (0.2, 25)


def test_a_users_defaults_win(folder):
    text = (shipped_folder() / "conf" / "config.yaml").read_text(encoding="utf-8")
    write(folder / "conf" / "config.yaml", text.replace("case: astronaut", "case: coffee"))
    assert trial_from(compose_tree()).case.name == "coffee"


def test_a_users_sweep_needs_no_conf_beside_it(folder):
    write(folder / "sweeps" / "mine.yaml", SWEEP.format(question="mine?"))
    sweep = expand_sweep("mine")
    assert sweep.header == {"Question": "mine?"}
    assert len(sweep.points) == 1
    assert {"mine", "demo"} < set(available("sweeps"))
    assert len(expand_sweep("first_look").points) == 12


def test_a_users_sweep_wins_over_the_shipped_one_of_its_name(folder):
    write(folder / "sweeps" / "demo.yaml", SWEEP.format(question="other?"))
    sweep = expand_sweep("demo")
    assert sweep.header["Question"] == "other?"
    assert len(sweep.points) == 1


def test_sweeps_may_lie_in_folders_of_their_own(folder):
    write(folder / "sweeps" / "spring" / "first.yaml", SWEEP.format(question="first?"))
    assert "spring/first" in available("sweeps")
    assert len(expand_sweep("spring/first").points) == 1


def test_other_folders_of_the_users_are_no_groups(folder):
    write(folder / "recipe" / "stray.yaml", "steps: 3\n")
    write(folder / "case" / "stray.yaml", CASE)
    (folder / "sweeps").mkdir()
    with pytest.raises(ConfigError, match="no recipe 'stray'"):
        compose_tree(["recipe=stray"])
    assert "stray" not in expand_sweep("demo", ["case=glob(*)", "seed=0"]).cases


def test_a_misspelt_name_of_the_users_is_found_too(folder):
    write(folder / "conf" / "case" / "teapot.yaml", CASE)
    with pytest.raises(ConfigError, match=r"^no case 'teapto'; did you mean 'teapot'\? \(have: "):
        compose_tree(["case=teapto"])
    with pytest.raises(ConfigError, match=r"^no sweep 'dmeo'; did you mean 'demo'\? \(have: "):
        expand_sweep("dmeo")
    with pytest.raises(ConfigError, match=r"^no sweep 'demo\.yaml'; did you mean 'demo'\?"):
        expand_sweep("demo.yaml")


def test_moving_to_another_folder_changes_what_is_found(folder, monkeypatch, tmp_path):
    write(folder / "conf" / "case" / "mine.yaml", CASE)
    compose_tree(["case=mine"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="no case 'mine'"):
        compose_tree(["case=mine"])


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("recipe/x", "stages:\n\ta: 1\n", r"a configuration file is no YAML: .*x\.yaml"),
        ("recipe/x", "steps: 3\nsteps: 4\n", r"a configuration file is no YAML: .*duplicate key"),
        ("recipe/x", "defaults: [nowhere]\n", r"In 'recipe/x': no recipe 'nowhere' \(have: "),
        ("recipe/x", "defaults: [two_stge]\n", "In 'recipe/x': no recipe 'two_stge'; did you mean"),
        ("recipe/x", "steps: ${nowhere.x}\n", "recipe.steps: Interpolation key 'nowhere.x' not"),
        ("recipe/x", "- a\n- b\n", r"recipe: expected a mapping, got \['a', 'b'\]"),
        ("recipe/x", "", "recipe: 'stages' is missing"),
        ("recipe/x", "stages: {a: {steps: 4}}\nshft: 3\n", "recipe: unknown key 'shft'; did you"),
        ("recipe/x", 'stages: {a: {steps: 4}}\nshift: "1e-3"\n', "recipe.shift: expected a number"),
        ("recipe/x", "stages: {a: {steps: yes}}\n", "recipe.stages.a.steps: expected a whole numb"),
        ("case/x", "name: a\nimage: ???\nprompt: b\n", "case.a.image: fill in a file, or skimage"),
    ],
)
def test_a_broken_file_is_told_in_one_sentence(folder, file, text, expected):
    write(folder / "conf" / f"{file}.yaml", text)
    with pytest.raises(ConfigError, match=f"^{expected}") as error:
        trial_from(compose_tree([f"{file.split('/')[0]}=x"]))
    assert "\n" not in str(error.value)
    assert "search path" not in str(error.value)


def test_a_small_number_may_be_written_with_an_exponent(folder):
    write(folder / "conf" / "recipe" / "x.yaml", "stages: {a: {steps: 4}}\nshift: 1e-1\n")
    assert trial_from(compose_tree(["recipe=x"])).recipe.shift == 0.1
    assert trial_from(compose_tree(["recipe.shift=1e-1"])).recipe.shift == 0.1


def test_a_file_that_is_not_utf8_is_named(folder):
    (folder / "conf" / "case").mkdir(parents=True)
    (folder / "conf" / "case" / "bear.yaml").write_bytes(b"name: b\xe4r\n")
    with pytest.raises(ConfigError, match=r"bear\.yaml: expected text in UTF-8"):
        compose_tree(["case=bear"])
    (folder / "sweeps").mkdir()
    (folder / "sweeps" / "bear.yaml").write_bytes(b"# b\xe4r\n")
    with pytest.raises(ConfigError, match=r"bear\.yaml: expected text in UTF-8"):
        expand_sweep("bear")
