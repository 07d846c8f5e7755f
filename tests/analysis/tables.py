"""Tables of studies, without a disk: what load_study would give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.load import StudyTable
from wanexp.options import Protocol

DIRECTIONS = {
    "flicker": "lower",
    "warp": "lower",
    "detail": "one",
    "motion": "higher",
    "motion_top5": "higher",
}


def table(rows: Sequence[Mapping[str, object]], name: str = "tiny") -> StudyTable:
    """``rows`` give arm, case, seed and metrics, and whatever else differs from a finished one."""
    usual = {"state": "completed", "model_calls": 50, "seconds": 2.0, "held_out": False}
    frame = pd.DataFrame([{**usual, "digest": str(i), **row} for i, row in enumerate(rows)])
    metrics = tuple(m for m in DIRECTIONS if m in frame)
    return StudyTable(
        study={"name": name},
        trials=frame,
        metrics=metrics,
        directions={m: DIRECTIONS[m] for m in metrics},
        damaged=(),
    )


def drawn(
    gains: Mapping[str, float],
    *,
    cases: int = 12,
    seeds: int = 2,
    spread: float = 0.2,
    motion: Mapping[str, float] | None = None,
    motion_spread: float = 0.03,
    done: int | None = None,
    first_case: int = 0,
    first_seed: int = 0,
    held: Sequence[int] = (),
    draw: int = 0,
    metric: str = "flicker",
) -> StudyTable:
    """A study whose arms differ in log flicker by ``gains`` and in log motion by ``motion``.

    Cases from ``done`` on have not run. Pictures and noise move all arms alike.
    """
    rng = np.random.default_rng(draw)
    rows = []
    for case in range(first_case, first_case + cases):
        picture = rng.normal(0, 0.7)
        for seed in range(first_seed, first_seed + seeds):
            noise = rng.normal(0, 0.3)
            for arm, gain in gains.items():
                own, moved = rng.normal(0, spread), rng.normal(0, motion_spread)
                ran = done is None or case < first_case + done
                lost = (motion or {}).get(arm, 0.0)
                rows.append(
                    {
                        "arm": arm,
                        "case": f"case{case}",
                        "seed": seed,
                        "state": "completed" if ran else "missing",
                        "held_out": case in held,
                        "model_calls": 50 if ran else np.nan,
                        metric: np.exp(picture + noise + gain + own) if ran else np.nan,
                        "motion_top5": np.exp(3 + lost + moved) if ran else np.nan,
                    }
                )
    return table(rows)


def protocol(
    primary: str = "flicker",
    *,
    baseline: str | None = None,
    margin: float = 0.2,
    looks: tuple[int, ...] = (),
    any_time: bool = False,
    weights: Mapping[str, float] | None = None,
) -> Protocol:
    return Protocol(
        name="p",
        primary=primary,
        baseline=baseline,
        margin=margin,
        looks=looks,
        any_time=any_time,
        weights=weights or {},
    )
