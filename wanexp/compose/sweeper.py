"""Hydra's sweeper for wanexp: grids and named arms, so that ``python -m wanexp.run -m`` works."""

from __future__ import annotations

from collections.abc import Mapping

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from wanexp.compose.expand import make_cells
from wanexp.compose.tree import parse_overrides, plain


class StudySweeper(Sweeper):
    """Runs every cell of ``hydra.sweeper.params`` × ``hydra.sweeper.arms`` through the launcher."""

    def __init__(self, params: Mapping[str, object], arms: Mapping[str, object]) -> None:
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
        swept = {o.key_or_group for o in parse_overrides(arguments) if o.is_sweep_override()}
        fixed = [
            text
            for text, override in zip(arguments, parse_overrides(arguments), strict=True)
            if override.key_or_group not in swept | {"case", "seed"}
        ]
        options = {key: self.config[key] for key in ("case", "seed")}
        cells = make_cells(dict(self.params), dict(self.arms), arguments, plain_options(options))
        jobs = [
            [*fixed, *cell.overrides, f"case={cell.case}", f"seed={cell.seed}", _arm(cell.arm)]
            for cell in cells
        ]
        return self.launcher.launch(jobs, initial_job_idx=0)


def plain_options(options: Mapping[str, object]) -> dict[str, object]:
    """The case and seed that hold where no axis names them, as plain values."""
    return {k: plain(v) if isinstance(v, DictConfig) else v for k, v in options.items()}


def _arm(name: str) -> str:
    return f"arm='{name}'"


def register() -> None:
    """Makes the sweeper known to Hydra."""
    Plugins.instance().register(StudySweeper)
