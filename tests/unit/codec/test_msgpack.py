"""The MessagePack codec: positional records of every kind, compactness, every fault."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora.codec import JsonCodec, MsgPackCodec
from taktora.errors import CodecError, PayloadOverflow

CODEC = MsgPackCodec()


class Record(msgspec.Struct):
    id: int
    label: str
    flags: list[bool]


class Arrayed(msgspec.Struct, array_like=True):
    id: int
    inner: Record


class KeywordOnly(msgspec.Struct, kw_only=True):
    first: int
    second: str = "x"


class Point(NamedTuple):
    x: float
    y: float


class Empty(msgspec.Struct):
    pass


@dataclass
class Nest:
    one: Record
    many: list[Record] = field(default_factory=list)
    named: dict[str, Record] = field(default_factory=dict)
    maybe: Record | None = None
    pair: tuple[Point, int] = (Point(0.0, 0.0), 0)
    row: tuple[Record, ...] = ()
    count: int | None = None


class Either(msgspec.Struct):
    it: Record | Point


class Tree(msgspec.Struct):
    children: list[Tree]


class Circle(msgspec.Struct, array_like=True, tag=True):
    r: int


class Square(msgspec.Struct, array_like=True, tag=True):
    a: int


class Shape(msgspec.Struct, array_like=True):
    form: Circle | Square


def encode(value: Any, room: int = 4096) -> bytes:
    view = memoryview(bytearray(room))
    return bytes(view[: CODEC.encode_into(value, view)])


RECORDS = st.builds(
    Record,
    id=st.integers(0, 2**32 - 1),
    label=st.text(st.characters(codec="utf-8"), max_size=32),
    flags=st.lists(st.booleans(), max_size=7),
)


@pytest.mark.realizes("TEST_0955")
@given(record=RECORDS)
def test_contract(record: Record) -> None:
    sample = Record(42, "sensor", [True, False, True])
    json_view = memoryview(bytearray(256))

    assert CODEC.decode(Record, memoryview(encode(record))) == record
    assert CODEC.format_name == "msgpack"
    assert len(encode(sample)) < JsonCodec().encode_into(sample, json_view)
    with pytest.raises(PayloadOverflow) as overflow:
        encode(sample, 4)
    assert (overflow.value.max, overflow.value.actual) == (4, len(encode(sample)))
    with pytest.raises(CodecError, match="msgpack"):
        CODEC.decode(Record, memoryview(encode(record))[:-1])


@pytest.mark.verifies("REQ_0989")
def test_records_are_positional_arrays_without_names() -> None:
    assert encode(Record(1, "a", [])) == b"\x93\x01\xa1a\x90"
    assert encode(Point(1.0, 2.0))[0] == 0x92
    assert encode(Arrayed(7, Record(1, "a", []))) == b"\x92\x07\x93\x01\xa1a\x90"
    assert b"label" not in encode(Nest(Record(1, "a", [])))


@pytest.mark.verifies("REQ_0989")
@pytest.mark.parametrize(
    "value",
    [
        Arrayed(1, Record(2, "b", [True])),
        KeywordOnly(first=1, second="z"),
        Point(1.5, -2.5),
        Empty(),
        Nest(Record(1, "a", [])),
        Nest(
            Record(1, "a", []),
            [Record(2, "b", [])],
            {"k": Record(3, "c", [])},
            Record(4, "d", []),
            (Point(1.0, 2.0), 3),
            (Record(5, "e", []), Record(6, "f", [])),
            7,
        ),
        Shape(Square(3)),
    ],
    ids=["array_like", "kw_only", "namedtuple", "empty", "defaults", "nested", "tagged"],
)
def test_every_kind_of_record_round_trips(value: Any) -> None:
    decoded = CODEC.decode(type(value), memoryview(encode(value)))

    assert decoded == value
    assert type(decoded) is type(value)


@pytest.mark.verifies("REQ_0989", "REQ_0214")
@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (b"", Record),
        (b"\x92\x01\xa1a", Record),
        (b"\x94\x01\xa1a\x90\x01", Record),
        (b"\x93\xa1x\xa1a\x90", Record),
        (b"\x93\x01\xa1a\x90\x00", Record),
        (b"\x91\x93\x01\xa1a\x90", Either),
        (b"\x91\x90", Tree),
    ],
    ids=["empty", "short", "long", "type", "trailing", "union", "recursive"],
)
def test_decode_faults_are_codec_errors(payload: bytes, kind: type) -> None:
    with pytest.raises(CodecError, match=f"msgpack: cannot decode {len(payload)} bytes as {kind.__name__}"):
        CODEC.decode(kind, memoryview(payload))


@pytest.mark.verifies("REQ_0989", "REQ_0213")
def test_encode_faults_are_codec_errors() -> None:
    with pytest.raises(CodecError, match="cannot encode Record") as error:
        encode(Record(object(), "a", []))  # type: ignore[arg-type]
    with pytest.raises(CodecError, match="cannot encode int"):
        encode(2**70)

    assert error.value.__cause__ is not None


@pytest.mark.verifies("REQ_0214")
@given(payload=st.binary(max_size=48))
def test_any_bytes_decode_or_raise_codec_error(payload: bytes) -> None:
    for kind in (Record, Nest, Arrayed):
        try:
            assert isinstance(CODEC.decode(kind, memoryview(payload)), kind)
        except CodecError:
            continue


class _Gear(msgspec.Struct, array_like=True, frozen=True, tag=True):
    teeth: int


class _Belt(msgspec.Struct, array_like=True, frozen=True, tag=True):
    width: float


class _Train(msgspec.Struct, frozen=True):
    parts: list[_Gear | _Belt]


@pytest.mark.verifies("REQ_0989")
@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (list[_Gear], [_Gear(3)]),
        (list[_Gear | _Belt], [_Belt(0.5), _Gear(3)]),
        (tuple[_Gear, ...], (_Gear(3), _Gear(4))),
        (set[_Gear], {_Gear(3)}),
        (dict[str, _Gear | _Belt], {"first": _Belt(0.5)}),
        (_Train, _Train([_Gear(3), _Belt(0.5)])),
    ],
)
def test_records_that_are_arrays_by_themselves_may_be_in_containers(annotation: Any, value: Any) -> None:
    view = memoryview(bytearray(64))

    assert CODEC.decode(annotation, view[: CODEC.encode_into(value, view)]) == value
