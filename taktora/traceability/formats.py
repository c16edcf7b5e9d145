"""Writes the report's data as JSON, CSV, JUnit and needs.json; equal data gives equal bytes."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape, quoteattr

import msgspec

from taktora.traceability.verdict import ANY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["csv_text", "json_bytes", "junit_text", "needs_bytes"]

_CSV_HEAD = ("id", "area", "title", "kind", "verification", "applicability", "world", "status", "why", "suspect",
             "passed", "failed", "not_run", "stale", "code")  # fmt: skip
_STATES = ("passed", "failed", "not run", "stale")
_NEED_TYPES = {"feature": "feat", "requirement": "req", "test": "test", "decision": "dec", "block": "impl",
               "scenario": "arch"}  # fmt: skip
_LINKS = ("parent", "refines", "verifies", "affects", "implements")


def json_bytes(data: Mapping[str, Any]) -> bytes:
    """Return the data as indented JSON, keys in the order of the data."""
    return msgspec.json.format(msgspec.json.encode(data), indent=1) + b"\n"


def csv_text(data: Mapping[str, Any]) -> str:
    """Return one row per requirement and world, `any` included, as RFC 4180 CSV with a header."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow(_CSV_HEAD)
    for requirement in data["requirements"]:
        for world, cell in requirement["worlds"].items():
            writer.writerow([_safe(value) for value in _csv_row(requirement, world, cell)])
    return stream.getvalue()


def _csv_row(requirement: Mapping[str, Any], world: str, cell: Mapping[str, Any]) -> list[str]:
    cells = requirement["worlds"].values() if world == ANY else [cell]
    states = [link["state"] for one in cells for link in one.get("tests", ())]
    head = [requirement.get(name, "") for name in _CSV_HEAD[:6]]
    counts = [str(states.count(state)) for state in _STATES]
    suspect = "yes" if cell.get("suspect") else ""
    code = " ".join(requirement.get("code", ()))
    return [*head, world, cell["status"], cell.get("why", ""), suspect, *counts, code]


def _safe(value: str) -> str:
    """Keep a spreadsheet from running a cell as a formula."""
    return f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t") else value


def junit_text(data: Mapping[str, Any]) -> str:
    """Return a suite per world with a case per test; a test that did not run is a skip with its reason."""
    suites = [_suite(data, world) for world in data["worlds"]]
    return "\n".join(
        ['<?xml version="1.0" encoding="utf-8"?>', "<testsuites>", *filter(None, suites), "</testsuites>", ""]
    )


def _suite(data: Mapping[str, Any], world: str) -> str:
    tests = [test for test in data["tests"] if test["world"] == world]
    if not tests:
        return ""
    failures = sum(test["outcome"] == "failed" for test in tests)
    skipped = sum(test["outcome"] == "not run" for test in tests)
    time_s = sum(test.get("duration_s", 0.0) for test in tests)
    head = (
        f'  <testsuite name={_attribute(world)} tests="{len(tests)}" failures="{failures}" errors="0" '
        f'skipped="{skipped}" time="{time_s:.6f}" timestamp={_attribute(max(test["finished"] for test in tests))}>'
    )
    return "\n".join([head, *(line for test in tests for line in _case(data, test)), "  </testsuite>"])


def _case(data: Mapping[str, Any], test: Mapping[str, Any]) -> Iterator[str]:
    file, _, name = test["node_id"].partition("::")
    module = file.removesuffix(".py").replace("/", ".")
    time_s = f"{test.get('duration_s', 0.0):.6f}"
    yield f'    <testcase classname={_attribute(module)} name={_attribute(name or file)} time="{time_s}">'
    yield "      <properties>"
    for key, value in _properties(data, test):
        yield f"        <property name={_attribute(key)} value={_attribute(value)}/>"
    yield "      </properties>"
    reason = test.get("reason", "")
    if test["outcome"] == "failed":
        yield f"      <failure message={_attribute(reason)}>{escape(_printable(reason))}</failure>"
    elif test["outcome"] == "not run":
        yield f"      <skipped message={_attribute(reason)}/>"
    yield "    </testcase>"


def _properties(data: Mapping[str, Any], test: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    run = data["runs"][test["run"]]
    yield "world", test["world"]
    for key in ("verifies", "realizes"):
        yield from ((key, name) for name in test.get(key, ()))
    for key in ("seed", "trace_hash"):
        if test.get(key):
            yield key, test[key]
    for key in ("commit", "python"):
        if run.get(key):
            yield key, run[key]
    if test.get("stale"):
        yield "stale", test["stale"]
    for one in test.get("measured", ()):
        yield f"measured.{one['name']}", f"{one.get('value')} {one['unit']}"


def _attribute(text: str) -> str:
    return quoteattr(_printable(text))


def _printable(text: str) -> str:
    """Leave out what XML 1.0 cannot hold."""
    return "".join(sign for sign in text if sign in "\t\n\r" or " " <= sign <= "\ud7ff" or sign > "\ue000")


def needs_bytes(data: Mapping[str, Any], version: str = "1") -> bytes:
    """Return the catalogue with its verdicts in the needs.json form that sphinx-needs imports."""
    entries = [*data["features"], *data["requirements"], *data["specifications"], *data["others"]]
    needs = {entry["id"]: _need(data, entry) for entry in entries}
    content = {
        "created": data["newest_result"],
        "current_version": version,
        "project": data["project"],
        "versions": {
            version: {
                "created": data["newest_result"],
                "filters": {},
                "filters_amount": 0,
                "needs": needs,
                "needs_amount": len(needs),
            }
        },
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n"


def _plain(text: str) -> str:
    """Escape what reStructuredText, as which sphinx-needs reads a content, would take for markup."""
    return re.sub(r"[\\*`|]|_(?![A-Za-z0-9])", r"\\\g<0>", text)


def _need(data: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    links = [entry.get(name, ()) for name in _LINKS]
    content = entry["text"] + (f"\n\nAdaptation: {entry['adaptation']}" if entry.get("adaptation") else "")
    worlds = entry.get("worlds", {})
    file, _, line = entry["file"].rpartition(":")
    return {
        "id": entry["id"],
        "type": _NEED_TYPES[entry["type"]],
        "title": entry["title"],
        "content": _plain(content),
        "status": worlds["any"]["status"] if worlds else entry.get("status", ""),
        "tags": [entry["area"], *(f"{world}:{worlds[world]['status']}" for world in data["worlds"] if worlds)],
        "links": [target for group in links for target in group],
        "docname": file.removesuffix(".toml"),
        "lineno": int(line),
        "is_external": False,
        "is_need": True,
        "sections": [entry["area"]],
    }
