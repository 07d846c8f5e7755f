"""Scenes as numbers, and their captions."""

import torch

from wanexp.mini.shapes import MAX_TOKENS, new_tokenizer
from wanexp.world.captions import CLEAN, PRAISE, captions, loose_captions, vocabulary
from wanexp.world.scene import (
    CAMERA,
    FAST_PAN,
    FAULTS,
    OBJECT_ACTIONS,
    SLOW_ZOOM,
    SUBJECTS,
    draw_scenes,
    moved,
    taken,
)

MANY = draw_scenes(600, seed=5, textures=10)


def test_scenes_are_the_same_for_the_same_seed_and_others_for_another():
    again, other = (draw_scenes(600, seed=seed, textures=10) for seed in (5, 6))
    assert torch.equal(MANY.first.looks, again.first.looks)
    assert torch.equal(MANY.camera_amount, again.camera_amount)
    assert not torch.equal(MANY.camera_amount, other.camera_amount)


def test_every_camera_subject_and_fault_comes_up():
    assert set(MANY.camera.tolist()) == set(range(len(CAMERA)))
    assert set(MANY.first.kind.tolist()) == set(range(len(SUBJECTS)))
    assert set(MANY.fault.tolist()) == set(range(len(FAULTS)))


def test_a_quarter_of_the_scenes_is_faulty_unless_told_otherwise():
    many = draw_scenes(20_000, seed=5, textures=10)
    assert 0.24 < (many.fault > 0).float().mean() < 0.26
    assert not draw_scenes(50, seed=5, textures=10, faulty=0.0).fault.any()


def test_balls_and_boxes_neither_turn_blink_nor_talk():
    objects = MANY.first.kind != SUBJECTS.index("face")
    assert MANY.first.action[objects].max() < OBJECT_ACTIONS


def test_only_a_still_camera_does_not_move():
    assert torch.equal(MANY.camera_amount == 0, MANY.camera == 0)
    assert MANY.camera_amount.max() <= FAST_PAN[1]
    assert MANY.camera_amount[MANY.camera > 0].min() >= SLOW_ZOOM[0]


def test_taken_scenes_and_their_subjects_stay_together():
    rows = torch.tensor([4, 2])
    some = taken(moved(MANY, "cpu"), rows)
    assert len(some) == 2
    assert torch.equal(some.second.centre, MANY.second.centre[rows])
    assert captions(some) == [captions(MANY)[4], captions(MANY)[2]]


def test_a_caption_says_quality_subjects_and_camera():
    words = captions(MANY)
    for text, fault, camera in zip(words, MANY.fault.tolist(), MANY.camera.tolist(), strict=True):
        assert text.startswith(FAULTS[fault] if fault else CLEAN)
        assert f"camera {CAMERA[camera]}" in text
    assert any("slowly" in text for text in words) and any("fast" in text for text in words)


def test_loose_captions_leave_out_but_never_lie():
    for whole, loose in zip(captions(MANY), loose_captions(MANY, seed=1), strict=True):
        said = [phrase for phrase in loose.split(", ") if phrase]
        for phrase in said:
            assert phrase in whole or phrase in PRAISE
        if any(fault in whole for fault in FAULTS[1:]):
            assert not any(phrase in said for phrase in (*PRAISE, CLEAN))


def test_some_loose_captions_are_empty_and_some_one_word():
    texts = loose_captions(MANY, seed=1)
    assert "" in texts
    assert CLEAN in texts


def test_every_caption_is_made_of_known_words_and_fits():
    tokenizer = new_tokenizer()
    unknown = tokenizer.unk_token_id
    for text in [*captions(MANY), *loose_captions(MANY, seed=1), ", ".join(PRAISE)]:
        tokens = tokenizer(text).input_ids
        assert unknown not in tokens
        assert len(tokens) <= MAX_TOKENS
    assert vocabulary() == sorted(set(vocabulary()))
