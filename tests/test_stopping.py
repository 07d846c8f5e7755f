"""The first signal asks, the second stops; afterwards all is as it was."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from wanexp.stopping import stop_on_signals


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_raises_the_sign_and_the_second_stops(first, second):
    before, said = {s: signal.getsignal(s) for s in (first, second)}, []
    with pytest.raises(KeyboardInterrupt), stop_on_signals(lambda: said.append(1)) as sign:
        assert not sign.asked
        os.kill(os.getpid(), first)
        assert (sign.asked, said) == (True, [1])
        os.kill(os.getpid(), second)
    assert said == [1]
    assert before == {s: signal.getsignal(s) for s in (first, second)}


def test_who_waits_for_others_is_not_told_of_work_that_ends_first():
    said = []
    with stop_on_signals(lambda: said.append(1)) as sign:
        sign.idle = True
        os.kill(os.getpid(), signal.SIGINT)
        assert (sign.asked, said) == (True, [])


def test_in_another_thread_signals_are_left_alone():
    before, found = signal.getsignal(signal.SIGINT), []

    def look() -> None:
        with stop_on_signals(lambda: None) as sign:
            found.append((sign.asked, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [(False, before)]
