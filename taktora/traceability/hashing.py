"""Content hashes of tests and applications: they depend on text only, never on dates, machines or line ends."""

from __future__ import annotations

import ast
import hashlib
import re
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from taktora.traceability.imports import Import, find_imported, imports_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["TestSources", "application_hash", "source_files"]

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:16]


def _read(file: Path) -> str:
    text = file.read_bytes().decode("utf-8", "replace")
    return "\n".join(line.rstrip() for line in text.splitlines())


def source_files(paths: Iterable[Path], root: Path, hide: Sequence[str] = ()) -> Iterator[Path]:
    """Yield the source files below `paths` in a fixed order; hidden folders, caches and binaries are left out."""
    seen: set[Path] = set()
    for path in paths:
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            name = file.relative_to(root).as_posix() if file.is_relative_to(root) else file.as_posix()
            parts = name.split("/")
            skip = any(part.startswith(".") or part in {"__pycache__", "node_modules"} for part in parts)
            if skip or file in seen or file.suffix in {".pyc", ".so", ".pyd"} or not file.is_file():
                continue
            if not any(fnmatch(name, pattern) for pattern in hide):
                seen.add(file)
                yield file


def application_hash(paths: Sequence[Path], root: Path, hide: Sequence[str] = ()) -> str:
    """Return 16 hex digits over names and texts of the application's files, or "" where none is configured."""
    parts: list[str] = []
    for file in source_files(paths, root, hide):
        name = file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name
        parts += [name, hashlib.sha256(_read(file).encode()).hexdigest()]
    return _digest(parts) if parts else ""


class TestSources:
    """Hashes of tests by node id, read from source text without importing anything.

    The source of a test is the function itself, everything in its file that is no other test (helpers, fixtures,
    constants), the conftest.py files above it, and the files of the project that all of these import. Where the
    function is not in the file (inherited, generated), the whole file counts. Left out are the files of
    `application`, which have a hash of their own, and what a pattern of `hide` matches; both relative to `root`.
    """

    __test__ = False

    def __init__(self, root: Path, application: Iterable[str] = (), hide: Sequence[str] = ()) -> None:
        self.root = root
        self._application = frozenset(application)
        self._hide = hide
        self._hash = cache(self._hash_source)
        self._file = cache(self._parse)
        self._imported = cache(self._find_imported)
        self._around = cache(self._hash_around)

    def hash_of(self, node_id: str) -> str | None:
        """Return the hash of today's source of a test, or None where its file, or its function, is gone."""
        return self._hash(node_id.split("[", 1)[0])

    def _hash_source(self, node_id: str) -> str | None:
        name, _, inner = node_id.partition("::")
        if not (self.root / name).is_file():
            return None
        source = self._file(name)
        path = tuple(inner.split("::")) if inner else ()
        own = source.tests.get(path)
        if own is None and not source.may_hold(path):
            return None
        body = source.whole if own is None else source.shared + "\x00" + own
        return _digest([body, self._around(name)])

    def _parse(self, name: str) -> _Source:
        return _Source(_read(self.root / name))

    def _hash_around(self, name: str) -> str:
        """Return the hash of everything outside its file that makes the tests of a file what they are."""
        conftests = self._conftests(name)
        found = dict.fromkeys([name, *conftests])
        todo = list(found)
        while todo:
            new = [file for file in self._imported(todo.pop()) if file not in found]
            found.update(dict.fromkeys(new))
            todo += new
        del found[name]
        return _digest(part for file in sorted(found) for part in (file, self._file(file).whole))

    def _conftests(self, name: str) -> list[str]:
        names = [(folder / "conftest.py").as_posix() for folder in Path(name).parents]
        return [conftest for conftest in names if (self.root / conftest).is_file()]

    def _find_imported(self, name: str) -> tuple[str, ...]:
        paths = find_imported(self._file(name).imports, self.root / name, self.root)
        names = dict.fromkeys(path.relative_to(self.root).as_posix() for path in paths)
        return tuple(file for file in names if file not in self._application and not self._is_hidden(file))

    def _is_hidden(self, name: str) -> bool:
        return any(fnmatch(name, pattern) for pattern in self._hide)


class _Source:
    """One test file taken apart: the text of each test, and the text that all of them share."""

    def __init__(self, text: str) -> None:
        self.whole = text
        self.tests: dict[tuple[str, ...], str] = {}
        self.classes: dict[tuple[str, ...], bool] = {}
        self.shared = text
        self.is_parsed = False
        self.imports: list[Import] = []
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError):
            return
        self.is_parsed = True
        self.imports = imports_in(tree)
        self._split(tree)

    def may_hold(self, path: tuple[str, ...]) -> bool:
        """Tell whether a test without text of its own can still live here: imported, generated or inherited."""
        if not path or not self.is_parsed:
            return True
        inherited = self.classes.get(path[:-1])
        named = path[0] if len(path) > 1 else path[-1]
        return bool(re.search(rf"\b{re.escape(named)}\b", self.whole)) if inherited is None else inherited

    def _split(self, tree: ast.Module) -> None:
        lines = self.whole.split("\n")
        taken: set[int] = set()
        for path, node in _tests(tree, (), self.classes):
            first = min([node.lineno, *(mark.lineno for mark in node.decorator_list)])
            span = range(first - 1, node.end_lineno or first)
            self.tests[path] = "\n".join(lines[at] for at in span)
            taken.update(span)
        self.shared = "\n".join(line for at, line in enumerate(lines) if at not in taken and line.strip())


def _tests(
    parent: ast.Module | ast.ClassDef, path: tuple[str, ...], classes: dict[tuple[str, ...], bool]
) -> Iterator[tuple[tuple[str, ...], _Function]]:
    for node in parent.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
            yield (*path, node.name), node
        elif isinstance(node, ast.ClassDef):
            classes[(*path, node.name)] = bool(node.bases)
            yield from _tests(node, (*path, node.name), classes)
