"""Raw bits of process data to values in engineering units and back; it knows no device."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, TypeAlias

from taktora.ethercat.mapping import MappedEntry
from taktora.ethercat.network import EntrySpec

__all__ = ["NamedEntry", "Value", "named"]

Value: TypeAlias = bool | int | float

_FLOATS: Final = {"f32": "<f", "f64": "<d"}


@dataclass(frozen=True, slots=True)
class NamedEntry:
    """One named object of process data: what its bits mean."""

    name: str
    index: int
    subindex: int
    bits: int
    spec: EntrySpec
    pdo: int
    """Index of the PDO that it is in."""

    @property
    def is_number(self) -> bool:
        """It has a scale: more than a bit or a few of them."""
        return self.spec.type not in ("bool", "bits")

    @property
    def is_scaled(self) -> bool:
        return self.spec.factor != 1.0 or self.spec.offset != 0.0

    @property
    def raw_range(self) -> tuple[int, int]:
        """Smallest and largest raw number of an integer entry."""
        if self.spec.type.startswith("i"):
            return -(1 << self.bits - 1), (1 << self.bits - 1) - 1
        return 0, (1 << self.bits) - 1

    def decode(self, word: int) -> Value:
        """Return the value of the entry's bits, given as an unsigned number."""
        spec = self.spec
        kind = spec.type
        if kind == "bool":
            return bool(word)
        raw: int | float = word
        if kind[0] == "i":
            if word >> self.bits - 1:
                raw = word - (1 << self.bits)
        elif kind in _FLOATS:
            raw = struct.unpack(_FLOATS[kind], word.to_bytes(self.bits // 8, "little"))[0]
        factor, offset = spec.factor, spec.offset
        return raw if factor == 1.0 and offset == 0.0 else raw * factor + offset

    def encode(self, value: Value) -> int:
        """Return the entry's bits, as an unsigned number; beyond its range a value becomes the nearest that fits."""
        kind = self.spec.type
        if kind == "bool":
            return int(bool(value))
        raw = (value - self.spec.offset) / self.spec.factor if self.is_scaled else value
        if kind in _FLOATS:
            return int.from_bytes(struct.pack(_FLOATS[kind], raw), "little")
        low, high = self.raw_range
        return min(max(round(raw), low), high) & (1 << self.bits) - 1


def named(entry: MappedEntry, pdo: int) -> NamedEntry | None:
    """Return the meaning of a mapped entry, None for one that the machine file gives no name."""
    if not entry.name or not entry.index:
        return None
    spec = entry.spec or EntrySpec(bit_length=entry.bits)
    return NamedEntry(entry.name, entry.index, entry.subindex, entry.bits, spec, pdo)
