"""Studies on disk whose videos say on every frame which frame it is, for tests of the page.

A frame carries its number as seven squares, white for 1, lowest bit first: large enough to survive
H.264 and shrinking, so that a screenshot proves what is on the screen.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from tests.small_study import make_record
from wanexp.record import StudyPaths, TrialPaths, TrialRecord
from wanexp.recording import write_trial
from wanexp.video import write_image, write_video

BITS = 7
SQUARE = 16
WIDTH, HEIGHT = 128, 96
FPS = 12
PROTOCOL = {
    "name": "quick",
    "primary": "flicker",
    "why": "What the eye sees first.",
    "baseline": None,
    "margin": 0.1,
    "motion_margin": 0.1,
    "looks": [],
    "any_time": False,
    "weights": {},
    "confirm": False,
}
HEADER = {"Question": "does more noise flicker less?", "Budget": "small"}


def numbered(count: int, shade: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Frames (T, H, W, 3) of a moving gradient in one shade, each with its number on top."""
    y, x = np.mgrid[0:height, 0:width]
    frames = np.zeros((count, height, width, 3), np.uint8)
    for number in range(count):
        wave = 90 + 50 * np.sin((x + 3 * number) / 17 + y / 23)
        frames[number] = np.clip(wave[..., None] + [shade, 0, -shade], 0, 235)
        for bit in range(BITS):
            left = bit * width // (BITS + 1)
            lit = 255 if number >> bit & 1 else 0
            frames[number, : height // 4, left : left + width // (BITS + 1)] = lit
    return frames


def read_number(picture: np.ndarray) -> int:
    """The number on a picture of any size, (H, W, 3)."""
    height, width = picture.shape[:2]
    row = picture[height // 8].mean(-1)
    places = [(2 * bit + 1) * width // (2 * (BITS + 1)) for bit in range(BITS)]
    return sum(1 << bit for bit, place in enumerate(places) if row[place] > 128)


def make_numbered_study(
    root: Path,
    *,
    arms: Sequence[str] = ("baseline", "A", "C"),
    cases: Sequence[str] = ("astronaut", "coffee"),
    seeds: Sequence[int] = (0,),
    frames: int = 17,
    change: Callable[[TrialRecord], TrialRecord] = lambda record: record,
    stages: bool = True,
) -> StudyPaths:
    """A finished study; an arm's flicker falls from arm to arm, a little differently by case."""
    study = StudyPaths(root)
    files = _files(root.parent / f".{root.name}", len(arms), frames)
    rows = []
    for number, arm in enumerate(arms):
        for place, case in enumerate(cases):
            for seed in seeds:
                record = change(
                    numbered_record(study.name, arm, number, (case, place), seed, frames)
                )
                rows.append(row_of(record, arm, case, seed))
                write_trial(study.trial(record.digest), record, _copier(files, number, stages))
    write_study(study, rows, arms, cases)
    return study


def numbered_record(
    study: str, arm: str, number: int, case: tuple[str, int], seed: int, frames: int
) -> TrialRecord:
    """A record as a sweep writes it, with values that are made up."""
    name, place = case
    base = make_record(study, "baseline", "astronaut", np.zeros((frames, 8, 8, 3), np.uint8))
    flicker = (1 + 0.02 * place) * 0.8**number * (1 + 0.01 * ((place * 7 + number * 3) % 5))
    wave = [flicker * (1 + 0.3 * np.sin(t / 2)) for t in range(1, frames)]
    trial = {
        **base.trial,
        "recipe": {"width": WIDTH, "height": HEIGHT, "frames": frames, "fps": FPS},
        "case": {**_mapping(base.trial["case"]), "name": name, "prompt": f"a {name} that moves"},
        "seed": seed,
    }
    values = {
        "flicker": {**base.measurements["flicker"], "value": flicker},
        "motion_top5": {**base.measurements["motion"], "value": 9.0, "direction": "higher"},
        "face_detail": base.measurements["face_detail"],
    }
    if name == "coffee":
        reason = "no face found in the source"
        values["face_detail"] = {**values["face_detail"], "value": None, "reason": reason}
    stages = {key: {**stage, "stored": False} for key, stage in base.stages.items()}
    stages["refine"] = {**stages["refine"], "measurements": values}
    return dataclasses.replace(
        base,
        digest=f"{number:04x}{place:06x}{seed:06x}",
        arm=arm,
        trial=trial,
        measurements=values,
        series={"flicker": [None, *map(float, wave)]},
        stages=stages,
    )


def row_of(record: TrialRecord, arm: str, case: str, seed: int) -> dict[str, object]:
    """The study file's row of a trial."""
    return {
        "arm": arm,
        "case": case,
        "seed": seed,
        "digest": record.digest,
        "held_out": False,
        "confirms": False,
        "new_model_calls": 14,
    }


def write_study(
    study: StudyPaths, rows: Sequence[object], arms: Sequence[str], cases: Sequence[str]
) -> None:
    """The study file."""
    tree = {
        "schema": 1,
        "name": study.name,
        "header": HEADER,
        "protocol": PROTOCOL,
        "earlier_protocols": [],
        "arms": {arm: {"overrides": [f"recipe.x={arm}"], "recipe": arm} for arm in arms},
        "later": {},
        "cases": {case: case for case in cases},
        "trials": list(rows),
    }
    study.study.write_text(json.dumps(tree), encoding="utf-8")


def change_rows(study: StudyPaths, change: Callable[[list[dict]], list[dict]]) -> None:
    """Rewrites the rows of a study's file."""
    tree = json.loads(study.study.read_text(encoding="utf-8"))
    study.study.write_text(json.dumps({**tree, "trials": change(tree["trials"])}), encoding="utf-8")


def _files(folder: Path, arms: int, frames: int) -> Mapping[str, Path]:
    folder.mkdir(parents=True)
    found = {}
    for number in range(arms):
        found[f"{number}.mp4"] = folder / f"{number}.mp4"
        write_video(found[f"{number}.mp4"], numbered(frames, 8 * number), FPS)
    found["stage.mp4"] = folder / "stage.mp4"
    write_video(found["stage.mp4"], numbered(frames, 60), FPS)
    found["source.png"] = folder / "source.png"
    write_image(found["source.png"], numbered(1, 0)[0])
    return found


def _copier(files: Mapping[str, Path], number: int, stages: bool) -> Callable[[TrialPaths], None]:
    def media(partial: TrialPaths) -> None:
        # A box that players skip makes each trial's bytes its own, as real videos' are.
        spare = partial.root.name.encode()
        box = (8 + len(spare)).to_bytes(4, "big") + b"free" + spare
        partial.video.write_bytes(files[f"{number}.mp4"].read_bytes() + box)
        partial.source.write_bytes(files["source.png"].read_bytes())
        if stages:
            partial.stages.mkdir()
            partial.stage_video("establish").write_bytes(files["stage.mp4"].read_bytes())

    return media


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, Mapping)
    return value
