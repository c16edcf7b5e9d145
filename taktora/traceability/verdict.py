"""Judges every requirement, specification and feature in every world from merged results; it reads and writes no file.

The weakest result of a requirement in a world decides: failed, then stale, then not run, then passed. A requirement
without any result there was never verified; one that tests do not verify shows its kind instead (inspection, analysis).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from taktora.traceability.results import merge_results

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from taktora.traceability.confirm import Confirmation
    from taktora.traceability.model import Catalogue, Item
    from taktora.traceability.results import Result

__all__ = ["ANY", "STATUSES", "Cell", "Evidence", "FeatureCell", "Today", "Trace", "judge"]

ANY = "any"
"""The name of the column over all worlds."""

STATUSES = ("failed", "stale", "not run", "never", "passed")
"""What a requirement that is verified by test can be in a world; other kinds show their name."""

_WEAKEST_FIRST = ("failed", "stale", "not run", "passed")


@dataclass(frozen=True, slots=True)
class Today:
    """The content hashes of now: of a test by node id (None: it is gone), of the application ("": unknown)."""

    test_hash: Callable[[str], str | None]
    application_hash: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One result as seen by one requirement: its state today and why; `suspect` asks for a look at the link."""

    result: Result
    state: str
    why: str = ""
    suspect: bool = False


@dataclass(slots=True)
class Cell:
    """What a requirement or specification is in one world; `below` names a requirement under it that failed."""

    status: str = "never"
    why: str = ""
    suspect: bool = False
    below: str = ""
    evidence: list[Evidence] = field(default_factory=list)

    @property
    def is_verified(self) -> bool:
        """Tell whether the cell counts as coverage: passed, nothing stale, not run or suspect in it."""
        return self.status == "passed" and not self.suspect


@dataclass(slots=True)
class FeatureCell:
    """What a feature is in one world: `passed` only where all of its `total` applicable requirements are verified."""

    status: str = "open"
    verified: int = 0
    failed: int = 0
    total: int = 0
    below: str = ""


@dataclass(slots=True)
class Trace:
    """The whole join: cells by id and world (ANY included), and what could not be joined."""

    catalogue: Catalogue
    worlds: tuple[str, ...]
    requirements: dict[str, dict[str, Cell]]
    specifications: dict[str, dict[str, Cell]]
    features: dict[str, dict[str, FeatureCell]]
    results: list[Result]
    stale: dict[tuple[str, str], str]
    gone: list[Result]
    unknown: list[tuple[str, str]]

    def counted(self, requirement: Item, world: str) -> bool:
        """Tell whether a requirement is in the denominator of coverage in a world."""
        kinds = ("test", "hil") if world in ("hil", ANY) else ("test",)
        return requirement.is_applicable and requirement.verification in kinds


# req: REQ_8602
def judge(
    catalogue: Catalogue,
    results: Iterable[Result],
    today: Today,
    confirmations: Mapping[str, Confirmation],
    worlds: Sequence[str] = (),
) -> Trace:
    """Return the verdict on everything in the catalogue; `worlds` are shown even where they have no result."""
    return _Judge(catalogue, today, confirmations).run(merge_results(results), worlds)


class _Judge:
    """The state of one join."""

    def __init__(self, catalogue: Catalogue, today: Today, confirmations: Mapping[str, Confirmation]) -> None:
        self.catalogue = catalogue
        self.today = today
        self.confirmations = confirmations
        self.texts = {item.id: item.text_hash for item in catalogue.requirements}
        self.stale: dict[tuple[str, str], str] = {}
        self.by_requirement: dict[tuple[str, str], list[Evidence]] = defaultdict(list)
        self.by_specification: dict[tuple[str, str], list[Evidence]] = defaultdict(list)
        self.unknown: dict[tuple[str, str], None] = {}

    def run(self, merged: list[Result], worlds: Sequence[str]) -> Trace:
        gone = [result for result in merged if self.today.test_hash(result.node_id) is None]
        lost = {id(result) for result in gone}
        kept = self._choose([result for result in merged if id(result) not in lost])
        for result in kept:
            self._link(result)
        found = sorted({result.world for result in kept} - set(worlds))
        shown = (*worlds, *found)
        requirements = {item.id: self._cells(item, shown) for item in self.catalogue.requirements}
        self._propagate(requirements)
        specifications = {item.id: self._spec_cells(item, shown) for item in self.catalogue.table("test")}
        features = self._features(requirements, (*shown, ANY))
        return Trace(
            self.catalogue, shown, requirements, specifications, features, kept, self.stale, gone, list(self.unknown)
        )

    def _choose(self, merged: list[Result]) -> list[Result]:
        """Keep one result per test and world, sorted by both: the verdict while fresh, else the newest."""
        chosen: dict[tuple[str, str], Result] = {}
        for result in merged:
            earlier = chosen.get(result.key)
            if earlier is None or not earlier.is_verdict or self._change(earlier):
                chosen[result.key] = result
        return list(chosen.values())

    # req: REQ_8604
    def _change(self, result: Result) -> str:
        """Return what changed since the result, or nothing; texts of requirements are judged per requirement."""
        if result.test_hash and result.test_hash != self.today.test_hash(result.node_id):
            return "the test changed"
        then, now = result.run.application_hash, self.today.application_hash
        return "the application changed" if then and now and then != now else ""

    def _link(self, result: Result) -> None:
        change = self._change(result) if result.is_verdict else ""
        if change:
            self.stale[result.key] = _why(result, change)
        implied = [
            target
            for spec in result.realizes
            if spec in self.catalogue
            for target in self.catalogue.specified_requirements(spec)
        ]
        for requirement in dict.fromkeys([*result.verifies, *implied]):
            if requirement in self.texts:
                self.by_requirement[requirement, result.world].append(self._evidence(result, requirement, change))
            else:
                self.unknown[result.node_id, requirement] = None
        for spec in result.realizes:
            state = "stale" if change else result.outcome
            why = _why(result, change)
            if spec not in self.catalogue:
                self.unknown[result.node_id, spec] = None
            self.by_specification[spec, result.world].append(Evidence(result, state, why))

    def _evidence(self, result: Result, requirement: str, change: str) -> Evidence:
        text = self.texts[requirement]
        if result.is_verdict and not change and result.texts.get(requirement, text) != text:
            change = f"the text of {requirement} changed"
        state = "stale" if change else result.outcome
        if change:
            self.stale.setdefault(result.key, _why(result, change))
        return Evidence(result, state, _why(result, change), self._is_suspect(result, requirement))

    # req: REQ_8609
    def _is_suspect(self, result: Result, requirement: str) -> bool:
        confirmed = self.confirmations.get(requirement)
        text = self.texts[requirement]
        if confirmed is not None:
            return confirmed.text_hash != text
        return result.linked.get(requirement, text) != text

    def _cells(self, item: Item, worlds: Sequence[str]) -> dict[str, Cell]:
        cells = {world: self._cell(item, world) for world in worlds}
        cells[ANY] = _over_worlds(item, list(cells.values()))
        return cells

    def _cell(self, item: Item, world: str) -> Cell:
        evidence = self.by_requirement.get((item.id, world), [])
        cell = _weakest(evidence)
        if not item.is_applicable:
            cell.status, cell.why = "not applicable", item.reason or item.status
        elif cell.status != "failed" and not _is_tested(item, world):
            cell.status, cell.why = item.verification, f"verified by {item.verification}, no test stands for it"
        return cell

    def _spec_cells(self, item: Item, worlds: Sequence[str]) -> dict[str, Cell]:
        cells = {world: _weakest(self.by_specification.get((item.id, world), [])) for world in worlds}
        cells[ANY] = _over_worlds(item, list(cells.values()))
        return cells

    # req: REQ_8603
    def _propagate(self, requirements: dict[str, dict[str, Cell]]) -> None:
        """Mark the requirements above a failed one as failed, in the same world (REQ_8603)."""
        failed = [(name, world) for name, cells in requirements.items() for world in cells if _failed(cells[world])]
        for name, world in failed:
            for above in self.catalogue.ancestors(name):
                cell = requirements[above][world] if above in requirements else None
                if cell is not None and cell.status not in ("failed", "not applicable"):
                    cell.status, cell.why, cell.below = "failed", f"{name} below it failed", name

    # req: REQ_8603
    def _features(
        self, requirements: dict[str, dict[str, Cell]], worlds: Sequence[str]
    ) -> dict[str, dict[str, FeatureCell]]:
        features = {item.id: {world: FeatureCell() for world in worlds} for item in self.catalogue.table("feature")}
        for item in self.catalogue.requirements:
            if item.is_applicable:
                for above in self.catalogue.ancestors(item.id):
                    for world, cell in features.get(above, {}).items():
                        _count(cell, item.id, requirements[item.id][world])
        for cells in features.values():
            for cell in cells.values():
                cell.status = _feature_status(cell)
        return features


def _is_tested(item: Item, world: str) -> bool:
    return item.verification == "test" or (item.verification == "hil" and world == "hil")


def _failed(cell: Cell) -> bool:
    return cell.status == "failed" and not cell.below


def _why(result: Result, change: str) -> str:
    return f"{change} since it {result.outcome}" if change else result.reason


def _weakest(evidence: list[Evidence]) -> Cell:
    cell = Cell(evidence=evidence, suspect=any(one.suspect for one in evidence))
    for status in _WEAKEST_FIRST:
        of_it = [one for one in evidence if one.state == status]
        if of_it:
            cell.status, cell.why = status, of_it[0].why
            return cell
    return cell


def _over_worlds(item: Item, cells: list[Cell]) -> Cell:
    """Sum up the worlds: a failure anywhere counts, else the best that is proven anywhere."""
    order = ("failed", "not applicable", "passed", "stale", "not run", item.verification, "never")
    for status in order:
        of_it = [cell for cell in cells if cell.status == status]
        if of_it:
            clean = [cell for cell in of_it if not cell.suspect] or of_it
            return Cell(status, clean[0].why, clean[0].suspect, clean[0].below)
    return Cell()


def _count(cell: FeatureCell, name: str, below: Cell) -> None:
    cell.total += 1
    cell.verified += below.is_verified
    if below.status == "failed":
        cell.failed += 1
        cell.below = cell.below or below.below or name


def _feature_status(cell: FeatureCell) -> str:
    if cell.failed:
        return "failed"
    if not cell.total:
        return "not applicable"
    return "passed" if cell.verified == cell.total else "open"
