"""Sweeps: which trials a file and the user's overrides ask for, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from wanexp.compose import Sweep, compose_tree, expand_sweep
from wanexp.compose.expand import Cell, make_cells
from wanexp.compose.tree import hydra_session, last_words
from wanexp.strict import ConfigError

GRID = """# @package _global_
# Question:    does it
#              matter?
# Expectation: no.
# Budget:      few.

# A remark.
defaults:
  - override /recipe: two_stage
  - override /protocol: smoke
hydra:
  sweeper:
    params:
      recipe.stages.refine.denoise: "0.4,0.5"
      seed: "0,1"
    arms:
      plain: []
      cold: [recipe.stages.refine.cfg=1.0]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweeps").mkdir()
    return tmp_path


def write(folder: Path, sweeper: str, *, defaults: str = "", name: str = "mine") -> None:
    text = f"# @package _global_\n{defaults}\nhydra:\n  sweeper:\n{sweeper}"
    (folder / "sweeps" / f"{name}.yaml").write_text(text, encoding="utf-8")


def message(name: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        expand_sweep(name, overrides)
    assert "\n" not in str(error.value)
    return str(error.value)


PARAMS = {"case": "astronaut,coffee", "seed": "0,1"}
ARMS = {"single": ["recipe=single"], "two": ["recipe=two_stage"], "three": ["recipe=three_stage"]}
OPTIONS = {"case": {"name": "astronaut"}, "seed": 7}


def cells(
    *overrides: str,
    params: Mapping[str, object] = PARAMS,
    arms: Mapping[str, object] = ARMS,
) -> list[Cell]:
    """The cells of a sweep, without composing any."""
    with hydra_session():
        return make_cells(params, arms, last_words(overrides), OPTIONS)


def value(tree: Mapping[str, object], path: str) -> object:
    node: object = tree
    for key in path.split("."):
        assert isinstance(node, Mapping)
        node = node[key]
    return node


def column(sweep: Sweep, path: str) -> list[object]:
    return [value(point.tree, path) for point in sweep.points]


# Grids and arms


def test_arms_and_grid_multiply_case_by_case_and_seed_by_seed(folder):
    (folder / "sweeps" / "mine.yaml").write_text(GRID)
    sweep = expand_sweep("mine", ["case=coffee,brick"])
    names = [
        "plain,refine.denoise=0.4",
        "plain,refine.denoise=0.5",
        "cold,refine.denoise=0.4",
        "cold,refine.denoise=0.5",
    ]
    assert list(sweep.arms) == names
    assert [(p.case, p.seed, p.arm) for p in sweep.points] == [
        (case, seed, arm) for case in ("coffee", "brick") for seed in (0, 1) for arm in names
    ]
    assert sweep.cases == ("coffee", "brick")
    assert sweep.seeds == (0, 1)
    assert column(sweep, "recipe.stages.refine.denoise")[:4] == [0.4, 0.5, 0.4, 0.5]
    assert column(sweep, "recipe.stages.refine.cfg")[:4] == [None, None, 1.0, 1.0]
    assert column(sweep, "case.name") == [point.case for point in sweep.points]
    assert column(sweep, "seed") == [point.seed for point in sweep.points]


def test_every_point_is_what_composing_its_overrides_alone_gives(folder):
    (folder / "sweeps" / "mine.yaml").write_text(GRID)
    given = ["recipe.stages.establish.cfg=3", "memory=cpu"]
    sweep = expand_sweep("mine", [*given, "case=coffee,brick"])
    for point in sweep.points:
        place = [f"case={point.case}", f"seed={point.seed}"]
        alone = compose_tree(["+sweeps=mine", *given, *sweep.arms[point.arm], *place])
        assert dict(point.tree) == alone


def test_the_header_has_its_sentences_whole(folder):
    (folder / "sweeps" / "mine.yaml").write_text(GRID)
    assert expand_sweep("mine").header == {
        "Question": "does it matter?",
        "Expectation": "no.",
        "Budget": "few.",
    }


def test_a_sweep_without_grid_or_arms_is_one_recipe(folder):
    write(folder, "    params:\n    arms:\n")
    sweep = expand_sweep("mine")
    assert list(sweep.arms) == ["default"]
    assert [(p.case, p.seed) for p in sweep.points] == [("astronaut", 0)]


def test_values_may_be_of_any_type(folder):
    write(
        folder,
        "    params:\n      recipe.shift: null\n      memory.vae_tiling: true\n      seed: 3\n"
        '      recipe.stages.refine.denoise: 0.3\n      case: "glob(astronaut*,*_patch)"\n',
    )
    sweep = expand_sweep("mine")
    assert sweep.cases == ("astronaut", "astronaut_closeup", "astronaut_wide")  # but _patch
    assert sweep.seeds == (3,)
    assert set(column(sweep, "recipe.shift")) == {None}
    assert set(column(sweep, "memory.vae_tiling")) == {True}
    assert set(column(sweep, "recipe.stages.refine.denoise")) == {0.3}


# The user's overrides


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed=3,1,2", (3, 1, 2)),
        ("seed=range(0,3)", (0, 1, 2)),
        ("seed=range(4)", (0, 1, 2, 3)),
        ("seed=choice(7,9)", (7, 9)),
        ("seed=sort(3,1,2)", (1, 2, 3)),
        ("seed=0,0,1,0", (0, 1)),
        ("seed=0,9007199254740991", (0, 2**53 - 1)),
    ],
)
def test_seeds_are_given_as_hydra_users_know(override, expected):
    made = cells(override)
    assert tuple(dict.fromkeys(cell.seed for cell in made)) == expected
    assert len(made) == 2 * 3 * len(expected)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("case=coffee,coffee", ("coffee",)),
        ("case=brick,coffee", ("brick", "coffee")),
        ("case=glob(astronaut_*)", ("astronaut_closeup", "astronaut_patch", "astronaut_wide")),
        ("case=glob(astro*,exclude=*_*)", ("astronaut",)),
        ("case=choice(moon,grass)", ("moon", "grass")),
    ],
)
def test_cases_are_given_as_hydra_users_know(override, expected):
    made = cells(override)
    assert tuple(dict.fromkeys(cell.case for cell in made)) == expected
    assert len(made) == len(expected) * 2 * 3


def test_an_override_of_an_axis_replaces_it_in_its_place():
    sweep = expand_sweep(
        "stage_cfg",
        ["seed=0", "case=coffee", "recipe.stages.establish.cfg=4,5", "recipe.stages.refine.cfg=1"],
    )
    assert list(sweep.arms) == ["establish.cfg=4", "establish.cfg=5"]
    assert column(sweep, "recipe.stages.establish.cfg") == [4, 5]
    assert column(sweep, "recipe.stages.refine.cfg") == [1, 1]


def test_an_override_of_another_value_holds_for_every_arm():
    sweep = expand_sweep("first_look", ["seed=0", "case=coffee", "recipe.width=64", "memory=cpu"])
    assert set(column(sweep, "recipe.width")) == {64}
    assert set(column(sweep, "memory.device")) == {"cpu"}
    assert list(sweep.arms) == ["single", "two_stage", "three_stage"]


def test_several_values_of_another_setting_make_a_new_axis():
    arms = [cell.arm for cell in cells("recipe.shift=range(1,2,0.5)", "seed=0", "case=coffee")]
    assert arms[:2] == ["single,shift=1.0", "single,shift=1.5"]
    arms = [cell.arm for cell in cells("model=wan_mini,wan22_i2v_a14b", "memory=cpu,default")]
    assert arms[:2] == [
        "single,model=wan_mini,memory=cpu",
        "single,model=wan_mini,memory=default",
    ]
    arms = [cell.arm for cell in cells("recipe=glob(t*)", arms={}, params={})]
    assert arms == ["three_stage", "three_stage_noise", "two_stage", "two_stage_noise"]


def test_an_arms_own_setting_wins_over_the_users():
    sweep = expand_sweep("ab_protocol", ["seed=0", "case=coffee", "recipe.stages.refine.cfg=6"])
    cfgs = dict(zip(sweep.arms, column(sweep, "recipe.stages.refine.cfg"), strict=True))
    assert cfgs == {"baseline": 6, "A": 6, "B": 6, "C": 7.0}


def test_the_protocol_brings_its_cases_and_seeds(folder):
    write(folder, "    params: {}\n")
    full = expand_sweep("mine", ["protocol=full"])
    assert (len(full.cases), len(full.seeds), len(full.points)) == (12, 3, 36)
    assert value(full.options, "protocol.name") == "full"
    assert len(expand_sweep("mine", ["protocol=smoke"]).points) == 1


def test_of_two_overrides_of_one_key_the_later_holds():
    assert {cell.seed for cell in cells("seed=1,2", "seed=3")} == {7}  # composed, not an axis
    assert {cell.seed for cell in cells("seed=3", "seed=1,2")} == {1, 2}
    assert expand_sweep(
        "first_look", ["seed=1,2", "case=coffee", "seed=3", "case=brick"]
    ).seeds == (3,)


def test_without_an_axis_case_and_seed_are_the_configurations():
    made = cells(params={}, arms={})
    assert [(cell.arm, cell.case, cell.seed, cell.place) for cell in made] == [
        ("default", "astronaut", 7, ())
    ]


def test_a_case_may_be_varied_like_a_recipe():
    prompts = "case.prompt='a face talks','a face, blinking'"
    sweep = expand_sweep("first_look", ["seed=0", "case=coffee,brick", prompts])
    assert len(sweep.points) == 12
    pairs = {(value(p.tree, "case.name"), value(p.tree, "case.prompt")) for p in sweep.points}
    both = ("a face talks", "a face, blinking")
    assert pairs == {(case, prompt) for case in ("coffee", "brick") for prompt in both}
    fixed = expand_sweep("first_look", ["seed=0", "case=coffee,brick", "case.prompt=one"])
    assert set(column(fixed, "case.prompt")) == {"one"}
    assert set(column(fixed, "case.name")) == {"coffee", "brick"}


def test_a_template_may_be_filled_in_on_the_command_line():
    image = "case.image=skimage:coffee.png"
    sweep = expand_sweep("first_look", ["seed=0", "case=template/face", image])
    assert sweep.cases == ("my_face",)
    assert set(column(sweep, "case.image")) == {"skimage:coffee.png"}
    varied = expand_sweep("first_look", ["seed=0", "case=template/face", image, "case.prompt=a,b"])
    assert column(varied, "case.prompt") == ["a", "b"] * 3
    assert set(column(varied, "case.name")) == {"my_face"}


def test_what_is_added_may_be_an_axis():
    loras = "+recipe.stages.establish.loras={/a b.safetensors:1.0},{/a b.safetensors:0.5}"
    sweep = expand_sweep("first_look", ["seed=0", "case=coffee", loras])
    found = column(sweep, "recipe.stages.establish.loras")[:2]
    assert found == [{"/a b.safetensors": 1.0}, {"/a b.safetensors": 0.5}]
    assert next(iter(sweep.arms)).startswith("single,establish.loras={/a")


def test_options_are_those_of_the_run_not_of_an_arm():
    sweep = expand_sweep("first_look", ["studies=elsewhere", "tracking=none", "keep_latents=true"])
    assert value(sweep.options, "studies") == "elsewhere"
    assert value(sweep.options, "tracking.enabled") is False
    assert value(sweep.options, "keep_latents") is True


# Refusals


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["seed=0.5"], "seed: expected whole numbers, got 0.5"),
        (["seed=true"], "seed: expected whole numbers, got True"),
        (["seed=null"], "seed: expected whole numbers, got None"),
        (["seed="], "seed: expected whole numbers, got"),
        (["seed=[0,1]"], "seed: expected whole numbers, got [0, 1]"),
        (["~seed"], "seed: expected whole numbers, got None"),
        (["seed=range(0,1,0.5)"], "seed: expected whole numbers, got 0.0, 0.5"),
        (["seed=interval(0,1)"], "seed: an interval has no list of values; use choice or range"),
        (["seed=range(3,3)"], "seed=range(3,3): no value at all"),
        (["case=glob(zz*)"], "case=glob(zz*): no value at all (have: astronaut, "),
        (["case=coffee,cofee"], "no case 'cofee'; did you mean 'coffee'? (have: "),
        (
            ["protocol=quick,full"],
            "protocol: an axis belongs to one of model, recipe, case, memory,",
        ),
        (["keep_latents=true,false"], "keep_latents: an axis belongs to one of model, recipe,"),
        (
            ["recip.steps=3,4"],
            "recip.steps: an axis belongs to one of model, recipe, case, memory,",
        ),
        (
            ["recip.steps=3"],
            "recip.steps: the configuration has no 'recip'; did you mean 'recipe'?",
        ),
        (["recipe=single"], "recipe=single: every arm sets it itself, so this would change nothin"),
        (["recipe=single,two_stage"], "recipe: arm single sets it, so it cannot be an axis as we"),
        (["study=mine"], "study: a sweep's file names its study and its arms (studies=FOLDER"),
        (["arm=mine"], "arm: a sweep's file names its study and its arms"),
        (["sweeps=polish"], "sweeps: a sweep's file names its study and its arms"),
        (
            ["recipe.stages.refine.cfg=3"],
            "arm single: recipe.stages.refine.cfg: recipe.stages has no 'refine' (has: establish)",
        ),
        (
            ["recipe.stages.establish.cgf=3,4"],
            "arm single,establish.cgf=3: recipe.stages.establish.cgf: recipe.stages.establish has"
            " no 'cgf'; did you mean 'cfg'?",
        ),
    ],
)
def test_overrides_that_cannot_mean_anything_are_refused(overrides, expected):
    assert message("first_look", *overrides).startswith(expected)


@pytest.mark.parametrize(
    ("sweeper", "overrides", "expected"),
    [
        (
            "    parms: {}\n",
            [],
            "sweeps/mine.yaml: hydra.sweeper has no 'parms'; did you mean 'par",
        ),
        ("    params: {seed: [0, 1]}\n", [], "hydra.sweeper.params.seed: expected the values with"),
        (
            "    params: {recipe.stpes: '3,4'}\n",
            [],
            "arm stpes=3: recipe.stpes: recipe has no 'stpe",
        ),
        ("    params: {seed: '0,x'}\n", [], "seed: expected whole numbers, got 0, x"),
        ("    params: {case: 'coffee,x'}\n", [], "no case 'x' (have: "),
        ("    params: {tracking: 'none,local'}\n", [], "tracking: an axis belongs to one of"),
        ("    arms: {a: recipe=single}\n", [], "arms.a: expected a list of overrides, got 'recipe"),
        ("    arms: {a: null}\n", [], "arms.a: expected a list of overrides, got None"),
        ("    arms: {a: [seed=3]}\n", [], "arms.a: seed is the whole sweep's, not one arm's"),
        ("    arms: {a: [case=coffee]}\n", [], "arms.a: case is the whole sweep's, not one arm's"),
        ("    arms: {a: [recipe.shift=3,4]}\n", [], "cannot read the overrides 'recipe.shift=3 4'"),
        (
            "    arms: {a: ['recipe.shift=3,4']}\n",
            [],
            "arms.a: recipe.shift=3,4 has several values",
        ),
        (
            "    arms: {a: [recipe=singel]}\n",
            [],
            "no recipe 'singel'; did you mean 'single'? (have",
        ),
        ("    arms: {a: [recipe=singel], b: []}\n", [], "arm a: no recipe 'singel'; did you mean"),
        (
            "    params: {recipe.shift: '3,4'}\n    arms: {a: [recipe.shift=5]}\n",
            [],
            "recipe.shift: arm a sets it, so it cannot be an axis as well",
        ),
        (
            "    arms: {a: [recipe.shift=5], b: [recipe.shift=6]}\n",
            ["recipe.shift=4"],
            "recipe.shift=4: every arm sets it itself, so this would change nothing",
        ),
    ],
)
def test_a_sweep_that_cannot_mean_what_it_says_is_refused(folder, sweeper, overrides, expected):
    write(folder, sweeper)
    assert message("mine", "memory=cpu", *overrides).startswith(expected)


def test_a_sweep_without_its_first_line_is_told_so(folder):
    text = "hydra:\n  sweeper:\n    params: {seed: '0,1'}\n"
    (folder / "sweeps" / "mine.yaml").write_text(text)
    said = "sweeps/mine.yaml: its first line must be '# @package _global_'"
    assert message("mine") == said


def test_a_sweep_whose_defaults_are_wrong_is_told_which(folder):
    write(folder, "    params: {}\n", defaults="defaults:\n  - override /recipe: singel\n")
    assert "no recipe 'singel'; did you mean 'single'?" in message("mine")
    write(folder, "    params: {}\n", defaults="defaults:\n  - /recipe: single\n")
    assert message("mine").startswith("Multiple values for recipe")


@pytest.mark.parametrize("name", ["", ".", "..", "demo.yaml", "../demo", "sweeps/demo", "/etc/x"])
def test_a_name_that_is_no_sweep_is_refused(name):
    assert message(name).startswith(f"no sweep {name!r}")
