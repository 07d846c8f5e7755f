"""All that knows Hydra: composing configurations, expanding sweeps, the plain application."""

from wanexp.compose.cells import arm_label
from wanexp.compose.combine import Combination, combine, names_of, possible
from wanexp.compose.expand import (
    BASELINE,
    Point,
    Sweep,
    arm_points,
    expand_sweep,
    is_dropped,
    with_arm,
)
from wanexp.compose.folders import available, shipped_folder
from wanexp.compose.space import Axis, space_words
from wanexp.compose.tree import compose_tree

__all__ = [
    "BASELINE",
    "Axis",
    "Combination",
    "Point",
    "Sweep",
    "arm_label",
    "arm_points",
    "available",
    "combine",
    "compose_tree",
    "expand_sweep",
    "is_dropped",
    "names_of",
    "possible",
    "shipped_folder",
    "space_words",
    "with_arm",
]
