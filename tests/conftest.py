"""One thread for numerical libraries: results then do not depend on the machine's cores, and tests
that share a machine do not wait for each other's threads. One browser and one set of MLflow's
tables for all tests that need them.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts tests in the background has them ignore Ctrl-C, and all that they start too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Where bytecode is not to be written (as in many containers) every process that a test starts would
# compile thousands of modules again, which is most of its time; so it goes beside pytest's cache.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
    compiled = str(Path(__file__).resolve().parent.parent / ".pytest_cache" / "bytecode")
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = compiled
    sys.dont_write_bytecode = False


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A real Chromium; Playwright allows one of its kind in a process."""
    from tests.report.browser import chromium

    with chromium() as opened:
        yield opened


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables and nothing in them, which takes seconds to make."""
    from wanexp.record import StudyPaths
    from wanexp.track import prepare
    from wanexp.tracking import Tracking

    studies = tmp_path_factory.mktemp("tables")
    assert prepare(Tracking(), StudyPaths(studies / "none")).problem is None
    with sqlite3.connect(studies / "mlflow.db") as database:
        database.execute("DELETE FROM experiments WHERE name != 'Default'")
    return studies / "mlflow.db"
