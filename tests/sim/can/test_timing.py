"""Frame lengths and bits against golden values and against a reference that works on lists of bits."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taktora.can import CanFrame
from taktora_sim.can.timing import (
    arbitration_key,
    crc15,
    duration_ns,
    fd_duration_ns,
    fd_frame_bits,
    field_position,
    frame_bits,
    phase_bits,
    stuff_bits,
    stuffed_region,
    wire_image,
)
from tests.sim.can.wire_reference import (
    CRC15,
    CRC17,
    CRC21,
    FD_BYTES,
    classical_frames,
    divide,
    fd_frames,
    frames,
    identifier,
    random_frame,
    reference,
    spell,
    unstuffed,
)

_FRAMES = 10_000


def _lengths(frame: CanFrame) -> tuple[int, int]:
    if frame.fd:
        return fd_frame_bits(frame.can_id, frame.data, frame.extended, frame.brs, frame.esi)
    return frame_bits(frame.can_id, frame.data, frame.extended, frame.remote, frame.dlc), 0


@pytest.mark.verifies("REQ_8200")
@pytest.mark.parametrize(
    ("can_id", "data", "extended", "crc", "stuffed", "total"),
    [
        pytest.param(0x000, b"", False, 0x0000, 6, 53, id="zero id, no data"),
        pytest.param(0x123, bytes.fromhex("11223344"), False, 0x11DA, 1, 80, id="four bytes"),
        pytest.param(0x7FF, b"\xff" * 8, False, 0x4C89, 15, 126, id="all ones"),
        pytest.param(0x000, bytes(8), False, 0x145B, 16, 127, id="all zeros"),
        pytest.param(0x078, b"\x3c" * 8, False, 0x1921, 20, 131, id="many stuff bits"),
        pytest.param(0x18FEF100, b"\xff" * 8, True, 0x177A, 15, 146, id="extended, ones"),
        pytest.param(0x18EEFF80, bytes(8), True, 0x0F00, 20, 151, id="extended, zeros"),
    ],
)
def test_golden_frames(can_id: int, data: bytes, extended: bool, crc: int, stuffed: int, total: int) -> None:
    value, bits = stuffed_region(can_id, data, extended=extended)

    assert value & 0x7FFF == crc
    assert stuff_bits(value, bits) == stuffed
    assert frame_bits(can_id, data, extended) == total


@pytest.mark.verifies("REQ_8200")
@pytest.mark.parametrize(
    ("length", "data_bits"), [(0, 33), (8, 106), (16, 174), (20, 213), (64, 575)], ids="{} bytes".format
)
def test_golden_fd_frames(length: int, data_bits: int) -> None:
    assert fd_frame_bits(0x123, bytes(range(length)), brs=True) == (29, data_bits)


@pytest.mark.verifies("REQ_8200")
@pytest.mark.parametrize(
    ("polynomial", "check"), [(CRC15, 0x059E), (CRC17, 0x04F03), (CRC21, 0x0ED841)], ids=["CRC-15", "CRC-17", "CRC-21"]
)
def test_the_polynomials_of_the_reference_give_the_published_check_values(
    polynomial: tuple[int, ...], check: int
) -> None:
    message = [bit for octet in b"123456789" for bit in spell(octet, 8)]

    assert divide(message, polynomial) == spell(check, polynomial[0])


@pytest.mark.verifies("REQ_8200")
def test_ten_thousand_random_frames_of_all_formats_equal_the_reference_bit_by_bit() -> None:
    draws = random.Random(8200)
    kinds = set()
    for number in range(_FRAMES):
        frame = random_frame(draws)
        expected = reference(frame)

        assert wire_image(frame).bits == expected.text, f"frame {number}: {frame}"
        assert _lengths(frame) == (len(expected.bits) - expected.fast, expected.fast), f"frame {number}: {frame}"
        assert len(wire_image(frame).fast) == expected.fast, f"frame {number}: {frame}"
        kinds.add((frame.extended, frame.remote, frame.fd, frame.brs, frame.dlc if frame.remote else len(frame.data)))

    assert len(kinds) == 2 * (9 + 16 + 2 * 16)  # each format with each length code


@pytest.mark.verifies("REQ_8200")
@settings(max_examples=500)
@given(frames)
def test_length_equals_the_reference_bit_sequence(frame: CanFrame) -> None:
    expected = reference(frame)

    assert wire_image(frame).bits == expected.text
    assert _lengths(frame) == (len(expected.bits) - expected.fast, expected.fast)


@pytest.mark.verifies("REQ_8200")
@given(classical_frames)
def test_the_bits_that_get_stuffed_equal_the_reference(frame: CanFrame) -> None:
    value, bits = stuffed_region(frame.can_id, frame.data, extended=frame.extended, remote=frame.remote, dlc=frame.dlc)

    assert spell(value, bits) == unstuffed(frame)


@pytest.mark.verifies("REQ_8200")
@given(classical_frames)
def test_length_stays_within_the_formula(frame: CanFrame) -> None:
    count = len(frame.data)
    shortest, longest = (67 + 8 * count, 80 + 10 * count) if frame.extended else (47 + 8 * count, 55 + 10 * count)

    assert shortest <= _lengths(frame)[0] <= longest


@pytest.mark.verifies("REQ_8200")
@given(fd_frames)
def test_fd_length_stays_within_the_formula(frame: CanFrame) -> None:
    count = len(frame.data)
    shortest = (48 if frame.extended else 29) + (33 if count <= 16 else 38) + 8 * count
    region = (36 if frame.extended else 17) + 5 + 8 * count

    assert shortest <= sum(_lengths(frame)) <= shortest + (region - 2) // 4


@pytest.mark.verifies("REQ_8200")
def test_a_length_that_can_fd_does_not_have_has_no_duration() -> None:
    with pytest.raises(KeyError):
        fd_frame_bits(0x123, bytes(9))


@pytest.mark.verifies("REQ_8200")
@given(st.integers(1, 120), st.data())
def test_a_crc_over_message_and_crc_is_zero(bits: int, data: st.DataObject) -> None:
    value = data.draw(st.integers(0, 2**bits - 1))

    assert crc15(value << 15 | crc15(value, bits), bits + 15) == 0


@pytest.mark.verifies("REQ_8200")
def test_duration_is_rounded_once_for_the_whole_frame() -> None:
    assert duration_ns(131, 500_000) == 262_000
    assert duration_ns(3, 83_333) == 36_000
    assert fd_duration_ns(29, 575, 500_000, 2_000_000) == 345_500
    assert fd_duration_ns(1, 1, 300_000, 700_000) == 4_762  # 3333.3 + 1428.6 ns


@pytest.mark.verifies("REQ_8200")
@given(frames, frames)
def test_arbitration_follows_the_first_differing_bit(left: CanFrame, right: CanFrame) -> None:
    def key(frame: CanFrame) -> int:
        return arbitration_key(frame.can_id, frame.extended, frame.remote)

    if identifier(left) == identifier(right):
        assert key(left) == key(right)
    else:
        assert (key(left) < key(right)) == (identifier(left) < identifier(right))


_FIELDS = {
    "base": "sof id rtr ide r0 dlc data crc crc_delimiter ack ack_delimiter eof intermission",
    "extended": "sof id srr ide id_extension rtr r1 r0 dlc data crc crc_delimiter ack ack_delimiter eof intermission",
    "remote": "sof id rtr ide r0 dlc crc crc_delimiter ack ack_delimiter eof intermission",
    "fd": "sof id rtr ide fdf res brs esi dlc data stuff_count crc crc_delimiter ack ack_delimiter eof intermission",
    "extended fd": "sof id srr ide id_extension rtr fdf res brs esi dlc data stuff_count crc crc_delimiter ack"
    " ack_delimiter eof intermission",
}


@pytest.mark.verifies("REQ_8200")
@pytest.mark.parametrize(
    ("kind", "frame"),
    [
        ("base", CanFrame(0x555, b"\x55")),
        ("extended", CanFrame(0x1555_5555, b"\x55", extended=True)),
        ("remote", CanFrame(0x555, b"", remote=True, dlc=5)),
        ("fd", CanFrame(0x555, b"\x55", fd=True)),
        ("extended fd", CanFrame(0x1555_5555, b"\x55", extended=True, fd=True)),
    ],
)
def test_the_fields_of_each_format_come_in_the_order_of_the_standard(kind: str, frame: CanFrame) -> None:
    starts = wire_image(frame).starts

    assert list(starts) == _FIELDS[kind].split()
    assert list(starts.values()) == sorted(set(starts.values()))
    assert len(wire_image(frame).bits) - starts["intermission"] == 3
    assert starts["intermission"] - starts["eof"] == 7


@pytest.mark.verifies("REQ_8200")
def test_a_field_position_counts_the_stuff_bits_before_it() -> None:
    frame = CanFrame(0x000, b"")  # six stuff bits: after 5 bits of the identifier, then after each run of zeros

    positions = [field_position(frame, name) for name in ("id", "rtr", "dlc", "crc", "crc_delimiter")]

    assert positions == [1, 14, 18, 22, 40]
    assert field_position(CanFrame(0x555, b""), "dlc") == 15


@pytest.mark.verifies("REQ_8200")
@given(frames)
def test_every_field_holds_the_bits_of_its_value(frame: CanFrame) -> None:
    bits = wire_image(frame).bits
    fixed = {"sof": "0", "crc_delimiter": "1", "ack": "1", "ack_delimiter": "1", "eof": "1111111"}
    if frame.fd:
        fixed |= {"fdf": "1", "res": "0", "brs": str(int(frame.brs)), "esi": str(int(frame.esi))}
    if frame.extended:
        fixed |= {"srr": "1", "ide": "1"}
    else:
        fixed |= {"ide": "0"}

    for name, expected in fixed.items():
        first = field_position(frame, name)
        assert bits[first : first + len(expected)] == expected, name


@pytest.mark.verifies("REQ_8200")
def test_an_unknown_field_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"0x123 has no field 'brs'; its fields: sof, id, rtr, ide, r0"):
        field_position(CanFrame(0x123, b""), "brs")


@pytest.mark.verifies("REQ_8200")
@given(fd_frames, st.integers(0, 700))
def test_bits_up_to_a_position_split_into_the_two_rates(frame: CanFrame, count: int) -> None:
    whole = reference(frame)
    length = len(whole.bits)
    tail = 12  # from ACK to the end

    nominal, fast = phase_bits(frame, min(count, length))

    assert nominal + fast == min(count, length)
    assert fast == max(0, min(count, length - tail) - (length - tail - whole.fast))


@pytest.mark.verifies("REQ_8200")
def test_every_length_code_of_can_fd_has_its_bytes() -> None:
    for code, count in enumerate(FD_BYTES):
        frame = CanFrame(0x2AA, b"\x55" * count, fd=True, esi=True)  # no stuff bit within the code
        first = field_position(frame, "dlc")
        assert wire_image(frame).bits[first : first + 4] == f"{code:04b}"
