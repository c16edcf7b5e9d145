"""Typed images: a class of the application for the inputs or outputs of one SubDevice; it knows no bus.

A dataclass, NamedTuple or ``msgspec.Struct`` is bound to named PDO entries by the names of its fields. Everything that
can be known beforehand is: byte-aligned fields of the usual lengths go through one ``struct.Struct`` per gap-free run,
the others are cut out of the image as one number.

========================  ==========================================================================================
annotation                entry
========================  ==========================================================================================
``bool``                  ``bool``, or any number that is not scaled (0 is False)
``int``, an ``IntEnum``   a number that is not scaled, or is scaled by whole numbers
``float``                 any; the value is raw * factor + offset, rounded to the nearest raw value on the way out
========================  ==========================================================================================
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from difflib import get_close_matches
from enum import Enum
from operator import attrgetter, itemgetter
from typing import (
    Annotated,
    Any,
    Final,
    Generic,
    NamedTuple,
    NoReturn,
    Protocol,
    TypeAlias,
    TypeVar,
    get_args,
    get_origin,
)

from taktora.codec.records import construct, is_record, record_fields, takes_positions
from taktora.errors import CodecError, ConfigurationError
from taktora.ethercat.entries import PlacedEntry

__all__ = ["TypedImage"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Buffer: TypeAlias = bytes | bytearray | memoryview

_FORMAT: Final = "image"
_REFUSALS: Final = (struct.error, ValueError, TypeError, OverflowError)
"""What a value raises that does not go into its entry."""
_CODES: Final = {
    ("u", 8): "B",
    ("u", 16): "H",
    ("u", 32): "I",
    ("u", 64): "Q",
    ("i", 8): "b",
    ("i", 16): "h",
    ("i", 32): "i",
    ("i", 64): "q",
    ("f", 32): "f",
    ("f", 64): "d",
}


class _Decode(Protocol[T_co]):
    def __call__(self, image: Buffer, byte_offset: int = 0) -> T_co: ...


class _Field(NamedTuple):
    """One field of the class and the entry behind it; ``kind`` is u, i or f."""

    name: str
    annotation: type
    entry: PlacedEntry
    kind: str
    code: str
    """Format character of a byte-aligned field, "" for one that is cut out by bits."""

    @property
    def is_scaled(self) -> bool:
        return (self.entry.factor, self.entry.offset) != (1.0, 0.0)


class _Run(NamedTuple):
    """Byte-aligned fields without a gap: offset of the first one in bytes, and which of all values they are."""

    packing: struct.Struct
    byte_offset: int
    first: int
    stop: int


class _Bits(NamedTuple):
    """A field that is cut out of a number: how far down, how wide, and how the number becomes a raw value."""

    shift: int
    mask: int
    restore: Callable[[int], Any] | None
    number: Callable[[Any], int]


# req: REQ_8151
class TypedImage(Generic[T]):
    """Reads and writes instances of one class from and to the image of one SubDevice and direction.

    Args:
        record: The class.
        entries: Named entries of that direction; those without a field are left alone.
        image_bits: Length of the image.
        where: What it is the image of, for messages (``axis1 outputs``).
        base: Image that :meth:`encode` starts from, for entries without a field: the safe values; None is zeros.

    Raises:
        ConfigurationError: no record class, a field without entry, or an annotation that the entry cannot be.
    """

    def __init__(
        self,
        record: type[T],
        entries: Iterable[PlacedEntry],
        image_bits: int,
        where: str = "image",
        base: Buffer | None = None,
    ) -> None:
        self.record = record
        self.where = where
        self.image_bytes = (image_bits + 7) // 8
        """Length of the image in bytes."""
        self._base = bytes(self.image_bytes) if base is None else bytes(base)
        fields = _bind(record, {entry.name: entry for entry in entries}, where)
        aligned = sorted((field for field in fields if field.code), key=_offset)
        loose = sorted((field for field in fields if not field.code), key=_offset)
        self._fields: tuple[_Field, ...] = (*aligned, *loose)
        self._runs = tuple(_runs(aligned))
        self._pack: Callable[..., bytes] | None = None
        """Packs the only run, where there is nothing else: the usual case, and the shortest way."""
        if len(self._runs) == 1 and not loose:
            packing, self._start, _, _ = self._runs[0]
            self._pack, self._stop = packing.pack, self._start + packing.size
        # Reading takes the whole image in one go, gaps as padding: so it also sees whether the image is there.
        self._unpack = struct.Struct(_reading_format(aligned, self.image_bytes)).unpack_from
        self._aligned_count = len(aligned)
        self._low, self._high = _span(loose)
        self._bits = tuple(_bits(field, self._low) for field in loose)
        self._clear = ~sum(each.mask << each.shift for each in self._bits)
        self._in = tuple((i, call) for i, field in enumerate(self._fields) if (call := _importer(field)))
        self._out = tuple((i, call) for i, field in enumerate(self._fields) if (call := _exporter(field)))
        # Scaling to and from float is what most fields need: without a call it costs half.
        self._scales = tuple(
            (i, field.entry.factor, field.entry.offset) for i, field in enumerate(self._fields) if _is_float(field)
        )
        self._order = _order([self._fields.index(field) for field in fields])
        self._build = _builder(record)
        self._values = _reader([field.name for field in self._fields])
        self.decode: Final[_Decode[T]] = self._decode_parts if loose else self._compiled_decode(fields)
        """Return what stands in ``image`` from ``byte_offset`` on.

        Raises:
            CodecError: the image is too short, or a value that the class's enumeration does not have.
        """
        self._content = None if self._pack is None else _packer(self._fields, self._pack)
        """Makes the bytes of the only run of the record."""
        self._attributes = 0
        """How many attributes an instance may have before a look at their names; 0: Python itself refuses more."""
        if dataclasses.is_dataclass(record) and record.__dictoffset__:
            self._attributes = len(dataclasses.fields(record))
        self._known: T | None = None  # what was written last, and its attributes: to ask for them costs most
        self._attributes_of_known: dict[str, Any] = {}

    def _compiled_decode(self, fields: Sequence[_Field]) -> _Decode[T]:
        """Return :attr:`decode` where no field is cut out by bits, in a third of the time of :meth:`_decode_parts`."""
        names: dict[str, Any] = {
            "unpack": self._unpack,
            "build": self._build,
            "refusals": (struct.error, ValueError),
            "refuse": self._refuse,
        }
        raws = "".join(f"raw{i}, " for i in range(len(self._fields)))
        values = ", ".join(_imported(fields, self._fields, names))
        source = f"""
def decode(image, byte_offset=0):
    try:
        {raws} = unpack(image, byte_offset)
        return build({values})
    except refusals as cause:
        refuse(image, byte_offset, cause)
"""
        return _compiled(source, names)

    def _decode_parts(self, image: Buffer, byte_offset: int = 0) -> T:
        try:
            values = list(self._unpack(image, byte_offset))
            if self._bits:
                number = int.from_bytes(image[byte_offset + self._low : byte_offset + self._high], "little")
                values += [
                    (number >> shift) & mask if restore is None else restore((number >> shift) & mask)
                    for shift, mask, restore, _number in self._bits
                ]
            for index, factor, offset in self._scales:
                values[index] = values[index] * factor + offset
            for index, convert in self._in:
                values[index] = convert(values[index])
            return self._build(*(values if self._order is None else self._order(values)))  # type: ignore[no-any-return]
        except (struct.error, ValueError) as cause:
            self._refuse(image, byte_offset, cause)

    def _refuse(self, image: Buffer, byte_offset: int, cause: Exception) -> NoReturn:
        """Say why an image cannot be read."""
        if isinstance(cause, struct.error):
            raise self._too_short(image, byte_offset) from None
        raise CodecError(_FORMAT, f"{self.where}: {cause}") from cause

    def encode(self, value: T) -> bytes:
        """Return the whole image with ``value`` in it and the base everywhere else. Raises ``CodecError``."""
        image = bytearray(self._base)
        self.encode_into(value, image)
        return bytes(image)

    def encode_into(self, value: T, image: bytearray | memoryview, byte_offset: int = 0) -> None:
        """Write the fields of ``value`` into ``image`` from ``byte_offset`` on; other bits stay as they are.

        Raises:
            CodecError: a value is out of range or of a wrong type, ``value`` has an attribute that is no field, in a
                plain dataclass (nothing is written then), or the image is too short.
        """
        if value is not self._known:
            self._attributes_of_known = value.__dict__ if self._attributes else {}
            self._known = value  # only now: a value that has none is refused each time
        if len(self._attributes_of_known) > self._attributes:
            self._check_attributes(value)
        if len(image) < byte_offset + self.image_bytes:
            raise self._too_short(image, byte_offset)
        pack = self._content
        if pack is not None:
            try:
                content = pack(value)
            except _REFUSALS as cause:
                raise CodecError(_FORMAT, *self._writing_fault(value, cause)) from cause
            image[byte_offset + self._start : byte_offset + self._stop] = content
            return
        values = self._values(value)
        try:
            if self._out or self._scales:
                values = list(values)
                for index, factor, offset in self._scales:
                    values[index] = round((values[index] - offset) / factor)
                for index, convert in self._out:
                    values[index] = convert(values[index])
            packed = [run.packing.pack(*values[run.first : run.stop]) for run in self._runs]
            number = 0
            for bits, each in zip(self._bits, values[self._aligned_count :], strict=True):
                raw = bits.number(each)
                if raw & ~bits.mask:
                    raise ValueError(raw)
                number |= raw << bits.shift
        except _REFUSALS as cause:
            raise CodecError(_FORMAT, *self._writing_fault(value, cause)) from cause
        for run, content in zip(self._runs, packed, strict=True):
            start = byte_offset + run.byte_offset
            image[start : start + len(content)] = content
        if self._bits:
            span = slice(byte_offset + self._low, byte_offset + self._high)
            number |= int.from_bytes(image[span], "little") & self._clear
            image[span] = number.to_bytes(self._high - self._low, "little")

    # req: REQ_8510
    def _check_attributes(self, value: T) -> None:
        """Refuse an attribute that somebody has put there by a typo; private ones and those a class makes are well."""
        names = [field.name for field in dataclasses.fields(value)]  # type: ignore[arg-type]
        made: dict[str, Any] = {}
        with suppress(CodecError):
            made = self.decode(self._base).__dict__
        for name in value.__dict__:
            if not (name in names or name in made or name.startswith("_") or hasattr(type(value), name)):
                close = get_close_matches(name, names)
                way_out = f"did you mean {', '.join(close)}?" if close else f"known: {', '.join(names)}"
                raise CodecError(_FORMAT, f"{self.where}: {type(value).__name__} has no field {name!r}; {way_out}")
        self._attributes = len(value.__dict__)

    def _too_short(self, image: Buffer, byte_offset: int) -> CodecError:
        given = max(len(image) - byte_offset, 0)
        return CodecError(_FORMAT, f"{self.where} take {self.image_bytes} bytes, {given} given")

    def _writing_fault(self, value: T, cause: Exception) -> tuple[str, str]:
        """Return which field is wrong and what it may be, and the field's name."""
        for field in self._fields:
            each = getattr(value, field.name)
            try:
                _check(field, each)
            except _REFUSALS:
                if isinstance(each, float) and not issubclass(field.annotation, float):
                    return f"{self.where}: {field.name} = {each!r} is no {field.annotation.__name__}", field.name
                return f"{self.where}: {field.name} = {each!r}{_unit(field)} is not in {_range(field)}", field.name
        return f"{self.where}: {cause}", ""


def _offset(field: _Field) -> int:
    return field.entry.bit_offset


def _bind(record: type, entries: dict[str, PlacedEntry], where: str) -> list[_Field]:
    if not is_record(record):
        raise ConfigurationError(f"{where}: {record!r} is no dataclass, NamedTuple or msgspec.Struct")
    found = []
    for name, annotation in record_fields(record):
        if name not in entries:
            known = ", ".join(entries) or "none; give the PDO entries names in the machine file"
            raise ConfigurationError(f"{where}: no PDO entry {name!r} for {record.__name__}.{name}; known: {known}")
        found.append(_field(name, annotation, entries[name], f"{where}: {record.__name__}.{name}"))
    if not found:
        raise ConfigurationError(f"{where}: {record.__name__} has no field; name at least one PDO entry")
    return found


def _field(name: str, annotation: Any, entry: PlacedEntry, place: str) -> _Field:
    plain = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    kind = "u" if entry.type in ("bool", "bits") else entry.type[0]
    code = "" if entry.bit_offset % 8 else _CODES.get((kind, entry.bit_length), "")
    field = _Field(name, plain, entry, kind, code)
    is_number = isinstance(plain, type) and issubclass(plain, int | float)
    if not is_number:
        raise ConfigurationError(f"{place} is annotated {annotation!r}; use bool, int, float or an IntEnum")
    is_whole = kind != "f" and float(entry.factor).is_integer() and float(entry.offset).is_integer()
    if not issubclass(plain, float) and not is_whole:
        what = "a floating-point number" if kind == "f" else f"scaled by {entry.factor}, offset {entry.offset}"
        raise ConfigurationError(f"{place} is annotated {plain.__name__} and the entry is {what}; use float")
    if field.is_scaled and (plain is bool or issubclass(plain, Enum)):
        raise ConfigurationError(f"{place} is annotated {plain.__name__} and the entry is scaled; use int or float")
    return field


def _runs(aligned: Sequence[_Field]) -> Iterable[_Run]:
    first = 0
    for index, field in enumerate(aligned):
        is_last = index + 1 == len(aligned)
        if is_last or aligned[index + 1].entry.bit_offset != field.entry.bit_offset + field.entry.bit_length:
            packing = struct.Struct("<" + "".join(each.code for each in aligned[first : index + 1]))
            yield _Run(packing, aligned[first].entry.bit_offset // 8, first, index + 1)
            first = index + 1


def _reading_format(aligned: Sequence[_Field], image_bytes: int) -> str:
    parts, at = ["<"], 0
    for field in aligned:
        start = field.entry.bit_offset // 8
        parts.append(f"{start - at}x{field.code}" if start > at else field.code)
        at = start + field.entry.bit_length // 8
    return "".join(parts) + f"{image_bytes - at}x"


def _span(loose: Sequence[_Field]) -> tuple[int, int]:
    """Return the bytes that hold all fields cut out by bits."""
    low = min((field.entry.bit_offset for field in loose), default=0) // 8
    high = max((field.entry.bit_offset + field.entry.bit_length + 7 for field in loose), default=0) // 8
    return low, high


def _bits(field: _Field, low: int) -> _Bits:
    entry = field.entry
    mask = (1 << entry.bit_length) - 1
    shift = entry.bit_offset - 8 * low
    if field.kind == "u":
        return _Bits(shift, mask, None, _whole)
    packing = struct.Struct("<" + _CODES[field.kind, entry.bit_length])
    size = packing.size
    return _Bits(
        shift,
        mask,
        lambda number: packing.unpack(number.to_bytes(size, "little"))[0],
        lambda value: int.from_bytes(packing.pack(value), "little"),
    )


def _whole(value: Any) -> int:
    if not isinstance(value, int):
        raise TypeError(value)
    return int(value)


def _importer(field: _Field) -> Callable[[Any], Any] | None:
    """Return what makes the application's value of a raw one; None where they are the same."""
    annotation, factor, offset = field.annotation, field.entry.factor, field.entry.offset
    if issubclass(annotation, Enum):
        return annotation
    if annotation is bool:
        return bool
    if not field.is_scaled:
        return float if issubclass(annotation, float) and field.kind != "f" else None
    if issubclass(annotation, float):
        return None if _is_float(field) else lambda raw: raw * factor + offset
    whole_factor, whole_offset = int(factor), int(offset)
    return lambda raw: raw * whole_factor + whole_offset


def _exporter(field: _Field) -> Callable[[Any], Any] | None:
    """Return what makes a raw value of the application's; None where ``struct`` or the mask does it all."""
    factor, offset = field.entry.factor, field.entry.offset
    if field.kind == "f":
        return (lambda value: (value - offset) / factor) if field.is_scaled else None
    if _is_float(field):
        return None
    if issubclass(field.annotation, float):
        return round
    if field.annotation is bool and not field.is_scaled:
        return lambda value: _whole(value) != 0
    if not field.is_scaled:
        return None
    whole_factor, whole_offset = int(factor), int(offset)

    def unscale(value: Any) -> int:
        raw, rest = divmod(value - whole_offset, whole_factor)
        return int(raw) if 2 * abs(rest) < abs(whole_factor) else int(raw) + 1

    return unscale


def _is_float(field: _Field) -> bool:
    """Return whether a field is a scaled number that the application sees as a float."""
    return field.is_scaled and field.kind != "f" and issubclass(field.annotation, float)


def _order(positions: list[int]) -> Callable[[Sequence[Any]], Sequence[Any]] | None:
    """Return what brings values by place into the order of the class's fields; None where they are in it."""
    return None if positions == sorted(positions) else itemgetter(*positions)


def _builder(record: Any) -> Callable[..., Any]:
    """Return what builds a ``record`` from its field values in order: the class itself where it can."""
    if takes_positions(record):
        return record  # type: ignore[no-any-return]
    build = construct(record)
    return lambda *values: build(values)


def _imported(fields: Sequence[_Field], placed: Sequence[_Field], names: dict[str, Any]) -> list[str]:
    """Return how each of ``fields`` comes of ``raw0`` and so on, the raw values of ``placed``; adds the names used."""
    made: dict[str, str] = {}
    for i, field in enumerate(placed):
        convert = _importer(field)
        made[field.name] = f"raw{i}" if convert is None else f"convert{i}(raw{i})"
        names[f"convert{i}"] = convert
        if _is_float(field):
            made[field.name] = f"raw{i} * factor{i} + offset{i}"
            names[f"factor{i}"], names[f"offset{i}"] = field.entry.factor, field.entry.offset
    return [made[field.name] for field in fields]


def _packer(placed: Sequence[_Field], pack: Callable[..., bytes]) -> Callable[[Any], bytes]:
    """Return what packs the fields of a record, likewise."""
    names: dict[str, Any] = {"pack": pack, "round": round}
    packed: list[str] = []
    for i, field in enumerate(placed):
        convert = _exporter(field)
        each = f"value.{field.name}"
        packed.append(each if convert is None else f"convert{i}({each})")
        names[f"convert{i}"] = convert
        if _is_float(field):
            packed[i] = f"round(({each} - offset{i}) / factor{i})"
            names[f"factor{i}"], names[f"offset{i}"] = field.entry.factor, field.entry.offset
    return _compiled(f"def write(value):\n return pack({', '.join(packed)})", names)


def _compiled(source: str, names: dict[str, Any]) -> Callable[..., Any]:
    """Return the one function that ``source`` defines, made of names of fields and of ours alone."""
    made: dict[str, Any] = {}
    exec(source, {"__builtins__": {}, **names}, made)  # noqa: S102
    (function,) = made.values()
    return function  # type: ignore[no-any-return]


def _reader(names: list[str]) -> Callable[[Any], Any]:
    if len(names) == 1:
        single = attrgetter(names[0])
        return lambda value: (single(value),)
    return attrgetter(*names)


def _check(field: _Field, value: Any) -> None:
    """Raise what is wrong with one value."""
    convert = _exporter(field)
    raw = value if convert is None else convert(value)
    if _is_float(field):
        raw = round((value - field.entry.offset) / field.entry.factor)
    if field.code:
        struct.pack("<" + field.code, raw)
        return
    bits = _bits(field, 0)
    if bits.number(raw) & ~bits.mask:
        raise ValueError(value)


def _unit(field: _Field) -> str:
    return f" {field.entry.unit}" if field.entry.unit else ""


def _range(field: _Field) -> str:
    """Return the range of a field in the application's units."""
    entry = field.entry
    if field.kind == "f":
        return f"the range of a {entry.bit_length}-bit float"
    low_raw = -(1 << (entry.bit_length - 1)) if field.kind == "i" else 0
    ends = sorted(raw * entry.factor + entry.offset for raw in (low_raw, low_raw + (1 << entry.bit_length) - 1))
    is_float = issubclass(field.annotation, float)
    low, high = (repr(round(end, 9)) if is_float else str(int(end)) for end in ends)
    return f"{low} to {high}{_unit(field)}"
