"""One small study, in both forms, for all tests of the page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.report.browser import address
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
