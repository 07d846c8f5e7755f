"""Facts about the models, and fingerprints that change when the weights do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wanexp.models import EDGE_BYTES, MODELS, fingerprint, weights_folder
from wanexp.schedules import sigmas

A14B = MODELS["wan22_i2v_a14b"]


def test_a_model_is_filed_under_its_own_name():
    assert all(model.name == name for name, model in MODELS.items())


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.name)
def test_a_models_own_values_can_be_made_by_it(model):
    assert model.width % model.size_multiple == model.height % model.size_multiple == 0
    assert (model.frames - 1) % model.frame_stride == 0
    assert model.size_multiple % model.vae_stride == 0
    assert len(set(model.experts)) == len(model.experts)
    assert (model.boundary is None) == (len(model.experts) == 1)


def test_the_large_models_have_the_official_values():
    small = MODELS["wan22_ti2v_5b"]
    assert (A14B.steps, A14B.shift, A14B.cfg, A14B.boundary) == (40, 5, 3.5, 0.9)
    assert (A14B.frames, A14B.fps, A14B.size_multiple) == (81, 16, 16)
    assert (small.steps, small.shift, small.cfg, small.boundary) == (50, 5, 5, None)
    assert (small.width, small.height, small.frames, small.fps) == (1280, 704, 121, 24)
    assert (small.size_multiple, small.latent_channels, small.experts) == (32, 48, ("dense",))


# Counted with the official code's rule (high if and only if t ≥ 1000 · boundary) on its schedule.
@pytest.mark.parametrize(
    ("shift", "boundary", "counts"),
    [
        (3, 0.9, {20: 6}),
        (5, 0.9, {4: 2, 8: 3, 20: 8, 40: 15}),
        (8, 0.9, {4: 2, 8: 4, 20: 10, 40: 19}),
        (12, 0.9, {20: 12, 40: 23}),
        (3, 0.875, {20: 7}),
        (5, 0.875, {4: 2, 8: 4, 20: 9, 40: 17}),
        (8, 0.875, {4: 3, 8: 5, 20: 11, 40: 22}),
        (12, 0.875, {20: 13, 40: 26}),
    ],
)
def test_the_high_expert_takes_as_many_steps_as_officially(shift, boundary, counts):
    model = A14B.__class__(**{**vars(A14B), "boundary": boundary})
    found = {
        steps: [model.expert_at(sigma) for sigma in sigmas("simple", steps, shift)[:-1]].count(
            "high"
        )
        for steps in counts
    }
    assert found == counts


def test_the_boundary_itself_belongs_to_the_high_expert():
    assert A14B.expert_at(0.9) == "high"
    assert A14B.expert_at(float(np.nextafter(0.9, 0))) == "high"  # what rounding makes of 0.9
    assert A14B.expert_at(0.9 - 1e-6) == "low"
    assert A14B.expert_at(1.0) == "high"
    assert A14B.expert_at(0.0) == "low"


def test_a_dense_model_has_one_expert_for_every_level():
    dense = MODELS["wan22_ti2v_5b"]
    assert {dense.expert_at(sigma) for sigma in (0.0, 0.5, 0.9, 1.0)} == {"dense"}


# Weights


def test_wan_minis_weights_ship_with_the_package():
    folder = weights_folder(MODELS["wan_mini"].source)
    assert folder is not None
    assert (folder / "model_index.json").is_file()


def test_a_folder_is_told_from_a_hub_id(tmp_path, monkeypatch):
    assert weights_folder("Wan-AI/Wan2.2-I2V-A14B-Diffusers") is None
    assert weights_folder(str(tmp_path)) == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "weights").mkdir()
    assert weights_folder("~/weights") == tmp_path / "weights"


def weights(folder: Path, size: int = 3 * EDGE_BYTES) -> Path:
    (folder / "transformer").mkdir(parents=True)
    (folder / "transformer" / "model.safetensors").write_bytes(bytes(size))
    (folder / "model_index.json").write_text("{}")
    return folder


def test_a_fingerprint_does_not_depend_on_where_the_folder_lies(tmp_path):
    one, two = weights(tmp_path / "one"), weights(tmp_path / "b" / "two")
    assert fingerprint(str(one), None) == fingerprint(str(two), "revision")
    assert len(fingerprint(str(one), None)) == 16


@pytest.mark.parametrize("place", [0, EDGE_BYTES - 1, 2 * EDGE_BYTES, 3 * EDGE_BYTES - 1])
def test_a_changed_byte_at_either_end_of_a_file_changes_the_fingerprint(place, tmp_path):
    folder = weights(tmp_path / "w")
    before = fingerprint(str(folder), None)
    with (folder / "transformer" / "model.safetensors").open("r+b") as file:
        file.seek(place)
        file.write(b"x")
    assert fingerprint(str(folder), None) != before


@pytest.mark.parametrize("size", [1, EDGE_BYTES, EDGE_BYTES + 1, 2 * EDGE_BYTES])
def test_every_byte_of_a_small_file_counts(size, tmp_path):
    folder = weights(tmp_path / "w", size)
    file = folder / "transformer" / "model.safetensors"
    seen = {fingerprint(str(folder), None)}
    for place in {0, size // 2, size - 1}:
        content = bytearray(size)
        content[place] = 1
        file.write_bytes(content)
        seen.add(fingerprint(str(folder), None))
    assert len(seen) == 1 + len({0, size // 2, size - 1})


def test_a_renamed_added_or_longer_file_changes_the_fingerprint(tmp_path):
    folder = weights(tmp_path / "w")
    seen = {fingerprint(str(folder), None)}
    (folder / "extra.safetensors").write_bytes(b"")
    seen.add(fingerprint(str(folder), None))
    (folder / "extra.safetensors").rename(folder / "other.safetensors")
    seen.add(fingerprint(str(folder), None))
    (folder / "other.safetensors").write_bytes(b"a")
    seen.add(fingerprint(str(folder), None))
    assert len(seen) == 4


def test_what_git_and_downloaders_keep_beside_the_weights_does_not_count(tmp_path):
    folder = weights(tmp_path / "w")
    before = fingerprint(str(folder), None)
    for name in (".git/objects/ab", ".cache/huggingface/x.metadata", "transformer/.lock"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("now")
    assert fingerprint(str(folder), None) == before


def test_a_hidden_folder_above_the_weights_hides_nothing(tmp_path):
    folder = weights(tmp_path / ".cache" / "w")
    assert fingerprint(str(folder), None) == fingerprint(str(weights(tmp_path / "w")), None)


def test_a_loras_file_counts_with_its_bytes(tmp_path):
    file = tmp_path / "style.safetensors"
    file.write_bytes(b"before")
    before = fingerprint(str(file), None)
    (tmp_path / "other.safetensors").write_bytes(b"beside")
    assert fingerprint(str(file), None) == before
    file.write_bytes(b"retrained")
    assert fingerprint(str(file), None) != before


def test_a_hub_model_is_its_id_and_revision():
    asked = [("a/b", None), ("a/b", "main"), ("a/b", "abc"), ("a/c", None)]
    assert len({fingerprint(*pair) for pair in asked}) == 4
    assert fingerprint("a/b", "abc") == fingerprint("a/b", "abc")
