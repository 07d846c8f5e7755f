"""conf/ and sweeps/: everything in them composes, plans, and says what it is."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from wanexp.compose import Sweep, available, compose_tree, expand_sweep, shipped_folder
from wanexp.config import Case, Recipe, recipe_from, trial_from
from wanexp.images import check_image, frame_window, to_frame
from wanexp.memory import Memory
from wanexp.models import MODELS
from wanexp.options import Protocol, protocol_from
from wanexp.plan import Plan, make_plan
from wanexp.planned import PlannedTrial, distinct, shared_model_calls
from wanexp.step_cache import StepCache
from wanexp.strict import ConfigError, build
from wanexp.study import plan_trials

ROOT = shipped_folder()
RECIPES = available("conf/recipe")
CASES = [name for name in available("conf/case") if not name.startswith("template/")]
TEMPLATES = [name for name in available("conf/case") if name.startswith("template/")]
WORDS = "template/words"
PROTOCOLS = available("conf/protocol")
SWEEPS = available("sweeps")

TAGS = {"fine_texture", "text", "face", "complex_motion", "plain"}
PRIMARIES = {"flicker", "jitter", "warp", "detail", "face_detail", "motion", "motion_top5"}
TWO_EXPERTS = {"split_high_low", "split_lightning"}
STAGE_KEYS = [
    *("steps", "cfg", "sampler", "scheduler", "shift"),
    *("denoise", "sigma_start", "sigma_end", "expert", "step_cache", "loras"),
]


@functools.cache
def composed(group: str, name: str) -> dict[str, object]:
    return compose_tree([f"{group}={name}"])


def part(group: str, name: str) -> Mapping[str, object]:
    tree = composed(group, name)[group]
    assert isinstance(tree, Mapping)
    return tree


def recipe_of(name: str, model: str = "wan_mini") -> Recipe:
    return recipe_from(part("model", model), part("recipe", name))


def plan_of(name: str, model: str = "wan_mini") -> Plan:
    return make_plan(recipe_of(name, model))


@functools.cache
def expanded(name: str) -> tuple[Sweep, list[PlannedTrial]]:
    sweep = expand_sweep(name)
    return sweep, plan_trials(sweep)


def case_of(name: str) -> Case:
    return build(Case, part("case", name), "case")


def axis(protocol: str, key: str) -> list[str]:
    """The values of a protocol's axis, read from its file."""
    text = (ROOT / "conf" / "protocol" / f"{protocol}.yaml").read_text(encoding="utf-8")
    found = re.search(rf'^      {key}: (?:"(.*)"|>-\n((?:        .*\n)+))', text, re.MULTILINE)
    assert found, f"{protocol} has no {key}"
    return [value.strip() for value in (found[1] or found[2]).split(",")]


# Recipes, models, memory


@pytest.mark.parametrize("model", available("conf/model"))
def test_a_model_file_names_a_known_model_and_no_weights_of_its_own(model):
    tree = part("model", model)
    files: dict[str, object] = {"vae": None, "text_encoder": None, "tokenizer": None}
    files["experts"] = dict.fromkeys(MODELS[model].experts)
    nothing = {"source": None, "revision": None, **(files if len(tree) > 3 else {})}
    assert tree == {"name": model, **nothing}


def test_every_known_model_has_a_file():
    assert set(available("conf/model")) == set(MODELS)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_plans_on_every_model_that_has_its_experts(name):
    for model in MODELS.values():
        if name == "split_high_low" and model.boundary == 0.875:
            with pytest.raises(ConfigError, match=r"knows only sigma below 0\.875"):
                plan_of(name, model.name)
        elif name in TWO_EXPERTS and len(model.experts) < 2:
            with pytest.raises(ConfigError, match=r"expert: no expert named 'high'"):
                plan_of(name, model.name)
        else:
            plan = plan_of(name, model.name)
            assert plan.stages[0].sigma_start == 1
            assert plan.stages[-1].sigma_end == 0


def test_the_split_moves_to_another_models_boundary():
    own = ["model=wan22_t2v_a14b", "recipe=split_high_low", "recipe.stages.high.sigma_end=0.87"]
    high, low = make_plan(trial_from(compose_tree(own)).recipe).stages
    assert ({*high.experts}, {*low.experts}) == ({"high"}, {"low"})
    assert high.sigma_end < 0.875 < high.sigmas[-2]


@pytest.mark.parametrize("name", RECIPES)
def test_every_stage_lists_all_that_can_be_swept(name):
    tree = part("recipe", name)
    sizes = ["width", "height", "frames", "fps", "steps", "scheduler", "shift"]
    assert list(tree) == [*sizes, "step_cache", "stages"]
    cache = tree["step_cache"]
    assert isinstance(cache, Mapping)
    assert set(cache) == set(vars(StepCache()))
    stages = tree["stages"]
    assert isinstance(stages, Mapping)
    assert list(stages) in (["high", "low"], ["establish", "refine", "polish"][: len(stages)])
    for stage in stages.values():
        assert list(stage) == STAGE_KEYS


@pytest.mark.parametrize("name", [name for name in RECIPES if not name.startswith("guide/")])
def test_a_recipe_outside_the_guide_leaves_size_and_guidance_to_the_model(name):
    tree = part("recipe", name)
    assert [tree[key] for key in ("width", "height", "frames", "fps")] == [None] * 4
    assert isinstance(tree["stages"], Mapping)
    allowed = {1.0} if name == "split_lightning" else {None}
    assert {stage["cfg"] for stage in tree["stages"].values()} == allowed


def test_equal_cost_singles_cost_what_the_chains_cost():
    calls = {
        name: plan_of(name).model_calls
        for name in ("single", "two_stage", "single_43", "three_stage", "single_65")
    }
    assert calls["single"] == 50
    assert calls["single_43"] == calls["two_stage"] == 86
    assert calls["single_65"] == calls["three_stage"] == 130


@pytest.mark.parametrize(("name", "starts"), [("two_stage", [0.45]), ("three_stage", [0.55, 0.3])])
def test_a_noise_twin_starts_at_the_very_level_that_its_twin_calls_denoise(name, starts):
    twin, noise = plan_of(name), plan_of(f"{name}_noise")
    assert [stage.denoise for stage in twin.stages[1:]] == starts
    assert [stage.sigma_start for stage in noise.stages[1:]] == starts
    assert [s.steps for s in noise.stages] == [s.steps for s in twin.stages]
    assert all(t.sigma_start < start / 3 for t, start in zip(twin.stages[1:], starts, strict=True))


@pytest.mark.parametrize("shift", [2.0, 3.0, 5.0, 8.0])
def test_the_split_changes_expert_where_the_official_rule_does(shift):
    tree = {**part("recipe", "split_high_low"), "shift": shift}
    plan = make_plan(recipe_from(part("model", "wan22_i2v_a14b"), tree))
    high, low = plan.stages
    assert set(high.experts) == {"high"}
    assert min(high.evaluation_sigmas) >= 0.9 - 1e-9
    assert low.evaluation_sigmas[0] < 0.9
    assert high.steps + low.steps == 20
    assert high.steps == {2.0: 4, 3.0: 6, 5.0: 8, 8.0: 10}[shift]


def test_the_lightning_split_stands_on_the_levels_that_its_loras_were_trained_at():
    high, low = plan_of("split_lightning", "wan22_i2v_a14b").stages
    assert high.evaluation_sigmas == pytest.approx([1, 0.9375], abs=1e-3)
    assert low.evaluation_sigmas == pytest.approx([0.8333, 0.625], abs=1e-3)
    assert high.model_calls == low.model_calls == 2


@pytest.mark.parametrize("name", available("conf/memory"))
def test_a_memory_profile_sets_every_field_and_nothing_else(name):
    tree = part("memory", name)
    memory = build(Memory, tree, "memory")
    assert set(tree) == set(vars(memory))


def test_the_default_memory_profile_is_the_default():
    assert build(Memory, part("memory", "default"), "memory") == Memory()


# The guide's numbers

Row = tuple[int, float, float | None, str]
"""(steps, cfg, denoise, sampler) of one stage."""

SINGLE: list[Row] = [(25, 8.5, None, "dpmpp_2m")]
TWO: list[Row] = [(18, 8.5, None, "dpmpp_2m"), (25, 7.5, 0.45, "dpmpp_2m")]
THREE: list[Row] = [
    (15, 9.0, None, "dpmpp_2m"),
    (22, 7.5, 0.55, "dpmpp_2m"),
    (28, 6.5, 0.3, "dpmpp_2m"),
]


def but(rows: list[Row], index: int, **changes: object) -> list[Row]:
    keys = ("steps", "cfg", "denoise", "sampler")
    changed = {**dict(zip(keys, rows[index], strict=True)), **changes}
    return [*rows[:index], tuple(changed[key] for key in keys), *rows[index + 1 :]]  # type: ignore[list-item]


def sde(rows: list[Row]) -> list[Row]:
    return [(steps, cfg, denoise, "dpmpp_sde") for steps, cfg, denoise, _ in rows]


GUIDE: dict[str, list[Row]] = {
    "single_25": SINGLE,
    "single_30": but(SINGLE, 0, steps=30),
    "single_35": but(SINGLE, 0, steps=35),
    "two_stage": TWO,
    "three_stage": THREE,
    "client_work": THREE,
    "social": TWO,
    "testing": but(TWO, 0, steps=15),
    "hero": but(THREE, 2, sampler="dpmpp_sde"),
    "batch": TWO,
    "complex": but(THREE, 1, steps=25),
    "simple": but(TWO, 1, steps=20),
    "two_stage_euler_a": but(TWO, 0, sampler="euler_a"),
    "three_stage_short": but(THREE, 2, steps=15),
    "three_stage_excessive": but(but(THREE, 1, steps=25), 2, steps=30),
    "fix_stage2_worse": but(TWO, 1, steps=28, cfg=7.0, denoise=0.35),
    "fix_stage2_no_change": but(TWO, 1, steps=30, denoise=0.5),
    "fix_flicker": but(but(TWO, 0, cfg=8.0), 1, denoise=0.35),
    "fix_stage3_artifacts": but(THREE, 2, steps=25),
    "fix_over_processed": but(but(TWO, 0, cfg=7.5), 1, cfg=6.5),
    "single_16f_512": SINGLE,
    "two_stage_16f_512": TWO,
    "three_stage_16f_512": THREE,
    "two_stage_24f_512": TWO,
    "two_stage_16f_768": TWO,
    "two_stage_12f_512": TWO,
    "two_stage_16f_640": TWO,
    "two_stage_24f_768": TWO,
    "two_stage_32f_896": TWO,
    "two_stage_sde": sde(TWO),
    "three_stage_sde": sde(THREE),
}
BY_LEVEL = {"two_stage_noise", "three_stage_noise", "split"}
"""Recipes of the guide whose stages start at a noise level."""


def test_every_recipe_after_the_guide_is_held_to_its_numbers():
    assert {f"guide/{name}" for name in {*GUIDE, *BY_LEVEL}} == {
        name for name in RECIPES if name.startswith("guide/")
    }


@pytest.mark.parametrize("name", GUIDE)
def test_a_recipe_after_the_guide_has_the_guides_numbers(name):
    tree = part("recipe", f"guide/{name}")
    stages = tree["stages"]
    assert isinstance(stages, Mapping)
    rows = [(s["steps"], s["cfg"], s["denoise"], s["sampler"]) for s in stages.values()]
    assert rows == GUIDE[name]
    assert tree["scheduler"] == "karras"
    assert {stage["scheduler"] for stage in stages.values()} == {None}
    assert tree["fps"] == 12


@pytest.mark.parametrize("name", [*GUIDE, *BY_LEVEL])
def test_a_recipe_after_the_guide_makes_the_frames_it_names_plus_one(name):
    tree = part("recipe", f"guide/{name}")
    named = re.search(r"_(\d+)f_(\d+)$", name)
    said, side = (int(named[1]), int(named[2])) if named else (16, None)
    assert tree["frames"] == said + 1
    assert tree["width"] == tree["height"] == side


def test_the_guides_noise_twins_change_the_take_over_alone():
    for name in ("two_stage", "three_stage"):
        twin, noise = (plan_of(f"guide/{n}").stages for n in (name, f"{name}_noise"))
        assert [s.sigma_start for s in noise[1:]] == [s.denoise for s in twin[1:]]
        assert [(s.steps, s.cfg, s.sampler) for s in noise] == [
            (s.steps, s.cfg, s.sampler) for s in twin
        ]


def test_the_guides_split_runs_from_100_to_40_to_15_to_0_in_8_8_and_4_steps():
    stages = plan_of("guide/split").stages
    assert [(s.sigma_start, s.sigma_end) for s in stages] == [(1, 0.4), (0.4, 0.15), (0.15, 0)]
    assert [s.steps for s in stages] == [8, 8, 4]
    assert [s.takeover for s in stages] == ["noise", "continue", "continue"]
    assert [s.cfg for s in stages] == [9.0, 7.5, 6.5]


def test_every_recipe_after_the_guide_says_where_it_comes_from():
    for path in (ROOT / "conf" / "recipe" / "guide").glob("*.yaml"):
        assert path.read_text(encoding="utf-8").startswith("# Guide, "), path.name


# Cases


def vocabulary() -> set[str]:
    path = ROOT / "wanexp" / "mini" / "weights" / "tokenizer" / "tokenizer.json"
    return set(json.loads(path.read_text(encoding="utf-8"))["model"]["vocab"])


@pytest.mark.parametrize("name", CASES)
def test_a_case_builds_and_is_named_after_its_file(name):
    case = case_of(name)  # checks the image, and that every box lies inside it
    assert case.name == name
    assert case.why


@pytest.mark.parametrize("name", CASES)
def test_a_case_uses_only_words_that_wan_mini_knows(name):
    case, known = case_of(name), vocabulary()
    for prompt in (case.prompt, case.negative_prompt):
        words = re.findall(r"\w+|[^\w\s]+", prompt.lower())
        assert words
        assert set(words) <= known
        assert len(words) < MODELS["wan_mini"].max_tokens  # one more ends the text


@pytest.mark.parametrize("name", CASES)
def test_what_a_case_measures_is_in_the_crop_and_large_enough(name):
    case = case_of(name)
    assert case.image is not None
    window = frame_window(check_image("image", case.image), case.crop, 128, 128)
    boxes = {"face": case.face_box, **case.regions}
    for key, box in boxes.items():
        if box is None:
            continue
        inside = to_frame(box, window, 128, 128)
        assert inside is not None
        assert window[0] - 1 <= box[0] < box[2] <= window[2] + 1, key
        assert window[1] - 1 <= box[1] < box[3] <= window[3] + 1, key
        area = (inside[2] - inside[0]) * (inside[3] - inside[1])
        if key == "face":  # smaller faces are not measured
            assert (area >= 48**2) == ("face" in case.tags)
        else:
            assert area >= 24**2


@pytest.mark.parametrize("name", CASES)
def test_a_cases_tags_are_known_and_borne_out(name):
    case = case_of(name)
    assert case.tags
    assert set(case.tags) <= TAGS
    assert ("text" in case.tags) == bool(case.regions)
    assert "face" not in case.tags or case.face_box is not None


def test_both_halves_of_the_suite_cover_every_kind_of_content():
    for held_out in (False, True):
        tags = [set(case_of(n).tags) for n in CASES if case_of(n).held_out == held_out]
        assert set().union(*tags) == TAGS


def test_no_picture_is_both_used_for_choosing_and_held_out():
    used = {held: set() for held in (False, True)}
    for name in CASES:
        used[case_of(name).held_out].add(case_of(name).image)
    assert not used[False] & used[True]


@pytest.mark.parametrize("name", sorted({*TEMPLATES} - {WORDS}))
def test_a_template_asks_for_an_image_and_works_with_one(name):
    boxes = ["case.regions.label=[4,10,147,33]"] * ("product" in name)
    with pytest.raises(ConfigError, match=r"case\.my_\w+\.image: fill in a file"):
        trial_from(compose_tree([f"case={name}", *boxes]))
    trial = trial_from(compose_tree([f"case={name}", *boxes, "case.image=skimage:page.png"]))
    assert trial.case.image == "skimage:page.png"


def test_the_template_without_a_picture_is_for_models_that_go_by_words():
    with pytest.raises(ConfigError, match=r"my_words\.image: wan_mini makes video from an image"):
        trial_from(compose_tree([f"case={WORDS}"]))
    for model in ("wan22_t2v_a14b", "wan22_ti2v_5b"):
        assert trial_from(compose_tree([f"case={WORDS}", f"model={model}"])).case.image is None


def test_the_product_template_asks_for_the_box_of_its_text():
    with pytest.raises(ConfigError, match=r"regions\.label: expected a list"):
        trial_from(compose_tree(["case=template/product_text"]))


# Protocols


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_names_its_primary_measure_and_why(name):
    tree = composed("protocol", name)["protocol"]
    assert isinstance(tree, Mapping)
    assert protocol_from({"protocol": tree}).name == name
    # All of them, so that each can be overridden on the command line.
    assert list(tree) == [field.name for field in dataclasses.fields(Protocol)]
    assert tree["primary"] in PRIMARIES
    assert tree["why"]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocols_cases_exist_and_are_held_out_only_for_confirming(name):
    cases = axis(name, "case")
    assert len(set(cases)) == len(cases)
    assert {case_of(case).held_out for case in cases} == {name == "confirm"}


def test_full_and_confirm_leave_no_case_out():
    assert sorted(axis("full", "case") + axis("confirm", "case")) == CASES


def test_confirming_uses_seeds_that_no_other_protocol_does():
    others = [axis(name, "seed") for name in PROTOCOLS if name != "confirm"]
    assert not set(axis("confirm", "seed")) & set(itertools.chain(*others))


# Sweeps

BUDGET = re.compile(r"(\d+) trials, (\d+) model calls(?: \((\d+) with shared stages\))?\.")


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_has_the_trials_and_model_calls_that_its_header_promises(name):
    sweep, trials = expanded(name)
    assert sweep.header["Question"].endswith("?")
    assert sweep.header["Expectation"]
    budget = BUDGET.fullmatch(sweep.header["Budget"])
    assert budget, sweep.header["Budget"]
    alone = sum(planned.plan.model_calls for planned in trials)
    assert [int(budget[1]), int(budget[2])] == [len(trials), alone]
    assert int(budget[3] or budget[2]) == shared_model_calls(trials)


@pytest.mark.parametrize("name", SWEEPS)
def test_no_two_trials_of_a_sweep_are_the_same(name):
    _, trials = expanded(name)
    assert len(distinct(trials)) == len(trials)


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_has_its_row_in_the_table(name):
    sweep, trials = expanded(name)
    table = (ROOT / "sweeps" / "README.md").read_text(encoding="utf-8")
    row = next(line for line in table.splitlines() if line.startswith(f"| [`{name}`]"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    alone = sum(planned.plan.model_calls for planned in trials)
    shared = shared_model_calls(trials)
    assert cells[1] == sweep.header["Question"]
    assert cells[2] == str(len(trials))
    assert cells[3] == f"{alone:,}" + (f" ({shared:,})" if shared != alone else "")


def test_no_sweep_looks_at_a_held_out_case():
    for name in SWEEPS:
        assert not any(case_of(case).held_out for case in expanded(name)[0].cases), name


def test_the_ab_protocol_changes_one_setting_of_the_second_stage_at_a_time():
    sweep, trials = expanded("ab_protocol")
    assert list(sweep.arms) == ["baseline", "A", "B", "C"]
    assert sweep.later == {"D": ("A", "B", "C")}
    plans = {planned.arm: planned.plan for planned in trials}
    seen = {arm: (s.denoise, s.steps, s.cfg) for arm, p in plans.items() for s in p.stages[1:]}
    assert seen == {
        "baseline": (0.45, 25, 7.5),
        "A": (0.5, 25, 7.5),
        "B": (0.45, 28, 7.5),
        "C": (0.45, 25, 7.0),
    }
    assert len({plan.stages[0] for plan in plans.values()}) == 1


def test_the_noise_twin_of_the_ab_protocol_differs_in_the_take_over_alone():
    (_, denoise), (_, noise) = expanded("ab_protocol"), expanded("ab_protocol_noise")
    for one, twin in zip(denoise, noise, strict=True):
        first, refine = one.plan.stages
        first_twin, refine_twin = twin.plan.stages
        assert (one.arm, one.case, one.seed) == (twin.arm, twin.case, twin.seed)
        assert first == first_twin
        assert refine_twin.sigma_start == refine.denoise != refine.sigma_start
        for key in ("steps", "cfg", "sampler", "scheduler", "shift"):
            assert getattr(refine, key) == getattr(refine_twin, key)


def test_the_demo_is_the_noise_twin_with_the_models_own_guidance():
    demo, twin = (expanded(name)[0] for name in ("demo", "ab_protocol_noise"))
    assert demo.later == twin.later
    for arm in ("baseline", "A", "B"):
        assert demo.arms[arm] == twin.arms[arm]
    plans = {t.arm: t.plan for t in expanded("demo")[1]}
    assert [s.cfg for s in plans["baseline"].stages] == [2.0, 2.0]
    assert plans["C"].stages[1].cfg / 2 == pytest.approx(7.0 / 7.5, abs=0.005)


def test_the_handover_sweep_asks_no_low_expert_above_the_boundary_and_snaps_apart():
    _, trials = expanded("handover_sigma")
    firsts = [planned.plan.stages[0] for planned in trials]
    assert {stage.sigma_end_wanted for stage in firsts} == {0.88, 0.7, 0.5}
    for stage in firsts:
        assert stage.sigma_end <= 0.9
        assert stage.sigma_end == pytest.approx(stage.sigma_end_wanted, abs=0.05)


def test_every_file_here_is_read_by_a_test():
    groups = {path.parent.name for path in (ROOT / "conf").rglob("*.yaml")}
    tested = {"model", "recipe", "guide", "memory", "case", "template", "protocol"}
    assert groups - tested == {"conf", "sweeper", "tracking"}
    assert not [path for path in Path(ROOT / "sweeps").iterdir() if path.is_dir()]
