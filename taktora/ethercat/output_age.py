"""How long ago the application last stood behind the outputs of each SubDevice; it counts cycles and sends nothing."""

from __future__ import annotations

from collections.abc import Iterable

from taktora.ethercat.slices import Buffer

__all__ = ["OutputAges"]

_NEVER = -1


# req: REQ_8150
class OutputAges:
    """One age per SubDevice, in cycles; past the limit its outputs are no longer live until they are renewed.

    A SubDevice that was never renewed since the bring-up is not live either, but does not age: nobody has promised
    anything yet.

    A bus that does not keep up counts few cycles in a long time: hence the slots of its grid count as well, with a
    limit of their own.

    Args:
        count: Number of SubDevices.
        with_outputs: Places of those that have outputs; the others have no age.
        max_age_cycles: Largest age that is still live.
        max_age_slots: Most slots since the renewal that are still live, skipped ones counted; None: no such limit.
    """

    __slots__ = ("_ages", "_all_young", "_every", "_limit", "_places", "_slots", "_slots_limit", "live")

    def __init__(
        self, count: int, with_outputs: Iterable[int], max_age_cycles: int, max_age_slots: int | None = None
    ) -> None:
        self._places = tuple(with_outputs)
        self._limit = max_age_cycles
        self._slots_limit = max_age_slots
        self._ages = [_NEVER] * count
        self._slots = [0] * count
        self._every = bytes((1,)) * count
        self._all_young = False
        self.live = bytearray(count)
        """Per SubDevice: 1 when the application's outputs are to be sent, 0 when the safe ones are."""

    def advance(self, renewed: Buffer, slots: int = 1) -> bool:
        """Begin a cycle; return whether a SubDevice has aged past the limit or has come back from there.

        Args:
            renewed: One byte per SubDevice, non-zero: renewed since the last cycle.
            slots: How many slots of the grid have come since the last cycle, its own included.
        """
        all_young = renewed == self._every
        if all_young and self._all_young:
            return False  # the usual cycle: all ages are 0 and stay so
        self._all_young = all_young
        ages, live, limit = self._ages, self.live, self._limit
        moved = False
        for place in self._places:
            age = ages[place]
            if renewed[place]:
                ages[place] = self._slots[place] = 0
                if not live[place]:
                    live[place] = 1
                    moved |= age != _NEVER
            elif age != _NEVER:
                ages[place] = age = age + 1
                self._slots[place] += slots
                if live[place] and (age > limit or self._is_late(place)):
                    live[place] = 0
                    moved = True
        return moved

    def age(self, place: int) -> int | None:
        """Return the cycles since the last renewal; None when there was none."""
        age = self._ages[place]
        return None if age == _NEVER else age

    def aged(self) -> tuple[int, ...]:
        """Return the places whose outputs were live once and are too old now."""
        ages, live = self._ages, self.live
        return tuple(place for place in self._places if ages[place] != _NEVER and not live[place])

    def _is_late(self, place: int) -> bool:
        return self._slots_limit is not None and self._slots[place] > self._slots_limit

    def restart(self) -> None:
        """Forget every renewal: the segment has been brought up again, old outputs must not go out."""
        self._all_young = False
        for place in self._places:
            self._ages[place] = _NEVER
            self.live[place] = 0
