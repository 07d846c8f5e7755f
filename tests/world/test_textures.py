"""Texture banks and bundled photographs."""

import pytest
import torch

from wanexp.world.textures import HELD_OUT, TRAINING, photograph, texture_bank


def test_a_bank_is_the_same_for_the_same_seed_and_another_for_another():
    first, again, other = (texture_bank(8, seed=seed, size=32) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_bank_is_colours_between_minus_one_and_one():
    bank = texture_bank(20, seed=0, size=32)
    assert bank.shape == (20, 3, 32, 32)
    assert bank.dtype == torch.float16
    assert bank.abs().max() <= 1
    assert bank.flatten(1).float().std(dim=1).min() > 0.01, "a texture is blank"


@pytest.mark.parametrize("name", [*TRAINING, *HELD_OUT])
def test_every_photograph_comes_with_scikit_image(name):
    picture = photograph(name)
    assert picture.shape[0] == 3
    assert min(picture.shape[1:]) >= 64
    assert picture.min() >= -1 and picture.max() <= 1


def test_held_out_photographs_are_not_trained_on():
    never = {*HELD_OUT, "motorcycle_right.png", "logo.png"}
    assert not never & set(TRAINING)
