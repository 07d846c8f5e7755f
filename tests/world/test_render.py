"""Rendered videos, and whether flow, masks and boxes tell the truth about them."""

from dataclasses import replace

import pytest
import torch

from wanexp.world.faults import displaced
from wanexp.world.render import face_boxes, face_masks, owner_masks, render, true_flow
from wanexp.world.scene import CAMERA, SUBJECTS, draw_scenes, taken
from wanexp.world.textures import texture_bank

BANK = texture_bank(24, seed=1, size=128)
SCENES = draw_scenes(48, seed=11, textures=24, faulty=0.0)


def test_a_video_is_the_same_for_the_same_scene_whoever_is_beside_it():
    few = taken(SCENES, torch.tensor([3, 30]))
    together = render(SCENES, BANK, 3, 32, 32)
    alone = render(few, BANK, 3, 32, 32)
    assert torch.allclose(together[[3, 30]], alone, atol=1e-6)


def test_videos_have_the_asked_shape_and_range():
    video = render(taken(SCENES, torch.arange(4)), BANK, 5, 32, 48)
    assert video.shape == (4, 3, 5, 32, 48)
    assert video.abs().max() <= 1


def test_nothing_moves_before_a_still_camera_and_a_still_subject():
    still = replace(
        SCENES,
        camera=torch.zeros_like(SCENES.camera),
        camera_amount=torch.zeros_like(SCENES.camera_amount),
        first=replace(SCENES.first, action=torch.zeros_like(SCENES.first.action)),
        second=replace(SCENES.second, action=torch.zeros_like(SCENES.second.action)),
    )
    video = render(still, BANK, 4, 32, 32)
    assert torch.equal(video[:, :, 0], video[:, :, 3])
    assert not true_flow(still, 0, 3, 32, 32).flow.abs().gt(1e-4).any()


@pytest.mark.parametrize(("start", "end"), [(2, 3), (3, 2), (0, 6)])
def test_the_true_flow_explains_the_next_frame(start, end):
    """What is left after undoing the flow is resampling, far less than what had moved."""
    video = render(SCENES, BANK, 7, 96, 96)
    truth = true_flow(SCENES, start, end, 96, 96)
    undone = displaced(video[:, :, end : end + 1], truth.flow[:, None])[:, :, 0]
    left = (undone - video[:, :, start]).abs().mean(1)
    was = (video[:, :, end] - video[:, :, start]).abs().mean(1)
    moving = truth.flow.norm(dim=-1).mean((1, 2)) > 0.3
    for scene in range(48):
        if moving[scene]:
            valid = truth.valid[scene]
            assert left[scene][valid].mean() < 0.5 * was[scene][valid].mean()
    assert truth.valid.float().mean() > 0.6


def test_a_pan_moves_the_background_by_its_amount():
    pans = taken(SCENES, (SCENES.camera == CAMERA.index("pans left")).nonzero()[:, 0])
    flow = true_flow(pans, 0, 16, 64, 64).flow
    background = owner_masks(pans, 0, 64, 64) == 0
    for scene in range(len(pans)):
        moved = flow[scene][background[scene]]
        assert torch.allclose(moved[:, 0], pans.camera_amount[scene] * 32, atol=1e-3)
        assert moved[:, 1].abs().max() < 1e-3


def test_masks_follow_kinds():
    masks = owner_masks(SCENES, 0, 64, 64)
    for scene in range(48):
        has_first = SCENES.first.kind[scene] > 0
        assert bool((masks[scene] == 1).any()) <= bool(has_first)
    assert (masks == 2).any()


def test_a_face_box_lies_on_the_face():
    masks = owner_masks(SCENES, 0, 64, 64)
    found = 0
    for scene, box in enumerate(face_boxes(SCENES, 0, 64, 64)):
        is_face = SCENES.first.kind[scene] == SUBJECTS.index("face")
        assert (box is not None) == bool(is_face)
        if box is not None and SCENES.second.kind[scene] == 0:
            x0, y0, x1, y1 = (int(c) for c in box)
            assert (masks[scene, y0:y1, x0:x1] == 1).float().mean() > 0.75
            found += 1
    assert found > 5


def test_a_faces_mask_is_its_pixels_in_every_frame_and_nothing_elsewhere():
    masks = face_masks(SCENES, 3, 64, 64)
    assert masks.shape == (48, 1, 3, 64, 64)
    kinds = torch.stack([SCENES.first.kind, SCENES.second.kind], 1)
    for frame in range(3):
        owners = owner_masks(SCENES, frame, 64, 64)
        for scene in range(48):
            faces = [k + 1 for k in (0, 1) if kinds[scene, k] == SUBJECTS.index("face")]
            truth = torch.isin(owners[scene], torch.tensor(faces, dtype=owners.dtype))
            assert torch.equal(masks[scene, 0, frame].bool(), truth)
