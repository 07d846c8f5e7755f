"""Seeds: one number a trial, one derived from it for every stage."""

from __future__ import annotations

SEED_LIMIT = 2**63


def stage_seed(seed: int, k: int) -> int:
    """The seed of stage k (from 0) of a trial: (1000·seed + k) mod 2^63.

    Neighbouring trial seeds share no stage seed, so no noise, for up to 999 stages. A stage's own
    noise is seeded with it, its sampler's draws with it or with one more (see ``wanexp.noise``).

    Raises:
        ValueError: ``seed`` or ``k`` is negative.
    """
    if seed < 0 or k < 0:
        raise ValueError(f"seeds and stages count from 0, got seed {seed!r} and stage {k!r}")
    return (1000 * seed + k) % SEED_LIMIT
