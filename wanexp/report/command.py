"""``wanexp report STUDY``: writes the compare page and says where it is."""

from __future__ import annotations

import json
import os
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from wanexp.compare import find_study
from wanexp.record import StudyPaths
from wanexp.report.page import Built, write_folder, write_single

FOLDER, FILE = "report", "report.html"
"""Of a study: where its page is unless the user says otherwise."""

MOST_MIRRORED = 48_000_000
"""Bytes of videos in the page that goes to MLflow, whose pane fetches all of it at once."""


def report_command(
    name: str,
    overrides: Sequence[str],
    *,
    out: str | None,
    single_file: bool,
    show: bool,
    as_json: bool,
) -> int:
    """Writes a study's page.

    Args:
        name: A study among the studies, or a study's folder.
        overrides: Such as ``studies=FOLDER``.
        out: The folder that the page goes into; the study's own by default.
        single_file: Everything in one HTML file.
        show: Open it in the browser.
        as_json: One JSON object on stdout.
    """
    study = _study(name, overrides)
    if single_file:
        page = Path(out) / f"{study.name}.html" if out else study.root / FILE
        built = write_single(study, page)
    else:
        built = write_folder(study, Path(out) if out else study.root / FOLDER)
    if as_json:
        print(json.dumps(_tree(study, built)))
    else:
        print(f"{_short(built.page)}  ({built.size / 1e6:.1f} MB, {_videos(built)})")
    if show and not webbrowser.open(built.page.absolute().as_uri()):
        raise _no_browser(built.page)
    return 0


def refresh_page(study: StudyPaths) -> str:
    """Writes the page of a study that has just run; says where it is, as the user would type it.

    A sweep does not fail for its page: where the disk is full, that is said instead.
    """
    try:
        return _short(write_folder(study, study.root / FOLDER).page)
    except OSError as error:
        return f"not written ({error})"


def mirrored_pages(study: StudyPaths) -> tuple[Path, ...]:
    """The page as one file of a size that MLflow's pane shows; none where it cannot be written."""
    try:
        return (write_single(study, study.root / FILE, most=MOST_MIRRORED).page,)
    except OSError:
        return ()


def _study(name: str, overrides: Sequence[str]) -> StudyPaths:
    folder = Path(name)
    if (folder / "study.json").is_file():
        return StudyPaths(folder.absolute())
    return find_study(name, overrides)


def _tree(study: StudyPaths, built: Built) -> dict[str, object]:
    return {
        "study": str(study.root),
        "page": str(built.page),
        "trials": built.trials,
        "videos": built.videos,
        "bytes": built.size,
        "left_out": built.left_out,
    }


def _videos(built: Built) -> str:
    left = f", {built.left_out} left out for size" if built.left_out else ""
    return f"{built.videos} of {built.trials} videos{left}"


def _no_browser(page: Path) -> Exception:
    from wanexp.strict import ConfigError

    return ConfigError(f"--open: no browser could be started here; open {_short(page)} yourself")


def _short(path: Path) -> str:
    """A path as the user would type it from here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
