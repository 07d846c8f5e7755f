"""From the evidence on one arm to one of four verdicts.

*better* and *worse* need the test at its level, after Holm, and a gain needs motion that is shown
to be kept: a video that stands still is free of every fault. What the cases at hand could not have
shown is *too few pairs*, with the number that could; only what they could have shown and did not
is *no difference found*.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from analysis.effects import Scale
from analysis.intervals import ALPHA, LEAST_CASES

Verdict = Literal["better", "worse", "no difference found", "too few pairs"]

Reason = Literal[
    "gain",  # better
    "loss",  # worse: by the primary metric
    "motion lost",  # worse: the constraint is broken
    "within",  # no difference: all of the interval is smaller than what matters
    "powered",  # no difference: what matters would most likely have shown
    "motion doubtful",  # no difference that counts: motion falls about as far as the margin
    "motion unmeasured",  # no difference that counts
    "cases",  # too few: under LEAST_CASES
    "look",  # too few: the next look is still to come
    "power",  # too few: what matters may well have gone unseen
    "motion unclear",  # too few: for motion
]

MotionState = Literal["kept", "lost", "unclear", "unmeasured", "itself"]


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One arm against the baseline by one metric, on the metric's scale (arm − baseline).

    Attributes:
        low, high: Of the 95 % interval; at a look, of the wider one that holds over all looks.
            None where there are too few cases for one, or the look is not due.
        p: Two-sided, looks paid for, comparisons not; None as the interval.
        spread: Standard deviation over cases; None for fewer than two.
        cases: Cases with at least one pair that counts: n.
        pairs, asked, undefined, static: As in ``PairedEffects``.
    """

    metric: str
    scale: Scale
    mean: float | None
    low: float | None
    high: float | None
    p: float | None
    spread: float | None
    cases: int
    pairs: int
    asked: int
    undefined: int
    static: int

    @property
    def gain(self) -> float:
        """The mean with plus for better; 0 where there is none."""
        return 0.0 if self.mean is None else self.mean * self.scale.better


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """A verdict, why, and the number of cases that would allow another.

    ``needed`` is None where the verdict asks for no more cases or no number of them would do.
    """

    verdict: Verdict
    reason: Reason
    needed: int | None = None

    @property
    def decided(self) -> bool:
        """Whether more cases are not expected to change it: a study may stop here."""
        return self.verdict in ("better", "worse") or self.reason == "within"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that a verdict rests on.

    Attributes:
        effect: By the primary metric.
        p: ``effect.p`` after Holm; None where there is no test.
        motion: How it fares, with the cases that it would take to show that it is kept.
        margin: The smallest effect that matters, on the primary metric's scale.
        needed: Cases for 80 % power to see ``margin``; None if unknown or out of reach.
        next_look: Cases at which the protocol looks next; None at its end.
    """

    effect: Effect
    p: float | None
    motion: MotionState
    motion_needed: int | None
    margin: float
    needed: int | None
    next_look: int | None


def rule(evidence: Evidence) -> Ruling:
    """The verdict."""
    effect = evidence.effect
    if effect.low is None or effect.high is None or evidence.p is None:
        # Stills are left out, so an arm that makes nothing else leaves nothing to test but motion.
        if evidence.motion == "lost" and effect.static:
            return Ruling(verdict="worse", reason="motion lost")
        return _too_early(evidence)
    if evidence.p <= ALPHA:
        if effect.gain < 0:
            return Ruling(verdict="worse", reason="loss")
        return _gain(evidence)
    if -evidence.margin < effect.low and effect.high < evidence.margin:
        return Ruling(verdict="no difference found", reason="within")
    if evidence.next_look is not None:
        return Ruling(verdict="too few pairs", reason="look", needed=evidence.next_look)
    if evidence.needed is None or evidence.needed > effect.cases:
        return Ruling(verdict="too few pairs", reason="power", needed=evidence.needed)
    return Ruling(verdict="no difference found", reason="powered")


def _too_early(evidence: Evidence) -> Ruling:
    needed = max(LEAST_CASES, evidence.needed or 0, evidence.next_look or 0)
    waits = evidence.effect.cases >= LEAST_CASES and evidence.next_look is not None
    if waits:
        return Ruling(verdict="too few pairs", reason="look", needed=evidence.next_look)
    return Ruling(verdict="too few pairs", reason="cases", needed=needed)


def _gain(evidence: Evidence) -> Ruling:
    """A gain by the primary metric counts as far as motion lets it."""
    match evidence.motion:
        case "kept" | "itself":
            return Ruling(verdict="better", reason="gain")
        case "lost":
            return Ruling(verdict="worse", reason="motion lost")
        case "unmeasured":
            return Ruling(verdict="no difference found", reason="motion unmeasured")
        case "unclear":
            pass
    needed = evidence.motion_needed or evidence.next_look
    if needed is None:
        return Ruling(verdict="no difference found", reason="motion doubtful")
    return Ruling(verdict="too few pairs", reason="motion unclear", needed=needed)


def motion_state(motion: Effect | None, most_lost: float) -> MotionState:
    """Whether motion is kept: all of its interval above the loss that is allowed.

    Args:
        motion: None where it is not measured.
        most_lost: The share that may be lost.
    """
    if motion is None:
        return "unmeasured"
    limit = math.log1p(-most_lost)
    if motion.low is None or motion.high is None:
        return "unclear"
    if motion.low > limit:
        return "kept"
    return "lost" if motion.high < limit else "unclear"


def margin_on(scale: Scale, share: float) -> float:
    """A share of change on a metric's scale: −log(1 − share) for ratios, itself for distances."""
    return share if scale.kind == "distance" else -math.log1p(-share)
