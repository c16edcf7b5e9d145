"""Typed images: classes of the application against the bits of a SubDevice."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field, make_dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora.errors import CodecError, ConfigurationError
from taktora.ethercat.entries import PlacedEntry, place_pdos
from taktora.ethercat.network import EntrySpec, PdoSpec
from taktora.ethercat.typed import TypedImage

pytestmark = pytest.mark.verifies("REQ_8151")


def _entries(*specs: EntrySpec) -> tuple[tuple[PlacedEntry, ...], int]:
    place = place_pdos([PdoSpec(index=0x1600, entries=specs)])[0]
    return place.entries, place.bit_length


def _entry(name: str | None, type: str, **more: Any) -> EntrySpec:  # noqa: A002
    return EntrySpec(name=name, type=type, **more)  # type: ignore[arg-type]


class Mode(IntEnum):
    POSITION = 1
    CYCLIC = 8


@dataclass
class DriveIn:
    position: float
    status: int
    mode: Mode
    enabled: bool
    torque: int
    level: float


DRIVE = _entries(
    _entry("status", "u16"),
    _entry("position", "i32", factor=0.001, unit="mm"),
    _entry("mode", "i8"),
    _entry("enabled", "bool"),
    _entry(None, "bits", bit_length=3),
    _entry("torque", "i16"),
    _entry("level", "f32"),
    _entry(None, "bits", bit_length=4),
)


def test_a_drive_is_read_from_its_image_with_scaling_enumeration_and_unaligned_fields() -> None:
    head = struct.pack("<Hib", 0x1237, -12500, 8)
    tail = 1 | ((-5 & 0xFFFF) << 4) | (int.from_bytes(struct.pack("<f", 2.5), "little") << 20)

    found = TypedImage(DriveIn, *DRIVE).decode(head + tail.to_bytes(7, "little"))

    assert found == DriveIn(-12.5, 0x1237, Mode.CYCLIC, True, -5, 2.5)


def test_a_written_value_is_read_back_and_other_bits_stay() -> None:
    image = TypedImage(DriveIn, *DRIVE)
    value = DriveIn(1.25, 0x0F, Mode.POSITION, True, -32768, -0.5)
    buffer = bytearray(b"\xff" * 16)

    image.encode_into(value, buffer, 1)

    assert image.decode(buffer, 1) == value
    assert (buffer[0], buffer[15]) == (0xFF, 0xFF)
    assert buffer[8] & 0x0E == 0x0E, "the padding behind 'enabled' belongs to nobody"
    assert buffer[14] >> 4 == 0xF


@dataclass
class Two:
    first: int
    last: int


def test_an_entry_without_a_field_keeps_the_base() -> None:
    entries = _entries(_entry("first", "u8"), _entry("other", "u16"), _entry("last", "u8"))

    image = TypedImage(Two, *entries, base=b"\x11\x22\x33\x44")

    assert image.encode(Two(1, 2)) == b"\x01\x22\x33\x02"
    assert image.decode(b"\x01\x22\x33\x02") == Two(1, 2)


@pytest.mark.verifies("REQ_8510")
@pytest.mark.parametrize(("name", "way_out"), [("firsst", "did you mean first?"), ("wholly", "known: first, last")])
def test_a_typo_in_the_name_of_a_field_is_refused(name: str, way_out: str) -> None:
    image = TypedImage(Two, *_entries(_entry("first", "u8"), _entry("last", "u8")), "outputs of cell.do")
    value, buffer = Two(1, 2), bytearray(2)
    setattr(value, name, 7)

    for _cycle in range(2):
        with pytest.raises(CodecError, match=re.escape(f"outputs of cell.do: Two has no field {name!r}; {way_out}")):
            image.encode_into(value, buffer)
    assert buffer == b"\0\0"


@pytest.mark.verifies("REQ_8510")
def test_a_value_of_a_foreign_class_without_attributes_of_its_own_is_refused_each_time() -> None:
    image = TypedImage(Two, *_entries(_entry("first", "u8"), _entry("last", "u8")))
    foreign: Any = TwoTuple(first=1, last=2)

    for _cycle in range(2):
        with pytest.raises(AttributeError, match="__dict__"):
            image.encode(foreign)


@dataclass
class Rich(Two):
    """A class that makes attributes of its own."""

    made: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.extra = self.first

    @cached_property
    def total(self) -> int:
        return self.first + self.last


@pytest.mark.verifies("REQ_8510")
def test_attributes_that_a_class_makes_are_no_typos() -> None:
    image = TypedImage(Rich, *_entries(_entry("first", "u8"), _entry("last", "u8")))
    value = Rich(1, 2)
    value._seen = value.total  # type: ignore[attr-defined]

    assert image.encode(value) == b"\x01\x02"
    value.lst = 3  # type: ignore[attr-defined]
    with pytest.raises(CodecError, match="no field 'lst'; did you mean last"):
        image.encode(value)


class TwoStruct(msgspec.Struct, kw_only=True, frozen=True):
    last: int
    first: int


class TwoTuple(NamedTuple):
    last: int
    first: int


@pytest.mark.parametrize("record", [TwoStruct, TwoTuple])
def test_fields_may_stand_in_any_order_in_any_kind_of_record(record: Any) -> None:
    image = TypedImage(record, *_entries(_entry("first", "u8"), _entry("last", "i16")))

    assert image.decode(b"\x07\xff\xff") == record(first=7, last=-1)
    assert image.encode(record(first=7, last=-1)) == b"\x07\xff\xff"


class Speed(NamedTuple):
    speed: float
    gate: bool
    mode: Mode
    total: int
    flags: int
    ratio: float


LIMITS = _entries(
    _entry("speed", "i16", factor=0.5, offset=10.0, unit="mm/s"),
    _entry("gate", "bool"),
    _entry("flags", "bits", bit_length=3),
    _entry(None, "bits", bit_length=4),
    _entry("mode", "u8"),
    _entry("total", "u8", factor=10),
    _entry("ratio", "f32"),
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"speed": 16394.0}, r"speed = 16394\.0 mm/s is not in -16374\.0 to 16393\.5 mm/s"),
        ({"speed": float("nan")}, "speed = nan"),
        ({"speed": float("inf")}, "speed = inf"),
        ({"flags": 8}, "flags = 8 is not in 0 to 7"),
        ({"flags": -1}, "flags = -1 is not in 0 to 7"),
        ({"flags": "x"}, "flags = 'x' is not in 0 to 7"),
        ({"gate": "off"}, "gate = 'off'"),
        ({"gate": 1.0}, r"gate = 1\.0 is no bool"),
        ({"flags": 1.5}, r"flags = 1\.5 is no int"),
        ({"total": 2560}, "total = 2560 is not in 0 to 2550"),
        ({"ratio": 1e39}, r"ratio = 1e\+39 is not in the range of a 32-bit float"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name_and_nothing_is_written(change: Any, message: str) -> None:
    image = TypedImage(Speed, *LIMITS, where="axis1 outputs")
    buffer = bytearray(image.image_bytes)

    with pytest.raises(CodecError, match=f"image: axis1 outputs: {message}"):
        image.encode_into(Speed(10.0, False, Mode.CYCLIC, 0, 0, 0.0)._replace(**change), buffer)

    assert not any(buffer)


@pytest.mark.parametrize(
    ("value", "raw"), [(104, 10), (105, 11), (106, 11), (96, 10), (0, 0), (2550, 255)], ids=lambda each: str(each)
)
def test_whole_scales_stay_whole_and_round_to_the_nearest(value: int, raw: int) -> None:
    image = TypedImage(Speed, *LIMITS)

    assert image.encode(Speed(10.0, False, Mode.CYCLIC, value, 0, 0.0))[4] == raw


def test_a_short_image_and_an_unknown_mode_are_refused() -> None:
    image = TypedImage(Speed, *LIMITS, where="axis1 inputs")

    with pytest.raises(CodecError, match="axis1 inputs take 9 bytes, 8 given"):
        image.decode(bytes(9), 1)
    with pytest.raises(CodecError, match="axis1 inputs take 9 bytes, 0 given"):
        image.encode_into(image.decode(b"\0\0\0\x08" + bytes(5)), bytearray(3), 3)
    with pytest.raises(CodecError, match="axis1 inputs: 3 is not a valid Mode"):
        image.decode(b"\0\0\0\x03" + bytes(5))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"spee": float}, r"axis1: no PDO entry 'spee' for Image\.spee; known: speed, gate"),
        ({"speed": int}, "annotated int and the entry is scaled by 0.5, offset 10.0; use float"),
        ({"ratio": int}, "annotated int and the entry is a floating-point number; use float"),
        ({"total": bool}, "annotated bool and the entry is scaled; use int or float"),
        ({"mode": str}, "use bool, int, float or an IntEnum"),
        ({}, "has no field"),
    ],
)
def test_a_class_that_cannot_be_the_entry_is_refused(fields: dict[str, type], message: str) -> None:
    record = make_dataclass("Image", list(fields.items()))

    with pytest.raises(ConfigurationError, match=message):
        TypedImage(record, *LIMITS, where="axis1")


def test_something_else_than_a_record_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"no dataclass, NamedTuple or msgspec\.Struct"):
        TypedImage(int, *LIMITS)


def _layouts() -> st.SearchStrategy[list[EntrySpec]]:
    widths = {"bool": 1, "u8": 8, "u16": 16, "u32": 32, "u64": 64, "i8": 8, "i16": 16, "i32": 32, "i64": 64, "f64": 64}
    entry = st.tuples(st.sampled_from(["bits", *sorted(widths)]), st.integers(1, 64), st.booleans())

    def build(drawn: list[tuple[str, int, bool]]) -> list[EntrySpec]:
        return [
            _entry(f"f{i}" if is_named else None, kind, bit_length=widths.get(kind, length))
            for i, (kind, length, is_named) in enumerate(drawn)
        ]

    return st.lists(entry, min_size=1, max_size=12).map(build).filter(lambda specs: any(each.name for each in specs))


def _value(entry: PlacedEntry) -> st.SearchStrategy[Any]:
    if entry.type == "f64":
        return st.floats(allow_nan=False)
    if entry.type == "bool":
        return st.booleans()
    low = -(1 << (entry.bit_length - 1)) if entry.type[0] == "i" else 0
    return st.integers(low, low + (1 << entry.bit_length) - 1)


@given(st.data(), _layouts(), st.integers(0, 3))
def test_any_layout_is_read_as_written_and_nothing_else_is_touched(
    data: st.DataObject, specs: list[EntrySpec], byte_offset: int
) -> None:
    entries, bits = _entries(*specs)
    kinds = {"f64": float, "bool": bool}
    record = make_dataclass("Image", [(each.name, kinds.get(each.type, int)) for each in entries])
    image: TypedImage[Any] = TypedImage(record, entries, bits)
    value = record(*(data.draw(_value(entry)) for entry in entries))
    before = data.draw(st.binary(min_size=image.image_bytes + byte_offset, max_size=image.image_bytes + byte_offset))
    buffer = bytearray(before)

    image.encode_into(value, buffer, byte_offset)

    assert image.decode(buffer, byte_offset) == value
    own = sum(((1 << each.bit_length) - 1) << (each.bit_offset + 8 * byte_offset) for each in entries)
    changed = int.from_bytes(buffer, "little") ^ int.from_bytes(before, "little")
    assert not changed & ~own


@given(st.integers(-(2**31), 2**31 - 1), st.sampled_from([0.001, 0.1, -0.25, 360 / 4096]), st.integers(-100, 100))
def test_every_raw_value_survives_its_engineering_value(raw: int, factor: float, offset: int) -> None:
    entries = _entries(_entry("position", "i32", factor=factor, offset=float(offset)))
    image: TypedImage[Any] = TypedImage(make_dataclass("Image", [("position", float)]), *entries)
    before = raw.to_bytes(4, "little", signed=True)

    assert image.encode(image.decode(before)) == before
