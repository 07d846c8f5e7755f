"""The verb: `wanexp validate`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from wanexp.strict import ConfigError
from wanexp.validation.readings import SIZES, all_readings, measurable
from wanexp.validation.rules import Check


def validate_command(folder: str, sizes: Sequence[int], *, as_json: bool) -> int:
    """Runs the whole test and writes its page into ``folder``; 1 where a rule does not hold."""
    from wanexp.validation.page import PAGE, write_page
    from wanexp.validation.page import as_json as in_json

    asked = tuple(sizes) or SIZES
    if min(asked) < 64:
        raise ConfigError(f"--size: expected at least 64 px, got {min(asked)}")
    target = Path(folder).expanduser()
    if target.exists() and not target.is_dir():
        raise ConfigError(f"--out: {folder!r} is a file; give a folder")
    readings = all_readings(asked, measurable(), _told)
    print("\r\033[K", end="", file=sys.stderr)
    found = write_page(target, readings)
    if as_json:
        print(in_json(found, readings))
    else:
        _show(found, target / PAGE)
    return int(any(not check.holds for check in found))


def _told(what: str) -> None:
    """One line on standard error that overwrites itself, where somebody may be watching."""
    if sys.stderr.isatty():
        print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)


def _show(found: Sequence[Check], page: Path) -> None:
    broken = [check for check in found if not check.holds]
    for check in broken:
        value = "undefined" if check.value is None else f"{check.value:.3g}"
        print(
            f"broken   {check.metric}: {check.rule} ({check.about}): {value},"
            f" expected {check.limit}; {check.note}"
        )
    print(f"{len(found) - len(broken)} of {len(found)} rules hold")
    print(f"page     {page}")
