"""The fixed-width binary codec: exact bytes, constant length, every refusal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora.codec import F32, F64, I8, I16, I32, I64, U8, U16, U32, U64, BinaryCodec, Bool, Width
from taktora.errors import CodecError, PayloadOverflow

BIG, LITTLE = BinaryCodec(), BinaryCodec("little")


class Mode(IntEnum):
    IDLE = 1
    RUN = 2


class Short(msgspec.Struct):
    value: U16


class Pair(msgspec.Struct):
    value: U16
    flag: U8


class Position(NamedTuple):
    x: F64
    y: F64


@dataclass
class All:
    a: U8
    b: U16
    c: U32
    d: U64
    e: I8
    f: I16
    g: I32
    h: I64
    i: F32
    j: float
    k: bool


@dataclass
class Nested:
    at: Position
    pair: tuple[U8, Pair]
    mode: Annotated[Mode, Width("B")]
    on: Bool


class Named(msgspec.Struct):
    name: str


class Bare(msgspec.Struct):
    number: int


class Listed(msgspec.Struct):
    items: list[U8]


class Loop(msgspec.Struct):
    again: Loop


class WrongWidth(msgspec.Struct):
    value: Annotated[int, Width("s")]


def encode(value: Any, codec: BinaryCodec = BIG, room: int = 256) -> bytes:
    view = memoryview(bytearray(room))
    return bytes(view[: codec.encode_into(value, view)])


def integers(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else st.integers(0, 2**bits - 1)


EVERYTHING = st.builds(
    All,
    *(integers(bits, signed=False) for bits in (8, 16, 32, 64)),
    *(integers(bits, signed=True) for bits in (8, 16, 32, 64)),
    st.floats(width=32, allow_nan=False),
    st.floats(allow_nan=False),
    st.booleans(),
)


@pytest.mark.realizes("TEST_0195")
@given(value=integers(16, signed=False), everything=EVERYTHING)
def test_contract(value: int, everything: All) -> None:
    for codec in (BIG, LITTLE):
        assert len(encode(Short(value), codec)) == 2
        assert codec.decode(Short, memoryview(encode(Short(value), codec))) == Short(value)
        assert codec.decode(All, memoryview(encode(everything, codec))) == everything
        assert len(encode(everything, codec)) == codec.size_of(All) == 43
    assert encode(Short(0x1234)) == b"\x12\x34"
    assert encode(Short(0x1234), LITTLE) == b"\x34\x12"
    assert encode(Pair(0x1234, 0x56)) == b"\x12\x34\x56"
    with pytest.raises(PayloadOverflow) as overflow:
        encode(Short(value), room=1)
    assert (overflow.value.actual, overflow.value.max) == (2, 1)
    with pytest.raises(CodecError, match="U16 takes 2 bytes, the payload has 1"):
        BIG.decode(U16, memoryview(b"\x12"))


@pytest.mark.verifies("REQ_0215")
def test_nested_records_lie_in_place_without_padding() -> None:
    value = Nested(Position(1.0, 2.0), (3, Pair(4, 5)), Mode.RUN, on=True)

    encoded = encode(value)
    decoded = BIG.decode(Nested, memoryview(encoded))

    assert encoded[16:] == bytes([3, 0, 4, 5, 2, 1])
    assert decoded == value
    assert isinstance(decoded.mode, Mode)


@pytest.mark.verifies("REQ_0215")
def test_nan_and_infinity_travel() -> None:
    decoded = BIG.decode(Position, memoryview(encode(Position(math.nan, math.inf))))

    assert math.isnan(decoded.x)
    assert decoded.y == math.inf


@pytest.mark.verifies("REQ_0215", "REQ_0213")
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Short(65536), "value of Short is 65536, expected U16"),
        (Short(-1), "value of Short is -1, expected U16"),
        (Short(1.5), "value of Short is 1.5, expected U16"),  # type: ignore[arg-type]
        (All(0, 0, 0, 0, 0, 0, 0, 0, 1e39, 0.0, k=True), "i of All is 1e.39, expected F32"),
        (All(0, 0, 0, 0, 0, 0, 0, 0, 0.0, 0.0, k=2), "k of All is 2, expected Bool"),  # type: ignore[arg-type]
        (Nested(Position(0, 0), (1, Pair(2, 3), 4), Mode.RUN, on=True), "pair.0 of Nested"),  # type: ignore[arg-type]
        (Nested(Position(0, 0), (1, Pair(2, 3)), 9, on=True), "mode of Nested is 9"),  # type: ignore[arg-type]
        (Named("x"), "name is annotated str, which has no fixed width"),
        (Bare(1), "number is annotated int"),
        (Listed([1]), "items is annotated list"),
        (Loop(None), "Loop contains itself"),  # type: ignore[arg-type]
        (WrongWidth(1), "value has width 's'"),
        (7, "the value is annotated int"),
        ("text", "the value is annotated str"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "value",
)
def test_values_without_fixed_width_or_out_of_range_are_refused(value: Any, message: str) -> None:
    with pytest.raises(CodecError, match=message) as error:
        encode(value)

    assert error.value.format_name == "binary"
    assert error.value.__cause__ is not None


@pytest.mark.verifies("REQ_0215", "REQ_0214")
@pytest.mark.parametrize(
    ("payload", "kind", "message"),
    [
        (b"\x12\x34\x56", Short, "Short takes 2 bytes, the payload has 3"),
        (b"", Short, "Short takes 2 bytes, the payload has 0"),
        (bytes(42) + b"\x02", All, "k is 0x02, expected 0 or 1"),
        (bytes(20) + b"\x09\x01", Nested, "9 is not a valid Mode"),
        (b"x", Named, "name is annotated str"),
    ],
    ids=["trailing", "empty", "bool", "enum", "unfit"],
)
def test_decode_faults_are_codec_errors(payload: bytes, kind: type, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        BIG.decode(kind, memoryview(payload))


@pytest.mark.verifies("REQ_0215")
def test_single_widths_decode_bare() -> None:
    assert BIG.decode(U16, memoryview(b"\x12\x34")) == 0x1234
    assert BIG.decode(tuple[U8, I8], memoryview(b"\xff\xff")) == (255, -1)


@pytest.mark.verifies("REQ_0213")
def test_range_faults_win_over_a_small_buffer() -> None:
    with pytest.raises(CodecError, match="65536"):
        encode(Short(65536), room=1)
