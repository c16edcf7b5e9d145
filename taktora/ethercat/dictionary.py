"""Object dictionary of a CoE device: objects, entries, access per AL state and values; it speaks no mailbox.

File format (JSON, written by a scan, readable and diffable)::

    {"objects": [{"index": "0x1018", "name": "Identity", "code": "record", "type": 35, "entries": [
        {"subindex": 0, "name": "Count", "type": 5, "bits": 8, "access": "r-r-r-", "value": 4}, ...]}]}

``access`` is read and write in PRE-OP, SAFE-OP and OP, then ``rx`` or ``tx`` where the entry can be mapped. ``value``
is a number, a text, or ``hex:`` with the bytes as they go over the mailbox.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from taktora.errors import ConfigurationError
from taktora.ethercat.datatypes import DataType, is_signed
from taktora.ethercat.driver import AlState

__all__ = [
    "READ_ONLY",
    "READ_WRITE",
    "Access",
    "DictionaryObject",
    "ObjectCode",
    "ObjectDictionary",
    "ObjectEntry",
    "PlainValue",
    "load_dictionary",
]

PlainValue: TypeAlias = int | float | str
_HEX: Final = "hex:"


class Access(IntFlag):
    """Object access as SDO information tells it (ETG.1000.6); reading and writing per AL state."""

    READ_PRE_OP = 0x01
    READ_SAFE_OP = 0x02
    READ_OP = 0x04
    WRITE_PRE_OP = 0x08
    WRITE_SAFE_OP = 0x10
    WRITE_OP = 0x20
    RX_MAPPABLE = 0x40
    TX_MAPPABLE = 0x80
    BACKUP = 0x100
    SETTINGS = 0x200

    def can_read(self, state: AlState) -> bool:
        """Return whether the entry can be read in ``state``."""
        return bool(self & _READ.get(state, Access(0)))

    def can_write(self, state: AlState) -> bool:
        """Return whether the entry can be written in ``state``."""
        return bool(self & _WRITE.get(state, Access(0)))


READ_ONLY: Final = Access.READ_PRE_OP | Access.READ_SAFE_OP | Access.READ_OP
READ_WRITE: Final = READ_ONLY | Access.WRITE_PRE_OP | Access.WRITE_SAFE_OP | Access.WRITE_OP
_WRITE_ANY: Final = READ_WRITE & ~READ_ONLY
_READ: Final = {
    AlState.PRE_OP: Access.READ_PRE_OP,
    AlState.SAFE_OP: Access.READ_SAFE_OP,
    AlState.OP: Access.READ_OP,
}
_WRITE: Final = {
    AlState.PRE_OP: Access.WRITE_PRE_OP,
    AlState.SAFE_OP: Access.WRITE_SAFE_OP,
    AlState.OP: Access.WRITE_OP,
}


class ObjectCode(IntEnum):
    """What an object is made of."""

    VAR = 7
    ARRAY = 8
    RECORD = 9


@dataclass(slots=True)
class ObjectEntry:
    """One entry; ``value`` is what goes over the mailbox, little-endian, at least one byte for numbers.

    ``low`` and ``high`` bound a number (None: by its type). A text may be shorter than ``bits``.
    """

    name: str
    data_type: int
    bits: int
    access: Access = READ_ONLY
    value: bytes = b""
    low: int | None = None
    high: int | None = None

    def __post_init__(self) -> None:
        if not self.value and not self.has_variable_length:
            self.value = bytes(self.byte_length)

    @property
    def byte_length(self) -> int:
        return (self.bits + 7) // 8

    @property
    def has_variable_length(self) -> bool:
        """A text or a block of bytes, which may be shorter than the entry."""
        return self.data_type in _VARIABLE

    @property
    def number(self) -> int:
        """The value as an integer, by the entry's signedness."""
        return int.from_bytes(self.value, "little", signed=is_signed(self.data_type))

    @number.setter
    def number(self, number: int) -> None:
        self.value = number.to_bytes(self.byte_length, "little", signed=is_signed(self.data_type))

    @property
    def is_writable(self) -> bool:
        """It can be written in at least one state."""
        return bool(self.access & _WRITE_ANY)

    @property
    def plain(self) -> PlainValue:
        """The value as people read it and as the file holds it."""
        return _plain(self.data_type, self.byte_length, self.value)


_VARIABLE: Final = frozenset((DataType.VISIBLE_STRING, DataType.OCTET_STRING, DataType.UNICODE_STRING, DataType.DOMAIN))


@dataclass(slots=True)
class DictionaryObject:
    """One object with its entries by subindex."""

    index: int
    name: str
    code: ObjectCode
    data_type: int
    entries: dict[int, ObjectEntry] = field(default_factory=dict)

    @property
    def max_subindex(self) -> int:
        return max(self.entries, default=0)

    @property
    def count(self) -> int:
        """Entries in use: what subindex 0 says, 0 for a single variable."""
        if self.code is ObjectCode.VAR or 0 not in self.entries:
            return 0
        return self.entries[0].number


class ObjectDictionary:
    """All objects of a device, by index."""

    def __init__(self) -> None:
        self.objects: dict[int, DictionaryObject] = {}

    def __iter__(self) -> Iterator[DictionaryObject]:
        """Yield the objects in order of their indices."""
        return (self.objects[index] for index in sorted(self.objects))

    def __contains__(self, index: int) -> bool:
        return index in self.objects

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectDictionary) and self.objects == other.objects

    __hash__ = None  # type: ignore[assignment]

    def get(self, index: int, subindex: int = 0) -> ObjectEntry | None:
        """Return an entry, None if there is none."""
        found = self.objects.get(index)
        return None if found is None else found.entries.get(subindex)

    def entry(self, index: int, subindex: int = 0) -> ObjectEntry:
        """Return an entry. Raises ``KeyError`` with index and subindex in words."""
        found = self.get(index, subindex)
        if found is None:
            raise KeyError(f"the dictionary has no object 0x{index:04X}:{subindex:02X}")
        return found

    def add_variable(self, index: int, name: str, entry: ObjectEntry) -> ObjectEntry:
        """Add a single variable and return its entry."""
        self.objects[index] = DictionaryObject(index, name, ObjectCode.VAR, entry.data_type, {0: entry})
        return entry

    def add_record(
        self,
        index: int,
        name: str,
        entries: Mapping[int, ObjectEntry],
        *,
        data_type: int = DataType.NONE,
        code: ObjectCode = ObjectCode.RECORD,
        count_access: Access = READ_ONLY,
        count: int | None = None,
    ) -> DictionaryObject:
        """Add a record or an array and return it; subindex 0 says ``count``, the highest subindex unless given."""
        highest = max(entries, default=0) if count is None else count
        head = ObjectEntry("Number of entries", DataType.UNSIGNED8, 8, count_access, bytes((highest,)))
        made = DictionaryObject(
            index, name, code, data_type, {0: head, **{sub: entries[sub] for sub in sorted(entries)}}
        )
        self.objects[index] = made
        return made

    def ensure(self, index: int, subindex: int, name: str, entry: ObjectEntry) -> ObjectEntry:
        """Return the entry that is there, else add this one; ``name`` is that of the object, if it is made now."""
        found = self.objects.get(index)
        if found is None:
            if subindex == 0:
                return self.add_variable(index, name, entry)
            found = self.add_record(index, name, {})
        known = found.entries.get(subindex)
        if known is not None:
            return known
        found.entries[subindex] = entry
        if found.code is not ObjectCode.VAR and 0 in found.entries:
            found.entries[0].number = max(found.count, subindex)
        return entry

    def save(self, path: Path) -> None:
        """Write the dictionary with its present values."""
        document = _File(objects=tuple(_object_out(found) for found in self))
        path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")


def load_dictionary(path: Path) -> ObjectDictionary:
    """Read what :meth:`ObjectDictionary.save` wrote.

    Raises:
        ConfigurationError: the file is missing or does not fit; object and entry are named.
    """
    try:
        document = msgspec.json.decode(path.read_bytes(), type=_File)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror}); write it by a scan") from error
    except msgspec.MsgspecError as error:
        raise ConfigurationError(f"{path}: {error}; write it by a scan, or correct it") from error
    dictionary = ObjectDictionary()
    for number, found in enumerate(document.objects):
        try:
            made = _object_in(found)
        except (ValueError, OverflowError, struct.error) as error:
            raise ConfigurationError(f"{path}: objects[{number}] (index {found.index}): {error}") from error
        if made.index in dictionary:
            raise ConfigurationError(f"{path}: objects[{number}]: index {found.index} stands twice; remove one")
        dictionary.objects[made.index] = made
    return dictionary


# --- the file ----------------------------------------------------------------------------------------------------


class _Record(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Base of the records in the file."""


class _EntryFile(_Record, kw_only=True):
    subindex: int
    name: str = ""
    type: int
    bits: int
    access: str
    value: int | float | str | None = None
    low: int | None = None
    high: int | None = None


class _ObjectFile(_Record, kw_only=True):
    index: str
    name: str = ""
    code: str
    type: int
    entries: tuple[_EntryFile, ...]


class _File(_Record):
    objects: tuple[_ObjectFile, ...] = ()


def _object_out(found: DictionaryObject) -> _ObjectFile:
    return _ObjectFile(
        index=f"0x{found.index:04X}",
        name=found.name,
        code=found.code.name.lower(),
        type=found.data_type,
        entries=tuple(_entry_out(subindex, found.entries[subindex]) for subindex in sorted(found.entries)),
    )


def _entry_out(subindex: int, entry: ObjectEntry) -> _EntryFile:
    return _EntryFile(
        subindex=subindex,
        name=entry.name,
        type=int(entry.data_type),
        bits=entry.bits,
        access=_access_text(entry.access),
        value=entry.plain,
        low=entry.low,
        high=entry.high,
    )


def _object_in(found: _ObjectFile) -> DictionaryObject:
    index = int(found.index, 16)
    if not 0 <= index <= 0xFFFF:
        raise ValueError(f"index {found.index} is beyond 16 bits")
    names = [code.name.lower() for code in ObjectCode]
    if found.code not in names:
        raise ValueError(f"code is {found.code!r}, expected one of {', '.join(names)}")
    entries: dict[int, ObjectEntry] = {}
    for entry in found.entries:
        if not 0 <= entry.subindex <= 255 or entry.subindex in entries:
            raise ValueError(f"subindex {entry.subindex} stands twice or is beyond 255")
        try:
            entries[entry.subindex] = _entry_in(entry)
        except (ValueError, OverflowError, struct.error) as error:
            raise ValueError(f"subindex {entry.subindex}: {error}") from error
    return DictionaryObject(index, found.name, ObjectCode[found.code.upper()], found.type, entries)


def _entry_in(entry: _EntryFile) -> ObjectEntry:
    if entry.bits < 0:
        raise ValueError(f"bits is {entry.bits}, expected 0 or more")
    length = (entry.bits + 7) // 8
    value = b"" if entry.value is None else _from_plain(entry.type, length, entry.value)
    return ObjectEntry(entry.name, entry.type, entry.bits, _parse_access(entry.access), value, entry.low, entry.high)


_EXTRAS: Final = {
    "rx": Access.RX_MAPPABLE,
    "tx": Access.TX_MAPPABLE,
    "backup": Access.BACKUP,
    "settings": Access.SETTINGS,
}
_PLACES: Final = (
    ("r", Access.READ_PRE_OP),
    ("w", Access.WRITE_PRE_OP),
    ("r", Access.READ_SAFE_OP),
    ("w", Access.WRITE_SAFE_OP),
    ("r", Access.READ_OP),
    ("w", Access.WRITE_OP),
)


def _access_text(access: Access) -> str:
    flags = "".join(letter if access & bit else "-" for letter, bit in _PLACES)
    return " ".join((flags, *(word for word, bit in _EXTRAS.items() if access & bit)))


def _parse_access(text: str) -> Access:
    flags, *words = text.split()
    access = Access(0)
    if len(flags) != len(_PLACES) or any(
        found not in (want, "-") for found, (want, _) in zip(flags, _PLACES, strict=True)
    ):
        raise ValueError(f"access is {text!r}, expected six letters as in 'rwr-r-', then rx or tx")
    for found, (_, bit) in zip(flags, _PLACES, strict=True):
        access |= bit if found != "-" else Access(0)
    for word in words:
        if word not in _EXTRAS:
            raise ValueError(f"access has {word!r}, expected one of {', '.join(_EXTRAS)}")
        access |= _EXTRAS[word]
    return access


def _plain(data_type: int, length: int, value: bytes) -> PlainValue:
    if data_type == DataType.VISIBLE_STRING:
        text = value.decode("latin-1")
        return _HEX + value.hex() if text.startswith(_HEX) or not text.isprintable() else text
    if data_type in (DataType.REAL32, DataType.REAL64) and len(value) == length:
        number: float = struct.unpack("<f" if data_type == DataType.REAL32 else "<d", value)[0]
        return number if math.isfinite(number) else _HEX + value.hex()
    if data_type in _VARIABLE or len(value) != length or not 0 < length <= 8:
        return _HEX + value.hex()
    return int.from_bytes(value, "little", signed=is_signed(data_type))


def _from_plain(data_type: int, length: int, value: PlainValue) -> bytes:
    if isinstance(value, str):
        return bytes.fromhex(value.removeprefix(_HEX)) if value.startswith(_HEX) else value.encode("latin-1")
    if data_type in (DataType.REAL32, DataType.REAL64):
        return struct.pack("<f" if data_type == DataType.REAL32 else "<d", value)
    return int(value).to_bytes(length, "little", signed=is_signed(data_type))
