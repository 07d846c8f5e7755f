"""What a benchmark of whole trials runs on: random weights on a card, or wan-mini anywhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from wanexp.backends.diffusers import DiffusersBackend
from wanexp.backends.random_parts import random_backend
from wanexp.bench.card import CARD, SMALL, need_card
from wanexp.bench.row import Size
from wanexp.memory import Memory
from wanexp.models import MODELS, Model, weights_folder

COMPILED = replace(CARD, compile=True)
HERE = Memory(device="cpu")


@dataclass(frozen=True, kw_only=True)
class Rig:
    """What a benchmark runs on.

    Attributes:
        open: A backend of the model.
        plain, fast: As the pipeline runs, and as wanexp would be set up here.
        size: Where none is asked.
        clock: Seconds; on a CPU those of this process, which others on the machine do not lengthen.
    """

    model: Model
    open: Callable[[Memory], DiffusersBackend]
    plain: Memory
    fast: Memory
    size: Size
    clock: Callable[[], float]


def rig_of(name: str) -> Rig:
    """A card with random weights, or this machine's CPU where the model's weights are here.

    Raises:
        ConfigError: It needs a card, and there is none.
    """
    model = MODELS[name]
    folder = weights_folder(model.source)
    if folder is None:
        need_card()
        return Rig(
            model=model,
            open=lambda memory: random_backend(name, memory),
            plain=CARD,
            fast=COMPILED,
            size=SMALL,
            clock=_card_clock,
        )
    return Rig(
        model=model,
        open=lambda memory: DiffusersBackend(folder=folder, model=model, memory=memory),
        plain=HERE,
        fast=HERE,
        size=Size(width=model.width, height=model.height, frames=model.frames),
        clock=time.process_time,
    )


def _card_clock() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()
