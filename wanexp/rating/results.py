"""What raters said of a study, counted: plain data, words, and a section of its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from analysis.load import StudyTable
from analysis.preference import (
    Agreement,
    Preference,
    Sight,
    Vote,
    agreements,
    preferences,
    sights,
)
from wanexp.rating.votes import QUESTIONS, Answer, read_answers
from wanexp.record import StudyPaths

DECIDING = "overall"
FEWEST_VOTES = 10
"""Decided votes below which a metric's eye for what people see is not shown."""


@dataclass(frozen=True, kw_only=True)
class Ratings:
    """A study's ratings.

    Attributes:
        answers: How many pairs were answered.
        raters: Rater to how many pairs.
        preferences: Question to arms, the best first.
        sights: Of all questions.
        damaged: Lines that could not be read.
    """

    baseline: str
    answers: int
    raters: Mapping[str, int]
    preferences: Mapping[str, list[Preference]]
    agreements: Sequence[Agreement]
    sights: Sequence[Sight]
    damaged: Sequence[str]

    def tree(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


def count_ratings(study: StudyPaths, table: StudyTable) -> Ratings | None:
    """All that raters of a study have said; None where nobody has."""
    read = read_answers(study)
    if not read.answers:
        return None
    votes = [vote for answer in read.answers for vote in votes_of(answer)]
    baseline = baseline_of(table)
    names = [answer.rater for answer in read.answers]
    return Ratings(
        baseline=baseline,
        answers=len(read.answers),
        raters={name: names.count(name) for name in dict.fromkeys(names)},
        preferences={q: preferences(votes, q, baseline) for q in QUESTIONS},
        agreements=agreements(votes),
        sights=[s for s in sights(votes, table) if s.votes >= FEWEST_VOTES],
        damaged=read.damaged,
    )


def votes_of(answer: Answer) -> list[Vote]:
    """An answer's questions, one by one."""
    first, second = sorted((answer.left, answer.right))
    return [
        Vote(
            rater=answer.rater,
            question=question,
            case=answer.case,
            seed=answer.seed,
            arms=(first, second),
            better=answer.better(question),
        )
        for question in answer.choices
    ]


def baseline_of(table: StudyTable) -> str:
    """The arm that others are counted from: the protocol's, else the first."""
    protocol = table.study.get("protocol")
    named = protocol.get("baseline") if isinstance(protocol, Mapping) else None
    return str(named or table.trials["arm"].iloc[0])


def trial_scores(study: StudyPaths, table: StudyTable) -> dict[str, dict[str, float]]:
    """Digest → ``people/QUESTION``, the share of its votes that the video won; ``people/votes``.

    "The same" counts half. Of one case and seed every rater sees each arm about equally often, so
    0.5 is as good as the others there.
    """
    places = zip(*(table.trials[key] for key in ("arm", "case", "seed", "digest")), strict=True)
    digests = {(arm, case, int(seed)): digest for arm, case, seed, digest in places}
    shares: dict[str, dict[str, list[float]]] = {}
    for answer in read_answers(study).answers:
        for arm in (answer.left, answer.right):
            digest = digests.get((arm, answer.case, answer.seed))
            for question in QUESTIONS if digest else ():
                better = answer.better(question)
                share = 0.5 if better is None else float(better == arm)
                shares.setdefault(str(digest), {}).setdefault(question, []).append(share)
    return {
        digest: {f"people/{question}": sum(won) / len(won) for question, won in own.items()}
        | {"people/votes": float(len(own[DECIDING]))}
        for digest, own in shares.items()
    }


def rating_numbers(ratings: Ratings) -> dict[str, float]:
    """All of it as numbers by name: each arm's chances, and how each metric sees with people."""
    numbers = {
        f"people/{question}/{row.arm}": row.chance
        for question, arms in ratings.preferences.items()
        for row in arms
    }
    return numbers | {f"people/tau/{sight.metric}": sight.tau for sight in best_eyes(ratings)}


def rating_words(ratings: Ratings) -> list[str]:
    """A sentence for each arm but the baseline, on what people would keep."""
    lines = []
    for row in ratings.preferences[DECIDING]:
        if row.arm == ratings.baseline:
            continue
        seen = f"{row.won} chosen, {row.lost} not, {row.same} the same"
        if row.interval is None:
            lines.append(
                f"{row.arm}: {_percent(row.chance)} over {ratings.baseline} ({seen});"
                " votes on too few cases for an interval"
            )
            continue
        low, high = row.interval
        side = "more" if low > 0.5 else "less" if high < 0.5 else None
        verdict = f"people like it {side}" if side else "people may like either"
        lines.append(
            f"{row.arm}: {_percent(row.chance)} over {ratings.baseline}"
            f" [{_percent(low)} to {_percent(high)}] ({seen}); {verdict}"
        )
    return lines


def best_eyes(ratings: Ratings) -> list[Sight]:
    """The metrics in the order in which they see the deciding question as people do."""
    deciding = [sight for sight in ratings.sights if sight.question == DECIDING]
    return sorted(deciding, key=lambda sight: -sight.tau)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
