"""Where the PDOs of a device and their entries lie in its process image, by the machine file; it reads no image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from keyword import iskeyword
from math import isfinite
from typing import Final, Literal, TypeAlias

from taktora.ethercat.network import DeviceSpec, EntrySpec, EntryType, PdoSpec

__all__ = [
    "Direction",
    "EntryFault",
    "PlacedEntry",
    "PlacedPdo",
    "entry_bits",
    "place_pdos",
    "placed",
]

Direction: TypeAlias = Literal["rx", "tx"]
"""Seen from the SubDevice, as in the machine file: ``rx`` are outputs of the MainDevice, ``tx`` inputs."""

_BITS: Final[dict[EntryType, int]] = {
    "bool": 1,
    "u8": 8,
    "u16": 16,
    "u32": 32,
    "u64": 64,
    "i8": 8,
    "i16": 16,
    "i32": 32,
    "i64": 64,
    "f32": 32,
    "f64": 64,
}
_LONGEST_NAMED_BITS: Final = 64


class EntryFault(ValueError):
    """A PDO or an entry that makes no sense; ``keys`` lead to it from the device."""

    def __init__(self, text: str, *keys: str | int) -> None:
        super().__init__(text)
        self.text = text
        self.keys = keys


@dataclass(frozen=True, slots=True)
class PlacedEntry:
    """One named entry: where it lies in the device's own image of its direction, and what its bits mean.

    The engineering value is raw * ``factor`` + ``offset`` in ``unit``.
    """

    name: str
    type: EntryType
    bit_offset: int
    bit_length: int
    index: int = 0
    subindex: int = 0
    factor: float = 1.0
    offset: float = 0.0
    unit: str = ""


@dataclass(frozen=True, slots=True)
class PlacedPdo:
    """One PDO in the device's own image; ``entries`` are the named ones, ``padding`` the ranges declared as empty."""

    index: int
    bit_offset: int
    bit_length: int
    entries: tuple[PlacedEntry, ...]
    padding: tuple[tuple[int, int], ...] = ()
    """Half-open bit ranges."""


def entry_bits(entry: EntrySpec) -> int:
    """Return the length of an entry.

    Raises:
        EntryFault: no length for ``bits``, or one that contradicts the type.
    """
    natural = _BITS.get(entry.type)
    length = entry.bit_length if entry.bit_length is not None else natural
    if length is None:
        raise EntryFault("type 'bits' has no length of its own; write bit_length", "bit_length")
    if natural is not None and length != natural:
        raise EntryFault(
            f"bit_length {length} contradicts type {entry.type!r} of {natural} bits; use type 'bits'", "bit_length"
        )
    if entry.name is not None and length > _LONGEST_NAMED_BITS:
        raise EntryFault(f"{length} bits are more than the {_LONGEST_NAMED_BITS} of the longest value", "bit_length")
    return length


def placed(device: DeviceSpec, direction: Direction) -> tuple[PlacedPdo, ...]:
    """Return the PDOs of one direction with their places.

    Raises:
        EntryFault: no or contradictory lengths, overlapping PDOs, a name that is no identifier or stands twice.
    """
    try:
        return place_pdos(device.pdos.rx if direction == "rx" else device.pdos.tx)
    except EntryFault as fault:
        raise EntryFault(fault.text, "pdos", direction, *fault.keys) from None


def place_pdos(pdos: Sequence[PdoSpec]) -> tuple[PlacedPdo, ...]:
    """Return the PDOs in order, each behind the one before it unless it says where it is."""
    names: set[str] = set()
    found: list[PlacedPdo] = []
    end = 0
    for number, pdo in enumerate(pdos):
        start = end if pdo.bit_offset is None else pdo.bit_offset
        try:
            place = _place(pdo, start, names)
        except EntryFault as fault:
            raise EntryFault(fault.text, number, *fault.keys) from None
        if start < end:
            raise EntryFault(f"PDO 0x{pdo.index:04X} begins at bit {start} before the end of another", number)
        if any(pdo.index == other.index for other in found):
            raise EntryFault(f"PDO 0x{pdo.index:04X} stands twice", number, "index")
        found.append(place)
        end = start + place.bit_length
    return tuple(found)


def _place(pdo: PdoSpec, start: int, names: set[str]) -> PlacedPdo:
    if not pdo.entries:
        if pdo.bit_length is None:
            raise EntryFault(f"PDO 0x{pdo.index:04X} has no length; write entries or bit_length")
        return PlacedPdo(pdo.index, start, pdo.bit_length, ())
    entries = tuple(_entries(pdo.entries, start, names))
    length = sum(entry_bits(entry) for entry in pdo.entries)
    if pdo.bit_length not in (None, length):
        raise EntryFault(
            f"bit_length {pdo.bit_length} of PDO 0x{pdo.index:04X}, its entries make {length}", "bit_length"
        )
    return PlacedPdo(pdo.index, start, length, entries, tuple(_padding(pdo.entries, start)))


def _entries(entries: Sequence[EntrySpec], start: int, names: set[str]) -> Iterator[PlacedEntry]:
    for number, entry in enumerate(entries):
        try:
            length = entry_bits(entry)
        except EntryFault as fault:
            raise EntryFault(fault.text, "entries", number, *fault.keys) from None
        if entry.name is not None:
            if why := _unfit(entry.name, names):
                raise EntryFault(f"name {entry.name!r} {why}", "entries", number, "name")
            if entry.factor == 0 or not isfinite(entry.factor):
                raise EntryFault(
                    f"factor {entry.factor:g} leaves nothing of a value; give another", "entries", number, "factor"
                )
            if not isfinite(entry.offset):
                raise EntryFault(f"offset {entry.offset:g} is no number to add", "entries", number, "offset")
            names.add(entry.name)
            yield PlacedEntry(
                entry.name,
                entry.type,
                start,
                length,
                entry.index,
                entry.subindex,
                entry.factor,
                entry.offset,
                entry.unit,
            )
        start += length


def _unfit(name: str, taken: set[str]) -> str:
    """Return why an entry cannot have this name, "" if it can."""
    if name in taken:
        return "stands twice"
    if iskeyword(name):
        return "is a word of Python, which no field of a class can be"
    return "" if name.isidentifier() else "is no identifier, as the field of a class must be"


def _padding(entries: Sequence[EntrySpec], start: int) -> Iterator[tuple[int, int]]:
    for entry in entries:
        length = entry_bits(entry)
        if entry.name is None and entry.index == 0:
            yield start, start + length
        start += length
