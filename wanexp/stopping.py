"""Ctrl-C, twice: the first asks to stop where nothing is lost, the second stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A stop that was asked for, at a place where nothing is lost; the message names the place."""


@dataclass(kw_only=True)
class StopSign:
    """Whether somebody has asked to stop. Whoever works looks at it where it can stop.

    Attributes:
        idle: Others are waited for: there is nothing here that would come to its end first.
    """

    asked: bool = False
    idle: bool = False


@contextmanager
def stop_on_signals(say: Callable[[], None]) -> Iterator[StopSign]:
    """SIGINT and SIGTERM raise the sign and ``say`` so; the second of them is KeyboardInterrupt.

    While the sign is idle nothing is said: what waits stops at once.

    Only the main thread may handle signals: in any other the sign is never raised. What handled
    them before does again after the block.
    """
    sign = StopSign()

    def handle(_number: int, _frame: FrameType | None) -> None:
        if sign.asked:
            raise KeyboardInterrupt
        sign.asked = True
        if not sign.idle:
            say()

    if threading.current_thread() is not threading.main_thread():
        yield sign
        return
    before = {one: signal.signal(one, handle) for one in SIGNALS}
    try:
        yield sign
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
