"""LPIPS: the plumbing, with a random trunk that never gets to be called LPIPS."""

import sys
from pathlib import Path

import lpips
import numpy as np
import pytest
import torch
from torchvision.models import alexnet

from tests.metrics.clips import clip, number, why
from wanexp.metrics import measure, perceptual
from wanexp.metrics.perceptual import ADDRESS, WEIGHTS, distance_with

FPS = 16.0
NAMES = ["lpips_source", "lpips_temporal"]


@pytest.fixture(scope="module")
def trunk():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return alexnet(weights=None).state_dict()


@pytest.fixture
def trusted(trunk, tmp_path, monkeypatch):
    """A file of random weights that passes for the real ones."""
    path = tmp_path / WEIGHTS
    torch.save(trunk, path)
    monkeypatch.setattr(perceptual, "why_not", lambda _: None)
    perceptual._loaded.cache_clear()
    yield path
    perceptual._loaded.cache_clear()


def test_distances_are_those_of_the_lpips_package(trunk):
    one, other = (clip(scene, count=1)[0].astype(np.float32) for scene in ("coffee", "chelsea"))
    with torch.random.fork_rng(devices=[]):
        reference = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    state = {name.removeprefix("features."): value for name, value in trunk.items()}
    for name, parameter in reference.net.named_parameters():
        parameter.data.copy_(state[name.split(".", maxsplit=1)[1]])
    first, second = (
        torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1 for image in (one, other)
    )
    # The package means each layer over its own pixels, the map is the layers' enlarged.
    expected = reference(first, second).item()
    between, same = distance_with(trunk)([one, one], [other, one])
    assert between.mean() == pytest.approx(expected, rel=0.05)
    assert np.abs(same).max() == 0.0


def test_the_weights_are_those_that_the_package_itself_finds_at_torch_hub(
    trunk, tmp_path, monkeypatch
):
    """The package loads from the very file that ours is looked for in, and maps are its own."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = perceptual.weights_file(None)
    path.parent.mkdir(parents=True)
    torch.save(trunk, path)
    reference = lpips.LPIPS(net="alex", spatial=True, verbose=False)  # would download otherwise
    pictures = [clip(scene, count=1)[0].astype(np.float32) for scene in ("coffee", "chelsea")]
    first, second = (
        torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1 for image in pictures
    )
    with torch.no_grad():
        expected = reference(first, second)[0, 0].numpy()
    state = torch.load(path, map_location="cpu", weights_only=True)
    (found,) = distance_with(state)(pictures[:1], pictures[1:])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_many_pictures_at_once_read_as_one_by_one(trunk):
    pictures = [*clip("coffee", count=3, pan=(3.0, 0.0)).astype(np.float32)]
    others = pictures[::-1]
    distance = distance_with(trunk)
    for one, other, found in zip(pictures, others, distance(pictures, others), strict=True):
        np.testing.assert_allclose(found, distance([one], [other])[0], rtol=1e-4, atol=1e-6)


def test_loading_leaves_the_global_random_state_alone(trunk):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    distance_with(trunk)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_pan_is_near_and_a_blur_is_far(trusted):
    def read(**fault):
        frames = clip("coffee", count=3, **fault)
        source = clip("coffee", count=1)[0]
        found = measure(frames, source, FPS, NAMES, lpips_weights=trusted)
        return {name: number(one) for name, one in found.items()}

    moved, blurred = read(pan=(2.0, 1.0)), read(blur=2.0)
    assert moved["lpips_source"] < 0.3 * blurred["lpips_source"]
    assert blurred["lpips_temporal"] < 0.3 * blurred["lpips_source"]
    still = read(pan=(0.0, 0.0))
    assert still == dict.fromkeys(NAMES, 0.0)


def test_without_weights_there_is_no_number_and_a_way_to_get_one(tmp_path):
    frames = clip("coffee", count=2)
    missing = tmp_path / "nowhere.pth"
    for one in measure(frames, frames[0], FPS, NAMES, lpips_weights=missing).values():
        assert str(missing) in why(one)
        assert ADDRESS in why(one)


def test_no_more_pictures_than_the_memory_holds_go_at_once(trusted, monkeypatch):
    frames = clip("coffee", count=5, pan=(2.0, 1.0))
    together = measure(frames, frames[0], FPS, NAMES, lpips_weights=trusted)
    monkeypatch.setattr(perceptual, "TOGETHER", 2)
    apart = measure(frames, frames[0], FPS, NAMES, lpips_weights=trusted)
    for name in NAMES:
        assert number(apart[name]) == pytest.approx(number(together[name]), rel=1e-4)


def test_a_file_that_cannot_be_read_is_a_reason(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    path = tmp_path / WEIGHTS
    path.touch()
    monkeypatch.setattr(perceptual, "_digest", refuse)
    assert "cannot be read (Permission denied)" in (perceptual.why_not(path) or "")


def test_other_weights_are_refused_by_their_digest(trunk, tmp_path):
    path = tmp_path / WEIGHTS
    torch.save(trunk, path)
    frames = clip("coffee", count=2)
    found = measure(frames, frames[0], FPS, NAMES, lpips_weights=path)
    for one in found.values():
        assert "does not hold the weights that LPIPS was trained with" in why(one)


@pytest.mark.parametrize(
    "given", [{}, {"TORCH_HOME": "~/elsewhere"}, {"XDG_CACHE_HOME": "/somewhere"}]
)
def test_weights_are_looked_for_where_torch_hub_keeps_them_loaded_or_not(given, monkeypatch):
    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    loaded = perceptual.weights_file(None)
    assert loaded == Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS
    monkeypatch.delitem(sys.modules, "torch")
    assert perceptual.weights_file(None) == loaded


def test_frames_under_32_px_are_too_small_for_it(trusted):
    frames = np.zeros((3, 24, 64, 3), np.uint8)
    for one in measure(frames, frames[0], FPS, NAMES, lpips_weights=trusted).values():
        assert why(one) == "frames of 64x24 are too small for LPIPS"
