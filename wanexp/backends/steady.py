"""A causal video encoder that stops computing where nothing changes any more, to the bit.

Image to video encodes the source followed by grey frames, in chunks of four. A causal layer that
is given the same chunk again and again, and keeps the same memory of the past, gives the same
output again; so its output is kept until input or memory differ. The expensive layers at full
resolution get there within a few chunks, the deep ones look further back and go on computing.

Measured on one CPU core at 128×128, 17 and 81 frames: wan-mini's VAE 0.88 → 0.73 s and 4.2 → 1.2 s,
one in the shape of Wan 2.1's (random weights) 17 → 12 s and 95 → 30 s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn


class CausalLayer(Protocol):
    """A layer with a memory: entries of ``feat_cache`` from ``feat_idx[0]`` on, which it moves."""

    def __call__(self, x: Tensor, feat_cache: list[Tensor | None], feat_idx: list[int]) -> Tensor:
        """The layer's output for the next chunk."""
        ...


@contextmanager
def steady(layers: Sequence[nn.Module]) -> Iterator[None]:
    """Let these layers of an encoder reuse their output while input and memory stay the same."""
    for layer in layers:
        setattr(layer, "forward", reusing(layer.forward))  # noqa: B010  (a method, for a while)
    try:
        yield
    finally:
        for layer in layers:
            delattr(layer, "forward")


def reusing(forward: CausalLayer) -> CausalLayer:
    """``forward``, computed only where its input or its memory differ from the call before.

    A call that leaves its memory as it found it, asked again with the same input, would do the
    same again.
    """
    settled: tuple[Tensor, list[Tensor | None], Tensor] | None = None

    def run(x: Tensor, feat_cache: list[Tensor | None], feat_idx: list[int]) -> Tensor:
        nonlocal settled
        begin = feat_idx[0]
        if settled is not None:
            known, memory, output = settled
            end = begin + len(memory)
            untouched = all(a is b for a, b in zip(feat_cache[begin:end], memory, strict=True))
            if untouched and _same(x, known):
                feat_idx[0] = end
                return output
        before = list(feat_cache)
        output = forward(x, feat_cache=feat_cache, feat_idx=feat_idx)
        memory = feat_cache[begin : feat_idx[0]]
        kept = all(map(_same, before[begin : feat_idx[0]], memory))
        settled = (x, memory, output) if kept else None
        return output

    return run


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None:
        return a is b
    return a is b or (a.shape == b.shape and torch.equal(a, b))
