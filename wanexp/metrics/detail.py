"""Fine detail of the source: what of it is kept, what is there besides, and in named regions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from wanexp.metrics.observation import Box, Observation
from wanexp.metrics.reading import Reading, mean, summed_up, undefined
from wanexp.metrics.retention import Retained
from wanexp.names import nearest


def detail(observation: Observation) -> Reading:
    """The share of the source's fine detail that the frames keep: 1 all, less lost, more sharpened.

    See ``retention.retained_in_frame``; meaned over the frames that show at least half of what they
    could. Series: every frame's share.
    """
    return area_detail(observation, None)


def detail_incoherence(observation: Observation) -> Reading:
    """Fine detail that is not the source's (invented, noise), as a ratio to the source's own."""
    return _over_frames(observation, None, "the source", lambda kept: kept.incoherence)


def area_detail(observation: Observation, box: Box | None, called: str = "the source") -> Reading:
    """``detail`` within ``box`` of the source, frame pixels; ``called`` names it in a reason."""
    return _over_frames(observation, box, called, lambda kept: kept.coherence)


def region_detail(name: str) -> Callable[[Observation], Reading]:
    """The metric function of one named region."""

    def measure(observation: Observation) -> Reading:
        if name not in observation.regions:
            hint = nearest(name, observation.regions)
            return undefined(f"the case has no region named {name!r}{hint}")
        return area_detail(observation, observation.regions[name], f"the region {name!r}")

    return measure


def _over_frames(
    observation: Observation,
    box: Box | None,
    called: str,
    ratio: Callable[[Retained], float | None],
) -> Reading:
    if observation.too_small:
        return undefined(observation.too_small)
    frames = observation.retained(box)
    whys = Counter(kept.reason for kept in frames if kept.reason is not None)
    why = whys.most_common(1)[0][0] if whys else ""
    return summed_up(
        tuple(ratio(kept) for kept in frames),
        mean,
        possible=len(frames),
        reason=f"{called} cannot be compared: {why}",
        extras={"valid_frac": float(np.mean([kept.found for kept in frames]))},
    )
