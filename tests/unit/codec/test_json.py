"""The JSON codec: round trips, every encode and decode fault, no number that JSON cannot say."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora.codec import JsonCodec
from taktora.errors import CodecError, PayloadOverflow

CODEC = JsonCodec()


class Record(msgspec.Struct):
    value: int
    name: str
    flags: list[bool]


@dataclass
class Plain:
    level: float
    note: str | None = None


class Typed(TypedDict):
    speed: float


def encode(value: Any, room: int = 4096) -> bytes:
    view = memoryview(bytearray(room))
    return bytes(view[: CODEC.encode_into(value, view)])


RECORDS = st.builds(
    Record,
    value=st.integers(-(2**63), 2**63 - 1),
    name=st.text(st.characters(codec="utf-8"), max_size=64),
    flags=st.lists(st.booleans(), max_size=31),
)


@pytest.mark.realizes("TEST_0110")
@given(record=RECORDS)
def test_records_round_trip_and_parse_as_objects(record: Record) -> None:
    encoded = encode(record)

    assert CODEC.decode(Record, memoryview(encoded)) == record
    assert isinstance(json.loads(encoded), dict)
    assert CODEC.format_name == "json"


@pytest.mark.realizes("TEST_0111")
def test_encode_errors_carry_their_cause() -> None:
    with pytest.raises(PayloadOverflow) as long:
        encode({"text": "x" * 1000}, 16)
    with pytest.raises(PayloadOverflow) as empty:
        encode(Record(1, "a", []), 0)
    with pytest.raises(CodecError) as keys:
        encode({(1, 2): 3})

    assert (long.value.actual, long.value.max) == (1011, 16)
    assert empty.value.max == 0
    assert keys.value.format_name == "json"
    assert isinstance(keys.value.__cause__, TypeError)


@pytest.mark.verifies("REQ_0214")
@pytest.mark.parametrize(
    "payload",
    [
        b'{"value":1,"name":"a","fl',
        b"[1,2]",
        b'{"value":"x","name":"a","flags":[]}',
        b"",
        b'{"value":1,"name":"a","flags":[]} x',
        b'{"value":1,"name":"\xff","flags":[]}',
        b'{"value":NaN,"name":"a","flags":[]}',
    ],
    ids=["truncated", "shape", "type", "empty", "trailing", "utf8", "nan"],
)
def test_decode_errors_are_codec_errors(payload: bytes) -> None:
    with pytest.raises(CodecError, match=r"json: cannot decode \d+ bytes as Record") as error:
        CODEC.decode(Record, memoryview(payload))

    assert error.value.format_name == "json"
    assert error.value.__cause__ is not None


@pytest.mark.verifies("REQ_0212", "REQ_0213")
@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")], ids=str)
@pytest.mark.parametrize(
    ("wrap", "place"),
    [
        (lambda number: Plain(number), r"\$\.level"),
        (lambda number: {"a": [1.0, {"b": number}]}, r"\$\.a\[1\]\.b"),
        (lambda number: {number: 1}, "a key"),
        (lambda number: number, r"\$ is"),
    ],
    ids=["field", "nested", "key", "bare"],
)
def test_numbers_json_cannot_say_are_refused(number: float, wrap: Any, place: str) -> None:
    with pytest.raises(CodecError, match=place):
        encode(wrap(number))


@pytest.mark.verifies("REQ_0212")
def test_none_and_words_like_null_are_no_numbers() -> None:
    value = Plain(1.5, 'null nan":')

    assert CODEC.decode(Plain, memoryview(encode(value))) == value
    assert CODEC.decode(Plain, memoryview(encode(Plain(1.0)))) == Plain(1.0)


@pytest.mark.verifies("REQ_0210")
def test_typed_dicts_and_dicts_are_values() -> None:
    assert CODEC.decode(Typed, memoryview(encode({"speed": 2.5}))) == {"speed": 2.5}
    assert CODEC.decode(dict, memoryview(encode({"a": [1, None]}))) == {"a": [1, None]}


@pytest.mark.verifies("REQ_0214")
@given(payload=st.binary(max_size=64))
def test_any_bytes_decode_or_raise_codec_error(payload: bytes) -> None:
    try:
        decoded = CODEC.decode(Record, memoryview(payload))
    except CodecError:
        return

    assert isinstance(decoded, Record)


@pytest.mark.verifies("REQ_0214")
@given(record=RECORDS, tail=st.binary(max_size=16))
def test_bytes_beyond_the_payload_are_never_read(record: Record, tail: bytes) -> None:
    encoded = encode(record)
    view = memoryview(encoded + tail)[: len(encoded)]

    assert CODEC.decode(Record, view) == record


@pytest.mark.verifies("REQ_0213")
def test_codec_works_on_after_a_failed_encode() -> None:
    with pytest.raises(CodecError):
        encode(object())

    assert encode({"a": 1}) == b'{"a":1}'
