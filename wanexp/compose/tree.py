"""Composing one configuration into a plain tree, with errors that name the nearest name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from wanexp.compose.folders import available, find, shipped_folder
from wanexp.compose.search_path import register
from wanexp.names import nearest
from wanexp.strict import ConfigError

GROUPS = ("model", "recipe", "case", "memory", "protocol", "tracking", "sweeps")


@contextmanager
def hydra_session() -> Iterator[None]:
    """Hydra set up on wanexp's configuration; whatever was set up before is put back."""
    register()
    saved = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(shipped_folder() / "conf"), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = saved


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
        return parser.parse_overrides(list(overrides))
    except HydraException as error:
        first = str(error).splitlines()[0]
        raise ConfigError(f"cannot read the overrides {' '.join(overrides)!r}: {first}") from None


def compose_checked(overrides: Sequence[str], *, with_hydra: bool = False) -> DictConfig:
    """Hydra's compose inside a session, its errors turned into one sentence."""
    for override in parse_overrides(overrides):
        _check_group(override)
    try:
        return compose("config", overrides=list(overrides), return_hydra_config=with_hydra)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_explain(overrides, error)) from None


def plain(config: DictConfig) -> dict[str, object]:
    """The tree without OmegaConf's types: the last line that knows them."""
    tree = OmegaConf.to_container(config, resolve=True)
    if not isinstance(tree, dict):
        raise TypeError(f"a configuration is a mapping, got {type(tree).__name__}")
    return {str(key): value for key, value in tree.items()}


def _check_group(override: Override) -> None:
    key, name = override.key_or_group.lstrip("/"), override.value()
    if key not in GROUPS or not isinstance(name, str) or override.is_sweep_override():
        return
    folder = key if key == "sweeps" else f"conf/{key}"
    if find(folder, name) is None:
        kind = "sweep" if key == "sweeps" else key
        names = available(folder)
        raise ConfigError(f"no {kind} {name!r}{nearest(name, names)} (have: {', '.join(names)})")


def _explain(overrides: Sequence[str], error: Exception) -> str:
    """Which override failed, and the nearest key where one was misspelt."""
    raw = " ".join(str(error).split())
    try:
        tree = plain(compose("config", overrides=_groups_only(overrides)))
    except (HydraException, OmegaConfBaseException):
        return raw  # a file's own defaults are wrong; Hydra's words name it
    for override in parse_overrides(overrides):
        key = override.key_or_group
        if override.package is not None or key in GROUPS or key.startswith("hydra."):
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


def _groups_only(overrides: Sequence[str]) -> list[str]:
    return [
        text
        for text, override in zip(overrides, parse_overrides(overrides), strict=True)
        if override.key_or_group.lstrip("/") in GROUPS and not override.is_sweep_override()
    ]
