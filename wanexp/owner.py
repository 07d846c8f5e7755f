"""Which process owns something on disk, and whether it still lives.

An owner is ``HOST-PID-START``: the host, since disks are shared; the second in which the process
started, since process numbers come round again.
"""

from __future__ import annotations

import os
import platform
import re
import time

FOREIGN_PATIENCE = 24 * 3600
"""Seconds without a sign of life after which an owner on another machine counts as dead."""

CLOCK_SLACK = 2
"""Seconds by which a start time may differ between two readings (the clock is being set)."""


def owner(pid: int | None = None) -> str:
    """The owner name of a living process, by default this one."""
    pid = os.getpid() if pid is None else pid
    return f"{_host()}-{pid}-{_start(pid) or 0}"


def is_dead(name: str, *, last_sign: float, patience: float = FOREIGN_PATIENCE) -> bool:
    """Whether the process behind an owner name is gone.

    A process of another machine cannot be asked; it counts as dead ``patience`` seconds after
    ``last_sign`` (seconds since the epoch). A name that is not an owner's belongs to nobody.
    """
    parts = re.fullmatch(r"(.+)-(\d+)-(\d+)", name)
    if parts is None:
        return True
    host, pid, start = parts[1], int(parts[2]), int(parts[3])
    if host != _host():
        return time.time() - last_sign > patience
    now = _start(pid)
    return now is None or abs(now - start) > CLOCK_SLACK


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9.]", "_", platform.node()) or "unknown"


def _start(pid: int) -> int | None:
    """The second since the epoch in which a process started; None where it has ended."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else int(process.create_time())
    except psutil.NoSuchProcess:
        return None
