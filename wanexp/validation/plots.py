"""The pictures of the validation: the matrix as a heat map, and every metric on its own ladder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from wanexp.metrics import METRICS
from wanexp.validation.ladders import LADDERS, NUISANCES
from wanexp.validation.rules import CALIBRATED, WARP_READS, Table, own_fault, response

DPI = 60

STATED = {**CALIBRATED, "warp": WARP_READS}
"""Metrics that state what they read of a draw."""


def heat_map(table: Table, metrics: Sequence[str], path: Path) -> None:
    """Each metric's response to each change, in parts of its strongest own; medians of places."""
    changes = [(fault, one.levels[-1]) for fault, one in LADDERS.items()]
    changes += [(name, level) for name, one in NUISANCES.items() for level in one.levels]
    cells = np.array([[_median(table, m, *change) for change in changes] for m in metrics])
    figure = Figure(figsize=(13, 0.42 * len(metrics) + 2.2), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(cells, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    axes.set_xticks(range(len(changes)), [_label(*change) for change in changes], rotation=50)
    for label in axes.get_xticklabels():
        label.set_horizontalalignment("right")
    axes.set_yticks(range(len(metrics)), metrics)
    axes.axvline(len(LADDERS) - 0.5, color="black", linewidth=1.5)
    for row, metric in enumerate(metrics):
        for column, (change, _) in enumerate(changes):
            value, own = cells[row, column], metric in _owners(change)
            text = "–" if np.isnan(value) else f"{round(value, 2) + 0.0:.2f}".replace("0.", ".", 1)
            colour = "white" if abs(value) > 0.6 else "black"
            weight = "bold" if own else "normal"
            axes.text(column, row, text, ha="center", va="center", color=colour, weight=weight)
    axes.set_title("change of each metric, in parts of its own fault's strongest (bold)")
    _save(figure, path)


def ladder_plots(table: Table, metrics: Sequence[str], path: Path) -> None:
    """Every metric against its own fault: a line for each scene and size, the draw dashed."""
    shown = [metric for metric in metrics if own_fault(metric)]
    columns = 4
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(13, 2.6 * rows), layout="constrained")
    for number, metric in enumerate(shown):
        axes = figure.add_subplot(rows, columns, number + 1)
        fault = own_fault(metric) or ""
        levels = (0.0, *LADDERS[fault].levels)
        for place in table.places:
            found = [table.value(place, metric, fault if lv else "", lv) for lv in levels]
            axes.plot(
                range(len(levels)), found, "o-", color=_hue(place[0]), alpha=0.5, markersize=3
            )
            if metric in STATED:
                ideals = [table.reading(place, fault, lv).ideal or 0.0 for lv in levels[1:]]
                drawn = [0.0, *(STATED[metric] * one for one in ideals)]
                axes.plot(range(len(levels)), drawn, ":", color="black", linewidth=0.8)
        axes.set_xticks(range(len(levels)), [f"{level:g}" for level in levels])
        axes.set_title(metric, fontsize=10)
        axes.set_xlabel(fault, fontsize=8)
        axes.set_ylabel(METRICS[metric].unit.replace(" of the smaller side per second", "/s"))
        axes.tick_params(labelsize=8)
    _save(figure, path)


def _median(table: Table, metric: str, change: str, level: float) -> float:
    parts = list(response(table, metric, change, level).values())
    return float(np.median(parts)) if parts else float("nan")


def _owners(change: str) -> tuple[str, ...]:
    return LADDERS[change].owners if change in LADDERS else ()


def _label(change: str, level: float) -> str:
    return f"{change} {level:g}"


def _hue(size: int) -> str:
    return "tab:blue" if size <= 128 else "tab:orange"


def _save(figure: Figure, path: Path) -> None:
    """As PNG; the figure is drawn by Agg, whatever screen there is."""
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=DPI)
