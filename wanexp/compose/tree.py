"""Composing one configuration into a plain tree, with errors that name the nearest name."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException, MissingConfigException
from hydra.version import VersionBase
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from wanexp.compose.folders import available, find, shipped_folder, user_folder
from wanexp.compose.search_path import register
from wanexp.names import nearest
from wanexp.strict import ConfigError

GROUPS = ("model", "recipe", "case", "memory", "protocol", "tracking", "sweeps")


@contextmanager
def hydra_session() -> Iterator[None]:
    """Hydra set up on wanexp's configuration; whatever was set up before is put back."""
    register()
    saved, version = GlobalHydra.instance().hydra, VersionBase.instance().version_base
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(shipped_folder() / "conf"), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = saved
        VersionBase.instance().version_base = version


def compose_tree(overrides: Sequence[str] = ()) -> dict[str, object]:
    """One run's configuration as plain dicts, lists and scalars.

    Raises:
        ConfigError: For an unknown group member, key or sentence that Hydra cannot read.
    """
    with hydra_session():
        parsed = parse_overrides(overrides)
        swept = [o.get_key_element() for o in parsed if o.is_sweep_override()]
        if swept:
            raise ConfigError(f"{swept[0]}: several values make a sweep, not one run")
        return plain(compose_checked(overrides))


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """Hydra's own parsing (``a=1,2``, ``range``, ``choice``, ``glob``), inside a session."""
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    try:
        parsed = parser.parse_overrides(list(overrides))
    except HydraException as error:
        first = str(error).splitlines()[0]
        raise ConfigError(f"cannot read the overrides {' '.join(overrides)!r}: {first}") from None
    for override in parsed:
        if not override.key_or_group:
            raise ConfigError(f"cannot read {override.input_line!r}: it has no key")
    return parsed


def split_overrides(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """The overrides with one value, and those with several."""
    swept = [o.is_sweep_override() for o in parse_overrides(overrides)]
    pairs = list(zip(overrides, swept, strict=True))
    return [text for text, many in pairs if not many], [text for text, many in pairs if many]


def last_words(overrides: Sequence[str]) -> list[str]:
    """The overrides without those that a later one of the same key replaces."""
    parsed = parse_overrides(overrides)
    return list(
        {
            (o.key_or_group, o.package, o.is_delete()): text
            for text, o in zip(overrides, parsed, strict=True)
        }.values()
    )


def compose_checked(overrides: Sequence[str], *, with_hydra: bool = False) -> DictConfig:
    """Hydra's compose inside a session, its errors turned into one sentence."""
    for override in parse_overrides(overrides):
        _check_group(override)
    try:
        return compose("config", overrides=list(overrides), return_hydra_config=with_hydra)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_explain(overrides, error)) from None
    except YAMLError as error:
        raise ConfigError(f"a configuration file is no YAML: {_one_line(error)}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{_file_of(error)}: expected text in UTF-8 ({error.reason})") from None


def compose_on(
    whole: dict[tuple[str, ...], DictConfig], base: Sequence[str], overrides: Sequence[str]
) -> DictConfig:
    """What ``base`` and then ``overrides`` compose to, inside a session.

    Composing reads a dozen files; changing a value reads none. So what the groups make is composed
    once and kept in ``whole``, by the groups, and values are changed in copies of it.
    """
    parsed = parse_overrides(overrides)
    plainly = [o.type is OverrideType.CHANGE and "." in o.key_or_group for o in parsed]
    values = [override for override, is_value in zip(parsed, plainly, strict=True) if is_value]
    groups = tuple(t for t, is_value in zip(overrides, plainly, strict=True) if not is_value)
    if groups not in whole:
        whole[groups] = compose_checked([*base, *groups])
    config = copy.deepcopy(whole[groups])
    try:
        for override in values:
            OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
    except OmegaConfBaseException:
        return compose_checked([*base, *overrides])  # has the better words for what is wrong
    return config


def plain(config: DictConfig) -> dict[str, object]:
    """The tree without Hydra's own part and OmegaConf's types: the last line that knows them.

    Raises:
        ConfigError: A reference (``${recipe.shift}``) that leads nowhere.
    """
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    try:
        tree = OmegaConf.to_container(own, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}") from None
    if not isinstance(tree, dict):
        raise TypeError(f"a configuration is a mapping, got {type(tree).__name__}")
    return {str(key): value for key, value in tree.items()}


def _check_group(override: Override) -> None:
    key, name = override.key_or_group.lstrip("/"), override.value()
    if key not in GROUPS or override.is_delete() or override.is_sweep_override():
        return
    if not isinstance(name, str):
        raise ConfigError(
            f"{key}: expected the name of a file, got {name!r} (a name of digits needs quotes)"
        )
    folder = key if key == "sweeps" else f"conf/{key}"
    if find(folder, name) is None:
        kind = "sweep" if key == "sweeps" else key
        names = available(folder)
        raise ConfigError(f"no {kind} {name!r}{nearest(name, names)} (have: {', '.join(names)})")


def _explain(overrides: Sequence[str], error: Exception) -> str:
    """Which override failed, and the nearest key where one was misspelt."""
    raw = _one_line(error)
    if isinstance(error, MissingConfigException):
        group, _, name = str(error.missing_cfg_file).partition("/")
        if group in GROUPS:
            return _missing(raw, group, name)
    try:
        tree = plain(compose("config", overrides=_groups_only(overrides)))
    except (HydraException, OmegaConfBaseException):
        return raw  # a file's own defaults are wrong; Hydra's words name it
    for override in parse_overrides(overrides):
        key = override.key_or_group
        if override.package is not None or key in GROUPS or override.is_hydra_override():
            continue
        node: object = tree
        done: list[str] = []
        for part in key.split("."):
            if not isinstance(node, Mapping) or part not in node:
                known = node if isinstance(node, Mapping) else {}
                where = ".".join(done) or "the configuration"
                return (
                    f"{key}: {where} has no {part!r}{nearest(part, list(known))}"
                    f" (has: {', '.join(map(str, known)) or 'nothing'})"
                )
            node = node[part]
            done.append(part)
    return raw


def _missing(raw: str, group: str, name: str) -> str:
    """A file that another one's defaults ask for, and the nearest that there is."""
    where = re.match(r"In '[^']+': ", raw)
    names = available(group if group == "sweeps" else f"conf/{group}")
    return (
        f"{where[0] if where else ''}no {group} {name!r}{nearest(name, names)}"
        f" (have: {', '.join(names)})"
    )


def _file_of(error: UnicodeDecodeError) -> str:
    """The user's file that holds what could not be decoded."""
    own = user_folder() or Path()
    files = [*own.glob("conf/**/*.yaml"), *own.glob("sweeps/**/*.yaml")]
    holding = [str(path) for path in files if path.read_bytes().startswith(error.object)]
    return holding[0] if holding else "a configuration file"


def _one_line(error: Exception) -> str:
    """An error's words without the layout and what only Hydra's authors need."""
    return re.split(r" (?:Config search path|full_key):", " ".join(str(error).split()))[0]


def _groups_only(overrides: Sequence[str]) -> list[str]:
    return [
        text
        for text, override in zip(overrides, parse_overrides(overrides), strict=True)
        if override.key_or_group.lstrip("/") in GROUPS and not override.is_sweep_override()
    ]
