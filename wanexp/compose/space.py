"""What a search may choose among: the axes of a grid, and stretches of numbers besides.

params:
  recipe.stages.refine.steps: "12,18,25"                       # one of these
  recipe.stages.refine.denoise: "interval(0.2, 0.7)"           # any number between
  recipe.stages.refine.cfg: "tag(log, interval(1, 8))"         # evenly in its logarithm
  recipe.stages.establish.steps: "int(interval(10, 25))"       # any whole number between
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hydra.core.override_parser.types import IntervalSweep

from wanexp.compose.tree import parse_overrides
from wanexp.strict import ConfigError

DIGITS = 3
"""Of a number from a stretch: what nobody could tell apart is one arm."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One setting that a search chooses.

    Attributes:
        key: As in an override.
        values: What there is to choose from, in order; empty for a stretch.
        ordered: The values are numbers that rise, so that neighbours are alike.
        low, high: Of a stretch; both 0 for values.
        whole: Only whole numbers of the stretch.
        log: Drawn evenly in the logarithm.
    """

    key: str
    values: tuple[str, ...] = ()
    ordered: bool = False
    low: float = 0.0
    high: float = 0.0
    whole: bool = False
    log: bool = False

    def override(self, value: float | str) -> str:
        """The override that sets it; numbers of a stretch are rounded to three digits."""
        if isinstance(value, str):
            return f"{self.key}={value}"
        return f"{self.key}={value:.0f}" if self.whole else f"{self.key}={value:.{DIGITS}g}"

    def ends(self) -> tuple[str, ...]:
        """Overrides that show what it can do: every value, or both ends of the stretch."""
        if self.values:
            return tuple(self.override(value) for value in self.values)
        return self.override(self.low), self.override(self.high)

    def words(self) -> str:
        """For people: ``12, 18 or 25``, ``0.2 to 0.7``."""
        if not self.values:
            return f"{self.low:g} to {self.high:g}"
        *most, last = self.values
        return f"{', '.join(most)} or {last}" if most else last


def read_axis(key: str, text: str) -> Axis:
    """The axis of an override with several values, inside a Hydra session.

    Raises:
        ConfigError: It has no values, or its stretch is empty.
    """
    (override,) = parse_overrides([text])
    if override.is_interval_sweep():
        return _stretch(key, override.value())
    many = override.is_sweep_override()
    found = override.sweep_string_iterator() if many else [override.get_value_element_as_str()]
    values = tuple(dict.fromkeys(map(str, found)))
    if not values:
        raise ConfigError(f"{text}: no value at all")
    numbers = [_number(value) for value in values]
    known = [number for number in numbers if number is not None]
    return Axis(
        key=override.get_key_element(),
        values=values,
        ordered=len(known) == len(values) and known == sorted(known),
    )


def _stretch(key: str, sweep: object) -> Axis:
    if not isinstance(sweep, IntervalSweep):
        raise ConfigError(f"{key}: expected an interval, got {sweep!r}")
    low, high = sweep.start, sweep.end
    if low is None or high is None or not low < high:
        raise ConfigError(f"{key}: expected interval(low, high) with low < high, got {low}, {high}")
    if strange := set(sweep.tags) - {"log"}:
        raise ConfigError(f"{key}: the only tag of a search is log, got {', '.join(strange)}")
    if sweep.tags and low <= 0:
        raise ConfigError(f"{key}: a logarithm needs numbers above 0, got {low:g}")
    return Axis(
        key=key,
        low=float(low),
        high=float(high),
        whole=isinstance(low, int) and isinstance(high, int),
        log=bool(sweep.tags),
    )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def space_words(space: Mapping[str, Axis]) -> list[str]:
    """A line an axis."""
    return [f"{key}: {axis.words()}" for key, axis in space.items()]
