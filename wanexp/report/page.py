"""Data and assets → the page, in a folder or in one file.

The assets are concatenated as they are: no build step, no packages but Plotly, which comes with its
Python package and is taken from there.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from analysis.load import load_study
from wanexp.compare import compared
from wanexp.record import StudyPaths, utc_now
from wanexp.report.content import Content, study_content
from wanexp.report.media import MOST_INSIDE, beside, inside
from wanexp.report.people import people_sections
from wanexp.report.sections import Section
from wanexp.report.verdict import effects_tree, front_tree, verdict_tree

SCRIPTS = (
    "base.js",
    "state.js",
    "clock.js",
    "mp4.js",
    "bytes.js",
    "frames.js",
    "screen.js",
    "curves.js",
    "verdict.js",
    "filters.js",
    "grid.js",
    "wipe.js",
    "stages.js",
    "transport.js",
    "effects.js",
    "figures.js",
    "plans.js",
    "troubles.js",
    "theme.js",
    "keys.js",
    "main.js",
)
"""In the order in which they stand on the page; each may use those before it."""

STYLES = ("base.css", "verdict.css", "videos.css", "tables.css")

PLOTLY = "plotly.min.js"

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' {scripts}; style-src 'unsafe-inline';"
    " img-src data: blob: {files}; media-src data: blob:; connect-src 'none'; base-uri 'none';"
    " form-action 'none'"
)
"""The page's own promise that it asks no network for anything; the browser keeps it."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """A page that was written.

    Attributes:
        page: The HTML file.
        size: Bytes of it and of what lies beside it.
        left_out: Videos that did not fit into a single file.
    """

    page: Path
    trials: int
    videos: int
    size: int
    left_out: int


def write_folder(study: StudyPaths, folder: Path, extra: Sequence[Section] = ()) -> Built:
    """The page as ``folder/index.html``, with videos and Plotly beside it."""
    content, tree = _gather(study, extra)
    folder.mkdir(parents=True, exist_ok=True)
    media = beside(content.media, content.names, folder)
    (folder / PLOTLY).write_bytes(_plotly())
    page = folder / "index.html"
    text = _assemble({**tree, "media": media, "form": "folder", "plotly": PLOTLY}, {}, None)
    _write_whole(page, text)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return _built(page, content, size, 0)


def write_single(
    study: StudyPaths, page: Path, extra: Sequence[Section] = (), most: int = MOST_INSIDE
) -> Built:
    """The page as one file that needs no other; at most ``most`` bytes of videos go into it."""
    content, tree = _gather(study, extra)
    media, contents = inside(content.media, _groups(content), most)
    tree = {**tree, "media": media, "form": "single", "plotly": None}
    text = _assemble(tree, contents, _plotly().decode("utf-8"))
    page.parent.mkdir(parents=True, exist_ok=True)
    _write_whole(page, text)
    left_out = len(media) - len(contents)
    return _built(page, content, page.stat().st_size, left_out)


def _gather(study: StudyPaths, extra: Sequence[Section]) -> tuple[Content, dict[str, object]]:
    from wanexp.strict import ConfigError

    table = load_study(study.root)
    content = study_content(study, table)
    try:
        found, problem = compared(table), None
    except (ConfigError, KeyError) as error:  # a protocol of another time: the videos still show
        found, problem = None, str(error.args[0])
    header, protocol = table.study.get("header"), table.study.get("protocol")
    tree = {
        "study": study.name,
        "made": utc_now(),
        "header": header if isinstance(header, Mapping) else {},
        "protocol": protocol if isinstance(protocol, Mapping) else {},
        "verdict": verdict_tree(table, found, problem),
        "effects": effects_tree(table, found),
        "front": front_tree(found),
        "sections": [section.tree() for section in (*people_sections(study, table), *extra)],
        **content.tree,
    }
    return content, tree


def _groups(content: Content) -> list[tuple[str, ...]]:
    """Videos that are watched beside each other, final ones before those of single stages."""
    finals: dict[tuple[str, str], list[str]] = {}
    stages: dict[tuple[str, str], list[str]] = {}
    trials = content.tree["trials"]
    for trial in trials if isinstance(trials, list) else []:
        place = (str(trial["case"]), str(trial["seed"]))
        if trial.get("video"):
            finals.setdefault(place, []).append(trial["video"])
        own = [stage["video"] for stage in trial.get("stages", []) if stage["video"]]
        stages.setdefault(place, []).extend(own)
    return [*map(tuple, finals.values()), *map(tuple, stages.values())]


def _assemble(tree: Mapping[str, object], contents: Mapping[str, str], plotly: str | None) -> str:
    """The page's text. Contents that are seldom all needed stand in blocks of their own."""
    blocks = [
        f'<script type="text/plain" id="bytes-{key}">{data}</script>'
        for key, data in contents.items()
    ]
    if plotly is not None:
        blocks.append(f'<script type="text/plain" id="plotly">{_quiet(plotly)}</script>')
    folder = tree["form"] == "folder"
    slots = {
        "{{policy}}": POLICY.format(
            scripts="'self' file:" if folder else "", files="'self' file:" if folder else ""
        ),
        "{{title}}": html.escape(f"{tree['study']} · wanexp"),
        "{{styles}}": "\n".join(_asset(name) for name in STYLES),
        "{{data}}": _script_json(tree),
        "{{blocks}}": "\n".join(blocks),
        "{{scripts}}": "\n".join(_asset(name) for name in SCRIPTS),
    }
    # One pass over the template: what is filled in is never searched for slots.
    text, rest = [], _asset("page.html")
    while (start := rest.find("{{")) >= 0:
        end = rest.index("}}", start) + 2
        text += [rest[:start], slots[rest[start:end]]]
        rest = rest[end:]
    return "".join([*text, rest])


def _script_json(tree: Mapping[str, object]) -> str:
    """JSON that no HTML parser can take for the end of its script."""
    text = json.dumps(tree, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _quiet(script: str) -> str:
    """A script inside a script element: nothing in it may look like the element's end."""
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _asset(name: str) -> str:
    return (files("wanexp.report") / "assets" / name).read_text(encoding="utf-8")


def _plotly() -> bytes:
    return (files("plotly") / "package_data" / PLOTLY).read_bytes()


def _write_whole(path: Path, text: str) -> None:
    """The old page or the new one, whatever happens in between."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _built(page: Path, content: Content, size: int, left_out: int) -> Built:
    trials = content.tree["trials"]
    rows = trials if isinstance(trials, list) else []
    videos = sum(bool(trial.get("video")) for trial in rows)
    return Built(page=page, trials=len(rows), videos=videos, size=size, left_out=left_out)
