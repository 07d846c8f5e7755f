"""How MLflow's page of charts opens: two saved views an experiment, kept as its tags.

``videos`` shows every run: frames side by side, metrics, settings against metrics. ``arms`` is
grouped by arm, with means over cases and seeds. The page makes the cards of single metrics itself
and puts them into the section of their prefix; a view fixes what it would not choose: the order
of sections, pictures without their settings, the axes of the parallel coordinates.

The format is that of the page's own "Save as new view" in MLflow 3.17: an experiment tag
``mlflow.sharedViewState.KEY`` with a deflated state.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

TAG = "mlflow.sharedViewState."

MARK = "wanexp"
"""Field of a view that we wrote; one that the user has saved over lacks it and stays."""

COSTS = ("model_calls", "seconds")
SCORES = ("motion", "detail", "face_detail", "warp", "flicker", "people/overall")
"""Metrics of the parallel coordinates; lines are coloured by the last that every run has."""

MOST_SETTINGS = 7
"""Axes of settings that are still read."""

NO_SETTING = ("arm", "case", "prompt", "negative_prompt", "stages")
FOLLOWS = (".model_calls", ".expert", ".takeover")
"""Ends of what is no choice of its own but follows from others; these stay out of the axes too."""

FIRST = ("Pictures", "Model metrics", "Settings and metrics")
LAST = ("peak_mb", "seconds", "System metrics")
"""Sections at the top, and those at the bottom, folded; the others lie between."""


class Facts(NamedTuple):
    """What a view must know of a run."""

    params: Mapping[str, str]
    metrics: Collection[str]


def saved_views(runs: Sequence[Facts], middle: int) -> dict[str, dict[str, object]]:
    """Key to state of every view that the runs deserve; ``middle`` is the frame shown first."""
    views = {"videos": _state(runs, ("Pictures", "Settings and metrics"), _cards(runs, middle))}
    if len({run.params.get("arm") for run in runs}) > 1:
        by_arm = [{"mode": "param", "groupByData": "arm"}]
        grouped = {"groupBy": {"aggregateFunction": "average", "groupByKeys": by_arm}}
        views["arms"] = {**_state(runs, (), []), **grouped}
    return views


def view_tag(key: str, state: Mapping[str, object], before: str | None) -> str | None:
    """The tag's value; None where ``before``, the one that is there, is to stay."""
    text = json.dumps(state, sort_keys=True)
    mark = hashlib.sha256(text.encode()).hexdigest()[:16]
    if before is not None and json.loads(before).get(MARK) in (mark, None):
        return None
    now = round(time.time() * 1000)
    packed = base64.b64encode(zlib.compress(text.encode())).decode()
    return json.dumps(
        {
            "name": f"wanexp: {key}",
            "createdAt": now,
            "updatedAt": now,
            "state": f"deflate;{packed}",
            MARK: mark,
        }
    )


def charts_address(base: str, experiment: str, view: str | None) -> str:
    """The page of an experiment's charts, in the classic layout; ``view`` is a key or None."""
    page = f"{base.rstrip('/')}/#/experiments/{experiment}/runs"
    shared = f"&viewStateShareKey={view}" if view else ""
    return f"{page}?workflowType=machine_learning&compareRunsMode=CHART{shared}"


def pages(
    base: str, experiments: Mapping[str, Mapping[str, str]], prefix: str, *, saved: bool
) -> dict[str, str]:
    """Study to the page of its charts; ``saved`` opens the saved view that suits it best.

    ``experiments`` is name to tags, with the experiment's ``id`` among them.
    """
    found = {}
    for name, tags in experiments.items():
        if name.startswith(prefix):
            keys = [key for key in ("arms", "videos") if saved and f"{TAG}{key}" in tags]
            page = charts_address(base, tags["id"], keys[0] if keys else None)
            found[name.removeprefix(prefix)] = page
    return found


def varied(runs: Sequence[Facts]) -> list[str]:
    """Settings that were chosen and differ between runs, in their order."""
    keys = list(dict.fromkeys(key for run in runs for key in run.params))
    found = [
        key
        for key in keys
        if key not in NO_SETTING
        and not key.endswith(FOLLOWS)
        and len({run.params.get(key) for run in runs}) > 1
    ]
    staged = any(key.endswith(".steps") for key in found)  # whose sum "steps" is
    return [key for key in found if key != "steps" or not staged]


def _state(
    runs: Sequence[Facts], own: Sequence[str], cards: Sequence[Mapping[str, object]]
) -> dict[str, object]:
    """A view without groups; ``own`` are the sections that hold ``cards``."""
    prefixes = {key.rpartition("/")[0] for run in runs for key in run.metrics} - {"", "system"}
    first = [name for name in FIRST if name in own or name == "Model metrics"]
    between = sorted(prefixes - set(LAST))
    sections = [_section(name, shown=True, own=name in own) for name in (*first, *between)]
    sections += [_section(name, shown=False, own=False) for name in LAST]
    return {
        "searchFilter": "",
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": _columns(runs),
        "columnOrder": [],
        "columnWidths": {},
        "runsHiddenMode": "FIRST_20_RUNS",
        "compareRunCharts": list(cards),
        "compareRunSections": sections,
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": True,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "globalLineChartConfig": {
            "xAxisKey": "step",
            "lineSmoothness": 0,
            "selectedXAxisMetricKey": "",
        },
    }


def _columns(runs: Sequence[Facts]) -> list[str]:
    """Of the table of runs: what differs, and what it did."""
    known = {key for run in runs for key in run.metrics}
    settings = ["arm", "case", "seed", *varied(runs)[:MOST_SETTINGS]]
    return [f"params.`{key}`" for key in dict.fromkeys(settings)] + [
        f"metrics.`{key}`" for key in reversed(COSTS + SCORES) if key in known
    ]


def _cards(runs: Sequence[Facts], middle: int) -> list[dict[str, object]]:
    frame = {"showRunParams": False, "imageKeys": ["frame"], "step": middle}
    sheet = {"showRunParams": False, "imageKeys": ["contact_sheet"], "step": 0}
    axes = {
        "selectedParams": varied(runs)[:MOST_SETTINGS] or ["seed"],
        "selectedMetrics": _axes(runs),
        "showAllRuns": True,
    }
    return [
        _card("frame", "IMAGE", "Pictures", frame),
        _card("sheet", "IMAGE", "Pictures", sheet),
        _card("parallel", "PARALLEL", "Settings and metrics", axes),
    ]


def _axes(runs: Sequence[Facts]) -> list[str]:
    """Metrics that every measured run has: a run that lacks one has no line at all."""
    counts = {key: sum(key in run.metrics for run in runs) for key in SCORES}
    return [*COSTS, *(key for key in SCORES if counts[key] and counts[key] == max(counts.values()))]


def _section(name: str, *, shown: bool, own: bool) -> dict[str, object]:
    section: dict[str, object] = {
        "uuid": f"wanexp-{name}",
        "name": name,
        "display": shown,
        "isReordered": False,
        "deleted": False,
        "isGenerated": not own,
    }
    return {**section, "columns": 1} if own else section


def _card(name: str, kind: str, section: str, more: Mapping[str, object]) -> dict[str, object]:
    return {
        "uuid": f"wanexp-{name}",
        "type": kind,
        "runsCountToCompare": 20,
        "metricSectionId": f"wanexp-{section}",
        "deleted": False,
        "isGenerated": False,
        **more,
    }
