"""Each frame against the source seen through the motion: likeness, overshoot, colour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from wanexp.metrics.likeness import Likeness
from wanexp.metrics.observation import Observation
from wanexp.metrics.reading import Reading, mean, summed_up, undefined


def ssim_source(observation: Observation) -> Reading:
    """SSIM between each frame's luma and the source warped onto it, 1 for the same picture.

    Gaussian windows of 1.5 px; pixels whose window has something that the source does not show are
    left out. Series: every frame's mean.

    Source: Wang et al., 2004, Image quality assessment: from error visibility to SSIM.
    """
    return _over_frames(observation, lambda one: one.ssim)


def overshoot(observation: Observation) -> Reading:
    """The share of pixels, %, that leave the range of the source's 5 × 5 pixels about their place.

    By more than 2 % of full scale, after the local brightness is matched: halos of sharpening, and
    burnt-out or crushed places. Series: every frame's share.
    """
    return _over_frames(observation, lambda one: one.overshoot)


def saturation(observation: Observation) -> Reading:
    """How strong colours are beside the source's: 1 the same, 2 twice as far from grey.

    The root of the ratio of mean squared colour differences (R, G, B less luma, smoothed), with
    the frame's brightness taken out. Series: every frame's ratio.
    """
    return _over_frames(
        observation, lambda one: one.saturation, "the source has hardly any colour to compare"
    )


def _over_frames(
    observation: Observation,
    number: Callable[[Likeness], float | None],
    otherwise: str = "",
) -> Reading:
    if observation.too_small:
        return undefined(observation.too_small)
    frames = observation.likenesses
    whys = Counter(one.reason for one in frames if one.reason is not None)
    reason = f"the source cannot be compared: {whys.most_common(1)[0][0]}" if whys else otherwise
    return summed_up(
        tuple(number(one) for one in frames),
        mean,
        possible=len(frames),
        reason=reason,
        extras={"valid_frac": float(np.mean([one.found for one in frames]))},
    )
