"""What a trial takes of the machine is seen, also between two samples."""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from wanexp import monitor as monitor_module
from wanexp.monitor import LIMIT, Monitor, Sample, monitoring

MEGABYTE = 1 << 20


@contextmanager
def watching(interval: float = 1.0) -> Iterator[Monitor]:
    monitor = Monitor(interval=interval)
    with monitoring(monitor):
        yield monitor


def test_memory_taken_between_two_samples_counts_in_the_peak():
    with watching(60) as monitor:
        before = np.ones(200 * MEGABYTE, np.uint8).nbytes  # taken and given back at once
    peak, last = monitor.peaks["rss"], monitor.samples[-1].rss
    assert peak is not None
    assert peak - last > 0.9 * before


def test_a_peak_is_of_its_own_trial():
    np.ones(200 * MEGABYTE, np.uint8)
    with watching(60) as monitor:
        pass
    peak = monitor.peaks["rss"]
    assert peak is not None
    assert peak - monitor.samples[-1].rss < 100 * MEGABYTE


def test_where_the_kernel_resets_no_peak_the_samples_tell(monkeypatch, tmp_path):
    monkeypatch.setattr(monitor_module, "CLEAR_REFS", tmp_path / "none" / "clear_refs")
    with watching(60) as monitor:
        np.ones(200 * MEGABYTE, np.uint8)
    assert monitor.peaks["rss"] == max(sample.rss for sample in monitor.samples)


def test_samples_run_through_the_block_and_end_with_it():
    with watching(0.05) as monitor:
        deadline = time.monotonic() + 0.6
        while time.monotonic() < deadline:
            np.linalg.svd(np.ones((60, 60)))
    seconds = [sample.seconds for sample in monitor.samples]
    assert len(seconds) > 4
    assert seconds == sorted(seconds)
    assert seconds[0] < 0.3
    assert seconds[-1] >= 0.55
    assert max(sample.cpu_percent for sample in monitor.samples) > 10
    assert not any(t.name == "wanexp-monitor" for t in threading.enumerate())


def test_a_block_that_fails_is_still_measured():
    with pytest.raises(ZeroDivisionError), watching() as monitor:
        print(1 / 0)
    assert monitor.peaks["rss"]
    assert len(monitor.samples) >= 1


def test_the_series_is_plain_and_says_when_it_began():
    with watching(0.02) as monitor:
        time.sleep(0.1)
    series = monitor.series()
    assert json.loads(json.dumps(series, allow_nan=False)) == series
    assert str(series["started"]).endswith("Z")
    assert len(series["rss"]) == len(series["seconds"]) == len(monitor.samples)  # type: ignore[arg-type]


def test_without_a_gpu_in_use_its_figures_are_none():
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_initialized():
        pytest.skip("another test uses the GPU in this process")
    with watching() as monitor:
        pass
    assert monitor.peaks["cuda"] is None
    assert monitor.series()["gpu_memory"] is None
    assert monitor.series()["gpu_percent"] is None


def test_a_long_trial_keeps_a_bounded_number_of_samples(monkeypatch):
    monkeypatch.setattr(monitor_module, "LIMIT", 8)
    with watching(0.002) as monitor:
        time.sleep(0.5)
    assert 4 <= len(monitor.samples) <= 16
    assert monitor.samples[-1].seconds >= 0.45  # thinned, not cut short
    assert sum(sample.seconds > 0.25 for sample in monitor.samples) >= 3
    assert LIMIT == 240


def test_a_series_holds_unknown_values_beside_known_ones():
    def sample(gpu: int | None) -> Sample:
        return Sample(seconds=0.0, cpu_percent=0.0, rss=1, gpu_memory=gpu, gpu_percent=None)

    series = Monitor(interval=1, samples=[sample(None), sample(5)]).series()
    assert series["gpu_memory"] == [None, 5]


@pytest.mark.gpu
def test_gpu_memory_and_its_peak_are_seen():
    import torch

    torch.zeros(1, device="cuda")
    gc.collect()
    torch.cuda.empty_cache()
    allocated, cached = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    with watching(0.02) as monitor:
        block = torch.zeros(512 * MEGABYTE, dtype=torch.uint8, device="cuda")
        del block
        torch.cuda.empty_cache()
        held = torch.zeros(64 * MEGABYTE, dtype=torch.uint8, device="cuda")
        time.sleep(0.2)
    assert held.numel()
    peak, reserved = monitor.peaks["cuda"], monitor.peaks["cuda_reserved"]
    assert peak is not None
    assert reserved is not None
    assert 512 * MEGABYTE <= peak - allocated < 700 * MEGABYTE
    assert reserved >= peak
    memory = monitor.samples[-1].gpu_memory
    assert memory is not None
    assert 64 * MEGABYTE <= memory - cached < 500 * MEGABYTE
