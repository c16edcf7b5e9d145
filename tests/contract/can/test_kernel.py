"""What only a kernel's CAN shows: interfaces that go, a full transmit queue, limits of filters, error frames."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import can
import pytest

from taktora.can import CanErrorClass, CanErrorFrame, CanFilter, CanFrame, CanIfaceState
from taktora.can.rawsocket import RECEIVE_BUFFER_BYTES
from taktora.can.socketcan import SocketCanInterface
from taktora.errors import BackPressure, LinkDown, StackError
from taktora_hil.rig_can import CanRig
from tests.contract.can.interface_checks import Received
from tests.patience import PATIENCE_S
from tests.real_can import Fence, FencedInterface, needs_command, send_raw, wait_for

pytestmark = [pytest.mark.world("rig")]

_BUS_OFF = 0x20000040
_FDF = 4
"""Mark of CAN FD among the flags, which the kernel puts on such a frame."""
_FRAME = CanFrame(0x123, b"\x01\x02")
_CLOCKS_DIFFER_NS = 20_000_000
"""How far a time stamp may be off: less than the time that the reader stands still."""


class Log(Received):
    """A listener that takes error frames too, and remembers the reasons of states."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[CanErrorFrame] = []
        self.reasons: list[str] = []
        self.lost: list[int] = []

    def on_error_frame(self, frame: CanErrorFrame) -> None:
        self.errors.append(frame)

    def on_receive_overflow(self, lost: int) -> None:
        self.lost.append(lost)

    def on_state(self, state: CanIfaceState, reason: str) -> None:
        super().on_state(state, reason)
        self.reasons.append(reason)


class HeldLog(Log):
    """A listener whose reader stands still, from the first frame until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self.go = threading.Event()

    def on_frame(self, frame: CanFrame) -> None:
        super().on_frame(frame)
        self.reached.set()
        assert self.go.wait(PATIENCE_S)


@contextmanager
def opened(name: str) -> Iterator[tuple[SocketCanInterface, Log]]:
    """Give an open interface and what it reports."""
    interface, log = SocketCanInterface(name), Log()
    interface.open(log)
    try:
        yield interface, log
    finally:
        interface.close()


@contextmanager
def held(name: str, buffer_bytes: int = RECEIVE_BUFFER_BYTES) -> Iterator[tuple[SocketCanInterface, HeldLog]]:
    """Give an open interface whose reader stands still: it has taken one frame, which does not count."""
    interface, log = SocketCanInterface(name, receive_buffer_bytes=buffer_bytes), HeldLog()
    interface.open(log)
    try:
        send_raw(name, 0x7FF)
        assert log.reached.wait(PATIENCE_S)
        log.frames.clear()
        log.stamps.clear()
        yield interface, log
    finally:
        log.go.set()
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


@pytest.mark.verifies("REQ_0602", "REQ_0633")
def test_what_was_received_before_an_interface_went_down_is_handed_over_first(can_rig: CanRig) -> None:
    name = can_rig.interfaces[0]
    with held(name) as (_, log):
        for can_id in (1, 2, 3):
            send_raw(name, can_id)
        can_rig.set_up(name, False)
        log.go.set()
        wait_for(lambda: log.states)

    assert [frame.can_id for frame in log.frames] == [1, 2, 3]
    assert "ENETDOWN" in log.reasons[0]


@pytest.mark.verifies("REQ_0606", "REQ_0602")
@pytest.mark.parametrize(
    ("sent", "room"), [pytest.param(5000, 4096, id="small buffer"), pytest.param(100, 0, id="smallest buffer")]
)
def test_each_frame_of_a_burst_is_received_or_counted_as_lost_once(can_rig: CanRig, sent: int, room: int) -> None:
    name = can_rig.interfaces[0]
    with held(name, room) as (_, log):
        send_raw(name, 0x123, b"12345678", count=sent)
        log.go.set()
        wait_for(lambda: len(log.frames) + sum(log.lost) == sent, "frames are missing")  # and the bus stays quiet
        send_raw(name, 0x124)
        wait_for(lambda: log.frames[-1].can_id == 0x124)

    assert log.lost
    assert all(lost > 0 for lost in log.lost)
    assert len(log.frames) - 1 + sum(log.lost) == sent


@pytest.mark.verifies("REQ_0606", "REQ_0602")
def test_the_receive_buffer_holds_a_second_of_a_busy_bus(can_rig: CanRig) -> None:
    name, frames = can_rig.interfaces[0], 5000
    with held(name) as (_, log):
        send_raw(name, 0x123, b"12345678", count=frames)
        log.go.set()
        wait_for(lambda: len(log.frames) + sum(log.lost) == frames)

    assert log.lost == []


@pytest.mark.verifies("REQ_0602")
def test_time_stamps_are_of_the_frames_arrival_and_in_order(can_rig: CanRig) -> None:
    name = can_rig.interfaces[0]
    with held(name) as (_, log):
        begin_ns = time.monotonic_ns()
        send_raw(name, 0x123, count=100)
        end_ns = time.monotonic_ns()
        time.sleep(0.2)  # the reader comes late
        log.go.set()
        wait_for(lambda: len(log.frames) == 100)

    stamps = [begin_ns - _CLOCKS_DIFFER_NS, *log.stamps, end_ns + _CLOCKS_DIFFER_NS]
    assert all(one <= other for one, other in pairwise(stamps)), stamps


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


@pytest.mark.verifies("REQ_0602")
def test_opening_and_closing_leaves_no_socket_and_no_thread(can_rig: CanRig) -> None:
    threads, files = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

    for _ in range(20):
        with opened(can_rig.interfaces[0]) as (interface, _):
            interface.send(_FRAME)

    assert threading.active_count() == threads
    assert len(list(Path("/proc/self/fd").iterdir())) == files


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


@pytest.mark.verifies("REQ_0611", "REQ_0602")
def test_the_mtu_of_an_interface_says_whether_it_carries_can_fd(can_rig: CanRig) -> None:
    name = can_rig.interfaces[0]

    fd = SocketCanInterface(name).carries_fd
    can_rig.carry_fd(name, False)
    with opened(name) as (interface, _):
        classical = interface.carries_fd
        with pytest.raises(StackError, match=f"{name}.*EINVAL.*ip link set {name} mtu 72"):
            interface.send(_FRAME._replace(fd=True))
        interface.send(_FRAME)

    assert (fd, classical, SocketCanInterface("taktora-none").carries_fd) == (True, False, True)


@pytest.mark.verifies("REQ_0611", "REQ_0614")
def test_python_can_and_we_understand_each_other_in_can_fd(can_rig: CanRig) -> None:
    name = can_rig.interfaces[0]
    with opened(name) as (interface, log), can.Bus(interface="socketcan", channel=name, fd=True) as peer:
        interface.send(CanFrame(0x18FEF100, bytes(range(48)), extended=True, fd=True, brs=True))
        received = peer.recv(PATIENCE_S)
        peer.send(can.Message(arbitration_id=0x7F, data=bytes(12), is_extended_id=False, is_fd=True))
        wait_for(lambda: log.frames)

    assert received is not None
    assert (received.arbitration_id, received.is_extended_id, received.is_fd) == (0x18FEF100, True, True)
    assert (received.bitrate_switch, received.error_state_indicator) == (True, False)
    assert bytes(received.data) == bytes(range(48))
    assert log.frames == [CanFrame(0x7F, bytes(12), fd=True)]


@pytest.mark.verifies("REQ_0602", "REQ_0613", "REQ_8505", "REQ_8506")
def test_candump_records_what_is_sent(tmp_path: Path) -> None:
    needs_command("candump", "can-utils")
    frames = [
        CanFrame(0x123, b"\x01\x02\x03"),
        CanFrame(0x1FFFFFFF, bytes(8), extended=True),
        CanFrame(0x100, b"", remote=True, dlc=4),
        CanFrame(0x200, b""),
        CanFrame(0x123, b"\x11\x22\x33\x44", fd=True),
        CanFrame(0x124, bytes(12), fd=True, brs=True),
        CanFrame(0x1FFFFFFF, b"\xff" * 64, extended=True, fd=True, brs=True, esi=True),
    ]
    with CanRig(1, record=tmp_path) as rig, opened(rig.interfaces[0]) as (interface, _):
        for frame in frames:
            interface.send(frame)

    lines = (tmp_path / f"{interface.name}.log").read_text(encoding="utf-8").splitlines()
    classical = ["123#010203", "1FFFFFFF#0000000000000000", "100#R4", "200#"]
    fd = [f"123##{_FDF:X}11223344", f"124##{_FDF | 1:X}{'00' * 12}", f"1FFFFFFF##{_FDF | 3:X}{'FF' * 64}"]
    assert [line.split()[1:] for line in lines] == [[interface.name, text] for text in classical + fd]


@pytest.mark.verifies("REQ_0602", "REQ_0614")
def test_what_cansend_sends_is_received(can_rig: CanRig) -> None:
    needs_command("cansend", "can-utils")
    name = can_rig.interfaces[0]
    with opened(name) as (_, log):
        for text in (
            "123#DEADBEEF",
            "00000123#01",
            "5A1#R",
            "7FF#",
            "123##1112233",
            "00000123##2",
            "123##0" + "AB" * 64,
        ):
            subprocess.run(["cansend", name, text], check=True, timeout=PATIENCE_S)
        wait_for(lambda: len(log.frames) == 7, f"received {log.frames}")

    assert log.frames == [
        CanFrame(0x123, b"\xde\xad\xbe\xef"),
        CanFrame(0x123, b"\x01", extended=True),
        CanFrame(0x5A1, b"", remote=True),
        CanFrame(0x7FF, b""),
        CanFrame(0x123, b"\x11\x22\x33", fd=True, brs=True),
        CanFrame(0x123, b"", extended=True, fd=True, esi=True),
        CanFrame(0x123, b"\xab" * 64, fd=True),
    ]


@pytest.mark.verifies("REQ_0602", "REQ_0611", "REQ_0614")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param(("-L", "8"), CanFrame(0x42A, bytes((0xAA,)) * 8), id="classical"),
        pytest.param(("-f", "-L", "64"), CanFrame(0x42A, bytes((0xAA,)) * 64, fd=True), id="CAN FD"),
        pytest.param(("-b", "-L", "9"), CanFrame(0x42A, bytes((0xAA,)) * 12, fd=True, brs=True), id="bit rate switch"),
        pytest.param(("-e", "-L", "2"), CanFrame(0x42A, bytes((0xAA,)) * 2, extended=True), id="29 bit"),
    ],
)
def test_what_cangen_makes_is_received(can_rig: CanRig, options: tuple[str, ...], expected: CanFrame) -> None:
    needs_command("cangen", "can-utils")
    name = can_rig.interfaces[0]
    with opened(name) as (_, log):
        command = ["cangen", name, "-g", "0", "-n", "50", "-I", "42A", "-D", "AA" * 64, *options]
        subprocess.run(command, check=True, timeout=PATIENCE_S)
        wait_for(lambda: len(log.frames) == 50, f"received {log.frames}")

    assert log.frames == [expected] * 50
