"""One finished study for all tests of exporting."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.planted import plant, sweep, write_sweep


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose study ``mine`` is finished: A is better than the baseline by flicker.

    Tests that write into it copy it first.
    """
    home = tmp_path_factory.mktemp("swept")
    write_sweep(home)
    with pytest.MonkeyPatch.context() as patch:
        plant(patch, {"A": 0.5, "B": 1.0, "C": 1.0})
        status, result, _ = sweep(home)
    assert (status, result["failed"]) == (0, 0)
    return home
