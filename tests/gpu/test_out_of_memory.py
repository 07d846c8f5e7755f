"""A real card that is really full: what is tried then, and what is left on it afterwards.

Imports neither hydra, mlflow nor av, so that it runs where only PyTorch and diffusers are:

    pytest -m gpu tests/gpu/test_out_of_memory.py
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from wanexp.ladder import is_out_of_memory
from wanexp.nvml import look

pytestmark = pytest.mark.gpu
MEGABYTE = 1 << 20
CAP = 512 * MEGABYTE


@pytest.fixture
def capped() -> Iterator[None]:
    """Half a gigabyte of the card, whatever it has."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(CAP / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def take(megabytes: int) -> torch.Tensor:
    return torch.empty(megabytes * MEGABYTE, dtype=torch.uint8, device="cuda")


def test_a_real_failure_is_told_as_one(capped):
    with pytest.raises(torch.OutOfMemoryError) as failure:
        take(2048)
    assert is_out_of_memory(failure.value)


def test_what_a_failed_try_held_is_free_for_the_next(capped):
    """The error's traceback holds the frames of the try, and they hold its tensors."""

    def tries(megabytes: int) -> int:
        held = take(300)
        return held.numel() + take(megabytes).numel()

    for _ in range(3):
        with pytest.raises(torch.OutOfMemoryError) as failure:
            tries(300)
        del failure  # as the ladder does, which leaves the handler before it tries again
        torch.cuda.empty_cache()
        assert torch.cuda.memory_allocated() == 0
    assert tries(100) == 400 * MEGABYTE


def test_the_driver_tells_of_a_card_in_use():
    torch.zeros(1, device="cuda")
    found = look([str(torch.cuda.get_device_properties(0).uuid)])
    assert found is not None
    assert found.power is not None and 10 < found.power < 2000
    assert found.temperature is not None and 10 < found.temperature < 110
    assert found.clock is not None and found.clock > 100
    assert found.busy is not None and 0 <= found.busy <= 100
    assert found.held_down is not None
