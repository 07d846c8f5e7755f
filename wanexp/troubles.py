"""What was wrong with a trial that has a video, in sentences: changed for memory, or slowed down.

Of records alone, so that every table, page and mirror says the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from wanexp.nvml import TROUBLE

if TYPE_CHECKING:
    from wanexp.record import TrialRecord


def troubles(record: TrialRecord) -> list[str]:
    """What was wrong with a trial that has a video, in sentences."""
    found = []
    if record.changes:
        found.append(change_words(record.changes))
    if words := throttle_words(record.throttled):
        found.append(words)
    return found


def throttle_words(throttled: Mapping[str, float]) -> str:
    """``the GPU was slowed (thermal in 12 % of the samples)``; empty where nothing was wrong."""
    wrong = [f"{name} in {share:.0%}" for name, share in throttled.items() if name in TROUBLE]
    return f"the GPU was slowed down ({', '.join(wrong)} of the samples)" if wrong else ""


def change_words(changes: Sequence[Mapping[str, object]]) -> str:
    """What a changed trial is instead: ``frames 13 (asked: 17), out of memory in decode``."""
    was: dict[str, object] = {}
    now: dict[str, object] = {}
    for change in changes:
        before, after = change["was"], change["now"]
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            was = {**before, **was}
            now |= after
    different = ", ".join(f"{key} {_text(now[key])} (asked: {_text(was[key])})" for key in now)
    phases = " and ".join(dict.fromkeys(str(change["phase"]) for change in changes))
    return f"{different or 'tried again with an empty cache'}, out of memory in {phases}"


def _text(value: object) -> str:
    return " → ".join(map(str, value)) if isinstance(value, list) else str(value).lower()
