"""Work spread over threads."""

import threading

import pytest

from wanexp.metrics import spread as room
from wanexp.metrics.spread import spread


@pytest.mark.parametrize("cores", [1, 4])
def test_results_come_in_the_order_of_their_items(cores, monkeypatch):
    monkeypatch.setattr(room, "cores", lambda: cores)
    assert spread(lambda n: n * n, range(50)) == [n * n for n in range(50)]
    assert spread(lambda n: n, []) == []


def test_one_core_starts_no_thread(monkeypatch):
    monkeypatch.setattr(room, "cores", lambda: 1)
    assert set(spread(lambda _: threading.current_thread(), range(3))) == {threading.main_thread()}


def test_an_error_in_one_is_an_error_of_all():
    with pytest.raises(ZeroDivisionError):
        spread(lambda n: 1 / n, [1, 0, 2])
