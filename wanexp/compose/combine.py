"""Arms that are decided later: what several winning arms amount to together.

    arms:
      D: {combine: [A, B, C]}

D is made of those of A, B and C that turn out better than the baseline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from wanexp.names import nearest
from wanexp.strict import ConfigError

MOST = 6
"""Arms that one may combine: every set of them is planned before anything runs, 57 of six."""


@dataclass(frozen=True, kw_only=True)
class Combination:
    """What winners amount to together.

    Attributes:
        overrides: Of the arms that are taken, in their order.
        of: These arms, the best first.
        left: Winner that is left out to the better one that sets the same thing otherwise.
    """

    overrides: tuple[str, ...]
    of: tuple[str, ...]
    left: Mapping[str, str]


def combine(arms: Mapping[str, Sequence[str]], winners: Sequence[str]) -> Combination:
    """The winners' settings together.

    ``winners`` come best first: of two that set the same key to other values the better is taken
    whole, and the other is left out.
    """
    settings: dict[str, tuple[str, str]] = {}
    of: list[str] = []
    left: dict[str, str] = {}
    for arm in winners:
        own = {_key(text): text for text in arms[arm]}
        rivals = [settings[k][1] for k, text in own.items() if settings.get(k, (text,))[0] != text]
        if rivals:
            left[arm] = rivals[0]
            continue
        of.append(arm)
        for key, text in own.items():
            settings.setdefault(key, (text, arm))
    return Combination(
        overrides=tuple(text for text, _ in settings.values()), of=tuple(of), left=left
    )


def possible(arms: Mapping[str, Sequence[str]], candidates: Sequence[str]) -> list[Combination]:
    """Every combination of two or more that may come of it, none twice."""
    found = (
        combine(arms, winners)
        for count in range(2, len(candidates) + 1)
        for winners in combinations(candidates, count)
    )
    return list({c.of: c for c in found if len(c.of) > 1}.values())


def split_arms(
    arms: Mapping[str, object],
) -> tuple[dict[str, object], dict[str, tuple[str, ...]]]:
    """The arms that are given, and those that are decided later with what they may combine.

    Raises:
        ConfigError: A ``combine`` that cannot mean anything.
    """
    later = {name: own for name, own in arms.items() if isinstance(own, Mapping)}
    given = {name: own for name, own in arms.items() if name not in later}
    return given, {name: _candidates(name, own, list(given)) for name, own in later.items()}


def _candidates(name: str, own: Mapping[object, object], given: Sequence[str]) -> tuple[str, ...]:
    listed = own.get("combine")
    if list(own) != ["combine"] or isinstance(listed, str) or not isinstance(listed, Sequence):
        raise ConfigError(
            f"arms.{name}: expected a list of overrides, or {{combine: [arms]}}, got {dict(own)}"
        )
    names = tuple(dict.fromkeys(map(str, listed)))
    for arm in names:
        if arm not in given:
            raise ConfigError(
                f"arms.{name}: no arm {arm!r} to combine{nearest(arm, given)}"
                f" (have: {', '.join(given)})"
            )
    if not 2 <= len(names) <= MOST:
        raise ConfigError(f"arms.{name}: combine takes 2 to {MOST} arms, got {len(names)}")
    return names


def check_combined(
    later: Mapping[str, Sequence[str]],
    arms: Mapping[str, Sequence[str]],
    given: Sequence[str],
    baseline: str,
) -> None:
    """Refuses combinations that could never be made.

    ``arms`` are those of the sweep, ``given`` the names in its file: grids make more of them.
    """
    for name, candidates in later.items():
        if baseline in candidates:
            raise ConfigError(
                f"arms.{name}: {baseline} is the baseline, which the others are compared with;"
                " it cannot win"
            )
        if list(arms) != list(given):
            raise ConfigError(
                f"arms.{name}: arms that are combined and a grid do not go together"
                f" (the grid makes {next(iter(arms))!r} of {given[0]!r}); name every arm instead"
            )
        if not possible(arms, candidates):
            raise ConfigError(
                f"arms.{name}: {', '.join(candidates)} all set the same thing, so no two of them"
                " can be combined"
            )


def names_of(arms: Sequence[str]) -> str:
    """``A``, ``A and B``, ``A, B and C``."""
    *most, last = arms
    return f"{', '.join(most)} and {last}" if most else last


def _key(text: str) -> str:
    return text.split("=", 1)[0].lstrip("+~/")
