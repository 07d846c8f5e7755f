"""Benchmarks for people, as a table, and for programs, as JSON; both say where they ran."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from wanexp.bench.row import Row, Seconds
from wanexp.environment import environment, gpu_of_machine

VERSIONS = ("numpy", "opencv-python-headless", "torch", "diffusers")
"""Packages whose version the table's last line names; JSON has all."""


def show_rows(console: Console, rows: Sequence[Row], command: str) -> None:
    """A table of the rows, what their ratios are to, then the machine and the command."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("what", "size"):
        table.add_column(heading, no_wrap=True)
    for heading in ("seconds", "least … most", "ratio"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
        table.add_row(row.what, row.size, short(row.seconds.median), _spread(row.seconds), ratio)
    console.print(table)
    console.print()
    for row in rows:
        said = "; ".join(filter(None, (row.against and f"beside {row.against}", row.note)))
        if said:
            console.print(f"{row.what} {row.size}: {said}".strip(), highlight=False)
    console.print(f"[dim]{machine_line()}[/dim]", highlight=False)
    console.print(f"[dim]{command}[/dim]", highlight=False)


def rows_as_json(rows: Sequence[Row], command: str) -> str:
    """``{"command", "machine", "rows"}`` in one line."""
    tree = {"command": command, "machine": machine(), "rows": [asdict(row) for row in rows]}
    return json.dumps(tree, allow_nan=False)


def machine() -> dict[str, object]:
    """What a time depends on: processor, cores, card and versions."""
    return {**environment(), **gpu_of_machine()}


def machine_line() -> str:
    """``machine`` in one line for people."""
    found = machine()
    packages = found["packages"]
    versions = packages if isinstance(packages, dict) else {}
    named = [f"{name} {versions[name]}" for name in VERSIONS if name in versions]
    parts = [f"{found['cores']} cores of {found['cpu']}", found["gpu"] or "no GPU"]
    parts += [f"Python {found['python']}", *named]
    return ", ".join(map(str, parts))


def short(seconds: float) -> str:
    """Three digits, in seconds: 0.00123, 0.123, 12.3, 123."""
    if seconds >= 100:
        return f"{seconds:.0f}"
    return f"{seconds:.3g}"


def _spread(taken: Seconds) -> str:
    return f"{short(taken.least)} … {short(taken.most)}" if taken.repeats > 1 else ""
