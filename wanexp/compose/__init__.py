"""All that knows Hydra: composing configurations, expanding sweeps, the plain application."""

from wanexp.compose.combine import Combination, combine, names_of, possible
from wanexp.compose.expand import Point, Sweep, arm_points, expand_sweep, with_arm
from wanexp.compose.folders import available, shipped_folder
from wanexp.compose.tree import compose_tree

__all__ = [
    "Combination",
    "Point",
    "Sweep",
    "arm_points",
    "available",
    "combine",
    "compose_tree",
    "expand_sweep",
    "names_of",
    "possible",
    "shipped_folder",
    "with_arm",
]
