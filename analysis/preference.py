"""What people prefer: Bradley–Terry scores, agreement of raters, and which metric sees with them.

Sources: R. A. Bradley and M. E. Terry, "Rank analysis of incomplete block designs", Biometrika
1952; the iteration: D. R. Hunter, "MM algorithms for generalized Bradley–Terry models", Annals of
Statistics 2004. Ties count half to either side. Intervals are jackknifed over cases, because votes
on one picture go together: B. Efron and C. Stein, Annals of Statistics 1981.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.special import expit
from scipy.stats import t

from analysis.intervals import ALPHA, LEAST_CASES, Array
from analysis.load import StudyTable

PRIOR = 0.5
"""Won and lost votes that every arm has against an average one before anybody voted.

Without them an arm that won every vote would be infinitely better.
"""


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
    arms = sorted({arm for vote in asked for arm in vote.arms})
    score = _jackknifed(asked, lambda some: _relative(strengths(some, arms), arms, baseline))
    if score is None:
        return []
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
    number = {arm: i for i, arm in enumerate(arms)}
    met = np.zeros((len(arms), len(arms)))
    won = np.full(len(arms), PRIOR)
    for vote in votes:
        i, j = (number[arm] for arm in vote.arms)
        met[i, j] += 1
        met[j, i] += 1
        for arm in (i, j):
            won[arm] += 0.5 if vote.better is None else float(arms[arm] == vote.better)
    strength = np.ones(len(arms))
    for _ in range(10_000):
        against = (met / (strength[:, None] + strength)).sum(1) + 2 * PRIOR / (strength + 1)
        after = won / against
        settled = np.allclose(after, strength, rtol=1e-9)
        strength = after
        if settled:
            break
    return np.log(strength)


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
            seen = _jackknifed(known, lambda some, q=quality: np.array([_share(some, q)]))
            if seen is not None:
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


def _jackknifed(
    votes: Sequence[Vote], estimate: Callable[[Sequence[Vote]], Array]
) -> _Estimate | None:
    """The estimate of all votes, and half of its interval from leaving out each case in turn."""
    if not votes:
        return None
    cases = sorted({vote.case for vote in votes})
    value, count = estimate(votes), len(cases)
    if count < LEAST_CASES:
        return _Estimate(value=value, half=None)
    without = np.stack([estimate([v for v in votes if v.case != case]) for case in cases])
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


def _share(votes: Sequence[Vote], quality: Mapping[object, float]) -> float:
    seen = []
    for vote in votes:
        other = next(arm for arm in vote.arms if arm != vote.better)
        chosen, left = (quality[arm, vote.case, vote.seed] for arm in (vote.better, other))
        seen.append(0.5 if chosen == left else float(chosen > left))
    return float(np.mean(seen))


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
