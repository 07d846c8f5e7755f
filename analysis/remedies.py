"""Causes that a recipe's settings show, and the override that is said to mend each.

Numbers are the guide's. Its cfg values are for a model whose own is far below them, so a cfg that
is high for the model at hand counts first, whatever the guide's range.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.diagnosis import Reading, StageReading

FAR_CFG = 2.0
"""Times the model's own."""

FEW_STEPS = 25


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Why, and the override (several in one line) that mends it, if it does."""

    why: str
    override: str


Look = Callable[["Reading", "StageReading"], Cause | None]


def causes_of(rule: str, reading: Reading, stage: str) -> list[Cause]:
    """The causes that the settings show, in the order in which to try them."""
    own = next((one for one in reading.stages if one.name == stage), None)
    if own is None:
        return []
    found = (look(reading, own) for look in CAUSES[rule])
    return [cause for cause in found if cause is not None]


def _set(stage: StageReading, key: str, value: object) -> str:
    return f"recipe.stages.{stage.name}.{key}={value}"


def _far_cfg(reading: Reading, stage: StageReading) -> Cause | None:
    """A guidance far above what the model learnt; not in the guide."""
    if stage.cfg <= FAR_CFG * reading.own_cfg:
        return None
    high = [one for one in reading.stages if one.cfg > FAR_CFG * reading.own_cfg]
    return Cause(
        why=f"cfg {stage.cfg:g} is far above the model's own {reading.own_cfg:g}",
        override=" ".join(_set(one, "cfg", "null") for one in high),
    )


def _lower_denoise(to: float, above: float) -> Look:
    def look(_: Reading, stage: StageReading) -> Cause | None:
        if stage.denoise is not None and stage.denoise > above:
            return Cause(
                why=f"denoise {stage.denoise:g} is too high", override=_set(stage, "denoise", to)
            )
        if stage.denoise is None and stage.sigma_start > above:
            return Cause(
                why=f"{100 * stage.sigma_start:.0f} % noise is too much",
                override=_set(stage, "sigma_start", to),
            )
        return None

    return look


def _less_denoise(_: Reading, stage: StageReading) -> Cause | None:
    """A tenth less, as against flicker."""
    if stage.denoise is not None and stage.denoise > 0.25:
        return Cause(
            why=f"denoise {stage.denoise:g} destroys what held together",
            override=_set(stage, "denoise", f"{stage.denoise - 0.1:.3g}"),
        )
    if stage.denoise is None and 0.25 < stage.sigma_start < 1:
        return Cause(
            why=f"{100 * stage.sigma_start:.0f} % noise destroys what held together",
            override=_set(stage, "sigma_start", f"{stage.sigma_start - 0.1:.3g}"),
        )
    return None


def _lower_cfg(to: float, above: float) -> Look:
    def look(_: Reading, stage: StageReading) -> Cause | None:
        if stage.cfg <= above:
            return None
        return Cause(why=f"cfg {stage.cfg:g} is too high", override=_set(stage, "cfg", f"{to:g}"))

    return look


def _few_steps(_: Reading, stage: StageReading) -> Cause | None:
    if stage.steps >= FEW_STEPS:
        return None
    return Cause(why=f"{stage.steps} steps are few", override=_set(stage, "steps", 28))


def _other_sampler(reading: Reading, stage: StageReading) -> Cause | None:
    first = reading.stages[0]
    if stage.sampler == first.sampler:
        return None
    return Cause(
        why=f"its sampler {stage.sampler} is not {first.name}'s",
        override=_set(stage, "sampler", first.sampler),
    )


def _other_scheduler(reading: Reading, stage: StageReading) -> Cause | None:
    first = reading.stages[0]
    if stage.scheduler == first.scheduler:
        return None
    return Cause(
        why=f"its scheduler {stage.scheduler} is not {first.name}'s",
        override=_set(stage, "scheduler", first.scheduler),
    )


def _hardly_noise(_: Reading, stage: StageReading) -> Cause | None:
    """A denoise that is hardly any noise on this schedule; not in the guide."""
    if stage.denoise is None or stage.sigma_start >= stage.denoise / 2:
        return None
    return Cause(
        why=f"denoise {stage.denoise:g} with {stage.scheduler} is {100 * stage.sigma_start:.0f} %"
        " noise",
        override=f"{_set(stage, 'denoise', 'null')} {_set(stage, 'sigma_start', stage.denoise)}",
    )


def _more_denoise(_: Reading, stage: StageReading) -> Cause | None:
    if stage.denoise is not None and stage.denoise < 0.5:
        return Cause(
            why=f"denoise {stage.denoise:g} is too low", override=_set(stage, "denoise", 0.5)
        )
    if stage.denoise is None and stage.sigma_start < 0.5:
        return Cause(
            why=f"{100 * stage.sigma_start:.0f} % noise is too little",
            override=_set(stage, "sigma_start", 0.5),
        )
    return None


def _drop_stage(reading: Reading, _: StageReading) -> Cause | None:
    if len(reading.stages) < 3:
        return None
    last = reading.stages[-1].name
    return Cause(
        why=f"{len(reading.stages)} stages are one too many", override=f"~recipe.stages.{last}"
    )


def _all_cfg_lower(reading: Reading, _: StageReading) -> Cause | None:
    """One less in every stage that has more than the model's own."""
    high = [one for one in reading.stages if one.cfg > reading.own_cfg]
    if not high:
        return None
    lower = [(one, max(one.cfg - 1, reading.own_cfg)) for one in high]
    return Cause(
        why="cfg is above the model's own",
        override=" ".join(_set(one, "cfg", f"{cfg:g}") for one, cfg in lower),
    )


def _shorter_last(reading: Reading, stage: StageReading) -> Cause | None:
    if reading.steps <= 55 or stage.steps <= 15:
        return None
    return Cause(why=f"{reading.steps} steps are too many", override=_set(stage, "steps", 15))


def _smaller(reading: Reading, _: StageReading) -> Cause | None:
    width, height, _frames = reading.size
    if max(width, height) <= 512:
        return None
    shrink = 512 / max(width, height)
    low, high = (int(side * shrink) // 16 * 16 for side in (width, height))
    return Cause(
        why=f"{width} × {height} is large", override=f"recipe.width={low} recipe.height={high}"
    )


def _fewer_frames(reading: Reading, _: StageReading) -> Cause | None:
    frames = reading.size[2]
    if frames <= 13:
        return None
    fewer = max(13, (frames * 3 // 4 - 1) // 4 * 4 + 1)
    return Cause(why=f"{frames} frames are many", override=f"recipe.frames={fewer}")


def _memory(key: str, why: str) -> Look:
    def look(reading: Reading, _: StageReading) -> Cause | None:
        return None if reading.memory.get(key) else Cause(why=why, override=f"memory.{key}=true")

    return look


def _offload(reading: Reading, _: StageReading) -> Cause | None:
    """Not in the guide, and worth more than all that is: one expert at a time on the device."""
    if reading.memory.get("offload") != "none":
        return None
    return Cause(why="all of the weights are on the device", override="memory.offload=model")


CAUSES: Mapping[str, tuple[Look, ...]] = {
    "out_of_memory": (
        _memory("empty_cache", "what is cached stays between stages"),
        _memory("vae_tiling", "the VAE decodes whole frames"),
        _fewer_frames,
        _smaller,
        _drop_stage,
        _offload,
    ),
    "second_worse": (
        _far_cfg,
        _lower_denoise(0.35, 0.4),
        _lower_cfg(7.0, 7.5),
        _few_steps,
        _other_sampler,
    ),
    "no_change": (_hardly_noise, _more_denoise, _few_steps),
    "flicker_rises": (_far_cfg, _less_denoise, _other_scheduler, _lower_cfg(7.5, 8.0), _few_steps),
    "third_artefacts": (
        _far_cfg,
        _lower_denoise(0.3, 0.35),
        _lower_cfg(6.5, 7.0),
        _shorter_last,
        _drop_stage,
    ),
    "over_processed": (_far_cfg, _all_cfg_lower, _drop_stage),
    "too_slow": (_shorter_last, _smaller, _drop_stage),
}
"""Rule → causes in the guide's order, after those that it does not know."""

EVIDENCE: Mapping[str, str] = {
    "out_of_memory": "not tested: wan-mini fits everywhere.",
    "second_worse": (
        "the remedies do nothing: denoise 0.35, cfg 7 and 28 steps together leave warp, jitter and"
        " flicker within 3 % (4 pictures). With karras the second stage hardly begins, and it was"
        " worse than the first in none of 36 videos."
    ),
    "no_change": (
        "contradicts the remedy: denoise 0.5, cfg 7.5 and 30 steps change warp and flicker by less"
        " than 2 % (4 pictures), because 0.5 is 8 % noise. Starting from 45 % noise does change the"
        " video."
    ),
    "flicker_rises": (
        "contradicts the rule: between stages flicker rose in none of 36 videos, though it is high."
        " It comes from the first stage: 25 steps there instead of 18 halve it (47 % less), the"
        " model's own cfg takes 95 % of it; denoise a tenth lower with cfg 8 cannot be told apart."
    ),
    "third_artefacts": (
        "contradicts the remedy: 25 last steps instead of 28 change flicker by less than 1 % (4"
        " pictures), and so does 7.5 or 6.5 for cfg; the third stage starts from 2 % noise."
    ),
    "over_processed": (
        "agrees, and goes further: cfg 7.5 and 6.5 instead of 8.5 and 7.5 take 37 % of the flicker"
        " (4 pictures), the model's own 2 takes 95 % of it, and ended the ringing where"
        " it was tried."
    ),
    "too_slow": (
        "agrees: 15 last steps instead of 28 or 30 change flicker by less than 1 % (4 pictures),"
        " for a fifth fewer model calls."
    ),
}
"""Rule → what wan-mini's studies say of the guide's remedy."""
