"""What can be asked for: checked once at the border, every refusal one sentence; digests."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from PIL import Image

from wanexp.config import Stage, Trial, recipe_from, trial_digest, trial_from
from wanexp.memory import Memory
from wanexp.models import MODELS
from wanexp.plan import make_plan
from wanexp.sampler_facts import REFUSED
from wanexp.strict import ConfigError

Tree = dict[str, object]

REFINE = "recipe.stages.refine"


def tree(**changes: object) -> Tree:
    """A small two-stage trial; ``recipe__stages__refine__cfg=3`` changes one value of it."""
    made: Tree = {
        "model": {"name": "wan_mini"},
        "recipe": {
            "width": 64,
            "height": 48,
            "frames": 9,
            "scheduler": "karras",
            "stages": {
                "establish": {"steps": 6, "sampler": "dpmpp_2m", "cfg": 2.0},
                "refine": {"steps": 8, "sampler": "dpmpp_2m", "cfg": 2.0, "denoise": 0.5},
            },
        },
        "case": {
            "name": "a",
            "image": "skimage:astronaut.png",
            "prompt": "a face talks",
            "negative_prompt": "blurry",
            "crop": [100, 0, 300, 200],
            "face_box": [172, 78, 274, 190],
            "regions": {"badge": [10, 20, 30, 40]},
        },
        "memory": {"device": "cpu"},
        "seed": 0,
    }
    for path, value in changes.items():
        node: Tree = made
        *parents, last = path.split("__")
        for key in parents:
            node = cast("Tree", node.setdefault(key, {}))
        node[last] = copy.deepcopy(value)
    return made


def without(path: str) -> Tree:
    made = tree()
    *parents, last = path.split("__")
    node = made
    for key in parents:
        node = cast("Tree", node[key])
    del node[last]
    return made


def message(asked: Mapping[str, object]) -> str:
    with pytest.raises(ConfigError) as error:
        trial_from(asked)
    assert "\n" not in str(error.value)
    return str(error.value)


# Building


def test_what_a_tree_leaves_out_is_the_models_own():
    recipe = recipe_from({"name": "wan22_i2v_a14b"}, {"stages": {"only": {"steps": 4}}})
    assert (recipe.width, recipe.height, recipe.frames, recipe.fps) == (832, 480, 81, 16)
    assert (recipe.shift, recipe.scheduler, recipe.steps) == (5.0, "simple", None)
    assert (recipe.source, recipe.revision) == ("Wan-AI/Wan2.2-I2V-A14B-Diffusers", None)
    assert recipe.stages == (Stage(name="only", steps=4),)
    assert make_plan(recipe).stages[0].cfg == 3.5


def test_stages_keep_their_order_and_are_named_by_their_keys():
    names = ["polish", "establish", "refine"]
    stages = {name: {"steps": 4, "sigma_start": 1.0} for name in names}
    recipe = recipe_from({"name": "wan_mini"}, {"stages": stages})
    assert [stage.name for stage in recipe.stages] == names


def test_an_alias_is_the_sampler_that_it_stands_for():
    assert Stage(name="a", sampler="euler_a") == Stage(name="a", sampler="euler_ancestral")


def test_memory_may_be_left_out():
    assert trial_from(without("memory")).memory == Memory()


# Seeds


def test_zero_is_a_seed():
    assert trial_from(tree(seed=0)).seed == 0
    assert message(tree(seed=None)) == "seed: a trial needs a seed (0 is one)"
    assert message(without("seed")) == "seed: a trial needs a seed (0 is one)"


@pytest.mark.parametrize("seed", [True, False, "0", 1.0, 0.5, [0], float("nan")])
def test_a_seed_is_a_whole_number(seed):
    assert message(tree(seed=seed)) == f"seed: expected a whole number, got {seed!r}"


@pytest.mark.parametrize("seed", [-1, 2**53, 10**400])
def test_a_seed_fits_every_format_that_it_is_written_in(seed):
    assert message(tree(seed=seed)).startswith("seed: expected a whole number in [0, 2^53), got")
    assert trial_from(tree(seed=2**53 - 1)).seed == 2**53 - 1


# Refusals: the whole sentence, with the path of the value


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"model__name": "wan_mni"},
            "model.name: no model named 'wan_mni'; did you mean 'wan_mini'?",
        ),
        ({"model__nam": "x"}, "model: unknown key 'nam'; did you mean 'name'?"),
        ({"model": None}, "model: expected a mapping, got None"),
        ({"model": "wan_mini"}, "model: expected a mapping, got 'wan_mini'"),
        ({"recipe": None}, "recipe: expected a mapping, got None"),
        ({"recipe__scheduler": "karas"}, "recipe.scheduler: no scheduler named 'karas'; did you"),
        ({"recipe__sheduler": "x"}, "recipe: unknown key 'sheduler'; did you mean 'scheduler'?"),
        ({"recipe__stages": {}}, "recipe.stages: a recipe needs at least one stage"),
        ({"recipe__stages": []}, "recipe.stages: expected a mapping, got []"),
        ({"recipe__stages__refine": None}, f"{REFINE}: expected a mapping of the stage's settings"),
        ({"recipe__stages__refine__cgf": 1}, f"{REFINE}: unknown key 'cgf'; did you mean 'cfg'?"),
        ({"recipe__stages__refine__name": "x"}, f"{REFINE}.name: a stage is named by its key"),
        ({"recipe__stages__refine__sampler": "dpmpp2m"}, f"{REFINE}.sampler: no sampler named"),
        (
            {"recipe__stages__refine__expert": "hihg"},
            f"{REFINE}.expert: no expert named 'hihg'; did",
        ),
        (
            {"recipe__stages__refine__scheduler": "Simple"},
            f"{REFINE}.scheduler: no scheduler named",
        ),
        ({"recipe__stages__refine__steps": 0}, f"{REFINE}.steps: expected at least 1, got 0"),
        ({"recipe__stages__refine__steps": 2.5}, f"{REFINE}.steps: expected a whole number, got"),
        ({"recipe__stages__refine__steps": True}, f"{REFINE}.steps: expected a whole number, got"),
        ({"recipe__steps": -3}, "recipe.steps: expected at least 1, got -3"),
        ({"recipe__shift": 0}, "recipe.shift: expected more than 0, got 0"),
        ({"recipe__shift": "1e-3"}, "recipe.shift: expected a number, got the text '1e-3' (leave"),
        ({"recipe__stages__refine__shift": -1}, f"{REFINE}.shift: expected more than 0, got -1"),
        ({"recipe__stages__refine__denoise": 0}, f"{REFINE}.denoise: expected a number in (0, 1]"),
        ({"recipe__stages__refine__denoise": 45}, f"{REFINE}.denoise: expected a number in (0, 1]"),
        ({"recipe__stages__refine__denoise": -0.1}, f"{REFINE}.denoise: expected a number in"),
        (
            {"recipe__stages__refine__sigma_start": 0.3},
            f"{REFINE}: give denoise or sigma_start, not",
        ),
        ({"recipe__stages__refine__sigma_end": 1}, f"{REFINE}.sigma_end: expected [0, 1), got 1"),
        ({"recipe__stages__refine__cfg": -1}, f"{REFINE}.cfg: expected at least 0, got -1"),
        ({"recipe__stages__refine__cfg": True}, f"{REFINE}.cfg: expected a number, got True"),
        (
            {"recipe__stages__refine__loras": ["a"]},
            f"{REFINE}.loras: expected a mapping, got ['a']",
        ),
        (
            {"recipe__stages__refine__loras": {"a": "1"}},
            f"{REFINE}.loras.a: expected a number, got",
        ),
        ({"recipe__fps": 0}, "recipe.fps: expected at least 1, got 0"),
        ({"recipe__fps": 23.976}, "recipe.fps: expected a whole number, got 23.976"),
        ({"case": None}, "case: expected a mapping, got None"),
        ({"case__promt": "x"}, "case: unknown key 'promt'; did you mean 'prompt'?"),
        ({"case__prompt": 3}, "case.prompt: expected text, got 3"),
        ({"case__image": "skimage:astronat.png"}, "case.a.image: no file"),
        ({"case__tags": "face"}, "case.tags: expected a list, got 'face'"),
        ({"case__held_out": "no"}, "case.held_out: expected true or false, got 'no'"),
        ({"case__crop": [0, 0, 10]}, "case.crop: expected 4 values, got [0, 0, 10]"),
        ({"case__crop": [0, 0, 600, 10]}, "case.a.crop: expected x0 < x1 ≤ 512 and y0 < y1 ≤ 512"),
        ({"case__face_box": [9, 9, 9, 20]}, "case.a.face_box: expected x0 < x1 ≤ 512 and y0 < y1"),
        ({"case__regions": {"x": [-1, 0, 5, 5]}}, "case.a.regions.x: expected x0 < x1 ≤ 512 and"),
        ({"case__regions": {"x": None}}, "case.regions.x: expected a list, got None"),
        ({"memory__dtyp": "x"}, "memory: unknown key 'dtyp'; did you mean 'dtype'?"),
        (
            {"memory__dtype": "bfloat_16"},
            "memory.dtype: expected one of auto, float32, bfloat16, fl",
        ),
        ({"memory__offload": True}, "memory.offload: expected one of none, model, group, got True"),
        ({"memory__vae_tiling": 1}, "memory.vae_tiling: expected true or false, got 1"),
        ({"memory__device": "gpu"}, "memory.device: expected auto, cpu, cuda or cuda:N, got 'gpu'"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_is_refused_with_its_path(changes, expected):
    assert message(tree(**changes)).startswith(expected)


@pytest.mark.parametrize("key", ["Refine", "stage 2", "2", "", "high-noise", "ünder"])
def test_a_stage_name_can_be_a_parameter_and_a_column(key):
    assert message(tree(**{f"recipe__stages__{key}": {"steps": 2, "denoise": 0.5}})) == (
        f"recipe.stages.{key}: a stage name is lower-case letters, digits and _"
    )


@pytest.mark.parametrize("sampler", REFUSED)
def test_a_refused_sampler_is_told_why(sampler):
    said = message(tree(recipe__stages__refine__sampler=sampler))
    assert said == f"{REFINE}.sampler: {sampler} is refused: {REFUSED[sampler]}"


@pytest.mark.parametrize(
    ("model", "width", "nearest"),
    [
        ("wan_mini", 100, "96 or 112"),
        ("wan_mini", 8, "16 or 32"),
        ("wan_mini", 0, "16 or 32"),
        ("wan_mini", -16, "16 or 32"),
        ("wan22_i2v_a14b", 1080, "1072 or 1088"),
        ("wan22_ti2v_5b", 720, "704 or 736"),
    ],
)
def test_a_size_off_the_models_grid_is_told_its_neighbours(model, width, nearest):
    multiple = MODELS[model].size_multiple
    for key in ("width", "height"):
        changes = {"model__name": model, "recipe__width": 64, "recipe__height": 64}
        assert message(tree(**{**changes, f"recipe__{key}": width})) == (
            f"recipe.{key}: {model} needs a multiple of {multiple}, got {width}"
            f" (nearest: {nearest})"
        )


@pytest.mark.parametrize(
    ("frames", "nearest"), [(16, "13 or 17"), (12, "9 or 13"), (80, "77 or 81"), (0, "1 or 5")]
)
def test_frames_that_are_not_four_n_plus_one_are_told_their_neighbours(frames, nearest):
    assert message(tree(recipe__frames=frames)) == (
        f"recipe.frames: wan_mini makes 4n + 1 frames, got {frames} (nearest: {nearest})"
    )


def test_one_frame_is_a_number_of_frames():
    assert trial_from(tree(recipe__frames=1)).recipe.frames == 1


@pytest.mark.parametrize(
    "source", ["nowhere", "/nowhere/weights", "./weights", "../weights", "a/b/c", "https://x.org/a"]
)
def test_weights_that_are_neither_here_nor_on_the_hub_are_refused(source):
    said = f"model.source: {source!r} is neither a folder nor a Hub id (owner/name)"
    assert message(tree(model__source=source)) == said


def test_weights_may_lie_in_any_folder(tmp_path):
    assert trial_from(tree(model__source=str(tmp_path))).recipe.source == str(tmp_path)


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1", "mps"])
def test_a_device_may_be_numbered(device):
    assert trial_from(tree(memory__device=device)).memory.device == device


def test_nothing_loads_while_a_trial_is_refused():
    code = (
        "import sys\nfrom tests.test_config import tree\nfrom wanexp.config import trial_from\n"
        "trial_from(tree())\n"
        "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules), 'loaded'"
    )
    root = Path(__file__).resolve().parent.parent
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


# Digests


def digest(asked: Mapping[str, object]) -> str:
    trial = trial_from(asked)
    return trial_digest(trial, make_plan(trial.recipe).key())


MATTERS: list[Tree] = [
    {"seed": 1},
    {
        "model__name": "wan22_i2v_a14b",  # the same weights and numbers, read as another model's
        "model__source": "wan-mini",
        "recipe__shift": MODELS["wan_mini"].shift,
        "recipe__fps": MODELS["wan_mini"].fps,
    },
    {"recipe__width": 80},
    {"recipe__height": 64},
    {"recipe__frames": 13},
    {"recipe__fps": 16},
    {"recipe__shift": 3.0},
    {"recipe__scheduler": "exponential"},
    {"recipe__stages__establish__cfg": 3.0},
    {"recipe__stages__establish__cfg": 1.0},
    {"recipe__stages__establish__steps": 7},
    {"recipe__stages__establish__sampler": "euler"},
    {"recipe__stages__refine__cfg": 2.5},
    {"recipe__stages__refine__shift": 3.0},
    {"recipe__stages__refine__scheduler": "simple"},
    {"recipe__stages__refine__denoise": 0.6},
    {"recipe__stages__refine__denoise": None, "recipe__stages__refine__sigma_start": 0.5},
    {"recipe__stages__refine__loras": {"a.safetensors": 1.0}},
    {"recipe__stages__polish": {"steps": 2, "denoise": 0.2}},
    {"case__image": "skimage:coffee.png"},
    {"case__prompt": "a face blinks"},
    {"case__negative_prompt": ""},
    {"case__crop": [100, 0, 300, 201]},
    {"case__crop": None},
    {"case__face_box": None},
    {"case__regions": {}},
    {"memory__dtype": "bfloat16"},
    {"memory__vae_dtype": "bfloat16"},
    {"memory__vae_tiling": True},
    {"memory__attention": "flash"},
]
INDIFFERENT: list[Tree] = [
    {"case__name": "b"},
    {"case__tags": ["face"]},
    {"case__why": "because"},
    {"case__held_out": True},
    {"memory__device": "cuda:0"},
    {"memory__offload": "model"},
    {"memory__vae_slicing": True},
    {"memory__empty_cache": True},
    {"model__source": "wan-mini"},
    {"recipe__stages__refine__scheduler": "karras"},
    {"recipe__stages__refine__shift": MODELS["wan_mini"].shift},
    {"recipe__stages__establish__cfg": None},
    {"recipe__stages__establish__sigma_start": 1.0},
    {"recipe__steps": 20},
    {"recipe__fps": 12},
    {"case__crop": [100.0, 0.0, 300.0, 200.0]},
    {"study": "other", "arm": "other"},
]


def name_of(changes: Tree) -> str:
    return ",".join(f"{key.split('__')[-1]}={value}" for key, value in changes.items())


@pytest.mark.parametrize("changes", MATTERS, ids=name_of)
def test_a_digest_changes_with_what_decides_the_video_or_its_measurements(changes):
    assert digest(tree(**changes)) != digest(tree())


def test_no_two_of_these_changes_have_one_digest():
    assert len({digest(tree(**changes)) for changes in MATTERS}) == len(MATTERS)


@pytest.mark.parametrize("changes", INDIFFERENT, ids=name_of)
def test_a_digest_does_not_change_with_what_decides_nothing(changes):
    assert digest(tree(**changes)) == digest(tree())


def test_unguided_stages_are_the_same_however_close_to_one_their_cfg_is():
    digests = {digest(tree(recipe__stages__refine__cfg=cfg)) for cfg in (1, 1.0, 1 + 1e-12)}
    assert len(digests) == 1


def test_a_stages_name_does_not_decide_a_video_but_its_place_does():
    stages = cast("Tree", cast("Tree", tree()["recipe"])["stages"])
    renamed = {"one": stages["establish"], "two": stages["refine"]}
    assert digest(tree(recipe__stages=renamed)) == digest(tree())
    denoised = {"establish": {**cast("Tree", stages["establish"]), "denoise": 1.0}}
    assert digest(tree(recipe__stages={**stages, **denoised})) == digest(tree())


def test_a_picture_counts_with_its_bytes_not_its_name(tmp_path):
    frame = np.arange(512 * 512 * 3, dtype=np.uint32).reshape(512, 512, 3).astype(np.uint8)
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    Image.fromarray(frame).save(one)
    shutil.copy(one, two)
    before = digest(tree(case__image=str(one)))
    assert digest(tree(case__image=str(two))) == before
    frame[0, 0, 0] ^= 1
    Image.fromarray(frame).save(one)
    assert digest(tree(case__image=str(one))) != before


def test_weights_count_with_their_bytes_not_their_folder(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"weights")
    before = digest(tree(model__source=str(one)))
    assert digest(tree(model__source=str(two))) == before
    (one / "model.safetensors").write_bytes(b"retrain")
    assert digest(tree(model__source=str(one))) != before


def test_a_lora_counts_with_its_bytes(tmp_path):
    lora = tmp_path / "style.safetensors"
    asked = tree(recipe__stages__refine__loras={str(lora): 1.0})
    lora.write_bytes(b"weights")
    before = digest(asked)
    lora.write_bytes(b"retrained")
    assert digest(asked) != before


def test_a_digest_is_sixteen_hex_digits_and_the_same_in_every_process():
    asked = tree()
    code = (
        "from tests.test_config import digest, tree\n"
        "asked = tree()\n"
        "asked['case'] = dict(reversed(asked['case'].items()))\n"
        "print(digest(asked))"
    )
    root = Path(__file__).resolve().parent.parent
    for seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=root,
            env={"PYTHONHASHSEED": seed, "PATH": "/usr/bin:/bin"},
        )
        assert run.stdout.strip() == digest(asked)
    assert len(digest(asked)) == 16
    assert int(digest(asked), 16) >= 0


def test_a_trial_is_frozen():
    trial = trial_from(tree())
    with pytest.raises(AttributeError):
        trial.seed = 3  # type: ignore[misc]
    assert isinstance(trial, Trial)
