"""The VAE in one pass against diffusers' own, chunk by chunk."""

import pytest
import torch

from wanexp.mini.onepass import decode_video, encode_moments
from wanexp.mini.shapes import new_vae


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(3)
    vae = new_vae().eval()
    for parameter in vae.parameters():  # gains and biases too, which start at ones and zeros
        parameter.data += 0.05 * torch.randn_like(parameter)
    return vae


@pytest.mark.parametrize("frames", [1, 5, 17])
@torch.no_grad()
def test_encoding_gives_the_latent_of_diffusers(vae, frames):
    video = torch.rand(2, 3, frames, 32, 48) * 2 - 1
    posterior = vae.encode(video).latent_dist
    mean, log_variance = encode_moments(vae, video)
    assert mean.shape == (2, 16, (frames + 3) // 4, 4, 6)
    assert torch.allclose(mean, posterior.mean, atol=1e-5)
    assert torch.allclose(log_variance, posterior.logvar, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 2, 5])
@torch.no_grad()
def test_decoding_gives_the_video_of_diffusers(vae, frames):
    latent = torch.randn(2, 16, frames, 4, 6)
    made = decode_video(vae, latent)
    assert made.shape == (2, 3, 4 * frames - 3, 32, 48)
    assert torch.allclose(made.clamp(-1, 1), vae.decode(latent).sample, atol=2e-5)


def test_every_weight_learns(vae):
    vae.zero_grad()
    video = torch.rand(1, 3, 5, 32, 32)
    mean, log_variance = encode_moments(vae, video)
    (decode_video(vae, mean).square().mean() + log_variance.mean()).backward()
    silent = [name for name, p in vae.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent
