"""A real Chromium on a page, and what its screen shows."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from tests.report.studies import read_number

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDTH, HEIGHT = 1200, 900
PATIENCE = 20.0
"""Seconds that a page may take on a busy machine."""

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@dataclass
class Watched:
    """A page, with everything that it complained of or asked a network for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def open(self, address: str, selector: str = "#videos") -> None:
        """Loads a page anew, whatever stood here before."""
        if self.page.url != "about:blank":
            self.page.goto("about:blank")
        self.page.goto(address)
        self.page.locator(selector).scroll_into_view_if_needed()
        self.page.evaluate("s => document.querySelector(s).scrollIntoView()", selector)
        self.settle()

    def show(self, view: str, selector: str = "#videos") -> None:
        """Follows a link within the page, as ``#`` and these words."""
        self.page.evaluate("view => { location.hash = view }", view)
        self.settle()
        self.page.evaluate("s => document.querySelector(s).scrollIntoView()", selector)
        self.settle()

    def at_rest(self, home: str) -> None:
        """Shows the page ``home`` as if it had just been opened and put on its first frame."""
        if self.page.url.partition("#")[0] != home:
            self.open(f"{home}#frame=0&section=videos")
            return
        self.page.evaluate(
            """() => {
                document.querySelectorAll('dialog[open]').forEach(node => node.close());
                document.activeElement.blur();
                history.replaceState(null, '', '#frame=1');
            }"""
        )
        if self.page.evaluate("wanexp.clock.playing"):
            self.page.keyboard.press("k")
        self.show("frame=0&section=videos")

    def resize(self, width: int, height: int) -> None:
        self.page.set_viewport_size({"width": width, "height": height})

    def as_at_first(self) -> None:
        """The window's own size, a light screen, little motion."""
        self.resize(WIDTH, HEIGHT)
        self.page.emulate_media(color_scheme="light", reduced_motion="reduce")

    def check(self) -> None:
        """It stayed silent and at home since the last time."""
        complaints, asked = self.complaints.copy(), self.asked.copy()
        self.complaints.clear()
        self.asked.clear()
        assert complaints == []
        at_home = ("file:", "data:", "blob:", "about:")
        assert [url for url in asked if not url.startswith(at_home)] == []

    def settle(self) -> None:
        """Waits until every screen in sight has its picture."""
        # What has come into sight is told to the page a frame or two later.
        self.page.evaluate("() => new Promise(r => setTimeout(r, 80))")
        self.until(
            "[...wanexp.screens.values()].filter(s => s.awake)"
            ".every(s => s.canvas.dataset.frame !== undefined)"
        )
        self.page.evaluate("() => new Promise(r => requestAnimationFrame(() => setTimeout(r, 30)))")

    def until(self, condition: str) -> None:
        """Waits for a condition; the page's policy forbids Playwright's own way."""
        end = time.monotonic() + PATIENCE
        while not self.page.evaluate(condition):
            assert time.monotonic() < end, f"never came true: {condition}"
            time.sleep(0.02)

    def pictures(self, selector: str = ".tile:not(.source) canvas") -> list[np.ndarray]:
        """What one screenshot shows in every such element that is wholly in sight."""
        boxes = self.page.evaluate(
            "s => [...document.querySelectorAll(s)].map(n => n.getBoundingClientRect())"
            ".filter(b => b.top >= 50 && b.bottom <= innerHeight - 80)"
            ".map(b => [b.left, b.top, b.width, b.height])",
            selector,
        )
        screen = np.asarray(Image.open(io.BytesIO(self.page.screenshot())).convert("RGB"))
        assert boxes, f"nothing in sight is {selector}"
        found = []
        for left, top, width, height in boxes:
            x, y = round(left) + 1, round(top) + 1
            found.append(screen[y : y + round(height) - 2, x : x + round(width) - 2])
        return found

    def numbers(self, selector: str = ".tile:not(.source) canvas") -> list[int]:
        """The frame numbers that one screenshot shows."""
        return [read_number(picture) for picture in self.pictures(selector)]

    def state(self, key: str) -> object:
        return self.page.evaluate("key => wanexp.state()[key]", key)


@contextmanager
def watched(
    browser: Browser,
    *,
    still: bool = True,
    width: int = WIDTH,
    height: int = HEIGHT,
    scheme: str = "light",
    players_only: bool = False,
) -> Iterator[Watched]:
    """A page in a window of its own; it must have stayed silent and at home when it closes."""
    context = browser.new_context(
        viewport=ViewportSize(width=width, height=height),
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce" if still else "no-preference",
    )
    page = context.new_page()
    seen = Watched(page)
    page.on("console", lambda message: seen.complaints.append(message.text))
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.on("request", lambda request: seen.asked.append(request.url))
    if players_only:
        page.add_init_script("window.wanexpPlayersOnly = true")
    yield seen
    context.close()
    seen.check()


def address(page: Path, hash_: str = "") -> str:
    return page.absolute().as_uri() + hash_
