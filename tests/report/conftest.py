"""One small study, in both forms, and one window to look at it, for all tests of the page.

A window of its own takes a test ten times as long as a link within a page that is open.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.report.browser import Watched, address, watched
from tests.report.studies import make_numbered_study
from wanexp.record import StudyPaths
from wanexp.report.page import write_folder, write_single

CASES = ("astronaut", "coffee", "brick", "rocket", "cell")


@dataclass(frozen=True)
class Forms:
    """A study and the addresses of its page."""

    study: StudyPaths
    folder: str
    single: str


@pytest.fixture(scope="session")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Forms:
    root = tmp_path_factory.mktemp("pages")
    study = make_numbered_study(root / "studies" / "ab", cases=CASES)
    return written(study, root)


def written(study: StudyPaths, root: Path) -> Forms:
    """A study's page in both forms."""
    folder = write_folder(study, root / "folder").page
    single = write_single(study, root / "alone" / "page.html").page
    return Forms(study=study, folder=address(folder), single=address(single))


@pytest.fixture(scope="session")
def one_window(browser: Browser) -> Iterator[Watched]:
    with watched(browser) as seen:
        yield seen


@pytest.fixture
def window(one_window: Watched) -> Iterator[Watched]:
    """The window, in which a test may open any page; it must have stayed silent and at home."""
    yield one_window
    one_window.as_at_first()
    one_window.check()


@pytest.fixture
def seen(window: Watched, forms: Forms) -> Watched:
    """The window on the study's folder, paused on the first frame, all else at rest."""
    window.at_rest(forms.folder)
    return window
