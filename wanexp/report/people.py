"""The page's section on what people said when they did not know which arm they saw."""

from __future__ import annotations

from analysis.load import StudyTable
from wanexp.rating.results import DECIDING, Ratings, best_eyes, count_ratings, rating_words
from wanexp.rating.votes import QUESTIONS
from wanexp.record import StudyPaths
from wanexp.report.sections import Cell, Figure, Section, Table


def people_sections(study: StudyPaths, table: StudyTable) -> tuple[Section, ...]:
    """The section, or none where nobody has rated."""
    ratings = count_ratings(study, table)
    return () if ratings is None else (_section(ratings),)


def _section(ratings: Ratings) -> Section:
    who = ", ".join(f"{name} ({count})" for name, count in ratings.raters.items())
    return Section(
        id="people",
        title="What people say",
        sentences=(
            f"{ratings.answers} pairs were rated blind: two videos of one case and seed, without"
            f" names, in random order. Raters and their pairs: {who}.",
            *rating_words(ratings),
            *(f"Left out: {line}" for line in ratings.damaged),
        ),
        tables=(_standing(ratings), *_agreement(ratings), *_eyes(ratings)),
        figures=(_figure(ratings),),
    )


def _standing(ratings: Ratings) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for question in QUESTIONS:
        for row in ratings.preferences[question]:
            if row.arm != ratings.baseline:
                counts = (row.won, row.lost, row.same)
                rows.append((question, row.arm, *_percent(row.chance, row.interval), *counts))
    return Table(
        caption=f"Chance to be chosen over {ratings.baseline} (Bradley–Terry; 95 % intervals"
        " over cases)",
        columns=("question", "arm", "chance, %", "from", "to", "chosen", "not chosen", "same"),
        rows=tuple(rows),
    )


def _percent(share: float, interval: tuple[float, float] | None) -> tuple[Cell, Cell, Cell]:
    if interval is None:
        return 100 * share, None, None
    return 100 * share, 100 * interval[0], 100 * interval[1]


def _agreement(ratings: Ratings) -> tuple[Table, ...]:
    if not ratings.agreements:
        return ()
    rows = tuple(
        (*pair.raters, pair.votes, 100 * pair.share, pair.kappa) for pair in ratings.agreements
    )
    return (
        Table(
            caption="How raters agree (kappa: 0 is chance, 1 is always)",
            columns=("rater", "rater", "questions", "alike, %", "kappa"),
            rows=rows,
        ),
    )


def _eyes(ratings: Ratings) -> tuple[Table, ...]:
    eyes = best_eyes(ratings)
    if not eyes:
        return ()
    rows = tuple(
        (sight.metric, sight.tau, *_percent(sight.share, sight.interval), sight.votes)
        for sight in eyes
    )
    return (
        Table(
            caption="Which metrics see what people would keep (tau: 1 always, 0 is chance)",
            columns=("metric", "tau", "same video, %", "from", "to", "decided votes"),
            rows=rows,
        ),
    )


def _figure(ratings: Ratings) -> Figure:
    rows = [row for row in ratings.preferences[DECIDING] if row.arm != ratings.baseline]
    limits = [row.interval or (row.chance, row.chance) for row in rows]
    above = [high - row.chance for row, (_, high) in zip(rows, limits, strict=True)]
    below = [row.chance - low for row, (low, _) in zip(rows, limits, strict=True)]
    return Figure(
        says=f"Chance of each arm to be chosen over {ratings.baseline}, with 95 % intervals.",
        data=(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [row.chance for row in rows],
                "y": [row.arm for row in rows],
                "customdata": [row.arm for row in rows],
                "marker": {"size": 10, "color": "var(--accent)"},
                "hovertemplate": "%{y}: %{x:.0%}<br>click to watch<extra></extra>",
                "error_x": {
                    "type": "data", "symmetric": False, "array": above, "arrayminus": below,
                },
            },
        ),
        layout={
            "xaxis": {
                "range": [0, 1], "tickformat": ".0%",
                "title": {"text": f"chosen over {ratings.baseline}"},
            },
            "yaxis": {"autorange": "reversed"},
            "shapes": [
                {"type": "line", "x0": 0.5, "x1": 0.5, "y0": 0, "y1": 1, "yref": "paper",
                 "line": {"dash": "dot", "width": 1, "color": "var(--muted)"}},
            ],
            "height": 90 + 40 * len(rows),
        },
    )  # fmt: skip
