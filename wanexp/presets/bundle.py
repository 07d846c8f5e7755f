"""Definitions of wanexp's own modules, with all that they need, as text for a script of its own.

What is copied is the text in the files, so a script cannot come to differ from what runs here.
Nothing is imported: the modules are read.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

PACKAGE = "wanexp"


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A module as text.

    Attributes:
        definitions: Name → its text and the names that occur in it.
        imports: Name → (module, name there), or (module, "") for a module itself.
    """

    definitions: Mapping[str, tuple[str, frozenset[str]]]
    imports: Mapping[str, tuple[str, str]]


@dataclass(kw_only=True)
class Bundle:
    """Definitions in an order in which each comes after what it needs, and their imports."""

    definitions: dict[tuple[str, str], str] = field(default_factory=dict)
    imports: dict[str, None] = field(default_factory=dict)

    @property
    def code(self) -> str:
        """All definitions, two lines between them."""
        return "\n\n\n".join(self.definitions.values())


def bundle(wanted: Sequence[tuple[str, str]], given: Collection[str]) -> Bundle:
    """The definitions ``wanted`` (module, name) and whatever of wanexp they need.

    ``given`` are names that the script defines itself.

    Raises:
        KeyError: A module has no such definition.
    """
    found = Bundle()
    for module, name in wanted:
        _add(found, module, name, given)
    return found


def _add(found: Bundle, module: str, name: str, given: Collection[str]) -> None:
    key = module, name
    if name in given or key in found.definitions:
        return
    source = _read(module)
    if name not in source.definitions and name in source.imports:
        _add_import(found, source.imports[name], name, given)
        return
    text, used = source.definitions[name]
    found.definitions[key] = ""  # a definition may name itself
    for other in sorted(used - {name}):
        if other in source.definitions:
            _add(found, module, other, given)
        elif other in source.imports and other not in given:
            _add_import(found, source.imports[other], other, given)
    del found.definitions[key]
    found.definitions[key] = text


def _add_import(found: Bundle, place: tuple[str, str], alias: str, given: Collection[str]) -> None:
    module, name = place
    if module.split(".")[0] == PACKAGE and name:
        _add(found, module, name, given)
    elif name:
        found.imports[f"from {module} import {_as(name, alias)}"] = None
    else:
        found.imports[f"import {_as(module, alias)}"] = None


def _as(name: str, alias: str) -> str:
    return name if name == alias else f"{name} as {alias}"


def sampler_functions() -> dict[str, tuple[str, str]]:
    """Sampler → module and name of its function, from ``wanexp.samplers``' own table."""
    module = f"{PACKAGE}.samplers"
    tree, imports = _tree(module), _read(module).imports
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Dict):
            pairs = zip(node.value.keys, node.value.values, strict=True)
            return {
                str(key.value): imports[value.id]
                for key, value in pairs
                if isinstance(key, ast.Constant) and isinstance(value, ast.Name)
            }
    raise KeyError(f"{module} has no table")


@cache
def _text(module: str) -> str:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise KeyError(f"{PACKAGE} has no files")
    place = Path(spec.submodule_search_locations[0]).joinpath(*module.split(".")[1:])
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return file.read_text(encoding="utf-8")


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_text(module))


@cache
def _read(module: str) -> _Source:
    lines = _text(module).splitlines()
    definitions: dict[str, tuple[str, frozenset[str]]] = {}
    imports: dict[str, tuple[str, str]] = {}
    for node in _tree(module).body:
        if isinstance(node, ast.Import):
            for one in node.names:
                imports[one.asname or one.name.split(".")[0]] = (
                    one.name if one.asname else one.name.split(".")[0],
                    "",
                )
        elif isinstance(node, ast.ImportFrom) and node.module:
            imports |= {one.asname or one.name: (node.module, one.name) for one in node.names}
        for name in _defines(node):
            definitions[name] = _lines(lines, node), _names(node)
    return _Source(definitions=definitions, imports=imports)


def _defines(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
    targets = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AnnAssign):
        targets = [node.target]
    for target in targets:
        inner = target.elts if isinstance(target, ast.Tuple) else [target]
        yield from (one.id for one in inner if isinstance(one, ast.Name))


def _lines(lines: Sequence[str], node: ast.stmt) -> str:
    """The text of a definition, decorators included."""
    first = node.lineno
    if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.decorator_list:
        first = node.decorator_list[0].lineno
    return "\n".join(lines[first - 1 : node.end_lineno])


def _names(node: ast.stmt) -> frozenset[str]:
    return frozenset(one.id for one in ast.walk(node) if isinstance(one, ast.Name))
