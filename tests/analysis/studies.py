"""Small studies on disk, written by the code that writes real ones."""

import dataclasses
import json

from wanexp.record import StudyPaths, TrialRecord
from wanexp.recording import write_trial


def measured(value, direction="lower", reason=None):
    return {
        "value": value,
        "reason": reason,
        "direction": direction,
        "unit": "px",
        "version": 1,
        "extras": {},
    }


def record(digest, **changes):
    base = TrialRecord(
        digest=digest,
        study="tiny",
        arm="a",
        trial={"seed": 0},
        plan={},
        started="2026-01-31T12:00:00.000Z",
        finished="2026-01-31T12:01:00.000Z",
        state="completed",
        timings={"sample": 2.0},
        model_calls=50,
    )
    return dataclasses.replace(base, **changes)


def write_study(folder, rows, records):
    """``rows``: (arm, case, seed, digest[, held_out]); ``records``: those that exist."""
    study = StudyPaths(folder / "tiny")
    study.trials.mkdir(parents=True)
    names = ("arm", "case", "seed", "digest", "held_out")
    trials = [dict(zip(names, row, strict=False)) for row in rows]
    study.study.write_text(json.dumps({"schema": 1, "name": "tiny", "arms": {}, "trials": trials}))
    for one in records:
        write_trial(study.trial(one.digest), one)
    return study
