"""Plans and results as tables for people (rich)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Table

from wanexp.plan import Plan, PlannedStage
from wanexp.study import PlannedTrial


def show_plan(
    console: Console, title: str, header: Mapping[str, str], trials: Sequence[PlannedTrial]
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


def show_costs(console: Console, summary: Mapping[str, object]) -> None:
    """Counts of trials and model calls, and the planner's warnings."""
    trials, alike = summary["trials"], summary["distinct_trials"]
    same = "" if trials == alike else f" ({alike} distinct)"
    console.print(
        f"\n{trials} trials{same}: {summary['cases']} cases × {summary['seeds']} seeds;"
        f" [bold]{summary['model_calls']}[/bold] model calls alone,"
        f" {summary['model_calls_shared']} if stages in common were computed once"
    )
    warnings = summary["warnings"]
    if isinstance(warnings, list):
        for warning in warnings:
            console.print(f"[yellow]note[/yellow] {warning}", highlight=False)


def plan_line(plan: Plan) -> str:
    """A plan in a few words: ``establish 1.00→0 · refine 0.10→0``."""
    return " · ".join(f"{s.name} {s.sigma_start:.2f}→{s.sigma_end:.2f}" for s in plan.stages)
