"""Work on many frames at once: OpenCV and numpy leave Python's lock while they work."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

MOST_THREADS = 16
"""More do not help: what Python does between two calls of OpenCV is one thread's at a time."""


def spread(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """``work`` of every item, in their order, over the cores that this process may use."""
    some = list(items)
    together = min(len(some), threads())
    if together < 2:
        return [work(one) for one in some]
    with ThreadPoolExecutor(together) as pool:
        return list(pool.map(work, some))


def threads() -> int:
    """Frames that are worked on at once."""
    return min(cores(), MOST_THREADS)


def cores() -> int:
    """Cores that this process may use, which a container or a job makes fewer."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
