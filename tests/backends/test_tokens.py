"""Tokenizers from a sentencepiece model alone, as ComfyUI's text encoder files carry one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import T5Tokenizer
from transformers.convert_slow_tokenizer import import_protobuf

from tests.backends.single_files import own_weights, write
from wanexp.backends.diffusers import open_backend
from wanexp.backends.tokens import load_tokenizer, sentencepiece_tokenizer
from wanexp.config import recipe_from
from wanexp.memory import Memory
from wanexp.strict import ConfigError

PIECES = (
    ("<pad>", 0.0, 3),
    ("</s>", 0.0, 3),
    ("<unk>", 0.0, 2),
    ("▁", -2.0, 1),
    ("▁a", -3.0, 1),
    ("▁fa", -4.0, 1),
    ("ce", -4.0, 1),
    ("▁face", -9.5, 1),
    ("▁move", -4.0, 1),
    ("s", -3.0, 1),
    ("e", -5.0, 1),
    (",", -3.0, 1),
)
"""Piece, score and type: 1 normal, 2 unknown, 3 control."""


def model() -> bytes:
    """A sentencepiece model of a few pieces."""
    proto = getattr(import_protobuf(), "ModelProto")()  # noqa: B009
    for text, score, kind in PIECES:
        piece = proto.pieces.add()
        piece.piece, piece.score, piece.type = text, score, kind
    proto.trainer_spec.model_type = 1
    spec = proto.trainer_spec
    spec.pad_id, spec.eos_id, spec.unk_id, spec.bos_id = 0, 1, 2, -1
    return proto.SerializeToString()


def spelt(ids: list[int]) -> list[str]:
    return [PIECES[i][0] for i in ids]


def test_text_is_cut_into_the_likeliest_pieces_and_ended() -> None:
    """▁face costs 9.5, ▁fa + ce only 8: worked out by hand."""
    tokens = sentencepiece_tokenizer(model())(["a face, moves"], return_tensors="np")
    expected = ["▁a", "▁fa", "ce", ",", "▁move", "s", "</s>"]
    assert spelt(tokens.input_ids[0].tolist()) == expected


def test_short_texts_are_padded_and_long_ones_cut_before_the_end() -> None:
    tokenizer = sentencepiece_tokenizer(model())
    settings = {"padding": "max_length", "max_length": 5, "truncation": True}
    short, long = (tokenizer([text], **settings) for text in ("a", "a face moves a face"))
    assert spelt(short.input_ids[0]) == ["▁a", "</s>", "<pad>", "<pad>", "<pad>"]
    assert short.attention_mask[0] == [1, 1, 0, 0, 0]
    assert spelt(long.input_ids[0]) == ["▁a", "▁fa", "ce", "▁move", "</s>"]


@pytest.mark.parametrize("text", ["a face", "", "  a   face , moves ", "a xx face", "é", "</s> a"])
def test_ids_are_those_of_transformers_t5(text) -> None:
    """Which is what the diffusers folders' tokenizer is."""
    theirs = T5Tokenizer(vocab=[(text, score) for text, score, _ in PIECES], extra_ids=0)
    mine = sentencepiece_tokenizer(model())
    assert mine([text]).input_ids == theirs([text]).input_ids


def test_a_text_encoders_own_file_brings_its_tokenizer(wide_a14b, tmp_path) -> None:
    state = own_weights(wide_a14b / "text_encoder")
    content = torch.from_numpy(np.frombuffer(model(), np.uint8).copy())
    path = tmp_path / "umt5.safetensors"
    save_file({**state, "spiece_model": content}, path)
    tree = {"name": "wan22_i2v_a14b", "source": str(wide_a14b), "text_encoder": str(path)}
    recipe = recipe_from(tree, {"stages": {"only": {"steps": 2}}})
    backend = open_backend(recipe, Memory(device="cpu", dtype="float32"))
    assert backend.encode_text("a face").shape == (1, 512, 32)
    (alone,) = (tmp_path / "spiece.model",)
    alone.write_bytes(model())
    for place in (path, alone):
        assert spelt(load_tokenizer(place)(["a"]).input_ids[0]) == ["▁a", "</s>"]


def test_a_text_encoder_without_one_says_what_is_needed(wide_a14b, tmp_path) -> None:
    path = write(tmp_path / "umt5.safetensors", own_weights(wide_a14b / "text_encoder"))
    tree = {"name": "wan22_i2v_a14b", "source": str(wide_a14b), "text_encoder": str(path)}
    recipe = recipe_from(tree, {"stages": {"only": {"steps": 2}}})
    command = r"`hf download Wan-AI/Wan2.2-I2V-A14B-Diffusers --include 'tokenizer/\*'`"
    with pytest.raises(ConfigError, match=rf"carries none .*{command}"):
        open_backend(recipe, Memory(device="cpu"))


def test_a_tokenizers_json_by_itself_is_enough(tmp_path) -> None:
    sentencepiece_tokenizer(model()).save_pretrained(tmp_path)
    texts: list[Path] = [tmp_path, tmp_path / "tokenizer.json"]
    assert [spelt(load_tokenizer(p)(["a face"]).input_ids[0]) for p in texts] == [
        ["▁a", "▁fa", "ce", "</s>"]
    ] * 2
