"""Measuring a video, beside making it: what every family of metrics adds, and all of them.

The video is a photograph under a camera that pans and comes nearer. Time depends on sizes, hardly
on what is filmed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

import numpy as np

from wanexp.bench.row import Row, Seconds, Settings, Size, seconds, timed
from wanexp.images import load_source
from wanexp.metrics import METRICS, Frames, measure, observe
from wanexp.metrics.perceptual import TOGETHER, distance_with
from wanexp.metrics.spread import cores, threads

SIZES = (
    Size(width=128, height=128, frames=17),
    Size(width=512, height=512, frames=17),
    Size(width=480, height=832, frames=81),
)
REPEATS = 3
FPS = 16.0
PHOTOGRAPH = "skimage:astronaut.png"

STEPS = 40
"""Of the generation compared with: Wan's own default, two model calls a step."""

CALL: dict[tuple[int, int, int], float] = {(512, 512, 17): 0.254, (480, 832, 81): 2.826}
"""(width, height, frames) → seconds of one model call of the A14B, compiled, bf16, on an H200."""

TARGETS: dict[tuple[int, int, int], str] = {(128, 128, 17): "target: 0.6 s on two cores"}

ELSEWHERE = (
    "target: 0.05 on the card's own host, which has more cores than most machines without one"
)
"""A generation's time is the card's; measuring is its host's work, and frames spread over cores."""

SHARED: dict[str, tuple[str, ...]] = {
    "flow between frames": ("lumas", "pairs"),
    "flow to the source": ("sightings",),
    "frames beside the source": ("likenesses",),
}
"""What several families share → attributes of the observation, in the order that they build on."""

FAMILIES: dict[str, tuple[str, ...]] = {
    "flicker": ("flicker", "local_flicker"),
    "jitter": ("jitter",),
    "warp": ("warp", "background_warp"),
    "detail": ("detail", "detail_incoherence"),
    "face": ("face_detail",),
    "motion": ("motion", "motion_top5"),
    "fidelity": ("ssim_source", "overshoot", "saturation"),
    "noise": ("noise",),
    "perceptual": ("lpips_source", "lpips_temporal"),
    "literature": ("ewarp", "vbench_temporal_flickering"),
}
"""Family → its metrics; every metric is in one."""


def metric_rows(settings: Settings) -> Iterator[Row]:
    """For every size: all metrics at once, then the shared parts and every family alone."""
    for size in settings.sizes or SIZES:
        frames = filmed(size)
        repeats = settings.repeats or REPEATS
        yield _whole(size, timed(lambda: _measured(frames), repeats=repeats))  # noqa: B023
        for what, taken in _parts(frames, repeats).items():
            yield Row(what=f"  {what}", size=str(size), seconds=taken)
        yield from _lpips(size, frames, repeats)


def filmed(size: Size) -> Frames:
    """A photograph under a camera that pans by half a pixel a frame and comes nearer, uint8."""
    side, frames = 512.0, []
    per_px = 0.8 * side / max(size.width, size.height)
    for t in range(size.frames):
        width, height = (per_px / (1 + 0.002 * t) * n for n in (size.width, size.height))
        left = min(8 + 0.5 * t * per_px, side - width)
        top = min(8 + 0.2 * t * per_px, side - height)
        crop = (left, top, left + width, top + height)
        frames.append(load_source(PHOTOGRAPH, crop, size.width, size.height))
    return np.stack(frames)


def _lpips(size: Size, frames: Frames, repeats: int) -> Iterator[Row]:
    """Both LPIPS metrics' network; random weights take as long as the real ones, and are no LPIPS.

    No row where lpips does not load.
    """
    try:
        import lpips  # noqa: F401  (first: torchvision alone takes seconds to load)
        from torchvision.models import alexnet

        distance = distance_with(alexnet(weights=None).state_dict())
    except (ImportError, RuntimeError, OSError):
        return
    seen = observe(frames, frames[0], FPS)
    pictures = [seen.coloured(t) for t in range(len(frames))]

    def work() -> None:
        for first in range(0, len(pictures), TOGETHER):
            some = pictures[first : first + TOGETHER]
            distance(some, some[::-1])

    from torch import cuda

    place = cuda.get_device_name() if cuda.is_available() else "the processor"
    taken = timed(lambda: (work(), work()), repeats=repeats)
    note = f"both metrics' network on {place}, with random weights; not in all metrics"
    yield Row(what="  LPIPS", size=str(size), seconds=taken, note=note)


def _measured(frames: Frames) -> object:
    return measure(frames, frames[0], FPS)


def _whole(size: Size, taken: Seconds) -> Row:
    key = (size.width, size.height, size.frames)
    call, target = CALL.get(key), TARGETS.get(key, "")
    used = f"up to {threads()} of {cores()} cores"
    if call is None:
        note = f"{used}; {target or 'no model call of this size was measured'}"
        return Row(what="all metrics", size=str(size), seconds=taken, note=note)
    return Row(
        what="all metrics",
        size=str(size),
        seconds=taken,
        against=f"{STEPS} steps with CFG of A14B, H200, compiled ({2 * STEPS * call:.3g} s)",
        ratio=taken.median / (2 * STEPS * call),
        note=f"{used}; {ELSEWHERE}",
    )


def _parts(frames: Frames, repeats: int) -> Mapping[str, Seconds]:
    """What the shared parts and then each family take, each on what came before it."""
    taken: dict[str, list[float]] = {}
    for _ in range(repeats):
        observation = observe(frames, frames[0], FPS)
        for what, attributes in SHARED.items():
            start = time.perf_counter()
            for attribute in attributes:
                getattr(observation, attribute)
            taken.setdefault(what, []).append(time.perf_counter() - start)
        for what, names in FAMILIES.items():
            start = time.perf_counter()
            for name in names:
                METRICS[name].measure(observation)
            taken.setdefault(what, []).append(time.perf_counter() - start)
    return {what: seconds(some) for what, some in taken.items()}
