"""wan-mini made from nothing, small and quick: what comes out is a pipeline that runs."""

import json
import sys

import numpy as np
import pytest
import torch
from diffusers.pipelines.wan.pipeline_wan_i2v import WanImageToVideoPipeline

from wanexp.mini import expert_training, latents, train, vae_training
from wanexp.mini.evaluation import ONE_STAGE, make, with_setting
from wanexp.mini.folder import load_expert, load_vae, save_expert, save_vae
from wanexp.mini.latents import told
from wanexp.mini.loop import Average, Span, steps
from wanexp.mini.shapes import new_expert, new_text_encoder, new_vae
from wanexp.world.scene import FAULTS, draw_scenes

MIB = 2**20


def test_all_of_wan_mini_stays_under_40_mib_and_every_file_under_16():
    parts = [new_vae(), new_expert(), new_expert(), new_text_encoder()]
    sizes = [2 * sum(p.numel() for p in part.parameters()) for part in parts]
    assert sum(sizes) < 39.9 * MIB
    assert max(sizes) < 15.9 * MIB


def test_the_learning_rate_rises_stays_and_falls(monkeypatch):
    clock = iter([0.0, *(k / 100 for k in range(2000))])
    monkeypatch.setattr("wanexp.mini.loop.time.monotonic", lambda: next(clock))
    rates = [rate for _, rate, _ in steps(Span(seconds=10), 1.0)]
    assert rates[0] < 0.01
    assert rates[300] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.01, abs=0.005)
    assert len(rates) == 1000


def test_a_second_span_goes_on_where_the_first_one_ended(monkeypatch):
    clock = iter([0.0, *(k / 100 for k in range(2000))])
    monkeypatch.setattr("wanexp.mini.loop.time.monotonic", lambda: next(clock))
    rates = [rate for _, rate, _ in steps(Span(seconds=4, begin=0.75, end=1.0), 1.0)]
    assert rates[150] < 0.5
    assert rates[-1] == pytest.approx(0.01, abs=0.005)


def test_averaged_weights_follow_the_live_ones():
    layer = torch.nn.Linear(2, 2, bias=False)
    torch.nn.init.zeros_(layer.weight)
    average = Average(layer)
    torch.nn.init.ones_(layer.weight)
    for _ in range(200):
        average.update()
    assert average.state()["weight"].min() > 0.9
    assert average.state().keys() == layer.state_dict().keys()


def test_a_source_is_told_as_its_frame_followed_by_grey():
    video = told(torch.ones(2, 3, 1, 8, 8))
    assert video.shape == (2, 3, 17, 8, 8)
    assert video[:, :, 0].eq(1).all() and video[:, :, 1:].eq(0).all()


def test_an_untrained_expert_starts_from_the_other_one(tmp_path):
    first = new_expert()
    save_expert(tmp_path, "high", first)
    second = load_expert(tmp_path, "low").state_dict()
    assert all(
        torch.equal(value.half().float(), second[key]) for key, value in first.state_dict().items()
    )


def test_statistics_of_latents_survive_saving(tmp_path):
    vae = new_vae()
    vae.register_to_config(latents_mean=[0.5] * 16, latents_std=[2.0] * 16)
    save_vae(tmp_path, vae)
    again = load_vae(tmp_path)
    assert again.config["latents_mean"] == [0.5] * 16
    assert again.config["latents_std"] == [2.0] * 16


@pytest.mark.slow
def test_wan_mini_can_be_made_from_nothing_and_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(vae_training, "VIDEOS", 1)
    monkeypatch.setattr(vae_training, "PICTURES", 2)
    monkeypatch.setattr(latents, "BATCH", 2)
    monkeypatch.setattr(expert_training, "BATCH", 2)
    folder, cache = tmp_path / "model", tmp_path / "cache"
    options = ["--folder", str(folder), "--cache", str(cache), "--textures", "24"]
    small = ["--videos", "4", "--seconds", "1"]
    monkeypatch.setattr(sys, "argv", ["train", "all", *options, *small])
    train.main()
    rows = [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]
    assert {row["part"] for row in rows} == {"vae", "latents", "high", "low"}
    pipeline = WanImageToVideoPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    assert pipeline.config["boundary_ratio"] == 0.9
    source = np.zeros((128, 128, 3), np.uint8)
    two_steps = with_setting(ONE_STAGE, steps=2, cfg=1.0)
    video = make(folder, source, "high quality, a face talks", recipe=two_steps)
    assert video.shape == (17, 128, 128, 3)


def test_noise_is_told_from_dots_tiles_stills_and_too_little_of_it():
    random = torch.Generator().manual_seed(0)

    def noise() -> torch.Tensor:
        return 0.2 * torch.randn(1, 3, 9, 64, 64, generator=random)

    true, dots = noise(), torch.zeros(1, 3, 9, 64, 64)
    dots[..., ::4, ::4] = 0.8 * torch.sign(noise()[..., ::4, ::4])
    others = {
        "nothing": torch.zeros_like(true),
        "half": noise() / 2,
        "dots": dots,
        "a tile": noise()[..., :8, :8].repeat(1, 1, 1, 8, 8),
        "a still": noise()[:, :, :1].expand_as(true),
    }
    another_draw = vae_training.grain_loss(noise(), true).item()
    for name, other in others.items():
        assert vae_training.grain_loss(other, true).item() > 3 * another_draw, name


def test_some_scenes_are_made_noisy_and_the_rest_stay_as_they_were():
    before = draw_scenes(4000, seed=3, textures=4, faulty=0.2)
    after = vae_training.with_noise(before, seed=3)
    changed = after.fault_amount != before.fault_amount
    assert 0.04 < changed.float().mean() < 0.08
    assert {FAULTS[kind] for kind in after.fault[changed].tolist()} == {"noisy"}
    assert torch.equal(after.fault[~changed], before.fault[~changed])
