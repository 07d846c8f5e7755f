"""A sweep's trials planned, what they cost alone and shared, and the file that remembers them."""

from __future__ import annotations

import dataclasses
import functools
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, groupby
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wanexp.compose import Point, Sweep, expand_sweep
from wanexp.config import trial_from
from wanexp.order import neighbours
from wanexp.planned import PlannedTrial, distinct, new_model_calls, shared_model_calls
from wanexp.strict import ConfigError
from wanexp.study import later_arms, plan_summary, plan_trials, study_tree

Settings = dict[str, object]

CASES: dict[str, Settings] = {
    "a": {"name": "a", "image": "skimage:astronaut.png", "prompt": "a face talks"},
    "b": {"name": "b", "image": "skimage:coffee.png", "prompt": "camera zooms in"},
}


def sweep(
    arms: Mapping[str, Sequence[Settings]],
    seeds: Sequence[int] = (0, 1),
    cases: Mapping[str, Settings] = CASES,
    **recipe: object,
) -> Sweep:
    """A sweep made by hand: every arm is a list of stages."""

    def tree(stages: Sequence[Settings], case: Settings, seed: int) -> Settings:
        named = {f"s{k}": {"sampler": "euler", **stage} for k, stage in enumerate(stages)}
        sizes = {"width": 64, "height": 64, "frames": 5}
        return {
            "model": {"name": "wan_mini"},
            "recipe": {**sizes, "stages": named, **recipe},
            "case": case,
            "seed": seed,
        }

    return Sweep(
        name="tiny",
        header={"Question": "which?"},
        arms={name: (f"name={name}",) for name in arms},
        cases=tuple(cases),
        seeds=tuple(seeds),
        points=tuple(
            Point(arm=name, case=key, seed=seed, tree=tree(stages, case, seed))
            for key, case in cases.items()
            for seed in seeds
            for name, stages in arms.items()
        ),
        options={"protocol": {"name": "p", "primary": "detail"}},
    )


TWO: list[Settings] = [{"steps": 4}, {"steps": 3, "denoise": 0.5}]
LONGER: list[Settings] = [{"steps": 4}, {"steps": 5, "denoise": 0.5}]
OTHER: list[Settings] = [{"steps": 6}, {"steps": 3, "denoise": 0.5}]


@functools.cache
def ab() -> tuple[Sweep, list[PlannedTrial]]:
    made = expand_sweep("ab_protocol")
    return made, plan_trials(made)


# Trials


def test_every_point_becomes_a_planned_trial_in_its_place():
    made = sweep({"two": TWO, "other": OTHER})
    trials = plan_trials(made)
    assert [(t.arm, t.case, t.seed) for t in trials] == [
        (p.arm, p.case, p.seed) for p in made.points
    ]
    for planned, point in zip(trials, made.points, strict=True):
        assert planned.trial == trial_from(point.tree)
    assert len({t.digest for t in trials}) == 8


def test_equal_plans_are_one_experiment_whatever_their_arms_are_called():
    again = [{"steps": 4, "cfg": 2.0}, {"steps": 3, "denoise": 0.5, "scheduler": "simple"}]
    trials = plan_trials(sweep({"two": TWO, "other": OTHER, "again": again}))
    assert len(trials) == 12
    kept = distinct(trials)
    assert kept == [t for t in trials if t.arm != "again"]  # the first of equals, in order
    assert len({t.digest for t in kept}) == 8


def test_a_trial_that_cannot_run_is_refused_with_its_arm():
    bad: list[Settings] = [{"steps": 4, "expert": "low"}]
    with pytest.raises(ConfigError, match=r"^arm bad: recipe\.stages\.s0\.expert: the low expert"):
        plan_trials(sweep({"two": TWO, "bad": bad}))
    with pytest.raises(ConfigError, match=r"^recipe\.stages\.s0\.expert: the low expert"):
        plan_trials(sweep({"bad": bad}))


def test_one_bad_case_refuses_the_whole_sweep():
    cases = {**CASES, "c": {**CASES["a"], "image": "nowhere.png"}}
    with pytest.raises(ConfigError, match=r"case\.a\.image: no file 'nowhere\.png'"):
        plan_trials(sweep({"two": TWO}, cases=cases))


# Cost


def prefixes(trials: Sequence[PlannedTrial]) -> Iterator[tuple[object, ...]]:
    """Every stage of every trial, as all that decides it, and its cost."""
    for t in trials:
        before: tuple[object, ...] = (t.trial.case.prompt, t.trial.case.image, t.seed)
        for stage in t.plan.stages:
            decisive = (stage.sampler, stage.sigmas, stage.experts, stage.model_calls, stage.cfg)
            before = (*before, decisive, stage.sigma_start, stage.takeover)
            yield (before, stage.model_calls)


def brute_force(trials: Sequence[PlannedTrial]) -> int:
    found = list(prefixes(trials))
    total = 0
    for k, (path, calls) in enumerate(found):
        if all(path != earlier for earlier, _ in found[:k]):
            total += calls  # type: ignore[operator]
    return total


def test_a_shared_first_stage_is_computed_once():
    trials = plan_trials(sweep({"two": TWO, "longer": LONGER, "other": OTHER}))
    # per case and seed: 4 + 3, 5 more on the same first stage, and 6 + 3 of their own; cfg doubles
    assert shared_model_calls(trials) == 2 * 2 * 2 * (4 + 3 + 5 + 6 + 3)
    assert sum(t.plan.model_calls for t in trials) == 2 * 2 * 2 * (7 + 9 + 9)


def test_shared_calls_equal_a_prefix_tree_counted_by_hand():
    draw = random.Random(0)

    def stage(first: bool) -> Settings:
        choice: Settings = {"steps": draw.choice([2, 3]), "cfg": draw.choice([1, 2])}
        if draw.random() < 0.3:
            choice["sampler"] = draw.choice(["heun", "dpmpp_sde"])
        return choice if first else {**choice, "denoise": draw.choice([0.4, 0.5])}

    for _ in range(20):
        arms = {
            f"arm{n}": [stage(first=k == 0) for k in range(draw.randint(1, 3))]
            for n in range(draw.randint(1, 8))
        }
        trials = plan_trials(sweep(arms, seeds=range(draw.randint(1, 2))))
        draw.shuffle(trials)
        assert shared_model_calls(trials) == brute_force(trials)


@pytest.mark.parametrize("name", ["ab_protocol", "split_or_renoise"])
def test_shared_calls_of_a_shipped_sweep_equal_its_prefix_tree(name):
    trials = plan_trials(expand_sweep(name))
    assert shared_model_calls(trials) == brute_force(trials)


def test_nothing_is_shared_between_seeds_cases_or_sizes():
    one = shared_model_calls(plan_trials(sweep({"two": TWO}, seeds=[0], cases={"a": CASES["a"]})))
    assert shared_model_calls(plan_trials(sweep({"two": TWO}))) == 4 * one
    small, large = (plan_trials(sweep({"two": TWO}, width=width)) for width in (64, 80))
    assert shared_model_calls([*small, *large]) == 8 * one
    brief, long = (plan_trials(sweep({"two": TWO}, frames=frames)) for frames in (5, 9))
    assert shared_model_calls([*brief, *long]) == 8 * one


def test_what_decides_no_latent_is_shared(tmp_path):
    """Two files of one picture, other boxes, another frame rate: the same model calls."""
    Image.fromarray(np.zeros((80, 80, 3), np.uint8)).save(tmp_path / "one.png")
    (tmp_path / "two.png").write_bytes((tmp_path / "one.png").read_bytes())
    case: Settings = {"name": "x", "prompt": "p", "image": str(tmp_path / "one.png")}
    cases = {
        "x": case,
        "y": {**case, "image": str(tmp_path / "two.png")},
        "z": {**case, "face_box": [1, 1, 9, 9]},
    }
    trials = plan_trials(sweep({"two": TWO}, seeds=[0], cases=cases))
    trials += plan_trials(sweep({"two": TWO}, seeds=[0], cases={"x": case}, fps=24))
    assert len({t.digest for t in trials}) == 3
    assert shared_model_calls(trials) == trials[0].plan.model_calls


def test_an_unguided_refinement_shares_the_guided_stage_before_it():
    free: list[Settings] = [TWO[0], {**TWO[1], "cfg": 1}]
    trials = plan_trials(sweep({"two": TWO, "free": free}, seeds=[0], cases={"a": CASES["a"]}))
    assert [t.plan.model_calls for t in trials] == [14, 11]
    assert shared_model_calls(trials) == 8 + 6 + 3


def loras(file: Path, strength: float) -> list[Settings]:
    return [{**TWO[0], "loras": {str(file): strength}}, TWO[1]]


def test_a_lora_of_other_content_under_the_same_name_shares_nothing(tmp_path):
    file, keys = tmp_path / "style.safetensors", []
    for content in (b"one", b"other", b"one"):
        file.write_bytes(content)
        (trial,) = plan_trials(sweep({"two": loras(file, 1.0)}, seeds=[0], cases={"a": CASES["a"]}))
        keys.append(trial.stage_keys)
    assert keys[0] == keys[2]
    assert not set(keys[0]) & set(keys[1])


def test_a_stage_has_one_key_whatever_comes_after_it():
    two, longer, other = plan_trials(
        sweep({"two": TWO, "longer": LONGER, "other": OTHER}, seeds=[0], cases={"a": CASES["a"]})
    )
    assert two.stage_keys[0] == longer.stage_keys[0] != other.stage_keys[0]
    # the second stages of two and other are the same settings on another beginning
    assert len({two.stage_keys[1], longer.stage_keys[1], other.stage_keys[1]}) == 3
    assert {len(key) for key in two.stage_keys} == {32}


# Order


def runs(values: Sequence[object]) -> int:
    """How many stretches of equal values there are."""
    return sum(1 for _ in groupby(values))


def test_trials_that_share_something_run_next_to_each_other():
    draw = random.Random(0)
    for _ in range(10):
        arms = {
            f"arm{n}": [
                {"steps": draw.choice([2, 3])},
                {"steps": draw.choice([2, 3]), "denoise": 0.5},
                {"steps": draw.choice([2, 3]), "denoise": 0.4},
            ]
            for n in range(8)
        }
        trials = plan_trials(sweep(arms))
        draw.shuffle(trials)
        ordered = neighbours(trials)
        assert sorted(t.arm for t in ordered) == sorted(t.arm for t in trials)
        for shared in (
            [t.case for t in ordered],
            *([t.stage_keys[k] for t in ordered] for k in range(3)),
        ):
            assert runs(shared) == len(set(shared))


def test_an_order_that_shares_already_stays_as_it_is():
    made = sweep({"two": TWO, "longer": LONGER, "other": OTHER})
    trials = plan_trials(made)
    assert neighbours(trials) == trials


def test_what_a_trial_adds_is_what_none_before_it_has():
    trials = plan_trials(
        sweep({"two": TWO, "longer": LONGER, "again": TWO}, seeds=[0], cases={"a": CASES["a"]})
    )
    assert new_model_calls(trials) == [2 * (4 + 3), 2 * 5, 0]
    assert new_model_calls([]) == []


# What plan --json prints


def test_the_ab_protocols_summary_has_the_promised_shape():
    made, trials = ab()
    summary = plan_summary(made, trials, later_arms(made, trials))
    summary = json.loads(json.dumps(summary, allow_nan=False))
    counts = {key: value for key, value in summary.items() if isinstance(value, int)}
    assert counts == {
        "trials": 16,
        "distinct_trials": 16,
        "model_calls": 1400,
        "model_calls_shared": 968,
        "cases": 2,
        "seeds": 2,
    }
    assert list(summary["arms"]) == ["baseline", "A", "B", "C", "D"]
    for name, arm in summary["arms"].items():
        assert arm["conditional"] is (name == "D")
        establish = arm["stages"]["establish"]
        assert establish["model_calls"] == 36
        assert len(establish["sigmas"]) == 19
        assert len(establish["experts"]) == 18
        assert establish["experts"][0] == "high"
        assert arm["model_calls"] == sum(s["model_calls"] for s in arm["stages"].values())
    assert summary["arms"]["baseline"]["model_calls"] == 86
    assert summary["arms"]["B"]["model_calls"] == 92
    worst = summary["arms"]["D"]
    assert (worst["model_calls"], worst["combines"]) == (92, ["A", "B", "C"])
    refine = worst["stages"]["refine"]
    assert (refine["denoise"], refine["steps"], refine["cfg"]) == (0.5, 28, 7.0)


def test_an_arm_that_is_decided_later_is_planned_at_its_worst(tmp_path, monkeypatch):
    """A combination of fewer arms may cost more than one of all."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweeps").mkdir()
    arms = {
        "base": "[]",
        "more": "[recipe.stages.refine.steps=30]",
        "free": "[recipe.stages.refine.cfg=1]",
        "other": "[recipe.stages.refine.sampler=euler]",
        "all": "{combine: [more, free, other]}",
    }
    lines = "".join(f"      {name}: {own}\n" for name, own in arms.items())
    head = "# @package _global_\ndefaults: [override /protocol: ab]\n"
    text = f"{head}hydra:\n  sweeper:\n    arms:\n{lines}"
    (tmp_path / "sweeps" / "mine.yaml").write_text(text)
    made = expand_sweep("mine")
    trials = plan_trials(made)
    assert set(made.arms) == {t.arm for t in trials} == {"base", "more", "free", "other"}
    worst = later_arms(made, trials)["all"]
    assert (worst.worst.of, worst.plan.model_calls) == (("more", "other"), 36 + 60)
    assert (worst.trials, worst.added) == (4, 4 * 60)


def test_warnings_name_their_arm_and_come_once():
    made, trials = ab()
    warnings = plan_summary(made, trials, {})["warnings"]
    assert isinstance(warnings, list)
    assert len(set(warnings)) == len(warnings) > 0
    assert all(w.split(":")[0] in made.arms for w in warnings)


def test_repeated_trials_are_counted_and_told_apart():
    made = sweep({"two": TWO, "again": TWO})
    summary = plan_summary(made, plan_trials(made), {})
    assert (summary["trials"], summary["distinct_trials"]) == (8, 4)
    assert summary["model_calls"] == 2 * summary["model_calls_shared"]  # type: ignore[operator]


# The study file


def saved(made: Sweep, before: Mapping[str, object] | None = None) -> dict[str, object]:
    """The study file after a run, as it is read again."""
    return json.loads(json.dumps(study_tree(made, plan_trials(made), before or {})))


def places(tree: Mapping[str, object]) -> list[tuple[str, str, int]]:
    rows = tree["trials"]
    assert isinstance(rows, list)
    return [(row["arm"], row["case"], row["seed"]) for row in rows]


def digests(tree: Mapping[str, object]) -> set[str]:
    rows = tree["trials"]
    assert isinstance(rows, list)
    return {row["digest"] for row in rows}


def test_a_new_study_has_the_question_and_a_row_a_trial():
    made = sweep({"two": TWO, "other": OTHER})
    tree = saved(made)
    assert tree["name"] == "tiny"
    assert tree["header"] == {"Question": "which?"}
    assert tree["protocol"] == {"name": "p", "primary": "detail"}
    assert places(tree) == [(p.arm, p.case, p.seed) for p in made.points]
    assert digests(tree) == {t.digest for t in plan_trials(made)}


def test_a_study_says_which_cases_are_kept_back():
    cases = {"a": CASES["a"], "b": {**CASES["b"], "held_out": True}}
    rows = saved(sweep({"two": TWO}, cases=cases))["trials"]
    assert isinstance(rows, list)
    assert {row["case"]: row["held_out"] for row in rows} == {"a": False, "b": True}


def test_the_same_sweep_again_changes_nothing():
    made = sweep({"two": TWO, "other": OTHER})
    tree = saved(made)
    assert saved(made, tree) == tree


def test_a_new_seed_case_or_arm_joins_what_is_there():
    first = saved(sweep({"two": TWO}, seeds=[0], cases={"a": CASES["a"]}))
    second = saved(sweep({"two": TWO}, seeds=[1], cases={"a": CASES["a"]}), first)
    third = saved(sweep({"two": TWO}, seeds=[0], cases={"b": CASES["b"]}), second)
    fourth = saved(sweep({"longer": LONGER}, seeds=[0], cases={"b": CASES["b"]}), third)
    assert places(fourth) == [
        ("two", "a", 0),
        ("two", "a", 1),
        ("two", "b", 0),
        ("longer", "b", 0),
    ]
    assert digests(first) < digests(second) < digests(third) < digests(fourth)
    assert set(fourth["arms"]) == {"two", "longer"}  # type: ignore[call-overload]
    assert set(fourth["cases"]) == {"a", "b"}  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("stages", "recipe"),
    [
        (LONGER, {}),
        (TWO, {"shift": 5.0}),
        (TWO, {"width": 80}),
        (TWO, {"frames": 9}),
        (TWO, {"fps": 24}),
    ],
)
def test_rows_of_an_arm_that_came_to_mean_something_else_go(stages, recipe):
    before = saved(sweep({"two": TWO, "other": OTHER}))
    changed = sweep({"two": stages}, seeds=[1], **recipe)
    tree = saved(changed, before)
    kept = [place for place in places(before) if place[0] == "other"]
    assert places(tree) == [*kept, ("two", "a", 1), ("two", "b", 1)]
    assert digests(tree) >= {t.digest for t in plan_trials(changed)}


def test_rows_of_a_case_that_came_to_mean_something_else_go():
    before = saved(sweep({"two": TWO}))
    edited = {"a": {**CASES["a"], "prompt": "a face blinks"}}
    tree = saved(sweep({"two": TWO}, seeds=[5], cases=edited), before)
    assert places(tree) == [("two", "b", 0), ("two", "b", 1), ("two", "a", 5)]
    told = {"a": {**CASES["a"], "why": "because", "tags": ["face"]}}
    kept = saved(sweep({"two": TWO}, seeds=[5], cases=told), before)
    assert len(places(kept)) == 5


def test_an_arm_asked_in_other_words_keeps_its_rows():
    before = saved(sweep({"two": TWO}, seeds=[0]))
    made = sweep({"two": [{"steps": 4, "cfg": 2.0}, TWO[1]]}, seeds=[1])
    tree = saved(dataclasses.replace(made, arms={"two": ("other words",)}), before)
    assert len(places(tree)) == 4
    assert tree["arms"]["two"]["overrides"] == ["other words"]  # type: ignore[index]


def test_an_arm_that_was_decided_later_stays_behind_those_that_were_given():
    """The first arm is the baseline."""
    before = saved(sweep({"two": TWO, "other": OTHER, "D": LONGER}, seeds=[0]))
    again = dataclasses.replace(sweep({"two": TWO, "other": OTHER}), later={"D": ("two", "other")})
    tree = saved(again, before)
    arms, rows = tree["arms"], [arm for arm, _, _ in places(tree)]
    assert isinstance(arms, dict) and list(arms) == ["two", "other", "D"]
    assert rows[:2] == ["two", "other"] and rows[-2:] == ["D", "D"]


def test_no_place_has_two_rows_after_any_number_of_runs():
    draw = random.Random(0)
    tree: dict[str, object] = {}
    for _ in range(12):
        arms = {name: draw.choice([TWO, LONGER, OTHER]) for name in draw.sample("xyz", 2)}
        made = sweep(arms, seeds=draw.sample(range(3), 2))
        tree = saved(made, tree)
        assert len(set(places(tree))) == len(places(tree))
        assert {(p.arm, p.case, p.seed) for p in made.points} <= set(places(tree))
        for one, two in combinations(set(arms), 2):  # what is one plan has one digest
            same = arms[one] == arms[two]
            rows = tree["trials"]
            assert isinstance(rows, list)
            of = {(r["arm"], r["case"], r["seed"]): r["digest"] for r in rows}
            for case in CASES:
                for seed in made.seeds:
                    assert (of[one, case, seed] == of[two, case, seed]) == same
