"""An expert's training on its own range of noise.

Axes: B videos, 16 channels, F=5 latent frames, 16×16 cells; velocity = noise − clean.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from wanexp.mini.folder import load_expert, save_expert
from wanexp.mini.latents import School
from wanexp.mini.loop import Average, Log, Span, steps
from wanexp.mini.optimiser import Optimiser
from wanexp.mini.shapes import BOUNDARY, LATENT_CELLS, LATENT_FRAMES, SHIFT

RANGES = {"high": (BOUNDARY, 1.0), "low": (0.0, BOUNDARY), "both": (0.0, 1.0)}
BATCH = 384
PEAK_RATE = 1e-3


def train_expert(
    folder: Path, school: School, name: str, span: Span, log: Log, *, noise: str, seed: int
) -> None:
    """Trains the folder's expert, or a new one, and saves the averaged weights.

    Args:
        folder: Where the parts of the model lie.
        school: What it learns from.
        name: ``high`` or ``low``.
        span: How long, and which part of the schedule.
        log: Told how it goes.
        noise: A key of RANGES: which noise levels it sees.
        seed: Of the draws.
    """
    device = school.latents.device
    torch.manual_seed(seed)
    expert = load_expert(folder, name)
    nn.Module.to(expert, device)
    expert.train()
    average = Average(expert)
    optimiser = Optimiser(expert, _hidden, betas=(0.9, 0.98))
    compiled = torch.compile(expert, dynamic=False) if device.type == "cuda" else expert
    mask = first_frame_mask(device).expand(BATCH, -1, -1, -1, -1)
    running = torch.zeros((), device=device)
    for step, rate, gone in steps(span, PEAK_RATE):
        clean, source, text = draw_lesson(school, BATCH)
        sigma = draw_sigmas(BATCH, *RANGES[noise], device=device)
        level = sigma.view(-1, 1, 1, 1, 1)
        grain = torch.randn_like(clean)
        noisy = (1 - level) * clean + level * grain
        with torch.autocast(device.type, torch.bfloat16):
            velocity = compiled(
                torch.cat([noisy, mask, source], dim=1), sigma * 1000, text, return_dict=False
            )[0]
        loss = ((velocity.float() - (grain - clean)) ** 2).mean()
        loss.backward()
        optimiser.step(rate)
        average.update()
        running.lerp_(loss.detach(), max(0.005, 1 / (step + 1)))
        if step % 500 == 0:
            now = {"step": step, "seconds": gone, "share": span.begin, "rate": rate}
            log({"part": name, "loss": running.item()} | now)
    save_expert(folder, name, expert, average.state())


def draw_lesson(school: School, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Clean latents and sources (B, 16, F, 16, 16), and texts (B, tokens, width), all float32."""
    device = school.latents.device
    rows = torch.randint(len(school.latents), (batch,), device=device)
    wording = torch.randint(school.prompts.shape[1], (batch,), device=device)
    texts = school.texts[school.prompts[rows, wording]]
    return school.latents[rows].float(), school.sources[rows].float(), texts.float()


def draw_sigmas(batch: int, low: float, high: float, *, device: torch.device) -> Tensor:
    """Half uniform in time, half logit-normal, both shifted as sampling is, in [low, high]."""
    uniform = torch.rand(batch, device=device)
    middling = torch.sigmoid(torch.randn(batch, device=device))
    time = torch.where(torch.arange(batch, device=device) % 2 == 0, uniform, middling)
    shift = SHIFT if high - low > 0.5 else 1.0
    return low + (high - low) * shift * time / (1 + (shift - 1) * time)


def first_frame_mask(device: torch.device) -> Tensor:
    """(1, 4, F, 16, 16): ones where a latent frame is given, the first."""
    mask = torch.zeros(1, 4, LATENT_FRAMES, LATENT_CELLS, LATENT_CELLS, device=device)
    mask[:, :, 0] = 1
    return mask


def _hidden(name: str) -> bool:
    """The blocks' matrices; not what reads latents, times and words, or makes the velocity."""
    return name.startswith("blocks.") and "scale_shift_table" not in name
