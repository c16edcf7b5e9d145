"""Process data of a simulated device against its object dictionary: which bits are which object, now; no ESC here.

The mapping is what the dictionary's assignment and mapping objects say at the moment. Values live in the entries of the
dictionary; the image of inputs and outputs mirrors those that are mapped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from taktora.ethercat.coe import Abort
from taktora.ethercat.device_objects import RX_ASSIGNMENT, TX_ASSIGNMENT
from taktora.ethercat.dictionary import Access, DictionaryObject, ObjectDictionary, ObjectEntry

__all__ = ["PdoRules", "ProcessData", "Slot"]

MAX_IMAGE_BYTES: Final = 1486
_MAPPABLE: Final = {RX_ASSIGNMENT: Access.RX_MAPPABLE, TX_ASSIGNMENT: Access.TX_MAPPABLE}
_PDO_RANGES: Final = {RX_ASSIGNMENT: range(0x1600, 0x1800), TX_ASSIGNMENT: range(0x1A00, 0x1C00)}


@dataclass(frozen=True, slots=True)
class Slot:
    """One mapped object: bits ``offset`` to ``offset + bits`` of the image."""

    index: int
    subindex: int
    offset: int
    bits: int

    @property
    def mask(self) -> int:
        """Its bits in the image as one number."""
        return (1 << self.bits) - 1 << self.offset


class ProcessData:
    """The image of one direction.

    Args:
        dictionary: Objects and their values.
        assignment: Index of the assignment object, 0x1C12 for outputs, 0x1C13 for inputs.
    """

    def __init__(self, dictionary: ObjectDictionary, assignment: int) -> None:
        self._dictionary = dictionary
        self._assignment = assignment
        self.slots: tuple[Slot, ...] = ()
        """Mapped objects in the order of their bits; padding has none."""
        self.bits = self.byte_length = 0
        self.image = b""
        self._by_object: dict[tuple[int, int], Slot] = {}
        self._plan: list[tuple[int, int, Slot, int, ObjectEntry]] = []
        self._pieces: list[tuple[slice, Slot, ObjectEntry]] = []
        """Bytes, slot and entry of each object, where all are whole bytes: quicker, and nearly always so."""
        self._only: ObjectEntry | None = None
        """The one object that is the whole image, if there is one."""
        self.rebuild()

    def rebuild(self) -> None:
        """Read the mapping anew, and the values of what is mapped."""
        slots: list[Slot] = []
        offset = 0
        for word in self._mapping_words():
            bits = word & 0xFF
            if self._dictionary.get(word >> 16, word >> 8 & 0xFF) is not None:
                slots.append(Slot(word >> 16, word >> 8 & 0xFF, offset, bits))
            offset += bits
        self.slots, self.bits, self.byte_length = tuple(slots), offset, (offset + 7) // 8
        self._by_object = {(slot.index, slot.subindex): slot for slot in slots}
        self._plan = [self._planned(slot) for slot in slots]
        whole = all(not slot.offset % 8 and slot.bits == 8 * length for _, _, slot, length, _ in self._plan)
        self._pieces = [
            (slice(shift // 8, shift // 8 + length), slot, entry)
            for _, shift, slot, length, entry in self._plan
            if whole
        ]
        is_one = len(self._pieces) == 1 and slots[0].bits == offset
        self._only = self._pieces[0][2] if is_one else None
        word = sum(self._stored(slot) << slot.offset for slot in self._by_object.values())
        self.image = word.to_bytes(self.byte_length, "little")

    def slot(self, index: int, subindex: int) -> Slot | None:
        """Return where an object is mapped, None if it is not."""
        return self._by_object.get((index, subindex))

    def put(self, index: int, subindex: int, number: int) -> None:
        """Show the number (its bits count) of an object in the image; nothing happens if it is not mapped."""
        slot = self._by_object.get((index, subindex))
        if slot is not None:
            word = int.from_bytes(self.image, "little") & ~slot.mask | (number << slot.offset & slot.mask)
            self.image = word.to_bytes(self.byte_length, "little")

    def take(self, data: bytes) -> Sequence[Slot]:
        """Take a whole image, store the values that changed and return their slots."""
        before = self.image
        if data == before:
            return ()
        if len(data) != self.byte_length:
            data = data[: self.byte_length].ljust(self.byte_length, b"\0")
            if data == before:
                return ()
        self.image = data
        if self._only is not None:
            self._only.value = data
            return self.slots
        found: list[Slot] = []
        if self._pieces:
            for span, slot, entry in self._pieces:
                piece = data[span]
                if piece != before[span]:
                    entry.value = piece
                    found.append(slot)
            return found
        word = int.from_bytes(data, "little")
        changed = word ^ int.from_bytes(before, "little")
        for mask, shift, slot, length, entry in self._plan:
            if changed & mask:
                entry.value = ((word & mask) >> shift).to_bytes(length, "little")
                found.append(slot)
        return found

    def _planned(self, slot: Slot) -> tuple[int, int, Slot, int, ObjectEntry]:
        entry = self._dictionary.entry(slot.index, slot.subindex)
        return slot.mask, slot.offset, slot, max(entry.byte_length, (slot.bits + 7) // 8), entry

    def _stored(self, slot: Slot) -> int:
        value = self._dictionary.entry(slot.index, slot.subindex).value
        return int.from_bytes(value, "little") & (1 << slot.bits) - 1

    def _mapping_words(self) -> list[int]:
        words: list[int] = []
        for pdo in _listed(self._dictionary, self._assignment):
            words += _listed(self._dictionary, pdo)
        return words


def _listed(dictionary: ObjectDictionary, index: int) -> list[int]:
    """Return what the entries in use of an array say."""
    found = dictionary.objects.get(index)
    if found is None:
        return []
    return [found.entries[sub].number for sub in range(1, found.count + 1) if sub in found.entries]


# req: REQ_8104
class PdoRules:
    """What may be written to PDO assignment and PDO mapping objects (ETG.1000.6, ETG.1020).

    The count goes to 0 first, then the entries are written, then the count again; with complete access all at once.
    """

    def __init__(self, dictionary: ObjectDictionary, max_bytes: Mapping[int, int] | None = None) -> None:
        self._dictionary = dictionary
        self._max_bytes = max_bytes or {}

    def covers(self, index: int) -> bool:
        """Return whether the object is one of these."""
        return index in _PDO_RANGES or self._assignment_of(index) is not None

    def check(self, index: int, values: dict[int, bytes], *, complete: bool) -> int:
        """Return 0 to accept new values of assignment or mapping object ``index``, else the abort code."""
        found = self._dictionary.objects[index]
        numbers = {sub: int.from_bytes(value, "little") for sub, value in values.items()}
        if found.count and not complete and any(sub > 0 for sub in numbers):
            return Abort.COUNT_NOT_ZERO
        check_item = self._check_assigned if index in _PDO_RANGES else self._check_mapped
        for sub, number in numbers.items():
            if sub > 0 and (code := check_item(index, number)):
                return code
        return self._check_total(found, numbers, check_item)

    def _check_total(
        self, found: DictionaryObject, numbers: dict[int, int], check_item: Callable[[int, int], int]
    ) -> int:
        """Check what will be in use; entries that are only prepared (count 0) need not fit yet."""
        count = numbers.get(0, found.count)
        if count > found.max_subindex:
            return Abort.TOO_HIGH
        used = [numbers.get(sub, found.entries[sub].number) for sub in range(1, count + 1) if sub in found.entries]
        for number in used:
            if code := check_item(found.index, number):
                return code
        if found.index not in _PDO_RANGES:
            return 0
        if len(set(used)) < len(used):
            return Abort.INCOMPATIBLE_PARAMETER
        bits = sum(word & 0xFF for pdo in used for word in _listed(self._dictionary, pdo))
        limit = self._max_bytes.get(found.index, MAX_IMAGE_BYTES)
        return Abort.MAPPING_TOO_LONG if bits > 8 * limit else 0

    def _check_assigned(self, assignment: int, pdo: int) -> int:
        known = pdo in _PDO_RANGES[assignment] and pdo in self._dictionary
        return 0 if known else Abort.NOT_MAPPABLE

    def _check_mapped(self, pdo: int, word: int) -> int:
        assignment = self._assignment_of(pdo)
        if word >> 8 == 0 or assignment is None:
            return 0  # padding
        entry = self._dictionary.get(word >> 16, word >> 8 & 0xFF)
        if entry is None or not entry.access & _MAPPABLE[assignment] or entry.bits != word & 0xFF:
            return Abort.NOT_MAPPABLE
        return 0

    @staticmethod
    def _assignment_of(pdo: int) -> int | None:
        return next((assignment for assignment, pdos in _PDO_RANGES.items() if pdo in pdos), None)
