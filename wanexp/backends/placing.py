"""Where a model's parts are: loaded when first needed, on the device while they are.

Weights are never changed, so a part that leaves the device need not be copied back: its weights
wait on the host, page-locked where the system lets them, and go to the device in one copy.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from wanexp.config import Memory

TRANSIENT = ("text_encoder",)
"""Parts that are needed once for a case, and leave a GPU afterwards whatever ``offload`` says."""

EXPERTS = ("transformer", "transformer_2")
"""Parts whose layers travel on their own under ``offload: group``."""


class Places:
    """A model's parts by name, of which those that are needed are on the device."""

    def __init__(
        self, load: Callable[[str], nn.Module], device: torch.device, memory: Memory
    ) -> None:
        self._load = load
        self._device = device
        self._memory = memory
        self._parts: dict[str, nn.Module] = {}
        self._host: dict[str, list[tuple[nn.Parameter | Tensor, Tensor]]] = {}
        self._at_work: str | None = None

    def ready(self, part: str) -> nn.Module:
        """A part on the device; what has to make room for it leaves first."""
        if part != self._at_work:
            if part not in self._parts:
                self._parts[part] = self._load(part)
            self._make_room()
            self._enter(part)
            self._at_work = part
        return self._parts[part]

    def has(self, part: str) -> bool:
        """Whether a part is loaded."""
        return part in self._parts

    def clear(self) -> None:
        """Let go of everything."""
        self._parts.clear()
        self._host.clear()
        self._at_work = None

    def _make_room(self) -> None:
        if self._at_work is None or self._device.type == "cpu":
            return
        if self._memory.offload != "none" or self._at_work in TRANSIENT:
            self._leave(self._at_work)

    def _travels_in_groups(self, part: str) -> bool:
        return part in EXPERTS and self._memory.offload == "group" and self._device.type != "cpu"

    def _enter(self, part: str) -> None:
        module = self._parts[part]
        if part in self._host:
            for tensor, kept in self._host[part]:
                tensor.data = kept.to(self._device, non_blocking=True)
        elif self._travels_in_groups(part):
            self._host[part] = []
            _travel_in_groups(module, self._device)
        else:
            if self._may_leave(part):
                self._host[part] = [(t, _page_locked(t.data)) for t in _tensors(module)]
            module.to(self._device)

    def _may_leave(self, part: str) -> bool:
        leaves = self._memory.offload != "none" or part in TRANSIENT
        return leaves and self._device.type == "cuda"

    def _leave(self, part: str) -> None:
        if part not in self._host:  # another kind of accelerator: back by the plain way
            self._parts[part].to("cpu")
        for tensor, kept in self._host.get(part, []):
            tensor.data = kept


def _tensors(module: nn.Module) -> list[nn.Parameter | Tensor]:
    return [*module.parameters(), *module.buffers()]


def _page_locked(tensor: Tensor) -> Tensor:
    """A copy that the device can fetch by itself; as it is where the system has no such memory."""
    try:
        return tensor.pin_memory()
    except RuntimeError:
        return tensor.clone()


def _travel_in_groups(module: nn.Module, device: torch.device) -> None:
    """Each block to the device ahead of its use, on a stream of its own, and off it afterwards."""
    if not isinstance(module, ModelMixin):
        raise TypeError(f"{type(module).__name__} is no diffusers model")
    module.enable_group_offload(
        onload_device=device,
        offload_device=torch.device("cpu"),
        offload_type="block_level",
        num_blocks_per_group=1,
        use_stream=True,
    )
