"""METRICS: what each metric is called, how it reads and what else moves it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from wanexp.metrics.detail import detail, detail_incoherence, region_detail
from wanexp.metrics.faces import face_detail
from wanexp.metrics.fidelity import overshoot, saturation, ssim_source
from wanexp.metrics.flicker import flicker, local_flicker
from wanexp.metrics.jitter import jitter
from wanexp.metrics.literature import ewarp, vbench_temporal_flickering
from wanexp.metrics.motion import motion, motion_top5
from wanexp.metrics.noise import noise
from wanexp.metrics.observation import Observation
from wanexp.metrics.perceptual import lpips_source, lpips_temporal
from wanexp.metrics.reading import Reading
from wanexp.metrics.warp import background_warp, warp

DIRECTIONS = ("lower", "higher", "one")
"""Which way is better: down, up, or towards 1."""

REGION = "detail:"
"""``detail`` within a case's named region is called ``detail:NAME``."""

SPEED = "% of the smaller side per second"
FROM_ZERO = (0.0, math.inf)
ANY = (-math.inf, math.inf)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric's definition.

    Attributes:
        direction: One of DIRECTIONS.
        unit: What a value is counted in.
        limits: The least and the most that a value can be.
        version: Raised whenever the same video would read differently; two never share a column.
        source: The paper or formula.
        confuses: What else moves the value, for whoever reads it.
        literature: Whether it is measured only to be set beside published numbers; its flaws keep
            it out of every verdict.
        against_source: Whether there is no value without the image that the video was made from.
        seeks_source: Whether that image is always looked for in every frame.
    """

    name: str
    measure: Callable[[Observation], Reading]
    direction: str
    unit: str
    limits: tuple[float, float]
    version: int
    source: str
    confuses: str
    literature: bool = False
    against_source: bool = False
    seeks_source: bool = False


METRICS: dict[str, Metric] = {
    "flicker": Metric(
        name="flicker",
        measure=flicker,
        direction="lower",
        unit="%",
        limits=FROM_ZERO,
        version=2,
        source="RMS second difference of the motion-compensated median log gain, /√6",
        confuses="little: noise of 8 % of full scale reads about 0.1 %",
    ),
    "local_flicker": Metric(
        name="local_flicker",
        measure=local_flicker,
        direction="lower",
        unit="%",
        limits=FROM_ZERO,
        version=2,
        source="flicker in each part of an 8 x 8 grid, RMS over the parts",
        confuses="flicker of the whole frame is in it; so are shadows that pass and noise",
    ),
    "jitter": Metric(
        name="jitter",
        measure=jitter,
        direction="lower",
        unit="px",
        limits=FROM_ZERO,
        version=2,
        source="RMS jerk of the similarity fit's shift between distant parts, /√40",
        confuses="judder (repeated frames) counts; warping that moves the whole frame counts",
    ),
    "warp": Metric(
        name="warp",
        measure=warp,
        direction="lower",
        unit="px",
        limits=FROM_ZERO,
        version=3,
        source="change of the flow's residual to its similarity fit, worst 10 % and grain off",
        confuses="wanted motion that accelerates (limbs, water) counts: compare within one case",
    ),
    "background_warp": Metric(
        name="background_warp",
        measure=background_warp,
        direction="lower",
        unit="px",
        limits=FROM_ZERO,
        version=3,
        source="warp where nothing moves steadily against the camera",
        confuses="what moves by less than 0.4 % of the smaller side a frame is background",
    ),
    "detail": Metric(
        name="detail",
        measure=detail,
        direction="one",
        unit="ratio",
        limits=ANY,
        version=4,
        source="regression of the frame's 0.7-2 px band on the motion-compensated source's",
        confuses="content that changes on purpose (a turn, new light) counts as lost",
        against_source=True,
        seeks_source=True,
    ),
    "detail_incoherence": Metric(
        name="detail_incoherence",
        measure=detail_incoherence,
        direction="lower",
        unit="ratio",
        limits=FROM_ZERO,
        version=4,
        source="RMS of that regression's residual beside the source's band",
        confuses="noise, invented texture and misplaced detail are one number",
        against_source=True,
        seeks_source=True,
    ),
    "face_detail": Metric(
        name="face_detail",
        measure=face_detail,
        direction="one",
        unit="ratio",
        limits=ANY,
        version=4,
        source="detail within the face found in the source",
        confuses="turning the head and changing the expression count as lost",
        against_source=True,
    ),
    "motion": Metric(
        name="motion",
        measure=motion,
        direction="higher",
        unit=SPEED,
        limits=FROM_ZERO,
        version=2,
        source="median length of the optical flow",
        confuses="camera and subject are one number; jitter and warp are motion too",
    ),
    "motion_top5": Metric(
        name="motion_top5",
        measure=motion_top5,
        direction="higher",
        unit=SPEED,
        limits=FROM_ZERO,
        version=3,
        source="mean length of the fastest 5 % of the flow that shows in the match,"
        " after VBench's dynamic degree",
        confuses="camera and subject are one number, split in the extras; so are jitter and warp",
    ),
    "overshoot": Metric(
        name="overshoot",
        measure=overshoot,
        direction="lower",
        unit="% of the pixels",
        limits=(0.0, 100.0),
        version=3,
        source="pixels outside the motion-compensated source's 5 x 5 range by over 2 %",
        confuses="noise overshoots too: read it beside noise",
        against_source=True,
        seeks_source=True,
    ),
    "noise": Metric(
        name="noise",
        measure=noise,
        direction="lower",
        unit="grey levels",
        limits=FROM_ZERO,
        version=1,
        source="Immerkaer's second difference of second differences by medians, less the source's",
        confuses="sharpening raises it; fine texture hides it; blur takes the source's own away",
        against_source=True,
    ),
    "saturation": Metric(
        name="saturation",
        measure=saturation,
        direction="one",
        unit="ratio",
        limits=FROM_ZERO,
        version=3,
        source="RMS of the smoothed colour differences beside the motion-compensated source's",
        confuses="coloured light that is wanted counts",
        against_source=True,
        seeks_source=True,
    ),
    "ssim_source": Metric(
        name="ssim_source",
        measure=ssim_source,
        direction="higher",
        unit="SSIM",
        limits=(-1.0, 1.0),
        version=3,
        source="Wang et al., 2004, of luma against the motion-compensated source",
        confuses="every change lowers it, wanted or not: fidelity as a whole",
        against_source=True,
        seeks_source=True,
    ),
    "lpips_source": Metric(
        name="lpips_source",
        measure=lpips_source,
        direction="lower",
        unit="LPIPS",
        limits=FROM_ZERO,
        version=3,
        source="LPIPS 0.1, AlexNet (arXiv:1801.03924), against the motion-compensated source",
        confuses="every change raises it, wanted or not: fidelity as a whole",
        against_source=True,
    ),
    "lpips_temporal": Metric(
        name="lpips_temporal",
        measure=lpips_temporal,
        direction="lower",
        unit="LPIPS",
        limits=FROM_ZERO,
        version=2,
        source="LPIPS 0.1, AlexNet, of neighbouring frames after motion compensation",
        confuses="warping and shaking hide in the motion compensation; blur lowers it",
    ),
    "ewarp": Metric(
        name="ewarp",
        measure=ewarp,
        direction="lower",
        unit="squared full scale",
        limits=(0.0, 1.0),
        version=2,
        source="Lai et al., 2018 (arXiv:1808.00449), with the video's own flow",
        confuses="noise and exposure rule it; warping and shaking lower it as often as not",
        literature=True,
    ),
    "vbench_temporal_flickering": Metric(
        name="vbench_temporal_flickering",
        measure=vbench_temporal_flickering,
        direction="higher",
        unit="share of full scale",
        limits=(0.0, 1.0),
        version=1,
        source="Huang et al., 2023 (arXiv:2311.17982): 1 - mean |difference| of neighbours",
        confuses="all motion: a still is perfect and a perfect pan is not",
        literature=True,
    ),
}


def region_metric(name: str) -> Metric:
    """``detail`` within the region of this name, called ``detail:name``."""
    whole = METRICS["detail"]
    return Metric(
        name=f"{REGION}{name}",
        measure=region_detail(name),
        direction=whole.direction,
        unit=whole.unit,
        limits=whole.limits,
        version=whole.version,
        source=f"detail within the region {name!r}",
        confuses=whole.confuses,
        against_source=True,
        seeks_source=True,
    )
