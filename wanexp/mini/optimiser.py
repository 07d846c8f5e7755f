"""Muon for hidden weights, AdamW for the rest: fewer steps to the same loss than AdamW alone.

Source: K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; the scale
by which AdamW's learning rates fit: J. Liu et al., "Muon is scalable for LLM training",
arXiv:2502.16982.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
SHRINK = 0.01
QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the Newton–Schulz step: quick towards one, at the price of stopping near it."""


class Optimiser:
    """Both of them as one."""

    def __init__(
        self, module: nn.Module, hidden: Callable[[str], bool], *, betas: tuple[float, float]
    ) -> None:
        """Trains what needs a gradient; ``hidden`` tells by name which layers' matrices are Muon's.

        First and last layers, gains and biases are AdamW's.
        """
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        matrices = [p for name, p in named if hidden(name) and p.ndim > 1 and p[0].numel() > 1]
        chosen = {id(p) for p in matrices}
        rest = [p for _, p in named if id(p) not in chosen]
        fused = any(p.is_cuda for p in rest)
        self._muon = Muon(matrices)
        self._adam = torch.optim.AdamW(rest, betas=betas, weight_decay=SHRINK, fused=fused)
        self._parameters = [p for _, p in named]

    def step(self, rate: float) -> None:
        """One step along the gradients that are there, clipped to length one; forgets them."""
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.step()
        self._muon.step(rate)
        for parameter in self._parameters:
            parameter.grad = None


class Muon:
    """Steps whose singular values are all alike; matrices of one shape in one go."""

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for parameter in parameters:
            alike[parameter.flatten(1).shape].append(parameter)
        self._groups: list[list[Tensor]] = [list(group) for group in alike.values()]
        self._momenta = [
            torch.zeros(len(group), *shape, device=group[0].device)
            for shape, group in alike.items()
        ]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One step along the gradients; a group without any stays as it is."""
        for group, momentum in zip(self._groups, self._momenta, strict=True):
            gradients = [p.grad.flatten(1) for p in group if p.grad is not None]
            if len(gradients) < len(group):  # single frames pass some layers by
                continue
            gradient = torch.stack(gradients)
            momentum.lerp_(gradient, 1 - MOMENTUM)
            step = orthogonal(gradient.lerp(momentum, MOMENTUM)).to(gradient)
            length = 0.2 * max(step.shape[1:]) ** 0.5
            for weight, part in zip(group, step, strict=True):
                weight.mul_(1 - rate * SHRINK).sub_(part.view_as(weight), alpha=rate * length)


def orthogonal(matrices: Tensor) -> Tensor:
    """(N, R, C): the same directions, with singular values brought near one (0.7 to 1.2)."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).bfloat16()
    x = x / (torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = QUINTIC
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
