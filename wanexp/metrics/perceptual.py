"""LPIPS: distance as people see it, with its own trained network or not at all.

A network with random weights gives numbers too, other ones for every draw. So the trunk's file is
checked by its digest, and without it the metrics are undefined. Nothing is downloaded. The network
runs on a card where torch sees one, some frames at once; the card's own arithmetic moves values by
about a thousandth.

Frames are (h, w, 3) on the working grid, 0 … 255; LPIPS itself takes −1 … 1.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wanexp.metrics import flow
from wanexp.metrics.flow import Match
from wanexp.metrics.observation import LEAST_SHARE, Observation
from wanexp.metrics.planes import Plane
from wanexp.metrics.reading import Reading, mean, padded, summed_up, undefined

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

WEIGHTS = "alexnet-owt-7be5be79.pth"
"""torchvision's name of the trunk's file; its SHA-256 begins with what stands before the dot."""

ADDRESS = f"https://download.pytorch.org/models/{WEIGHTS}"

LEAST_SIDE = 32
"""AlexNet's first two layers leave nothing of a smaller side, px."""

TOGETHER = 8
"""Pictures that the network sees at once: 0.2 GB on a grid of 512 px."""

Distance = Callable[[Sequence[Plane], Sequence[Plane]], Sequence[Plane]]
"""Pictures (h, w, 3), as many on both sides → the LPIPS of each two at every pixel, (h, w)."""

Beside = tuple[Plane, Match]
"""A picture, and the match whose backward flow says where a frame's pixels are in it."""


def lpips_source(observation: Observation) -> Reading:
    """LPIPS between each frame and the source warped onto it, 0 for the same picture.

    Where the source is not seen the frame's own pixels stand in, and the mean leaves them out.
    Series: every frame's distance.

    Source: Zhang et al., 2018, The Unreasonable Effectiveness of Deep Features as a Perceptual
    Metric (arXiv:1801.03924); version 0.1, AlexNet.
    """
    distance = _ready(observation)
    if isinstance(distance, str):
        return undefined(distance)
    source = observation.coloured_source
    frames = [observation.coloured(t) for t in range(len(observation.frames))]
    distances = _distances(distance, frames, [(source, one) for one in observation.sightings])
    return summed_up(
        tuple(distances),
        mean,
        possible=len(distances),
        reason="the source cannot be compared: too little of it is in the frame",
        extras={"valid_frac": float(np.mean([s.valid_back.mean() for s in observation.sightings]))},
    )


def lpips_temporal(observation: Observation) -> Reading:
    """LPIPS between each frame and the one before warped onto it.

    Series: the distance of frame t from frame t − 1; frame 0 has none. Source: as ``lpips_source``.
    """
    count = len(observation.frames)
    if count < 2:
        return undefined(f"lpips_temporal needs at least 2 frames, got {count}")
    distance = _ready(observation)
    if isinstance(distance, str):
        return undefined(distance)
    frames = [observation.coloured(t) for t in range(count)]
    matches = [pair.match for pair in observation.pairs]
    distances = _distances(distance, frames[1:], list(zip(frames[:-1], matches, strict=True)))
    return summed_up(
        padded(distances, 1, 0),
        mean,
        possible=count - 1,
        reason="too few pixels can be followed",
        extras={"valid_frac": observation.valid_share},
    )


def weights_file(given: Path | None) -> Path:
    """The trunk's file: what was given, else where torch hub keeps it."""
    return given or _hub() / "checkpoints" / WEIGHTS


def _hub() -> Path:
    """Torch hub's folder, without loading torch to find that a file is missing there."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return Path(torch.hub.get_dir())
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", str(Path(cache) / "torch"))
    return Path(home).expanduser() / "hub"


def why_not(path: Path) -> str | None:
    """What is wrong with the trunk's file and how to mend it, or None."""
    fix = f"put {ADDRESS} there, or name another place with lpips_weights"
    if not path.is_file():
        return f"LPIPS needs AlexNet's weights and there is no file {str(path)!r}: {fix}"
    stat = path.stat()
    try:
        digest = _digest(path, stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        return f"LPIPS needs AlexNet's weights and {str(path)!r} cannot be read ({error.strerror})"
    if not digest.startswith(WEIGHTS[-12:-4]):
        return f"{str(path)!r} does not hold the weights that LPIPS was trained with: {fix}"
    return None


def distance_with(trunk: Mapping[str, Tensor]) -> Distance:
    """LPIPS over AlexNet with this state; the lpips package brings the trained weighting along.

    Raises:
        ImportError, RuntimeError, OSError: lpips or torchvision do not load beside this torch.
    """
    import lpips
    import torch

    with torch.random.fork_rng(devices=[]):  # its first weights are random: nobody else's loss
        network = lpips.LPIPS(net="alex", pnet_rand=True, spatial=True, verbose=False).eval()
    with torch.no_grad():
        for name, parameter in network.net.named_parameters():  # slice2.3.weight
            parameter.copy_(trunk["features." + name.split(".", maxsplit=1)[1]])

    return lambda ones, others: _run(network, _stacked(ones), _stacked(others))


def _stacked(pictures: Sequence[Plane]) -> Tensor:
    """(N, 3, h, w) in −1 … 1."""
    import torch

    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 127.5 - 1


def _run(network: Module, ones: Tensor, others: Tensor) -> list[Plane]:
    """On the card where there is one and it has the memory, else on the processor."""
    import torch

    with torch.no_grad():
        if torch.cuda.is_available():
            try:
                found = network.cuda()(ones.cuda(), others.cuda())
                return list(found[:, 0].cpu().numpy())
            except torch.OutOfMemoryError:
                pass  # a model that fills the card is being sampled from
        return list(network.cpu()(ones, others)[:, 0].numpy())


def _ready(observation: Observation) -> Distance | str:
    """LPIPS, or why there is none."""
    if observation.too_small:
        return observation.too_small
    if min(observation.grid) < LEAST_SIDE:
        width, height = observation.size[::-1]
        return f"frames of {width}x{height} are too small for LPIPS"
    path = weights_file(observation.lpips_weights)
    return why_not(path) or _loaded(path)


@functools.lru_cache(maxsize=1)
def _loaded(path: Path) -> Distance | str:
    import torch

    try:
        return distance_with(torch.load(path, map_location="cpu", weights_only=True))
    except (ImportError, RuntimeError, OSError) as error:
        first = str(error).splitlines()[0]
        return f"LPIPS cannot be loaded ({first}): torch and torchvision must be one pair"


@functools.lru_cache(maxsize=4)
def _digest(path: Path, mtime: int, size: int) -> str:  # noqa: ARG001
    """SHA-256 of a file, worked out again when its time of change or size does."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _distances(
    distance: Distance, frames: Sequence[Plane], beside: Sequence[Beside]
) -> list[float | None]:
    """Each frame's mean distance from its picture, where that is seen in it."""
    usable = [t for t, (_, one) in enumerate(beside) if one.valid_back.mean() >= LEAST_SHARE]
    found: list[float | None] = [None] * len(frames)
    for first in range(0, len(usable), TOGETHER):
        some = usable[first : first + TOGETHER]
        expected = [_expected(frames[t], *beside[t]) for t in some]
        maps = distance([frames[t] for t in some], expected)
        for t, one in zip(some, maps, strict=True):
            found[t] = float(one[beside[t][1].valid_back].mean(dtype=np.float64))
    return found


def _expected(frame: Plane, other: Plane, match: Match) -> Plane:
    """``other`` as the frame would show it, and the frame's own pixels where it is not seen."""
    return np.where(match.valid_back[..., None], flow.carried(other, match.backward), frame)
