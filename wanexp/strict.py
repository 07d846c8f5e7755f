"""Plain trees (what YAML gives) into frozen dataclasses, checked once at the border.

Every error is one sentence with the full path of the value, what was expected and, for a
misspelt key, the nearest valid one.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping, Sequence
from typing import TypeGuard, TypeVar

from wanexp.names import lookup, nearest

T = TypeVar("T")

MOST = 1e300
"""Numbers beyond it are taken for a slip of the hand; no setting is anywhere near."""


class ConfigError(ValueError):
    """A configuration that cannot run; the message says what to change."""


def known(where: str, kind: str, table: Mapping[str, T], name: str) -> T:
    """``table[name]``.

    Raises:
        ConfigError: There is no such name; with the value's path, the nearest name and the choices.
    """
    try:
        return lookup(kind, table, name)
    except KeyError as error:
        raise ConfigError(f"{where}: {error.args[0]}") from None


def build(cls: type[T], tree: object, where: str) -> T:
    """An instance of the dataclass ``cls`` from a mapping; unknown and missing keys are errors.

    Raises:
        ConfigError: With the path (``recipe.stages.refine.cfg``) of the first thing wrong.
    """
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{where}: expected a mapping, got {tree!r}")
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    for key in tree:
        if key not in fields:
            raise ConfigError(
                f"{where}: unknown key {key!r}{nearest(str(key), fields)}"
                f" (known: {', '.join(sorted(fields))})"
            )
    hints = _type_hints(cls)
    values = {}
    for name, field in fields.items():
        if name in tree:
            values[name] = convert(hints[name], tree[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{where}: {name!r} is missing")
    return cls(**values)


@functools.cache
def _type_hints(cls: type) -> dict[str, object]:
    return typing.get_type_hints(cls)


def convert(hint: object, value: object, where: str) -> object:
    """``value`` as the annotated type, or a ConfigError that names both.

    Handles what the configuration is made of: str, bool, int, float, literals, unions with None,
    tuples, mappings from str, and nested dataclasses.
    """
    if hint is object:
        return value
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(arguments, value, where)
    if origin is typing.Literal:
        if value not in arguments:
            raise ConfigError(
                f"{where}: expected one of {', '.join(map(str, arguments))}, got {value!r}"
                f"{nearest(str(value), [str(a) for a in arguments])}"
            )
        return value
    if origin is tuple:
        return _convert_tuple(arguments, value, where)
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where}: expected a mapping, got {value!r}")
        return {str(k): convert(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return build(hint, value, where)
    return _convert_scalar(hint, value, where)


def _convert_union(arguments: Sequence[object], value: object, where: str) -> object:
    if value is None and type(None) in arguments:
        return None
    (hint,) = (a for a in arguments if a is not type(None))
    return convert(hint, value, where)


def _convert_tuple(arguments: Sequence[object], value: object, where: str) -> tuple[object, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ConfigError(f"{where}: expected a list, got {value!r}")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(convert(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if len(value) != len(arguments):
        raise ConfigError(f"{where}: expected {len(arguments)} values, got {list(value)!r}")
    return tuple(
        convert(a, v, f"{where}[{i}]")
        for i, (a, v) in enumerate(zip(arguments, value, strict=True))
    )


def _convert_scalar(hint: object, value: object, where: str) -> object:
    if hint is bool and isinstance(value, bool):
        return value
    if hint is str and isinstance(value, str):
        return value
    if hint is int and _is_number(value) and value == int(value):
        return int(value)
    if hint is float and _is_number(value):
        return float(value)
    words: dict[object, str] = {
        bool: "true or false",
        str: "text",
        int: "a whole number",
        float: "a number",
    }
    raise ConfigError(f"{where}: expected {words.get(hint, hint)}, got {_shown(hint, value)}")


def _is_number(value: object) -> TypeGuard[int | float]:
    """Whether it is a finite number that a float can hold; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -MOST < value < MOST


def _shown(hint: object, value: object) -> str:
    """The value as it was given; a number that came as text is told apart from one."""
    try:
        number = float(value) if hint in (int, float) and isinstance(value, str) else None
    except ValueError:
        number = None
    return repr(value) if number is None else f"the text {value!r} (leave the quotes away)"
