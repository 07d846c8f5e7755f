"""The one shape that all samplers share: ``sample_x(denoise, x, sigmas, draw_noise) -> x``.

x is any floating-point tensor at noise level ``sigmas[0]``, usually (B, C, F, H, W) latents of a
flow model, x = (1 − sigma)·x0 + sigma·noise; what comes back is at ``sigmas[-1]``, in the same
dtype and on the same device, and x itself is left as it was. All coefficients are double
precision numbers of Python, whatever the dtype of x.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import SupportsFloat

from torch import Tensor

Denoise = Callable[[Tensor, float], Tensor]
"""``denoise(x, sigma)``: the clean latent that the model sees in x at noise level sigma."""

DrawNoise = Callable[[float, float], Tensor]
"""``draw_noise(sigma, sigma_next)``: standard normal noise like x for the step between the two."""

Sigmas = Iterable[SupportsFloat]
"""Falling noise levels in [0, 1]: a list, a tuple, a numpy array, a 1-D tensor."""

Sampler = Callable[[Denoise, Tensor, Sigmas, DrawNoise], Tensor]


def slope(x: Tensor, x0: Tensor, sigma: float) -> Tensor:
    """dx/dsigma of the flow at x: noise − x0, which is what a flow model calls its velocity."""
    return (x - x0) / sigma


def blend(x: Tensor, x0: Tensor, keep: float) -> Tensor:
    """``keep``·x + (1 − keep)·x0: the exact flow from s to t = keep·s where x0 stays the same."""
    return keep * x + (1.0 - keep) * x0
