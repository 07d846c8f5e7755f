"""A named sweep and the user's overrides → the points it asks for (arm × case × seed)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wanexp.compose.folders import available, find
from wanexp.compose.tree import compose_checked, hydra_session, parse_overrides, plain
from wanexp.names import nearest
from wanexp.strict import ConfigError

HEADER = re.compile(r"#\s*(Question|Expectation|Budget):\s*(.*)")


@dataclass(frozen=True, kw_only=True)
class Point:
    """One trial to be: the arm's name, its case and seed, and the composed tree."""

    arm: str
    case: str
    seed: int
    tree: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A question and all that it asks for.

    Attributes:
        header: ``Question``, ``Expectation`` and ``Budget`` from the file's comments.
        arms: Name to the overrides that make it.
        points: Case by case, seed by seed, arm by arm, so that comparisons fill up early and a
            case is encoded once.
        options: The rest of the configuration, the same for every point.
    """

    name: str
    header: Mapping[str, str]
    arms: Mapping[str, tuple[str, ...]]
    cases: tuple[str, ...]
    seeds: tuple[int, ...]
    points: tuple[Point, ...]
    options: Mapping[str, object]


def expand_sweep(name: str, overrides: Sequence[str] = ()) -> Sweep:
    """Every point of ``sweeps/NAME.yaml`` after the user's overrides.

    An override of an axis replaces the axis (``seed=0,1,2``, ``case=astronaut``); other
    overrides hold for every arm, and an arm's own settings win over them.

    Raises:
        ConfigError: Unknown sweep, key or group member, or a value that Hydra cannot read.
    """
    path = find("sweeps", name)
    if path is None:
        names = available("sweeps")
        raise ConfigError(f"no sweep {name!r}{nearest(name, names)} (have: {', '.join(names)})")
    with hydra_session():
        return _expand(name, _header(path.read_text(encoding="utf-8")), list(overrides))


def _expand(name: str, header: Mapping[str, str], overrides: list[str]) -> Sweep:
    fixed, _ = _split(overrides)
    base = [f"+sweeps={name}", *fixed]
    composed = compose_checked(base, with_hydra=True)
    options = plain(compose_checked(base))
    cells = make_cells(
        plain(composed.hydra.sweeper.params), plain(composed.hydra.sweeper.arms), overrides, options
    )
    trees = _trees(base, cells, options)
    points = [
        Point(
            arm=cell.arm,
            case=cell.case,
            seed=cell.seed,
            tree={**trees[cell.arm, cell.case], "seed": cell.seed},
        )
        for cell in cells
    ]
    return Sweep(
        name=name,
        header=header,
        arms={cell.arm: cell.overrides for cell in cells},
        cases=tuple(dict.fromkeys(cell.case for cell in cells)),
        seeds=tuple(dict.fromkeys(cell.seed for cell in cells)),
        points=tuple(points),
        options=options,
    )


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One point before composing: the overrides that make its arm, its case and its seed."""

    arm: str
    overrides: tuple[str, ...]
    case: str
    seed: int


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
    case = options["case"]
    own = str(case["name"]) if isinstance(case, Mapping) else "case"
    cases, seeds = axes.pop("case", [own]), _seeds(axes.pop("seed", [str(options["seed"])]))
    return [
        Cell(arm=arm, overrides=texts, case=case, seed=seed)
        for case in cases
        for seed in seeds
        for arm, texts in _arms(arms or {"": []}, axes).items()
    ]


def _split(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """The overrides with one value, and those with several."""
    swept = [o.is_sweep_override() for o in parse_overrides(overrides)]
    pairs = list(zip(overrides, swept, strict=True))
    return [text for text, many in pairs if not many], [text for text, many in pairs if many]


def _header(text: str) -> dict[str, str]:
    """The sentences after ``# Question:`` and its siblings, continuation lines included."""
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
    """Axis → its values as texts; what the user gave replaces what the sweep says."""
    fixed, swept = _split(overrides)
    held = {override.key_or_group for override in parse_overrides(fixed)}
    texts = {key: f"{key}={value}" for key, value in params.items() if key not in held}
    texts |= {o.key_or_group: t for t, o in zip(swept, parse_overrides(swept), strict=True)}
    axes = {}
    for key, override in zip(texts, parse_overrides(list(texts.values())), strict=True):
        if override.is_sweep_override() and not override.is_discrete_sweep():
            raise ConfigError(f"{key}: an interval has no list of values; use choice or range")
        many = override.is_sweep_override()
        values = override.sweep_string_iterator() if many else [override.get_value_element_as_str()]
        axes[key] = list(values)
    return axes


def _arms(named: Mapping[str, object], axes: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    """Named arms × grid values → arm name → the overrides that make it."""
    arms: dict[str, tuple[str, ...]] = {}
    for name, own in named.items():
        if not isinstance(own, Sequence) or isinstance(own, str):
            raise ConfigError(f"arms.{name}: expected a list of overrides, got {own!r}")
        for values in itertools.product(*axes.values()):
            cell = [f"{key}={value}" for key, value in zip(axes, values, strict=True)]
            label = ",".join([name] * bool(name) + [_short(text) for text in cell])
            arms[label or "default"] = (*map(str, own), *cell)
    return arms


def _short(text: str) -> str:
    """``recipe.stages.refine.denoise=0.4`` → ``refine.denoise=0.4``; a recipe is its name."""
    for prefix in ("recipe.stages.", "recipe.", "recipe="):
        text = text.removeprefix(prefix)
    return text


def _seeds(texts: Sequence[str]) -> list[int]:
    try:
        return list(dict.fromkeys(int(text) for text in texts))
    except ValueError:
        raise ConfigError(f"seed: expected whole numbers, got {', '.join(texts)}") from None


def _trees(
    base: Sequence[str], cells: Sequence[Cell], options: Mapping[str, object]
) -> dict[tuple[str, str], dict[str, object]]:
    """(arm, case) → composed tree.

    Arms and cases are composed once each and put together, which is what keeps a wide sweep
    quick to plan; only arms that change the case itself are composed case by case.
    """
    rest = [text for text in base if not text.startswith("case=")]
    named = dict.fromkeys(cell.case for cell in cells)
    own = options["case"]
    case_trees = {
        case: own
        if isinstance(own, Mapping) and own.get("name") == case
        else plain(compose_checked([*rest, f"case={case}"]))["case"]
        for case in named
    }
    trees = {}
    for arm, texts in {cell.arm: cell.overrides for cell in cells}.items():
        keys = {override.key_or_group for override in parse_overrides(texts)}
        kept = [t for t in rest if parse_overrides([t])[0].key_or_group not in keys]
        if any(key.split(".")[0] == "case" for key in keys):
            for case in named:
                trees[arm, case] = plain(compose_checked([*kept, f"case={case}", *texts]))
        else:
            tree = plain(compose_checked([*kept, *texts]))
            trees |= {(arm, case): {**tree, "case": case_trees[case]} for case in named}
    return trees
