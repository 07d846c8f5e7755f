"""What a benchmark returns, row by row, and the clock that all of them use."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wanexp.strict import ConfigError


@dataclass(frozen=True, kw_only=True)
class Size:
    """A video's width and height in px, and its frames."""

    width: int
    height: int
    frames: int

    def __str__(self) -> str:
        return f"{self.width}×{self.height}×{self.frames}"


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """Wall time over ``repeats`` runs: the median between the least and the most."""

    median: float
    least: float
    most: float
    repeats: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing that was timed.

    Attributes:
        what: What ran, as the table's first column has it.
        size: Of what it ran on, such as ``512×512×17``; empty where that says nothing.
        seconds: How long it took.
        against: What ``ratio`` compares it with; empty where there is no ratio.
        ratio: The median by the time of ``against``; None where nothing is compared.
        note: What a reader has to know, such as a target or where a time was taken from.
    """

    what: str
    seconds: Seconds
    size: str = ""
    against: str = ""
    ratio: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        """Refuses a ratio to nothing, and a comparison without one."""
        if bool(self.against) != (self.ratio is not None):
            raise ValueError(f"{self.what}: a ratio and what it is against belong together")


def beside(what: str, size: Size, taken: Seconds, base: float, against: str, note: str = "") -> Row:
    """A row whose ratio is to something that took ``base`` seconds."""
    return Row(
        what=what,
        size=str(size),
        seconds=taken,
        against=against,
        ratio=taken.median / base,
        note=note,
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to run benchmarks.

    Attributes:
        sizes: None takes the benchmark's own.
        repeats: Timed runs, after one that warms up; None takes the benchmark's own.
        model: A key of ``MODELS``; None takes the benchmark's own.
    """

    sizes: Sequence[Size] | None = None
    repeats: int | None = None
    model: str | None = None


def size_from(text: str) -> Size:
    """``512x512x17``: width, height and frames, with x or × between them."""
    parts = text.replace("×", "x").split("x")
    if len(parts) != 3 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise ConfigError(f"--size: expected WIDTHxHEIGHTxFRAMES such as 512x512x17, got {text!r}")
    width, height, frames = map(int, parts)
    return Size(width=width, height=height, frames=frames)


def timed(
    work: Callable[[], object],
    *,
    repeats: int,
    warmups: int = 1,
    wait: Callable[[], object] = lambda: None,
) -> Seconds:
    """The wall time of ``work``, run ``warmups`` times unclocked and ``repeats`` times clocked.

    ``wait`` returns when all that was started is done (``torch.cuda.synchronize`` on a card).
    """
    for _ in range(warmups):
        work()
    taken = []
    for _ in range(repeats):
        wait()
        start = time.perf_counter()
        work()
        wait()
        taken.append(time.perf_counter() - start)
    return seconds(taken)


def seconds(taken: Sequence[float]) -> Seconds:
    """What several runs took, summed up."""
    return Seconds(
        median=statistics.median(taken), least=min(taken), most=max(taken), repeats=len(taken)
    )
