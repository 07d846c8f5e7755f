"""Hydra's search path: the user's conf/ first, then wanexp's; sweeps/ as a group of its own."""

from __future__ import annotations

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from wanexp.compose.folders import shipped_folder, user_folder


class SweepsFolder(FileConfigSource):
    """A folder of which Hydra sees ``sweeps/`` alone.

    Hydra's ``--help`` and shell completion walk all that a search path holds, and the folder that
    holds sweeps/ is the user's working folder, or a checkout with its environment.
    """

    @staticmethod
    def scheme() -> str:
        """``sweeps:///folder``."""
        return "sweeps"

    def is_group(self, config_path: str) -> bool:
        """Whether it is ``sweeps`` or a folder inside."""
        return config_path == "" or (_inside(config_path) and super().is_group(config_path))

    def is_config(self, config_path: str) -> bool:
        """Whether it is a file inside ``sweeps``."""
        return _inside(config_path) and super().is_config(config_path)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Names inside a group; at the top there is the one."""
        if config_path == "":
            return [] if results_filter is ObjectType.CONFIG else ["sweeps"]
        return super().list(config_path, results_filter)


def _inside(config_path: str) -> bool:
    return config_path.split("/", maxsplit=1)[0] == "sweeps"


class WorkingFolder(SearchPathPlugin):
    """A user's own ``conf/`` and ``sweeps/`` win over the shipped ones.

    Only a plugin can put a folder before the application's own: ``hydra.searchpath`` and
    ``--config-dir`` both append.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Prepends the user's conf/, appends the folders that hold sweeps/."""
        own = user_folder()
        if own is not None and (own / "conf").is_dir():
            search_path.prepend("user", f"file://{own / 'conf'}")
        if own is not None and (own / "sweeps").is_dir():
            search_path.append("user-sweeps", f"sweeps://{own}")
        search_path.append("wanexp-sweeps", f"sweeps://{shipped_folder()}")


def register() -> None:
    """Makes both plugins known to Hydra; calling it again changes nothing."""
    Plugins.instance().register(SweepsFolder)
    Plugins.instance().register(WorkingFolder)
