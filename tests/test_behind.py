"""What is worked on behind the caller's back: in order, one at a time, and no error is lost."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from wanexp.behind import Behind

PATIENCE = 20.0


def test_a_piece_is_done_while_the_caller_goes_on():
    gone_on = threading.Event()
    done = []
    with Behind(enabled=True) as behind:
        behind.hand(lambda: done.append(gone_on.wait(PATIENCE)))
        gone_on.set()
    assert done == [True]


def test_the_second_piece_waits_for_the_first_and_the_wait_is_told():
    going, most, order = [0], [0], []

    def piece(name: str) -> None:
        going[0] += 1
        most[0] = max(most[0], going[0])
        threading.Event().wait(0.1)
        order.append(name)
        going[0] -= 1

    waited = []
    with Behind(enabled=True) as behind:
        for name in ("one", "two", "three"):
            waited.append(behind.wait())
            behind.hand(lambda name=name: piece(name))
    assert (order, most) == (["one", "two", "three"], [1])
    assert waited[0] == 0 and waited[1] > 0.05 and waited[2] > 0.05


def test_without_a_thread_all_is_done_at_once_in_the_callers():
    threads = []
    with Behind(enabled=False) as behind:
        behind.hand(lambda: threads.append(threading.current_thread()))
        assert threads == [threading.current_thread()]


@pytest.mark.parametrize("enabled", [True, False])
def test_an_error_behind_reaches_the_caller(enabled):
    def fails() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), Behind(enabled=enabled) as behind:
        behind.hand(fails)
        behind.wait()


def test_who_leaves_by_an_exception_waits_for_nothing():
    """Ctrl-C, the second time: the process ends with its status while the thread still works."""
    code = """
import sys, time
from wanexp.behind import Behind
try:
    with Behind(enabled=True) as behind:
        behind.hand(lambda: time.sleep(60))
        raise KeyboardInterrupt
except KeyboardInterrupt:
    print("out")
    sys.exit(130)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (130, "out\n", "")
