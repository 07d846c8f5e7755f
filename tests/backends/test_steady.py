from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

from wanexp.backends.steady import reusing, steady


def encode(vae: AutoencoderKLWan, video: torch.Tensor) -> torch.Tensor:
    return vae.encode(video, return_dict=False)[0].mode()


@pytest.mark.parametrize("fixture", ["tiny_a14b", "tiny_5b"])
@torch.no_grad()
def test_a_source_followed_by_grey_is_encoded_to_the_same_bits_in_fewer_computations(
    fixture, request
) -> None:
    folder: Path = request.getfixturevalue(fixture)
    vae = AutoencoderKLWan.from_pretrained(folder / "vae")
    video = torch.zeros(1, 3, 33, 64, 64)
    video[:, :, 0] = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    block = vae.encoder.down_blocks[0]
    first = getattr(block, "resnets", [block])[0]
    calls: list[int] = []
    first.conv1.register_forward_hook(lambda *_: calls.append(1))
    plain = encode(vae, video)
    assert len(calls) == 9
    with steady(list(vae.encoder.down_blocks)):
        assert torch.equal(encode(vae, video), plain)
    assert len(calls) < 9 + 6
    assert torch.equal(encode(vae, video), plain)
    assert len(calls) >= 9 + 9


@torch.no_grad()
def test_a_video_that_moves_is_encoded_to_the_same_bits(tiny_a14b) -> None:
    vae = AutoencoderKLWan.from_pretrained(tiny_a14b / "vae")
    video = torch.rand(1, 3, 33, 64, 64, generator=torch.Generator().manual_seed(0))
    video[:, :, 5:21] = 0.25  # still for a while, then moving again
    plain = encode(vae, video)
    with steady(list(vae.encoder.down_blocks)):
        assert torch.equal(encode(vae, video), plain)


@torch.no_grad()
def test_tiles_do_not_inherit_each_others_past(tiny_a14b) -> None:
    vae = AutoencoderKLWan.from_pretrained(tiny_a14b / "vae")
    vae.enable_tiling(64, 64, 48, 48)
    video = torch.zeros(1, 3, 25, 96, 96)
    video[:, :, 0, 48:] = torch.rand(3, 48, 96, generator=torch.Generator().manual_seed(0))
    plain = encode(vae, video)
    with steady(list(vae.encoder.down_blocks)):
        assert torch.equal(encode(vae, video), plain)


def test_a_memory_that_was_swapped_is_noticed_though_the_input_is_the_same() -> None:
    def running_sum(x, feat_cache, feat_idx):
        index = feat_idx[0]
        feat_cache[index] = torch.maximum(feat_cache[index], x)
        feat_idx[0] += 1
        return feat_cache[index] + x

    layer, x = reusing(running_sum), torch.ones(2)
    memory: list[torch.Tensor | None] = [torch.zeros(2)]
    for expected in (2, 2, 2):
        assert layer(x, memory, [0]).tolist() == [expected] * 2
    memory[0] = torch.full((2,), 5.0)
    assert layer(x, memory, [0]).tolist() == [6, 6]
