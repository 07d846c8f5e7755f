"""All videos on one clock: what the screen shows, read from screenshots."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from tests.report.browser import needs_chromium, watched
from tests.report.studies import numbered, read_number

pytestmark = needs_chromium
LOOKS = 6


def test_a_numbered_frame_reads_as_its_number():
    assert [read_number(frame) for frame in numbered(17, 30)] == list(range(17))


@pytest.mark.parametrize("form", ["folder", pytest.param("single", marks=pytest.mark.slow)])
def test_playing_videos_never_drift_by_a_frame(window, forms, form):
    window.at_rest(getattr(forms, form))
    window.page.keyboard.press("k")
    looks = [window.numbers() for _ in range(LOOKS) if not time.sleep(0.05)]
    assert all(len(numbers) >= 6 for numbers in looks)
    assert [max(numbers) - min(numbers) for numbers in looks] == [0] * LOOKS
    assert len({numbers[0] for numbers in looks}) > 2, "nothing moved"


@pytest.mark.parametrize("first", [13, pytest.param(0, marks=pytest.mark.slow)])
@pytest.mark.parametrize("players_only", [False, True], ids=["decoder", "player"])
def test_every_step_shows_exactly_the_next_frame_everywhere(browser, forms, players_only, first):
    with watched(browser, players_only=players_only, width=700, height=560) as seen:
        seen.open(f"{forms.single}#frame={first}")
        for number in [*range(first, 17), 0, 1]:  # round again
            assert set(seen.numbers()) == {number}
            seen.page.keyboard.press("ArrowRight")
        for number in (2, 1, 0, 16):
            assert set(seen.numbers()) == {number}
            seen.page.keyboard.press("ArrowLeft")


def test_an_edge_between_two_frames_belongs_to_the_later(seen):
    found = seen.page.evaluate(
        "() => [12, 16, 24, 23.976].map(fps => [...Array(200).keys()]"
        ".filter(n => wanexp.frameAt(n / fps, fps, 1000) !== n))"
    )
    assert found == [[], [], [], []]


def test_the_clock_goes_round_or_stops_at_the_end(seen):
    assert seen.page.evaluate("wanexp.advance(1.4, 0.1, 1.45, true)") == pytest.approx(0.05)
    assert seen.page.evaluate("wanexp.advance(1.4, 0.1, 1.45, false)") == 1.45


def test_slow_motion_takes_as_much_longer(seen):
    seen.show("frame=0&speed=0.25&loop=0&section=videos")
    began = time.monotonic()
    seen.page.keyboard.press("k")
    time.sleep(1.0)
    gone = seen.page.evaluate("wanexp.clock.time")
    assert gone == pytest.approx(0.25 * (time.monotonic() - began), abs=0.08)


def test_videos_of_other_lengths_and_rates_wait_for_the_longest(seen):
    shown = seen.page.evaluate("[0, 0.5, 2].map(t => wanexp.frameAt(t, 12, 17))")
    assert shown == [0, 6, 16]


def test_scrubbing_moves_every_video_to_the_place(seen):
    seen.page.locator(".scrub").fill("11")
    assert set(seen.numbers()) == {11}
    seen.page.keyboard.press("End")
    assert seen.page.locator(".place").text_content() == "17/17"


def test_the_cursor_of_every_curve_stands_at_the_frame(seen):
    seen.page.locator(".scrub").fill("8")
    places = seen.page.evaluate(
        "[...document.querySelectorAll('.tile .cursor')].map(c => c.getAttribute('transform'))"
    )
    read = seen.page.locator(".tile .readout").first.text_content()
    assert set(places) == {"translate(100.0 0)"}
    assert read not in ("", "–")


def test_zoom_goes_to_the_same_place_in_every_video(seen):
    before = seen.pictures(".tile canvas")
    assert any(row_is_numbers(picture) for picture in before)
    box = seen.page.locator(".tile canvas").nth(1).bounding_box()
    assert box
    seen.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 0.8 * box["height"])
    seen.page.keyboard.down("Control")
    for _ in range(3):
        seen.page.mouse.wheel(0, -200)
    seen.page.keyboard.up("Control")
    seen.until("wanexp.state().zoom[0] > 8")
    seen.settle()
    after = seen.pictures(".tile canvas")
    assert not any(row_is_numbers(picture) for picture in after)
    same = [p.mean((0, 1)).round(-1).tolist() for p in after[1:7:3]]
    assert same[0] == same[1], "one arm on two pictures shows the same part"
    seen.page.mouse.down()
    seen.page.mouse.move(box["x"] + box["width"], box["y"] + 0.8 * box["height"], steps=3)
    seen.page.mouse.up()
    assert seen.state("view") == "grid", "dragging moves the picture and opens nothing"
    assert seen.page.evaluate("wanexp.state().zoom[1] < 0.5")
    seen.page.keyboard.press("0")
    assert seen.state("zoom") == [1, 0.5, 0.5]


def row_is_numbers(picture: np.ndarray) -> bool:
    """Whether the top of a picture holds the black of unlit squares."""
    return bool((picture[len(picture) // 8].mean(-1) < 25).any())


@pytest.mark.slow
def test_pictures_that_nobody_looks_at_are_forgotten_when_memory_is_short(seen):
    before = seen.numbers()
    seen.page.evaluate("scrollTo(0, document.body.scrollHeight)")
    seen.until("[...wanexp.screens.values()].every(s => !s.awake)")
    held = "[...wanexp.store.values()].filter(e => e.pictures.length).length"
    assert seen.page.evaluate(held) >= len(before)
    seen.page.evaluate("wanexp.makeRoom()")
    assert seen.page.evaluate(held) >= len(before), "there is room"
    seen.page.evaluate("wanexp.makeRoom(0)")
    assert seen.page.evaluate(held) == 0
    seen.page.evaluate("document.querySelector('#videos').scrollIntoView()")
    seen.settle()
    assert seen.numbers() == before


@pytest.mark.slow
def test_views_that_come_and_go_leave_no_screens_behind(seen):
    sizes = [seen.page.evaluate("wanexp.screens.size")]
    for _ in itertools.repeat(None, 3):
        seen.page.keyboard.press("c")
        seen.settle()
        seen.page.keyboard.press("g")
        seen.settle()
        sizes.append(seen.page.evaluate("wanexp.screens.size"))
    assert max(sizes) <= sizes[0] * 1.5, sizes
