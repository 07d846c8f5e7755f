"""Faults of known strength."""

import pytest
import torch

from wanexp.world.faults import (
    FAULT_FUNCTIONS,
    SPOKEN,
    blurred,
    displaced,
    face_blur,
    ripple,
    spoiled,
)
from wanexp.world.render import render
from wanexp.world.scene import FAULTS, draw_scenes
from wanexp.world.textures import texture_bank

BANK = texture_bank(12, seed=1, size=64)
SCENES = draw_scenes(3, seed=2, textures=12, faulty=0.0)
CLEAN = render(SCENES, BANK, 9, 48, 64)
LADDERS = {
    "flicker": (1.0, 4.0, 12.0),
    "jitter": (0.25, 0.5, 2.0),
    "wobble": (0.25, 0.5, 2.0),
    "blur": (0.5, 1.0, 3.0),
    "noise": (2.0, 8.0, 20.0),
    "ghosting": (0.1, 0.3, 0.6),
    "sharpening": (0.25, 1.0, 4.0),
    "saturation": (0.2, 0.5, 1.0),
    "freeze": (0.25, 0.5, 1.0),
    "stutter": (0.2, 0.5, 0.9),
}


def _applied(name: str, strength: float, video: torch.Tensor = CLEAN, seed: int = 3):
    return FAULT_FUNCTIONS[name](video, torch.full((len(video),), strength), seed)


def test_every_fault_has_a_ladder_here():
    assert set(LADDERS) == set(FAULT_FUNCTIONS)


@pytest.mark.parametrize("name", FAULT_FUNCTIONS)
def test_no_strength_changes_nothing(name):
    assert torch.equal(_applied(name, 0.0).video, CLEAN)


@pytest.mark.parametrize("name", FAULT_FUNCTIONS)
def test_the_first_frame_is_left_alone(name):
    assert torch.equal(_applied(name, LADDERS[name][-1]).video[:, :, 0], CLEAN[:, :, 0])


@pytest.mark.parametrize("name", FAULT_FUNCTIONS)
def test_the_same_seed_gives_the_same_fault(name):
    strength = LADDERS[name][1]
    assert torch.equal(_applied(name, strength).video, _applied(name, strength).video)


@pytest.mark.parametrize("name", FAULT_FUNCTIONS)
def test_more_of_a_fault_is_further_from_the_truth(name):
    away = [(_applied(name, s).video - CLEAN).abs().mean() for s in LADDERS[name]]
    assert 0 < away[0] < away[1] < away[2]


def test_flicker_multiplies_each_frame_by_its_gain():
    dim = CLEAN * 0.3 - 0.5  # far from white, where gains would be cut off
    spoilt = _applied("flicker", 5.0, dim)
    light = ((spoilt.video + 1).mean((1, 3, 4))) / (dim + 1).mean((1, 3, 4))
    assert torch.allclose(light, spoilt.draw, atol=1e-5)
    assert 0.02 < spoilt.draw[:, 1:].std() < 0.09


def test_jitter_moves_each_frame_by_its_shift():
    spoilt = _applied("jitter", 1.0)
    whole = torch.zeros_like(spoilt.draw)
    whole[..., 0] = 2.0
    field = whole[:, :, None, None].expand(-1, -1, 48, 64, -1)
    moved = displaced(CLEAN, field)
    assert torch.allclose(moved[..., :, :40], CLEAN[..., :, 2:42], atol=1e-4)
    assert spoilt.draw.shape == (3, 9, 2)
    assert 0.7 < spoilt.draw[:, 1:].std() < 1.3


def test_wobble_has_the_asked_rms_and_no_common_shift():
    draw = _applied("wobble", 1.5).draw[:, 1:]
    assert torch.allclose((draw**2).sum(-1).mean((1, 2, 3)).sqrt(), torch.tensor(1.5), atol=1e-4)
    assert draw.mean((2, 3)).abs().max() < 1e-4


def test_ripples_have_the_asked_rms_and_travel():
    draw = ripple(CLEAN, torch.full((3,), 1.5), 4).draw[:, 1:]
    assert (draw**2).sum(-1).mean().sqrt() == pytest.approx(1.5, rel=0.1)
    assert torch.allclose(draw[:, 0], draw[:, 5], atol=1e-4), "the period is five frames"
    assert not torch.allclose(draw[:, 0], draw[:, 2], atol=0.1)


def test_noise_has_the_asked_deviation():
    grey = torch.zeros(2, 3, 5, 32, 32)
    noisy = _applied("noise", 10.0, grey).video[:, :, 1:]
    assert noisy.std() * 127.5 == pytest.approx(10.0, rel=0.03)


def test_freeze_stops_and_stutter_only_repeats():
    frozen = _applied("freeze", 0.5)
    assert torch.equal(frozen.video[:, :, 4], frozen.video[:, :, 8])
    assert torch.equal(frozen.video[:, :, :5], CLEAN[:, :, :5])
    stuttered = _applied("stutter", 0.5)
    for scene in range(3):
        for frame in range(9):
            shown = int(stuttered.draw[scene, frame])
            assert shown <= frame
            assert torch.equal(stuttered.video[scene, :, frame], CLEAN[scene, :, shown])


def test_blur_keeps_a_constant_and_the_mean():
    flat = torch.full((1, 3, 2, 24, 24), 0.3)
    assert torch.allclose(blurred(flat, torch.tensor([2.0])), flat, atol=1e-6)


def test_face_blur_leaves_the_rest_alone():
    faces = torch.zeros(3, 9, 48, 64)
    faces[:, :, 10:30, 20:40] = 1
    spoilt = face_blur(CLEAN, torch.full((3,), 2.0), faces).video
    outside = (faces == 0)[:, None].expand_as(CLEAN)
    assert torch.equal(spoilt[outside], CLEAN[outside])
    assert not torch.equal(spoilt[~outside], CLEAN[~outside])


def test_spoiled_gives_every_scene_its_own_fault():
    scenes = draw_scenes(30, seed=4, textures=12, faulty=0.6)
    video = render(scenes, BANK, 4, 32, 32)
    changed = (spoiled(video, scenes, 1) - video).abs().amax((1, 2, 3, 4)) > 0
    assert torch.equal(changed, scenes.fault > 0)
    assert set(SPOKEN) == set(FAULTS[1:])
