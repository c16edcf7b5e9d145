"""What each table of a requirement file may hold; it names the field at fault and never guesses a value."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from taktora.traceability.ids import is_id

__all__ = ["LINK_TARGETS", "TABLES", "check_entry"]

_Field = type[str] | type[list[str]]
_Fields = dict[str, _Field]

_COMMON: _Fields = {"origin": str, "note": str, "status": str, "adaptation": str, "applicability": str, "reason": str}
_TEXTS: _Fields = {"id": str, "title": str, "statement": str}

_REQUIRED: dict[str, _Fields] = {
    "feature": {"id": str, "title": str, "summary": str},
    "requirement": {**_TEXTS, "refines": list, "kind": str, "verification": str},
    "test": {**_TEXTS, "verifies": list, "level": str},
    "decision": {**_TEXTS, "affects": list},
    "block": {**_TEXTS, "implements": list},
    "scenario": dict(_TEXTS),
}
_OPTIONAL: dict[str, _Fields] = {
    "feature": {**_COMMON, "parent": str},
    "requirement": _COMMON,
    "test": {**_COMMON, "gate": str},
    "decision": _COMMON,
    "block": _COMMON,
    "scenario": {**_COMMON, "refines": list},
}
_CHOICES = {
    "kind": ("functional", "interface", "constraint", "quality", "anti"),
    "verification": ("test", "hil", "inspection", "analysis", "demonstration"),
    "applicability": ("applicable", "not-applicable"),
    "level": ("unit", "integration", "system", "hil"),
    "status": ("draft", "active", "retired"),
}

TABLES = tuple(_REQUIRED)
"""The table names of a requirement file."""

LINK_TARGETS = {
    "feature": ("feature",),
    "requirement": ("feature", "requirement"),
    "test": ("requirement",),
    "decision": ("feature", "requirement"),
    "block": ("feature", "requirement", "block"),
    "scenario": ("feature", "requirement", "block"),
}
"""What the link of each table may point to."""


def check_entry(table: str, entry: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (field, sentence) for everything wrong with one entry; an empty list means it fits its table."""
    known = {**_REQUIRED[table], **_OPTIONAL[table]}
    found = [("", f"{table} lacks the field '{name}'") for name in _REQUIRED[table] if name not in entry]
    for name, value in entry.items():
        found += [(name, sentence) for sentence in _check_field(table, name, value, known)]
    if entry.get("applicability") == "not-applicable" and not entry.get("reason"):
        found.append(("applicability", "not-applicable needs a 'reason'"))
    return found


def _check_field(table: str, name: str, value: object, known: _Fields) -> list[str]:
    if name not in known:
        near = get_close_matches(name, known, 1)
        return [f"unknown field '{name}' in {table}" + (f"; did you mean '{near[0]}'?" if near else "")]
    if not isinstance(value, known[name]):
        return [f"field '{name}' is {value!r}, expected {'a text' if known[name] is str else 'a list of ids'}"]
    if isinstance(value, list):
        return _check_links(name, value)
    return _check_text(name, str(value))


def _check_links(name: str, value: list[object]) -> list[str]:
    wrong = [f"field '{name}' holds {link!r}, expected ids as in \"REQ_0310\"" for link in value if not _is_link(link)]
    twice = sorted({str(link) for link in value if value.count(link) > 1})
    return wrong + [f"field '{name}' names {link} twice" for link in twice]


def _is_link(link: object) -> bool:
    return isinstance(link, str) and is_id(link)


def _check_text(name: str, value: str) -> list[str]:
    if not value.strip():
        return [f"field '{name}' is empty"]
    if name in {"id", "parent"} and not is_id(value):
        return [f"field '{name}' is '{value}', expected an id as in \"REQ_0310\" (capitals and digits joined by _)"]
    if name in _CHOICES and value not in _CHOICES[name]:
        return [f"field '{name}' is '{value}', expected one of {', '.join(_CHOICES[name])}"]
    return []
