"""Wipe, difference, stages, filters, addresses, keys and colours, in a real browser."""

from __future__ import annotations

import numpy as np
import pytest

from tests.report.browser import address, needs_chromium
from tests.report.studies import make_numbered_study
from wanexp.report.page import write_folder

pytestmark = needs_chromium
WIPE = ".big .screen:has(.wipe-handle) canvas"


def redness(picture: np.ndarray, x: float) -> float:
    """Red less blue of a column in the lower part, which tells the arms apart."""
    column = round(x * (picture.shape[1] - 1))
    part = picture[round(0.75 * len(picture)), max(0, column - 2) : column + 3].astype(float)
    return float((part[:, 0] - part[:, 2]).mean())


def test_the_wipe_shows_one_arm_on_each_side_of_its_edge(seen):
    seen.show("view=compare&a=baseline&b=C&split=0.5&frame=3&section=videos")
    (picture,) = seen.pictures(WIPE)
    left, right = redness(picture, 0.4), redness(picture, 0.6)
    assert abs(left) < 8, "the baseline's shade is grey"
    assert right > 22, "C's is warm"
    for _ in range(8):
        seen.page.locator(".wipe-handle").press("ArrowRight")
    assert seen.state("split") == pytest.approx(0.66)
    (picture,) = seen.pictures(WIPE)
    assert abs(redness(picture, 0.6)) < 8


def test_the_wipe_follows_the_hand(seen):
    seen.show("view=compare&b=C&section=videos")
    box = seen.page.locator(WIPE).bounding_box()
    assert box
    middle = box["y"] + box["height"] / 2
    seen.page.mouse.move(box["x"] + box["width"] / 2, middle)
    seen.page.mouse.down()
    seen.page.mouse.move(box["x"] + 0.25 * box["width"], middle, steps=4)
    seen.page.mouse.up()
    assert seen.state("split") == pytest.approx(0.25, abs=0.01)
    assert seen.page.locator(".wipe-handle").get_attribute("aria-valuenow") == "25"


def test_the_difference_of_a_video_and_itself_is_black(seen):
    seen.show("view=compare&a=C&b=C&mode=difference&boost=16&section=videos")
    (same,) = seen.pictures(".big:last-child canvas")
    seen.page.locator("select[aria-label=Left]").select_option("baseline")
    seen.settle()
    (other,) = seen.pictures(".big:last-child canvas")
    inner = slice(20, -20)
    assert same[inner, inner].max() <= 3
    assert other[inner, inner].mean() > 20


def test_swapping_keeps_each_arm_where_it_was_on_the_picture(seen):
    seen.show("view=compare&a=baseline&b=C&split=0.3")
    seen.page.keyboard.press("x")
    assert [seen.state(key) for key in ("a", "b", "split")] == ["C", "baseline", 0.7]


def test_stages_show_what_each_handed_over_and_changed(seen):
    seen.show("view=stages&arm=A&case=astronaut&frame=5&section=videos")
    page = seen.page
    assert page.locator(".stage-list > li").count() == 2
    assert page.locator(".stage-list h3").all_text_contents() == ["1. establish", "2. refine"]
    ends = "[aria-label^='What'][aria-label*='hands over']"
    assert seen.numbers(ends) == [5, 5]
    assert page.locator("[aria-label*='What refine changed']").count() == 1


@pytest.mark.parametrize("form", ["folder", pytest.param("single", marks=pytest.mark.slow)])
def test_an_address_brings_the_whole_view_back(window, forms, form):
    page = window.page
    window.open(getattr(forms, form))
    page.get_by_role("button", name="coffee", exact=True).click()
    page.locator("select[aria-label=Size]").select_option("l")
    page.locator("select[aria-label=Speed]").select_option("0.5")
    for key in "ld+.t":
        page.keyboard.press(key)
    window.until("location.hash.includes('theme=')")
    hash_, before = page.evaluate("location.hash"), page.evaluate("wanexp.state()")
    window.open(getattr(forms, form) + hash_)
    after = page.evaluate("wanexp.state()")
    assert before == after
    assert (after["view"], after["mode"], after["frame"]) == ("compare", "difference", 1)
    assert after["cases"] == ["coffee"]


def test_an_address_that_makes_no_sense_is_a_page_at_rest(window, forms):
    nonsense = "#view=tunnel&arms=%E0%A4%A|nobody&frame=-9&zoom=a,b&speed=77&split=9&__proto__=1"
    window.open(forms.folder + nonsense)
    state, rest = window.page.evaluate("[wanexp.state(), wanexp.rest]")
    assert state == {**rest, "frame": 0, "split": 1}


def test_a_link_that_is_followed_changes_the_view(seen):
    seen.page.evaluate("location.hash = '#view=compare&b=A&frame=9'")
    seen.until("wanexp.state().view === 'compare'")
    seen.settle()
    assert seen.numbers(WIPE) == [9]


def test_seeds_are_filtered_where_there_are_several(window, tmp_path):
    arms = ("baseline", "A")
    study = make_numbered_study(tmp_path / "seeds", arms=arms, seeds=(0, 1), stages=False)
    window.open(address(write_folder(study, tmp_path / "page").page), "#videos")
    rows = window.page.locator(".row")  # there at once; tiles come when a row comes near
    titles = window.page.locator("#videos h3")
    everything = rows.count()
    seeds = window.page.get_by_role("group", name="Seeds")
    seeds.get_by_role("button", name="1", exact=True).click()
    window.until("location.hash.includes('seeds=1')")
    assert rows.count() == everything / 2
    assert all("seed 1" in title for title in titles.all_text_contents())
    seeds.get_by_role("button", name="1", exact=True).click()
    window.until("!location.hash.includes('seeds=')")
    assert rows.count() == everything > 0


def test_filters_show_what_was_chosen_and_all_again(seen):
    page = seen.page
    arms = page.get_by_role("group", name="Arms")
    arms.get_by_role("button", name="C", exact=True).click()
    seen.settle()
    assert set(page.locator(".tile[data-arm]").evaluate_all("t => t.map(n => n.dataset.arm)")) == {
        "C"
    }
    arms.get_by_role("button", name="A", exact=True).click()
    page.get_by_role("button", name="brick", exact=True).click()
    seen.settle()
    assert page.locator(".row").count() == 1
    assert page.locator(".tile[data-arm]").count() == 2
    page.get_by_role("button", name="brick", exact=True).click()
    assert page.locator(".row").count() == 5


def test_a_jump_over_rows_that_are_not_filled_yet_arrives(window, forms):
    window.resize(700, 500)
    window.page.goto("about:blank")
    window.page.goto(forms.folder + "#section=effects&size=l")
    window.until("document.querySelectorAll('.tile').length > 0")
    window.page.wait_for_timeout(400)
    top = window.page.evaluate("document.querySelector('#effects').getBoundingClientRect().top")
    assert -20 <= top <= 140


def test_a_tile_opens_its_arm_against_the_baseline(seen):
    seen.page.get_by_role("button", name="Compare C, coffee, seed 0 with baseline").click()
    seen.settle()
    state = seen.page.evaluate("wanexp.state()")
    assert [state[key] for key in ("view", "a", "b", "case")] == [
        "compare",
        "baseline",
        "C",
        "coffee",
    ]


def test_a_point_of_the_chart_opens_its_videos(seen):
    seen.show("section=cost", "#cost")
    seen.until("document.querySelectorAll('#cost .points path').length >= 3")
    page = seen.page
    page.wait_for_timeout(300)
    box = page.locator("#cost .points path").nth(1).bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    seen.until("wanexp.state().view === 'compare'")
    assert seen.state("b") == "A"


def test_keys_that_an_element_wants_are_left_to_it(seen):
    page = seen.page
    page.locator("select[aria-label=Speed]").focus()
    page.keyboard.press("c")
    assert seen.state("view") == "grid"
    page.locator("#theme").focus()
    page.keyboard.press(" ")
    assert seen.state("theme") == "light"
    assert page.evaluate("wanexp.clock.playing") is False
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("c")
    assert seen.state("view") == "grid", "the list of keys is open"
    page.keyboard.press("Escape")
    assert not page.locator("#keys").is_visible()


def test_everything_that_can_be_pressed_has_a_name(window, forms):
    unnamed = """() => [...document.querySelectorAll(
        'button, select, input, a[href], [role=slider], [role=img], [role=region]')]
        .filter(n => !(n.getAttribute('aria-label') || n.textContent.trim()
            || (n.labels && [...n.labels].some(l => l.textContent.trim()))
            || n.getAttribute('aria-labelledby')))
        .map(n => n.outerHTML.slice(0, 120))"""
    page = window.page
    window.open(forms.folder, "#verdict")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for view in ("grid", "compare", "stages"):
        window.show(f"view={view}&section=videos")
        assert window.state("view") == view
        assert page.evaluate(unnamed) == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(n => n.id)")
    assert len(ids) == len(set(ids))


def test_playing_is_quiet_for_readers_of_screens(seen):
    """What changes with every frame is in no live region, which would be read out each time."""
    live = "[...document.querySelectorAll('output, [role=status], [aria-live]')]"
    for view in ("grid", "compare"):
        seen.show(f"view={view}&section=videos")
        seen.page.keyboard.press("k")
        words, place = f"{live}.map(n => n.textContent)", "wanexp.clock.time"
        before, began = seen.page.evaluate(f"[{words}, {place}]")
        seen.until(f"Math.abs({place} - {began}) > 0.2")
        assert seen.page.evaluate(words) == before
        seen.page.keyboard.press("k")


def test_motion_waits_for_whoever_asked_for_less(window, forms):
    for still in (True, False):
        window.page.emulate_media(reduced_motion="reduce" if still else "no-preference")
        window.open(forms.folder)
        assert window.page.evaluate("wanexp.clock.playing") is not still


def test_dark_follows_the_system_and_gives_way_to_a_choice(seen):
    page, paper = seen.page, "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(paper)
    assert dark != light
    page.locator("#theme").click()
    assert page.evaluate(paper) == light
    page.emulate_media(color_scheme="light")
    seen.show("theme=dark")
    assert page.evaluate(paper) == dark


def test_a_telephone_needs_no_scrolling_sideways(window, forms):
    window.resize(360, 780)
    window.open(f"{forms.folder}#section=videos")
    for view in ("grid", "compare", "stages"):
        window.show(f"view={view}&section=videos")
        assert window.state("view") == view
        assert window.page.evaluate("document.documentElement.scrollWidth") <= 360, view


def test_long_names_of_arms_stay_inside_their_places(window, tmp_path):
    arms = ("establish.cfg=1,refine.cfg=1.5", "establish.cfg=2,refine.cfg=2.5")
    study = make_numbered_study(tmp_path / "long", arms=arms, cases=("astronaut",))
    page = address(write_folder(study, tmp_path / "page").page)
    sticking_out = """() => [...document.querySelectorAll(
        '.hero figcaption, .facts dd, .rulings button, .tile figcaption, #cost .figure')]
        .filter(n => n.scrollWidth > n.clientWidth + 1).map(n => n.textContent)"""
    for width in (390, 1200):
        window.resize(width, 900)
        window.open(page, "#cost")
        # A chart follows its place's width a moment later.
        window.page.wait_for_function(f"({sticking_out})().length === 0", timeout=5000)
        assert window.page.evaluate(sticking_out) == []
        assert window.page.evaluate("document.documentElement.scrollWidth") <= width
