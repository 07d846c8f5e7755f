"""What a trial took of the machine: samples over time, and peaks. Sizes are bytes."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from wanexp.record import utc_now

LIMIT = 240
"""Samples kept; at twice that every other one goes and the pace is halved."""

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
RESET_PEAK = "5"
"""What clear_refs takes for resetting the peak resident size (Linux, proc(5))."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One look at this process and its GPU.

    Attributes:
        seconds: Since the monitor began.
        cpu_percent: Of this process; 100 is one core.
        rss: Resident memory.
        gpu_memory: Held by PyTorch in this process; None without a GPU in use.
        gpu_percent: Of the time in which the device was busy; None where NVML is not there.
    """

    seconds: float
    cpu_percent: float
    rss: int
    gpu_memory: int | None
    gpu_percent: float | None


@dataclass(kw_only=True)
class Monitor:
    """Samples of one trial, filled by a thread while ``monitoring`` runs."""

    interval: float
    started: str = field(default_factory=utc_now)
    samples: list[Sample] = field(default_factory=list)
    peaks: dict[str, int | None] = field(default_factory=dict)

    def series(self) -> dict[str, object]:
        """For a record: ``started``, then one list a quantity; None for what is unknown."""
        names = ("seconds", "cpu_percent", "rss", "gpu_memory", "gpu_percent")
        lists = {name: [getattr(s, name) for s in self.samples] for name in names}
        known = {n: v if any(x is not None for x in v) else None for n, v in lists.items()}
        return {"started": self.started, **known}


@contextmanager
def monitoring(interval: float = 1.0) -> Iterator[Monitor]:
    """Sample the machine every ``interval`` seconds while the block runs.

    Afterwards ``peaks`` has ``rss``, ``cuda`` (allocated by PyTorch) and ``cuda_reserved`` (what
    it took from the device: the figure that must fit on a card), None without a GPU in use. One
    monitor at a time: the peaks' counters belong to the process.
    """
    monitor = Monitor(interval=interval)
    kernel = _reset_peaks()
    stop = threading.Event()
    thread = threading.Thread(
        target=_watch, args=(monitor, stop), name="wanexp-monitor", daemon=True
    )
    thread.start()
    try:
        yield monitor
    finally:
        stop.set()
        thread.join()
        monitor.peaks = _peaks(monitor.samples, kernel=kernel)


def _watch(monitor: Monitor, stop: threading.Event) -> None:
    import psutil

    process = psutil.Process()
    process.cpu_percent()  # the first call has nothing to compare with and returns 0
    began = time.perf_counter()
    interval = monitor.interval
    ended = False
    while not ended:
        ended = stop.wait(interval if monitor.samples else 0)
        if len(monitor.samples) >= 2 * LIMIT:
            del monitor.samples[1::2]
            interval *= 2
        seconds = round(time.perf_counter() - began, 3)
        monitor.samples.append(
            Sample(
                seconds=seconds,
                cpu_percent=process.cpu_percent(),
                rss=process.memory_info().rss,
                gpu_memory=_gpu_memory(),
                gpu_percent=_gpu_percent(),
            )
        )


def _cuda() -> ModuleType | None:
    """``torch.cuda`` where this process uses it already; asking must not start it."""
    torch = sys.modules.get("torch")
    # While another thread is still importing torch the module is there and its parts are not.
    cuda = getattr(torch, "cuda", None)
    if cuda is None or not getattr(cuda, "is_initialized", bool)():
        return None
    return cuda


def _gpu_memory() -> int | None:
    """PyTorch's own counters: a call to the driver could spoil a graph that is being captured."""
    cuda = _cuda()
    return None if cuda is None else _over_devices(cuda, cuda.memory_reserved)


def _over_devices(cuda: ModuleType, count: Callable[[int], int]) -> int:
    """The sum over devices; a thread has its own idea of which device is the current one."""
    return sum(count(device) for device in range(cuda.device_count()))


def _gpu_percent() -> float | None:
    cuda = _cuda()
    if cuda is None:
        return None
    try:
        return float(cuda.utilization())
    except (ImportError, RuntimeError):  # NVML's bindings are not installed, or refuse
        return None


def _reset_peaks() -> bool:
    """Start counting peaks anew; whether the kernel's resident peak took part."""
    cuda = _cuda()
    if cuda is not None:
        for device in range(cuda.device_count()):
            cuda.reset_peak_memory_stats(device)
    try:
        CLEAR_REFS.write_text(RESET_PEAK, encoding="utf-8")
    except OSError:  # no Linux, or a container that forbids it
        return False
    return True


def _peaks(samples: list[Sample], *, kernel: bool) -> dict[str, int | None]:
    cuda = _cuda()
    sampled = max(sample.rss for sample in samples)
    return {
        "rss": max(sampled, _peak_rss()) if kernel else sampled,
        "cuda": cuda and _over_devices(cuda, cuda.max_memory_allocated),
        "cuda_reserved": cuda and _over_devices(cuda, cuda.max_memory_reserved),
    }


def _peak_rss() -> int:
    """The kernel's peak since the reset, which samples can miss."""
    for line in STATUS.read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
