"""The rating page's server: this machine's browser, one rater, no name of any arm.

It answers only addresses that begin with a secret word, made anew at each start, and only for the
host that it was started on, so that no other page or user of the network can read or vote.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from threading import Lock
from urllib.parse import urlsplit

from wanexp.rating.pairs import Pair
from wanexp.rating.votes import QUESTIONS, Answer, keep_answer, read_answers
from wanexp.record import StudyPaths

ASSETS = {
    "": ("page.html", "text/html; charset=utf-8"),
    "rate.css": ("rate.css", "text/css; charset=utf-8"),
    "rate.js": ("rate.js", "text/javascript; charset=utf-8"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; media-src 'self' blob:;"
    " frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
LONGEST_BODY = 10_000


@dataclass(frozen=True, kw_only=True)
class Sitting:
    """One rater before one study.

    Attributes:
        pairs: In the order in which they are shown; the page knows them by number.
        host: Whom requests must name.
        token: The secret first part of every path.
    """

    study: StudyPaths
    rater: str
    pairs: Sequence[Pair]
    host: str
    token: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    writing: Lock = field(default_factory=Lock)


def open_server(sitting: Sitting, port: int) -> ThreadingHTTPServer:
    """A server that listens; the caller serves and closes it. Port 0 takes any that is free.

    Raises:
        OSError: The port is taken.
    """

    class Handler(_Handler):
        """Knows the sitting, which http.server cannot pass."""

        here = sitting

    server = ThreadingHTTPServer((sitting.host, port), Handler)
    server.daemon_threads = True
    return server


def address(server: ThreadingHTTPServer, sitting: Sitting) -> str:
    """What the rater opens."""
    return f"http://{sitting.host}:{server.server_address[1]}/{sitting.token}/"


class _Handler(BaseHTTPRequestHandler):
    here: Sitting
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """The page, the list of pairs, a picture or a video."""
        path = self._path()
        if path is None:
            return
        first, *rest = path.split("/")
        if path in ASSETS:
            name, kind = ASSETS[path]
            self._send((files("wanexp.rating") / "assets" / name).read_bytes(), kind)
        elif path == "pairs":
            self._send_tree(_pairs_tree(self.here))
        elif first in FILES and (file := _file(self.here, first, rest)):
            self._send_file(file)
        else:
            self._refuse(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        """An answer."""
        path = self._path()
        if path is None:
            return
        length = int(self.headers.get("Content-Length") or 0)
        if path != "answers" or self.headers.get("Content-Type") != "application/json":
            self.close_connection = True
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        if length > LONGEST_BODY:
            self.close_connection = True
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        try:
            answer = answer_from(self.here, json.loads(self.rfile.read(length)))
        except (ValueError, TypeError, KeyError, IndexError) as error:
            self._send_tree({"error": str(error)}, HTTPStatus.BAD_REQUEST)
            return
        try:
            with self.here.writing:
                keep_answer(self.here.study, answer)
        except OSError as error:
            self._send_tree({"error": f"not kept: {error}"}, HTTPStatus.INSUFFICIENT_STORAGE)
            return
        self._send_tree({"kept": True})

    def _path(self) -> str | None:
        """What follows the token; None, and an answer sent, where the asker may not ask."""
        parts = urlsplit(self.path).path.split("/")
        asked = urlsplit(f"//{self.headers.get('Host', '')}").hostname
        token = parts[1] if len(parts) > 2 else ""
        known = secrets.compare_digest(token.encode(), self.here.token.encode())
        if not known or asked not in (self.here.host, "localhost"):
            self.close_connection = True
            self._refuse(HTTPStatus.FORBIDDEN)
            return None
        return "/".join(parts[2:])

    def _send_file(self, file: Path) -> None:
        try:
            data = file.read_bytes()
        except OSError:
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        self._send(data, "video/mp4" if file.suffix == ".mp4" else "image/png")

    def _send_tree(self, tree: object, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(json.dumps(tree).encode(), "application/json", status)

    def _refuse(self, status: HTTPStatus) -> None:
        self._send(status.phrase.encode(), "text/plain", status)

    def _send(self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": kind}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: the terminal is the rater's."""


def answer_from(sitting: Sitting, tree: object) -> Answer:
    """What the page sent, as an answer.

    Raises:
        ValueError, TypeError, KeyError, IndexError: It is no answer to a pair of this sitting.
    """
    if not isinstance(tree, dict) or not isinstance(tree["choices"], dict):
        raise TypeError("expected pair, choices and seconds")
    number = int(tree["pair"])
    if number < 0:
        raise IndexError(f"no pair {number}")
    pair = sitting.pairs[number]
    return Answer(
        rater=sitting.rater,
        case=pair.case,
        seed=pair.seed,
        left=pair.left.arm,
        right=pair.right.arm,
        choices=tree["choices"],
        seconds=round(float(tree["seconds"]), 1),
    )


def _pairs_tree(sitting: Sitting) -> dict[str, object]:
    """How many pairs there are, which have an answer or a source; nothing tells the arms apart."""
    answered = {answer.pair for answer in read_answers(sitting.study, sitting.rater).answers}
    return {
        "study": sitting.study.name,
        "rater": sitting.rater,
        "questions": QUESTIONS,
        "answered": [pair.key in answered for pair in sitting.pairs],
        "sources": [FILES["source"](sitting.study, pair).is_file() for pair in sitting.pairs],
    }


def _file(sitting: Sitting, kind: str, rest: Sequence[str]) -> Path | None:
    if len(rest) != 1 or not rest[0].isdecimal() or int(rest[0]) >= len(sitting.pairs):
        return None
    return FILES[kind](sitting.study, sitting.pairs[int(rest[0])])


FILES: dict[str, Callable[[StudyPaths, Pair], Path]] = {
    "left": lambda study, pair: study.trial(pair.left.digest).video,
    "right": lambda study, pair: study.trial(pair.right.digest).video,
    "source": lambda study, pair: study.trial(pair.left.digest).source,
}
"""First part of a path to the file of a pair that it means."""
