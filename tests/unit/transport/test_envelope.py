"""The envelope: layout, golden vectors, and detection of every single-bit corruption."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora.errors import ConfigurationError
from taktora.transport.envelope import (
    HEADER_BYTES,
    NO_CORRELATION,
    WIRE_VERSION,
    Header,
    accept,
    check,
    diagnose,
    envelope_type,
    read_header,
    stamp,
)


def enveloped(payload: bytes, room: int = 64, **header: int) -> memoryview:
    view = memoryview(bytearray(envelope_type(room).size_bytes))
    view[HEADER_BYTES : HEADER_BYTES + len(payload)] = payload
    stamp(view, header.get("seq", 1), header.get("ts", 2), NO_CORRELATION, len(payload), header.get("reserved", 0))
    return view


@pytest.mark.verifies("REQ_0200", "TSR_0008")
@pytest.mark.parametrize(
    ("fields", "payload", "crc"),
    [
        pytest.param((42, 1234567890, bytes(32), 4, 0), b"test", 0x6117F99D, id="plain"),
        pytest.param((0, 0, bytes(32), 0, 0), b"", 0xAE1B4183, id="all-zero"),
        pytest.param((1, 10**18, bytes(range(32)), 3, 7), b"abc", 0xEABDE4A0, id="every-field"),
    ],
)
def test_stamp_matches_golden_vector(fields: tuple[int, int, bytes, int, int], payload: bytes, crc: int) -> None:
    view = memoryview(bytearray(72))
    view[64 : 64 + len(payload)] = payload

    stamp(view, *fields)

    assert read_header(view) == Header(*fields, crc, 2, 0)
    assert check(view)


@pytest.mark.verifies("REQ_0200")
def test_header_lies_at_the_documented_offsets() -> None:
    view = memoryview(bytearray(72))
    correlation = bytes(range(100, 132))

    stamp(view, 0x1122334455667788, 0x99AABBCCDDEEFF00, correlation, 5, 0xCAFEBABE)

    assert struct.unpack_from("=Q", view, 0) == (0x1122334455667788,)
    assert struct.unpack_from("=Q", view, 8) == (0x99AABBCCDDEEFF00,)
    assert bytes(view[16:48]) == correlation
    assert struct.unpack_from("=II", view, 48) == (5, 0xCAFEBABE)
    assert struct.unpack_from("=HH", view, 60) == (WIRE_VERSION, 0)


@pytest.mark.verifies("TSR_0008")
def test_crc_covers_header_version_and_valid_payload_only() -> None:
    view = enveloped(b"valid", room=32)
    expected = zlib.crc32(bytes(view[0:56]) + bytes(view[60:64]) + b"valid")

    view[64 + 5 :] = b"\xff" * len(view[64 + 5 :])

    assert read_header(view).crc32 == expected
    assert check(view)


@pytest.mark.verifies("REQ_0200", "REQ_0201")
@pytest.mark.parametrize(
    ("room", "size"), [(1, 72), (4, 72), (8, 72), (64, 128), (128, 192), (256, 320), (4096, 4160)], ids=str
)
def test_envelope_type_rounds_up_to_its_alignment(room: int, size: int) -> None:
    payload = envelope_type(room)

    assert (payload.name, payload.size_bytes, payload.alignment) == (f"taktora.ConnectorEnvelope<{room}>", size, 8)
    assert envelope_type(room) is payload


@pytest.mark.verifies("REQ_0201")
@pytest.mark.parametrize("room", [0, -1, 2**32], ids=str)
def test_envelope_type_refuses_impossible_sizes(room: int) -> None:
    with pytest.raises(ConfigurationError, match=str(room)):
        envelope_type(room)


@pytest.mark.verifies("TSR_0008")
@given(
    payload=st.binary(max_size=64),
    numbers=st.tuples(*(st.integers(0, 2**64 - 1),) * 2),
    correlation=st.binary(min_size=32, max_size=32),
    reserved=st.integers(0, 2**32 - 1),
    data=st.data(),
)
def test_any_single_bit_corruption_is_detected(
    payload: bytes, numbers: tuple[int, int], correlation: bytes, reserved: int, data: st.DataObject
) -> None:
    view = memoryview(bytearray(128))
    view[64 : 64 + len(payload)] = payload
    stamp(view, *numbers, correlation, len(payload), reserved)
    bit = data.draw(st.integers(0, (64 + len(payload)) * 8 - 1), label="bit")

    view[bit // 8] ^= 1 << bit % 8

    assert not check(view)
    assert diagnose(view)


@pytest.mark.verifies("TSR_0008")
def test_every_bit_of_one_envelope_is_protected() -> None:
    view = enveloped(b"taktora", seq=5, ts=6)

    undetected = []
    for bit in range((64 + 7) * 8):
        view[bit // 8] ^= 1 << bit % 8
        if check(view):
            undetected.append(bit)
        view[bit // 8] ^= 1 << bit % 8

    assert undetected == []
    assert check(view)


@pytest.mark.verifies("REQ_0200", "REQ_0202", "REQ_0203", "REQ_0204")
@given(
    number=st.integers(0, 2**64 - 1),
    timestamp_ns=st.integers(0, 2**64 - 1),
    correlation=st.binary(min_size=32, max_size=32),
    reserved=st.integers(0, 2**32 - 1),
)
def test_fields_come_back_as_they_were(number: int, timestamp_ns: int, correlation: bytes, reserved: int) -> None:
    view = memoryview(bytearray(72))

    stamp(view, number, timestamp_ns, correlation, 0, reserved)

    fields = accept(view)
    assert fields is not None
    assert fields[:5] == (number, timestamp_ns, correlation, 0, reserved)


@pytest.mark.verifies("TSR_0008")
def test_other_wire_version_with_right_crc_is_refused() -> None:
    view = enveloped(b"data")
    struct.pack_into("=H", view, 60, 3)
    struct.pack_into("=I", view, 56, zlib.crc32(bytes(view[0:56]) + bytes(view[60:64]) + b"data"))

    assert not check(view)
    assert diagnose(view) == "wire version 3, expected 2"


@pytest.mark.verifies("TSR_0008")
def test_length_beyond_the_buffer_is_refused_and_never_read() -> None:
    view = memoryview(bytearray(b"\xee" * 200))[:72]
    stamp(view, 1, 2, NO_CORRELATION, 100)

    assert not check(view)
    assert diagnose(view) == "payload_len 100, expected at most 8"


@pytest.mark.verifies("TSR_0008")
def test_too_short_view_is_no_envelope() -> None:
    assert not check(memoryview(bytes(63)))
    assert "63 bytes" in diagnose(memoryview(bytes(63)))


@pytest.mark.verifies("REQ_0204")
@pytest.mark.parametrize("length", [0, 31, 33], ids=str)
def test_correlation_id_of_wrong_length_is_refused(length: int) -> None:
    with pytest.raises(ConfigurationError, match=f"{length} bytes, expected 32"):
        stamp(memoryview(bytearray(72)), 0, 0, bytes(length), 0)
