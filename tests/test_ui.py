"""MLflow's pages as a person sees them: a real server, a real browser, a real study."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.report.browser import needs_chromium
from tests.small_study import make_study
from wanexp.record import StudyPaths

PATIENCE = 120_000
"""Milliseconds that a page may take on a busy machine."""

DRIVER = """
import sys
from pathlib import Path
from wanexp.record import StudyPaths
from wanexp.mirror import run_ui, sync
from wanexp.tracking import Summary, Tracking

summary = Summary(table={"arm": ["baseline", "A"], "flicker": [3.4, 4.0]}, text="# A verdict")
studies = Path(sys.argv[1])
sync(studies, Tracking(), summarise=lambda study: summary)
sys.exit(run_ui(Tracking(), studies, port=5900))
"""

pytestmark = [
    pytest.mark.slow,
    needs_chromium,
]


@dataclass(frozen=True)
class Pages:
    """A served study: its charts' address, its server's, and a page of a fresh browser."""

    charts: str
    base: str
    page: Page


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StudyPaths, str]]:
    studies = tmp_path_factory.mktemp("ui") / "my studies"
    study = make_study(studies)
    server = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(studies)],
        stdout=subprocess.PIPE,
        text=True,
        env={key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"},
    )
    assert server.stdout is not None
    first, second = server.stdout.readline(), server.stdout.readline()
    assert first.startswith("MLflow: http://127.0.0.1:59"), first
    assert second.startswith("  guide_ab: http://127.0.0.1:59"), second
    yield study, second.strip().removeprefix("guide_ab: ")
    server.send_signal(signal.SIGINT)
    assert server.wait(60) == 0
    server.stdout.close()


@pytest.fixture
def pages(served: tuple[StudyPaths, str], browser: Browser) -> Iterator[Pages]:
    _, charts = served
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    yield Pages(charts, charts.partition("/#/")[0], page)
    context.close()


def run_address(pages: Pages, name: str) -> str:
    """The page of the first run with this name."""
    link = pages.page.get_by_role("link", name=name).first
    link.wait_for()
    return f"{pages.base}/{link.get_attribute('href')}".replace("/#", "#").replace("#", "/#", 1)


def picture(pages: Pages, tmp_path: Path, name: str) -> None:
    """A screenshot for whoever looks into a failure."""
    pages.page.screenshot(path=tmp_path / f"{name}.png")


def wait_for_words(page: Page, *words: str) -> None:
    """Wait until the page says all of these, wherever they are split into elements."""
    for word in words:
        page.wait_for_function("word => document.body.textContent.includes(word)", arg=word)


def test_the_printed_address_opens_on_charts_by_arm_at_once(pages, tmp_path):
    page = pages.page
    page.goto(pages.charts)
    wait_for_words(page, "Group: baseline", "Group: A", "Group: C", "Model metrics")
    page.wait_for_function("() => document.querySelectorAll('.js-plotly-plot').length >= 3")
    page.wait_for_timeout(1000)
    picture(pages, tmp_path, "arms")
    titles = page.evaluate("() => [...document.querySelectorAll('h4')].map(h => h.textContent)")
    assert {"flicker", "motion", "face_detail"} <= set(titles)


def test_frames_of_all_videos_lie_side_by_side(pages, tmp_path):
    page = pages.page
    page.goto(pages.charts.replace("=arms", "=videos"))
    wait_for_words(page, "Pictures", "Settings and metrics")
    loaded = (
        "() => [...document.images].filter("
        "i => i.src.includes('frame%2Bstep%2B8') && i.naturalWidth > 100).length >= 6"
    )
    page.wait_for_function(loaded)
    picture(pages, tmp_path, "videos")
    assert page.get_by_text("prompt=").count() == 0  # no settings over the pictures
    page.get_by_text("Settings and metrics").scroll_into_view_if_needed()
    wait_for_words(page, "Parallel Coordinates", "refine.denoise", "refine.sigma_start")
    page.wait_for_timeout(1000)
    picture(pages, tmp_path, "parallel")


def test_the_list_of_runs_shows_trials_states_and_the_summary(pages, tmp_path):
    page = pages.page
    page.goto(pages.charts.replace("&compareRunsMode=CHART", "").partition("&viewState")[0])
    wait_for_words(page, "8 matching runs")
    for name, count in (("summary", 1), ("C · coffee · 7", 1), ("A · astronaut · 7", 2)):
        page.get_by_role("link", name=name).first.wait_for()
        assert page.get_by_role("link", name=name).count() == count
    picture(pages, tmp_path, "runs")


def test_a_runs_mp4_plays(pages, tmp_path):
    page = pages.page
    page.goto(pages.charts.partition("&viewState")[0])
    address = run_address(pages, "C · astronaut · 7")
    page.goto("about:blank")
    page.goto(f"{address.partition('?')[0]}/artifacts/video.mp4")
    video = page.locator("video")
    video.wait_for()
    page.wait_for_function("() => document.querySelector('video').readyState === 4")
    facts = video.evaluate("v => [v.videoWidth, v.videoHeight, v.duration]")
    assert facts[:2] == [160, 128]
    assert facts[2] == pytest.approx(17 / 12, abs=0.1)
    video.evaluate("v => { v.muted = true; return v.play() }")
    page.wait_for_function("() => document.querySelector('video').currentTime > 0.5")
    picture(pages, tmp_path, "video")
    assert video.evaluate("v => v.error") is None


def test_the_summary_and_the_systems_samples_are_shown(pages, tmp_path):
    page = pages.page
    page.goto(pages.charts.partition("&viewState")[0])
    summary = run_address(pages, "summary").partition("?")[0]
    trial = run_address(pages, "A · coffee · 7").partition("?")[0]
    page.goto("about:blank")
    page.goto(summary)
    page.get_by_role("heading", name="A verdict").wait_for()
    picture(pages, tmp_path, "summary")
    page.goto("about:blank")
    page.goto(f"{trial}/system-metrics")
    page.get_by_text("process_memory_megabytes").first.wait_for()
    picture(pages, tmp_path, "system")
