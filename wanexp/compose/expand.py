"""A named sweep and the user's overrides → the points it asks for (arm × case × seed)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from omegaconf import DictConfig, ListConfig

from wanexp.compose.cells import Cell, make_cells, split_space
from wanexp.compose.combine import Combination, check_combined, split_arms
from wanexp.compose.condition import cell_lookup, holds, parse_condition
from wanexp.compose.header import header_of
from wanexp.compose.space import Axis
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
        search: The settings of a search, which makes arms of its own beside the baseline; else
            empty.
        space: What it may choose among.
        drop: Conditions of arms that it leaves out.
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
    search: Mapping[str, object] = field(default_factory=dict)
    space: Mapping[str, Axis] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    base: tuple[str, ...] = ()
    whole: dict[tuple[str, ...], DictConfig] = field(
        default_factory=dict, compare=False, repr=False
    )


KEYS = ("params", "arms", "drop", "search")
"""What a sweep's file may say under ``hydra.sweeper``."""

BASELINE = "baseline"
"""The arm that a search compares what it finds with: the sweep's own recipe."""


def expand_sweep(name: str, overrides: Sequence[str] = ()) -> Sweep:
    """Every point of ``sweeps/NAME.yaml`` after the user's overrides.

    An override of an axis replaces the axis (``seed=0,1,2``, ``case=astronaut``); other
    overrides hold for every arm, and an arm's own settings win over them. Of two overrides of one
    key the later holds.

    Raises:
        ConfigError: Unknown sweep, key or group member, a value that Hydra cannot read, an axis
            without values, or an override that would change nothing.
    """
    header = header_of(name)
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
        header = header_of(keys["sweeps"]) if asked else {}
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
        if key not in (*KEYS, "_target_", "drive"):
            raise ConfigError(
                f"sweeps/{name}.yaml: hydra.sweeper has no {key!r}{nearest(str(key), KEYS)}"
            )
    given, later = split_arms(sweeper.get("arms") or {})
    params, search = sweeper.get("params") or {}, _search(sweeper.get("search"))
    space: dict[str, Axis] = {}
    drop = _conditions(sweeper.get("drop"))
    if search:
        space, params, overrides = split_space(params, overrides)
        options = _searched(options, [*given, *later], space)
        given = {BASELINE: []}
    cells = make_cells(params, given, overrides, options)
    whole: dict[tuple[str, ...], DictConfig] = {}
    points = _points(base, cells, options, whole)
    points = points if search else _kept(drop, points)
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
        search=search,
        space=space,
        drop=drop,
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


def _conditions(drop: object) -> tuple[str, ...]:
    if drop is not None and (isinstance(drop, str) or not isinstance(drop, Sequence)):
        raise ConfigError(f"hydra.sweeper.drop: expected a list of conditions, got {drop!r}")
    return tuple(map(str, drop or ()))


def _kept(drop: Sequence[str], points: tuple[Point, ...]) -> tuple[Point, ...]:
    """The points of which no condition of ``drop`` is true."""
    conditions = [parse_condition(text) for text in drop]
    kept = tuple(point for point in points if not any(holds(c, _names(point)) for c in conditions))
    if not kept:
        raise ConfigError(f"hydra.sweeper.drop: nothing is left after {', '.join(drop)}")
    return kept


def is_dropped(sweep: Sweep, point: Point) -> bool:
    """Whether one of the sweep's conditions leaves the point out."""
    return any(holds(parse_condition(text), _names(point)) for text in sweep.drop)


def _search(given: object) -> dict[str, object]:
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not given:
        raise ConfigError(
            f"hydra.sweeper.search: expected a mapping as {{arms: 40}}, got {given!r}"
        )
    return {str(key): list(v) if isinstance(v, ListConfig) else v for key, v in given.items()}


def _searched(
    options: Mapping[str, object], arms: Sequence[str], space: Mapping[str, Axis]
) -> dict[str, object]:
    """The options of a search, whose baseline has no other name than its own."""
    if arms:
        raise ConfigError(
            f"hydra.sweeper.search: makes its arms itself beside the baseline, so {arms[0]!r}"
            " cannot be one as well"
        )
    if not space:
        raise ConfigError("hydra.sweeper.search: params has nothing to choose among")
    protocol = options.get("protocol")
    own = protocol if isinstance(protocol, Mapping) else {}
    return {**options, "protocol": {**own, "baseline": BASELINE}}


def _names(point: Point) -> Callable[[str], object]:
    groups = {"recipe", "model", "memory"}
    chosen = dict(text.split("=", 1) for text in point.overrides if text.split("=", 1)[0] in groups)
    own = {"arm": point.arm, "case": point.case, "seed": point.seed, **chosen}
    return cell_lookup(own, point.tree)


def _baseline(options: Mapping[str, object], arms: Mapping[str, object]) -> str:
    protocol = options.get("protocol")
    named = protocol.get("baseline") if isinstance(protocol, Mapping) else None
    return str(named) if named is not None else next(iter(arms))


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
