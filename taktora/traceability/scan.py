"""Finds the lines of TOML tables, keys and values, which tomllib does not tell; it never judges the TOML."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["TableLines", "scan_tables"]

_HEADER = re.compile(r"\s*\[\[\s*([^\[\]]+?)\s*\]\]\s*(?:#.*)?$")
_OTHER_HEADER = re.compile(r"\s*\[[^\[]")
_KEY = re.compile(r"""\s*(?:"([^"]+)"|'([^']+)'|([A-Za-z0-9_-]+))\s*=""")
_TRIPLES = ('"""', "'''")


@dataclass(slots=True)
class TableLines:
    """Lines (counted from 1) of one `[[name]]` table: its header, its keys, and the text below it."""

    name: str
    line: int
    keys: dict[str, int] = field(default_factory=dict)
    text: list[tuple[int, str]] = field(default_factory=list)

    def line_of(self, key: str, value: str = "") -> int:
        """Return the line of `value` in the value of `key`, else the key's line, else the header's."""
        start = self.keys.get(key)
        if start is None:
            return self.line
        stop = min((line for line in self.keys.values() if line > start), default=None)
        wanted = f'"{value}"', f"'{value}'"
        for line, text in self.text:
            if line >= start and (stop is None or line < stop) and any(quoted in text for quoted in wanted):
                return line
        return start


# req: REQ_8600
def scan_tables(text: str) -> list[TableLines]:
    """Return the `[[...]]` tables of a TOML text in order; for text that tomllib accepts, one per array element."""
    tables: list[TableLines] = []
    state = _State()
    current: TableLines | None = None
    for number, line in enumerate(text.split("\n"), start=1):
        if state.at_top:
            header = _HEADER.match(line)
            if header:
                current = TableLines(_unquote(header.group(1)), number)
                tables.append(current)
                continue
            if _OTHER_HEADER.match(line):
                current = None
            _note_key(current, line, number)
        if current is not None:
            current.text.append((number, line))
        state.feed(line)
    return tables


def _note_key(table: TableLines | None, line: str, number: int) -> None:
    key = _KEY.match(line)
    if table is not None and key:
        table.keys.setdefault(next(part for part in key.groups() if part), number)


def _unquote(name: str) -> str:
    return name.strip().strip("\"'")


class _State:
    """Where in the grammar a line ends: at the top, in a multi-line string, or inside brackets."""

    def __init__(self) -> None:
        self.triple = ""
        self.depth = 0

    @property
    def at_top(self) -> bool:
        return not self.triple and self.depth == 0

    def feed(self, line: str) -> None:
        at = 0
        value = self.depth > 0
        while at < len(line):
            if self.triple:
                at = self._leave_triple(line, at)
            elif line.startswith(_TRIPLES, at):
                self.triple, at = line[at : at + 3], at + 3
            elif line[at] in "\"'":
                at = _after_string(line, at)
            elif line[at] == "#":
                return
            else:
                value = value or line[at] == "="
                if value:
                    self.depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(line[at], 0)
                at += 1

    def _leave_triple(self, line: str, at: int) -> int:
        while at < len(line):
            if line[at] == "\\" and self.triple == '"""':
                at += 2
            elif line.startswith(self.triple, at):
                end = at + 3
                while end < len(line) and line[end] == self.triple[0] and end < at + 5:
                    end += 1
                self.triple = ""
                return end
            else:
                at += 1
        return at


def _after_string(line: str, at: int) -> int:
    quote = line[at]
    at += 1
    while at < len(line) and line[at] != quote:
        at += 2 if line[at] == "\\" and quote == '"' else 1
    return at + 1
