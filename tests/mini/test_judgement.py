"""The yardsticks that wan-mini is judged with, held against scenes whose truth is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from wanexp.mini import evaluation
from wanexp.mini.evaluation import (
    TWO_STAGES,
    as_frames,
    as_tensor,
    distance,
    held_out,
    held_out_photographs,
    psnr,
    with_setting,
)
from wanexp.mini.judgement import Motion, camera_motion, follows, grain, grain_through, limits
from wanexp.models import weights_folder
from wanexp.world.faults import noise
from wanexp.world.scene import CAMERA


@pytest.fixture(scope="module")
def truth():
    return held_out(24, textures=48)


def test_the_background_of_true_videos_follows_their_own_prompts(truth):
    cameras = truth.scenes.camera.tolist()
    for video, camera, away in zip(truth.videos, cameras, truth.crossed, strict=True):
        assert follows(camera_motion(video, away), CAMERA[camera])


def test_a_subject_is_not_taken_for_the_camera():
    """A textured square crosses a plain wall: of the whole picture it is all that moves."""
    texture = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    wall = np.tile(np.linspace(90, 110, 128)[:, None], (1, 128))
    wall = np.repeat((wall + wall.T)[..., None] / 2, 3, axis=-1).astype(np.uint8)
    video, away = np.repeat(wall[None], 17, axis=0), np.zeros((128, 128), bool)
    for t, frame in enumerate(video):
        frame[40:80, 20 + 2 * t : 60 + 2 * t] = texture
    away[36:84, 16:100] = True
    assert follows(camera_motion(video), "pans left")
    assert follows(camera_motion(video, away), "static")


def test_a_still_follows_only_static():
    still = Motion(right=0.1, down=-0.05, nearer=0.0)
    assert [camera for camera in CAMERA if follows(still, camera)] == ["static"]


@pytest.mark.parametrize(
    ("motion", "camera"),
    [
        (Motion(right=1.0, down=0.2, nearer=0.1), "pans left"),
        (Motion(right=-1.0, down=0.2, nearer=0.1), "pans right"),
        (Motion(right=0.0, down=1.0, nearer=0.0), "pans up"),
        (Motion(right=0.0, down=-1.0, nearer=0.0), "pans down"),
        (Motion(right=0.2, down=0.0, nearer=2.0), "zooms in"),
        (Motion(right=0.2, down=0.0, nearer=-2.0), "zooms out"),
    ],
)
def test_the_greatest_part_of_a_motion_names_the_camera(motion, camera):
    assert [name for name in CAMERA if follows(motion, name)] == [camera]


@pytest.mark.parametrize("level", [4.0, 12.0, 25.0])
def test_grain_reads_the_noise_that_was_added(truth, level):
    grey = as_tensor(np.full_like(truth.videos[0], 128))[None]
    noisy = as_frames(noise(grey, torch.tensor([level]), 1).video)[0]
    assert grain(noisy) == pytest.approx(level, rel=0.05)


def test_grain_of_a_clean_video_is_small(truth):
    assert np.median([grain(video) for video in truth.videos]) < 1.0


def test_held_out_scenes_are_the_same_every_time_and_faultless(truth):
    again = held_out(24, textures=48)
    assert np.array_equal(truth.videos, again.videos)
    assert not truth.scenes.fault.any()
    assert all(prompt.startswith("high quality") for prompt in truth.prompts)


def test_held_out_photographs_fill_the_frame():
    pictures = held_out_photographs()
    assert set(pictures) == {"astronaut", "chelsea", "motorcycle_left"}
    assert {picture.shape for picture in pictures.values()} == {(128, 128, 3)}


def test_frames_and_tensors_are_inverses():
    frames = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    assert np.array_equal(as_frames(as_tensor(frames)[None])[0], frames)


def test_distances_are_on_their_scales():
    black, white = np.zeros((1, 2, 2, 3), np.uint8), np.full((1, 2, 2, 3), 255, np.uint8)
    assert distance(black, white) == 1.0
    assert psnr(black, white) == 0.0
    assert psnr(black + np.uint8(1), black) == pytest.approx(48.13, abs=0.01)


def test_a_setting_is_changed_in_every_stage_and_only_there():
    stages = with_setting(TWO_STAGES, cfg=5.0)["stages"]
    assert isinstance(stages, dict)
    assert {stage["cfg"] for stage in stages.values()} == {5.0}
    assert stages["refine"]["sigma_start"] == 0.45
    assert "5.0" not in str(TWO_STAGES)


def test_the_finer_grain_is_the_less_of_it_comes_through(truth):
    folder = weights_folder("wan-mini")
    assert folder is not None
    short = replace(truth, videos=truth.videos[:, :5])
    shares = [row["share"] for row in grain_through(folder, short, count=1)]
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.05
    assert shares[-1] < 1


def test_a_picture_of_few_waves_is_within_what_a_latent_could_hold(truth, monkeypatch):
    """Noise is not: 16 of 192 numbers a block leave most of it away."""
    axis = np.arange(64)
    waves = np.cos(np.pi * (axis[:, None] + 0.5) * 2 / 8) + np.cos(np.pi * (axis + 0.5) * 3 / 8)
    smooth = np.rint(127.5 + 60 * waves)[..., None].repeat(3, axis=2).astype(np.uint8)
    rough = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    pictures = {"smooth": smooth, "rough": rough}
    monkeypatch.setattr(evaluation, "held_out_photographs", lambda: pictures)
    found = limits(Path(), truth)
    assert min(found["smooth"].values()) > 50
    assert 8 < found["rough"]["chosen"] < 20
    assert 8 < found["rough"]["basis"] < 20
