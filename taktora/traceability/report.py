"""The join as plain data: the one structure behind the page, JSON, CSV, JUnit and needs.json; it holds no clock."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from taktora.traceability.gate import TOTAL, coverage
from taktora.traceability.model import LINK_FIELDS
from taktora.traceability.verdict import ANY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taktora.traceability.codelinks import CodeLink
    from taktora.traceability.model import Item
    from taktora.traceability.results import Result, Run
    from taktora.traceability.verdict import Cell, Evidence, FeatureCell, Trace

__all__ = ["FORMAT", "trace_data"]

FORMAT = 1
"""The value of `taktora_trace` in trace.json; it changes when a reader would break."""

_ITEM_FIELDS = ("kind", "verification", "adaptation", "applicability", "reason", "note", "origin", "status", "level",
                "gate")  # fmt: skip


def trace_data(trace: Trace, code: Sequence[CodeLink], project: str = "") -> dict[str, Any]:
    """Return everything that the reports show, in catalogue order, built-in types only.

    The newest result dates the report, so that the same input gives the same bytes at any time.
    """
    return _Writer(trace, code).data(project)


# req: REQ_8602, REQ_8608
class _Writer:
    """Numbers results and runs once, so that requirements can refer to them."""

    def __init__(self, trace: Trace, code: Sequence[CodeLink]) -> None:
        self.trace = trace
        self.code = code
        self.columns = (*trace.worlds, ANY)
        self.runs: dict[bytes, int] = {}
        self.run_list: list[Run] = []
        self.order = trace.results
        self.number = {id(result): at for at, result in enumerate(self.order)}
        self.places: dict[str, list[str]] = {}
        for link in code:
            self.places.setdefault(link.id, []).append(f"{link.file}:{link.line}")

    def data(self, project: str) -> dict[str, Any]:
        catalogue = self.trace.catalogue
        newest = max((result.finished_unix_ns for result in self.order), default=0)
        tests = [self._test(result) for result in self.order]
        return {
            "taktora_trace": FORMAT,
            "project": project,
            "newest_result": _time(newest) if newest else "",
            "worlds": list(self.trace.worlds),
            "areas": [self._area(area) for area in [*catalogue.areas, TOTAL]],
            "features": [self._feature(item) for item in catalogue.table("feature")],
            "requirements": [self._requirement(item) for item in catalogue.requirements],
            "specifications": [self._specification(item) for item in catalogue.table("test")],
            "others": [
                self._plain(item) for name in ("decision", "block", "scenario") for item in catalogue.table(name)
            ],
            "tests": tests,
            "runs": [msgspec.to_builtins(run) for run in self.run_list],
            "findings": self._findings(),
        }

    def _area(self, area: str) -> dict[str, Any]:
        inside = [item for item in self.trace.catalogue.requirements if area in (TOTAL, item.area)]
        worlds = {}
        for world in self.columns:
            have = coverage(self.trace, area, world)
            cells = [self.trace.requirements[item.id][world] for item in inside]
            worlds[world] = {
                "verified": have.verified,
                "countable": have.total,
                "statuses": dict(sorted(Counter(cell.status for cell in cells).items())),
                "suspect": sum(cell.suspect for cell in cells),
            }
        return {"area": area, "requirements": len(inside), "worlds": worlds}

    def _plain(self, item: Item) -> dict[str, Any]:
        extra = {name: getattr(item, name) for name in _ITEM_FIELDS}
        return {
            "id": item.id,
            "type": item.table,
            "area": item.area,
            "title": item.title,
            "text": item.text,
            **{name: value for name, value in extra.items() if value},
            LINK_FIELDS[item.table]: list(item.links),
            "file": f"{item.file}:{item.line}",
            **({"code": self.places[item.id]} if item.id in self.places else {}),
        }

    def _requirement(self, item: Item) -> dict[str, Any]:
        cells = self.trace.requirements[item.id]
        return {
            **self._plain(item),
            "ancestors": self.trace.catalogue.ancestors(item.id),
            "below": self._pointing_here(item, "requirement"),
            "specifications": self._pointing_here(item, "test"),
            "others": self._pointing_here(item, "decision", "block", "scenario"),
            "worlds": {world: self._cell(cells[world]) for world in self.columns},
        }

    def _specification(self, item: Item) -> dict[str, Any]:
        cells = self.trace.specifications[item.id]
        return {**self._plain(item), "worlds": {world: self._cell(cells[world]) for world in self.columns}}

    def _feature(self, item: Item) -> dict[str, Any]:
        cells = self.trace.features[item.id]
        below = self._pointing_here(item, "feature", "requirement")
        return {
            **self._plain(item),
            "below": below,
            "others": self._pointing_here(item, "decision", "block", "scenario"),
            "worlds": {world: _feature_cell(cells[world]) for world in self.columns},
        }

    def _pointing_here(self, item: Item, *tables: str) -> list[str]:
        return [one.id for one in self.trace.catalogue.sources.get(item.id, ()) if one.table in tables]

    def _cell(self, cell: Cell) -> dict[str, Any]:
        content: dict[str, Any] = {"status": cell.status}
        if cell.why:
            content["why"] = cell.why
        if cell.below:
            content["below"] = cell.below
        if cell.suspect:
            content["suspect"] = True
        if cell.evidence:
            content["tests"] = [self._link(one) for one in cell.evidence]
        return content

    def _link(self, evidence: Evidence) -> dict[str, Any]:
        link: dict[str, Any] = {"test": self.number[id(evidence.result)], "state": evidence.state}
        if evidence.state == "stale":
            link["why"] = evidence.why
        if evidence.suspect:
            link["suspect"] = True
        return link

    def _test(self, result: Result) -> dict[str, Any]:
        content: dict[str, Any] = msgspec.to_builtins(result)
        for name in ("texts", "linked", "finished_unix_ns"):
            content.pop(name, None)
        content["finished"] = _time(result.finished_unix_ns)
        if result.key in self.trace.stale:
            content["stale"] = self.trace.stale[result.key]
        content["run"] = self._run_number(result.run)
        return content

    def _run_number(self, run: Run) -> int:
        packed = msgspec.json.encode(run, order="sorted")
        if packed not in self.runs:
            self.runs[packed] = len(self.run_list)
            self.run_list.append(run)
        return self.runs[packed]

    def _findings(self) -> dict[str, Any]:
        """Return what does not fit together: the lists an assessor asks for first."""
        requirements = self.trace.catalogue.requirements
        known = self.trace.catalogue.items
        named = {name for result in self.order for name in (*result.verifies, *result.realizes)}
        return {
            "requirements_without_code": [
                item.id for item in requirements if item.is_applicable and item.id not in self.places
            ] if self.code else [],
            "markers_without_requirement": [
                {"id": link.id, "place": f"{link.file}:{link.line}"} for link in self.code if link.id not in known
            ],
            "tests_without_requirement": sorted({one.node_id for one in self.order if not one.verifies}),
            "unrealized_specifications": [
                item.id
                for item in self.trace.catalogue.table("test")
                if item.is_applicable and item.id not in named
            ],
            "results_without_test": sorted({one.node_id for one in self.trace.gone}),
            "results_with_unknown_id": [{"test": node, "id": name} for node, name in self.trace.unknown],
        }  # fmt: skip


def _feature_cell(cell: FeatureCell) -> dict[str, Any]:
    content: dict[str, Any] = {
        "status": cell.status,
        "verified": cell.verified,
        "failed": cell.failed,
        "total": cell.total,
    }
    return {**content, "below": cell.below} if cell.below else content


def _time(unix_ns: int) -> str:
    return datetime.fromtimestamp(unix_ns // 1_000_000 / 1000, UTC).isoformat(timespec="milliseconds")
