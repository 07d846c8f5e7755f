"""A study through Hydra's own launcher: what ``python -m wanexp.run -m`` does with its trials.

As ``wanexp sweep``: equal plans run once, what is finished is skipped, trials that share stages
come together, looks and arms that are decided later work, and the study is whole at the end,
however it ends.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from wanexp.commands import study_summary
from wanexp.planned import distinct
from wanexp.rounds import ask, study_rounds
from wanexp.runner import link_videos, open_study, to_run
from wanexp.strict import ConfigError
from wanexp.study import later_arms
from wanexp.tracking import tracking_from

if TYPE_CHECKING:
    from wanexp.compose import Sweep
    from wanexp.compose.sweeper import Launch
    from wanexp.planned import PlannedTrial
    from wanexp.record import StudyPaths
    from wanexp.rounds import Asked

INTERRUPTED = 130


def drive(sweep: Sweep, launch: Launch) -> None:
    """Runs a sweep; called by Hydra's sweeper.

    Raises:
        ConfigError: It cannot run.
        SystemExit: With 1 where trials failed, each of them named again; with 130 after Ctrl-C.
    """
    asked = ask(sweep)
    if asked.search is not None:
        raise ConfigError(f"{sweep.name}: a search runs with 'wanexp sweep {sweep.name}'")
    later_arms(asked.sweep, asked.trials)  # what cannot be combined is refused before anything runs
    study = open_study(asked.sweep, asked.trials, asked.options, confirms=asked.confirms)
    trials, failures = list(asked.trials), []
    try:
        for turn in study_rounds(asked.sweep, asked.trials, study, asked.protocol):
            trials += turn.added
            waiting = to_run(turn.trials, study)
            if turn.news and waiting:
                print(turn.news)
            failures += launch([t.point for t in waiting if t.point is not None])
    except KeyboardInterrupt:
        print("stopped; the same command goes on where it was", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    finally:
        _close(study, asked, trials)
    print(f"{study.name}: {len(distinct(trials))} trials in {study.root}")
    for sentence in failures:
        print(f"failed {sentence}", file=sys.stderr)
    if failures:
        raise SystemExit(1)


def _close(study: StudyPaths, asked: Asked, trials: list[PlannedTrial]) -> None:
    from wanexp.track import prepare

    link_videos(study, trials)
    tracker = prepare(tracking_from(asked.sweep.options), study)
    tracker.catch_up()
    summary = study_summary(study)
    if summary is not None:
        tracker.summarise(summary)
