"""The table of arms: what each gives in the middle, and what it costs."""

from __future__ import annotations

import pandas as pd

from analysis.load import StudyTable


def arm_table(table: StudyTable) -> pd.DataFrame:
    """One row an arm, in the study's order.

    Columns: ``done`` and ``asked`` trials, ``failed``, ``changed`` (not what was asked for, since
    memory ran out), the median of every metric (NaN where it is
    defined for no video of the arm), and the medians of ``model_calls`` and ``seconds``.
    """
    columns = (*table.metrics, "model_calls", "seconds")
    rows = []
    for arm, trials in table.trials.groupby("arm", sort=False):
        done = pd.DataFrame(trials[trials["state"] == "completed"])
        medians = pd.DataFrame(done, columns=list(columns)).median(numeric_only=True)
        rows.append(
            {
                "arm": arm,
                "done": len(done),
                "asked": len(trials),
                "failed": list(trials["state"]).count("failed"),
                "changed": list(trials["state"]).count("changed"),
                **medians.to_dict(),
            }
        )
    return pd.DataFrame(rows).set_index("arm")


def undefined_counts(table: StudyTable) -> dict[str, int]:
    """Metric → videos that it says nothing about (no face, too short), where there are any."""
    done = pd.DataFrame(table.trials[table.trials["state"] == "completed"])
    counts = {name: len(done[name]) - len(done[name].dropna()) for name in table.metrics}
    return {name: count for name, count in counts.items() if count}
