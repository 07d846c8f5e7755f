"""The samplers: ComfyUI's numbers, their order, what they draw, and what cutting a run changes."""

import json
import math
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from wanexp.sampler_facts import ALIASES, SAMPLER_FACTS, draws, evaluations, facts_of
from wanexp.samplers import SAMPLERS
from wanexp.samplers.multistep import _deis_weights
from wanexp.schedules import shift_time, sigmas, stage_sigmas

GOLDEN = json.loads((Path(__file__).parent / "golden" / "samplers.json").read_text())
DETERMINISTIC = [name for name, facts in SAMPLER_FACTS.items() if facts.stochastic == "none"]
STOCHASTIC = [name for name in SAMPLER_FACTS if name not in DETERMINISTIC]
MEAN, STD = 0.7, 0.5


def golden_tensor(values):
    return torch.tensor(values, dtype=torch.float64).reshape(GOLDEN["shape"])


def golden_denoise(x, s):
    """The posterior mean of an even mixture of two Gaussians."""
    a, variance = 1.0 - s, GOLDEN["variance"]
    spread = a * a * variance + s * s
    m1, m2 = golden_tensor(GOLDEN["m1"]), golden_tensor(GOLDEN["m2"])
    first = torch.sigmoid(((x - a * m2) ** 2 - (x - a * m1) ** 2) / (2 * spread))
    means = [m + a * variance / spread * (x - a * m) for m in (m1, m2)]
    return first * means[0] + (1 - first) * means[1]


def gaussian_variance(s):
    return (1 - s) ** 2 * STD**2 + s**2


def gaussian_denoise(x, s):
    """The posterior mean of x0 ~ N(MEAN, STD²)."""
    return MEAN + (1 - s) * STD**2 / gaussian_variance(s) * (x - (1 - s) * MEAN)


def gaussian_flow(x, s, t):
    """Where the exact ODE takes x from level s to level t."""
    scale = math.sqrt(gaussian_variance(t) / gaussian_variance(s))
    return (1 - t) * MEAN + (x - (1 - s) * MEAN) * scale


def start(count=32, dtype=torch.float64, seed=0):
    return torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def normals(like, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return lambda s, t: torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)


def never(s, t):
    raise AssertionError(f"noise drawn for {s} -> {t}")


def test_every_sampler_has_its_facts_and_every_alias_its_sampler():
    assert set(SAMPLERS) == set(SAMPLER_FACTS) | set(ALIASES)
    for alias, name in ALIASES.items():
        assert SAMPLERS[alias] is SAMPLERS[name]


@pytest.mark.parametrize(
    "row", GOLDEN["rows"], ids=lambda r: f"{r['sampler']}-{r['scheduler']}-{len(r['sigmas']) - 1}"
)
def test_results_equal_comfyui(row):
    draws = iter(row["noises"])
    calls = []

    def denoise(x, s):
        calls.append(s)
        return golden_denoise(x, s)

    levels = [row["evaluations"][0], *row["sigmas"][1:]]
    out = SAMPLERS[row["sampler"]](
        denoise, golden_tensor(row["x"]), levels, lambda s, t: golden_tensor(next(draws))
    )
    # er_sde's 200 points were single precision numbers; all else is double precision throughout
    tolerance = 1e-7 if row["sampler"] == "er_sde" else 1e-11
    assert (out - golden_tensor(row["out"])).abs().max() < tolerance
    np.testing.assert_allclose(calls, row["evaluations"], rtol=0, atol=1e-12)
    left = len(list(draws))
    assert left == (len(row["noises"]) if row["sampler"] == "res_multistep" else 0)


def test_every_sampler_but_one_has_golden_runs():
    # dpm_2_ancestral is held to what it converges to instead
    runs = Counter(row["sampler"] for row in GOLDEN["rows"])
    assert set(SAMPLER_FACTS) - set(runs) == {"dpm_2_ancestral"}
    assert min(runs.values()) >= 3


# The contract of the seam, over the whole table.


def runs_of(sampler):
    """Level lists of every kind: whole, karras, refining, leftover, resumed, one interval."""
    simple = stage_sigmas("simple", 8, 5.0, sampler=sampler)
    return {
        "whole": simple,
        "karras": stage_sigmas("karras", 6, 8.0, sampler=sampler),
        "refine": stage_sigmas("beta", 5, 5.0, denoise=0.3, sampler=sampler),
        "leftover": simple[:5],
        "resumed": simple[4:],
        "one interval": np.array([1.0, 0.0]),
        "one leftover interval": np.array([1.0, 0.6]),
        "two intervals": np.array([1.0, 0.4, 0.0]),
        "three intervals": np.array([0.9, 0.6, 0.2, 0.0]),
        "many": sigmas("sgm_uniform", 120, 12.0),
    }


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_denoiser_is_called_where_the_facts_say(sampler):
    for levels in runs_of(sampler).values():
        calls = []

        def denoise(x, s, calls=calls):
            assert type(s) is float
            calls.append(s)
            return gaussian_denoise(x, s)

        SAMPLERS[sampler](denoise, start(), levels, normals(start()))
        assert calls == evaluations(sampler, levels)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_results_are_finite_and_near_the_data(sampler):
    for kind, levels in runs_of(sampler).items():
        out = SAMPLERS[sampler](gaussian_denoise, start(), levels, normals(start()))
        assert torch.isfinite(out).all(), kind
        assert out.abs().max() < 6, kind
        if levels[-1] < 0.01:
            assert (out.mean() - MEAN).abs() < 0.5, kind


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_dtype_of_x_is_kept_and_numbers_stay_finite(sampler, dtype):
    x = start(dtype=torch.float64)
    for levels in (sigmas("simple", 8, 5.0), sigmas("simple", 8, 5.0)[:4]):
        out = SAMPLERS[sampler](gaussian_denoise, x.to(dtype), levels, normals(x.to(dtype)))
        exact = SAMPLERS[sampler](gaussian_denoise, x, levels, normals(x))
        assert out.dtype == dtype
        tolerance = {torch.float64: 0, torch.float32: 2e-5, torch.bfloat16: 0.3}.get(dtype, 0.05)
        assert (out.double() - exact).abs().max() <= tolerance


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_shape_is_kept_and_x_is_left_as_it_was(sampler):
    x = start(48).reshape(1, 2, 3, 4, 2)
    before = x.clone()
    out = SAMPLERS[sampler](gaussian_denoise, x, sigmas("simple", 4, 5.0), normals(x))
    assert out.shape == x.shape
    assert torch.equal(x, before)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_noise_is_asked_for_once_an_interval_that_needs_it_and_never_to_zero(sampler):
    drawn = []

    def draw(s, t):
        drawn.append((s, t))
        return torch.zeros(4, dtype=torch.float64)

    levels = [0.9, 0.5, 0.2, 0.0]
    SAMPLERS[sampler](gaussian_denoise, start(4), levels, draw)
    assert drawn == draws(sampler, levels)
    if facts_of(sampler).stochastic == "none":
        assert drawn == []
    elif sampler == "dpmpp_sde":
        starts = [(s, evaluations(sampler, [s, t])[1], t) for s, t in [(0.9, 0.5), (0.5, 0.2)]]
        assert drawn == [pair for s, mid, t in starts for pair in ((s, mid), (s, t))]
    else:
        assert drawn == [(0.9, 0.5), (0.5, 0.2)]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_global_random_state_is_touched(sampler):
    torch.manual_seed(5)
    np.random.seed(5)
    before, before_np = torch.get_rng_state(), pickle.dumps(np.random.get_state())
    SAMPLERS[sampler](gaussian_denoise, start(), sigmas("simple", 4, 5.0), normals(start()))
    assert torch.equal(torch.get_rng_state(), before)
    assert pickle.dumps(np.random.get_state()) == before_np


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_levels_may_be_a_list_a_tuple_an_array_or_a_tensor(sampler):
    levels = [0.875, 0.5, 0.25, 0.0]
    out = [
        SAMPLERS[sampler](gaussian_denoise, start(), given, normals(start()))
        for given in (levels, tuple(levels), np.array(levels), torch.tensor(levels))
    ]
    assert all(torch.equal(out[0], other) for other in out[1:])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_less_than_two_levels_change_nothing(sampler):
    for levels in ([], [0.5]):
        assert torch.equal(SAMPLERS[sampler](never, start(), levels, never), start())


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_levels_that_do_not_fall_are_refused_before_the_model_is_called(sampler):
    for levels in ([0.5, 0.5, 0.0], [0.2, 0.9], [float("nan"), 0.0]):
        with pytest.raises(ValueError, match="sigmas must"):
            SAMPLERS[sampler](never, start(), levels, never)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_denoiser_that_always_says_the_same_is_believed(sampler):
    """With x0 known, every run to 0 ends in x0, but for what uni_pc leaves at 0.001."""
    x0 = torch.full((32,), 0.3, dtype=torch.float64)
    left = facts_of(sampler).final_sigma
    for levels in runs_of(sampler).values():
        if levels[-1] == 0.0:
            out = SAMPLERS[sampler](lambda x, s: x0, start(), levels, normals(start()))
            assert (out - x0).abs().max() <= 8 * left + 1e-12


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_gradient_is_recorded(sampler):
    x = start().requires_grad_()
    out = SAMPLERS[sampler](gaussian_denoise, x, [0.9, 0.5, 0.0], normals(x))
    assert not out.requires_grad


# Mathematics.


def test_an_euler_step_by_hand():
    # x = 2, x0 = 1 at 0.8: slope 1.25, to 0.4 it falls by 0.5
    out = SAMPLERS["euler"](lambda x, s: torch.ones_like(x), torch.tensor([2.0]), [0.8, 0.4], never)
    assert out.item() == pytest.approx(1.5)


def test_an_ancestral_step_by_hand():
    # from 0.8 down to 0.2 with x0 = 1: 1.25; up to 0.4: 0.75 of it, and 0.75·0.2 noise of 0.4
    out = SAMPLERS["euler_ancestral"](
        lambda x, s: torch.ones_like(x),
        torch.tensor([2.0], dtype=torch.float64),
        [0.8, 0.4],
        lambda s, t: torch.ones(1, dtype=torch.float64),
    )
    assert out.item() == pytest.approx(0.75 * 1.25 + math.sqrt(0.16 - 0.15**2))


def test_an_lcm_step_by_hand():
    out = SAMPLERS["lcm"](
        lambda x, s: torch.full_like(x, 3.0),
        torch.tensor([2.0]),
        [0.8, 0.4],
        lambda s, t: torch.ones(1),
    )
    assert out.item() == pytest.approx(0.6 * 3 + 0.4)


@pytest.mark.parametrize("sampler", DETERMINISTIC)
def test_the_error_falls_at_the_stated_order(sampler):
    counts = np.array([64, 128, 256])
    errors = []
    for count in counts:
        levels = np.linspace(0.9, 0.3, count + 1)
        out = SAMPLERS[sampler](gaussian_denoise, start(), levels, never)
        errors.append((out - gaussian_flow(start(), 0.9, 0.3)).abs().max().item())
    order = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert order == pytest.approx(SAMPLER_FACTS[sampler].order, abs=0.2)
    assert errors[-1] < 2e-3


@pytest.mark.parametrize("sampler", DETERMINISTIC)
def test_a_run_from_one_to_zero_reaches_the_exact_flow(sampler):
    levels = sigmas("simple", 400, 3.0)
    out = SAMPLERS[sampler](gaussian_denoise, start(), levels, never)
    left = SAMPLER_FACTS[sampler].final_sigma
    assert (out - gaussian_flow(start(), 1.0, left)).abs().max() < 0.01


@pytest.mark.parametrize("sampler", [name for name in STOCHASTIC if name != "lcm"])
def test_many_noisy_steps_reach_the_distribution_of_the_data(sampler):
    x = start(8192)
    levels = stage_sigmas("simple", 200, 5.0, sampler=sampler)
    if SAMPLER_FACTS[sampler].offset_first:
        levels[0] = shift_time(0.9999, 5.0)
    out = SAMPLERS[sampler](gaussian_denoise, x, levels, normals(x))
    # Draws of dpmpp_sde that know nothing of each other cost it an order: see test_noise.
    tolerance = 0.04 if sampler == "dpmpp_sde" else 0.03
    assert out.std().item() == pytest.approx(STD, abs=tolerance)
    assert out.mean().item() == pytest.approx(MEAN, abs=0.03)


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        ("dpm_2_ancestral", [0.207, 0.451]),
        ("dpmpp_2s_ancestral", [0.324, 0.468]),
        ("euler_ancestral", [0.292, 0.409]),
        ("er_sde", [0.319, 0.483]),
        ("dpmpp_2m_sde", [0.308, 0.511]),
        ("lcm", [0.261, 0.314]),
    ],
)
def test_few_noisy_steps_miss_the_spread_by_as_much_as_comfyui(sampler, expected):
    """10 and 40 steps of simple at shift 5, data N(0, 0.5²); ComfyUI's figures to 0.01."""
    for steps, std in zip((10, 40), expected, strict=True):
        x = start(20_000)
        levels = stage_sigmas("simple", steps, 5.0, sampler=sampler)
        if SAMPLER_FACTS[sampler].offset_first:
            levels[0] = shift_time(0.9999, 5.0)
        out = SAMPLERS[sampler](gaussian_denoise, x, levels, normals(x))
        assert out.std().item() == pytest.approx(std, abs=0.01)


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpm_2"])
def test_cutting_a_run_anywhere_changes_nothing(sampler):
    assert SAMPLER_FACTS[sampler].one_step
    x, levels = start(), stage_sigmas("simple", 8, 5.0, sampler=sampler)
    whole = SAMPLERS[sampler](gaussian_denoise, x, levels, never)
    for cut in range(1, len(levels) - 1):
        half = SAMPLERS[sampler](gaussian_denoise, x, levels[: cut + 1], never)
        assert torch.equal(SAMPLERS[sampler](gaussian_denoise, half, levels[cut:], never), whole)


@pytest.mark.parametrize("sampler", SAMPLER_FACTS)
def test_one_step_samplers_and_they_alone_survive_a_cut_with_their_noise(sampler):
    x, levels = start(), [0.95, 0.8, 0.6, 0.45, 0.3, 0.0]
    draw = normals(x)
    whole = SAMPLERS[sampler](gaussian_denoise, x, levels, normals(x))
    half = SAMPLERS[sampler](gaussian_denoise, x, levels[:4], draw)
    again = SAMPLERS[sampler](gaussian_denoise, half, levels[3:], draw)
    assert torch.equal(again, whole) == SAMPLER_FACTS[sampler].one_step


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_run_leaves_nothing_behind_for_the_next(sampler):
    levels = sigmas("simple", 6, 5.0)
    first = SAMPLERS[sampler](gaussian_denoise, start(), levels, normals(start()))
    SAMPLERS[sampler](gaussian_denoise, start(seed=9), levels[:4], normals(start()))
    again = SAMPLERS[sampler](gaussian_denoise, start(), levels, normals(start()))
    assert torch.equal(again, first)


@pytest.mark.parametrize("sampler", ["dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde", "er_sde"])
def test_a_first_sigma_that_nobody_moved_gives_nearly_the_same(sampler):
    levels = sigmas("simple", 8, 1.0).tolist()
    unmoved = SAMPLERS[sampler](gaussian_denoise, start(), levels, normals(start()))
    moved = SAMPLERS[sampler](
        gaussian_denoise, start(), [shift_time(0.9999, 1.0), *levels[1:]], normals(start())
    )
    assert torch.equal(unmoved, moved)


def test_er_sde_survives_where_its_noise_scale_would_overflow():
    levels = [1 - 1e-12, 0.99999, 0.9, 0.5, 0.0]
    out = SAMPLERS["er_sde"](gaussian_denoise, start(), levels, normals(start()))
    assert torch.isfinite(out).all()


def test_deis_weights_are_the_integrals_of_lagrange_polynomials():
    # they sum to the width of the interval, as polynomials through 1 do, up to the quadrature
    weights = _deis_weights([0.6, 0.7, 0.8], 0.5)
    assert sum(weights) == pytest.approx(-0.1, rel=1e-3)
    assert weights[0] < 0 < weights[1]
