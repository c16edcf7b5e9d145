"""The text of `taktora trace show`: one item of the catalogue with everything linked to it."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from taktora.traceability import FeatureCell

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from taktora.traceability import Catalogue, Cell, CodeLink, Evidence, Item, Trace

__all__ = ["show_item"]

_WIDTH = 100


def show_item(trace: Trace, name: str, code: Sequence[CodeLink] = ()) -> list[str]:
    """Return the lines about one item; raises UnknownId with the nearest known ids."""
    item = trace.catalogue[name]
    places = [f"{link.file}:{link.line}" for link in code if link.id == name]
    return [
        f"{item.id}  {item.title}",
        f"  {_facts(item)}",
        "",
        *_text(item),
        *_links(trace.catalogue, item),
        *_verdicts(trace, item),
        *_tests(trace, item),
        *_section("code", places),
    ]


def _facts(item: Item) -> str:
    facts = [item.table, item.area, item.kind, item.verification and f"verified by {item.verification}", item.level]
    return (
        ", ".join(fact for fact in [*facts, item.applicability, item.status] if fact) + f"  ({item.file}:{item.line})"
    )


def _text(item: Item) -> Iterator[str]:
    yield from _wrap(item.text)
    for name in ("adaptation", "reason", "note"):
        text = getattr(item, name)
        if text:
            yield from ["", f"  {name}:", *_wrap(text, 4)]


def _wrap(text: str, indent: int = 2) -> list[str]:
    room = " " * indent
    return textwrap.wrap(text, _WIDTH, initial_indent=room, subsequent_indent=room, break_on_hyphens=False)


def _links(catalogue: Catalogue, item: Item) -> Iterator[str]:
    above = list(dict.fromkeys([*item.links, *catalogue.ancestors(item.id)]))
    yield from _section("up", [_named(catalogue, name) for name in above])
    yield from _section("down", [_named(catalogue, one.id) for one in catalogue.sources.get(item.id, ())])


def _named(catalogue: Catalogue, name: str) -> str:
    return f"{name}  {catalogue[name].title}" if name in catalogue else f"{name}  (not in the catalogue)"


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return ["", f"{title}:", *(f"  {line}" for line in lines)] if lines else []


def _verdicts(trace: Trace, item: Item) -> list[str]:
    cells: dict[str, Cell] | dict[str, FeatureCell] | None
    cells = trace.requirements.get(item.id) or trace.specifications.get(item.id) or trace.features.get(item.id)
    return _section("status", [f"{world:<4} {_status(cell)}" for world, cell in (cells or {}).items()])


def _status(cell: Cell | FeatureCell) -> str:
    if isinstance(cell, FeatureCell):
        below = f", {cell.below} failed" if cell.below else ""
        return f"{cell.status}: {cell.verified} of {cell.total} requirements verified{below}"
    suspect = ", suspect: the requirement's text changed and nobody confirmed its tests" if cell.suspect else ""
    return f"{cell.status}{f': {cell.why}' if cell.why else ''}{suspect}"


def _tests(trace: Trace, item: Item) -> list[str]:
    cells = trace.requirements.get(item.id) or trace.specifications.get(item.id) or {}
    return _section("tests", [line for cell in cells.values() for one in cell.evidence for line in _test(one)])


def _test(one: Evidence) -> Iterator[str]:
    result = one.result
    yield f"{one.state:<8} {result.world:<4} {result.node_id}" + (f"  ({one.why})" if one.why else "")
    facts = {"seed": result.seed, "trace": result.trace_hash, "commit": result.run.commit[:12]}
    known = ", ".join(f"{name} {value}" for name, value in facts.items() if value)
    if known:
        yield f"{'':13} {known}"
    for measured in result.measured:
        limits = f"limits {_limit(measured.low)} .. {_limit(measured.high)}"
        yield f"{'':13} {measured.name} = {measured.value} {measured.unit}, {limits}: {measured.verdict}"


def _limit(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"
