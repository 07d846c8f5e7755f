"""A sweep's axes and arms → its cells: one for every trial to be, before anything is composed."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from wanexp.compose.folders import available
from wanexp.compose.space import Axis, read_axis
from wanexp.compose.tree import parse_overrides, split_overrides
from wanexp.names import nearest
from wanexp.strict import ConfigError

TRIAL = ("model", "recipe", "case", "memory", "seed")
"""What decides a trial, and so all that can be an axis."""


PLACES = ("case", "seed")
"""Axes that every arm has all of."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One point before composing: the overrides that make its arm, its case and its seed.

    ``place`` has the overrides that make case and seed, where these are axes.
    """

    arm: str
    overrides: tuple[str, ...]
    case: str
    seed: int
    place: tuple[str, ...]


def make_cells(
    params: Mapping[str, object],
    arms: Mapping[str, object],
    overrides: Sequence[str],
    options: Mapping[str, object],
) -> list[Cell]:
    """Grid × arms × cases × seeds, inside a Hydra session.

    ``params`` and ``arms`` are the sweeper's; ``overrides`` the user's, which replace axes;
    ``options`` the composed tree, whose case and seed hold where no axis names them.
    """
    axes = _axes(params, overrides)
    _check_arms(arms, axes, overrides)
    cases, seeds = axes.pop("case", None), axes.pop("seed", None)
    own = options.get("case")
    own_case = str(own["name"]) if isinstance(own, Mapping) and "name" in own else "case"
    own_seed = str(options.get("seed"))
    return [
        Cell(
            arm=arm,
            overrides=texts,
            case=_value(case),
            seed=seed,
            place=(*([case] if cases else []), *([f"seed={seed}"] if seeds else [])),
        )
        for case in cases or [f"case={own_case}"]
        for seed in _seeds(seeds or [f"seed={own_seed}"])
        for arm, texts in _arms(arms or {"": []}, axes).items()
    ]


def _axes(params: Mapping[str, object], overrides: Sequence[str]) -> dict[str, list[str]]:
    """Axis → an override for each of its values; what the user gave replaces the sweep's."""
    texts = _axis_texts(params, overrides)
    axes = {}
    for key, override in zip(texts, parse_overrides(list(texts.values())), strict=True):
        _check_root(key)
        if override.is_sweep_override() and not override.is_discrete_sweep():
            raise ConfigError(
                f"{key}: an interval has no list of values; use choice or range, or a search"
            )
        many = override.is_sweep_override()
        values = override.sweep_string_iterator() if many else [override.get_value_element_as_str()]
        name = override.get_key_element()
        axes[key] = list(dict.fromkeys(f"{name}={value}" for value in values))
        if not axes[key]:
            names = ", ".join(available(f"conf/{key}")) or "none"
            raise ConfigError(f"{texts[key]}: no value at all (have: {names})")
    return axes


def _axis_texts(params: Mapping[str, object], overrides: Sequence[str]) -> dict[str, str]:
    """Axis → the override with all of its values; one that the user fixed is none."""
    fixed, swept = split_overrides(overrides)
    held = {override.key_or_group for override in parse_overrides(fixed)}
    texts = {key: _axis_text(key, value) for key, value in params.items() if key not in held}
    return texts | {o.key_or_group: t for t, o in zip(swept, parse_overrides(swept), strict=True)}


def _check_root(key: str) -> None:
    root = re.split(r"[./@]", key.lstrip("/"))[0]
    if root not in TRIAL:
        raise ConfigError(
            f"{key}: an axis belongs to one of {', '.join(TRIAL)}{nearest(root, TRIAL)}"
        )


def _axis_text(key: str, value: object) -> str:
    if isinstance(value, Mapping | Sequence) and not isinstance(value, str):
        raise ConfigError(
            f"hydra.sweeper.params.{key}: expected the values with commas between them as one text"
            f' ("0.4,0.5"), got {value}'
        )
    return f"{key}={'null' if value is None else value}"


def _value(text: str) -> str:
    return text.split("=", 1)[1]


def _check_arms(
    arms: Mapping[str, object], axes: Mapping[str, list[str]], overrides: Sequence[str]
) -> None:
    """Arms that set what an axis or every trial sets would not mean what they say."""
    fixed, _ = split_overrides(overrides)
    every = {o.key_or_group: text for text, o in zip(fixed, parse_overrides(fixed), strict=True)}
    for name, own in arms.items():
        if not isinstance(own, Sequence) or isinstance(own, str):
            raise ConfigError(f"arms.{name}: expected a list of overrides, got {own!r}")
        keys = set()
        for override in parse_overrides([str(text) for text in own]):
            key = override.key_or_group
            keys.add(key)
            if override.is_sweep_override():
                raise ConfigError(
                    f"arms.{name}: {override.input_line} has several values; an arm has one of"
                    " each, the grid (params) has axes"
                )
            if key in ("case", "seed"):
                raise ConfigError(f"arms.{name}: {key} is the whole sweep's, not one arm's")
            if key in axes:
                raise ConfigError(f"{key}: arm {name} sets it, so it cannot be an axis as well")
        every = {key: text for key, text in every.items() if key in keys}
    if arms and every:
        raise ConfigError(
            f"{next(iter(every.values()))}: every arm sets it itself, so this would change nothing"
        )


def _arms(named: Mapping[str, object], axes: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    """Named arms × grid values → arm name → the overrides that make it."""
    arms: dict[str, tuple[str, ...]] = {}
    for name, own in named.items():
        for cell in itertools.product(*axes.values()):
            label = ",".join([name] * bool(name) + [arm_label(cell)] * bool(cell))
            arms[label or "default"] = (*map(str, cast("Sequence[object]", own)), *cell)
    return arms


def arm_label(overrides: Sequence[str]) -> str:
    """What an arm of these settings is called: ``refine.denoise=0.4,refine.steps=20``."""
    return ",".join(map(_short, overrides))


def _short(text: str) -> str:
    """``recipe.stages.refine.denoise=0.4`` → ``refine.denoise=0.4``; a recipe is its name."""
    text = text.lstrip("+")
    for prefix in ("recipe.stages.", "recipe.", "recipe="):
        text = text.removeprefix(prefix)
    return text


def _seeds(texts: Sequence[str]) -> list[int]:
    try:
        return list(dict.fromkeys(int(_value(text)) for text in texts))
    except ValueError:
        given = ", ".join(map(_value, texts))
        raise ConfigError(f"seed: expected whole numbers, got {given}") from None


def split_space(
    params: Mapping[str, object], overrides: Sequence[str]
) -> tuple[dict[str, Axis], dict[str, object], list[str]]:
    """The axes that a search chooses on, and what is left: cases and seeds, which all arms have."""
    texts = _axis_texts(params, overrides)
    space = {key: read_axis(key, text) for key, text in texts.items() if key not in PLACES}
    for key in space:
        _check_root(key)
    rest = {key: value for key, value in params.items() if key in PLACES}
    parsed = parse_overrides(overrides)
    kept = [t for t, o in zip(overrides, parsed, strict=True) if o.key_or_group not in space]
    return space, rest, kept
