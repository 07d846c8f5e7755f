"""The pictures of the demo's table and frames, the compare page and rating in docs/, taken anew.

    wanexp demo && python -m tests.report.pictures studies/demo

Run it on a quiet machine: the page shows the seconds that sampling took.
"""

from __future__ import annotations

import io
import sys
import threading
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console

from analysis.load import StudyTable, load_study
from tests.report.browser import address, chromium, watched
from wanexp.compare import compared, show_study
from wanexp.rating.pairs import draw_pairs
from wanexp.rating.server import Sitting, open_server
from wanexp.rating.server import address as rating_address
from wanexp.record import StudyPaths
from wanexp.report.page import write_folder
from wanexp.video import read_video

DOCS = Path(__file__).resolve().parents[2] / "docs"
SHOTS = {
    "report-verdict": ("light", 1116, 1179, "#frame=8", "#verdict"),
    "report-compare": ("dark", 1240, 860, "#view=compare&b=A&frame=8&section=videos", "#videos"),
    "report-stages": (
        "light", 1240, 860, "#view=stages&arm=A&frame=8&boost=8&section=videos", "#videos",
    ),
}  # fmt: skip
"""Name → colours, width and height of the window, the view, what is scrolled to."""


COLUMNS = 104
"""The width of the terminal that the demo's table is drawn in."""

FRAMES = (0, 5, 10, 16)
"""Of every video that is shown as frames."""


def save(picture: bytes, name: str) -> None:
    """A JPEG of a screenshot among the docs."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.save(DOCS / f"{name}.jpg", quality=82, optimize=True)


def draw_table(table: StudyTable) -> None:
    """What the demo prints at its end, as a terminal shows it."""
    console = Console(record=True, width=COLUMNS, highlight=False, file=io.StringIO())
    show_study(console, table, compared(table))
    console.save_svg(str(DOCS / "demo.svg"), title="wanexp demo")


def draw_frames(study: StudyPaths, table: StudyTable) -> None:
    """Frames of the baseline's videos, a photograph a half row."""
    trials = table.trials[table.trials["arm"] == "baseline"]
    strips = [
        np.concatenate(read_video(study.trial(digest).video).frames[list(FRAMES)], axis=1)
        for digest in trials["digest"]
    ]
    rows = [np.concatenate(strips[i : i + 2], axis=1) for i in range(0, len(strips), 2)]
    picture = Image.fromarray(np.concatenate(rows))
    picture.save(DOCS / "demo-frames.jpg", quality=88, optimize=True)


def main(study: StudyPaths) -> None:
    table = load_study(study.root)
    draw_table(table)
    draw_frames(study, table)
    page = address(write_folder(study, study.root / "report").page)
    pairs = draw_pairs(study, table, "pictures")
    sitting = Sitting(study=study, rater="pictures", pairs=pairs, host="127.0.0.1")
    server = open_server(sitting, 0)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    with chromium() as browser:
        for name, (scheme, width, height, view, place) in SHOTS.items():
            with watched(browser, width=width, height=height, scheme=scheme) as seen:
                seen.open(page + view, place)
                save(seen.page.screenshot(), name)
        rating = browser.new_page(viewport={"width": 1100, "height": 800})
        rating.goto(rating_address(server, sitting))
        rating.wait_for_selector("body[data-pair='0']")
        for key in ("ArrowLeft", "ArrowDown"):
            rating.keyboard.press(key)
        rating.wait_for_timeout(500)
        save(rating.screenshot(), "rating")
    server.shutdown()


if __name__ == "__main__":
    main(StudyPaths(Path(sys.argv[1]).absolute()))
