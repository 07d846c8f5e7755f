from __future__ import annotations

import pytest
import torch

from wanexp.denoise import clean_estimate, guided, holding, is_guided


def test_the_true_velocity_gives_the_clean_latent_back() -> None:
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn((2, 3, 4), generator=generator, dtype=torch.float64)
    for sigma in (0.0, 0.3, 1.0):
        x = (1 - sigma) * x0 + sigma * noise
        torch.testing.assert_close(clean_estimate(x, noise - x0, sigma), x0)


def test_guidance_goes_from_the_unwanted_towards_and_past_the_wanted() -> None:
    velocities = {"cond": torch.tensor([1.0, -2.0]), "uncond": torch.tensor([3.0, 0.5])}
    x, sigma = torch.tensor([0.5, 0.25]), 0.4
    wanted, unwanted = (x - sigma * velocities[k] for k in ("cond", "uncond"))
    for cfg in (0.0, 0.5, 3.5):
        denoise = guided(lambda x, sigma, branch: velocities[branch], cfg)
        torch.testing.assert_close(denoise(x, sigma), unwanted + cfg * (wanted - unwanted))


@pytest.mark.parametrize(("cfg", "branches"), [(1.0, ["cond"]), (2.0, ["cond", "uncond"])])
def test_guidance_of_1_asks_for_the_wanted_prompt_alone(cfg, branches) -> None:
    asked = []

    def velocity(x, sigma, branch):
        asked.append(branch)
        return x

    guided(velocity, cfg)(torch.ones(2), 0.5)
    assert asked == branches
    assert is_guided(cfg) == (len(branches) == 2)


def test_a_scale_is_1_only_within_rounding() -> None:
    assert not is_guided(1.0 + 1e-10)
    assert is_guided(1.0001)
    assert is_guided(0.0)


def test_known_frames_are_clean_in_every_call_and_every_estimate() -> None:
    known, x = torch.full((1, 2, 1, 1, 1), 7.0), torch.zeros(1, 2, 3, 1, 1)
    seen = []

    def denoise(x, sigma):
        seen.append(x.clone())
        return x + 1

    estimate = holding(denoise, known)(x, 0.5)
    assert seen[0][0, 0, :, 0, 0].tolist() == [7, 0, 0]
    assert estimate[0, 0, :, 0, 0].tolist() == [7, 1, 1]
    assert x.abs().max() == 0
