"""Any videos measured beside each other: `wanexp score`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wanexp.metrics import METRICS, Measurement, measure
from wanexp.metrics.faces import find_face
from wanexp.strict import ConfigError
from wanexp.video import read_image, read_video

VIDEOS = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".gif", ".apng", ".webp"})
"""Endings that are taken for videos in a folder."""

GATES = ("motion", "motion_top5")
"""Not better or worse by themselves: they say whether the rest means anything."""

SIDE_BY_SIDE = 5
"""Videos in one table; more go into the next."""

ARROWS = {"lower": "↓", "higher": "↑", "one": "→ 1"}

ENCODED = (
    "Read from encoded files: H.264 at crf 18 alone turns a clean video's flicker of 0.004 % into"
    " 0.10 % and its warp of 0.007 px into 0.019 px, and takes 1-2 % of its detail"
    " (docs/metrics.md); compare files of one encoder and quality only."
)

Scores = Mapping[str, Measurement]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to score.

    Attributes:
        videos: Files, folders of videos, or folders of numbered images.
        source: The image that the videos were made from; None for videos made from words, which
            leaves out what is measured against it.
        fps: Frames per second; None takes the files'.
        metrics: None for all; ``motion_top5`` comes along, because it tells what stands still.
        face_box: (x0, y0, x1, y1) in the source, or None: a face is looked for.
        lpips_weights: AlexNet's weights; None looks where torch hub keeps them.
        face_model: YuNet's ONNX file; None looks for faces with a cascade.
    """

    videos: Sequence[str]
    source: str | None = None
    fps: float | None = None
    metrics: Sequence[str] | None = None
    face_box: tuple[float, float, float, float] | None = None
    lpips_weights: str | None = None
    face_model: str | None = None


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What came of a request.

    Attributes:
        found: Video → metric → measurement.
        unread: Video → why it could not be scored, one sentence.
        uneven: Video → the least and the most seconds between its frames, where they differ.
    """

    found: Mapping[str, Scores]
    unread: Mapping[str, str]
    uneven: Mapping[str, tuple[float, float]]


def score_command(request: Request, *, as_json: bool) -> int:
    """Measures every video and prints them ranked, metric by metric; 1 where one cannot be read."""
    scored = scores(request)
    if as_json:
        print(json.dumps(_tree(request, scored), allow_nan=False))
    else:
        _show(Console(highlight=False), scored)
    return int(bool(scored.unread))


def scores(request: Request) -> Scored:
    """Every video's measurements; one that cannot be read does not keep the others from theirs.

    Raises:
        ConfigError: No video can be read, or an argument is not as it should be.
    """
    source, model = _source(request.source), _face_model(request.face_model)
    if source is None and request.face_box is not None:
        raise ConfigError("--face-box: is in the source image, and there is none; give --source")
    paths = [path for given in request.videos for path in expanded(Path(given).expanduser())]
    if not paths:
        raise ConfigError(f"no videos in {', '.join(map(repr, request.videos))}")
    names = request.metrics and [*dict.fromkeys([*request.metrics, "motion_top5"])]
    found: dict[str, Scores] = {}
    unread: dict[str, str] = {}
    uneven: dict[str, tuple[float, float]] = {}
    for path in dict.fromkeys(paths):
        try:
            video = read_video(path, request.fps)
        except (OSError, ValueError) as error:
            unread[str(path)] = str(error.args[0] if len(error.args) == 1 else error)
            continue
        if video.gaps:
            uneven[str(path)] = video.gaps
        try:
            found[str(path)] = measure(
                video.frames,
                source,
                video.fps,
                names,
                face_box=request.face_box,
                lpips_weights=Path(request.lpips_weights) if request.lpips_weights else None,
                face_model=model,
            )
        except (ValueError, KeyError) as error:
            raise ConfigError(str(error.args[0] if error.args else error)) from None
    if not found:
        raise ConfigError(next(iter(unread.values())))
    return Scored(found=found, unread=unread, uneven=uneven)


def box_from(text: str) -> tuple[float, float, float, float]:
    """Four numbers out of ``X0,Y0,X1,Y1``."""
    try:
        x0, y0, x1, y1 = (float(number) for number in text.split(","))
    except ValueError:
        raise ConfigError(f"--face-box: expected four numbers X0,Y0,X1,Y1, got {text!r}") from None
    return x0, y0, x1, y1


def expanded(path: Path) -> list[Path]:
    """A folder's videos, sorted; anything else is one video itself."""
    if not path.is_dir():
        return [path]
    videos = sorted(p for p in path.iterdir() if p.suffix.lower() in VIDEOS and p.is_file())
    return videos or [path]


def ranks(metric: str, found: Mapping[str, Scores]) -> dict[str, int]:
    """Video → place, 1 the best, equal ones alike; only what has a value and moves.

    A video that stands still is free of faults and proves nothing: it has no place.
    """
    if metric in GATES or metric not in METRICS or METRICS[metric].literature:
        return {}
    values = {
        video: scored[metric].value for video, scored in found.items() if not is_static(scored)
    }
    costs = {
        video: _cost(METRICS[metric].direction, value)
        for video, value in values.items()
        if value is not None
    }
    return {video: 1 + sum(c < cost for c in costs.values()) for video, cost in costs.items()}


def shown_names(videos: Sequence[str]) -> dict[str, str]:
    """Video → its file's name, or its whole path where two files have one name."""
    names = [Path(video).name for video in videos]
    return {v: n if names.count(n) == 1 else v for v, n in zip(videos, names, strict=True)}


def is_static(scored: Scores) -> bool:
    """Whether a video was measured to stand still."""
    motion = scored.get("motion_top5")
    return motion is not None and motion.extras.get("static") == 1.0


def _cost(direction: str, value: float) -> float:
    """What is smaller is better."""
    if direction == "one":
        return abs(math.log(max(value, 1e-6)))
    return value if direction == "lower" else -value


def _source(path: str | None) -> np.ndarray | None:
    if path is None:
        return None
    try:
        return read_image(Path(path).expanduser())
    except OSError as error:
        raise ConfigError(
            f"--source: {path!r} is not an image that can be read ({error})"
        ) from None


def _face_model(path: str | None) -> Path | None:
    """The file, looked into before anything is measured."""
    if path is None:
        return None
    model = Path(path).expanduser()
    try:
        find_face(np.zeros((64, 64, 3), np.uint8), model)
    except ValueError as error:
        raise ConfigError(f"--face-model: {error}") from None
    return model


def _show(console: Console, scored: Scored) -> None:
    found = scored.found
    videos = list(found)
    metrics = list(next(iter(found.values())))
    names = shown_names(videos)
    placed = {metric: ranks(metric, found) for metric in metrics}
    for first in range(0, len(videos), SIDE_BY_SIDE):
        some = videos[first : first + SIDE_BY_SIDE]
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("metric")
        for video in some:
            table.add_column(escape(names[video]), justify="right")
        for metric in metrics:
            if all(found[video][metric].value is None for video in videos):
                continue
            cells = [_cell(found[video][metric], placed[metric].get(video)) for video in some]
            table.add_row(_how_read(metric), *cells)
        console.print(table)
    _explain(console, found, metrics)
    _warn(console, scored)
    console.print(f"[dim]{ENCODED}[/dim]")


def _explain(console: Console, found: Mapping[str, Scores], metrics: Sequence[str]) -> None:
    console.print("\n[dim]in brackets: the place, 1 the best; motion is a gate and has none[/dim]")
    names = shown_names(list(found))
    for video, scored in found.items():
        if is_static(scored):
            name = escape(names[video])
            console.print(f"[yellow]static[/yellow] {name} stands still and is not ranked")
    missing: dict[tuple[str, str], list[str]] = {}
    for video, scored in found.items():
        for metric in metrics:
            reason = scored[metric].reason
            if reason is not None:
                missing.setdefault((names[video], reason), []).append(metric)
    shared: dict[tuple[str, ...], list[str]] = {}
    for (name, reason), unmeasured in missing.items():
        shared.setdefault((reason, *unmeasured), []).append(name)
    for (reason, *unmeasured), where in shared.items():
        of = "" if len(where) == len(found) else f" of {escape(', '.join(where))}"
        console.print(f"[dim]no {', '.join(unmeasured)}{of}: {escape(reason)}[/dim]")


def _warn(console: Console, scored: Scored) -> None:
    names = shown_names(list(scored.found))
    for video, (least, most) in scored.uneven.items():
        console.print(
            f"[yellow]uneven[/yellow] {escape(names[video])} has frames {least:.3g} to"
            f" {most:.3g} s apart, and they are measured as if evenly spaced: jitter, warp and"
            " motion count that"
        )
    for reason in scored.unread.values():
        console.print(f"[red]unread[/red] {escape(reason)}")


def _cell(one: Measurement, place: int | None) -> str:
    if one.value is None:
        return "–"
    return f"{one.value:.3g}" + (f" ({place})" if place else "")


def _how_read(metric: str) -> str:
    definition = METRICS[metric.split(":", maxsplit=1)[0]]
    unit = definition.unit.replace("% of the smaller side per second", "%/s")
    arrow = "" if metric in GATES else ARROWS[definition.direction]
    return f"{metric} [dim]{unit} {arrow}[/dim]"


def _tree(request: Request, scored: Scored) -> dict[str, object]:
    found = scored.found
    metrics = list(next(iter(found.values())))
    places = {metric: ranks(metric, found) for metric in metrics}
    return {
        "source": request.source,
        "note": ENCODED,
        "unread": dict(scored.unread),
        "videos": {
            video: {
                "static": is_static(one_video),
                "seconds_between_frames": scored.uneven.get(video),
                "metrics": {
                    name: {**asdict(one), "rank": places[name].get(video)}
                    for name, one in one_video.items()
                },
            }
            for video, one_video in found.items()
        },
    }
