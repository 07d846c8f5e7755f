"""The rating page in a real browser, by keyboard."""

import shutil
import threading

import pytest

from analysis.load import load_study
from tests.report.browser import needs_chromium
from tests.report.studies import make_numbered_study
from wanexp.rating.pairs import draw_pairs
from wanexp.rating.server import Sitting, address, open_server
from wanexp.rating.votes import ratings_folder, read_answers

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("rated") / "studies" / "ab"
    return make_numbered_study(root, arms=("baseline", "A"), frames=9)


@pytest.fixture
def sitting(study):
    shutil.rmtree(ratings_folder(study), ignore_errors=True)
    pairs = draw_pairs(study, load_study(study.root), "anna")
    return Sitting(study=study, rater="anna", pairs=pairs, host="127.0.0.1")


@pytest.fixture(scope="module")
def window(browser):
    page = browser.new_page()
    page.complaints = []
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    yield page
    page.close()


@pytest.fixture
def page(window, sitting):
    server = open_server(sitting, 0)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    window.goto(address(server, sitting))
    window.server = server
    yield window
    window.goto("about:blank")
    window.complaints.clear()
    server.shutdown()
    server.server_close()


def at_pair(page, number):
    page.wait_for_selector(f"body[data-pair='{number}']", timeout=20_000)


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def times(page):
    return page.evaluate("['left', 'right'].map((id) => document.getElementById(id).currentTime)")


def until(page, told):
    for _ in range(2000):
        if told(*times(page)):
            return
        page.wait_for_timeout(10)
    raise AssertionError(f"never: {times(page)}")


def test_a_pair_takes_four_keys_and_the_next_one_comes_by_itself(page, sitting):
    at_pair(page, 0)
    press(page, "ArrowLeft", "ArrowDown", "ArrowRight", "2")
    at_pair(page, 1)
    (kept,) = read_answers(sitting.study).answers
    assert dict(kept.choices) == {
        "motion": "left", "detail": "same", "consistency": "right", "overall": "same",
    }  # fmt: skip
    press(page, "1", "1", "1", "1")
    page.wait_for_selector("#done:not([hidden])")
    assert len(read_answers(sitting.study).answers) == 2
    assert page.complaints == []


def test_back_shows_the_pair_before_and_its_new_answer_counts(page, sitting):
    at_pair(page, 0)
    press(page, "1", "1", "1", "1")
    at_pair(page, 1)
    press(page, "Backspace")
    at_pair(page, 0)
    press(page, "3", "3", "3", "3")
    at_pair(page, 1)
    (kept,) = read_answers(sitting.study).answers
    assert kept.better("overall") == sitting.pairs[0].right.arm


def test_up_takes_a_choice_back(page, sitting):
    at_pair(page, 0)
    press(page, "1", "1", "ArrowUp", "3", "1", "1")
    at_pair(page, 1)
    (kept,) = read_answers(sitting.study).answers
    assert (kept.choices["motion"], kept.choices["detail"]) == ("left", "right")


def test_a_rating_goes_on_where_it_was(page, sitting):
    at_pair(page, 0)
    press(page, "1", "1", "1", "1")
    at_pair(page, 1)
    page.reload()
    at_pair(page, 1)
    assert page.inner_text("#progress") == "1 of 2 pairs answered"


def test_the_mouse_does_as_the_keys(page, sitting):
    at_pair(page, 0)
    for question in ("motion", "detail", "consistency", "overall"):
        page.locator(f"#q-{question} label", has_text="Right").click()
    at_pair(page, 1)
    assert len(read_answers(sitting.study).answers) == 1


def test_both_videos_play_in_step_and_again(page):
    at_pair(page, 0)
    until(page, lambda left, _: left > 0.3)
    until(page, lambda left, _: left < 0.2)  # it began anew
    left, right = times(page)
    assert abs(left - right) < 1 / 12


def test_an_answer_that_is_not_kept_is_not_lost(page, sitting):
    at_pair(page, 0)
    blocked = sitting.study.root / "ratings"
    blocked.write_text("in the way")
    press(page, "1", "1", "1", "1")
    page.wait_for_selector("#trouble:not([hidden])")
    assert "not kept yet" in page.inner_text("#trouble")
    blocked.unlink()
    press(page, "1")
    at_pair(page, 1)
    (kept,) = read_answers(sitting.study).answers
    assert set(kept.choices.values()) == {"left"}


def test_nothing_on_the_page_names_an_arm(page, sitting):
    at_pair(page, 0)
    html = page.content()
    assert "baseline" not in html
    assert sitting.pairs[0].left.digest not in html
