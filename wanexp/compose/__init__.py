"""All that knows Hydra: composing configurations, expanding sweeps, the plain application."""

from wanexp.compose.expand import Point, Sweep, expand_sweep
from wanexp.compose.folders import available, shipped_folder
from wanexp.compose.tree import compose_tree

__all__ = ["Point", "Sweep", "available", "compose_tree", "expand_sweep", "shipped_folder"]
