"""What the verbs do, once the command line is read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from analysis.arms import arm_table
from analysis.load import StudyTable, load_study
from wanexp.cache import clear, held, store_tree
from wanexp.compare import compared, show_study
from wanexp.compose import compose_tree, expand_sweep
from wanexp.config import Recipe, model_tree
from wanexp.estimate import estimate
from wanexp.options import Options, options_from
from wanexp.planned import PlannedTrial, distinct, new_model_calls
from wanexp.progress import SweepProgress
from wanexp.record import StudyPaths, TrialRecord
from wanexp.rounds import Asked, Round, ask, study_rounds
from wanexp.runner import Tally, link_videos, open_study, run_trials, to_run
from wanexp.show import (
    show_costs,
    show_estimate,
    show_files,
    show_plan,
    show_readings,
    show_space,
    show_store,
)
from wanexp.strict import ConfigError
from wanexp.study import later_arms, plan_summary, plan_trials
from wanexp.tracking import Tracking, TrackingError, tracking_from
from wanexp.weights.check import check_files
from wanexp.weights.files import here

if TYPE_CHECKING:
    from analysis.comparison import Stop
    from wanexp.rating.results import Ratings
    from wanexp.track import Summary, Tracker


def plan_command(name: str, overrides: Sequence[str], *, as_json: bool) -> int:
    """Prints every arm's explicit plan and what the sweep costs."""
    asked = ask(expand_sweep(name, overrides))
    later = later_arms(asked.sweep, asked.trials)
    left = to_run(asked.trials, StudyPaths(asked.options.folder / asked.sweep.name))
    guess = estimate(asked.trials, left, _costs(left, asked.options), asked.options.folder)
    models = _models(asked.trials)
    summary = plan_summary(asked.sweep, asked.trials, later) | {"estimate": guess.tree()}
    summary |= {"models": [model_tree(recipe) for recipe in models]}
    if as_json:
        print(json.dumps(summary))
        return 0
    console = Console()
    show_plan(console, name, asked.sweep.header, asked.trials, later)
    show_costs(console, summary, later)
    show_files(console, models)
    if asked.search is not None:
        show_space(console, asked.sweep, asked.search, asked.dearest)
    show_estimate(console, guess)
    return 0


def _models(trials: Sequence[PlannedTrial]) -> list[Recipe]:
    """One recipe for each set of weights that is asked for; single files are looked at here.

    Raises:
        ConfigError: A file is not the part that it is given for.
    """
    found: list[Recipe] = []
    for recipe in (planned.trial.recipe for planned in trials):
        if not any(model_tree(recipe) == model_tree(known) for known in found):
            check_files(recipe.model, here(recipe.files))
            found.append(recipe)
    return found


def demo_command(overrides: Sequence[str], *, limit: int | None, as_json: bool) -> int:
    """The demo's sweep, after the two readings of the number that it is about."""
    console, plans = Console(stderr=as_json), []
    for name in ("ab_protocol", "ab_protocol_noise"):
        arms = {t.arm: t.plan for t in plan_trials(expand_sweep(name, ["case=coffee", "seed=0"]))}
        plans.append([arms["baseline"], arms["A"]])
    show_readings(console, *plans)
    return sweep_command("demo", overrides, limit=limit, as_json=as_json)


def sweep_command(name: str, overrides: Sequence[str], *, limit: int | None, as_json: bool) -> int:
    """Runs what a sweep asks for and is not finished yet; 1 where a trial failed."""
    asked = ask(expand_sweep(name, overrides))
    tracking = tracking_from(asked.sweep.options)
    # Standard output belongs to programs under --json; people read the rest on standard error.
    console = Console(stderr=as_json)
    study = open_study(asked.sweep, asked.trials, asked.options, confirms=asked.confirms)
    later_arms(asked.sweep, asked.trials)  # what cannot be combined is refused before anything runs
    run = SweepRun(console=console, study=study, asked=asked, tracking=tracking)
    try:
        run.rounds(limit)
    finally:  # also after Ctrl-C
        run.close()
    stop = None if run.tally.stopped else _conclude(console, study, run.tally)
    if not run.tally.stopped:
        _show_next(console, study, tracking, asked.sweep.options)
    if as_json:
        print(json.dumps(run.result(stop)))
    if run.tally.stopped:
        raise KeyboardInterrupt(run.tally.stopped)
    return int(run.tally.failed > 0)


def sync_command(names: Sequence[str], overrides: Sequence[str]) -> int:
    """Mirrors every record on disk into MLflow; 1 where something could not be mirrored."""
    from wanexp.mirror import sync

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
    from wanexp.mirror import run_ui

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
    from wanexp.rating.results import count_ratings, rating_numbers, trial_scores
    from wanexp.report.command import mirrored_pages
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
    ratings = count_ratings(study, loaded)
    lines += [] if ratings is None else _people_lines(ratings)
    return Summary(
        table=rows.to_dict("list"),
        text="\n".join(lines) + "\n",
        files=mirrored_pages(study),
        numbers={} if ratings is None else rating_numbers(ratings),
        scores={} if ratings is None else trial_scores(study, loaded),
    )


def _verdict_lines(table: StudyTable) -> list[str]:
    from analysis.overview import front_sentences
    from analysis.sentences import comparison_sentences

    found = compared(table)
    if found is None:
        return []
    comparison = found.comparison
    lines = ["", f"## Verdicts by {comparison.primary}, against {comparison.baseline}", ""]
    lines += [f"- {sentence}" for sentence in comparison_sentences(comparison)]
    lines += ["", "## Quality against cost", ""]
    return lines + [f"- {sentence}" for sentence in front_sentences(found)]


def _people_lines(ratings: Ratings) -> list[str]:
    from wanexp.rating.results import rating_words

    heading = f"## What people say ({ratings.answers} pairs, rated blind)"
    return ["", heading, "", *(f"- {line}" for line in rating_words(ratings))]


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class SweepRun:
    """One run of a sweep: round after round, each trial mirrored as it ends."""

    def __init__(
        self, *, console: Console, study: StudyPaths, asked: Asked, tracking: Tracking
    ) -> None:
        self.console, self.study, self.asked, self.tracking = console, study, asked, tracking
        self.trials = list(asked.trials)
        self.tally = Tally()
        self.tracker: Tracker | None = None

    def rounds(self, limit: int | None) -> None:
        """Runs until nothing is left, or ``limit`` trials have run."""
        asked, left = self.asked, limit
        waiting = to_run(asked.trials, self.study)
        if waiting:
            self._announce(waiting, waiting[:limit])
        for turn in self._turns():
            self.trials += turn.added
            if turn.news and not turn.trials:
                self.console.print(turn.news, highlight=False)
            waiting = to_run(turn.trials, self.study)
            chosen = waiting[:left]
            if chosen:
                self._tell(turn, chosen)
                self.tally = self.tally.plus(self._run(chosen))
            if left is not None:
                left -= len(chosen)
            if self.tally.stopped or len(chosen) < len(waiting):
                return
        if self.tracker is None:
            trials = _count(len(distinct(self.trials)), "trial")
            self.console.print(f"{self.study.name}: {trials}; nothing is left to do")

    def _turns(self) -> Iterator[Round]:
        asked = self.asked
        if asked.search is None:
            return study_rounds(asked.sweep, asked.trials, self.study, asked.protocol)
        from wanexp.search import search_rounds  # Optuna takes half a second to load

        return search_rounds(asked, asked.search, self.study)

    def _tell(self, turn: Round, chosen: Sequence[PlannedTrial]) -> None:
        if turn.news:
            calls = sum(_costs(chosen, self.asked.options))
            self.console.print(
                f"[bold]{turn.news}[/bold]: {_count(len(chosen), 'trial')}, {calls} model calls",
                highlight=False,
            )

    def close(self) -> None:
        """Links the videos, and tells MLflow what it does not know yet.

        Not after the second Ctrl-C, who does not want to wait: all of it can be done later.
        """
        if self.tally.at_once:
            return
        link_videos(self.study, self.trials)
        if self.tracker is None:
            return
        self.tracker.catch_up()  # what MLflow missed while it was away
        summary = study_summary(self.study)
        if summary is not None:
            self.tracker.summarise(summary)
        if self.tracker.problem:
            where = _elsewhere(self.tracking, self.asked.sweep.options)
            again = command(" ".join(["sync", *where]))
            self.console.print(
                f"[yellow]note[/yellow] {self.tracker.problem}; the records are whole on disk,"
                f" [bold]{again}[/bold] mirrors them later",
                highlight=False,
            )

    def result(self, stop: Stop | None) -> dict[str, object]:
        """What ``--json`` prints."""
        count, tally = len(distinct(self.trials)), self.tally
        return {
            "study": str(self.study.root),
            "trials": count,
            "completed": tally.completed,
            "changed": len(tally.changed),
            "failed": tally.failed,
            "skipped": count - tally.completed - tally.failed,
            "model_calls_executed": tally.model_calls,
            "model_calls_saved": stop.saved if stop else 0,
        }

    def _run(self, chosen: Sequence[PlannedTrial]) -> Tally:
        from wanexp.track import prepare

        options = self.asked.options
        tracker = self.tracker = self.tracker or prepare(self.tracking, self.study)

        def mirror(record: TrialRecord) -> None:
            tracker.mirror(self.study.trial(record.digest))

        with SweepProgress(self.console, chosen, _costs(chosen, options)) as progress:
            return run_trials(chosen, self.study, options, progress, mirror)

    def _announce(self, waiting: Sequence[PlannedTrial], chosen: Sequence[PlannedTrial]) -> None:
        count, name = len(distinct(self.trials)), self.study.name
        finished = count - len(waiting)
        earlier = f", {finished} of {count} were finished before" if finished else ""
        more = len(waiting) - len(chosen)
        later = f", {more} left for later" if more else ""
        calls = sum(_costs(chosen, self.asked.options))
        at_most = "at most " if self.asked.protocol.looks or self.asked.protocol.any_time else ""
        trials = _count(len(chosen), "trial")
        self.console.print(f"{name}: {at_most}{trials}, {calls} model calls{earlier}{later}")


def _costs(chosen: Sequence[PlannedTrial], options: Options) -> list[int]:
    """Model calls of each trial, without what the stage store has from those before it."""
    if options.cache.enabled:
        return new_model_calls(chosen)
    return [planned.plan.model_calls for planned in chosen]


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _conclude(console: Console, study: StudyPaths, tally: Tally) -> Stop | None:
    """Shows what the study says by now; returns whether that came before all of it had run."""
    table = load_study(study.root)
    found = compared(table)
    console.print()
    show_study(console, table, found)
    for sentence in tally.changed.values():
        console.print(
            f"[yellow]changed[/yellow] {sentence}; it is not what was asked, and counts nowhere",
            highlight=False,
        )
    for sentence in tally.errors.values():
        console.print(f"[red]failed[/red] {sentence}", highlight=False)
    return None if found is None else found.comparison.stop


def _show_next(
    console: Console, study: StudyPaths, tracking: Tracking, options: Mapping[str, object]
) -> None:
    """Where the page and the videos are, and the command that opens MLflow on them."""
    from wanexp.report.command import refresh_page

    console.print(f"\npage     [bold]{refresh_page(study)}[/bold]", highlight=False)
    console.print(f"videos   {_short(study.videos)}", highlight=False)
    if tracking.enabled:
        again = " ".join(["ui", *_elsewhere(tracking, options)])
        console.print(f"MLflow   [bold]{command(again)}[/bold]", highlight=False)


def _elsewhere(tracking: Tracking, options: Mapping[str, object]) -> list[str]:
    """What another verb must be told to find the same studies and the same MLflow."""
    custom = [f"studies={options['studies']}"] if options["studies"] != "studies" else []
    custom += [f"tracking.uri={tracking.uri}"] if tracking.uri else []
    default = Tracking().experiment
    return custom + (
        [f"tracking.experiment={tracking.experiment}"] if tracking.experiment != default else []
    )


def _short(path: os.PathLike[str]) -> str:
    """A path as the user would type it from here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def command(verb: str) -> str:
    """How the user starts a verb: through uv where wanexp itself was started so."""
    return f"uv run wanexp {verb}" if "UV" in os.environ else f"wanexp {verb}"
