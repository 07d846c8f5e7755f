"""What every training shares: a clock for a schedule, averaged weights, several GPUs, a log."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

WARM_UP_STEPS = 150
FLAT = 0.5
"""The share of a schedule before the learning rate falls, along a cosine, to a hundredth."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """The part of a schedule that one call trains.

    Attributes:
        seconds: How long.
        begin, end: The shares of the whole schedule done before and after it, in [0, 1].
    """

    seconds: float
    begin: float = 0.0
    end: float = 1.0


def steps(span: Span, peak: float) -> Iterator[tuple[int, float, float]]:
    """Step number, learning rate and seconds gone, until the time is over."""
    started, step = time.monotonic(), 0
    while not _agreed((gone := time.monotonic() - started) >= span.seconds, step):
        share = span.begin + (span.end - span.begin) * min(1.0, gone / span.seconds)
        fall = max(0.0, (share - FLAT) / (1 - FLAT))
        rate = peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * fall)))
        yield step, rate * min(1.0, (step + 1) / WARM_UP_STEPS), gone
        step += 1


def _agreed(over: bool, step: int) -> bool:
    """Workers stop together: their clocks differ, and one that goes on alone waits for ever."""
    if not dist.is_initialized():
        return over
    if step % 16:
        return False
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    votes = torch.tensor(float(over), device=device)
    dist.all_reduce(votes, dist.ReduceOp.MAX)
    return bool(votes.item())


class Average:
    """Weights averaged over the last thousand steps or so: better than those of any one step."""

    def __init__(self, module: nn.Module) -> None:
        self._live = [p for p in module.state_dict().values() if p.is_floating_point()]
        self._mean = [p.detach().clone() for p in self._live]
        self._names = [k for k, p in module.state_dict().items() if p.is_floating_point()]
        self._updates = 0

    def update(self) -> None:
        """Take in the weights as they are now."""
        self._updates += 1
        weight = max(1e-3, 1 / (1 + self._updates / 8))
        for mean, live in zip(self._mean, self._live, strict=True):
            mean.lerp_(live, weight)

    def state(self) -> dict[str, Tensor]:
        """The averaged weights by name."""
        return dict(zip(self._names, self._mean, strict=True))


def start_workers() -> tuple[int, int, torch.device]:
    """Rank, number of workers and device: several under ``torchrun``, else one."""
    workers, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    device = torch.device(f"cuda:{rank}" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if workers > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return rank, workers, device


def share_gradients(module: nn.Module, workers: int) -> None:
    """Every worker gets the mean of all gradients, in one exchange."""
    if workers == 1:
        return
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= workers
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


class Log:
    """One JSON object a line, appended to a file and said aloud."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def __call__(self, row: Mapping[str, float | str]) -> None:
        """Write a row, its numbers to five digits."""
        rounded = {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in row.items()}
        line = json.dumps(rounded)
        print(line, flush=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
