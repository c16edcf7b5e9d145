"""Frames as a CAN_RAW socket carries them, against bytes written down from linux/can.h and against python-can."""

from __future__ import annotations

import sys

import can
import pytest
from can.interfaces.socketcan.socketcan import build_can_frame, dissect_can_frame
from hypothesis import given
from hypothesis import strategies as st

from taktora.can import CanErrorClass, CanErrorFrame, CanFrame
from taktora.can.dlc import FD_LENGTHS
from taktora.can.wireformat import CAN_MTU, CANFD_MTU, pack_frame, unpack_frame


def _word(value: int) -> bytes:
    return value.to_bytes(4, sys.byteorder)


_GOLDEN = [
    pytest.param(
        CanFrame(0x123, b"\x11\x22"), _word(0x123) + b"\x02\0\0\0" + b"\x11\x22\0\0\0\0\0\0", id="two bytes of data"
    ),
    pytest.param(CanFrame(0x7FF, b""), _word(0x7FF) + bytes(12), id="no data"),
    pytest.param(
        CanFrame(0x1FFFFFFF, b"abcdefgh", extended=True), _word(0x9FFFFFFF) + b"\x08\0\0\0abcdefgh", id="29 bit"
    ),
    pytest.param(CanFrame(0x123, b"", remote=True, dlc=5), _word(0x40000123) + b"\x05" + bytes(11), id="remote"),
    pytest.param(
        CanFrame(1, b"", extended=True, remote=True, dlc=12),
        _word(0xC0000001) + b"\x08\0\0\x0c" + bytes(8),
        id="dlc 12",
    ),
    pytest.param(CanFrame(0x123, b"", fd=True), _word(0x123) + bytes(68), id="CAN FD without data"),
    pytest.param(
        CanFrame(0x123, b"x" * 12, fd=True, brs=True), _word(0x123) + b"\x0c\x01\0\0" + b"x" * 12 + bytes(52), id="BRS"
    ),
    pytest.param(
        CanFrame(0x123, b"y" * 64, extended=True, fd=True, esi=True),
        _word(0x80000123) + b"\x40\x02\0\0" + b"y" * 64,
        id="ESI",
    ),
]


@pytest.mark.verifies("REQ_0611", "REQ_0613", "REQ_0614", "REQ_0615")
@pytest.mark.parametrize(("frame", "raw"), _GOLDEN)
def test_a_frame_is_these_bytes_both_ways(frame: CanFrame, raw: bytes) -> None:
    assert pack_frame(frame) == raw
    assert unpack_frame(raw) == frame


@pytest.mark.verifies("REQ_0611", "REQ_0614")
def test_the_mark_that_newer_kernels_put_on_can_fd_frames_is_no_other_flag() -> None:
    raw = _word(0x123) + b"\x02\x05\0\0ab" + bytes(62)

    assert unpack_frame(raw, 7) == CanFrame(0x123, b"ab", timestamp_ns=7, fd=True, brs=True)


@pytest.mark.verifies("REQ_0614")
def test_a_data_frame_with_a_length_code_above_eight_has_eight_bytes() -> None:
    raw = _word(0x123) + b"\x08\0\0\x0fabcdefgh"

    assert unpack_frame(raw) == CanFrame(0x123, b"abcdefgh")


@pytest.mark.verifies("REQ_0631")
def test_an_error_frame_has_its_classes_and_data() -> None:
    raw = _word(0x20000244) + b"\x08\0\0\0" + bytes((0, 8, 0, 0, 0, 0, 128, 96))

    expected = CanErrorClass.BUS_OFF | CanErrorClass.CONTROLLER | CanErrorClass.COUNTERS
    assert unpack_frame(raw, 9) == CanErrorFrame(expected, bytes((0, 8, 0, 0, 0, 0, 128, 96)), 9)


def _frames() -> st.SearchStrategy[CanFrame]:
    fd = st.builds(
        lambda length, byte, brs, esi: CanFrame(0, bytes([byte]) * length, fd=True, brs=brs, esi=esi),
        st.sampled_from(FD_LENGTHS),
        st.integers(0, 255),
        st.booleans(),
        st.booleans(),
    )
    data = st.builds(lambda data: CanFrame(0, data), st.binary(max_size=8))
    remote = st.builds(lambda dlc: CanFrame(0, b"", remote=True, dlc=dlc), st.integers(0, 8))
    identifiers = st.one_of(
        st.tuples(st.integers(0, 0x7FF), st.just(False)), st.tuples(st.integers(0, 0x1FFFFFFF), st.just(True))
    )
    return st.builds(
        lambda frame, identifier: frame._replace(can_id=identifier[0], extended=identifier[1]),
        st.one_of(fd, data, remote),
        identifiers,
    )


@pytest.mark.verifies("REQ_0611", "REQ_0613", "REQ_0614", "REQ_0615")
@given(_frames())
def test_every_frame_is_what_python_can_makes_of_it(frame: CanFrame) -> None:
    raw = pack_frame(frame)

    assert len(raw) == (CANFD_MTU if frame.fd else CAN_MTU)
    assert unpack_frame(raw) == frame
    word, length, _, data = dissect_can_frame(raw)
    assert (word & 0x1FFFFFFF, bool(word >> 31), bool(word >> 30 & 1)) == (frame.can_id, frame.extended, frame.remote)
    assert (length, bytes(data)) == (frame.dlc or len(frame.data), frame.data or bytes(frame.dlc))
    assert unpack_frame(build_can_frame(_message(frame))) == frame


def _message(frame: CanFrame) -> can.Message:
    return can.Message(
        arbitration_id=frame.can_id,
        is_extended_id=frame.extended,
        is_remote_frame=frame.remote,
        is_fd=frame.fd,
        bitrate_switch=frame.brs,
        error_state_indicator=frame.esi,
        dlc=frame.dlc if frame.remote else len(frame.data),
        data=None if frame.remote else frame.data,
    )
