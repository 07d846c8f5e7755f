"""Looking names up in tables, with an error that helps whoever misspelt one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


def nearest(name: str, choices: Iterable[str]) -> str:
    """``"; did you mean 'heun'?"`` where a choice is close to ``name``, else an empty string."""
    by_lower = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[close[0]]!r}?" if close else ""


def lookup(kind: str, table: Mapping[str, T], name: str) -> T:
    """``table[name]``.

    Raises:
        KeyError: There is no such name; the message has the kind, the nearest name and the choices.
    """
    if name in table:
        return table[name]
    hint = nearest(name, table)
    raise KeyError(f"no {kind} named {name!r}{hint} (have: {', '.join(sorted(table))})")
