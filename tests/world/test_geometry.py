"""Maps between frame, world, subjects and skin, and their inverses."""

import torch

from wanexp.world import geometry as g
from wanexp.world.scene import draw_scenes

SCENES = draw_scenes(40, seed=1, textures=4)
TIMES = g.frame_times(5)


def _points(spread: float) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    return spread * (torch.rand(40, 5, 3, 7, 2, generator=random) * 2 - 1)


def test_the_smaller_side_spans_minus_one_to_one():
    grid = g.pixel_grid(4, 8)
    assert grid.shape == (4, 8, 2)
    assert grid[0, 0].tolist() == [-1.75, -0.75]
    assert grid[-1, -1].tolist() == [1.75, 0.75]


def test_the_seventeenth_frame_is_at_time_one():
    assert g.frame_times(17)[-1] == 1
    assert g.frame_times(33)[-1] == 2


def test_frame_and_world_are_inverses():
    points = _points(2.0)
    there = g.to_world(points, SCENES, TIMES)
    assert torch.allclose(g.to_frame(there, SCENES, TIMES), points, atol=1e-5)


def test_world_and_subject_are_inverses():
    points = _points(2.0)
    own = g.to_subject(points, SCENES.first, TIMES)
    assert torch.allclose(g.from_subject(own, SCENES.first, TIMES), points, atol=1e-5)


def test_head_and_skin_are_inverses_on_the_visible_side():
    points, yaw = _points(0.4), g.yaw_at(SCENES.first, TIMES)
    assert yaw.abs().max() > 0.1
    assert torch.allclose(g.from_skin(g.to_skin(points, yaw), yaw), points, atol=1e-5)


def test_a_camera_that_pans_left_shows_more_of_the_left():
    scenes = draw_scenes(200, seed=3, textures=4)
    zoom, position = g.camera_at(scenes, TIMES)
    left, nearer = scenes.camera == 1, scenes.camera == 5
    assert (position[left, -1, 0] < 0).all()
    assert (zoom[nearer, -1] < 1).all()
    assert (zoom[scenes.camera < 5] == 1).all()
