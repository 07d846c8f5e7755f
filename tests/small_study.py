"""A little real study on disk: photographs that sway, their videos, records of three arms."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from pathlib import Path

import numpy as np
from scipy.ndimage import map_coordinates
from skimage import data

from wanexp.record import StudyPaths, TrialPaths, TrialRecord
from wanexp.recording import write_trial
from wanexp.video import contact_sheet, poster, write_image, write_video

PICTURES = {"astronaut": data.astronaut, "coffee": data.coffee}
ARMS = {"baseline": 0.4, "A": 0.5, "C": 0.55}
"""Arm to how far its refine stage goes back into noise."""


def warped(picture: np.ndarray, strength: float, count: int = 17) -> np.ndarray:
    """A photograph that sways and breathes: (T, 128, 160, 3)."""
    y, x = np.mgrid[0:128, 0:160] * 2.0
    frames = []
    for t in range(count):
        phase = 2 * math.pi * t / count
        dy = 10 * strength * np.sin(phase + x / 40)
        dx = 14 * strength * np.sin(phase + y / 60)
        channels = [
            map_coordinates(
                picture[..., c].astype(float), [y + dy, x + dx], order=1, mode="reflect"
            )
            for c in range(3)
        ]
        frames.append(np.stack(channels, -1) * (1 + 0.04 * strength * math.sin(5 * phase)))
    return np.clip(np.stack(frames), 0, 255).astype(np.uint8)


def planned_stage(sigmas: list[float], cfg: float, denoise: float | None) -> dict[str, object]:
    return {
        "takeover": "noise" if denoise is None else "renoise",
        "sampler": "dpmpp_2m",
        "scheduler": "simple",
        "shift": 2.0,
        "steps": len(sigmas) - 1,
        "denoise": denoise,
        "cfg": cfg,
        "sigma_start": sigmas[0],
        "sigma_end": 0.0,
        "sigma_end_wanted": None,
        "sigmas": sigmas,
        "experts": ["high" if s >= 0.9 else "low" for s in sigmas[:-1]],
        "model_calls": 2 * (len(sigmas) - 1),
        "loras": {},
    }


def measurement(value: float | None, unit: str, reason: str | None = None) -> dict[str, object]:
    return {"value": value, "reason": reason, "direction": "lower", "unit": unit, "version": 1}


def make_record(study: str, arm: str, case: str, frames: np.ndarray) -> TrialRecord:
    """A record as a sweep writes it; flicker is really measured on the frames."""
    denoise = ARMS[arm]
    change = np.abs(np.diff(frames.astype(float), axis=0)).mean((1, 2, 3)) / 2.55
    digest = hashlib.sha256(f"{study} {arm} {case}".encode()).hexdigest()[:16]
    establish = planned_stage([1.0, 0.95, 0.8, 0.5, 0.0], 6.0, None)
    refine = planned_stage([2 * denoise / (1 + denoise), 0.4, 0.2, 0.0], 5.0, denoise)
    scores = {
        "flicker": measurement(float(change.mean()), "%"),
        "motion": measurement(12.0 * denoise, "% of the smaller side / s"),
        "face_detail": measurement(None, "ratio", "no face found in the source")
        if case == "coffee"
        else measurement(1.0 + denoise / 10, "ratio"),
    }
    return TrialRecord(
        digest=digest,
        study=study,
        arm=arm,
        trial={
            "model": {"name": "wan_mini", "source": "wan-mini", "revision": None},
            "recipe": {"width": 160, "height": 128, "frames": len(frames), "fps": 12},
            "case": {
                "name": case,
                "image": f"skimage:{case}.png",
                "prompt": "it moves a little",
                "negative_prompt": "模糊",
                "why": "a photograph",
            },
            "seed": 7,
            "memory": {"device": "cpu", "dtype": "float32", "offload": "none"},
            "image_sha256": hashlib.sha256(case.encode()).hexdigest(),
        },
        plan={
            "model_calls": 14,
            "stages": {"establish": establish, "refine": refine},
            "warnings": ["refine: a warning"],
        },
        started="2026-01-31T12:00:00.000Z",
        finished="2026-01-31T12:00:09.250Z",
        state="completed",
        measurements=scores,
        series={"flicker": [None, *map(float, change)]},
        stages={
            "establish": {
                "seconds": 4.5,
                "model_calls": 8,
                "sigma_start": 1.0,
                "sigma_end": 0.0,
                "measurements": {"flicker": measurement(float(change.mean()) + 0.5, "%")},
            },
            "refine": {"seconds": 2.25, "model_calls": 6, "measurements": scores},
        },
        timings={"encode": 0.5, "sample": 6.75, "decode": 0.75, "measure": 1.0},
        peak_memory={"rss": 1_500_000_000, "cuda": None},
        system={
            "started": "2026-01-31T12:00:00.000Z",
            "seconds": [0.0, 1.0, 2.0, 3.0],
            "cpu_percent": [0.0, 180.5, 195.0, 190.0],
            "rss": [900_000_000, 1_400_000_000, 1_500_000_000, 1_450_000_000],
            "gpu_memory": None,
            "gpu_percent": None,
        },
        model_calls=14,
        environment={"git": {"revision": "0af8ff1c" * 5, "dirty": False}},
    )


def write_one(paths: TrialPaths, record: TrialRecord, frames: np.ndarray) -> None:
    def media(partial: TrialPaths) -> None:
        write_video(partial.video, frames, 12)
        write_image(partial.poster, poster(frames))
        write_image(partial.contact_sheet, contact_sheet(frames, tile_width=160))
        write_image(partial.source, frames[0])
        partial.stages.mkdir()
        write_video(partial.stage_video("establish"), frames[::2], 12)
        write_image(partial.stage_poster("establish"), frames[0])

    write_trial(paths, record, media)


def make_study(studies: Path, name: str = "guide_ab") -> StudyPaths:
    """Three arms on two photographs, and one trial that failed."""
    study = StudyPaths(studies / name)
    for arm, strength in ARMS.items():
        for case, picture in PICTURES.items():
            frames = warped(picture(), strength)
            record = make_record(name, arm, case, frames)
            write_one(study.trial(record.digest), record, frames)
    write_failed(study)
    return study


def write_failed(study: StudyPaths) -> TrialPaths:
    error = {
        "type": "OutOfMemoryError",
        "message": "CUDA out of memory",
        "traceback": "Traceback (most recent call last):\n  …\nOutOfMemoryError",
    }
    record = dataclasses.replace(
        make_record(study.name, "A", "astronaut", warped(data.astronaut(), 0.1)),
        digest="f" * 16,
        state="failed",
        measurements={},
        series={},
        stages={},
        error=error,
    )
    write_trial(study.trial(record.digest), record)
    return study.trial(record.digest)


def write_small(study: StudyPaths, arm: str = "baseline") -> TrialPaths:
    """One trial of three frames."""
    frames = warped(data.astronaut(), ARMS[arm], 3)
    record = make_record(study.name, arm, "astronaut", frames)
    write_one(study.trial(record.digest), record, frames)
    return study.trial(record.digest)
