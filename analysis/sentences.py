"""A comparison in plain words: one sentence or two an arm, and what the whole amounts to."""

from __future__ import annotations

import math
from collections.abc import Sequence

from analysis.comparison import ArmComparison, Comparison, Confirmation, LaterArm, Stop
from analysis.effects import MOTION, Scale
from analysis.intervals import ALPHA, LEAST_CASES
from analysis.verdict import Effect, Reason, margin_on

PLENTY = 6
"""The fewest cases at which the sign-flip test can reach 5 %."""


def change_words(value: float | None, scale: Scale) -> str:
    """An effect as one says it: ``24 % lower``, ``2.4 times as high``, ``0.05 nearer to 1``."""
    if value is None:
        return "not known"
    if scale.kind == "distance":
        return "as near to 1" if abs(value) < 5e-4 else f"{abs(value):.2g} {_way(value, scale)}"
    if value > math.log(2):
        return f"{math.exp(value):.2g} times as high"
    share = 100 * abs(math.expm1(value))
    return "unchanged" if share < 0.05 else f"{_percent(share)} % {_way(value, scale)}"


def interval_words(effect: Effect) -> str:
    """Both limits, the better one first.

    Such as ``35 % to 12 % lower``, ``9 % lower to 4 % higher``, ``0.02 nearer to 0.01 farther``.
    """
    if effect.low is None or effect.high is None or math.isinf(effect.low):
        return "none yet"
    first, last = effect.low, effect.high
    if effect.scale.better > 0:
        first, last = last, first
    words = [change_words(limit, effect.scale) for limit in (first, last)]
    way = " " + _way(first, effect.scale)
    if words[0].endswith(way) and words[1].endswith(way):
        words[0] = words[0].removesuffix(way)
    elif effect.scale.kind == "distance":  # "nearer to 1 to" would be hard to read
        words = [word.removesuffix(" to 1").removesuffix(" from 1") for word in words]
    return " to ".join(words)


def pairs_words(effect: Effect) -> str:
    """What an effect rests on: ``12 cases, 36 pairs``, and what was left out."""
    words = [_count(effect.cases, "case"), _count(effect.pairs, "pair")]
    if effect.undefined:
        words.append(f"{effect.undefined} undefined")
    if effect.static:
        words.append(f"{effect.static} left out because a video stands still")
    return ", ".join(words)


def arm_sentence(comparison: Comparison, arm: ArmComparison) -> str:
    """One arm's verdict, and the numbers that it rests on."""
    effect, ruling = arm.primary, arm.ruling
    against = f"{arm.arm} and {comparison.baseline}"
    head = {
        "better": f"{arm.arm} is better than {comparison.baseline}",
        "worse": f"{arm.arm} is worse than {comparison.baseline}",
        "no difference found": f"No difference found between {against}",
        "too few pairs": f"Too few pairs to tell {against} apart",
    }[ruling.verdict]
    if not effect.asked:
        return f"{head}: no pair of finished videos has {effect.metric} measured."
    if effect.mean == effect.spread == 0:
        return f"{head}: {effect.metric} is the same in every pair ({pairs_words(effect)})."
    found = "" if effect.mean is None else f": {_found(effect)}"
    return f"{head}{found}{_because(comparison, arm)}{_doubts(comparison, arm)}"


def is_small(comparison: Comparison, effect: Effect) -> bool:
    """Whether all of the interval is smaller than the protocol's smallest change that matters."""
    if effect.low is None or effect.high is None:
        return False
    margin = margin_on(effect.scale, comparison.protocol.margin)
    return -margin < effect.low and effect.high < margin


def _found(effect: Effect) -> str:
    if effect.low is None:
        return f"{effect.metric} is {change_words(effect.mean, effect.scale)} so far" + (
            f" ({pairs_words(effect)})"
        )
    return (
        f"{effect.metric} is {change_words(effect.mean, effect.scale)}"
        f" (95 % interval: {interval_words(effect)}; {pairs_words(effect)})"
    )


def _because(comparison: Comparison, arm: ArmComparison) -> str:
    """The rest of the sentence: what decided."""
    effect, ruling = arm.primary, arm.ruling
    needed, matters = _needed(ruling.needed), _margin(comparison, arm)
    allowed = _percent(100 * comparison.protocol.motion_margin)
    motion = f"{_motion(arm.motion)}; {allowed} % less is allowed"
    kept = "." if arm.motion_state == "itself" else f", and motion is kept ({motion})."
    endings: dict[Reason, str] = {
        "gain": kept,
        "loss": ".",
        "within": f"; a change of {matters} is ruled out.",
        "powered": f"; a change of {matters} would most likely have shown.",
        "motion lost": f", but motion is lost ({motion}): what moves less shows fewer faults.",
        "motion doubtful": f", but motion is not shown to be kept ({motion}): it does not count.",
        "motion unmeasured": "; motion was not measured, and a video that moves less would look"
        " the same.",
        "motion unclear": f", but whether motion is kept cannot be told ({motion}); n {needed}.",
        "look": f"; the next look is at {_count(ruling.needed or 0, 'case')}.",
        "power": f"; to see {matters} at this spread, n {needed} (now {effect.cases}).",
        "cases": f"; nothing is claimed on fewer than {LEAST_CASES} cases, n {needed}.",
    }
    return endings[ruling.reason]


def _doubts(comparison: Comparison, arm: ArmComparison) -> str:
    """What a careful reader would ask next."""
    effect, found = arm.primary, []
    claimed = arm.ruling.verdict in ("better", "worse")
    if claimed and effect.cases >= PLENTY and arm.p_sign_flip and arm.p_sign_flip > ALPHA:
        found.append(
            "A test that assumes no distribution does not find it"
            f" (p = {arm.p_sign_flip:.2f}): look at the single cases."
        )
    if effect.p is not None and arm.p_holm is not None and effect.p <= ALPHA < arm.p_holm:
        count = len({arm.arm for arm in (*comparison.arms, *comparison.later)})
        found.append(f"Alone it would count; among {count} comparisons it can be chance.")
    if claimed and is_small(comparison, effect):
        found.append(f"All of that is less than what matters here ({_margin(comparison, arm)}).")
    worse = [other for other in arm.others if _seems_worse(other)]
    if arm.ruling.verdict == "better" and worse:
        words = ", ".join(f"{other.metric} ({interval_words(other)})" for other in worse)
        found.append(f"Not tested, but look at {words}.")
    return "".join(f" {sentence}" for sentence in found)


def _seems_worse(other: Effect) -> bool:
    """Whether all of the interval of a metric that does not decide is on the bad side."""
    if other.metric in MOTION or other.low is None or other.high is None:
        return False
    return other.high < 0 if other.scale.better > 0 else other.low > 0


def scope_sentence(comparison: Comparison) -> str:
    """How far the verdicts reach."""
    if comparison.confirmation:
        return _confirmed(comparison.confirmation)
    cases = _count(comparison.look or len(comparison.cases), "case")
    if comparison.kept_back:
        return f"These {cases} were kept back while choosing, so the verdicts may be passed on."
    if comparison.winner is None:
        return f"For these {cases}."
    return (
        f"For these {cases}: {comparison.winner} was chosen on them, so its gain is likely to be"
        " smaller elsewhere. Confirm it on fresh seeds and on cases that were kept back."
    )


def _confirmed(confirmation: Confirmation) -> str:
    on = f"on {confirmation.on} ({_found(confirmation.effect)})"
    if confirmation.holds is None:
        return f"{confirmation.arm} was tried again {on}, which are too few to confirm it."
    if confirmation.holds:
        return f"{confirmation.arm} is confirmed {on}."
    if confirmation.motion_state in ("lost", "unmeasured"):
        return f"{confirmation.arm} is not confirmed {on}: motion is {confirmation.motion_state}."
    return f"{confirmation.arm} is not confirmed {on}: it may have won by chance."


def stop_sentence(stop: Stop) -> str:
    """What stopping early saves, in model calls."""
    head = f"All comparisons were decided at {stop.cases} of {stop.of} cases"
    if stop.saved:
        return f"{head}: what is left need not run, which saves {stop.saved:,} model calls."
    return f"{head}: the {stop.spent:,} model calls after it were not needed for the verdict."


def later_sentence(comparison: Comparison, later: LaterArm) -> str:
    """What an arm that combines winners is made of, and why it did or did not run."""
    candidates = _names(later.candidates)
    if later.winners is None:
        return f"{later.arm} will combine what is better among {candidates}; that is not decided."
    if not later.winners:
        return (
            f"{later.arm} was not run: it combines what is shown to be better than"
            f" {comparison.baseline}, and none of {candidates} is."
        )
    best = later.winners[0]
    if len(later.winners) == 1:
        return (
            f"{later.arm} would be {best} alone, the only one of {candidates} that is better than"
            f" {comparison.baseline}: it has run already."
        )
    if not later.combines:
        return (
            f"{later.arm} would be {best} alone: {_names(later.winners)} are better, but set the"
            " same thing."
        )
    left = [arm for arm in later.winners if arm not in later.combines]
    without = f"; {_names(left)} would set the same thing less well" if left else ""
    return f"{later.arm} combines what is better: {_names(later.combines)}{without}."


def changed_sentence(comparison: Comparison) -> str:
    """That somebody may have looked before this protocol was chosen."""
    before = _names(comparison.changed)
    return (
        f"The protocol was changed after trials had run (it was {before}): looking twice finds more"
        " by chance than 1 study in 20. A studies=FOLDER of its own begins anew."
    )


def comparison_sentences(comparison: Comparison) -> list[str]:
    """Everything that a comparison says, arm by arm, then its reach, then what may be saved."""
    sentences = [arm_sentence(comparison, arm) for arm in comparison.arms]
    sentences += [later_sentence(comparison, later) for later in comparison.later]
    if any(arm.primary.low is not None for arm in comparison.arms):
        sentences.append(scope_sentence(comparison))
    if comparison.stop:
        sentences.append(stop_sentence(comparison.stop))
    if comparison.changed:
        sentences.append(changed_sentence(comparison))
    return sentences


def _names(words: Sequence[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def _way(value: float, scale: Scale) -> str:
    if scale.kind == "distance":
        return "nearer to 1" if value < 0 else "farther from 1"
    return "lower" if value < 0 else "higher"


def _percent(share: float) -> str:
    return f"{share:.0f}" if share >= 9.95 else f"{share:.1f}".removesuffix(".0")


def _margin(comparison: Comparison, arm: ArmComparison) -> str:
    share = comparison.protocol.margin
    if arm.primary.scale.kind == "distance":
        return f"{share:g} nearer to 1 or farther from it"
    return f"{_percent(100 * share)} %"


def _motion(motion: Effect | None) -> str:
    if motion is None or motion.low is None:
        return "no interval yet"
    worst = change_words(motion.low, motion.scale)
    return f"{motion.metric} is {change_words(motion.mean, motion.scale)}, at worst {worst}"


def _needed(cases: int | None) -> str:
    return "needed: more than can be run" if cases is None else f"needed: {_count(cases, 'case')}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number:,} {word}s"
