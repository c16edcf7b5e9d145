"""The scripted CAN interface: it answers as told and remembers what it was asked."""

from __future__ import annotations

import pytest

from taktora.can import CanErrorClass, CanFilter, CanFrame, CanIfaceState
from taktora.errors import BackPressure, LinkDown, PayloadOverflow, StackError
from taktora.testing.mock_can import MockCanInterface
from tests.sim.can.support import Log


@pytest.mark.verifies("REQ_0604")
def test_scripted_answers_are_given_in_order() -> None:
    mock = MockCanInterface()
    mock.script_open([StackError("no such interface"), None])
    mock.script_send([None, StackError("EINVAL")])

    with pytest.raises(StackError, match="no such interface"):
        mock.open(Log())
    mock.open(Log())
    mock.send(CanFrame(1, b"a"))
    with pytest.raises(StackError, match="EINVAL"):
        mock.send(CanFrame(2, b"b"))

    assert (mock.open_count, mock.send_count, [frame.can_id for frame in mock.sent]) == (2, 2, [1])


@pytest.mark.verifies("REQ_0604")
def test_own_frames_come_back_only_when_asked_for() -> None:
    quiet, loud = MockCanInterface(), MockCanInterface(receive_own=True)
    logs = Log(), Log()

    for mock, log in zip((quiet, loud), logs, strict=True):
        mock.open(log)
        mock.send(CanFrame(1, b""))

    assert [log.ids for log in logs] == [[], [1]]


@pytest.mark.verifies("REQ_0604", "REQ_0622")
def test_injected_frames_pass_the_filters_in_force() -> None:
    mock, log = MockCanInterface(), Log()
    mock.open(log)
    mock.set_filters([CanFilter(0x100, 0x7FF)])

    passed = [mock.inject_frame(CanFrame(can_id, b"")) for can_id in (0x100, 0x101)]

    assert passed == [True, False]
    assert log.ids == [0x100]
    assert mock.filter_calls == [(CanFilter(0x100, 0x7FF),)]


@pytest.mark.verifies("REQ_0604", "REQ_0607")
def test_room_is_limited_and_told_when_it_is_back() -> None:
    mock, told = MockCanInterface(), []
    mock.on_transmit_ready(lambda: told.append(True))
    mock.open(Log())
    mock.limit_room(1)
    told.clear()

    mock.send(CanFrame(1, b""))
    with pytest.raises(BackPressure, match="ENOBUFS"):
        mock.send(CanFrame(2, b""))
    mock.limit_room(None)

    assert told == [True]


@pytest.mark.verifies("REQ_0604", "REQ_0631")
def test_bus_off_stops_sending_until_it_is_opened_again() -> None:
    mock, log = MockCanInterface(), Log()
    mock.open(log)

    mock.inject_error(CanErrorClass.BUS_OFF)

    assert log.errors[0].classes == CanErrorClass.BUS_OFF
    assert mock.state is CanIfaceState.BUS_OFF
    with pytest.raises(LinkDown, match="bus-off"):
        mock.send(CanFrame(1, b""))
    mock.open(log)
    mock.send(CanFrame(1, b""))


@pytest.mark.verifies("REQ_0604", "REQ_0611")
def test_frames_of_can_fd_are_taken_as_a_socket_takes_them() -> None:
    classical, fd, log = MockCanInterface(carries_fd=False), MockCanInterface(receive_own=True), Log()
    classical.open(Log())
    fd.open(log)

    with pytest.raises(StackError, match="carries no CAN FD"):
        classical.send(CanFrame(1, b"", fd=True))
    with pytest.raises(StackError, match="no CAN FD frame has 9 data bytes"):
        fd.send(CanFrame(1, bytes(9), fd=True))
    with pytest.raises(PayloadOverflow, match="CAN FD"):
        fd.send(CanFrame(1, bytes(65), fd=True))
    with pytest.raises(PayloadOverflow, match=r"classical.*; a frame of CAN FD has room for 64"):
        fd.send(CanFrame(1, bytes(9)))
    fd.send(CanFrame(1, bytes(64), fd=True, brs=True, esi=True))

    assert classical.sent == []
    assert fd.sent == log.frames == [CanFrame(1, bytes(64), fd=True, brs=True, esi=True)]


class _LossLog(Log):
    """A listener that remembers losses too."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: list[int] = []

    def on_receive_overflow(self, lost: int) -> None:
        self.lost.append(lost)


@pytest.mark.verifies("REQ_0604", "REQ_0608")
def test_frames_lost_in_the_system_are_told_to_the_listener() -> None:
    mock, log = MockCanInterface(), _LossLog()
    mock.open(log)

    mock.inject_overflow(3)
    mock.close()
    mock.inject_overflow(4)

    assert log.lost == [3]


@pytest.mark.verifies("REQ_0604")
def test_a_closed_mock_receives_nothing() -> None:
    mock, log = MockCanInterface(), Log()
    mock.open(log)
    mock.close()
    mock.close()

    assert not mock.inject_frame(CanFrame(1, b""))
    assert (log.frames, mock.close_count) == ([], 1)
