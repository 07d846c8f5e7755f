"""The plain Hydra application behind ``python -m wanexp.run``."""

from __future__ import annotations

from collections.abc import Callable

import hydra
from omegaconf import DictConfig

from wanexp.compose import search_path, sweeper
from wanexp.compose.folders import shipped_folder
from wanexp.compose.tree import plain


def run_application(task: Callable[[dict[str, object]], object]) -> None:
    """Composes what the command line asks for and calls ``task`` with each plain tree."""
    search_path.register()
    sweeper.register()

    @hydra.main(
        version_base="1.3", config_path=str(shipped_folder() / "conf"), config_name="config"
    )
    def application(config: DictConfig) -> object:
        return task(plain(config))

    application()
