"""One thread for numerical libraries: results then do not depend on the machine's cores, and tests
that share a machine do not wait for each other's threads. One browser for all tests of pages.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A real Chromium; Playwright allows one of its kind in a process."""
    from tests.report.browser import chromium

    with chromium() as opened:
        yield opened
