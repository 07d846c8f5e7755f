"""Work behind the caller's back: one piece after another, in a thread, and at most one waits.

The piece that is handed over holds a whole video, so the caller waits until the piece before is
over: two videos are in memory at the most, the one that is made and the one that is worked on.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType

INTERRUPTED = 130


class Behind:
    """A context manager that has all work done when its block ends.

    Where the block ends in an exception nothing is waited for: that is Ctrl-C, who wants out.
    """

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> Behind:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.wait()
        elif self._thread is not None and self._thread.is_alive():
            atexit.register(_leave, self._thread)

    def wait(self) -> float:
        """Seconds until the piece that was handed over last was over.

        Raises:
            BaseException: What that piece raised.
        """
        begun, thread = time.perf_counter(), self._thread
        if thread is None:
            return 0.0
        thread.join()
        self._thread, error, self._error = None, self._error, None
        if error is not None:
            raise error
        return time.perf_counter() - begun

    def hand(self, work: Callable[[], None]) -> None:
        """Begins ``work`` once the piece before is over; without a thread it is done here."""
        self.wait()
        if not self._enabled:
            work()
            return
        # A daemon, so that the second Ctrl-C need not wait for it.
        self._thread = threading.Thread(
            target=self._do, args=(work,), name="wanexp-behind", daemon=True
        )
        self._thread.start()

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._error = error


def _leave(thread: threading.Thread) -> None:
    """Ends the process while the thread is in C++ code, which must not see Python shut down.

    What it was writing is a folder that nobody takes for a trial; the next run removes it.
    """
    if thread.is_alive():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)
