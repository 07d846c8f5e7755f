"""What a trial took of the machine: samples over time, peaks, phases. Sizes are bytes.

Peaks and samples are the process's. Where the trial before is still being scored behind this one,
its share is in resident memory and CPU time too (``TrialRecord.overlapped`` says so); the GPU is
this trial's alone.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from wanexp import nvml
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
        gpu_percent: Of the time in which the device was busy; None where NVML is not there, as
            for what follows.
        gpu_power, gpu_temperature, gpu_clock: Watts, °C and MHz (``wanexp.nvml.Look``).
        held_down: What holds the clock down.
    """

    seconds: float
    cpu_percent: float
    rss: int
    gpu_memory: int | None
    gpu_percent: float | None
    gpu_power: float | None = None
    gpu_temperature: float | None = None
    gpu_clock: float | None = None
    held_down: tuple[str, ...] | None = None


SERIES = (
    "seconds",
    "cpu_percent",
    "rss",
    "gpu_memory",
    "gpu_percent",
    "gpu_power",
    "gpu_temperature",
    "gpu_clock",
)
"""The numbers of a sample that a record keeps."""


@dataclass(kw_only=True)
class Phase:
    """One phase of a trial, all the stretches that it came in together.

    Attributes:
        seconds: On the wall.
        peaks: As ``Monitor.peaks``; ``rss`` is None where the kernel resets no peak.
    """

    seconds: float = 0.0
    peaks: dict[str, int | None] = field(default_factory=dict)


@dataclass(kw_only=True)
class Monitor:
    """Samples of one trial, filled by a thread while ``monitoring`` runs, and its phases."""

    interval: float = 1.0
    started: str = field(default_factory=utc_now)
    samples: list[Sample] = field(default_factory=list)
    peaks: dict[str, int | None] = field(default_factory=dict)
    phases: dict[str, Phase] = field(default_factory=dict)
    phase: str | None = None
    _begun: float = 0.0
    _kernel: bool = False

    def enter(self, phase: str | None) -> None:
        """Ends the phase that runs and begins another; by one thread, since peaks are reset."""
        self._close()
        self.phase, self._begun = phase, time.perf_counter()
        self._kernel = _reset_peaks()

    def _close(self) -> None:
        found = _peaks(kernel=self._kernel)
        self.peaks = _highest(self.peaks, found)
        if self.phase is not None:
            own = self.phases.setdefault(self.phase, Phase())
            own.seconds += time.perf_counter() - self._begun
            own.peaks = _highest(own.peaks, found)
        self.phase = None

    def series(self) -> dict[str, object]:
        """For a record: ``started``, then one list a quantity; None for what is unknown."""
        lists = {name: [getattr(s, name) for s in self.samples] for name in SERIES}
        known = {n: v if any(x is not None for x in v) else None for n, v in lists.items()}
        return {"started": self.started, **known}

    def phase_trees(self) -> dict[str, Mapping[str, object]]:
        """For a record: phase to its ``seconds`` and peaks."""
        return {
            name: {"seconds": round(own.seconds, 4), **own.peaks}
            for name, own in self.phases.items()
        }

    def throttling(self) -> dict[str, float]:
        """What held the clock down, to the share of samples in which it did."""
        told = [sample.held_down for sample in self.samples if sample.held_down is not None]
        counts = Counter(reason for reasons in told for reason in reasons)
        return {reason: round(count / len(told), 4) for reason, count in counts.items()}


@contextmanager
def monitoring(monitor: Monitor) -> Iterator[None]:
    """Sample the machine every ``monitor.interval`` seconds while the block runs.

    Afterwards ``peaks`` has ``rss``, ``cuda`` (allocated by PyTorch) and ``cuda_reserved`` (what
    it took from the device: the figure that must fit on a card), None without a GPU in use. One
    monitor at a time: the peaks' counters belong to the process.
    """
    monitor.enter(None)
    stop = threading.Event()
    thread = threading.Thread(
        target=_watch, args=(monitor, stop), name="wanexp-monitor", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        monitor.enter(None)
        sampled = max(sample.rss for sample in monitor.samples)
        monitor.peaks["rss"] = max(sampled, monitor.peaks["rss"] or 0)


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
        seconds, card = round(time.perf_counter() - began, 3), nvml.look(_cards())
        monitor.samples.append(
            Sample(
                seconds=seconds,
                cpu_percent=process.cpu_percent(),
                rss=process.memory_info().rss,
                gpu_memory=_gpu_memory(),
                gpu_percent=card and card.busy,
                gpu_power=card and card.power,
                gpu_temperature=card and card.temperature,
                gpu_clock=card and card.clock,
                held_down=card and card.held_down,
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


def _cards() -> list[str]:
    """The UUIDs of the devices on which PyTorch holds memory in this process."""
    cuda = _cuda()
    if cuda is None:
        return []
    used = [device for device in range(cuda.device_count()) if cuda.memory_reserved(device)]
    return [str(cuda.get_device_properties(device).uuid) for device in used]


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


def _peaks(*, kernel: bool) -> dict[str, int | None]:
    cuda = _cuda()
    return {
        "rss": _peak_rss() if kernel else None,
        "cuda": cuda and _over_devices(cuda, cuda.max_memory_allocated),
        "cuda_reserved": cuda and _over_devices(cuda, cuda.max_memory_reserved),
    }


def _highest(
    one: Mapping[str, int | None], other: Mapping[str, int | None]
) -> dict[str, int | None]:
    """By name the larger of both; what one does not know the other says."""
    names = dict.fromkeys([*one, *other])
    known = {name: [v for v in (one.get(name), other.get(name)) if v is not None] for name in names}
    return {name: max(values, default=None) for name, values in known.items()}


def _peak_rss() -> int:
    """The kernel's peak since the reset, which samples can miss."""
    for line in STATUS.read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
