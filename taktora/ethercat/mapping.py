"""What each PDO of a machine file maps, object by object, as SII and object dictionary hold it; it assigns nothing.

A machine file may leave things out that a device must have: entries of a PDO, objects of entries, the gap before a PDO
with a ``bit_offset``. They are filled in here, in one way for everybody: objects after the modular device profile
(ETG.5001: 0x7000 + 16n for RxPDO 0x1600 + n, 0x6000 + 16n for TxPDO 0x1A00 + n), gaps as padding in front of the PDO.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from taktora.errors import ConfigurationError
from taktora.ethercat.datatypes import DataType, data_type_of
from taktora.ethercat.entries import EntryFault, entry_bits, place_pdos
from taktora.ethercat.network import EntrySpec, PdoSpec

__all__ = ["MAX_MAPPED_BITS", "MappedEntry", "MappedPdo", "PdoDirection", "map_pdos"]

PdoDirection: TypeAlias = Literal["rx", "tx"]
"""``rx``: outputs, ``tx``: inputs."""

MAX_MAPPED_BITS: Final = 255
"""Longest object that one mapping entry can name: its length is a byte."""

_CHUNK_BITS: Final = 64
_OBJECT_BASE: Final = {"rx": 0x7000, "tx": 0x6000}


@dataclass(frozen=True, slots=True)
class MappedEntry:
    """One mapping entry: ``index`` 0 is padding; ``spec`` is the machine file's entry that it comes from, if any."""

    index: int
    subindex: int
    bits: int
    data_type: int = DataType.NONE
    name: str = ""
    spec: EntrySpec | None = None

    @property
    def word(self) -> int:
        """The entry as objects 0x16xx and 0x1Axx hold it (u32)."""
        return self.index << 16 | self.subindex << 8 | self.bits


@dataclass(frozen=True, slots=True)
class MappedPdo:
    """One PDO with all of its mapping entries."""

    index: int
    name: str
    entries: tuple[MappedEntry, ...]
    fixed: bool = False

    @property
    def bits(self) -> int:
        return sum(entry.bits for entry in self.entries)


def map_pdos(pdos: Sequence[PdoSpec], direction: PdoDirection) -> tuple[MappedPdo, ...]:
    """Return the PDOs of one direction in the order of their bits.

    Raises:
        ConfigurationError: PDOs overlap, or lengths are missing or contradict each other.
    """
    try:
        places = place_pdos(pdos)
    except EntryFault as fault:
        where = ".".join(str(key) for key in ("pdos", direction, *fault.keys))
        raise ConfigurationError(f"{where}: {fault.text}") from fault
    used = {(entry.index, entry.subindex) for pdo in pdos for entry in pdo.entries if entry.index}
    mapped: list[MappedPdo] = []
    end = 0
    for pdo, place in zip(pdos, places, strict=True):
        entries = (*_padding(place.bit_offset - end), *_entries(pdo, direction, used))
        mapped.append(MappedPdo(pdo.index, pdo.name, entries, pdo.fixed))
        end = place.bit_offset + place.bit_length
    return tuple(mapped)


def _entries(pdo: PdoSpec, direction: PdoDirection, used: set[tuple[int, int]]) -> Iterator[MappedEntry]:
    fresh = _fresh_objects(_OBJECT_BASE[direction] + (pdo.index & 0xFF) * 0x10, used)
    if not pdo.entries:
        yield from _object(EntrySpec(bit_length=pdo.bit_length), pdo.bit_length or 0, fresh, pdo.name)
    for entry in pdo.entries:
        if entry.name is None and entry.index == 0:
            yield from _padding(entry_bits(entry), entry)
        else:
            yield from _object(entry, entry_bits(entry), fresh, entry.name or "")


def _object(entry: EntrySpec, bits: int, fresh: Iterator[tuple[int, int]], name: str) -> Iterator[MappedEntry]:
    """Yield one entry, or several of 64 bits where one object would be too long to be mapped."""
    if bits <= MAX_MAPPED_BITS:
        index, subindex = (entry.index, entry.subindex) if entry.index else next(fresh)
        yield MappedEntry(index, subindex, bits, data_type_of(entry, bits), name, entry)
        return
    for start in range(0, bits, _CHUNK_BITS):
        part = min(_CHUNK_BITS, bits - start)
        yield MappedEntry(*next(fresh), part, data_type_of(EntrySpec(bit_length=part), part), name)


def _padding(bits: int, spec: EntrySpec | None = None) -> Iterator[MappedEntry]:
    while bits > 0:
        length = min(bits, MAX_MAPPED_BITS)
        yield MappedEntry(0, 0, length, spec=spec)
        bits -= length


def _fresh_objects(base: int, used: set[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield (index, subindex) pairs that no entry names, and take them."""
    for index in range(base, 0x10000):
        for subindex in range(1, 255):
            if (index, subindex) not in used:
                used.add((index, subindex))
                yield index, subindex
