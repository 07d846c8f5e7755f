"""Pictures and tables of what wan-mini was asked: ``python -m wanexp.mini.report``.

Reads what ``wanexp.mini.judgement`` wrote and the training's log; writes docs/wan-mini-*.jpg and
.png, and prints the table of docs/wan-mini.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from wanexp.mini import evaluation as made
from wanexp.world.faults import spoiled
from wanexp.world.render import render
from wanexp.world.scene import FAULTS, draw_scenes, taken
from wanexp.world.textures import texture_bank

Answers = Mapping[str, object]

SHOWN_FRAMES, RESULT_FRAMES = (0, 4, 8, 12, 16), (0, 8, 16)
PHOTOGRAPH_PROMPTS = {
    "astronaut": "high quality, a face talks, camera pans left slowly",
    "chelsea": "high quality, camera zooms in slowly",
    "motorcycle_left": "high quality, camera pans right fast",
}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m wanexp.mini.report", description=__doc__)
    parser.add_argument("judged", type=Path, help="the JSON file of wanexp.mini.judgement")
    parser.add_argument("--folder", type=Path, default=Path("wanexp/mini/weights"))
    parser.add_argument("--training", type=Path, default=Path("docs/wan-mini-training.jsonl"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    asked = parser.parse_args()
    matplotlib.use("Agg")
    answers = json.loads(asked.judged.read_text(encoding="utf-8"))
    log = [json.loads(line) for line in asked.training.read_text(encoding="utf-8").splitlines()]
    draw_curves(answers, log).savefig(asked.docs / "wan-mini-curves.png", dpi=80)
    _save(world_sheet(), asked.docs / "world.jpg")
    _save(results_sheet(asked.folder), asked.docs / "wan-mini-results.jpg")
    print(table(answers))


def table(answers: Answers) -> str:
    """Markdown: what was asked, what came out."""
    rebuilt, follows, faces = (
        _section(answers, name) for name in ("reconstruction", "obedience", "faces")
    )
    continued = _section(answers, "continuation")
    rows = _rows(continued, "rows")
    frame0 = np.mean([row["first_frame"] for row in rows]) - np.mean(_list(rebuilt, "first_frames"))
    photographs = _section(rebuilt, "photographs")
    lines = [
        f"| VAE on the scenes, mean PSNR | {np.mean(_list(rebuilt, 'scenes')):.1f} dB |",
        *(f"| VAE on {name} | {value:.1f} dB |" for name, value in photographs.items()),
        f"| first frame made, beside the VAE's own | {frame0:+.2f} dB |",
        f"| distance to the true continuation ÷ a still's | {_number(continued, 'ratio'):.2f} |",
        f"| prompts whose camera motion was followed | {100 * _number(follows, 'share'):.0f} %"
        f" of {len(_rows(follows, 'rows'))} |",
        f"| face detail kept by two stages, median | {_number(faces, 'median'):.2f}"
        f" of {faces['defined']} faces |",
    ]
    negatives = _section(answers, "negatives")
    for word in negatives:
        answer = _section(negatives, word)
        lines.append(
            f"| {word}: {answer['metric']}, asked for ÷ asked against"
            f" | {_number(answer, 'ratio'):.2f} |"
        )
    return "\n".join(["| asked | answer |", "|---|---|", *lines])


def draw_curves(answers: Answers, log: Sequence[Mapping[str, float | str]]) -> Figure:
    """Training, cfg, steps, and the two experts over the noise level."""
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    axes = figure.subplots(2, 3)
    _training(axes[0, 0], log, "vae", "psnr", "VAE, dB on its own batch", frames=17)
    _training(axes[0, 1], log, "high", "loss", "high expert, velocity error")
    _training(axes[0, 2], log, "low", "loss", "low expert, velocity error")
    _line(axes[1, 0], _rows(answers, "guidance"), "cfg", "distance to the truth ÷ a still's")
    _line(axes[1, 1], _rows(answers, "patience"), "steps", "distance to the truth ÷ a still's")
    axes[1, 1].set_xscale("log")
    experts = _rows(answers, "experts")
    sigmas = [row["sigma"] for row in experts]
    best = np.minimum([row["high"] for row in experts], [row["low"] for row in experts])
    for name in ("high", "low"):
        axes[1, 2].plot(sigmas, [row[name] for row in experts] / best, marker=".", label=name)
    axes[1, 2].axvline(0.9, color="grey", linewidth=0.8)
    axes[1, 2].set(xlabel="noise level", title="velocity error ÷ the better expert's", yscale="log")
    axes[1, 2].legend()
    return figure


def world_sheet() -> np.ndarray:
    """Scenes as wan-mini sees them, (H, W, 3) uint8: faultless ones, then one of each fault."""
    bank = texture_bank(96, seed=made.BANK_SEED)
    scenes = draw_scenes(400, seed=7, textures=len(bank), faulty=0.6)
    clean = (scenes.fault == 0).nonzero()[:7, 0].tolist()
    faulty = [int((scenes.fault == k).nonzero()[1, 0]) for k in range(1, len(FAULTS))]
    shown = taken(scenes, torch.tensor([*clean, *faulty]))
    videos = made.as_frames(spoiled(render(shown, bank, 17, 128, 128), shown, 1))
    return _sheet([[video[t] for t in SHOWN_FRAMES] for video in videos], columns=2)


def results_sheet(folder: Path) -> np.ndarray:
    """Truth on the left, wan-mini on the right; then photographs that it never saw."""
    truth = made.held_out(8)
    rows = []
    for video, prompt in zip(truth.videos, truth.prompts, strict=True):
        result = made.make(folder, video[0], prompt)
        rows.append([video[t] for t in RESULT_FRAMES] + [result[t] for t in RESULT_FRAMES])
    for name, picture in made.held_out_photographs().items():
        result = made.make(folder, picture, PHOTOGRAPH_PROMPTS[name])
        rows.append([picture] * len(RESULT_FRAMES) + [result[t] for t in RESULT_FRAMES])
    return _sheet(rows, columns=1)


def _training(
    axes: Axes,
    log: Sequence[Mapping[str, float | str]],
    part: str,
    key: str,
    title: str,
    frames: int | None = None,
) -> None:
    rows = [row for row in log if row["part"] == part and row.get("frames") in (None, frames)]
    steps, offset, last = [], 0.0, 0.0
    for row in rows:
        step = float(row["step"])
        offset += last if step < last else 0.0
        last = step
        steps.append(offset + step)
    axes.plot(steps, [float(row[key]) for row in rows], marker=".")
    axes.set(xlabel="step", title=title)
    if key == "loss":
        axes.set_ylim(0.05, 0.4)


def _line(axes: Axes, rows: Sequence[Mapping[str, float]], key: str, title: str) -> None:
    axes.plot([row[key] for row in rows], [row["ratio"] for row in rows], marker="o")
    axes.set(xlabel=key, title=title)
    beside = axes.twinx()
    beside.plot([row[key] for row in rows], [row["detail"] for row in rows], marker=".", color="C1")
    beside.set_ylabel("detail kept", color="C1")


def _sheet(rows: Sequence[Sequence[np.ndarray]], *, columns: int) -> np.ndarray:
    strips = [np.concatenate(row, axis=1) for row in rows]
    while len(strips) % columns:
        strips.append(np.full_like(strips[0], 255))
    lines = [
        np.concatenate(strips[i : i + columns], axis=1) for i in range(0, len(strips), columns)
    ]
    return np.concatenate(lines, axis=0)


def _save(sheet: np.ndarray, path: Path) -> None:
    Image.fromarray(sheet).save(path, quality=80)


def _section(answers: Answers, name: str) -> Mapping[str, object]:
    section = answers[name]
    assert isinstance(section, Mapping)
    return section


def _rows(answers: Answers, name: str) -> list[dict[str, float]]:
    rows = answers[name]
    assert isinstance(rows, list)
    return rows


def _list(answers: Answers, name: str) -> list[float]:
    values = answers[name]
    assert isinstance(values, list)
    return values


def _number(answers: Answers, name: str) -> float:
    value = answers[name]
    assert isinstance(value, float)
    return value


if __name__ == "__main__":
    main()
