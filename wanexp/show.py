"""Plans and results as tables for people (rich)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from wanexp.cache import Held, by_model, last_used
from wanexp.compose import Sweep, names_of, space_words
from wanexp.config import Recipe
from wanexp.metrics import METRICS
from wanexp.options import Search
from wanexp.plan import Plan, PlannedStage
from wanexp.planned import PlannedTrial
from wanexp.study import LaterArm
from wanexp.weights.files import described

if TYPE_CHECKING:
    import pandas as pd

    from analysis.comparison import ArmComparison, Comparison
    from analysis.overview import Overview
    from analysis.pareto import ParetoArm
    from wanexp.estimate import Estimate

ARROWS = {"lower": "↓", "higher": "↑", "one": "→ 1"}
SHORT_UNITS = {"ratio": "", "% of the smaller side per second": "% of side/s"}
FEW_ARMS = 6
LONG_NAME = 28
"""Characters of an arm's name that stand on one line."""

SELDOM = 0.05
"""An arm that is on the front in fewer redrawn sets of cases is not worth a line among many."""


def show_plan(
    console: Console,
    title: str,
    header: Mapping[str, str],
    trials: Sequence[PlannedTrial],
    later: Mapping[str, LaterArm],
) -> None:
    """One table of every arm's stages: what takes over where, who answers, what it costs."""
    console.print(f"[bold]{title}[/bold]")
    for word, sentence in header.items():
        console.print(f"  [dim]{word}:[/dim] {sentence}")
    console.print()
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("arm", "stage", "sampler", "schedule", "cfg"):
        table.add_column(column)
    for column in ("steps", "from sigma", "to", "experts", "model calls"):
        table.add_column(column, justify="right")
    arms = {planned.arm: planned.plan for planned in trials}
    for arm, plan in arms.items():
        for number, stage in enumerate(plan.stages):
            table.add_row(*_stage_row(arm if number == 0 else "", stage))
        table.add_row(*[""] * 8, "[dim]together[/dim]", f"[bold]{plan.model_calls}[/bold]")
    for arm, own in later.items():
        for number, stage in enumerate(own.plan.stages):
            table.add_row(*_stage_row(f"[dim]{arm}?[/dim]" if number == 0 else "", stage))
        table.add_row(*[""] * 8, "[dim]at most[/dim]", f"[bold]{own.plan.model_calls}[/bold]")
    console.print(table)


def _stage_row(arm: str, stage: PlannedStage) -> tuple[str, ...]:
    takes = {"noise": "noise", "renoise": "renoised", "continue": "goes on"}[stage.takeover]
    denoise = "" if stage.denoise is None else f" (denoise {stage.denoise:g})"
    wanted = stage.sigma_end_wanted
    asked = f" (asked {wanted:g})" if wanted and abs(wanted - stage.sigma_end) > 5e-4 else ""
    return (
        arm,
        stage.name,
        stage.sampler,
        f"{stage.scheduler}, shift {stage.shift:g}",
        f"{stage.cfg:g}",
        str(stage.steps),
        f"{stage.sigma_start:.3f} {takes}{denoise}",
        f"{stage.sigma_end:.3f}{asked}",
        _experts(stage),
        str(stage.model_calls),
    )


def _experts(stage: PlannedStage) -> str:
    return " ".join(f"{len(list(same))}×{who}" for who, same in groupby(stage.experts))


def show_costs(
    console: Console, summary: Mapping[str, object], later: Mapping[str, LaterArm]
) -> None:
    """Counts of trials and model calls, and the planner's warnings."""
    trials, alike = summary["trials"], summary["distinct_trials"]
    same = "" if trials == alike else f" ({alike} distinct)"
    console.print(
        f"\n{trials} trials{same}: {summary['cases']} cases × {summary['seeds']} seeds;"
        f" [bold]{summary['model_calls_shared']}[/bold] model calls, as stages in common are"
        f" computed once ({summary['model_calls']} alone)"
    )
    for arm, own in later.items():
        console.print(
            f"{arm} is decided later: what is better among {names_of(own.candidates)}, together; at"
            f" most {own.trials} trials and [bold]{own.added}[/bold] model calls more"
        )
    warnings = summary["warnings"]
    if isinstance(warnings, list):
        for warning, arms in _by_warning(warnings).items():
            console.print(f"[yellow]note[/yellow] {', '.join(arms)}: {warning}", highlight=False)


def show_files(console: Console, models: Sequence[Recipe]) -> None:
    """The single files that weights come from; nothing where they come from folders."""
    for recipe in models:
        for part, words in described(recipe.files).items():
            console.print(f"  [dim]model.{part}:[/dim] {words}", highlight=False)


def show_space(console: Console, sweep: Sweep, search: Search, dearest: int) -> None:
    """What a search chooses among, and what it takes at most."""
    videos = search.arms * len(sweep.cases) * len(sweep.seeds)
    console.print(
        f"a search: [bold]{search.arms}[/bold] arms beside the baseline, for"
        f" {' and '.join(search.objectives)}; at most {videos} trials and"
        f" {videos * dearest:,} model calls more",
        highlight=False,
    )
    for line in space_words(sweep.space):
        console.print(f"  [dim]{line}[/dim]", highlight=False)


def _by_warning(warnings: Sequence[str]) -> dict[str, list[str]]:
    """A warning once, with the arms that it is about."""
    found: dict[str, list[str]] = {}
    for text in warnings:
        arm, _, warning = text.partition(": ")
        found.setdefault(warning, []).append(arm)
    return found


def show_readings(console: Console, denoise: Sequence[Plan], noise: Sequence[Plan]) -> None:
    """Two plans of one recipe, whose number is read as a share of steps and as a noise level."""
    console.print(
        '"0.45" has two readings: as ComfyUI\'s denoise it is a share of [italic]steps[/italic], as'
        " the words say it is 45 % [italic]noise[/italic]. The second stage starts"
    )
    table = Table(box=None, header_style="dim", pad_edge=False)
    for head in ("asked", "read as a share of steps", "read as noise (the demo runs this)"):
        table.add_column(_folded(head), justify="left" if head == "asked" else "right")
    for one, other in zip(denoise, noise, strict=True):
        asked = one.stages[-1].denoise
        table.add_row(
            "" if asked is None else f"{asked:g}",
            *(f"from sigma {plan.stages[-1].sigma_start:.3f}" for plan in (one, other)),
        )
    console.print(table)
    console.print()


def show_estimate(console: Console, found: Estimate) -> None:
    """How long it will take, what it needs, and what most of it goes into."""
    if not found.left:
        console.print("every trial is finished; nothing is left to run")
        return
    trials = "1 trial" if found.left == 1 else f"{found.left} trials"
    console.print(
        f"about [bold]{_duration(found.seconds)}[/bold] for the {trials} that are left"
        f" ({found.basis}); {found.memory / 1e9:.2g} GB of memory at the peak,"
        f" {found.disk / 1e6:,.0f} MB of disk",
        highlight=False,
    )
    console.print(found.dominates, highlight=False)
    if found.phases:
        peaks = ", ".join(f"{phase} {size / 2**30:.1f}" for phase, size in found.phases.items())
        console.print(f"on a GPU, GiB at each phase's peak: {peaks}", highlight=False)
    if found.expert_loads:
        console.print(
            f"experts go to the device {found.expert_loads} times, one in place of another"
            " (memory.offload=model)",
            highlight=False,
        )
    if found.fits:
        console.print(f"[yellow]note[/yellow] {found.fits}", highlight=False)


def _duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"


def show_store(
    console: Console, folder: str, limit: int, entries: Sequence[Held], removed: Sequence[Held]
) -> None:
    """What the stage store holds, by model, or that it was emptied."""
    if removed:
        console.print(f"{folder}: {_entries(removed)} removed")
    if not entries:
        console.print(f"{folder}: empty")
        return
    console.print(f"{folder}: {_entries(entries)} of at most {limit / 1e9:.3g} GB")
    for model, own in by_model(entries).items():
        console.print(f"  {model}: {_entries(own)}, the oldest last used {last_used(own[0])}")


def _entries(entries: Sequence[Held]) -> str:
    megabytes = sum(entry.bytes for entry in entries) / 1e6
    return f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}, {megabytes:.1f} MB"


def show_arms(console: Console, arms: pd.DataFrame, metrics: Sequence[str]) -> None:
    """Arms side by side: the median of every metric, and what a video of the arm costs.

    A few arms stand in columns, so that a metric reads across; many stand in rows.
    """
    rows = arms.reset_index().to_dict("records")
    names = ["arm", "videos", *metrics, "model calls", "sampling"]
    cells = [
        [
            str(row["arm"]),
            _videos(row["done"], row["asked"], row["changed"]),
            *(_number(row[name]) for name in metrics),
            _number(row["model_calls"], whole=True),
            _number(row["seconds"]),
        ]
        for row in rows
    ]
    units = ["", "", *(_how_read(name) for name in metrics), "per video", "s"]
    if len(rows) > FEW_ARMS:
        heads = [
            f"{name.replace('_', chr(10))}\n{unit}" for name, unit in zip(names, units, strict=True)
        ]
        _print_table(console, heads, cells, left=1)
        return
    across = [list(column) for column in zip(names, units, *cells, strict=True)]
    _print_table(console, [*across[0]], across[1:], left=2)


def show_verdicts(console: Console, comparison: Comparison) -> None:
    """Every arm against the baseline: a table, then what it says in sentences."""
    from analysis.sentences import comparison_sentences

    protocol = comparison.protocol
    console.print(
        f"\n[bold]against {comparison.baseline}[/bold], decided by {comparison.primary}"
        f" [dim](protocol {protocol.name}; differences by case and seed, n = cases)[/dim]",
        highlight=False,
    )
    heads = ["arm", "verdict", comparison.primary, "95 % interval", "n", "motion"]
    _print_table(console, heads, [_verdict_row(arm) for arm in comparison.arms], left=4)
    console.print()
    for sentence in comparison_sentences(comparison):
        console.print(sentence, highlight=False)


def _verdict_row(arm: ArmComparison) -> list[str]:
    from analysis.sentences import change_words, interval_words

    effect = arm.primary
    return [
        arm.arm,
        arm.ruling.verdict,
        change_words(effect.mean, effect.scale),
        interval_words(effect),
        str(effect.cases),
        "–" if arm.motion_state == "itself" else arm.motion_state,
    ]


def show_front(console: Console, found: Overview) -> None:
    """Quality against cost: every arm's price, and how surely none is as good for less.

    Of many arms only those that may be worth their price.
    """
    from analysis.overview import front_sentences

    shown = [a for a in found.front if len(found.front) <= FEW_ARMS or _may_be_worth_it(a)]
    if not shown:
        return
    console.print(
        f"\n[bold]quality against cost[/bold] [dim](a video alone; % of redrawn sets of cases in"
        f" which no arm has as good a {found.comparison.primary} for less)[/dim]",
        highlight=False,
    )
    first = {a.arm: a.first_cases for a in found.ranking.arms} if found.ranking else {}
    heads = ["arm", "model calls", "on the front", "seconds", "on the front", "comes first"]
    rows = [[*_front_row(arm), _share(first.get(arm.arm))] for arm in shown]
    _print_table(console, heads, rows, left=1)
    if len(shown) < len(found.front):
        console.print(f"[dim]{len(found.front) - len(shown)} more arms are off the front[/dim]")
    for sentence in front_sentences(found):
        console.print(sentence, highlight=False)


def show_found(console: Console, found: Overview) -> None:
    """What a search found, in sentences, and what they are worth."""
    from analysis.sentences import arm_sentence

    front = {arm.arm for arm in found.front if arm.front_calls or arm.front_seconds}
    comparison = found.comparison
    for arm in (arm for arm in comparison.arms if arm.arm in front):
        console.print(arm_sentence(comparison, arm), highlight=False)
    console.print(
        f"The best of {len(comparison.arms)} arms, sought on these very videos, look better than"
        " they are: try the winner again on others with protocol=confirm.",
        highlight=False,
    )


def _may_be_worth_it(arm: ParetoArm) -> bool:
    shares = max(arm.share_calls, arm.share_seconds)
    return arm.front_calls or arm.front_seconds or shares >= SELDOM


def _front_row(arm: ParetoArm) -> list[str]:
    return [
        arm.arm,
        "–" if arm.model_calls is None else _number(arm.model_calls, whole=True),
        ("yes, " if arm.front_calls else "no, ") + _share(arm.share_calls),
        "–" if arm.seconds is None else _number(arm.seconds),
        ("yes, " if arm.front_seconds else "no, ") + _share(arm.share_seconds),
    ]


def _share(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def _print_table(
    console: Console, heads: Sequence[str], rows: Sequence[Sequence[str]], *, left: int
) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for number, head in enumerate(heads):
        table.add_column(
            _folded(head), justify="left" if number < left else "right", no_wrap=number == 0
        )
    for name, *cells in rows:
        table.add_row(_folded(name), *cells)
    console.print(table)


def _folded(name: str) -> str:
    """A long name of several settings on lines of its own, so that the numbers have room."""
    lines = [""]
    for part in name.split(","):
        if lines[-1] and len(lines[-1]) + len(part) >= LONG_NAME:
            lines.append("")
        lines[-1] += ("," if lines[-1] else "") + part
    return ",\n".join(lines)


def _videos(done: int, asked: int, changed: int) -> str:
    left_out = f", {changed} changed" if changed else ""
    return str(done) if done == asked else f"{done} of {asked}{left_out}"


def _how_read(metric: str) -> str:
    """Unit and direction, ``px ↓``; a region's detail reads as detail does."""
    definition = METRICS[metric.split(":", maxsplit=1)[0]]
    unit = SHORT_UNITS.get(definition.unit, definition.unit)
    return f"{unit} {ARROWS[definition.direction]}".strip()


def _number(value: float, *, whole: bool = False) -> str:
    """Three digits that matter; a dash where there is nothing."""
    if math.isnan(value):
        return "–"
    return f"{value:.0f}" if whole or value >= 1000 else f"{value:#.3g}".rstrip(".")
