"""Hydra's sweeper for wanexp: a study's trials as Hydra's jobs, through any of its launchers."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence

from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from hydra.utils import get_method
from omegaconf import DictConfig

from wanexp.compose.expand import Point, Sweep, expand_arguments
from wanexp.compose.tree import last_words, split_overrides

TARGET = "hydra_plugins.wanexp.StudySweeper"
"""What ``conf/hydra/sweeper/wanexp.yaml`` calls the sweeper."""

Launch = Callable[[Sequence[Point]], Sequence[str]]
"""Runs trials through Hydra's launcher; returns a sentence for each that failed."""


class StudySweeper(Sweeper):
    """Hands what ``params``, ``arms`` and ``drop`` ask for to ``drive``, with a way to launch it.

    ``drive`` is the name of a function of a Sweep and a Launch.
    """

    def __init__(
        self,
        params: Mapping[str, object],
        arms: Mapping[str, object],
        drop: Sequence[str],
        search: Mapping[str, object] | None,
        drive: str,
    ) -> None:
        del params, arms, drop, search  # expand_arguments reads them where it composes
        self.drive = drive
        self.launcher: Launcher | None = None
        self.config: DictConfig | None = None
        self.launched = 0

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Called by Hydra before ``sweep``."""
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context,
            task_function=functools.partial(_told, task_function),
            config=config,
        )

    def sweep(self, arguments: list[str]) -> object:
        """Launches a study's trials, as ``drive`` sees fit."""
        drive: Callable[[Sweep, Launch], object] = get_method(self.drive)
        sweep = expand_arguments(arguments)
        fixed, _ = split_overrides(last_words(arguments))
        return drive(sweep, functools.partial(self._launch, [*fixed, f"study={sweep.name}"]))

    def _launch(self, fixed: Sequence[str], points: Sequence[Point]) -> list[str]:
        if self.launcher is None:
            raise RuntimeError("Hydra calls setup() before sweep()")
        if not points:
            return []
        jobs = [[*fixed, *p.overrides, *p.place, _arm(p.arm)] for p in points]
        returns = self.launcher.launch(jobs, initial_job_idx=self.launched)
        self.launched += len(jobs)
        return [
            f"{point.arm} · {point.case} · seed {point.seed}: {_sentence(one)}"
            for point, one in zip(points, returns, strict=True)
            if one.status is not JobStatus.COMPLETED
        ]


def _told(task: TaskFunction, config: DictConfig) -> object:
    """The task; its error is shown when it happens, since Hydra keeps it until the end."""
    try:
        return task(config)
    except Exception as error:
        where = f"{config.arm} · {config.case.name} · seed {config.seed}"
        print(f"failed {where}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        raise


def _sentence(one: JobReturn) -> str:
    error = one._return_value  # the property of that name prints and raises it
    return f"{type(error).__name__}: {error}" if isinstance(error, Exception) else "did not end"


def _arm(name: str) -> str:
    return f"arm={QuotedString(text=name, quote=Quote.single).with_quotes()}"


def register() -> None:
    """Makes the sweeper known to Hydra.

    Hydra instantiates a sweeper only by a name in its plugin package, so it gets one there. A real
    plugin package would do so too, and would meddle with every Hydra application on the machine.
    """
    Plugins.instance().register(StudySweeper)
    Plugins.instance().class_name_to_class[TARGET] = StudySweeper
