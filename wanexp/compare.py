"""What a study says, printed: after a sweep, and again at any time with ``wanexp compare``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from analysis.arms import arm_table, undefined_counts
from analysis.load import StudyTable, load_study
from wanexp.compose import compose_tree
from wanexp.names import nearest
from wanexp.options import options_from, protocol_from
from wanexp.record import StudyPaths, studies_in
from wanexp.show import show_arms, show_found, show_front, show_verdicts
from wanexp.strict import ConfigError

if TYPE_CHECKING:
    from analysis.overview import Overview


def compare_command(
    name: str, overrides: Sequence[str], *, metric: str | None, as_json: bool
) -> int:
    """Prints a study's arms, verdicts, front and order once more, from its records alone."""
    table = load_study(find_study(name, overrides).root)
    found = compared(table, metric)
    if found is None:
        raise ConfigError(f"{name}: one arm, or no protocol: there is nothing to compare")
    if as_json:
        from analysis.overview import overview_tree

        print(json.dumps(overview_tree(found)))
        return 0
    console = Console(highlight=False)
    show_study(console, table, found)
    own = table.study.get("protocol")
    primary = own.get("primary") if isinstance(own, dict) else None
    if metric not in (None, primary):
        console.print(
            f"[yellow]note[/yellow] the study was to be decided by {primary}; what {metric} says"
            " after looking is a hint for the next study, not a verdict"
        )
    return 0


def find_study(name: str, overrides: Sequence[str]) -> StudyPaths:
    """The study of that name among the studies.

    Raises:
        ConfigError: There is none.
    """
    folder = options_from(compose_tree(overrides)).folder
    studies = {key: paths for key, paths in studies_in(folder).items() if paths.study.exists()}
    if name not in studies:
        have = f"have: {', '.join(studies)}" if studies else "it holds none yet"
        raise ConfigError(f"no study {name!r} in {folder}{nearest(name, studies)} ({have})")
    return studies[name]


def compared(table: StudyTable, metric: str | None = None) -> Overview | None:
    """The study by its protocol; None with one arm, which says nothing.

    ``metric`` takes the primary's place.

    Raises:
        ConfigError: The metric was not measured, or decides nothing.
    """
    from analysis.overview import overview  # scipy's statistics take a second to load

    if not table.study.get("protocol"):
        return None
    protocol = protocol_from(table.study)
    if metric is not None:
        if metric not in table.metrics:
            raise ConfigError(
                f"--metric: {metric} was not measured in this study{nearest(metric, table.metrics)}"
                f" (have: {', '.join(table.metrics) or 'none'})"
            )
        tree = {"protocol": {**dataclasses.asdict(protocol), "primary": metric}}
        protocol = protocol_from(tree)
    found = overview(table, protocol)
    return found if found.comparison.arms else None


def show_study(console: Console, table: StudyTable, found: Overview | None) -> None:
    """The table of arms, then where there is something to compare verdicts, front and order."""
    arms = arm_table(table)
    searched = bool(table.study.get("search"))
    if searched and found is not None:  # of many arms only those that may be worth their price
        worth = {arm.arm for arm in found.front if arm.front_calls or arm.front_seconds}
        arms = arms.loc[[arm for arm in arms.index if arm in (found.comparison.baseline, *worth)]]
    show_arms(console, arms, table.metrics)
    for metric, count in undefined_counts(table).items():
        what = f"{metric} is undefined for {count} of the videos (the records say why)"
        console.print(f"[dim]{what}[/dim]")
    for sentence in table.damaged:
        console.print(f"[red]failed[/red] {sentence}", highlight=False)
    console.print("[dim]medians over cases and seeds[/dim]")
    if found is None:
        return
    if searched:
        show_front(console, found)
        show_found(console, found)
    else:
        show_verdicts(console, found.comparison)
        show_front(console, found)
