"""Where the faults of one target go on the timeline so that each is named and no name hides another; numbers only.

Faults of one kind that come one after the other, too close for their names, are one group with one name. Groups that
would overlap stand in lanes below each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from taktora_sim.report.scale import LEFT, WIDTH, TimeAxis

if TYPE_CHECKING:
    from taktora_sim.faults import FiredFault

__all__ = ["Group", "end_ns", "lanes"]

_CHARACTER = 7.2
"""Width of a character of a name, about: small and bold."""
_GAP = 6.0

Place: TypeAlias = Literal["inside", "after", "before", "over"]


@dataclass(frozen=True, slots=True)
class Group:
    """Faults of one kind with one name.

    Args:
        faults: In order of their beginning.
        begin: Left end of the first bar, in units of the drawing.
        end: Right end of the last bar.
    """

    faults: tuple[FiredFault, ...]
    begin: float
    end: float

    @property
    def name(self) -> str:
        """The kind, and how many they are."""
        kind, count = self.faults[0].entry.kind, len(self.faults)
        return kind if count == 1 else f"{kind} \u00d7{count}"

    @property
    def name_width(self) -> float:
        """Width of the name, about."""
        return len(self.name) * _CHARACTER

    @property
    def place(self) -> Place:
        """Where the name is: inside the only bar, after the bars, before them, or over those that fill the drawing."""
        width = self.name_width
        if len(self.faults) == 1 and width + 8 < self.end - self.begin:
            return "inside"
        if self.end + _GAP + width < WIDTH:
            return "after"
        return "before" if self.begin - _GAP - width > LEFT else "over"

    @property
    def span(self) -> tuple[float, float]:
        """Left and right end of bars and name."""
        width = _GAP + self.name_width
        before, after = width * (self.place == "before"), width * (self.place == "after")
        return self.begin - before, self.end + after


def end_ns(fault: FiredFault, axis: TimeAxis) -> int:
    """Return when the effects of a fault were over, at the latest with the drawing."""
    return axis.duration_ns if fault.over_ns is None else fault.over_ns


def lanes(faults: Iterable[FiredFault], axis: TimeAxis) -> list[list[Group]]:
    """Return the lanes of the faults of one target, the groups of each from left to right; never more than needed."""
    found: list[list[Group]] = []
    for group in sorted(_groups(faults, axis), key=lambda group: group.span):
        begin, _ = group.span
        free = next((lane for lane in found if lane[-1].span[1] + _GAP <= begin), None)
        if free is None:
            found.append(free := [])
        free.append(group)
    return found


def _groups(faults: Iterable[FiredFault], axis: TimeAxis) -> list[Group]:
    kinds: dict[str, list[Group]] = {}
    for fault in sorted(faults, key=lambda fault: (fault.started_ns, -end_ns(fault, axis))):
        begin = axis.x(fault.started_ns)
        end = max(begin + 2.0, axis.x(end_ns(fault, axis)))
        own = kinds.setdefault(fault.entry.kind, [])
        if own and begin < own[-1].span[1] + _GAP:
            own[-1] = Group((*own[-1].faults, fault), own[-1].begin, max(own[-1].end, end))
        else:
            own.append(Group((fault,), begin, end))
    return [group for groups in kinds.values() for group in groups]
