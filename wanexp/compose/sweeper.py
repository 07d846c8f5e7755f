"""Hydra's sweeper for wanexp: grids and named arms, so that ``python -m wanexp.run -m`` works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from wanexp.compose.expand import make_cells
from wanexp.compose.tree import last_words, parse_overrides, plain, split_overrides

TARGET = "hydra_plugins.wanexp.StudySweeper"
"""What ``conf/hydra/sweeper/wanexp.yaml`` calls the sweeper."""


class StudySweeper(Sweeper):
    """Runs every cell of ``hydra.sweeper.params`` × ``hydra.sweeper.arms`` through the launcher."""

    def __init__(
        self, params: Mapping[str, object], arms: Mapping[str, object], drop: Sequence[str]
    ) -> None:
        self.drop = drop
        self.params = params
        self.arms = arms
        self.launcher: Launcher | None = None
        self.config: DictConfig | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Called by Hydra before ``sweep``."""
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> object:
        """Launches one job a cell, in an order that shares cases and seeds."""
        if self.launcher is None or self.config is None:
            raise RuntimeError("Hydra calls setup() before sweep()")
        arguments = last_words(arguments)
        fixed, _ = split_overrides(arguments)
        options = {key: self.config[key] for key in ("case", "seed") if key in self.config}
        cells = make_cells(self.params or {}, self.arms or {}, arguments, plain_options(options))
        study = _study(self.config, fixed)
        jobs = [[*fixed, *study, *cell.overrides, *cell.place, _arm(cell.arm)] for cell in cells]
        return self.launcher.launch(jobs, initial_job_idx=0)


def plain_options(options: Mapping[str, object]) -> dict[str, object]:
    """The case and seed that hold where no axis names them, as plain values."""
    return {k: plain(v) if isinstance(v, DictConfig) else v for k, v in options.items()}


def _study(config: DictConfig, fixed: Sequence[str]) -> list[str]:
    """A sweep is a study of its own name, where the user gives no other."""
    name = config.hydra.runtime.choices.get("sweeps")
    given = any(override.key_or_group == "study" for override in parse_overrides(fixed))
    return [] if name is None or given else [f"study={name}"]


def _arm(name: str) -> str:
    return f"arm={QuotedString(text=name, quote=Quote.single).with_quotes()}"


def register() -> None:
    """Makes the sweeper known to Hydra.

    Hydra instantiates a sweeper only by a name in its plugin package, so it gets one there. A real
    plugin package would do so too, and would meddle with every Hydra application on the machine.
    """
    Plugins.instance().register(StudySweeper)
    Plugins.instance().class_name_to_class[TARGET] = StudySweeper
