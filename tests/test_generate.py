from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.golden_chains import (
    CHAINS,
    GOLDEN,
    SHAPE,
    chain_recipe,
    golden_conditioning,
    statistics,
)
from wanexp.backends import Conditioning, encode, load_backend
from wanexp.backends.diffusers import DiffusersBackend
from wanexp.config import recipe_from
from wanexp.generate import StageEnd, generate, take_over
from wanexp.images import load_source
from wanexp.memory import Memory
from wanexp.models import MODELS
from wanexp.noise import initial_noise, noise_source
from wanexp.plan import Plan, make_plan
from wanexp.samplers import SAMPLERS
from wanexp.seeds import stage_seed

CPU = Memory(device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def backend() -> DiffusersBackend:
    return DiffusersBackend(folder=GOLDEN, model=MODELS["wan22_i2v_a14b"], memory=CPU)


@pytest.fixture(scope="module")
def conditioning() -> Conditioning:
    return golden_conditioning()


def recipe_plan(recipe: dict[str, object]) -> Plan:
    size = {"width": 64, "height": 48, "frames": 9}
    tree = {**size, "scheduler": "simple", "shift": 5.0, **recipe}
    return make_plan(recipe_from({"name": "wan22_i2v_a14b", "source": str(GOLDEN)}, tree))


def plan_of(stages: dict[str, dict[str, object]], **recipe: object) -> Plan:
    return recipe_plan({**recipe, "stages": stages})


@pytest.mark.parametrize("name", CHAINS)
def test_every_stage_of_a_chain_ends_where_comfyui_ended(name, backend, conditioning) -> None:
    chain, expected = CHAINS[name], load_file(GOLDEN / "latents.safetensors")
    mean, deviation = statistics()
    ends = generate(
        recipe_plan(chain_recipe(chain)), conditioning, [node["seed"] for node in chain], backend
    )
    for k, end in enumerate(ends):
        handed_over = end.latent / (1 - end.sigma) * deviation + mean
        torch.testing.assert_close(handed_over, expected[f"{name}.{k}"], atol=5e-5, rtol=0)


STAGES = {
    "establish": {"steps": 4, "sampler": "dpmpp_2m", "cfg": 3.5},
    "refine": {"steps": 4, "sampler": "dpmpp_2m_sde", "cfg": 1.0, "sigma_start": 0.6},
    "polish": {"steps": 3, "sampler": "euler_ancestral", "cfg": 2.0, "sigma_start": 0.3},
}


def run(plan: Plan, conditioning: Conditioning, backend, seed: int = 3) -> list[StageEnd]:
    seeds = [stage_seed(seed, k) for k in range(len(plan.stages))]
    return list(generate(plan, conditioning, seeds, backend))


def test_a_trial_has_the_same_bits_alone_and_after_another(backend, conditioning) -> None:
    plan = plan_of(STAGES)
    alone = run(plan, conditioning, backend)
    run(plan_of({"only": {"steps": 3, "sampler": "heun", "cfg": 6.0}}), conditioning, backend)
    after = run(plan, conditioning, backend)
    assert [torch.equal(a.latent, b.latent) for a, b in zip(alone, after, strict=True)] == [
        True
    ] * 3


def test_a_trial_has_the_same_bits_when_it_goes_on_from_a_stored_stage(
    backend, conditioning
) -> None:
    plan, seeds = plan_of(STAGES), [stage_seed(3, k) for k in range(3)]
    whole = run(plan, conditioning, backend)
    for first in (1, 2):
        stored = whole[first - 1].latent.clone()
        rest = list(generate(plan, conditioning, seeds, backend, first=first, latent=stored))
        assert [end.name for end in rest] == [stage.name for stage in plan.stages[first:]]
        assert torch.equal(rest[-1].latent, whole[-1].latent)


def test_another_seed_is_another_video(backend, conditioning) -> None:
    plan = plan_of({"only": {"steps": 3, "sampler": "euler"}})
    one, other = (run(plan, conditioning, backend, seed)[-1].latent for seed in (0, 1))
    assert (one - other).abs().max() > 0.1


def test_global_random_state_is_left_alone(backend, conditioning) -> None:
    torch.manual_seed(1)
    torch_state, numpy_state = torch.get_rng_state(), pickle.dumps(np.random.get_state())
    run(plan_of(STAGES), conditioning, backend)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert pickle.dumps(np.random.get_state()) == numpy_state


def test_the_calls_counted_at_the_experts_are_the_plans(backend, conditioning) -> None:
    plan = plan_of({**STAGES, "polish": {**STAGES["polish"], "sampler": "dpmpp_2s_ancestral"}})
    before = backend.model_calls
    ends = run(plan, conditioning, backend)
    assert [end.model_calls for end in ends] == [8, 4, 2 * 5]
    assert [end.model_calls for end in ends] == [stage.model_calls for stage in plan.stages]
    assert backend.model_calls - before == plan.model_calls


def test_a_display_is_told_of_every_evaluation(backend, conditioning) -> None:
    plan = plan_of(STAGES)
    told: list[tuple[str, int]] = []
    seeds = [1, 2, 3]
    list(
        generate(
            plan,
            conditioning,
            seeds,
            backend,
            on_evaluation=lambda stage, done: told.append((stage.name, done)),
        )
    )
    assert told == [(s.name, i + 1) for s in plan.stages for i in range(len(s.experts))]


def test_a_cut_in_a_one_step_samplers_schedule_changes_nothing(backend, conditioning) -> None:
    whole = plan_of({"only": {"sampler": "euler"}}, steps=6)
    level = whole.stages[0].sigmas[3]
    cut = plan_of(
        {"high": {"sampler": "euler", "sigma_end": level}, "low": {"sampler": "euler"}}, steps=6
    )
    one = run(whole, conditioning, backend)[-1].latent
    two = run(cut, conditioning, backend)[-1].latent
    assert torch.equal(one, two)


def test_the_expert_changes_where_the_plan_says(backend, conditioning) -> None:
    plan = plan_of({"only": {"sampler": "euler", "steps": 4}})
    assert plan.stages[0].experts == ("high", "high", "low", "low")
    auto = run(plan, conditioning, backend)[-1].latent
    pinned = plan_of(
        {
            "high": {"sampler": "euler", "expert": "high", "sigma_end": plan.stages[0].sigmas[2]},
            "low": {"sampler": "euler", "expert": "low"},
        },
        steps=4,
    )
    assert torch.equal(auto, run(pinned, conditioning, backend)[-1].latent)


def test_what_is_decoded_at_a_stages_end_is_clean(backend, conditioning) -> None:
    stages = {"high": {"sampler": "euler", "sigma_end": 0.83}, "low": {"sampler": "euler"}}
    plan = plan_of(stages, steps=4)
    high, low = run(plan, conditioning, backend)
    assert high.sigma == pytest.approx(0.8333, abs=1e-4)
    last_step = plan.stages[0].sigmas[-2:]
    x_before = high.latent + (high.latent - high.denoised) / last_step[1] * (
        last_step[0] - last_step[1]
    )
    denoise = backend.denoiser(conditioning, expert="high", cfg=plan.stages[0].cfg)
    torch.testing.assert_close(high.denoised, denoise(x_before, last_step[0]), atol=1e-4, rtol=0)
    assert low.sigma == 0
    assert torch.equal(low.denoised, low.latent)


def test_uni_pc_is_divided_by_what_it_leaves_clean(backend, conditioning) -> None:
    """It stops at sigma 0.001, where the clean part of x is 0.999 of the whole."""
    plan = plan_of({"only": {"sampler": "uni_pc", "steps": 5, "expert": "high", "cfg": 2.0}})
    denoise = backend.denoiser(conditioning, expert="high", cfg=2.0)
    noise = initial_noise(SHAPE, stage_seed(3, 0))
    stopped = SAMPLERS["uni_pc"](denoise, noise, plan.stages[0].sigmas, lambda s, t: noise)
    torch.testing.assert_close(run(plan, conditioning, backend)[-1].latent, stopped / 0.999)


def test_an_sde_stage_is_noised_at_1_and_steps_from_just_below(backend, conditioning) -> None:
    """Its Brownian path begins at 1 too."""
    plan = plan_of({"only": {"sampler": "dpmpp_2m_sde", "steps": 4, "cfg": 2.0, "expert": "high"}})
    (stage,), seed = plan.stages, stage_seed(3, 0)
    assert stage.sigma_start == 1 > stage.sigmas[0]
    noise = initial_noise(SHAPE, seed)
    draw_noise = noise_source("dpmpp_2m_sde", noise, seed, (1.0, *stage.sigmas[1:]))
    denoise = backend.denoiser(conditioning, expert="high", cfg=2.0)
    expected = SAMPLERS["dpmpp_2m_sde"](denoise, noise, stage.sigmas, draw_noise)
    assert torch.equal(run(plan, conditioning, backend)[-1].latent, expected)


def test_a_bridge_raises_a_latent_to_a_higher_level() -> None:
    """A clean part of 1 − s1 becomes 1 − s2, and the variances of the noise add up to s2²."""
    stages = {
        "high": {"sampler": "euler", "sigma_end": 0.5},
        "again": {"sampler": "euler", "steps": 4, "sigma_start": 0.8},
    }
    stage = plan_of(stages, steps=6).stages[1]
    s1, s2 = stage.previous_end, stage.sigma_start
    assert stage.takeover == "renoise"
    assert 0 < s1 < s2 == 0.8
    one, none = torch.ones(SHAPE), torch.zeros(SHAPE)
    clean = take_over(stage, none, (1 - s1) * one)
    torch.testing.assert_close(clean, (1 - s2) * one)
    old, new = take_over(stage, none, s1 * one), take_over(stage, one, none)
    torch.testing.assert_close(old**2 + new**2, s2**2 * one)


def test_what_does_not_fit_the_plan_is_refused(backend, conditioning) -> None:
    plan = plan_of(STAGES)
    latent = torch.zeros(SHAPE)
    with pytest.raises(ValueError, match="3 stages need as many seeds, got 2"):
        next(generate(plan, conditioning, [1, 2], backend))
    with pytest.raises(ValueError, match="if and only if"):
        next(generate(plan, conditioning, [1, 2, 3], backend, latent=latent))
    with pytest.raises(ValueError, match="if and only if"):
        next(generate(plan, conditioning, [1, 2, 3], backend, first=1))
    with pytest.raises(ValueError, match="expected a latent"):
        next(generate(plan, conditioning, [1, 2, 3], backend, first=1, latent=latent[:, :, 1:]))


@pytest.mark.parametrize("change", ["fewer", "more", "elsewhere"])
def test_a_sampler_that_disagrees_with_its_plan_is_caught(change, backend, conditioning) -> None:
    (stage,) = plan_of({"only": {"sampler": "euler", "steps": 3}}).stages
    asked, experts = stage.evaluation_sigmas, stage.experts
    wrong = {
        "fewer": (asked[:-1], experts[:-1]),
        "more": ((*asked, 0.1), (*experts, "low")),
        "elsewhere": ((asked[0], asked[1] - 1e-3, asked[2]), experts),
    }[change]
    false = dataclasses.replace(stage, evaluation_sigmas=wrong[0], experts=wrong[1])
    plan = Plan(stages=(false,), warnings=())
    with pytest.raises(RuntimeError, match="the plan and the sampler disagree"):
        run(plan, conditioning, backend)


def test_wan_mini_makes_a_video_of_a_photograph_it_never_saw() -> None:
    stages = {
        "establish": {"steps": 4, "sampler": "dpmpp_2m"},
        "refine": {"steps": 3, "sampler": "dpmpp_2m", "sigma_start": 0.5, "cfg": 1.0},
    }
    recipe = recipe_from({"name": "wan_mini"}, {"stages": stages})
    plan = make_plan(recipe)
    backend = load_backend(recipe, CPU)
    source = load_source("skimage:astronaut.png", None, recipe.width, recipe.height)
    prompt = "high quality , camera pans left"
    conditioning = encode(backend, source, prompt, "blurry", recipe.frames)
    for end in run(plan, conditioning, backend):
        frames = backend.decode(end.denoised)
        assert frames.shape == (17, 128, 128, 3)
        assert frames.dtype == np.uint8
        wrong = (frames.astype(float) - source).astype(float) ** 2
        error = wrong.mean(axis=(1, 2, 3))
        assert error[0] < 0.25 * source.astype(float).var()  # its first frame is the source
        assert error[-1] > 2 * error[0]  # and then it moves
