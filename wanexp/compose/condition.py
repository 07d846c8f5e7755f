"""Conditions that leave cells of a grid out: ``refine.denoise > 0.5 and refine.steps < 20``.

Python's syntax of comparisons, and nothing else of Python: names are looked up in the cell, and
nothing is called or imported.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from wanexp.names import nearest
from wanexp.strict import ConfigError

Lookup = Callable[[str], object]
"""A dotted name → its value in a cell; KeyError where there is none."""

COMPARES: Mapping[type[ast.cmpop], Callable[[object, object], bool]] = {
    ast.Lt: cast("Callable[[object, object], bool]", operator.lt),
    ast.LtE: cast("Callable[[object, object], bool]", operator.le),
    ast.Gt: cast("Callable[[object, object], bool]", operator.gt),
    ast.GtE: cast("Callable[[object, object], bool]", operator.ge),
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda one, many: one in cast("Sequence[object]", many),
    ast.NotIn: lambda one, many: one not in cast("Sequence[object]", many),
}

SUMS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}

WORDS: Mapping[str, object] = {"null": None, "true": True, "false": False}
"""As YAML writes them."""

SHORT = ("", "recipe.stages.", "recipe.")
"""What may be left out before a name, as in the names of arms."""


def parse_condition(text: str) -> ast.expr:
    """The condition, checked to hold nothing but comparisons.

    Raises:
        ConfigError: It cannot be read, or it is more than a comparison.
    """
    try:
        found = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        raise ConfigError(
            f"drop: cannot read {text!r}; expected a comparison as in"
            " 'refine.denoise > 0.5 and refine.steps < 20'"
        ) from None
    _check(found, text)
    return found


def holds(condition: ast.expr, find: Lookup) -> bool:
    """Whether the condition is true of a cell.

    Raises:
        ConfigError: A name that the cell does not have, or values that cannot be compared.
    """
    try:
        return bool(_value(condition, find))
    except (TypeError, ZeroDivisionError) as error:
        raise ConfigError(f"drop: {ast.unparse(condition)}: {error}") from None


def cell_lookup(names: Mapping[str, object], tree: Mapping[str, object]) -> Lookup:
    """Values by name: first what the cell itself is called by, then its composed configuration.

    ``names`` has ``arm``, ``case``, ``seed`` and the groups that the cell chose.
    """

    def find(name: str) -> object:
        if name in names:
            return names[name]
        for prefix in SHORT:
            node: object = tree
            for part in f"{prefix}{name}".split("."):
                if not isinstance(node, Mapping) or part not in node:
                    break
                node = node[part]
            else:
                return node
        known = [*names, *(_settings(tree.get("recipe")))]
        raise ConfigError(f"drop: nothing is called {name!r}{nearest(name, known)}")

    return find


def _settings(recipe: object) -> list[str]:
    """What a recipe's settings are called in short, for a hint."""
    if not isinstance(recipe, Mapping):
        return []
    stages = recipe.get("stages")
    own = [str(key) for key in recipe if key != "stages"]
    if not isinstance(stages, Mapping):
        return own
    return own + [f"{stage}.{key}" for stage, given in stages.items() for key in given]


def _check(node: ast.expr, text: str) -> None:
    match node:
        case ast.BoolOp(values=values) | ast.Tuple(elts=values) | ast.List(elts=values):
            inner = list(values)
        case ast.Compare(left=left, comparators=others):
            inner = [left, *others]
            if any(type(op) not in COMPARES for op in node.ops):
                raise ConfigError(f"drop: {text!r}: use == and != instead of 'is'")
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=one):
            inner = [one]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in SUMS:
            inner = [left, right]
        case ast.Attribute(value=ast.Name() | ast.Attribute() as owner):
            inner = [owner]
        case ast.Name() | ast.Constant(value=str() | int() | float() | None):
            inner = []
        case _:
            raise ConfigError(
                f"drop: {text!r}: {ast.unparse(node)!r} is no comparison (allowed: names, values,"
                " < <= > >= == != in, and or not, + - * /)"
            )
    for part in inner:
        _check(part, text)


def _value(node: ast.expr, find: Lookup) -> object:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name() | ast.Attribute():
            name = ast.unparse(node)
            return WORDS[name] if name in WORDS else find(name)
        case ast.Tuple(elts=values) | ast.List(elts=values):
            return [_value(one, find) for one in values]
        case ast.BoolOp(op=op, values=values):
            every = all if isinstance(op, ast.And) else any
            return every(_value(one, find) for one in values)
        case ast.UnaryOp(op=ast.Not(), operand=one):
            return not _value(one, find)
        case ast.UnaryOp(operand=one):
            return -cast("float", _value(one, find))
        case ast.BinOp(left=left, op=op, right=right):
            one, other = _value(left, find), _value(right, find)
            return SUMS[type(op)](cast("float", one), cast("float", other))
        case ast.Compare(left=left, ops=ops, comparators=others):
            values = [_value(left, find), *(_value(one, find) for one in others)]
            return all(
                COMPARES[type(op)](one, other)
                for one, op, other in zip(values, ops, values[1:], strict=False)
            )
        case _:
            raise TypeError(f"{type(node).__name__} has passed the check")
