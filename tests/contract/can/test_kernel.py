"""What only a kernel's CAN shows: interfaces that go, a full transmit queue, limits of filters, error frames."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from taktora.can import CanErrorClass, CanErrorFrame, CanFilter, CanFrame, CanIfaceState
from taktora.can.socketcan import SocketCanInterface
from taktora.errors import BackPressure, LinkDown, StackError
from taktora_hil.rig_can import CanRig
from tests.contract.can.interface_checks import Received
from tests.patience import PATIENCE_S
from tests.real_can import Fence, FencedInterface, needs_command, send_raw, wait_for

pytestmark = [pytest.mark.world("rig")]

_BUS_OFF = 0x20000040
_FRAME = CanFrame(0x123, b"\x01\x02")


class Log(Received):
    """A listener that takes error frames too, and remembers the reasons of states."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[CanErrorFrame] = []
        self.reasons: list[str] = []

    def on_error_frame(self, frame: CanErrorFrame) -> None:
        self.errors.append(frame)

    def on_receive_overflow(self, lost: int) -> None:
        raise AssertionError(f"{lost} frames lost unread")

    def on_state(self, state: CanIfaceState, reason: str) -> None:
        super().on_state(state, reason)
        self.reasons.append(reason)


@contextmanager
def opened(name: str) -> Iterator[tuple[SocketCanInterface, Log]]:
    """Give an open interface and what it reports."""
    interface, log = SocketCanInterface(name), Log()
    interface.open(log)
    try:
        yield interface, log
    finally:
        interface.close()


@pytest.mark.verifies("REQ_0633", "REQ_0602")
def test_an_interface_that_goes_down_is_told_once_and_can_be_reopened(can_rig: CanRig) -> None:
    name = can_rig.interfaces[0]
    with opened(name) as (interface, log):
        can_rig.set_up(name, False)
        wait_for(lambda: log.states)
        with pytest.raises(LinkDown, match=name):
            interface.send(_FRAME)
        with pytest.raises(StackError, match=f"{name}.*the interface is down; 'ip link set {name} up"):
            interface.open(log)
        can_rig.set_up(name, True)
        interface.open(log)
        send_raw(name, _FRAME.can_id, _FRAME.data)
        wait_for(lambda: log.frames)

    assert log.states == [CanIfaceState.DOWN]
    assert "ENETDOWN" in log.reasons[0]
    assert log.frames == [_FRAME]


@pytest.mark.verifies("REQ_0633", "REQ_0602")
def test_an_interface_that_is_taken_away_is_down_and_no_longer_there(can_rig: CanRig) -> None:
    name = can_rig.interfaces[0]
    with opened(name) as (interface, log):
        can_rig.remove(name)
        wait_for(lambda: log.states)
        with pytest.raises(StackError, match=f"{name}.*no such CAN interface"):
            interface.open(log)

    assert log.states == [CanIfaceState.DOWN]


@pytest.mark.verifies("REQ_0602")
def test_a_network_interface_of_another_kind_is_refused() -> None:
    with pytest.raises(StackError, match=r"'lo'.*no such CAN interface"):
        SocketCanInterface("lo").open(Log())


@pytest.mark.verifies("REQ_0602", "REQ_0634")
def test_attempts_at_an_interface_that_is_not_there_leave_no_socket_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))

    refusals = []
    for _ in range(20):
        try:
            SocketCanInterface("taktora-none").open(Log())
        except StackError as error:
            refusals.append(error)  # keeps what its traceback refers to

    assert len(refusals) == 20
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.verifies("REQ_0607")
def test_a_full_transmit_queue_is_back_pressure_until_there_is_room(can_rig: CanRig) -> None:
    name = can_rig.interfaces[0]
    with opened(name) as (interface, _):
        room = threading.Event()
        interface.on_transmit_ready(room.set)
        can_rig.plug(name, queue=10)
        for _ in range(10):
            interface.send(_FRAME)
        with pytest.raises(BackPressure, match=f"{name}.*ENOBUFS"):
            interface.send(_FRAME)
        assert room.wait(PATIENCE_S)
        can_rig.unplug(name)

        interface.send(_FRAME)


@pytest.mark.verifies("REQ_0622")
def test_the_kernel_takes_512_filters_and_keeps_them_when_it_refuses_513(can_rig: CanRig) -> None:
    name = can_rig.interfaces[0]
    fence, log = Fence(name, "rig"), Log()
    interface = FencedInterface(name, fence)
    interface.open(log)
    filters = [CanFilter(number, 0xC00007FF) for number in range(513)]

    try:
        interface.set_filters(filters[:512])
        with pytest.raises(StackError, match=f"{name}.*refused 513 filters"):
            interface.set_filters(filters)
        for can_id in (511, 512):
            send_raw(name, can_id)
        fence.settle()
    finally:
        interface.close()

    assert [frame.can_id for frame in log.frames] == [511]


@pytest.mark.verifies("REQ_0631", "REQ_0633", "REQ_0643")
def test_an_error_frame_passes_an_empty_filter_and_bus_off_stops_sending(can_rig: CanRig) -> None:
    name = can_rig.interfaces[0]
    data = bytes((0, 0, 0, 0, 0, 0, 255, 7))
    with opened(name) as (interface, log):
        interface.set_filters([])
        send_raw(name, _BUS_OFF | CanErrorClass.COUNTERS, data)
        wait_for(lambda: log.errors)
        with pytest.raises(LinkDown, match=f"{name}.*bus-off"):
            interface.send(_FRAME)

    assert log.errors[0]._replace(timestamp_ns=0) == CanErrorFrame(CanErrorClass.BUS_OFF | CanErrorClass.COUNTERS, data)
    assert log.frames == []


@pytest.mark.verifies("REQ_0602", "REQ_0613", "REQ_8505", "REQ_8506")
def test_candump_records_what_is_sent(tmp_path: Path) -> None:
    needs_command("candump", "can-utils")
    frames = [
        CanFrame(0x123, b"\x01\x02\x03"),
        CanFrame(0x1FFFFFFF, bytes(8), extended=True),
        CanFrame(0x100, b"", remote=True, dlc=4),
        CanFrame(0x200, b""),
    ]
    with CanRig(1, record=tmp_path) as rig, opened(rig.interfaces[0]) as (interface, _):
        for frame in frames:
            interface.send(frame)

    lines = (tmp_path / f"{interface.name}.log").read_text(encoding="utf-8").splitlines()
    assert [line.split()[1:] for line in lines] == [
        [interface.name, text] for text in ("123#010203", "1FFFFFFF#0000000000000000", "100#R4", "200#")
    ]


@pytest.mark.verifies("REQ_0602", "REQ_0614")
def test_what_cansend_sends_is_received(can_rig: CanRig) -> None:
    needs_command("cansend", "can-utils")
    name = can_rig.interfaces[0]
    with opened(name) as (_, log):
        for text in ("123#DEADBEEF", "00000123#01", "5A1#R", "7FF#"):
            subprocess.run(["cansend", name, text], check=True, timeout=PATIENCE_S)
        wait_for(lambda: len(log.frames) == 4, f"received {log.frames}")

    assert log.frames == [
        CanFrame(0x123, b"\xde\xad\xbe\xef"),
        CanFrame(0x123, b"\x01", extended=True),
        CanFrame(0x5A1, b"", remote=True),
        CanFrame(0x7FF, b""),
    ]
