"""The things a catalogue holds, as plain values; nothing here reads a file."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property

from taktora.traceability.errors import UnknownId
from taktora.traceability.ids import nearest

__all__ = ["LINK_FIELDS", "Catalogue", "Item"]

LINK_FIELDS = {
    "feature": "parent",
    "requirement": "refines",
    "test": "verifies",
    "decision": "affects",
    "block": "implements",
    "scenario": "refines",
}
"""The field by which each table points upward."""


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of the catalogue with its place; `links` are the ids it points to, `text` is statement or summary."""

    id: str
    table: str
    title: str
    text: str
    area: str
    file: str
    line: int
    links: tuple[str, ...] = ()
    kind: str = ""
    verification: str = ""
    adaptation: str = ""
    applicability: str = ""
    reason: str = ""
    note: str = ""
    origin: str = ""
    status: str = ""
    level: str = ""
    gate: str = ""

    @property
    def is_applicable(self) -> bool:
        """Tell whether the entry binds at all: neither declared not applicable nor retired."""
        return self.applicability != "not-applicable" and self.status != "retired"

    @property
    def text_hash(self) -> str:
        """Return 16 hex digits over statement and adaptation, the two texts that bind; spacing does not count."""
        words = "\x00".join(" ".join(part.split()) for part in (self.text, self.adaptation))
        return hashlib.sha256(words.encode()).hexdigest()[:16]


@dataclass
class Catalogue:
    """Every item by id, in the order of the files; lookups by kind, area and reverse link."""

    items: dict[str, Item] = field(default_factory=dict)

    def __contains__(self, item_id: object) -> bool:
        return item_id in self.items

    def __getitem__(self, item_id: str) -> Item:
        """Return the item; raises UnknownId with the nearest known ids."""
        try:
            return self.items[item_id]
        except KeyError:
            raise UnknownId(item_id, nearest(item_id, self.items)) from None

    def table(self, name: str) -> list[Item]:
        """Return the items of one table (`requirement`, `feature`, ...) in catalogue order."""
        return [item for item in self.items.values() if item.table == name]

    @property
    def requirements(self) -> list[Item]:
        """Return all requirements in catalogue order."""
        return self.table("requirement")

    @property
    def areas(self) -> list[str]:
        """Return the areas that hold requirements, in catalogue order."""
        return list(dict.fromkeys(item.area for item in self.requirements))

    @cached_property
    def sources(self) -> dict[str, list[Item]]:
        """Map each id to the items that point to it (reverse links), in catalogue order."""
        found: dict[str, list[Item]] = defaultdict(list)
        for item in self.items.values():
            for target in item.links:
                found[target].append(item)
        return dict(found)

    def ancestors(self, item_id: str) -> list[str]:
        """Return all ids above an item, nearest first, each once; unknown links are left out."""
        found: dict[str, None] = {}
        queue = list(self.items[item_id].links)
        while queue:
            above = queue.pop(0)
            if above in self.items and above not in found and above != item_id:
                found[above] = None
                queue.extend(self.items[above].links)
        return list(found)

    def specified_requirements(self, test_id: str) -> tuple[str, ...]:
        """Return the requirements that a test specification verifies."""
        return tuple(target for target in self.items[test_id].links if target in self.items)
