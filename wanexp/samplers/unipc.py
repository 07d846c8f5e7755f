"""UniPC: a predictor of order up to 3 and a corrector that reuses the next evaluation.

Letters: h = log(s/t), the width of a step in −log sigma. The method is written for the data
prediction of a variance-exploding model, whose ODE a flow model's is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from wanexp.sampler_facts import integrated_levels
from wanexp.samplers.seam import Denoise, DrawNoise, Sigmas, blend

_MOST_ORDER = 3


@torch.no_grad()
def sample_uni_pc(denoise: Denoise, x: Tensor, sigmas: Sigmas, draw_noise: DrawNoise) -> Tensor:  # noqa: ARG001
    """UniPC with B(h) = h (bh1): up to order 3, one evaluation an interval.

    Order 2 in all, because the last step is of order 1 and has no corrector.

    A last sigma of 0 is replaced by 0.001, where the run stops: divide the result by 0.999, as
    ComfyUI does. One interval alone is a first-order step (ComfyUI takes none there and hands x
    back rescaled).

    Source: Zhao et al., 2023 (arXiv:2302.04867), Algorithms 1 and 2 (UniP-p and UniC-p).
    """
    return _sample(denoise, x, integrated_levels("uni_pc", sigmas), lambda h: -h)


@torch.no_grad()
def sample_uni_pc_bh2(denoise: Denoise, x: Tensor, sigmas: Sigmas, draw_noise: DrawNoise) -> Tensor:  # noqa: ARG001
    """UniPC with B(h) = e^h − 1 (bh2); all else as ``sample_uni_pc``.

    Source: Zhao et al., 2023 (arXiv:2302.04867), its second choice of B.
    """
    return _sample(denoise, x, integrated_levels("uni_pc_bh2", sigmas), lambda h: math.expm1(-h))


def _sample(
    denoise: Denoise, x: Tensor, levels: Sequence[float], scale: Callable[[float], float]
) -> Tensor:
    intervals = len(levels) - 1
    if intervals < 1:
        return x
    history = [(levels[0], denoise(x, levels[0]))]  # newest first: level, x0
    for index in range(1, intervals + 1):
        s, x0 = history[0]
        t = levels[index]
        h = math.log(s / t)
        # Low orders at the start for want of history, at the end for stability.
        older = history[1 : min(_MOST_ORDER, index, intervals + 1 - index)]
        ratios = [math.log(s / level) / h for level, _ in older]
        changes = [(past - x0) / r for (_, past), r in zip(older, ratios, strict=True)]
        predict, correct = _weights(ratios, h, scale(h))
        base = blend(x, x0, t / s)
        predicted = _add(base, predict, changes, scale(h))
        if index == intervals:
            return predicted
        ahead = denoise(predicted, t)
        x = _add(base, correct, [*changes, ahead - x0], scale(h))
        history = [(t, ahead), *history[: _MOST_ORDER - 1]]
    return x


def _add(base: Tensor, weights: Sequence[float], changes: Sequence[Tensor], scale: float) -> Tensor:
    for weight, change in zip(weights, changes, strict=True):
        base = base - (scale * weight) * change
    return base


def _weights(
    ratios: Sequence[float], h: float, scale: float
) -> tuple[Sequence[float], Sequence[float]]:
    """Weights of the past changes: the predictor's, and the corrector's, with the new one last.

    They solve R·a = b with R[i][j] = r_j^i and b[i] = (i + 1)!·h·phi_{i+2}(−h)/B(h); for the lowest
    order of each the paper takes 1/2, which is the solution in the limit of small h.
    """
    order = len(ratios) + 1
    powers = np.vander([*ratios, 1.0], order, increasing=True).T
    b: list[float] = []
    factorial, phi = 1.0, math.expm1(-h) / -h - 1.0
    for i in range(1, order + 1):
        b.append(phi * factorial / scale)
        factorial *= i + 1
        phi = phi / -h - 1.0 / factorial
    correct = [0.5] if order == 1 else np.linalg.solve(powers, b).tolist()
    if order <= 2:
        return [0.5] * (order - 1), correct
    return np.linalg.solve(powers[:-1, :-1], b[:-1]).tolist(), correct
