"""Hydra's search path: the user's conf/ first, then wanexp's; sweeps/ as a group of its own."""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from wanexp.compose.folders import shipped_folder, user_folder


class WorkingFolder(SearchPathPlugin):
    """A user's own ``conf/`` and ``sweeps/`` win over the shipped ones.

    Only a plugin can put a folder before the application's own: ``hydra.searchpath`` and
    ``--config-dir`` both append.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Prepends the user's conf/, appends the folders that hold sweeps/."""
        own = user_folder()
        if own is not None:
            search_path.prepend("user", f"file://{own / 'conf'}")
            search_path.append("user-sweeps", f"file://{own}")
        search_path.append("wanexp-sweeps", f"file://{shipped_folder()}")


def register() -> None:
    """Makes the plugin known to Hydra; calling it again changes nothing."""
    Plugins.instance().register(WorkingFolder)
