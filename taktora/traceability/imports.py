"""Finds which files of a project a Python file imports, from its text alone; it imports nothing itself."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["Import", "find_imported", "imports_in"]


_BODIES = ("body", "orelse", "finalbody", "handlers", "cases")


class Import(NamedTuple):
    """One import: how many folders up it begins (0: absolute), the module, and the names taken out of it."""

    level: int
    module: str
    names: tuple[str, ...] = ()


def imports_in(tree: ast.Module) -> list[Import]:
    """Return all imports of a file, those inside functions too."""
    found: list[Import] = []
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            found += [Import(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(Import(node.level, node.module or "", tuple(alias.name for alias in node.names)))
    return found


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield all statements; expressions, most of a tree, hold no import and are passed over."""
    todo = [tree]
    while todo:
        node = todo.pop()
        yield node
        for name in _BODIES:
            inner = getattr(node, name, ())
            todo += inner if isinstance(inner, list) else ()


def find_imported(imports: Sequence[Import], file: Path, root: Path) -> Iterator[Path]:
    """Yield the files below `root` that these imports of `file` name, looked for where pytest lets Python look.

    That is `root`, the folder of `file`, and those above it that have a conftest.py; of a package, the folder it is in.
    """
    places = _places(file.parent, root)
    for one in imports:
        here = [_above(file.parent, one.level - 1)] if one.level else places
        modules = [".".join(filter(None, (one.module, name))) for name in one.names] + [one.module]
        for module in modules:
            found = next((path for place in here for path in _candidates(place, module) if path.is_file()), None)
            if found is not None and found != file and found.is_relative_to(root):
                yield found


def _places(folder: Path, root: Path) -> list[Path]:
    above = [each for each in folder.parents if each.is_relative_to(root) and (each / "conftest.py").is_file()]
    return list(dict.fromkeys([*(_outside_packages(each, root) for each in (folder, *above)), root]))


def _candidates(place: Path, module: str) -> Iterator[Path]:
    if module:
        path = place.joinpath(*module.split("."))
        yield path.with_name(path.name + ".py")
        yield path / "__init__.py"


def _above(folder: Path, count: int) -> Path:
    for _ in range(count):
        folder = folder.parent
    return folder


def _outside_packages(folder: Path, root: Path) -> Path:
    while folder != root and (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder
