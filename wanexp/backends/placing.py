"""Where a model's parts are: loaded when first needed, on the device while they are.

Weights are never changed, so a part that leaves the device need not be copied back: its weights
wait on the host, page-locked where the system lets them, and go to the device in one copy.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from wanexp.memory import Memory

TRANSIENT = ("text_encoder",)
"""Parts that are needed once for a case, and leave a GPU afterwards whatever ``offload`` says."""

EXPERTS = ("transformer", "transformer_2")
"""Parts whose layers travel on their own under ``offload: group``."""


ALIGN = 256
"""Bytes to which each weight begins in a block, as the device's own allocations do."""


class Places:
    """A model's parts, of which those that are needed are on the device.

    Attributes:
        parts: Those that are loaded, by name.
    """

    def __init__(
        self, load: Callable[[str], nn.Module], device: torch.device, memory: Memory
    ) -> None:
        self._load = load
        self._device = device
        self._memory = memory
        self.parts: dict[str, nn.Module] = {}
        self._host: dict[str, HostCopy] = {}
        self._at_work: str | None = None

    def ready(self, part: str) -> nn.Module:
        """A part on the device; what has to make room for it leaves first."""
        if part != self._at_work:
            if part not in self.parts:
                self.parts[part] = self._load(part)
            self._make_room()
            self._enter(part)
            self._at_work = part
        return self.parts[part]

    def clear(self) -> None:
        """Let go of everything."""
        self.parts.clear()
        for copy in self._host.values():
            copy.unlock()
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
        module = self.parts[part]
        if part in self._host:
            if not self._travels_in_groups(part):
                self._host[part].to_device(self._device)
            return
        if self._may_leave(part):
            self._host[part] = HostCopy(module)
        if self._travels_in_groups(part):
            _travel_in_groups(module, self._device)
        else:
            module.to(self._device)

    def _may_leave(self, part: str) -> bool:
        leaves = self._memory.offload != "none" or part in TRANSIENT
        return leaves and self._device.type == "cuda"

    def _leave(self, part: str) -> None:
        if self._travels_in_groups(part):
            return  # each layer has left already
        if part in self._host:
            self._host[part].back()
        else:  # another kind of accelerator: back by the plain way
            self.parts[part].to("cpu")


class HostCopy:
    """A module's weights on the host, in one block of memory that the device can read by itself.

    One block because PyTorch's own page-locked memory comes in powers of two, which would take
    most of Wan's weights nearly twice; the weights move into it one by one.
    """

    def __init__(self, module: nn.Module) -> None:
        self._tensors: list[Tensor] = [*module.parameters(), *module.buffers()]
        starts = [0]
        for tensor in self._tensors:
            starts.append(starts[-1] + -(-tensor.nbytes // ALIGN) * ALIGN)
        self._block = torch.empty(starts[-1], dtype=torch.uint8)
        self._locked = _lock(self._block)
        self._kept = [
            self._block[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
            for start, tensor in zip(starts[:-1], self._tensors, strict=True)
        ]
        for tensor, kept in zip(self._tensors, self._kept, strict=True):
            kept.copy_(tensor.data)
            tensor.data = kept

    def to_device(self, device: torch.device) -> None:
        """The weights copied to the device; this block keeps them too."""
        for tensor, kept in zip(self._tensors, self._kept, strict=True):
            tensor.data = kept.to(device, non_blocking=True)

    def back(self) -> None:
        """The weights off the device: nothing is copied, since nothing has changed."""
        for tensor, kept in zip(self._tensors, self._kept, strict=True):
            tensor.data = kept

    def unlock(self) -> None:
        """Give the block back to the system's paging, before it is freed."""
        if self._locked:
            _runtime().cudaHostUnregister(self._block.data_ptr())
            self._locked = False


def _lock(block: Tensor) -> bool:
    """Whether the system let this memory be page-locked; copies work without, more slowly."""
    if not block.nbytes or not torch.cuda.is_available():
        return False
    return int(_runtime().cudaHostRegister(block.data_ptr(), block.nbytes, 0)) == 0


def _runtime() -> ModuleType:
    """CUDA's own functions."""
    runtime = torch.cuda.cudart()
    if runtime is None:
        raise RuntimeError("this PyTorch was built without CUDA")
    return runtime


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
