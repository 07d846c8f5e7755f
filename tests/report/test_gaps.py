"""Studies that are not whole: failures, gaps, one arm, nothing yet; and where pages are put."""

from __future__ import annotations

import dataclasses
import functools
import http.server
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.report.browser import PATIENCE, needs_chromium
from tests.report.studies import change_rows, make_numbered_study
from wanexp.cli import main
from wanexp.record import StudyPaths, TrialRecord
from wanexp.report.page import write_folder, write_single
from wanexp.report.sections import Figure, Section, Table

ERROR = {
    "type": "OutOfMemoryError",
    "message": "CUDA out of memory </script><b>",
    "traceback": "Traceback …",
}


def broken(record: TrialRecord) -> TrialRecord:
    """C fails on coffee."""
    if record.arm != "C" or record.trial["case"]["name"] != "coffee":  # type: ignore[index]
        return record
    return dataclasses.replace(
        record, state="failed", error=ERROR, measurements={}, series={}, stages={}
    )


@pytest.fixture
def holes(tmp_path: Path) -> StudyPaths:
    """A trial failed, one has not run, one has lost its video, one record is damaged."""
    study = make_numbered_study(tmp_path / "holes", change=broken, stages=False)
    record = "0001000000000000"
    study.trial(record).video.unlink()
    study.trial("0001000001000000").record.write_text("{", encoding="utf-8")
    change_rows(
        study,
        lambda rows: [*rows, {**rows[-1], "case": "brick", "digest": "f" * 16}],
    )
    return study


@needs_chromium
def test_what_is_missing_is_said_where_it_would_be(window, holes, tmp_path):
    page = write_folder(holes, tmp_path / "page").page
    window.open(page.as_uri())
    words = window.page.locator("#videos").inner_text()
    troubles = window.page.locator("#troubles").inner_text()
    head = window.page.locator("#verdict").inner_text()
    undefined = window.page.locator("#undefined").inner_text()
    window.page.evaluate("location.hash = 'view=stages&arm=A&case=astronaut'")
    window.until("wanexp.state().view === 'stages'")
    stages = window.page.locator("#stage").inner_text()
    assert "Failed: CUDA out of memory </script><b>" in words
    assert "Not run yet" in words
    assert "video.mp4 is no longer in 0001000000000000" in words
    assert "OutOfMemoryError" in troubles and "damaged" in troubles
    assert "of 7 trials finished, 1 failed, 2 still to run" in head
    assert "face_detail is undefined" in undefined and "no face found in the source" in undefined
    assert "not kept" in stages and "measure_stages=true" in stages


@needs_chromium
@pytest.mark.parametrize(
    ("arms", "keep", "words"),
    [
        (("baseline",), 99, "One arm, so nothing to compare it with"),
        (("baseline", "A"), 0, "Nothing to compare yet"),
        (("baseline", "A"), 1, "Nothing is shown to beat baseline yet"),
    ],
)
def test_a_study_of_any_size_has_a_page(window, tmp_path, arms, keep, words):
    study = make_numbered_study(tmp_path / "young", arms=arms)
    for paths in study.found()[keep:]:
        for file in paths.root.rglob("*"):
            if file.is_file():
                file.unlink()
        paths.record.unlink(missing_ok=True)
    page = write_single(study, tmp_path / "page.html").page
    window.open(page.as_uri())
    assert window.page.locator("h1").inner_text() == words
    for view in ("compare", "stages", "grid"):
        window.page.evaluate(f"location.hash = 'view={view}'")
        window.until(f"wanexp.state().view === '{view}'")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """A page that shows ``alone.html`` as MLflow's pane does: a blob in a sandboxed frame."""
    host = """<!doctype html><title>pane</title><body><script>
      fetch('alone.html').then(r => r.text()).then(text => {
        const frame = document.createElement('iframe');
        frame.sandbox = 'allow-scripts';
        frame.style = 'width:1150px;height:850px;border:0';
        frame.src = URL.createObjectURL(new Blob([text], {type: 'text/html'}));
        frame.onload = () => URL.revokeObjectURL(frame.src);
        document.body.append(frame);
      });
    </script>"""
    (tmp_path / "pane.html").write_text(host, encoding="utf-8")
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    handler = functools.partial(quiet, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/pane.html"
    server.shutdown()


@needs_chromium
def test_the_single_file_plays_in_a_frame_without_origin_or_neighbours(
    browser, served, tmp_path, forms
):
    write_single(forms.study, tmp_path / "alone.html")
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    complaints, asked = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(served)
    frame = page.frame_locator("iframe")
    frame.locator("h1").wait_for(timeout=1000 * PATIENCE)
    inner = page.frames[1]
    inner.evaluate("document.querySelector('#videos').scrollIntoView()")
    frame.locator(".tile:not(.source) canvas[data-frame]").first.wait_for()
    inner.evaluate(
        """() => {
            const scrub = document.querySelector('.scrub');
            scrub.value = 6;
            scrub.dispatchEvent(new Event('input'));
            document.querySelector('nav a[href="#section=videos"]').click();
        }"""
    )
    showing = (
        "[...wanexp.screens.values()].filter(s => s.awake && s.feeds[0].video)"
        ".map(s => s.canvas.dataset.frame)"
    )
    end = time.monotonic() + PATIENCE
    while len(shown := inner.evaluate(showing)) < 6 or set(shown) != {"6"}:
        assert time.monotonic() < end, shown
        time.sleep(0.05)
    names = [url for url in asked if not url.startswith(("blob:", "data:"))]
    assert [url.rsplit("/", 1)[-1] for url in names if "favicon" not in url] == [
        "pane.html",
        "alone.html",
    ]
    assert [words for words in complaints if "favicon" not in words and "404" not in words] == []
    page.close()


@needs_chromium
def test_sections_of_plain_data_stand_on_the_page(window, forms, tmp_path):
    section = Section(
        id="ratings",
        title="What people prefer",
        sentences=("Two raters saw every pair.",),
        tables=(Table(caption="Scores", columns=("arm", "score"), rows=(("A", 0.5), ("C", None))),),
        figures=(
            Figure(
                says="A is ahead.",
                data=[{"x": ["A", "C"], "y": [0.5, 0.1], "type": "bar", "customdata": ["A", "C"]}],
                layout={"height": 200},
            ),
        ),
    )
    page = write_single(forms.study, tmp_path / "page.html", [section]).page
    window.open(page.as_uri() + "#section=ratings", "#ratings")
    window.until("document.querySelector('#ratings .points, #ratings .bars, #ratings .trace')")
    words = window.page.locator("#ratings").inner_text()
    assert "What people prefer" in words and "Two raters" in words
    assert window.page.locator("nav a", has_text="What people prefer").count() == 1


@needs_chromium
@pytest.mark.parametrize("count", [6, pytest.param(20, marks=pytest.mark.slow)])
def test_two_hundred_trials_are_as_light_as_sixty(window, tmp_path, count):
    cases = [f"case{number}" for number in range(count)]
    arms = ("baseline", "A", "B", "C", "D")
    study = make_numbered_study(
        tmp_path / "large", arms=arms, cases=cases, seeds=(0, 1), frames=9, stages=False
    )
    page = write_single(study, tmp_path / "page.html").page
    window.page.emulate_media(reduced_motion="no-preference")
    window.open(page.as_uri())
    loaded = window.page.evaluate(
        "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
    )
    most, gaps = window.page.evaluate(
        """async () => {
            const end = document.querySelector('#effects').offsetTop - 900;
            let most = 0, last = performance.now();
            const gaps = [];
            for (let y = scrollY; y < end; y += 120) {
                scrollTo(0, y);
                await new Promise(requestAnimationFrame);
                most = Math.max(most, wanexp.screens.size);
                gaps.push(performance.now() - last);
                last = performance.now();
            }
            return [most, gaps.sort((a, b) => a - b)];
        }"""
    )
    window.page.evaluate("document.querySelectorAll('.row')[10].scrollIntoView()")
    window.settle()
    assert len(set(window.numbers())) == 1
    assert most <= 60, "tiles far away hold no canvas"
    assert loaded < 4000
    assert gaps[len(gaps) // 2] < 100


def test_what_does_not_fit_is_left_out_in_whole_rows_and_said(tmp_path):
    study = make_numbered_study(tmp_path / "tight", stages=False)
    videos = [paths.video.stat().st_size for paths in study.found()]
    picture = study.found()[0].source.stat().st_size
    built = write_single(study, tmp_path / "page.html", most=sum(videos) * 2 // 3 + picture)
    assert built.left_out == 3, "one picture by all three arms"
    tree = page_data(built.page)
    gone = {key for key, place in tree["media"].items() if place.get("left_out")}
    cases = {trial["case"] for trial in tree["trials"] if trial["video"] in gone}
    assert cases == {"coffee"}


def page_data(page: Path) -> dict:
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert found
    return json.loads(found[1])


def test_nothing_in_a_record_ends_the_page_early(holes, tmp_path):
    page = write_single(holes, tmp_path / "page.html").page
    failed = [trial for trial in page_data(page)["trials"] if trial["state"] == "failed"]
    assert failed[0]["error"]["message"] == ERROR["message"]
    assert "{{" not in page.read_text(encoding="utf-8").split('id="data"')[0]


def test_the_folder_holds_videos_under_readable_names(forms, tmp_path):
    write_folder(forms.study, tmp_path / "page")
    names = {path.name for path in (tmp_path / "page" / "videos").iterdir()}
    assert {"A--coffee--seed0.mp4", "C--rocket--seed0.mp4"} <= names


def test_names_that_no_file_may_have_are_made_into_some_that_it_may(tmp_path):
    arms = ("baseline", "a/b:c?", "a-b-c-", "x" * 300)
    study = make_numbered_study(tmp_path / "odd", arms=arms, cases=("coffee",), stages=False)
    built = write_folder(study, tmp_path / "page")
    names = sorted(path.name for path in (tmp_path / "page" / "videos").glob("*.mp4"))
    assert len(names) == len(arms)
    assert not any(set('<>:"/\\|?*') & set(name) for name in names)
    assert max(map(len, names)) < 150
    assert built.videos == 4


def test_the_folder_is_the_same_after_a_second_time(forms, tmp_path):
    first = write_folder(forms.study, tmp_path / "page")
    again = write_folder(forms.study, tmp_path / "page")
    assert first == again


def test_stages_that_trials_have_in_common_are_kept_once(forms):
    trials = page_data(Path(forms.single.removeprefix("file://")))["trials"]
    assert len({trial["stages"][0]["video"] for trial in trials}) == 1
    assert len({trial["video"] for trial in trials}) == len(trials)


def test_the_verb_says_where_the_page_is(forms, capsys):
    studies = forms.study.root.parent
    assert main(["report", "ab", f"studies={studies}", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["page"] == str(studies / "ab" / "report" / "index.html")
    assert (told["trials"], told["videos"], told["left_out"]) == (15, 15, 0)
    assert main(["report", str(forms.study.root), "--single-file"]) == 0
    assert "report.html" in capsys.readouterr().out


def test_a_study_that_does_not_exist_is_told_with_the_nearest(forms, capsys):
    assert main(["report", "abc", f"studies={forms.study.root.parent}"]) == 2
    assert "did you mean 'ab'?" in capsys.readouterr().err


def test_a_table_with_a_short_row_is_refused():
    with pytest.raises(ValueError, match="expected 2 cells a row, got 1"):
        Table(caption="x", columns=("a", "b"), rows=(("c",),))


def test_rows_of_the_study_file_decide_the_order(tmp_path):
    study = make_numbered_study(tmp_path / "order", arms=("baseline", "A"), cases=("b", "a"))
    change_rows(study, lambda rows: rows[::-1])
    page = write_single(study, tmp_path / "page.html").page
    trials = page_data(page)["trials"]
    assert [(t["arm"], t["case"]) for t in trials] == [
        ("A", "a"),
        ("A", "b"),
        ("baseline", "a"),
        ("baseline", "b"),
    ]
