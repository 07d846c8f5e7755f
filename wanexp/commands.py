"""What the verbs do, once the command line is read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from analysis.arms import arm_table, undefined_counts
from analysis.load import StudyTable, load_study
from wanexp.cache import clear, held, store_tree
from wanexp.compose import Sweep, compose_tree, expand_sweep
from wanexp.names import lookup
from wanexp.options import Options, options_from, protocol_from
from wanexp.progress import SweepProgress
from wanexp.record import StudyPaths, TrialRecord
from wanexp.runner import Tally, link_videos, open_study, run_trials, to_run
from wanexp.show import show_arms, show_costs, show_plan, show_store, show_verdicts
from wanexp.strict import ConfigError
from wanexp.study import PlannedTrial, distinct, new_model_calls, plan_summary, plan_trials
from wanexp.tracking import Tracking, TrackingError, tracking_from

if TYPE_CHECKING:
    from analysis.compare import Comparison
    from wanexp.track import Summary, Tracker

NOTHING = Tally(completed=0, failed=0, model_calls=0, errors={})
"""How a sweep went that had nothing left to run."""


def plan_command(name: str, overrides: Sequence[str], *, as_json: bool) -> int:
    """Prints every arm's explicit plan and what the sweep costs."""
    sweep, _, trials = _asked(name, overrides)
    summary = plan_summary(sweep, trials)
    if as_json:
        print(json.dumps(summary))
        return 0
    console = Console()
    show_plan(console, name, sweep.header, trials)
    show_costs(console, summary)
    return 0


def sweep_command(name: str, overrides: Sequence[str], *, limit: int | None, as_json: bool) -> int:
    """Runs what a sweep asks for and is not finished yet; 1 where a trial failed."""
    sweep, options, trials = _asked(name, overrides)
    tracking = tracking_from(sweep.options)
    # Standard output belongs to programs under --json; people read the rest on standard error.
    console = Console(stderr=as_json)
    study = open_study(sweep, trials, options)
    waiting = to_run(trials, study)
    chosen = waiting[:limit]
    _announce(console, study, trials, waiting, chosen, options)
    tally = _run(console, chosen, study, options, tracking) if chosen else NOTHING
    link_videos(study, trials)
    _conclude(console, study, tally)
    _show_next(console, study, tracking, sweep.options)
    if as_json:
        print(json.dumps(_result(study, trials, tally)))
    return int(tally.failed > 0)


def sync_command(names: Sequence[str], overrides: Sequence[str]) -> int:
    """Mirrors every record on disk into MLflow; 1 where something could not be mirrored."""
    from wanexp.track import sync

    options, tracking = _settings(overrides)
    try:
        counts = sync(options.folder, tracking, names, study_summary)
    except (TrackingError, KeyError) as error:
        raise ConfigError(str(error.args[0])) from None
    console = Console(highlight=False)
    if not counts:
        console.print(f"no studies in {_short(options.folder)}")
    for study, count in counts.items():
        console.print(
            f"{study}: {count.made} runs made, {count.replaced} made again,"
            f" {count.unchanged} unchanged"
        )
        for problem in count.problems:
            console.print(f"[red]failed[/red] {problem}")
    return int(any(count.problems for count in counts.values()))


def cache_command(overrides: Sequence[str], *, empty: bool, as_json: bool) -> int:
    """Shows what the stage store holds; to ``empty`` it removes all of that."""
    options, _ = _settings(overrides)
    folder = options.cache_folder
    removed = clear(folder) if empty else []
    entries = held(folder)
    if as_json:
        print(json.dumps(store_tree(folder, options.cache_limit, entries, removed)))
        return 0
    show_store(Console(highlight=False), _short(folder), options.cache_limit, entries, removed)
    return 0


def ui_command(overrides: Sequence[str], *, host: str, port: int) -> int:
    """Serves MLflow's pages on the studies until Ctrl-C."""
    from wanexp.track import run_ui

    options, tracking = _settings(overrides)
    try:
        return run_ui(tracking, options.folder, host=host, port=port)
    except TrackingError as error:
        raise ConfigError(str(error)) from None


def _settings(overrides: Sequence[str]) -> tuple[Options, Tracking]:
    tree = compose_tree(overrides)
    return options_from(tree), tracking_from(tree)


def study_summary(study: StudyPaths) -> Summary | None:
    """What a study's summary run shows: the table of arms; None for a folder without a study."""
    from wanexp.track import Summary

    if not study.study.exists():
        return None
    loaded = load_study(study.root)
    arms = arm_table(loaded).reset_index()
    rows = arms.astype(object).where(arms.notna(), None)
    lines = [f"# {study.name}", ""]
    header = loaded.study.get("header")
    if isinstance(header, Mapping):
        lines += [f"**{word}** {sentence}  " for word, sentence in header.items()]
    lines += ["", "| " + " | ".join(rows.columns) + " |", "|---" * len(rows.columns) + "|"]
    for row in rows.itertuples(index=False):
        lines.append("| " + " | ".join(_cell(value) for value in row) + " |")
    lines += ["", "Medians over cases and seeds.", *_verdict_lines(loaded)]
    return Summary(table=rows.to_dict("list"), text="\n".join(lines) + "\n")


def _verdict_lines(table: StudyTable) -> list[str]:
    from analysis.sentences import comparison_sentences

    comparison = _comparison(table)
    if comparison is None:
        return []
    lines = ["", f"## Verdicts by {comparison.primary}, against {comparison.baseline}", ""]
    return lines + [f"- {sentence}" for sentence in comparison_sentences(comparison)]


def _comparison(table: StudyTable) -> Comparison | None:
    """The study's arms compared as its protocol says; None with one arm, which says nothing."""
    from analysis.compare import compare_study  # scipy's statistics take a second to load

    if table.study.get("protocol") is None:
        return None
    comparison = compare_study(table, protocol_from(table.study))
    return comparison if comparison.arms else None


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _run(
    console: Console,
    chosen: Sequence[PlannedTrial],
    study: StudyPaths,
    options: Options,
    tracking: Tracking,
) -> Tally:
    """Runs trials and mirrors each as it ends, whatever MLflow does."""
    from wanexp.track import prepare

    tracker = prepare(tracking, study)
    with SweepProgress(console, chosen, _costs(chosen, options)) as progress:
        tally = run_trials(
            chosen, study, options, progress, lambda record: _mirror(tracker, record)
        )
    tracker.catch_up()  # what MLflow missed while it was away
    summary = study_summary(study)
    if summary is not None:
        tracker.summarise(summary)
    if tracker.problem:
        console.print(
            f"[yellow]note[/yellow] {tracker.problem}; the records are whole on disk,"
            f" [bold]{command('sync')}[/bold] mirrors them later",
            highlight=False,
        )
    return tally


def _mirror(tracker: Tracker, record: TrialRecord) -> None:
    tracker.mirror(tracker.study.trial(record.digest))


def _asked(name: str, overrides: Sequence[str]) -> tuple[Sweep, Options, list[PlannedTrial]]:
    """The sweep, the options and the planned trials, all checked before anything loads."""
    sweep = expand_sweep(name, overrides)
    options = options_from(sweep.options)
    baseline = protocol_from(sweep.options).baseline
    if baseline is not None:
        try:
            lookup("arm", sweep.arms, baseline)
        except KeyError as error:
            raise ConfigError(f"protocol.baseline: {error.args[0]}") from None
    return sweep, options, plan_trials(sweep)


def _announce(
    console: Console,
    study: StudyPaths,
    trials: Sequence[PlannedTrial],
    waiting: Sequence[PlannedTrial],
    chosen: Sequence[PlannedTrial],
    options: Options,
) -> None:
    count = len(distinct(trials))
    finished = count - len(waiting)
    if not chosen:
        console.print(f"{study.name}: all {count} trials are finished; nothing to do")
        return
    earlier = f", {finished} of {count} were finished before" if finished else ""
    later = f", {len(waiting) - len(chosen)} left for later" if len(chosen) < len(waiting) else ""
    calls = sum(_costs(chosen, options))
    trials_now = "1 trial" if len(chosen) == 1 else f"{len(chosen)} trials"
    console.print(f"{study.name}: {trials_now}, {calls} model calls{earlier}{later}")


def _costs(chosen: Sequence[PlannedTrial], options: Options) -> list[int]:
    """Model calls of each trial, without what the stage store has from those before it."""
    if options.cache.enabled:
        return new_model_calls(chosen)
    return [planned.plan.model_calls for planned in chosen]


def _conclude(console: Console, study: StudyPaths, tally: Tally) -> None:
    table = load_study(study.root)
    console.print()
    show_arms(console, arm_table(table), table.metrics)
    for metric, count in undefined_counts(table).items():
        what = f"{metric} is undefined for {count} of the videos (the records say why)"
        console.print(f"[dim]{what}[/dim]")
    for sentence in (*tally.errors.values(), *table.damaged):
        console.print(f"[red]failed[/red] {sentence}", highlight=False)
    console.print("[dim]medians over cases and seeds[/dim]")
    comparison = _comparison(table)
    if comparison is not None:
        show_verdicts(console, comparison)


def _show_next(
    console: Console, study: StudyPaths, tracking: Tracking, options: Mapping[str, object]
) -> None:
    """Where the videos are, and the one command that shows them beside each other."""
    console.print(f"\nvideos   {_short(study.videos)}", highlight=False)
    if tracking.enabled:
        custom = [f"studies={options['studies']}"] if options["studies"] != "studies" else []
        custom += [f"tracking.uri={tracking.uri}"] if tracking.uri else []
        console.print(
            f"MLflow   [bold]{command(' '.join(['ui', *custom]))}[/bold]", highlight=False
        )


def _short(path: os.PathLike[str]) -> str:
    """A path as the user would type it from here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def command(verb: str) -> str:
    """How the user starts a verb: through uv where wanexp itself was started so."""
    return f"uv run wanexp {verb}" if "UV" in os.environ else f"wanexp {verb}"


def _result(study: StudyPaths, trials: Sequence[PlannedTrial], tally: Tally) -> dict[str, object]:
    count = len(distinct(trials))
    return {
        "study": str(study.root),
        "trials": count,
        "completed": tally.completed,
        "failed": tally.failed,
        "skipped": count - tally.completed - tally.failed,
        "model_calls_executed": tally.model_calls,
    }
