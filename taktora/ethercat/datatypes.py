"""Basic data types of CoE objects (ETG.1020) and how the machine file's types map to them; it converts no values."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from taktora.ethercat.network import EntrySpec, EntryType

__all__ = ["DataType", "data_type_of", "entry_type_of", "is_signed", "is_text"]


class DataType(IntEnum):
    """Index of a basic type in the object dictionary."""

    NONE = 0x0000
    BOOLEAN = 0x0001
    INTEGER8 = 0x0002
    INTEGER16 = 0x0003
    INTEGER32 = 0x0004
    UNSIGNED8 = 0x0005
    UNSIGNED16 = 0x0006
    UNSIGNED32 = 0x0007
    REAL32 = 0x0008
    VISIBLE_STRING = 0x0009
    OCTET_STRING = 0x000A
    UNICODE_STRING = 0x000B
    DOMAIN = 0x000F
    INTEGER24 = 0x0010
    REAL64 = 0x0011
    INTEGER64 = 0x0015
    UNSIGNED24 = 0x0016
    UNSIGNED64 = 0x001B
    PDO_MAPPING = 0x0021
    IDENTITY = 0x0023
    PDO_ASSIGN = 0x0029
    BIT1 = 0x0030


_TYPES: Final[dict[EntryType, int]] = {
    "bool": DataType.BOOLEAN,
    "u8": DataType.UNSIGNED8,
    "u16": DataType.UNSIGNED16,
    "u32": DataType.UNSIGNED32,
    "u64": DataType.UNSIGNED64,
    "i8": DataType.INTEGER8,
    "i16": DataType.INTEGER16,
    "i32": DataType.INTEGER32,
    "i64": DataType.INTEGER64,
    "f32": DataType.REAL32,
    "f64": DataType.REAL64,
}
_UNSIGNED: Final = {8: DataType.UNSIGNED8, 16: DataType.UNSIGNED16, 32: DataType.UNSIGNED32, 64: DataType.UNSIGNED64}
_SIGNED: Final = frozenset(
    (DataType.INTEGER8, DataType.INTEGER16, DataType.INTEGER32, DataType.INTEGER24, DataType.INTEGER64)
)


def data_type_of(entry: EntrySpec, bits: int) -> int:
    """Return the data type of an entry's object of ``bits``; lengths without a type of their own are octet strings."""
    if entry.type != "bits":
        return _TYPES[entry.type]
    if bits in _UNSIGNED:
        return _UNSIGNED[bits]
    return DataType.BIT1 + bits - 1 if bits <= 16 else DataType.OCTET_STRING


def entry_type_of(data_type: int, bits: int) -> EntryType:
    """Return the machine file's type of ``bits`` bits of a data type; ``bits`` where it has none of that length."""
    for kind, known in _TYPES.items():
        if known == data_type and (1 if kind == "bool" else int(kind[1:])) == bits:
            return kind
    return "bits"


def is_signed(data_type: int) -> bool:
    """Return whether values of the type are signed integers."""
    return data_type in _SIGNED


def is_text(data_type: int) -> bool:
    """Return whether values of the type are texts of one byte a character."""
    return data_type == DataType.VISIBLE_STRING
