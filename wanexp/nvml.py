"""What NVIDIA's management library (NVML) knows of a card: power, temperature, clock, throttling.

Asked through ctypes, since the library comes with the driver: no package is needed. Without it, or
without a card that it knows, there is None. Nothing here starts CUDA.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LIBRARY = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"

REASONS = {
    "power_cap": 0x04,  # the software power limit; usual for a card under full load
    "thermal": 0x20 | 0x40,  # too hot: slowed by software, or by the hardware
    "hardware_slowdown": 0x08,  # halved or worse: temperature, power supply, or power brake
    "power_brake": 0x80,  # asked from outside, by the power supply
}
"""What holds a clock down, and NVML's bits of it. Source: nvml.h, nvmlClocksEventReasons."""

TROUBLE = ("thermal", "hardware_slowdown", "power_brake")
"""Those that slow one trial and not the next; a power limit holds for all of a study alike."""

CORE_CLOCK, CORE_SENSOR = 1, 0  # NVML_CLOCK_SM, NVML_TEMPERATURE_GPU
SUCCESS = 0


@dataclass(frozen=True, kw_only=True)
class Look:
    """One look at the cards in use; None for what they do not tell.

    Attributes:
        busy: Percent of the time in which a kernel ran, the mean over cards.
        power: Watts, the sum.
        temperature: °C, the hottest.
        clock: MHz of the multiprocessors, the slowest.
        held_down: Which of ``REASONS`` hold a clock down just now.
    """

    busy: float | None
    power: float | None
    temperature: float | None
    clock: float | None
    held_down: tuple[str, ...] | None


class _Utilisation(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


def look(uuids: Sequence[str]) -> Look | None:
    """The cards with these UUIDs (as PyTorch's device properties have them) at this moment."""
    library = _library()
    if library is None:
        return None
    cards = [card for uuid in uuids if (card := _card(uuid)) is not None]
    if not cards:
        return None
    busy = _known(_busy(library, card) for card in cards)
    power = _known(_number(library.nvmlDeviceGetPowerUsage, card) for card in cards)
    heat = _known(_number(library.nvmlDeviceGetTemperature, card, CORE_SENSOR) for card in cards)
    clock = _known(_number(library.nvmlDeviceGetClockInfo, card, CORE_CLOCK) for card in cards)
    bits = _known(_number(_reasons(library), card, kind=ctypes.c_ulonglong) for card in cards)
    return Look(
        busy=sum(busy) / len(busy) if busy else None,
        power=sum(power) / 1000 if power else None,
        temperature=float(max(heat)) if heat else None,
        clock=float(min(clock)) if clock else None,
        held_down=reasons_in(functools.reduce(int.__or__, bits)) if bits else None,
    )


def reasons_in(bits: int) -> tuple[str, ...]:
    """The names of what NVML's bits say; idle clocks and settings of the user's are no trouble."""
    return tuple(name for name, mask in REASONS.items() if bits & mask)


@functools.cache
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(LIBRARY)
        return library if library.nvmlInit_v2() == SUCCESS else None
    except (OSError, AttributeError):
        return None


@functools.cache
def _card(uuid: str) -> ctypes.c_void_p | None:
    library, card = _library(), ctypes.c_void_p()
    name = uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"
    if library is None:
        return None
    found = library.nvmlDeviceGetHandleByUUID(name.encode(), ctypes.byref(card))
    return card if found == SUCCESS else None


def _reasons(library: ctypes.CDLL) -> ctypes._FuncPointer:
    """The function by its name of today, or by that of drivers before 535."""
    try:
        return library.nvmlDeviceGetCurrentClocksEventReasons
    except AttributeError:
        return library.nvmlDeviceGetCurrentClocksThrottleReasons


def _number(
    ask: ctypes._FuncPointer,
    card: ctypes.c_void_p,
    *more: int,
    kind: type[ctypes.c_uint] | type[ctypes.c_ulonglong] = ctypes.c_uint,
) -> int | None:
    value = kind()
    return int(value.value) if ask(card, *more, ctypes.byref(value)) == SUCCESS else None


def _busy(library: ctypes.CDLL, card: ctypes.c_void_p) -> int | None:
    value = _Utilisation()
    found = library.nvmlDeviceGetUtilizationRates(card, ctypes.byref(value))
    return int(value.gpu) if found == SUCCESS else None


def _known(values: Iterable[int | None]) -> list[int]:
    return [value for value in values if value is not None]
