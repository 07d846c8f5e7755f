"""What people prefer: Bradley–Terry scores, agreement of raters, and which metric sees with them.

Sources: R. A. Bradley and M. E. Terry, "Rank analysis of incomplete block designs", Biometrika
1952. Ties count half to either side. Intervals are jackknifed over cases, because votes on one
picture go together: B. Efron and C. Stein, Annals of Statistics 1981.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import t

from analysis.intervals import ALPHA, LEAST_CASES, Array
from analysis.load import StudyTable

Places = NDArray[np.intp]

PRIOR = 0.5
"""Won and lost votes that every arm has against an average one before anybody voted.

Without them an arm that won every vote would be infinitely better.
"""

STEPS = 200
"""More than any votes need."""

SHARES = {(True, False): 1.0, (False, False): 0.0, (False, True): 0.5}
"""Of a vote, by whether the first arm was chosen, and whether neither was."""


@dataclass(frozen=True, kw_only=True)
class Vote:
    """One question about one pair, answered by one person.

    Attributes:
        better: The arm that was chosen; None for the same.
    """

    rater: str
    question: str
    case: str
    seed: int
    arms: tuple[str, str]
    better: str | None


@dataclass(frozen=True, kw_only=True)
class Preference:
    """How one arm stands with people on one question.

    Attributes:
        score: Log odds of being chosen over the baseline; its own is 0.
        chance: The same as a probability, 0.5 for the baseline.
        interval: Of ``chance``, 95 %; None where votes are on fewer cases than an interval needs.
        won, lost, same: Its votes.
    """

    question: str
    arm: str
    score: float
    chance: float
    interval: tuple[float, float] | None
    won: int
    lost: int
    same: int


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Two raters on the pairs that both have seen.

    Attributes:
        votes: Questions that both answered.
        share: Of them answered alike.
        kappa: Cohen's (Educational and Psychological Measurement 1960): 0 is chance, 1 is always;
            None where it is not defined.
    """

    raters: tuple[str, str]
    votes: int
    share: float
    kappa: float | None


@dataclass(frozen=True, kw_only=True)
class Sight:
    """How a metric sees pairs that people decided.

    Attributes:
        votes: Decided votes on pairs where the metric is defined for both videos.
        share: In which the metric reads the chosen video as better; a tie counts half.
        tau: 2·share − 1: 1 always sees as people do, 0 is chance, −1 always the other way round.
        interval: Of ``share``, 95 %; None where votes are on fewer cases than an interval needs.
    """

    question: str
    metric: str
    votes: int
    share: float
    tau: float
    interval: tuple[float, float] | None


def preferences(votes: Sequence[Vote], question: str, baseline: str) -> list[Preference]:
    """How every arm that was shown stands, the best first; nothing where nobody voted.

    Args:
        votes: All of them.
        question: The one that is counted.
        baseline: Whom scores are counted from; where it was never shown, from the average.
    """
    asked = [vote for vote in votes if vote.question == question]
    if not asked:
        return []
    arms = sorted({arm for vote in asked for arm in vote.arms})
    score = _jackknifed(
        [vote.case for vote in asked],
        lambda kept: _relative(strengths([asked[k] for k in kept], arms), arms, baseline),
    )
    rows = []
    for i, arm in enumerate(arms):
        mine = [vote for vote in asked if arm in vote.arms]
        interval = None if score.half is None or arm == baseline else _around(score, i)
        rows.append(
            Preference(
                question=question,
                arm=arm,
                score=float(score.value[i]),
                chance=float(expit(score.value[i])),
                interval=interval and (float(expit(interval[0])), float(expit(interval[1]))),
                won=sum(vote.better == arm for vote in mine),
                lost=sum(vote.better not in (arm, None) for vote in mine),
                same=sum(vote.better is None for vote in mine),
            )
        )
    return sorted(rows, key=lambda row: -row.score)


def strengths(votes: Sequence[Vote], arms: Sequence[str]) -> Array:
    """Bradley–Terry scores (arms,), log odds against an average arm; each ``PRIOR`` towards 0."""
    met, won = np.zeros((len(arms), len(arms))), np.full(len(arms), PRIOR)
    first, second = (np.array([arms.index(vote.arms[side]) for vote in votes]) for side in (0, 1))
    share = np.array([SHARES[vote.better == vote.arms[0], vote.better is None] for vote in votes])
    np.add.at(met, (first, second), 1)
    np.add.at(met, (second, first), 1)
    np.add.at(won, first, share)
    np.add.at(won, second, 1 - share)
    score = np.zeros(len(arms))
    for _ in range(STEPS):  # Newton's: the likelihood is concave, and the prior keeps it bounded
        chance = expit(score[:, None] - score)
        average = expit(score)
        slope = won - (met * chance).sum(1) - 2 * PRIOR * average
        bend = met * chance * (1 - chance)
        curve = np.diag(bend.sum(1) + 2 * PRIOR * average * (1 - average)) - bend
        step = np.linalg.solve(curve, slope).clip(-1, 1)
        score = score + step
        if abs(step).max() < 1e-10:
            break
    return score


def agreements(votes: Sequence[Vote]) -> list[Agreement]:
    """Every two raters who have seen the same pairs."""
    said: dict[str, dict[object, str | None]] = defaultdict(dict)
    for vote in votes:
        seen = (vote.question, vote.case, vote.seed, frozenset(vote.arms))
        said[vote.rater][seen] = vote.better
    rows = []
    for first, second in combinations(sorted(said), 2):
        both = sorted(said[first].keys() & said[second].keys(), key=str)
        if both:
            pairs = [(said[first][seen], said[second][seen]) for seen in both]
            sides = [_sides(seen, pair) for seen, pair in zip(both, pairs, strict=True)]
            share = float(np.mean([a == b for a, b in pairs]))
            rows.append(
                Agreement(raters=(first, second), votes=len(both), share=share, kappa=_kappa(sides))
            )
    return rows


def sights(votes: Sequence[Vote], table: StudyTable) -> list[Sight]:
    """How each metric sees what people decided, question by question."""
    done = table.trials.set_index(["arm", "case", "seed"])
    rows = []
    for question in dict.fromkeys(vote.question for vote in votes):
        decided = [v for v in votes if v.question == question and v.better is not None]
        for metric in table.metrics:
            quality = _quality(done[metric].to_dict(), table.directions[metric])
            known = [v for v in decided if all((a, v.case, v.seed) in quality for a in v.arms)]
            if known:
                alike = np.array([_seen(vote, quality) for vote in known])
                seen = _jackknifed(
                    [vote.case for vote in known], lambda kept, a=alike: a[kept].mean(keepdims=True)
                )
                share = float(seen.value[0])
                rows.append(
                    Sight(
                        question=question,
                        metric=metric,
                        votes=len(known),
                        share=share,
                        tau=2 * share - 1,
                        interval=None if seen.half is None else _within(_around(seen, 0)),
                    )
                )
    return rows


@dataclass(frozen=True, kw_only=True)
class _Estimate:
    value: Array
    half: Array | None


def _jackknifed(cases: Sequence[str], estimate: Callable[[Places], Array]) -> _Estimate:
    """The estimate of all votes, and half of its interval from leaving out each case in turn.

    Args:
        cases: Of each vote.
        estimate: Of the votes in some places.
    """
    of_vote, names = np.array(cases), sorted(set(cases))
    value, count = estimate(np.arange(len(cases))), len(names)
    if count < LEAST_CASES:
        return _Estimate(value=value, half=None)
    without = np.stack([estimate(np.flatnonzero(of_vote != name)) for name in names])
    error = np.sqrt((count - 1) / count * ((without - without.mean(0)) ** 2).sum(0))
    return _Estimate(value=value, half=t.ppf(1 - ALPHA / 2, count - 1) * error)


def _around(estimate: _Estimate, i: int) -> tuple[float, float]:
    assert estimate.half is not None
    return (
        float(estimate.value[i] - estimate.half[i]),
        float(estimate.value[i] + estimate.half[i]),
    )


def _within(interval: tuple[float, float]) -> tuple[float, float]:
    return max(0.0, interval[0]), min(1.0, interval[1])


def _relative(scores: Array, arms: Sequence[str], baseline: str) -> Array:
    return scores - scores[arms.index(baseline)] if baseline in arms else scores


def _quality(values: Mapping[object, float], direction: str) -> dict[object, float]:
    """More is better; what is undefined is left out."""
    better: dict[str, Callable[[float], float]] = {
        "lower": lambda value: -value,
        "higher": lambda value: value,
        "one": lambda value: -abs(np.log(value)) if value > 0 else -np.inf,
    }
    return {key: better[direction](v) for key, v in values.items() if np.isfinite(v)}


def _seen(vote: Vote, quality: Mapping[object, float]) -> float:
    """1 where the chosen video reads as better, 0 where the other does."""
    other = next(arm for arm in vote.arms if arm != vote.better)
    chosen, left = (quality[arm, vote.case, vote.seed] for arm in (vote.better, other))
    return 0.5 if chosen == left else float(chosen > left)


def _sides(seen: object, pair: tuple[str | None, str | None]) -> tuple[int, int]:
    """Choices as first arm by name, second, or same: kappa wants the same three words always."""
    assert isinstance(seen, tuple)
    arms = sorted(seen[3])
    first, second = ((2 if better is None else arms.index(better)) for better in pair)
    return first, second


def _kappa(sides: Sequence[tuple[int, int]]) -> float | None:
    table = np.zeros((3, 3))
    for first, second in sides:
        table[first, second] += 1
    alike = np.trace(table) / table.sum()
    by_chance = (table.sum(0) * table.sum(1)).sum() / table.sum() ** 2
    return None if by_chance == 1 else float((alike - by_chance) / (1 - by_chance))
