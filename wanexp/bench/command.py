"""The verb: `wanexp bench WHAT...`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from wanexp.bench.row import Row, Settings
from wanexp.names import lookup
from wanexp.strict import ConfigError


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One benchmark.

    Attributes:
        says: What it asks, in a few words.
        rows: One by one as they are found.
        models: Those that it may be asked for (``MODELS``); without any it has its own.
    """

    says: str
    rows: Callable[[Settings], Iterator[Row]]
    models: tuple[str, ...] = ()


def _metrics(settings: Settings) -> Iterator[Row]:
    from wanexp.bench.metrics import metric_rows

    return metric_rows(settings)


def _call(settings: Settings) -> Iterator[Row]:
    from wanexp.bench.model import call_rows

    return call_rows(settings)


def _guidance(settings: Settings) -> Iterator[Row]:
    from wanexp.bench.model import guidance_rows

    return guidance_rows(settings)


def _step_cache(settings: Settings) -> Iterator[Row]:
    from wanexp.bench.model import cache_rows

    return cache_rows(settings)


def _vae(settings: Settings) -> Iterator[Row]:
    from wanexp.bench.vae import vae_rows

    return vae_rows(settings)


def _loop(settings: Settings) -> Iterator[Row]:
    from wanexp.bench.loop import loop_rows

    return loop_rows(settings)


def _trial(settings: Settings) -> Iterator[Row]:
    from wanexp.bench.trial import trial_rows

    return trial_rows(settings)


def _sweep(settings: Settings) -> Iterator[Row]:
    from wanexp.bench.sweep import sweep_rows

    return sweep_rows(settings)


def _memory(settings: Settings) -> Iterator[Row]:
    from wanexp.bench.memory import memory_rows

    return memory_rows(settings)


BENCHMARKS: dict[str, Benchmark] = {
    "metrics": Benchmark(
        says="seconds to measure a video, by family and in all, beside making it", rows=_metrics
    ),
    "call": Benchmark(says="model calls of the A14B beside the card's ceiling", rows=_call),
    "guidance": Benchmark(says="both prompts in one call, beside two calls", rows=_guidance),
    "step_cache": Benchmark(says="what each step cache saves at most", rows=_step_cache),
    "vae": Benchmark(
        says="encoding and decoding, by precision and tiling (--model wan_mini: what that costs)",
        rows=_vae,
        models=("wan_mini",),
    ),
    "loop": Benchmark(says="sampling beside its model calls, and diffusers' pipeline", rows=_loop),
    "trial": Benchmark(
        says="a whole trial by phase, beside diffusers' pipeline (any machine: --model wan_mini)",
        rows=_trial,
        models=("wan22_i2v_a14b", "wan_mini"),
    ),
    "sweep": Benchmark(
        says="a five-arm study with and without the stage store (any machine: --model wan_mini)",
        rows=_sweep,
        models=("wan22_i2v_a14b", "wan_mini"),
    ),
    "memory": Benchmark(says="peak memory of each phase beside its prediction", rows=_memory),
}


def bench_command(names: Sequence[str], settings: Settings, *, as_json: bool) -> int:
    """Runs the benchmarks and prints their rows; lists what there is where none is named."""
    if not names:
        _list()
        return 0
    if settings.repeats is not None and settings.repeats < 1:
        raise ConfigError(f"--repeats: expected at least 1, got {settings.repeats}")
    try:
        chosen = {name: lookup("benchmark", BENCHMARKS, name) for name in names}
    except KeyError as error:
        raise ConfigError(str(error.args[0])) from None
    for name, benchmark in chosen.items():
        if settings.model is not None and settings.model not in benchmark.models:
            takes = " or ".join(benchmark.models) or "no model but its own"
            raise ConfigError(f"--model: {name} takes {takes}, got {settings.model}")
    from wanexp.bench.show import rows_as_json, show_rows

    rows = [row for name in chosen for row in _told(name, chosen[name].rows(settings))]
    command = as_typed(names, settings)
    if as_json:
        print(rows_as_json(rows, command))
        return 0
    from rich.console import Console

    show_rows(Console(), rows, command)
    return 0


def as_typed(names: Sequence[str], settings: Settings) -> str:
    """The command line that runs the same again."""
    words = ["wanexp", "bench", *names]
    if settings.model is not None:
        words += ["--model", settings.model]
    if settings.sizes:
        words += ["--size", *(str(size).replace("×", "x") for size in settings.sizes)]
    if settings.repeats is not None:
        words += ["--repeats", str(settings.repeats)]
    return " ".join(words)


def _told(name: str, rows: Iterator[Row]) -> Iterator[Row]:
    """The rows, each said on standard error as it comes: a run that is cut short has said most."""
    watched = sys.stderr.isatty()
    for row in rows:
        found = f"{name}: {row.what} {row.size}".rstrip() + f", {row.seconds.median:.4g} s"
        if watched:
            print(f"\r\033[K{found}", end="", file=sys.stderr, flush=True)
        else:
            ratio = "" if row.ratio is None else f", ratio {row.ratio:.4g}"
            print("; ".join(filter(None, (found + ratio, row.note))), file=sys.stderr, flush=True)
        yield row
    if watched:
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def _list() -> None:
    width = max(map(len, BENCHMARKS))
    for name, benchmark in BENCHMARKS.items():
        print(f"{name:<{width}}  {benchmark.says}")
