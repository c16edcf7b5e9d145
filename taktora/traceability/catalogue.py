"""Reads requirement files into a Catalogue and reports what is wrong with file, line and id; it never writes."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

from taktora.traceability.errors import CatalogueError, ConfigError, Problem
from taktora.traceability.ids import nearest
from taktora.traceability.model import LINK_FIELDS, Catalogue, Item
from taktora.traceability.scan import TableLines, scan_tables
from taktora.traceability.schema import LINK_TARGETS, TABLES, check_entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = ["ALLOWED_DANGLING", "RESERVED_FILES", "load_catalogue", "read_catalogue"]

ALLOWED_DANGLING = "allowed-dangling.toml"
"""File in a catalogue folder that lists, with reasons, the links that may point to nothing."""

RESERVED_FILES = frozenset({ALLOWED_DANGLING, "confirmed.toml", "thresholds.toml"})
"""Files in a catalogue folder that are not requirement files."""

_TEXT_FIELDS = ("kind", "verification", "adaptation", "applicability", "reason", "note", "origin", "status", "level",
                "gate")  # fmt: skip


# req: REQ_8600
def load_catalogue(paths: Sequence[Path], root: Path | None = None) -> Catalogue:
    """Return the catalogue in `paths` (folders or files); raises CatalogueError listing every problem."""
    catalogue, problems = read_catalogue(paths, root)
    if problems:
        raise CatalogueError(problems)
    return catalogue


def read_catalogue(paths: Sequence[Path], root: Path | None = None) -> tuple[Catalogue, list[Problem]]:
    """Return what could be read and the list of problems; raises ConfigError where a path does not exist.

    Files named by `root`-relative paths keep reports free of machine paths.
    """
    reader = _Reader(root)
    for path in paths:
        for file in _files(path):
            reader.read(file)
    reader.check_links()
    return Catalogue(reader.items), sorted(set(reader.problems))


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ConfigError(f"no catalogue at {path}: expected a folder of .toml files or one such file")
    return sorted(file for file in path.glob("*.toml") if file.name not in RESERVED_FILES)


_SINGLE = re.compile(rf"^[ \t]*\[[ \t]*({'|'.join((*TABLES, 'allow'))})[ \t]*\][ \t]*(?:#.*)?$", re.MULTILINE)
"""A table header in single brackets, as if there were only one."""


class _Reader:
    """Collects items and problems over all files, so that one look shows everything."""

    def __init__(self, root: Path | None) -> None:
        self.root = root
        self.items: dict[str, Item] = {}
        self.lines: dict[str, TableLines] = {}
        self.problems: list[Problem] = []
        self.folders: dict[Path, None] = {}

    def read(self, file: Path) -> None:
        self.folders[file.parent] = None
        name = self._name(file)
        text, tables = self._parse(file, name)
        lines = scan_tables(text)
        for table, entries in tables.items():
            self._read_table(name, file.stem, table, entries, [at for at in lines if at.name == table])

    def _parse(self, file: Path, name: str) -> tuple[str, dict[str, Any]]:
        """Return text and tables of a file; of one that cannot be read nothing, and what is wrong is noted."""
        raw = file.read_bytes()
        try:
            text = raw.decode("utf-8-sig").replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            message = f"not UTF-8: byte 0x{raw[error.start]:02x}; save the file as UTF-8"
            self.problems.append(Problem(name, raw.count(b"\n", 0, error.start) + 1, "", message))
            return "", {}
        problem = _single_table(name, text)
        try:
            tables = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            problem = problem or Problem(name, _error_line(error, text), "", f"not valid TOML: {error}")
            tables = {}
        else:
            if all(isinstance(entries, list) for entries in tables.values()):
                return text, tables
        if problem:  # what follows from it is not worth a word
            self.problems.append(problem)
            return "", {}
        return text, tables

    def _read_table(self, name: str, area: str, table: str, entries: object, lines: list[TableLines]) -> None:
        if table not in TABLES or not isinstance(entries, list):
            line = lines[0].line if lines else 1
            expected = ", ".join(f"[[{known}]]" for known in TABLES)
            self.problems.append(Problem(name, line, "", f"unknown table '{table}', expected {expected}"))
            return
        for entry, at in zip(entries, lines or [TableLines(table, 1)] * len(entries), strict=False):
            if isinstance(entry, dict):
                self._read_entry(name, area, table, entry, at)
            else:
                self.problems.append(
                    Problem(name, at.line, "", f"'{table}' holds {entry!r}, expected [[{table}]] tables")
                )

    def _read_entry(self, name: str, area: str, table: str, entry: dict[str, Any], at: TableLines) -> None:
        item_id = entry.get("id")
        shown = item_id if isinstance(item_id, str) else ""
        wrong = check_entry(table, entry)
        self.problems += [Problem(name, at.line_of(field), shown, sentence) for field, sentence in wrong]
        if not shown:
            return
        if shown in self.items:
            first = self.items[shown]
            message = f"duplicate id, first given at {first.file}:{first.line}; ids are unique over all files"
            self.problems.append(Problem(name, at.line_of("id"), shown, message))
            return
        self.items[shown] = _item(shown, table, area, name, at.line, entry)
        self.lines[shown] = at

    def check_links(self) -> None:
        allowed = self._allowed()
        for item in self.items.values():
            for target in item.links:
                self._check_link(item, target, allowed)
        for (source, target), (name, line) in allowed.items():
            message = f"allowed dangling link to {target} does not dangle; take the entry out"
            self.problems.append(Problem(name, line, source, message))
        self.problems += _cycles(self.items)

    def _check_link(self, item: Item, target: str, allowed: dict[tuple[str, str], tuple[str, int]]) -> None:
        field = LINK_FIELDS[item.table]
        line = self.lines[item.id].line_of(field, target)
        found = self.items.get(target)
        if found is None:
            if allowed.pop((item.id, target), None) is None:
                self.problems.append(Problem(item.file, line, item.id, self._dangling(field, target)))
        elif found.table not in LINK_TARGETS[item.table]:
            wanted = " or ".join(LINK_TARGETS[item.table])
            message = f"{field} names {target}, which is a {found.table}; expected a {wanted}"
            self.problems.append(Problem(item.file, line, item.id, message))

    def _dangling(self, field: str, target: str) -> str:
        near = nearest(target, self.items)
        hint = f"did you mean {', '.join(near)}?" if near else f"allow it in {ALLOWED_DANGLING} if that is meant"
        return f"{field} names {target}, which no file defines; {hint}"

    def _allowed(self) -> dict[tuple[str, str], tuple[str, int]]:
        found: dict[tuple[str, str], tuple[str, int]] = {}
        for folder in self.folders:
            file = folder / ALLOWED_DANGLING
            if file.is_file():
                self._read_allowed(file, found)
        return found

    def _read_allowed(self, file: Path, found: dict[tuple[str, str], tuple[str, int]]) -> None:
        name = self._name(file)
        text, tables = self._parse(file, name)
        entries = tables.get("allow", [])
        for entry, at in zip(entries, scan_tables(text), strict=False):
            if isinstance(entry, dict) and all(entry.get(key) for key in ("from", "to", "reason")):
                found[str(entry["from"]), str(entry["to"])] = (name, at.line)
            else:
                self.problems.append(Problem(name, at.line, "", "an [[allow]] entry needs 'from', 'to' and 'reason'"))

    def _name(self, file: Path) -> str:
        if self.root is not None and file.is_relative_to(self.root):
            return file.relative_to(self.root).as_posix()
        return file.as_posix()


def _item(item_id: str, table: str, area: str, name: str, line: int, entry: dict[str, Any]) -> Item:
    link = entry.get(LINK_FIELDS[table], [])
    links = link if isinstance(link, list) else [link]
    texts = {field: entry[field] for field in _TEXT_FIELDS if isinstance(entry.get(field), str)}
    text = entry.get("summary") or entry.get("statement") or ""
    return Item(
        id=item_id,
        table=table,
        title=str(entry.get("title", "")),
        text=str(text),
        area=area,
        file=name,
        line=line,
        links=tuple(dict.fromkeys(target for target in links if isinstance(target, str))),
        **texts,
    )


def _single_table(name: str, text: str) -> Problem | None:
    """Return what is wrong with a header in single brackets, which TOML allows once and no more."""
    single = _SINGLE.search(text)
    if single is None:
        return None
    table = single.group(1)
    message = f"[{table}] is a single table; each entry begins with [[{table}]]"
    return Problem(name, text.count("\n", 0, single.start(1)) + 1, "", message)


def _error_line(error: tomllib.TOMLDecodeError, text: str) -> int:
    place = re.search(r"at line (\d+)", str(error))
    return int(place.group(1)) if place else text.count("\n") + 1


def _cycles(items: dict[str, Item]) -> Iterable[Problem]:
    """Yield one problem per item that is its own ancestor; only upward links of the same hierarchy count."""
    done: set[str] = set()
    for start in items:
        trail: dict[str, None] = {}
        yield from _walk(start, items, trail, done)


def _walk(start: str, items: dict[str, Item], trail: dict[str, None], done: set[str]) -> Iterable[Problem]:
    stack = [(start, iter(items[start].links))]
    trail[start] = None
    while stack:
        here, links = stack[-1]
        target = next((link for link in links if link in items and link not in done), None)
        if target is None:
            stack.pop()
            trail.pop(here, None)
            done.add(here)
        elif target in trail:
            circle = [*list(trail)[list(trail).index(target) :], target]
            item = items[here]
            yield Problem(item.file, item.line, item.id, f"refines itself in a circle: {' -> '.join(circle)}")
        else:
            trail[target] = None
            stack.append((target, iter(items[target].links)))
