"""What a comparison of arms says: plain values, for tables, sentences and reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from analysis.verdict import Effect, MotionState, Ruling
from wanexp.options import Protocol


@dataclass(frozen=True, kw_only=True)
class ArmComparison:
    """One arm against the baseline.

    Attributes:
        ruling: The verdict and why.
        primary: The effect that it rests on.
        p_holm: Its p, looks and comparisons paid for; None where nothing is tested yet.
        p_sign_flip: Of the same effects by the test that assumes no distribution.
        motion: None where motion is not measured.
        others: Every other metric, described and not tested.
    """

    arm: str
    ruling: Ruling
    primary: Effect
    p_holm: float | None
    p_sign_flip: float | None
    motion: Effect | None
    motion_state: MotionState
    others: tuple[Effect, ...]


@dataclass(frozen=True, kw_only=True)
class Stop:
    """Every comparison was decided before the last look.

    Attributes:
        cases, of: Cases at that look, and those asked for.
        saved: Model calls of the trials after it that have not run; what trials have in common
            counts once.
        spent: Model calls of those that have.
    """

    cases: int
    of: int
    saved: int
    spent: int


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """The winner again, where nobody looked while choosing; one test at 5 %.

    Attributes:
        on: What is new.
        holds: None where there are too few cases to say.
    """

    arm: str
    on: Literal["held-back cases", "fresh seeds"]
    effect: Effect
    motion_state: MotionState
    holds: bool | None


@dataclass(frozen=True, kw_only=True)
class LaterArm:
    """An arm that combines what won, and was decided after looking at the others.

    Attributes:
        candidates: The arms that it may combine.
        winners: Those of them that are better, the best first; None while it is not decided.
        combines: Those of the winners that it is made of; empty where the study has no trial of it.
    """

    arm: str
    candidates: tuple[str, ...]
    winners: tuple[str, ...] | None
    combines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a study says.

    Attributes:
        arms: In the study's order, without the baseline; arms that were decided later come last.
        cases: Cases that choose, in order; held-back ones are not among them unless they are all.
        looks: Numbers of cases at which a verdict falls; of ``any_time``, the number at hand.
        look: The last of them that is reached; None for none.
        winner: Of the arms that are better, the one with the largest gain.
        kept_back: All of the cases were held back while choosing.
        changed: Protocols that held before this one while trials had run already.
    """

    study: str
    baseline: str
    primary: str
    protocol: Protocol
    arms: tuple[ArmComparison, ...]
    cases: tuple[str, ...]
    looks: tuple[int, ...]
    look: int | None
    winner: str | None
    kept_back: bool
    confirmation: Confirmation | None
    stop: Stop | None
    later: tuple[LaterArm, ...] = ()
    changed: tuple[str, ...] = ()

    @property
    def decided(self) -> bool:
        """Whether nothing more is to be run for the arms that were given from the start."""
        return self.stop is not None or (self.look is not None and self.look >= len(self.cases))
