"""Warnings: each where it belongs, with its numbers, and silence where nothing is odd."""

from __future__ import annotations

import pytest

from wanexp.config import recipe_from
from wanexp.plan import make_plan

Settings = dict[str, object]


def warnings(*stages: Settings, model: str = "wan22_i2v_a14b", **recipe: object) -> tuple[str, ...]:
    named = {f"s{k}": {"sampler": "euler", **stage} for k, stage in enumerate(stages)}
    return make_plan(recipe_from({"name": model}, {"stages": named, **recipe})).warnings


def test_a_plain_recipe_is_not_warned_of():
    assert warnings({"steps": 40}) == ()
    assert warnings({"steps": 20}, {"steps": 20, "denoise": 0.5}) == ()
    assert warnings({"sigma_end": 0.88, "expert": "high"}, {"expert": "low"}, steps=20) == ()
    assert warnings({"steps": 40}, {"steps": 10, "denoise": 0.3, "cfg": 1}) == ()


# A stage that is thrown away


@pytest.mark.parametrize("scheduler", ["simple", "normal", "beta", "sgm_uniform", "ddim_uniform"])
@pytest.mark.parametrize(("steps", "denoise"), [(10, 0.95), (6, 0.99), (25, 1.0), (4, 0.99995)])
def test_a_denoise_that_rounds_to_one_is_warned_of(scheduler, steps, denoise):
    stage: Settings = {"steps": steps, "denoise": denoise}
    said = (
        f"s1: denoise {denoise:g} at {steps} steps rounds to 1, so all that the stage before made"
        " is thrown away"
    )
    assert warnings({"steps": 4}, stage, scheduler=scheduler) == (said,)


def test_a_recipes_steps_count_where_the_stage_has_none():
    assert "denoise 0.95 at 10 steps rounds to 1" in warnings({}, {"denoise": 0.95}, steps=10)[0]


@pytest.mark.parametrize(("steps", "denoise"), [(10, 0.9), (19, 0.95), (25, 0.45)])
def test_a_denoise_that_keeps_something_is_not(steps, denoise):
    assert warnings({"steps": 4}, {"steps": steps, "denoise": denoise}) == ()


def test_a_one_step_kl_optimal_refinement_can_be_judged():
    stages: list[Settings] = [{"steps": 4}, {"steps": 1, "denoise": 0.3}]
    assert warnings(*stages, scheduler="kl_optimal") == ()


def test_starting_again_from_sigma_one_is_warned_of():
    said = "s1: starts at sigma 1, so all that the stage before made is thrown away"
    assert warnings({"steps": 4}, {"steps": 4, "sigma_start": 1.0}) == (said,)
    assert warnings({"steps": 4}, {"steps": 4, "sigma_start": 0.999}) == ()
    assert warnings({"steps": 4, "denoise": 1.0}) == ()  # the first has nothing before it


def test_a_first_stage_below_noise_starts_from_grey():
    for how in ({"sigma_start": 0.5}, {"denoise": 0.5, "scheduler": "karras"}):
        (said,) = warnings({"steps": 4, **how})
        assert said.startswith("s0: the first stage starts at sigma 0.")
        assert said.endswith("on an empty latent, so its video starts from plain grey")
    assert warnings({"steps": 10, "scheduler": "ddim_uniform"}) == ()


# Levels and counts that differ from what was asked


def test_a_hand_over_that_snaps_far_shows_both_levels():
    (said,) = warnings({"sigma_end": 0.45}, {}, steps=5, shift=1.0)
    assert said == (
        "s0: hands over at sigma 0.400, the schedule's nearest level to the 0.45 that was asked"
    )
    assert warnings({"sigma_end": 0.41}, {}, steps=5, shift=1.0) == ()


def test_a_schedule_with_other_steps_than_asked_is_told():
    found = warnings({"steps": 7, "scheduler": "ddim_uniform"})
    assert found == ("s0: ddim_uniform gives 8 steps where 7 were asked",)


# Experts


@pytest.mark.parametrize("scheduler", ["karras", "exponential"])
def test_a_steep_schedule_is_told_how_little_it_gives_the_high_expert(scheduler):
    said = (
        f"s0: {scheduler} makes 1 of its 20 evaluations at or above sigma 0.9, where motion is"
        " decided"
    )
    assert said in warnings({"steps": 20}, scheduler=scheduler)
    assert warnings({"steps": 4}, {"steps": 20, "denoise": 0.5, "scheduler": "simple"}) == ()


def test_a_steep_schedule_below_the_boundary_is_not_told():
    refine: Settings = {"steps": 20, "denoise": 0.5, "scheduler": "karras"}
    found = warnings({"steps": 4}, refine)
    assert found == ("s0 → s1: the scheduler changes from simple to karras",)


def test_a_high_expert_below_its_boundary_is_told_how_often():
    found = warnings({"sigma_end": 0.5, "expert": "high"}, {"expert": "low"}, steps=10, shift=1.0)
    assert found == ("s0: asks the high expert 3 times below sigma 0.9, which it never learnt",)


def test_a_level_that_rounding_puts_below_the_boundary_is_not_below_it():
    # shift 6: t = 0.6 is sigma 3.6/4 = 0.9
    stages: list[Settings] = [{"sigma_end": 0.857, "expert": "high"}, {"expert": "low"}]
    assert warnings(*stages, steps=10, shift=6.0) == ()


def test_a_dense_model_has_no_boundary_to_warn_of():
    found = warnings({"steps": 20, "cfg": 5}, model="wan22_ti2v_5b", scheduler="karras")
    assert found == ()


# Guidance


@pytest.mark.parametrize(("cfg", "far"), [(7.0, False), (7.1, True), (1.75, False), (1.7, True)])
def test_a_cfg_beyond_twice_or_half_the_models_own_is_far_from_it(cfg, far):
    said = f"s0: cfg {cfg:g} is far from wan22_i2v_a14b's own 3.5"
    assert (warnings({"steps": 20, "cfg": cfg}) == (said,)) == far


def test_no_guidance_is_not_far_from_any():
    assert warnings({"steps": 20, "cfg": 1.0}) == ()


def test_a_cfg_that_rises_is_told():
    refine: Settings = {"steps": 10, "denoise": 0.5}
    found = warnings({"steps": 20, "cfg": 3}, {**refine, "cfg": 4})
    assert found == ("s0 → s1: cfg rises from 3 to 4",)
    assert warnings({"steps": 20, "cfg": 4}, {**refine, "cfg": 3}) == ()
    assert "s0 → s1: cfg rises from 3 to 3.5" in warnings({"steps": 20, "cfg": 3}, refine)


# Between stages, and in all


def test_a_sampler_or_scheduler_that_changes_is_told_for_every_pair():
    refine: Settings = {"steps": 10, "denoise": 0.5}
    found = warnings(
        {"steps": 10, "sampler": "euler"},
        {**refine, "sampler": "heun"},
        {**refine, "sampler": "heun", "scheduler": "beta"},
    )
    assert found == (
        "s0 → s1: the sampler changes from euler to heun",
        "s1 → s2: the scheduler changes from simple to beta",
    )


def test_an_alias_is_no_change_of_sampler():
    stages: list[Settings] = [
        {"sampler": "euler_a"},
        {"sampler": "euler_ancestral", "denoise": 0.5},
    ]
    assert warnings(*stages, steps=10) == ()


def test_more_than_fifty_five_steps_are_told():
    refine: Settings = {"denoise": 0.5}
    assert warnings({"steps": 30}, {**refine, "steps": 25}) == ()
    assert warnings({"steps": 31}, {**refine, "steps": 25}) == (
        "56 steps in all; more than 55 rarely pay",
    )


def test_the_guides_own_two_stages_are_warned_of_where_the_model_disagrees():
    found = warnings(
        {"steps": 18, "cfg": 8.5, "sampler": "dpmpp_2m"},
        {"steps": 25, "cfg": 7.5, "sampler": "dpmpp_2m", "denoise": 0.45},
        scheduler="karras",
    )
    assert found == (
        "s0: karras makes 1 of its 18 evaluations at or above sigma 0.9, where motion is decided",
        "s0: cfg 8.5 is far from wan22_i2v_a14b's own 3.5",
        "s1: cfg 7.5 is far from wan22_i2v_a14b's own 3.5",
    )
