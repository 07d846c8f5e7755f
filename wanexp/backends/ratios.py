"""How what an expert's blocks add changes from call to call: what the step cache mag goes by.

Source: MagCache (arXiv:2506.09045), as diffusers' calibration computes it: for every call the mean
over tokens of |residual| / |residual of the call before|, where a residual is what all blocks
together add to a token; 1 for the first call.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import Tensor, nn

from wanexp.backends.diffusers import DiffusersBackend
from wanexp.backends.folder import EXPERT_FOLDERS

SMALLEST = 1e-8


class Watch:
    """The ratios of one expert, call by call, while its blocks are watched.

    Attributes:
        ratios: In the order of the calls; of guided calls first the wanted prompt's, then the
            negative one's.
    """

    def __init__(self, branches: int) -> None:
        self.ratios: list[float] = []
        self._branches = branches
        self._given = torch.empty(0)
        self._before: list[Tensor] = []

    def by_step(self) -> list[float]:
        """One ratio a step, the mean over its prompts."""
        n = self._branches
        steps = [self.ratios[i : i + n] for i in range(0, len(self.ratios), n)]
        return [round(sum(step) / len(step), 5) for step in steps]

    def begins(self, _: nn.Module, given: tuple[Tensor, ...]) -> None:
        """What the first block is given."""
        self._given = given[0]

    def ends(self, _: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ARG002
        """What the last block hands on."""
        size = (output - self._given).float().norm(dim=-1)
        before = self._before[-self._branches] if len(self._before) >= self._branches else None
        ratio = 1.0 if before is None else (size / (before + SMALLEST)).mean().item()
        self.ratios.append(ratio)
        self._before = [*self._before, size][-self._branches :]


@contextmanager
def watching(backend: DiffusersBackend, branches: int) -> Iterator[dict[str, Watch]]:
    """Expert → its watch, while the block runs; ``branches`` calls make one step."""
    watches, hooks = {}, []
    for name, folder in zip(backend.experts, EXPERT_FOLDERS, strict=False):
        blocks = cast(WanTransformer3DModel, backend.part(folder)).blocks
        watches[name] = watch = Watch(branches)
        hooks.append(blocks[0].register_forward_pre_hook(watch.begins))
        hooks.append(blocks[-1].register_forward_hook(watch.ends))
    try:
        yield watches
    finally:
        for hook in hooks:
            hook.remove()
