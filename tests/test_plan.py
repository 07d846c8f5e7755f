"""Plans: what runs, made explicit; what cannot run, refused in a sentence."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from scipy.special import betaincinv

from wanexp.config import recipe_from
from wanexp.plan import Plan, PlannedStage, make_plan
from wanexp.sampler_facts import SAMPLER_FACTS, evaluations
from wanexp.schedules import SCHEDULES, interval_sigmas, stage_sigmas
from wanexp.strict import ConfigError

GOLDEN = Path(__file__).parent / "golden"
STAGES = json.loads((GOLDEN / "stages.json").read_text())
CHAINS = json.loads((GOLDEN / "e2e" / "chains.json").read_text())

TWICE = ("heun", "dpm_2", "dpm_2_ancestral", "dpmpp_2s_ancestral", "dpmpp_sde")
"""Two evaluations an interval, but one in the last."""
FROM_LOG_SNR = ("dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde", "er_sde")
"""Cannot step from sigma 1."""
DROPPING = ("dpm_2", "dpm_2_ancestral", "uni_pc", "uni_pc_bh2")

Settings = dict[str, object]


def plan(*stages: Settings, model: str = "wan22_i2v_a14b", **recipe: object) -> Plan:
    named = {f"s{k}": stage for k, stage in enumerate(stages)}
    return make_plan(recipe_from({"name": model}, {"stages": named, **recipe}))


def only(stage: Settings, **recipe: object) -> PlannedStage:
    """The one stage of a plan on the large model."""
    return plan(stage, **recipe).stages[0]  # type: ignore[arg-type]


def message(*stages: Settings, **recipe: object) -> str:
    with pytest.raises(ConfigError) as error:
        plan(*stages, **recipe)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    return str(error.value)


def shifted(t: float, shift: float) -> float:
    return shift * t / (1 + (shift - 1) * t)


def assert_sound(made: Plan) -> None:
    """What every plan owes whoever runs it."""
    previous = 0.0
    for index, stage in enumerate(made.stages):
        assert stage.index == index
        assert stage.previous_end == previous
        assert stage.steps == len(stage.sigmas) - 1 >= 1
        assert all(a > b for a, b in pairwise(stage.sigmas))
        assert 0 <= stage.sigma_end == stage.sigmas[-1] < stage.sigma_start <= 1
        if stage.sigmas[0] != stage.sigma_start:
            assert stage.sampler in FROM_LOG_SNR
            assert stage.sigma_start == 1
            assert stage.sigmas[0] == pytest.approx(shifted(0.9999, stage.shift))
        assert stage.evaluation_sigmas == tuple(evaluations(stage.sampler, stage.sigmas))
        assert len(stage.experts) == len(stage.evaluation_sigmas)
        assert stage.model_calls == len(stage.experts) * (1 if stage.cfg == 1 else 2)
        expected = "noise" if index == 0 else "renoise"
        if index and abs(stage.sigma_start - previous) < 1e-6:
            expected = "continue"
        assert stage.takeover == expected
        assert index == 0 or stage.sigma_start > previous - 1e-6
        previous = stage.sigma_end
    assert previous == 0
    assert made.model_calls == sum(stage.model_calls for stage in made.stages)


# Every sampler × scheduler × steps × shift


@pytest.mark.parametrize("sampler", SAMPLER_FACTS)
@pytest.mark.parametrize("scheduler", SCHEDULES)
def test_a_single_stage_is_sound_and_costs_what_its_sampler_does(scheduler, sampler):
    for shift in (0.5, 1.0, 3.0, 5.0, 8.0, 12.0):
        for steps in (1, 2, 3, 4, 7, 8, 20, 40):
            extra = sampler in DROPPING
            if scheduler == "kl_optimal" and steps + extra == 1:
                continue
            stage: Settings = {"steps": steps, "sampler": sampler, "scheduler": scheduler}
            try:
                made = plan(stage, shift=shift)
            except ConfigError as error:  # its 0.001 comes before a very low schedule's last level
                assert sampler.startswith("uni_pc")
                assert "stops at 0.001" in str(error)
                assert shift < 1
                continue
            assert_sound(made)
            n = made.stages[0].steps
            count = len(made.stages[0].experts)
            assert count == (2 * n - 1 if sampler in TWICE else n)
            if scheduler not in ("beta", "ddim_uniform"):
                assert n == steps


def random_stage(draw: random.Random) -> Settings:
    stage: Settings = {
        "sampler": draw.choice(list(SAMPLER_FACTS)),
        "cfg": draw.choice([None, 1, 1.0, 0, 3.5]),
        "expert": draw.choice(["auto", "auto", "auto", "high", "low"]),
    }
    if draw.random() < 0.6:
        stage["steps"] = draw.choice([1, 2, 3, 4, 8, 20, 300, 1001])
    if draw.random() < 0.4:
        stage["scheduler"] = draw.choice(list(SCHEDULES))
    if draw.random() < 0.3:
        stage["shift"] = draw.choice([0.1, 0.5, 1, 5, 8, 100])
    take_over = draw.random()
    if take_over < 0.3:
        stage["denoise"] = draw.choice([0.01, 0.1, 0.45, 0.95, 1.0, 1 - draw.random()])
    elif take_over < 0.6:
        stage["sigma_start"] = draw.choice([1e-5, 0.001, 0.3, 0.9, 0.999, 1.0])
    if draw.random() < 0.4:
        stage["sigma_end"] = draw.choice([0, 1e-5, 0.001, 0.15, 0.4, 0.88, 0.99])
    return stage


def test_any_recipe_is_either_sound_or_refused_in_a_sentence():
    draw = random.Random(0)
    made = 0
    for _ in range(6_000):
        stages = [random_stage(draw) for _ in range(draw.randint(1, 4))]
        recipe = {
            "steps": draw.choice([None, 1, 4, 20]),
            "scheduler": draw.choice(list(SCHEDULES)),
            "shift": draw.choice([None, 0.5, 1, 8]),
        }
        try:
            found = plan(*stages, **recipe)  # type: ignore[arg-type]
        except ConfigError as error:
            assert str(error).startswith("recipe.stages.s")
            assert "\n" not in str(error)
        else:
            made += 1
            assert_sound(found)
            json.dumps([found.tree(), found.key()], allow_nan=False)
    assert made > 1_000


# Reference numbers


def test_every_planned_stage_has_comfyuis_levels():
    for row in STAGES:
        keys = ("sampler", "scheduler", "shift", "steps", "denoise")
        stage = plan({"steps": 1}, {key: row[key] for key in keys}).stages[1]
        np.testing.assert_allclose(stage.sigmas[1:], row["sigmas"][1:], rtol=0, atol=1e-6)
        assert stage.sigma_start == pytest.approx(row["sigmas"][0], abs=1e-6)


@pytest.mark.parametrize("sampler", FROM_LOG_SNR)
@pytest.mark.parametrize("shift", [1.0, 5.0, 8.0])
def test_a_solver_in_log_snr_is_noised_at_one_and_steps_from_below(sampler, shift):
    stage = only({"steps": 4, "sampler": sampler}, shift=shift)
    assert stage.sigma_start == 1
    assert stage.sigmas[0] == pytest.approx(0.9999 * shift / (1 + (shift - 1) * 0.9999), abs=1e-12)
    assert stage.evaluation_sigmas[0] == stage.sigmas[0]
    below = plan({"steps": 4}, {"steps": 4, "sampler": sampler, "sigma_start": 0.5}).stages[1]
    assert below.sigmas[0] == below.sigma_start == 0.5


@pytest.mark.parametrize("sampler", DROPPING)
def test_some_samplers_leave_out_the_last_level_but_one(sampler):
    longer = stage_sigmas("simple", 9, 5.0)
    stage = only({"steps": 8, "sampler": sampler}, shift=5.0)
    np.testing.assert_allclose(stage.sigmas, [*longer[:8], 0], rtol=0, atol=1e-12)


def from_chain(nodes: list[Settings]) -> tuple[list[Settings], Settings]:
    """A chain of KSampler nodes as stages; cut nodes share the recipe's schedule."""
    keys = ("expert", "cfg", "sampler", "steps", "scheduler", "shift", "denoise")
    if "end" not in nodes[0]:
        chain = [{key: node[key] for key in keys if key in node} for node in nodes]
        return [*chain[:1], *({"denoise": 1.0, **node} for node in chain[1:])], {}
    levels = stage_sigmas("simple", 8, 5.0)
    shared = {key: nodes[0][key] for key in ("steps", "scheduler", "shift")}
    cut = [{key: node[key] for key in ("expert", "cfg", "sampler")} for node in nodes]
    cut[0]["sigma_end"] = float(levels[cast("int", nodes[0]["end"])])
    return cut, shared


def test_the_reference_chains_start_where_their_formulas_say():
    starts = {}
    for name, nodes in CHAINS.items():
        stages, recipe = from_chain(nodes)
        made = plan(*stages, **recipe)  # type: ignore[arg-type]
        assert_sound(made)
        starts[name] = [stage.sigma_start for stage in made.stages]
        assert [set(stage.experts) for stage in made.stages] == [{n["expert"]} for n in nodes]
    smallest = shifted(0.001, 8) ** (1 / 7)
    karras = (1 + 30 / 54 * (smallest - 1)) ** 7  # the last 26 of 55 levels and 0
    beta = (np.rint(betaincinv(0.6, 0.6, 1 - 23 / 33) * 999) + 1) / 1000  # the last 11 of 34
    assert starts["guide_two_stage"] == pytest.approx([1, karras], abs=1e-9)
    assert starts["split_four_four"] == pytest.approx([1, 5 / 6], abs=1e-9)
    assert starts["mixed"] == pytest.approx([1, shifted(float(beta), 5)], abs=1e-9)
    assert karras == pytest.approx(0.10, abs=0.005)


# How a stage takes over


@pytest.mark.parametrize(
    ("steps", "denoise", "simple", "karras"),
    [
        (4, 0.55, 0.870, 0.115),
        (4, 0.5, 0.833, 0.0795),
        (4, 0.35, 0.741, 0.0386),
        (10, 0.3, 0.686, 0.0345),
        (10, 0.9, 0.981, 0.682),
        (10, 0.95, 1.0, 1.0),
        (20, 0.2, 0.556, 0.0197),
        (6, 0.99, 1.0, 1.0),
    ],
)
def test_denoise_is_a_share_of_steps_as_comfyuis(steps, denoise, simple, karras):
    for scheduler, start in (("simple", simple), ("karras", karras)):
        stage: Settings = {"steps": steps, "denoise": denoise, "scheduler": scheduler}
        second = plan({"steps": 2}, stage, shift=5.0).stages[1]
        assert second.sigma_start == pytest.approx(start, abs=6e-4)
        assert second.takeover == "renoise"
        assert second.steps == steps
        assert second.denoise == denoise


@pytest.mark.parametrize("scheduler", SCHEDULES)
@pytest.mark.parametrize("sampler", ["euler", "dpmpp_sde", "uni_pc"])
def test_sigma_start_is_the_level_itself_whatever_the_scheduler(scheduler, sampler):
    for start in (0.05, 0.45, 0.9, 1.0):
        stage: Settings = {"steps": 7, "scheduler": scheduler, "sampler": sampler}
        second = plan({"steps": 2}, {**stage, "sigma_start": start}, shift=8.0).stages[1]
        assert second.sigma_start == start
        assert second.steps == 7
        assert second.sigma_end == 0


def test_the_guides_denoise_differs_enormously_between_schedulers():
    starts = [
        plan({"steps": 2}, {"steps": 25, "denoise": 0.45, "scheduler": name}, shift=8.0)
        .stages[1]
        .sigma_start
        for name in ("karras", "simple")
    ]
    assert starts == pytest.approx([0.10, 0.87], abs=0.005)


def test_the_first_stage_starts_from_noise_alone():
    first = only({"steps": 4})
    assert (first.takeover, first.previous_end, first.sigma_start) == ("noise", 0.0, 1.0)


# Splits


def test_a_split_is_one_schedule_cut_at_the_nearest_levels():
    made = plan(
        {"sigma_end": 0.42, "cfg": 9},
        {"sigma_end": 0.15, "cfg": 7},
        {"cfg": 6},
        steps=20,
        shift=3.0,
        scheduler="simple",
    )
    assert_sound(made)
    whole = stage_sigmas("simple", 20, 3.0)
    first, second, third = made.stages
    joined = [*first.sigmas, *second.sigmas[1:], *third.sigmas[1:]]
    np.testing.assert_array_equal(joined, whole)
    for stage, wanted in ((first, 0.42), (second, 0.15)):
        assert stage.sigma_end_wanted == wanted
        assert stage.sigma_end == whole[np.abs(whole - wanted).argmin()] != wanted
        assert stage.tree()["sigma_end"] == stage.sigma_end
        assert stage.tree()["sigma_end_wanted"] == wanted
    assert [stage.takeover for stage in made.stages] == ["noise", "continue", "continue"]
    assert made.model_calls == 40


@pytest.mark.parametrize("sampler", SAMPLER_FACTS)
def test_cutting_a_schedule_costs_no_evaluation_that_the_sampler_saves(sampler):
    whole = plan({"sampler": sampler}, steps=8, shift=5.0)
    cut = plan({"sampler": sampler, "sigma_end": 0.6}, {"sampler": sampler}, steps=8, shift=5.0)
    assert_sound(cut)
    first, second = cut.stages
    assert (*first.sigmas, *second.sigmas[1:]) == whole.stages[0].sigmas
    assert len(first.experts) + len(second.experts) == len(whole.stages[0].experts)


def test_samplers_that_drop_a_level_share_a_split_only_with_themselves():
    alone = plan({"sampler": "uni_pc", "sigma_end": 0.6}, {"sampler": "uni_pc"}, steps=8)
    mixed = plan({"sampler": "euler", "sigma_end": 0.6}, {"sampler": "uni_pc"}, steps=8)
    assert (alone.stages[0].sigmas[:2], mixed.stages[0].sigmas[:2]) == (
        tuple(stage_sigmas("simple", 9, 5.0)[:2]),
        tuple(stage_sigmas("simple", 8, 5.0)[:2]),
    )
    other = plan({"sampler": "uni_pc", "sigma_end": 0.6}, {"sampler": "euler"}, steps=8)
    assert other.stages[0].sigmas == mixed.stages[0].sigmas
    for made in (alone, mixed, other):
        assert sum(stage.steps for stage in made.stages) == 8


@pytest.mark.parametrize(
    "own", [{"steps": 5}, {"scheduler": "karras"}, {"shift": 3.0}, {"steps": 3, "shift": 12.0}]
)
def test_a_split_stage_with_its_own_settings_has_its_own_schedule_between_its_ends(own):
    made = plan({"sigma_end": 0.8}, {"sigma_end": 0.3, **own}, {}, steps=20)
    assert_sound(made)
    first, second, third = made.stages
    steps = own.get("steps") or second.steps
    levels = interval_sigmas(
        own.get("scheduler", "simple"),
        steps,
        own.get("shift", 5.0),
        start=first.sigma_end,
        end=0.3,
    )
    np.testing.assert_array_equal(second.sigmas, levels)
    assert second.takeover == "continue"
    whole = stage_sigmas("simple", 20, 5.0)
    if "steps" not in own:  # its share of the whole
        ends = [int(np.abs(whole - end).argmin()) for end in (first.sigma_end, 0.3)]
        assert second.steps == ends[1] - ends[0]
    assert third.sigmas == (0.3, *whole[whole < 0.3])


def test_the_last_stage_of_a_split_may_have_its_own_schedule():
    made = plan({"sigma_end": 0.8}, {"steps": 6, "scheduler": "karras"}, steps=20)
    assert_sound(made)
    levels = interval_sigmas("karras", 6, 5.0, start=made.stages[0].sigma_end, end=0.0)
    np.testing.assert_array_equal(made.stages[1].sigmas, levels)


@pytest.mark.parametrize("sampler", DROPPING)
def test_a_last_stage_of_its_own_leaves_out_its_last_level_but_one(sampler):
    own: Settings = {"steps": 6, "sampler": sampler}
    last = plan({"sigma_end": 0.8}, own, steps=20).stages[1]
    longer = interval_sigmas("simple", 7, 5.0, start=last.sigma_start, end=0.0)
    assert last.sigmas == (*longer[:6], 0)
    between = plan({"sigma_end": 0.8}, {**own, "sigma_end": 0.3}, {}, steps=20).stages[1]
    whole = interval_sigmas("simple", 6, 5.0, start=between.sigma_start, end=0.3)
    assert between.sigmas == tuple(whole)


def test_a_first_stage_with_its_own_settings_ends_exactly_where_it_is_asked():
    first, second = plan({"steps": 5, "sigma_end": 0.4}, {}, steps=20).stages
    assert (first.steps, first.sigma_end) == (5, 0.4)
    assert second.sigma_start == 0.4
    assert second.takeover == "continue"


def test_a_stage_that_continues_a_renoised_schedule_is_said_to_be_on_it():
    own: Settings = {"steps": 20, "denoise": 0.5, "scheduler": "karras", "shift": 8.0}
    made = plan({"steps": 4}, {**own, "sigma_end": 0.05}, {}, steps=4, scheduler="simple")
    assert_sound(made)
    whole = stage_sigmas("karras", 20, 8.0, denoise=0.5)
    np.testing.assert_array_equal([*made.stages[1].sigmas, *made.stages[2].sigmas[1:]], whole)
    assert (made.stages[2].scheduler, made.stages[2].shift) == ("karras", 8.0)


def test_both_chains_mix_in_any_order():
    made = plan(
        {"sigma_end": 0.6, "steps": None},
        {},
        {"denoise": 0.5, "steps": 10, "sigma_end": 0.3},
        {},
        {"sigma_start": 0.2, "steps": 5, "scheduler": "karras"},
        steps=12,
    )
    assert_sound(made)
    takeovers = [stage.takeover for stage in made.stages]
    assert takeovers == ["noise", "continue", "renoise", "continue", "renoise"]


# Bridges


def test_a_gap_is_bridged_upwards_with_fresh_noise():
    first, second = plan({"sigma_end": 0.4}, {"sigma_start": 0.7, "steps": 5}, steps=20).stages
    assert second.takeover == "renoise"
    assert second.previous_end == first.sigma_end < second.sigma_start == 0.7


def test_a_gap_downwards_is_refused():
    said = message({"sigma_end": 0.4}, {"sigma_start": 0.2, "steps": 5}, steps=20, shift=1.0)
    assert said == (
        "recipe.stages.s1: starts at sigma 0.2, below the 0.4 that the stage before hands over;"
        " noise can be added but not taken away without model calls (a stage with neither denoise"
        " nor sigma_start continues from there)"
    )


def test_levels_that_meet_are_one_hand_over():
    second = plan({"sigma_end": 0.5}, {"sigma_start": 0.5, "steps": 5}, steps=20, shift=1.0)
    assert second.stages[1].takeover == "continue"


# Experts


@pytest.mark.parametrize(
    ("shift", "counts"), [(5.0, {4: 2, 8: 3, 20: 8, 40: 15}), (8.0, {4: 2, 8: 4, 20: 10, 40: 19})]
)
def test_auto_asks_the_high_expert_as_often_as_the_official_code(shift, counts):
    for steps, high in counts.items():
        stage = only({"steps": steps, "sampler": "euler"}, shift=shift)
        assert stage.experts == ("high",) * high + ("low",) * (steps - high)


def test_auto_follows_the_boundary_within_a_step():
    stage = only({"steps": 8, "sampler": "heun"})
    pairs = list(zip(stage.evaluation_sigmas, stage.experts, strict=True))
    assert all((sigma >= 0.9) == (who == "high") for sigma, who in pairs)
    assert len(pairs) == 15
    switch = stage.experts.index("low")
    assert switch % 2 == 1  # the second evaluation of a step, not its first


def test_a_named_expert_answers_everything_in_its_stage():
    first, second = plan({"sigma_end": 0.88, "expert": "high"}, {"expert": "low"}, steps=20).stages
    assert set(first.experts) == {"high"}
    assert set(second.experts) == {"low"}


def test_a_low_expert_is_refused_above_the_boundary():
    assert message({"steps": 4, "expert": "low"}) == (
        "recipe.stages.s0.expert: the low expert knows only sigma below 0.9, this stage asks it at"
        " 1; use expert auto or start lower"
    )
    plan({"steps": 4}, {"steps": 4, "sigma_start": 0.9, "expert": "low"})
    assert "asks it at 0.901" in message(
        {"steps": 4}, {"steps": 4, "sigma_start": 0.901, "expert": "low"}
    )


def test_a_dense_model_answers_with_its_one_expert():
    made = plan({"steps": 4}, {"steps": 4, "denoise": 0.5}, model="wan22_ti2v_5b")
    assert {who for stage in made.stages for who in stage.experts} == {"dense"}


# Cost


def test_cfg_one_makes_one_call_in_its_own_stage_alone():
    made = plan(
        {"steps": 4, "cfg": 1},
        {"steps": 4, "denoise": 0.5, "cfg": 1.0001},
        {"steps": 4, "denoise": 0.5},
        {"steps": 4, "denoise": 0.5, "cfg": 0},
    )
    assert [stage.model_calls for stage in made.stages] == [4, 8, 8, 8]
    assert [stage.cfg for stage in made.stages] == [1, 1.0001, 3.5, 0]


@pytest.mark.parametrize(
    ("scheduler", "steps", "made"),
    [("ddim_uniform", 7, 8), ("ddim_uniform", 300, 333), ("beta", 300, 293), ("beta", 999, 846)],
)
def test_cost_counts_the_intervals_that_there_are(scheduler, steps, made):
    assert only({"steps": steps, "scheduler": scheduler, "cfg": 1}).model_calls == made


# Refusals


@pytest.mark.parametrize(
    ("stages", "recipe", "expected"),
    [
        ([{}], {}, "recipe.stages.s0.steps: neither the stage nor the recipe says how many"),
        (
            [{"steps": 4}, {"steps": 4}],
            {},
            "recipe.stages.s1: the stage before ends at sigma 0, so there is nothing to continue;"
            " give denoise or sigma_start, or give the stage before a sigma_end",
        ),
        (
            [{"sigma_end": 0.4}],
            {"steps": 10, "shift": 1.0},
            "recipe.stages.s0.sigma_end: the last stage must run to sigma 0, it stops at 0.4",
        ),
        (
            [{"sigma_end": 0.99}, {}],
            {"steps": 4, "shift": 1.0},
            "recipe.stages.s0.sigma_end: 0.99 leaves this stage no step; the schedule's levels"
            " between 1 and 0 are: 0.75, 0.5, 0.25",
        ),
        (
            [{"sigma_end": 0.1}, {}],
            {"steps": 4, "shift": 1.0},
            "recipe.stages.s0.sigma_end: 0.1 leaves the next stage no step; the schedule's levels"
            " between 1 and 0 are: 0.75, 0.5, 0.25",
        ),
        (
            [{"sigma_end": 0.001}, {}],
            {"steps": 100, "shift": 1.0},
            "recipe.stages.s0.sigma_end: 0.001 leaves the next stage no step; the schedule's levels"
            " between 1 and 0 are: 0.99, 0.98, 0.97, …, 0.03, 0.02, 0.01",
        ),
        (
            [{"sigma_end": 0.4}, {"sigma_end": 0.6}, {}],
            {"steps": 10, "shift": 1.0},
            "recipe.stages.s1.sigma_end: 0.6 leaves this stage no step; the schedule's levels"
            " between 0.4 and 0 are: 0.3, 0.2, 0.1",
        ),
        (
            [{"sigma_end": 0.4}, {"sigma_end": 0.6, "steps": 3}, {}],
            {"steps": 10, "shift": 1.0},
            "recipe.stages.s1.sigma_end: expected less than the 0.4 that the stage starts from,"
            " got 0.6",
        ),
        (
            [{"steps": 1, "scheduler": "kl_optimal"}],
            {},
            "recipe.stages.s0: kl_optimal needs at least two steps: it divides by steps - 1",
        ),
        (
            [{"steps": 4}, {"steps": 200, "denoise": 0.0001}],
            {},
            "recipe.stages.s1: steps must lie between 1 and 100,000, got 2,000,000",
        ),
        (
            [{"steps": 4}, {"steps": 4, "sigma_start": 0.002, "scheduler": "karras"}],
            {},
            "recipe.stages.s1: karras runs to 0 over sigma 0.00498008 (shift 5), so it cannot start"
            " at 0.002",
        ),
        (
            [{"steps": 1500, "scheduler": "simple"}],
            {},
            "recipe.stages.s0: sigmas must fall strictly, but 1 is followed by 1",
        ),
        (
            [{"steps": 4}, {"steps": 4, "sigma_start": 0.0005, "sampler": "uni_pc"}],
            {},
            "recipe.stages.s1: sigmas must fall strictly, but 0.000200048 is followed by 0.001"
            " (uni_pc stops at 0.001)",
        ),
    ],
)
def test_what_cannot_run_is_refused_before_anything_loads(stages, recipe, expected):
    assert message(*stages, **recipe) == expected


def test_a_kl_optimal_stage_of_one_step_may_come_from_a_longer_schedule():
    stage: Settings = {"steps": 1, "scheduler": "kl_optimal", "denoise": 0.3}
    assert plan({"steps": 2}, stage).stages[1].steps == 1


@pytest.mark.parametrize("shift", [0.1, 0.3, 0.7, 1 / 3])
def test_a_shift_that_rounds_above_one_still_starts_at_one(shift):
    assert only({"steps": 4}, shift=shift).sigma_start == 1


# Keys and trees


def test_equal_plans_have_equal_keys_however_they_were_asked():
    asked = [
        plan({"steps": 8}, {"steps": 4, "denoise": 1.0}),
        plan({"steps": 8, "scheduler": "simple"}, {"steps": 4, "sigma_start": 1.0}),
        plan({"steps": 8, "cfg": 3.5, "shift": 5}, {"steps": 4, "denoise": 0.99}),
    ]
    assert asked[0].key() == asked[1].key() == asked[2].key()
    assert asked[0].key() != plan({"steps": 8}, {"steps": 5, "denoise": 1.0}).key()


def test_a_key_tells_apart_how_a_latent_is_taken_over():
    continued = plan({"steps": 4, "sigma_end": 0.5}, {"steps": 4})
    raised = plan({"steps": 4, "sigma_end": 0.4}, {"steps": 4, "sigma_start": 0.5})
    assert continued.key()[1]["sigmas"] == raised.key()[1]["sigmas"]
    assert continued.key()[1] != raised.key()[1]


def test_a_tree_has_all_that_a_reader_needs():
    made = plan({"steps": 2, "sampler": "dpmpp_sde"}, {"steps": 2, "denoise": 0.5, "cfg": 1})
    tree = json.loads(json.dumps(made.tree()))
    assert list(tree["stages"]) == ["s0", "s1"]
    first = tree["stages"]["s0"]
    assert first["sigma_start"] == 1
    assert first["sigmas"] == list(made.stages[0].sigmas)
    assert first["experts"] == ["high", *first["experts"][1:]]
    assert first["model_calls"] == 6
    assert tree["model_calls"] == 8
    assert tree["stages"]["s1"]["denoise"] == 0.5
    assert tree["warnings"] == list(made.warnings)
