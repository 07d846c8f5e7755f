"""The three sentences that a sweep's file begins with."""

from __future__ import annotations

import re

from wanexp.compose.folders import available, find
from wanexp.names import nearest
from wanexp.strict import ConfigError

HEADER = re.compile(r"#\s*(Question|Expectation|Budget):\s*(.*)")


def header_of(name: str) -> dict[str, str]:
    """The sentences after ``# Question:`` and its siblings, continuation lines included.

    Raises:
        ConfigError: There is no such sweep, or its file is no text.
    """
    path = find("sweeps", name)
    if path is None:
        names = available("sweeps")
        raise ConfigError(f"no sweep {name!r}{nearest(name, names)} (have: {', '.join(names)})")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected text in UTF-8 ({error.reason})") from None
    found: dict[str, str] = {}
    current = None
    for line in text.splitlines():
        if match := HEADER.match(line):
            current = match[1]
            found[current] = match[2].strip()
        elif current and line.startswith("#") and line.strip("# "):
            found[current] += " " + line.strip("# ")
        else:
            current = None
    return found
