"""``wanexp rate STUDY``: a page on which a person says which of two videos is better."""

from __future__ import annotations

import getpass
import json
import re
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from analysis.load import StudyTable, load_study
from wanexp.compare import find_study
from wanexp.rating.pairs import draw_pairs
from wanexp.rating.results import Ratings, best_eyes, count_ratings, rating_words
from wanexp.rating.server import Sitting, address, open_server
from wanexp.rating.votes import QUESTIONS, rater_from, read_answers
from wanexp.record import StudyPaths
from wanexp.strict import ConfigError


def rate_command(
    name: str,
    overrides: Sequence[str],
    *,
    rater: str | None,
    host: str,
    port: int,
    show: bool,
) -> int:
    """Serves the rating page until Ctrl-C.

    Args:
        name: A study.
        overrides: Such as ``studies=FOLDER``.
        rater: Whose answers these are; the user's login where not given.
        host: What the page is served on; everything but loopback can be reached by others.
        port: 0 takes any that is free.
        show: Open the browser.
    """
    study, who = find_study(name, overrides), rater_from(rater or _login())
    pairs = draw_pairs(study, load_study(study.root), who)
    sitting = Sitting(study=study, rater=who, pairs=pairs, host=host)
    if not sitting.pairs:
        raise ConfigError(
            f"{name}: nothing to rate: no two finished videos of different arms"
            " share a case and a seed"
        )
    try:
        server = open_server(sitting, port)
    except OSError as error:
        raise ConfigError(f"{host}:{port}: cannot listen there ({error}); try --port 0") from None
    page = address(server, sitting)
    console = Console(highlight=False)
    console.print(f"{sitting.rater} rates [bold]{name}[/bold]: {len(sitting.pairs)} pairs")
    if host not in ("127.0.0.1", "localhost", "::1"):
        console.print(f"[yellow]note[/yellow] whoever has this address on {host} can see and vote")
    console.print(page, soft_wrap=True)
    console.print("[dim]Ctrl-C ends it; every answer is kept as it is given.[/dim]")
    if show:
        webbrowser.open(page)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        console.print(
            f"\n{_kept(study, sitting.rater)}. wanexp rate {name} --results counts them,"
            f" wanexp report {name} shows them, wanexp sync {name} sends them to MLflow"
        )
    finally:
        server.server_close()
    return 0


def results_command(name: str, overrides: Sequence[str], *, as_json: bool) -> int:
    """Prints what raters have said so far."""
    study = find_study(name, overrides)
    table = load_study(study.root)
    ratings = count_ratings(study, table)
    if ratings is None:
        raise ConfigError(f"{name}: nobody has rated it yet; wanexp rate {name} opens the page")
    if as_json:
        print(json.dumps(ratings.tree()))
        return 0
    show_ratings(Console(highlight=False), ratings, table)
    return 0


def show_ratings(console: Console, ratings: Ratings, table: StudyTable) -> None:
    """Who rated, what they prefer, how they agree, and which metrics see it too."""
    who = ", ".join(f"{name} ({count})" for name, count in ratings.raters.items())
    console.print(f"[bold]people[/bold]: {ratings.answers} pairs answered by {who}")
    grid = Table(box=None, pad_edge=False)
    grid.add_column("chosen over " + ratings.baseline)
    for question in QUESTIONS:
        grid.add_column(question, justify="right")
    for arm in (row.arm for row in ratings.preferences["overall"]):
        if arm != ratings.baseline:
            grid.add_row(arm, *(_cell(ratings, question, arm) for question in QUESTIONS))
    console.print(grid)
    for line in rating_words(ratings):
        console.print(line)
    for pair in ratings.agreements:
        kappa = "" if pair.kappa is None else f", kappa {pair.kappa:.2f}"
        console.print(
            f"{pair.raters[0]} and {pair.raters[1]} agree in {100 * pair.share:.0f} %"
            f" of {pair.votes} questions{kappa}"
        )
    eyes = best_eyes(ratings)
    if eyes:
        best, worst = eyes[0], eyes[-1]
        console.print(
            f"{best.metric} sees what people prefer best: the same video in"
            f" {100 * best.share:.0f} % of {best.votes} decided pairs; {worst.metric} least,"
            f" in {100 * worst.share:.0f} %"
        )
    for line in ratings.damaged:
        console.print(f"[yellow]left out[/yellow] {line}")
    missing = len(table.trials[table.trials["state"] != "completed"])
    if missing:
        console.print(f"[dim]{missing} trials of the study have no video and were not shown[/dim]")


def _cell(ratings: Ratings, question: str, arm: str) -> str:
    row = next(row for row in ratings.preferences[question] if row.arm == arm)
    if row.interval is None:
        return f"{100 * row.chance:.0f} %"
    low, high = (f"{100 * limit:.0f}" for limit in row.interval)
    return f"{100 * row.chance:.0f} % [{low}–{high}]"


def _kept(study: StudyPaths, rater: str) -> str:
    count = len(read_answers(study, rater).answers)
    return f"{count} answer{'' if count == 1 else 's'} of {rater} kept"


def _login() -> str:
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # no login, as in some containers
        name = Path.home().name
    return re.sub(r"[^\w-]+", "-", name)[:40] or "me"
