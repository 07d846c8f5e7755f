"""Step caches: what part of a model call is guessed from the calls before it, as a setting.

Neighbouring steps of a sampler ask nearly the same of the model. A step cache leaves most of its
blocks out where it expects little change. It saves time and costs quality; how much of either is
what ``sweeps/acceleration.yaml`` asks. Each stage begins with an empty cache, so that a stage's
result never depends on what ran before it.

Sources: first_block: ParaAttention's First Block Cache, after TeaCache (arXiv:2411.19108); mag:
MagCache (arXiv:2506.09045); taylorseer: TaylorSeer (arXiv:2503.06923), in diffusers' lite form,
which predicts the last layer's output alone (the full form keeps every block's attention: over
100 GB at 480 × 832 × 81). All three run as diffusers implements them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from wanexp.strict import ConfigError, known

KINDS: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        "none": {},
        "first_block": {"threshold": 0.05},
        "mag": {"threshold": 0.06, "max_skip": 3, "retention": 0.2, "ratios": None},
        "taylorseer": {"interval": 5, "warmup": 3, "order": 1},
    }
)
"""Kind → its settings and what they are where nothing is said (diffusers' own values)."""

SKIPS_BLOCKS = ("first_block", "mag")
"""Kinds that run some blocks and leave out others of one call."""


@dataclass(frozen=True, kw_only=True)
class StepCache:
    """Which step cache, and how bold; a setting that the kind does not have is an error.

    Attributes:
        kind: A key of ``KINDS``.
        threshold: first_block: the relative change of the first block's output below which the
            other blocks are left out. mag: the error that may add up before a call is computed.
        max_skip: mag: calls that may be left out in a row.
        retention: mag: the share of a stage's first calls that is always computed.
        ratios: mag: expert → how the size of what its blocks add changes from call to call, from 1
            on; of these very weights (``wanexp calibrate`` measures them).
        interval: taylorseer: every so many calls one is computed.
        warmup: taylorseer: first calls that are always computed.
        order: taylorseer: of the Taylor polynomial.
    """

    kind: str = "none"
    threshold: float | None = None
    max_skip: int | None = None
    retention: float | None = None
    ratios: Mapping[str, tuple[float, ...]] | None = None
    interval: int | None = None
    warmup: int | None = None
    order: int | None = None

    def __post_init__(self) -> None:
        own = known("step_cache.kind", "step cache", KINDS, self.kind)
        for name, value in vars(self).items():
            if name == "kind":
                continue
            if name in own and value is None:
                object.__setattr__(self, name, own[name])
            elif name not in own and value is not None:
                has = ", ".join(own) or "no settings"
                raise ConfigError(f"step_cache.{name}: {self.kind} has {has}, not {name}")
        self._check_numbers()
        if self.kind == "mag" and not self.ratios:
            raise ConfigError(
                "step_cache.ratios: mag needs the ratios of these very weights, for each expert;"
                " `wanexp calibrate` measures them"
            )

    @property
    def on(self) -> bool:
        """Whether anything is cached at all."""
        return self.kind != "none"

    def settings(self) -> dict[str, object]:
        """The kind and its own settings, as plain values."""
        own = {name: getattr(self, name) for name in KINDS[self.kind]}
        if self.ratios:
            own["ratios"] = {name: list(values) for name, values in self.ratios.items()}
        return {"kind": self.kind, **own}

    def _check_numbers(self) -> None:
        for name, least in (("threshold", 0.0), ("max_skip", 1), ("interval", 1), ("warmup", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"step_cache.{name}: expected at least {least:g}, got {value:g}")
        if self.order is not None and not 0 <= self.order <= 4:
            raise ConfigError(f"step_cache.order: expected 0 to 4, got {self.order}")
        if self.retention is not None and not 0 <= self.retention <= 1:
            raise ConfigError(
                f"step_cache.retention: expected a share in [0, 1], got {self.retention:g}"
            )
        for expert, values in (self.ratios or {}).items():
            if not values or min(values) <= 0:
                raise ConfigError(f"step_cache.ratios.{expert}: expected numbers above 0")
