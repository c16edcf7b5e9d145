"""Frame lengths against golden values and against a reference that works on a list of bits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taktora_sim.can.timing import arbitration_key, crc15, duration_ns, frame_bits, stuff_bits, stuffed_region


def _bits(value: int, width: int) -> list[int]:
    return [value >> position & 1 for position in reversed(range(width))]


def _reference(can_id: int, data: bytes, extended: bool, remote: bool, dlc: int) -> list[int]:
    """Build a frame bit by bit as ISO 11898-1 draws it; shares nothing with the code under test."""
    if extended:
        bits = [0, *_bits(can_id >> 18, 11), 1, 1, *_bits(can_id & 0x3FFFF, 18), int(remote), 0, 0]
    else:
        bits = [0, *_bits(can_id, 11), int(remote), 0, 0]
    bits += _bits(dlc if remote else len(data), 4)
    for octet in () if remote else data:
        bits += _bits(octet, 8)
    register = [0] * 15
    polynomial = _bits(0x4599, 15)
    for bit in bits:
        feedback = bit ^ register[0]
        register = [*register[1:], 0]
        if feedback:
            register = [left ^ right for left, right in zip(register, polynomial, strict=True)]
    return bits + register


def _stuffed(bits: list[int]) -> list[int]:
    wire: list[int] = []
    for bit in bits:
        wire.append(bit)
        if len(wire) >= 5 and len(set(wire[-5:])) == 1 and _run_is_fresh(wire):
            wire.append(1 - bit)
    return wire


def _run_is_fresh(wire: list[int]) -> bool:
    run = 0
    for bit in reversed(wire):
        if bit != wire[-1]:
            break
        run += 1
    return run == 5


_FRAMES = st.one_of(
    st.tuples(st.integers(0, 0x7FF), st.binary(max_size=8), st.just(False), st.just(False), st.just(0)),
    st.tuples(st.integers(0, 0x1FFF_FFFF), st.binary(max_size=8), st.just(True), st.just(False), st.just(0)),
    st.tuples(st.integers(0, 0x7FF), st.just(b""), st.just(False), st.just(True), st.integers(0, 15)),
    st.tuples(st.integers(0, 0x1FFF_FFFF), st.just(b""), st.just(True), st.just(True), st.integers(0, 15)),
)


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
@settings(max_examples=500)
@given(_FRAMES)
def test_length_equals_the_reference_bit_sequence(frame: tuple[int, bytes, bool, bool, int]) -> None:
    can_id, data, extended, remote, dlc = frame
    reference = _reference(*frame)

    value, bits = stuffed_region(can_id, data, extended=extended, remote=remote, dlc=dlc)

    assert _bits(value, bits) == reference
    assert frame_bits(*frame) == len(_stuffed(reference)) + 13


@pytest.mark.verifies("REQ_8200")
@given(_FRAMES)
def test_length_stays_within_the_formula(frame: tuple[int, bytes, bool, bool, int]) -> None:
    _, data, extended, _, _ = frame
    shortest, longest = (
        (67 + 8 * len(data), 80 + 10 * len(data)) if extended else (47 + 8 * len(data), 55 + 10 * len(data))
    )

    assert shortest <= frame_bits(*frame) <= longest


@pytest.mark.verifies("REQ_8200")
@given(st.integers(1, 120), st.data())
def test_a_crc_over_message_and_crc_is_zero(bits: int, data: st.DataObject) -> None:
    value = data.draw(st.integers(0, 2**bits - 1))

    assert crc15(value << 15 | crc15(value, bits), bits + 15) == 0


@pytest.mark.verifies("REQ_8200")
def test_duration_is_rounded_once_for_the_whole_frame() -> None:
    assert duration_ns(131, 500_000) == 262_000
    assert duration_ns(3, 83_333) == 36_000


@pytest.mark.verifies("REQ_8200")
@given(_FRAMES, _FRAMES)
def test_arbitration_follows_the_first_differing_bit(
    left: tuple[int, bytes, bool, bool, int], right: tuple[int, bytes, bool, bool, int]
) -> None:
    def wire(frame: tuple[int, bytes, bool, bool, int]) -> list[int]:
        bits = _reference(*frame)
        return bits[:33] if frame[2] else bits[:14]  # to the remote bit, or to the identifier-extension bit

    by_key = arbitration_key(left[0], left[2], left[3]) - arbitration_key(right[0], right[2], right[3])

    if wire(left) == wire(right):
        assert by_key == 0
    else:
        assert (by_key < 0) == (wire(left) < wire(right))
