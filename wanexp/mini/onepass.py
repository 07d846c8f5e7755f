"""A causal video VAE in one pass of 2-D convolutions: for training, several times faster.

diffusers feeds its Wan VAE one frame, then four at a time, with a memory of the past in every
causal layer, so that long videos fit. On a short video that is many small launches. The memory is
zeros before the first frame, so a whole video with zeros in front gives the same numbers; only the
layers that change the frame rate treat the first frame on its own, as here.

A causal 3×3×3 convolution is a 3×3 one over the frame and the two before it side by side: the same
sums, in the layout that tensor cores are fastest at. A single frame needs a third of them.

Axes: B videos, C channels, T frames; inside, frames (B·T, C, H, W).
"""

from __future__ import annotations

from typing import cast

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    AutoencoderKLWan,
    WanAttentionBlock,
    WanDecoder3d,
    WanEncoder3d,
    WanMidBlock,
    WanResample,
    WanResidualBlock,
    WanRMS_norm,
    patchify,
    unpatchify,
)
from torch import Tensor, nn
from torch.nn import functional as F


def encode_moments(vae: AutoencoderKLWan, video: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log variance (B, 16, F, h, w) of the latent of (B, 3, T, H, W) in [−1, 1]."""
    patches, batch = patchify(video, vae.config["patch_size"]), len(video)
    moments = _pointwise(vae.quant_conv, _encoded(vae.encoder, _flat(patches), batch))
    mean, log_variance = _stacked(moments, batch).chunk(2, dim=1)
    return mean, log_variance.clamp(-30, 20)


def decode_video(vae: AutoencoderKLWan, latent: Tensor) -> Tensor:
    """(B, 3, T, H, W) of a raw latent; not clamped, so that training feels what lies outside."""
    batch = len(latent)
    patches = _decoded(vae.decoder, _pointwise(vae.post_quant_conv, _flat(latent)), batch)
    return unpatchify(_stacked(patches, batch), vae.config["patch_size"])


def _encoded(encoder: WanEncoder3d, x: Tensor, batch: int) -> Tensor:
    x = _causal(encoder.conv_in, x, batch)
    for layer in encoder.down_blocks:
        if isinstance(layer, WanResample):
            x = _downsampled(layer, x, batch)
        else:
            x = _residual(cast(WanResidualBlock, layer), x, batch)
    x = _middle(encoder.mid_block, x, batch)
    return _causal(encoder.conv_out, F.silu(_normed(encoder.norm_out, x)), batch)


def _decoded(decoder: WanDecoder3d, x: Tensor, batch: int) -> Tensor:
    x = _middle(decoder.mid_block, _causal(decoder.conv_in, x, batch), batch)
    for block in decoder.up_blocks:
        for layer in cast(nn.ModuleList, block.resnets):
            x = _residual(cast(WanResidualBlock, layer), x, batch)
        for layer in cast(nn.ModuleList | None, block.upsamplers) or ():
            x = _upsampled(cast(WanResample, layer), x, batch)
    return _causal(decoder.conv_out, F.silu(_normed(decoder.norm_out, x)), batch)


def _middle(block: WanMidBlock, x: Tensor, batch: int) -> Tensor:
    first, *rest = (cast(WanResidualBlock, layer) for layer in block.resnets)
    x = _residual(first, x, batch)
    for attention, layer in zip(block.attentions, rest, strict=True):
        x = _residual(layer, _attended(cast(WanAttentionBlock, attention), x), batch)
    return x


def _residual(block: WanResidualBlock, x: Tensor, batch: int) -> Tensor:
    short = block.conv_shortcut
    kept = x if isinstance(short, nn.Identity) else _pointwise(short, x)
    x = _causal(block.conv1, F.silu(_normed(block.norm1, x)), batch)
    return kept + _causal(block.conv2, F.silu(_normed(block.norm2, x)), batch)


def _attended(block: WanAttentionBlock, x: Tensor) -> Tensor:
    """Every cell of a frame looks at all cells of that frame."""
    frames, channels, height, width = x.shape
    q, k, v = block.to_qkv(_normed(block.norm, x)).flatten(2).transpose(1, 2).chunk(3, dim=-1)
    seen = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
    return x + block.proj(seen.transpose(1, 2).reshape(frames, channels, height, width))


def _downsampled(layer: WanResample, x: Tensor, batch: int) -> Tensor:
    x = layer.resample(x)
    frames = len(x) // batch
    if layer.mode != "downsample3d" or frames == 1:
        return x
    steps = x.unflatten(0, (batch, frames))
    taps = torch.cat([steps[:, :-2:2], steps[:, 1:-1:2], steps[:, 2::2]], dim=2)
    rest = F.conv2d(taps.flatten(0, 1), _side_by_side(layer.time_conv), layer.time_conv.bias)
    return torch.cat([steps[:, :1], rest.unflatten(0, (batch, -1))], dim=1).flatten(0, 1)


def _upsampled(layer: WanResample, x: Tensor, batch: int) -> Tensor:
    frames = len(x) // batch
    if layer.mode == "upsample3d" and frames > 1:
        steps = x.unflatten(0, (batch, frames))
        rest = _causal(layer.time_conv, steps[:, 1:].flatten(0, 1), batch)
        pairs = rest.unflatten(1, (2, -1)).unflatten(0, (batch, frames - 1))
        x = torch.cat([steps[:, :1], pairs.flatten(1, 2)], dim=1).flatten(0, 1)
    convolution = cast(nn.Sequential, layer.resample)[1]
    return convolution(F.interpolate(x, scale_factor=2.0, mode="nearest-exact"))


def _causal(layer: nn.Conv3d, x: Tensor, batch: int) -> Tensor:
    """A causal convolution over time as one over frames side by side with the two before them."""
    padding = layer.kernel_size[1] // 2
    if len(x) == batch:  # before a single frame there is nothing
        return F.conv2d(x, layer.weight[:, :, -1], layer.bias, padding=padding)
    steps = x.unflatten(0, (batch, -1))
    nothing = steps.new_zeros(batch, 2, *steps.shape[2:])
    longer = torch.cat([nothing, steps], dim=1)
    taps = torch.cat([longer[:, :-2], longer[:, 1:-1], steps], dim=2).flatten(0, 1)
    return F.conv2d(taps, _side_by_side(layer), layer.bias, padding=padding)


def _side_by_side(layer: nn.Conv3d) -> Tensor:
    """(O, 3·C, k, k): the weights of the three taps, oldest first."""
    return layer.weight.transpose(1, 2).flatten(1, 2)


def _pointwise(layer: nn.Conv3d, x: Tensor) -> Tensor:
    return F.conv2d(x, layer.weight[:, :, 0], layer.bias)


def _normed(norm: WanRMS_norm, x: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(x.float(), dim=1, keepdim=True).clamp(min=1e-12)
    gain = norm.gamma.view(1, -1, 1, 1) * norm.scale
    return (x / length * gain).to(x.dtype)


def _flat(video: Tensor) -> Tensor:
    """(B, C, T, H, W) → (B·T, C, H, W), colours innermost in memory."""
    frames = video.transpose(1, 2).flatten(0, 1)
    return frames.contiguous(memory_format=torch.channels_last)


def _stacked(frames: Tensor, batch: int) -> Tensor:
    """(B·T, C, H, W) → (B, C, T, H, W)."""
    return frames.unflatten(0, (batch, -1)).transpose(1, 2)
