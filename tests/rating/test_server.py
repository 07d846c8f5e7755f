"""The server: this machine's rater only, no arm's name, and no answer lost."""

import json
import threading
from http.client import HTTPConnection

import pytest

from analysis.load import load_study
from tests.report.studies import make_numbered_study
from wanexp.rating.pairs import draw_pairs
from wanexp.rating.server import Sitting, open_server
from wanexp.rating.votes import QUESTIONS, read_answers

CHOICES = dict.fromkeys(QUESTIONS, "left")


@pytest.fixture
def served(tmp_path):
    study = make_numbered_study(tmp_path / "studies" / "ab", frames=5)
    pairs = draw_pairs(study, load_study(study.root), "anna")
    sitting = Sitting(study=study, rater="anna", pairs=pairs, host="127.0.0.1")
    server = open_server(sitting, 0)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield sitting, server.server_address[1]
    server.shutdown()
    server.server_close()


def ask(served, path, *, body=None, token=None, host=None, kind="application/json"):
    sitting, port = served
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"Host": host or f"127.0.0.1:{port}"} | ({"Content-Type": kind} if body else {})
    address = f"/{sitting.token if token is None else token}/{path}"
    connection.request("POST" if body else "GET", address, body, headers)
    response = connection.getresponse()
    return response.status, response.headers, response.read()


def test_page_list_videos_and_source_are_served(served):
    for path in ("", "rate.js", "rate.css", "pairs", "left/0", "right/0", "source/0"):
        status, headers, body = ask(served, path)
        assert (status, headers["Cache-Control"]) == (200, "no-store"), path
        assert body


def test_a_pair_of_videos_from_words_has_no_source(served):
    sitting, _ = served
    left = [pair.left.digest for pair in sitting.pairs]
    sitting.study.trial(left[0]).source.unlink()
    expected = [digest != left[0] for digest in left]
    assert json.loads(ask(served, "pairs")[2])["sources"] == expected
    assert ask(served, "source/0")[0] == 404


def test_nothing_that_is_sent_names_an_arm_or_a_trial(served):
    sitting, _ = served
    _, _, listed = ask(served, "pairs")
    words = {sitting.pairs[0].left.digest, "baseline"}
    assert not [word for word in words if word.encode() in listed]
    assert json.loads(listed)["answered"] == [False] * len(sitting.pairs)


@pytest.mark.parametrize(
    "wrong", [{"token": "guess"}, {"token": ""}, {"host": "evil.example"}, {"host": "10.0.0.1:1"}]
)
def test_strangers_are_refused(served, wrong):
    assert ask(served, "pairs", **wrong)[0] == 403
    assert ask(served, "answers", body=json.dumps({"pair": 0}), **wrong)[0] == 403


@pytest.mark.parametrize(
    "path", ["left/99", "left/-1", "left/x", "left/0/1", "other/0", "../pairs", "%2e%2e/record"]
)
def test_what_is_no_pairs_file_is_not_there(served, path):
    assert ask(served, path)[0] == 404


def test_an_answer_is_on_disk_when_the_page_hears_of_it(served):
    sitting, _ = served
    body = json.dumps({"pair": 1, "choices": CHOICES, "seconds": 2.54})
    status, _, said = ask(served, "answers", body=body)
    assert (status, json.loads(said)) == (200, {"kept": True})
    (kept,) = read_answers(sitting.study).answers
    pair = sitting.pairs[1]
    assert (kept.case, kept.left, kept.right) == (pair.case, pair.left.arm, pair.right.arm)
    assert kept.seconds == 2.5
    assert json.loads(ask(served, "pairs")[2])["answered"].count(True) == 1


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "{",
        json.dumps({"pair": 0, "choices": {"motion": "left"}, "seconds": 1}),
        json.dumps({"pair": 0, "choices": {**CHOICES, "motion": "up"}, "seconds": 1}),
        json.dumps({"pair": 999, "choices": CHOICES, "seconds": 1}),
        json.dumps({"pair": -1, "choices": CHOICES, "seconds": 1}),
        json.dumps({"pair": 0, "choices": CHOICES}),
    ],
)
def test_what_is_no_answer_is_refused_with_the_reason(served, body):
    sitting, _ = served
    status, _, said = ask(served, "answers", body=body)
    assert status == 400 and json.loads(said)["error"]
    assert read_answers(sitting.study).answers == []


def test_a_form_of_another_site_cannot_vote(served):
    body = json.dumps({"pair": 0, "choices": CHOICES, "seconds": 1})
    assert ask(served, "answers", body=body, kind="text/plain")[0] == 404


def test_an_answer_that_could_not_be_written_is_not_said_to_be_kept(served):
    sitting, _ = served
    (sitting.study.root / "ratings").write_text("in the way")
    body = json.dumps({"pair": 0, "choices": CHOICES, "seconds": 1})
    status, _, said = ask(served, "answers", body=body)
    assert status == 507 and "not kept" in json.loads(said)["error"]
