"""What NVML says is read by its bits; where there is no card there is nothing, and no error."""

from __future__ import annotations

import subprocess
import sys

import pytest

from wanexp.nvml import REASONS, TROUBLE, look, reasons_in
from wanexp.troubles import throttle_words


@pytest.mark.parametrize(
    ("bits", "names"),
    [
        (0x0, ()),
        (0x1, ()),  # idle
        (0x2, ()),  # clocks that the user set
        (0x4, ("power_cap",)),
        (0x20, ("thermal",)),
        (0x40, ("thermal",)),
        (0x48, ("thermal", "hardware_slowdown")),
        (0x84, ("power_cap", "power_brake")),
    ],
)
def test_bits_have_names(bits, names):
    assert reasons_in(bits) == names


def test_a_power_limit_is_no_trouble():
    assert set(TROUBLE) == set(REASONS) - {"power_cap"}
    assert throttle_words({"power_cap": 1.0}) == ""
    words = "the GPU was slowed down (thermal in 12% of the samples)"
    assert throttle_words({"power_cap": 1.0, "thermal": 0.12}) == words


def test_without_cards_there_is_nothing():
    assert look([]) is None


def test_a_machine_without_the_library_says_none():
    code = (
        "from wanexp import nvml; nvml.LIBRARY = 'libno-such-thing.so'; print(nvml.look(['GPU-0']))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "None\n"
