"""The VAE's training: frames teach it detail cheaply, videos teach it motion.

Axes: B videos, 3 colours, T frames, H W pixels in [−1, 1].
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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
from wanexp.world.scene import FAULT_AMOUNTS, FAULTS, Scenes, draw_scenes, moved

KL_WEIGHT = 1e-4
PEAK_RATE = 6e-4
VIDEOS, PICTURES = 24, 96
"""A step's batch on each worker: videos of 17 frames, or, every fourth step, single frames."""

SQUARES = 6.0
"""Squared errors beside absolute ones: the first make PSNR, the second crispness."""

FACE_WEIGHT = 3.0
"""How much more a face's pixels count: people look there first, and its detail is the finest."""

GRAINY = 0.06
"""The share of videos made noisy besides those that are."""

GRAIN_COUNT = 1 / 0.06
"""How much a noisy video counts: as one that comes out well; its error is the draw's."""

GRAIN_SHARE = 0.2
"""Of the wrong grain, in logarithms, beside wrong colours in a noisy video's loss."""

STEPS_APART = (1, 2, 4, 8)
LAGS = (
    (0, 0, 0),
    *((0, apart, 0) for apart in STEPS_APART),
    *((0, 0, apart) for apart in STEPS_APART),
    *((0, 8, 8), (1, 0, 0), (1, 0, 8), (4, 0, 0)),
)
"""Frames, rows and columns over which grain is compared with itself: the latent's own strides too,
since a decoder that has no grain to go by would draw the same dots at every place."""


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
    clean = draw_scenes(
        count, seed=seed, textures=len(bank), faulty=0.2, dense=0.4, speakable=False
    )
    scenes = moved(with_noise(clean, seed), bank.device)
    drawn = max(frames, 2)
    video = spoiled(render(scenes, bank, drawn, HEIGHT, WIDTH), scenes, seed)
    faces = face_masks(scenes, drawn, HEIGHT, WIDTH)
    return Lesson(
        video=video[:, :, -frames:],
        weight=1 + (FACE_WEIGHT - 1) * faces[:, :, -frames:],
        grainy=scenes.fault == FAULTS.index("noisy"),
    )


def with_noise(scenes: Scenes, seed: int) -> Scenes:
    """The scenes, GRAINY of them noisy instead of what they were."""
    random = torch.Generator().manual_seed(seed)
    chosen, share = torch.rand(2, len(scenes), generator=random)
    least, most = FAULT_AMOUNTS["noisy"]
    noisy = chosen < GRAINY
    return replace(
        scenes,
        fault=scenes.fault.masked_fill(noisy, FAULTS.index("noisy")),
        fault_amount=torch.where(noisy, least + (most - least) * share, scenes.fault_amount),
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
    loss = torch.where(grainy, grain_loss(result, video), loss)
    counts = torch.where(grainy, GRAIN_COUNT, 1 / (error.detach().sqrt() + 0.03))
    divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
    return (loss * counts).sum() / counts.sum() + KL_WEIGHT * divergence, error.detach()


def grain_loss(result: Tensor, video: Tensor) -> Tensor:
    """(B,): wrong colours of 4×4 blocks, and other grain than the true one in 16×16 ones.

    Grain is what 3×3 means leave. Of it, and of its differences over LAGS, the mean square says how
    much there is and the mean of what it is without sign how spiky: dots in a lattice have as much
    as grain, in few pixels, and no difference over their own period.
    """
    coarse = (_pooled(result, 4) - _pooled(video, 4)).abs().mean((1, 2, 3, 4))
    made, true = _fine(result), _fine(video)
    wrong = [
        _log_ratio(apart(made, lag), apart(true, lag)) for lag in LAGS if lag[0] < video.shape[2]
    ]
    return coarse + GRAIN_SHARE * torch.stack(wrong).mean(0)


def apart(grain: Tensor, lag: tuple[int, int, int]) -> Tensor:
    """Its difference to itself ``lag`` frames, rows and columns on; itself where that is none."""
    if not any(lag):
        return grain
    frames, rows, columns = (size - step for size, step in zip(grain.shape[2:], lag, strict=True))
    here = grain[:, :, :frames, :rows, :columns]
    return grain[:, :, lag[0] :, lag[1] :, lag[2] :] - here


def _log_ratio(made: Tensor, true: Tensor) -> Tensor:
    """(B,): how far blocks are from the true mean square and mean size, in logarithms."""
    squares = torch.log(_pooled(made**2, 16) + 1e-3) - torch.log(_pooled(true**2, 16) + 1e-3)
    sizes = torch.log(_pooled(made.abs(), 16) + 0.03) - torch.log(_pooled(true.abs(), 16) + 0.03)
    return (squares.abs() + 2 * sizes.abs()).mean((1, 2, 3, 4))


def _fine(video: Tensor) -> Tensor:
    """What 3×3 means leave."""
    frames = video.flatten(1, 2)
    return (frames - F.avg_pool2d(frames, 3, 1, 1)).view_as(video)


def _pooled(video: Tensor, size: int) -> Tensor:
    return F.avg_pool3d(video, (1, size, size))


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
