"""The VAE's training: frames teach it detail cheaply, videos teach it motion.

Axes: B videos, 3 colours, T frames, H W pixels in [−1, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import Tensor, nn
from torch.nn import functional as F

from wanexp.mini.folder import load_vae, save_vae
from wanexp.mini.loop import Average, Log, Span, share_gradients, start_workers, steps
from wanexp.mini.onepass import decode_video, encode_moments
from wanexp.mini.optimiser import Optimiser
from wanexp.mini.shapes import FRAMES, HEIGHT, WIDTH
from wanexp.world.faults import spoiled
from wanexp.world.render import face_masks, render
from wanexp.world.scene import FAULTS, draw_scenes, moved

KL_WEIGHT = 1e-4
PEAK_RATE = 6e-4
VIDEOS, PICTURES = 24, 96
"""A step's batch on each worker: videos of 17 frames, or, every fourth step, single frames."""

SQUARES = 6.0
"""Squared errors beside absolute ones: the first make PSNR, the second crispness."""

FACE_WEIGHT = 3.0
"""How much more a face's pixels count: people look there first, and its detail is the finest."""


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What one step learns from.

    Attributes:
        video: (B, 3, T, H, W) in [−1, 1].
        weight: (B, 1, T, H, W): how much each pixel counts.
        grainy: (B,) which are noisy.
    """

    video: Tensor
    weight: Tensor
    grainy: Tensor


def train_vae(
    folder: Path, bank: Tensor, span: Span, log: Log, *, seed: int, decoder_only: bool = False
) -> None:
    """Trains the folder's VAE, or a new one, and saves the averaged weights.

    Args:
        folder: Where the parts of the model lie.
        bank: Textures, (N, 3, S, S), on this worker's device.
        span: How long, and which part of the schedule.
        log: Told how it goes.
        seed: Of the scenes: another for each call, so that no scene comes twice.
        decoder_only: Leave the encoder as it is, and with it every latent.
    """
    rank, workers, device = start_workers()
    torch.manual_seed(0)  # the same start on every worker
    vae = load_vae(folder)
    nn.Module.to(vae, device)
    vae.train()
    if decoder_only:
        vae.encoder.requires_grad_(requires_grad=False)
        vae.quant_conv.requires_grad_(requires_grad=False)
    average = Average(vae)
    optimiser = Optimiser(vae, _hidden, betas=(0.9, 0.99))
    # A compile costs a minute: the pictures' steps are too few to earn one of their own.
    quick = torch.compile(_losses, dynamic=False) if device.type == "cuda" else _losses
    torch.manual_seed(seed + rank)
    for step, rate, gone in steps(span, PEAK_RATE):
        pictures = step % 4 == 3
        count, frames = (PICTURES, 1) if pictures else (VIDEOS, FRAMES)
        lesson = training_video(bank, count, frames, seed=(seed + step) * workers + rank)
        with torch.autocast(device.type, torch.bfloat16):
            losses = _losses if pictures else quick
            loss, error = losses(vae, lesson.video, lesson.weight, lesson.grainy)
        loss.backward()
        share_gradients(vae, workers)
        optimiser.step(rate)
        average.update()
        if rank == 0 and step % 200 in (0, 3):
            psnr = (-10 * torch.log10(error / 4)).mean().item()
            now = {"step": step, "seconds": gone, "share": span.begin, "rate": rate}
            log({"part": "vae", "frames": frames, "loss": loss.item(), "psnr": psnr} | now)
    if rank == 0:
        save_vae(folder, vae, average.state())


def training_video(bank: Tensor, count: int, frames: int, *, seed: int) -> Lesson:
    """Videos of 128 × 128, a fifth of them with a fault.

    The camera is anything from still to fast, the background anything from plain to crowded.

    Single frames are a video's later ones, where faults and turned heads are.
    """
    scenes = moved(
        draw_scenes(count, seed=seed, textures=len(bank), faulty=0.2, dense=0.4, speakable=False),
        bank.device,
    )
    drawn = max(frames, 2)
    video = spoiled(render(scenes, bank, drawn, HEIGHT, WIDTH), scenes, seed)
    faces = face_masks(scenes, drawn, HEIGHT, WIDTH)
    return Lesson(
        video=video[:, :, -frames:],
        weight=1 + (FACE_WEIGHT - 1) * faces[:, :, -frames:],
        grainy=scenes.fault == FAULTS.index("noisy"),
    )


def _losses(
    vae: AutoencoderKLWan, video: Tensor, weight: Tensor, grainy: Tensor
) -> tuple[Tensor, Tensor]:
    """The loss, and each video's mean squared error (B,).

    A video that comes out well counts more than gravel that never will, so that what fits the
    latent becomes crisp: weights fall with the error. Of grain, no latent can hold the draw; it is
    enough that there is as much of it.
    """
    mean, log_variance = encode_moments(vae, video)
    mean, log_variance = mean.float(), log_variance.float()
    latent = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
    result = decode_video(vae, latent).float()
    wrong = result - video
    error = (wrong**2).mean((1, 2, 3, 4))
    share = weight / weight.mean((1, 2, 3, 4), keepdim=True)
    loss = ((wrong.abs() + SQUARES * wrong**2) * share).mean((1, 2, 3, 4))
    for difference in (_across, _down, _later):
        if video.shape[2] > 1 or difference is not _later:
            edges = difference(wrong).abs()
            frames, height, width = edges.shape[2:]
            loss = loss + 0.5 * (edges * share[:, :, -frames:, -height:, -width:]).mean(
                (1, 2, 3, 4)
            )
    loss = torch.where(grainy, _grain_loss(result, video), loss)
    counts = 1 / (error.detach().sqrt() + 0.03)
    divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
    return (loss * counts).sum() / counts.sum() + KL_WEIGHT * divergence, error.detach()


def _grain_loss(result: Tensor, video: Tensor) -> Tensor:
    """(B,): wrong colours of 4×4 blocks, and too much or too little grain in 16×16 ones."""
    coarse = (_pooled(result, 4) - _pooled(video, 4)).abs().mean((1, 2, 3, 4))
    amounts = [_later, _same] if video.shape[2] > 1 else [_same]
    for seen in amounts:
        made, true = (torch.log(_grain(seen(v)) + 1e-3) for v in (result, video))
        coarse = coarse + 0.1 * (made - true).abs().mean((1, 2, 3, 4))
    return coarse


def _grain(video: Tensor) -> Tensor:
    """Power of what 3×3 means leave, in 16×16 blocks."""
    frames = video.flatten(1, 2)
    rest = frames - F.avg_pool2d(frames, 3, 1, 1)
    return _pooled((rest**2).view_as(video), 16)


def _pooled(video: Tensor, size: int) -> Tensor:
    return F.avg_pool3d(video, (1, size, size))


def _same(video: Tensor) -> Tensor:
    return video


def _across(video: Tensor) -> Tensor:
    return video[..., 1:] - video[..., :-1]


def _down(video: Tensor) -> Tensor:
    return video[..., 1:, :] - video[..., :-1, :]


def _later(video: Tensor) -> Tensor:
    return video[:, :, 1:] - video[:, :, :-1]


def _hidden(name: str) -> bool:
    """Not what touches pixels or the latent."""
    return not any(part in name for part in ("conv_in.", "conv_out.", "quant_conv."))


def held_out_psnr(vae: AutoencoderKLWan, video: Tensor) -> Tensor:
    """(B,) dB of each video's reconstruction, clamped as a viewer sees it."""
    mean, _ = encode_moments(vae, video)
    result = decode_video(vae, mean).float().clamp(-1, 1)
    return -10 * torch.log10(F.mse_loss(result, video, reduction="none").mean((1, 2, 3, 4)) / 4)
