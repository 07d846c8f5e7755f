"""A named sweep and the user's overrides → the points it asks for (arm × case × seed)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from omegaconf import DictConfig

from wanexp.compose.combine import Combination, check_combined, split_arms
from wanexp.compose.condition import cell_lookup, holds, parse_condition
from wanexp.compose.folders import available, find
from wanexp.compose.tree import (
    compose_checked,
    compose_on,
    hydra_session,
    last_words,
    parse_overrides,
    plain,
    split_overrides,
)
from wanexp.names import nearest
from wanexp.strict import ConfigError

HEADER = re.compile(r"#\s*(Question|Expectation|Budget):\s*(.*)")


@dataclass(frozen=True, kw_only=True)
class Point:
    """One trial to be: the arm's name, its case and seed, and the composed tree.

    ``overrides`` make the arm, ``place`` makes case and seed where these are axes.
    """

    arm: str
    case: str
    seed: int
    tree: Mapping[str, object]
    overrides: tuple[str, ...] = ()
    place: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A question and all that it asks for.

    Attributes:
        header: ``Question``, ``Expectation`` and ``Budget`` from the file's comments.
        arms: Name to the overrides that make it.
        points: Case by case, seed by seed, arm by arm, so that comparisons fill up early and a
            case is encoded once.
        options: The rest of the configuration, the same for every point.
        later: Arm that is decided once others are judged → those that it may combine.
        made: Arm that was decided → those that it combines.
        base: The overrides that every point has in common.
        whole: What groups compose to, kept for arms that are made later.
    """

    name: str
    header: Mapping[str, str]
    arms: Mapping[str, tuple[str, ...]]
    cases: tuple[str, ...]
    seeds: tuple[int, ...]
    points: tuple[Point, ...]
    options: Mapping[str, object]
    later: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    made: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    base: tuple[str, ...] = ()
    whole: dict[tuple[str, ...], DictConfig] = field(
        default_factory=dict, compare=False, repr=False
    )


TRIAL = ("model", "recipe", "case", "memory", "seed")
"""What decides a trial, and so all that can be an axis."""


def expand_sweep(name: str, overrides: Sequence[str] = ()) -> Sweep:
    """Every point of ``sweeps/NAME.yaml`` after the user's overrides.

    An override of an axis replaces the axis (``seed=0,1,2``, ``case=astronaut``); other
    overrides hold for every arm, and an arm's own settings win over them. Of two overrides of one
    key the later holds.

    Raises:
        ConfigError: Unknown sweep, key or group member, a value that Hydra cannot read, an axis
            without values, or an override that would change nothing.
    """
    header = _header(name)
    with hydra_session():
        given = last_words(overrides)
        for override in parse_overrides(given):
            if override.key_or_group in ("sweeps", "study", "arm"):
                raise ConfigError(
                    f"{override.key_or_group}: a sweep's file names its study and its arms"
                    " (studies=FOLDER keeps two runs of it apart)"
                )
        return _expand(name, header, [f"+sweeps={name}"], given)


def expand_arguments(arguments: Sequence[str]) -> Sweep:
    """What a command line of Hydra's own (``python -m wanexp.run -m``) asks for.

    ``+sweeps=NAME`` is that sweep, in a study of its name where the user gives no other
    (``study=…``); without one the axes alone are a study.
    """
    with hydra_session():
        given = last_words(arguments)
        keys = {o.key_or_group: str(o.value()) for o in parse_overrides(given)}
        own = [t for t, o in zip(given, parse_overrides(given), strict=True) if _asks(o.input_line)]
        asked = [f"+sweeps={keys['sweeps']}"] if "sweeps" in keys else []
        study = keys.get("study") or keys.get("sweeps")
        header = _header(keys["sweeps"]) if asked else {}
        return _expand(study, header, asked, own)


def _asks(text: str | None) -> bool:
    """Whether an override is about trials, not about the study that they go into."""
    key = (text or "").split("=", 1)[0].lstrip("+~/")
    return key not in ("sweeps", "study", "arm")


def _expand(
    name: str | None, header: Mapping[str, str], asked: list[str], overrides: list[str]
) -> Sweep:
    """``asked`` names the sweep's file, where there is one; ``overrides`` are the user's."""
    base = [*asked, *split_overrides(overrides)[0]]
    composed = compose_checked(base, with_hydra=True)
    options = plain(composed)
    if "sweeps" in options:
        raise ConfigError(f"sweeps/{name}.yaml: its first line must be '# @package _global_'")
    sweeper = composed.hydra.sweeper
    for key in sweeper:
        if key not in ("_target_", "params", "arms", "drop", "drive"):
            hint = nearest(str(key), ["params", "arms", "drop"])
            raise ConfigError(f"sweeps/{name}.yaml: hydra.sweeper has no {key!r}{hint}")
    given, later = split_arms(sweeper.get("arms") or {})
    cells = make_cells(sweeper.get("params") or {}, given, overrides, options)
    whole: dict[tuple[str, ...], DictConfig] = {}
    points = _kept(sweeper.get("drop"), _points(base, cells, options, whole))
    arms = {point.arm: point.overrides for point in points}
    if later:
        check_combined(later, arms, list(given), _baseline(options, arms))
    return Sweep(
        name=name or str(options["study"]),
        header=header,
        arms=arms,
        cases=tuple(dict.fromkeys(point.case for point in points)),
        seeds=tuple(dict.fromkeys(point.seed for point in points)),
        points=points,
        options=options,
        later=later,
        base=tuple(base),
        whole=whole,
    )


def arm_points(sweep: Sweep, arm: str, overrides: Sequence[str]) -> tuple[Point, ...]:
    """The points of one more arm, at every case and seed of the sweep.

    Raises:
        ConfigError: Overrides that do not go together.
    """
    places = {(point.case, point.seed): point for point in sweep.points}
    cells = [
        Cell(arm=arm, overrides=tuple(overrides), case=case, seed=seed, place=point.place)
        for (case, seed), point in places.items()
    ]
    # What composing is slow at is known already, unless every arm changes the cases.
    known = {
        point.case: point.tree["case"]
        for point in sweep.points
        if not any(_is_case(text) for text in point.overrides)
    }
    with hydra_session():
        try:
            return _points(sweep.base, cells, sweep.options, sweep.whole, known)
        except ConfigError as error:
            raise ConfigError(f"arm {arm}: {error}") from None


def with_arm(sweep: Sweep, arm: str, found: Combination) -> Sweep:
    """The sweep with an arm that is now decided; its points come last."""
    points = arm_points(sweep, arm, found.overrides)
    return replace(
        sweep,
        arms={**sweep.arms, arm: found.overrides},
        points=(*sweep.points, *points),
        made={**sweep.made, arm: found.of},
    )


def _points(
    base: Sequence[str],
    cells: Sequence[Cell],
    options: Mapping[str, object],
    whole: dict[tuple[str, ...], DictConfig],
    known: Mapping[str, object] | None = None,
) -> tuple[Point, ...]:
    trees = _trees(base, cells, options, whole, known or {})
    return tuple(
        Point(
            arm=cell.arm,
            case=cell.case,
            seed=cell.seed,
            tree={**trees[cell.arm, cell.case], "seed": cell.seed},
            overrides=cell.overrides,
            place=cell.place,
        )
        for cell in cells
    )


def _kept(drop: object, points: tuple[Point, ...]) -> tuple[Point, ...]:
    """The points of which no condition of ``drop`` is true."""
    if drop is None:
        return points
    if isinstance(drop, str) or not isinstance(drop, Sequence):
        raise ConfigError(f"hydra.sweeper.drop: expected a list of conditions, got {drop!r}")
    conditions = [parse_condition(str(text)) for text in drop]
    kept = tuple(point for point in points if not any(holds(c, _names(point)) for c in conditions))
    if not kept:
        raise ConfigError(f"hydra.sweeper.drop: nothing is left after {', '.join(map(str, drop))}")
    return kept


def _names(point: Point) -> Callable[[str], object]:
    groups = {"recipe", "model", "memory"}
    chosen = dict(text.split("=", 1) for text in point.overrides if text.split("=", 1)[0] in groups)
    own = {"arm": point.arm, "case": point.case, "seed": point.seed, **chosen}
    return cell_lookup(own, point.tree)


def _baseline(options: Mapping[str, object], arms: Mapping[str, object]) -> str:
    protocol = options.get("protocol")
    named = protocol.get("baseline") if isinstance(protocol, Mapping) else None
    return str(named) if named is not None else next(iter(arms))


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


def _header(name: str) -> dict[str, str]:
    """The sentences after ``# Question:`` and its siblings, continuation lines included."""
    path = find("sweeps", name)
    if path is None:
        names = available("sweeps")
        raise ConfigError(f"no sweep {name!r}{nearest(name, names)} (have: {', '.join(names)})")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected text in UTF-8 ({error.reason})") from None
    found: dict[str, str] = {}
    current = None
    for line in text.splitlines():
        if match := HEADER.match(line):
            current = match[1]
            found[current] = match[2].strip()
        elif current and line.startswith("#") and line.strip("# "):
            found[current] += " " + line.strip("# ")
        else:
            current = None
    return found


def _axes(params: Mapping[str, object], overrides: Sequence[str]) -> dict[str, list[str]]:
    """Axis → an override for each of its values; what the user gave replaces the sweep's."""
    fixed, swept = split_overrides(overrides)
    held = {override.key_or_group for override in parse_overrides(fixed)}
    texts = {key: _axis_text(key, value) for key, value in params.items() if key not in held}
    texts |= {o.key_or_group: t for t, o in zip(swept, parse_overrides(swept), strict=True)}
    axes = {}
    for key, override in zip(texts, parse_overrides(list(texts.values())), strict=True):
        root = re.split(r"[./@]", key.lstrip("/"))[0]
        if root not in TRIAL:
            raise ConfigError(
                f"{key}: an axis belongs to one of {', '.join(TRIAL)}{nearest(root, TRIAL)}"
            )
        if override.is_sweep_override() and not override.is_discrete_sweep():
            raise ConfigError(f"{key}: an interval has no list of values; use choice or range")
        many = override.is_sweep_override()
        values = override.sweep_string_iterator() if many else [override.get_value_element_as_str()]
        name = override.get_key_element()
        axes[key] = list(dict.fromkeys(f"{name}={value}" for value in values))
        if not axes[key]:
            names = ", ".join(available(f"conf/{key}")) or "none"
            raise ConfigError(f"{texts[key]}: no value at all (have: {names})")
    return axes


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
            label = ",".join([name] * bool(name) + [_short(text) for text in cell])
            arms[label or "default"] = (*map(str, cast("Sequence[object]", own)), *cell)
    return arms


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


def _trees(
    base: Sequence[str],
    cells: Sequence[Cell],
    options: Mapping[str, object],
    whole: dict[tuple[str, ...], DictConfig],
    known: Mapping[str, object],
) -> dict[tuple[str, str], dict[str, object]]:
    """(arm, case) → composed tree; ``known`` are cases that were composed before.

    Arms and cases are composed once each and put together, which is what keeps a wide sweep
    quick to plan; only arms that change the case itself are composed case by case.
    """
    places = {cell.case: [text for text in cell.place if _is_case(text)] for cell in cells}
    cases = dict(known)
    for case, place in places.items():
        if case not in cases:
            composed = plain(compose_checked([*base, *place])) if place else options
            cases[case] = composed.get("case")
    arms = {cell.arm: cell.overrides for cell in cells}
    trees = {}
    for arm, texts in arms.items():
        try:
            if any(_is_case(text) for text in texts):
                for case, place in places.items():
                    trees[arm, case] = plain(compose_checked([*base, *place, *texts]))
            else:
                tree = plain(compose_on(whole, base, texts))
                trees |= {(arm, case): {**tree, "case": cases[case]} for case in places}
        except ConfigError as error:
            raise ConfigError(f"arm {arm}: {error}" if len(arms) > 1 else str(error)) from None
    return trees


def _is_case(text: str) -> bool:
    return re.match(r"[+~]*case[.=@]", text) is not None
