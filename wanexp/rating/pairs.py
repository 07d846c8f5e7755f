"""What a rater is shown: pairs of videos of one case and seed, in an order of their own."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, zip_longest
from typing import NamedTuple

from analysis.load import StudyTable
from wanexp.record import StudyPaths


class Shown(NamedTuple):
    """One video: its arm, and the trial that made it."""

    arm: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two videos of one case and seed."""

    case: str
    seed: int
    left: Shown
    right: Shown

    @property
    def key(self) -> tuple[str, int, frozenset[str]]:
        """What is compared, whichever way round."""
        return self.case, self.seed, frozenset((self.left.arm, self.right.arm))


def draw_pairs(study: StudyPaths, table: StudyTable, rater: str) -> list[Pair]:
    """All pairs of a study that can be shown, in the rater's order.

    Every rater has an order and sides of their own, always the same ones, so that a rating goes on
    where it was. The order takes every two arms in turn: whoever stops early has seen all of them
    about equally often. Arms that are one and the same trial are not compared.
    """
    chance = random.Random(f"{study.name}/{rater}")
    groups: dict[tuple[str, str], list[Pair]] = defaultdict(list)
    for case, seed, shown in _shown(study, table):
        for first, second in combinations(shown, 2):
            if first.digest != second.digest:
                left, right = chance.sample([first, second], 2)
                groups[first.arm, second.arm].append(
                    Pair(case=case, seed=seed, left=left, right=right)
                )
    for group in groups.values():
        chance.shuffle(group)
    rounds = [[pair for pair in turn if pair] for turn in zip_longest(*groups.values())]
    for turn in rounds:
        chance.shuffle(turn)
    return [pair for turn in rounds for pair in turn]


def _shown(study: StudyPaths, table: StudyTable) -> Sequence[tuple[str, int, list[Shown]]]:
    """Case, seed and the videos that lie on the disk, in the study's order."""
    cells: dict[tuple[str, int], list[Shown]] = defaultdict(list)
    done = table.trials[table.trials["state"] == "completed"]
    columns = (done[name].tolist() for name in ("arm", "case", "seed", "digest"))
    for arm, case, seed, digest in zip(*columns, strict=True):
        if study.trial(digest).video.is_file():
            cells[case, int(seed)].append(Shown(arm, digest))
    return [(case, seed, shown) for (case, seed), shown in cells.items()]
