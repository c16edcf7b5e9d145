"""The SocketCAN back-end over sockets that answer as the kernel's would."""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import can
import pytest

from taktora.can import (
    CanConnector,
    CanConnectorOptions,
    CanErrorClass,
    CanErrorFrame,
    CanFilter,
    CanFrame,
    CanIface,
    CanIfaceState,
)
from taktora.can import socketcan as socketcan_module
from taktora.can.rawsocket import BATCH, RECEIVE_BUFFER_BYTES
from taktora.can.socketcan import SocketCanInterface, open_bus, open_text
from taktora.connector import ConnectorGateway, Down
from taktora.errors import BackPressure, LinkDown, PayloadOverflow, StackError
from taktora.executor import TaskFailed
from taktora.runtime import Runtime
from tests.patience import PATIENCE_S
from tests.unit.can.fake_bus import FakeBus, FakeSocket, FakeWire
from tests.unit.can.support import BytesCodec

_CIVIL_NS = 1_700_000_000_000_000_000


class Log:
    """A listener that remembers, and on which thread it was called."""

    def __init__(self) -> None:
        self.frames: list[CanFrame] = []
        self.errors: list[CanErrorFrame] = []
        self.states: list[tuple[CanIfaceState, str]] = []
        self.failures: list[BaseException] = []
        self.lost: list[int] = []
        self.threads: set[str] = set()

    def on_frame(self, frame: CanFrame) -> None:
        self.threads.add(threading.current_thread().name)
        self.frames.append(frame)

    def on_error_frame(self, frame: CanErrorFrame) -> None:
        self.errors.append(frame)

    def on_receive_overflow(self, lost: int) -> None:
        self.lost.append(lost)

    def on_state(self, state: CanIfaceState, reason: str) -> None:
        self.states.append((state, reason))

    def on_failure(self, error: BaseException) -> None:
        self.failures.append(error)


class Clock:
    """Two clocks that stand until somebody sets them; the monotonic one is behind the civil one."""

    def __init__(self) -> None:
        self.mono_ns = 5_000_000_000
        self.civil_ns = _CIVIL_NS

    def now_ns(self) -> int:
        return self.mono_ns

    def unix_ns(self) -> int:
        return self.civil_ns


class Rig:
    """An interface on a wire, the bus behind it and a second socket."""

    def __init__(self) -> None:
        self.wire = FakeWire()
        self.bus = FakeBus(self.wire)
        self.socket = self.bus.socket
        self.peer = FakeSocket(self.wire)
        self.log = Log()
        self.clock = Clock()
        self.interface = SocketCanInterface("can0", make_bus=lambda _name: self.bus)

    def close(self) -> None:
        self.interface.close()
        self.peer.close()
        self.bus.shutdown()


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()


def _wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"nothing happened within {PATIENCE_S} s"
        time.sleep(0.002)


def _raw(word: int, data: bytes = b"", *, size: int = 16) -> bytes:
    """Return a frame of ``size`` bytes, put together as in linux/can.h."""
    return (struct.pack("=IB3x", word, len(data)) + data).ljust(size, b"\0")


def _refusal(code: int) -> OSError:
    return OSError(code, os.strerror(code))


@pytest.mark.verifies("REQ_0602", "REQ_0613", "REQ_0615")
@pytest.mark.parametrize(
    ("frame", "raw"),
    [
        pytest.param(CanFrame(0x123, b"\x01\x02"), _raw(0x123, b"\x01\x02"), id="standard"),
        pytest.param(CanFrame(0x123, b"12345678", extended=True), _raw(0x80000123, b"12345678"), id="extended"),
        pytest.param(CanFrame(0x7FF, b"", remote=True, dlc=4), struct.pack("=IB11x", 0x400007FF, 4), id="remote"),
        pytest.param(CanFrame(0x123, b"x" * 12, fd=True), _raw(0x123, b"x" * 12, size=72), id="CAN FD"),
    ],
)
def test_a_frame_reaches_the_wire_as_it_is(rig: Rig, frame: CanFrame, raw: bytes) -> None:
    rig.interface.open(rig.log)

    rig.interface.send(frame)

    assert rig.socket.sent == [raw]


@pytest.mark.verifies("REQ_0602", "REQ_0605", "REQ_0614")
def test_a_received_frame_comes_from_the_reader_thread(rig: Rig) -> None:
    rig.interface.open(rig.log)

    rig.peer.send(_raw(0x98FEF100, b"abc"), 0)
    _wait_for(lambda: rig.log.frames)

    frame = rig.log.frames[0]
    assert (frame.can_id, frame.data, frame.extended) == (0x18FEF100, b"abc", True)
    assert rig.log.threads == {"taktora-can-can0"}


@pytest.mark.verifies("REQ_0602", "REQ_0611", "REQ_0631")
def test_one_socket_is_told_to_take_both_kinds_of_frame_and_all_error_frames(rig: Rig) -> None:
    rig.interface.open(rig.log)

    raw_options = {option: value for (level, option), value in rig.socket.options.items() if level == 101}
    assert raw_options == {5: 1, 2: 0x1FFFFFFF, 3: 1, 4: 0}
    assert rig.socket.options[1, 33] == RECEIVE_BUFFER_BYTES


@pytest.mark.verifies("REQ_0602")
def test_own_messages_and_loopback_are_as_asked(rig: Rig) -> None:
    interface = SocketCanInterface("can0", make_bus=lambda _name: rig.bus, receive_own=True, loopback=False)
    interface.open(rig.log)
    interface.close()

    assert (rig.socket.options[101, 3], rig.socket.options[101, 4]) == (0, 1)


@pytest.mark.verifies("REQ_0602")
def test_without_privilege_the_receive_buffer_is_what_everybody_may_have(rig: Rig) -> None:
    rig.socket.refused[1, 33] = errno.EPERM

    rig.interface.open(rig.log)

    assert rig.socket.options[1, 8] == RECEIVE_BUFFER_BYTES


@pytest.mark.verifies("REQ_0602", "REQ_0631")
@pytest.mark.parametrize(
    ("option", "what"),
    [
        pytest.param((101, 5), "CAN_RAW_FD_FRAMES", id="CAN FD"),
        pytest.param((101, 2), "CAN_RAW_ERR_FILTER", id="error frames"),
        pytest.param((101, 3), "CAN_RAW_LOOPBACK", id="loopback"),
        pytest.param((101, 4), "CAN_RAW_RECV_OWN_MSGS", id="own messages"),
        pytest.param((1, 35), "SO_TIMESTAMPNS", id="time stamps"),
        pytest.param((1, 33), "receive buffer", id="receive buffer"),
        pytest.param((1, 55), "SO_MEMINFO", id="count of lost frames"),
    ],
)
def test_an_option_that_the_kernel_refuses_is_told_and_closes_the_socket(
    rig: Rig, option: tuple[int, int], what: str
) -> None:
    rig.socket.refused[option] = errno.ENOPROTOOPT

    with pytest.raises(StackError, match=f"'can0'.*{what}.*Protocol not available"):
        rig.interface.open(rig.log)

    assert rig.bus.was_shut_down
    assert rig.interface.state is CanIfaceState.CLOSED


@pytest.mark.verifies("REQ_0631", "REQ_0633")
def test_an_error_frame_keeps_its_classes_and_bus_off_stops_sending(rig: Rig) -> None:
    rig.interface.open(rig.log)

    rig.wire.put(_raw(0x20000240, bytes((0, 0, 0, 0, 0, 0, 255, 7))))
    _wait_for(lambda: rig.log.errors)

    assert rig.log.errors[0].classes == CanErrorClass.BUS_OFF | CanErrorClass.COUNTERS
    assert rig.log.errors[0].data == bytes((0, 0, 0, 0, 0, 0, 255, 7))
    with pytest.raises(LinkDown, match="bus-off"):
        rig.interface.send(CanFrame(1, b""))


@pytest.mark.verifies("REQ_0622")
def test_filters_go_to_the_kernel_in_one_call_and_an_empty_list_is_empty(rig: Rig) -> None:
    rig.interface.open(rig.log)
    rig.socket.calls.clear()

    rig.interface.set_filters([CanFilter(0x123, 0xC00007FF), CanFilter(0x80000001, 0xDFFFFFFF)])
    rig.interface.set_filters([])

    packed = b"".join(word.to_bytes(4, sys.byteorder) for word in (0x123, 0xC00007FF, 0x80000001, 0xDFFFFFFF))
    assert rig.socket.calls == [(101, 1, packed), (101, 1, b"")]


@pytest.mark.verifies("REQ_0622")
def test_filters_that_the_kernel_refuses_are_told(rig: Rig) -> None:
    rig.interface.open(rig.log)
    rig.socket.refused[101, 1] = errno.EINVAL

    with pytest.raises(StackError, match=r"'can0'.*1 filters.*Invalid argument"):
        rig.interface.set_filters([CanFilter(1, 1)])


@pytest.mark.verifies("REQ_0607")
def test_a_full_transmit_queue_is_back_pressure_and_room_is_told(rig: Rig) -> None:
    told = threading.Event()
    rig.interface.on_transmit_ready(told.set)
    rig.interface.open(rig.log)
    rig.socket.send_errors.append(_refusal(errno.ENOBUFS))

    with pytest.raises(BackPressure, match="ENOBUFS"):
        rig.interface.send(CanFrame(1, b""))

    assert told.wait(PATIENCE_S)
    rig.interface.send(CanFrame(1, b""))


@pytest.mark.verifies("REQ_0607")
def test_room_is_told_on_a_bus_where_nobody_else_sends(rig: Rig) -> None:
    told = threading.Event()
    rig.interface.on_transmit_ready(told.set)
    rig.interface.open(rig.log)

    for code in (errno.ENOBUFS, errno.EAGAIN, errno.ENOBUFS):
        told.clear()
        rig.socket.send_errors.append(_refusal(code))
        with pytest.raises(BackPressure):
            rig.interface.send(CanFrame(1, b""))
        assert told.wait(PATIENCE_S)

    assert rig.socket.reads == 0  # no reception has helped


@pytest.mark.verifies("REQ_0296")
def test_a_defect_in_what_is_told_of_room_ends_the_run_and_is_not_swallowed(rig: Rig) -> None:
    def broken() -> None:
        raise RuntimeError("a defect")

    rig.interface.on_transmit_ready(broken)
    rig.interface.open(rig.log)
    rig.socket.send_errors.append(_refusal(errno.ENOBUFS))

    with pytest.raises(BackPressure):
        rig.interface.send(CanFrame(1, b""))

    _wait_for(lambda: rig.log.failures)
    assert [str(error) for error in rig.log.failures] == ["a defect"]


@pytest.mark.verifies("REQ_0602")
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        pytest.param(errno.ENETDOWN, LinkDown, id="interface down"),
        pytest.param(errno.ENODEV, LinkDown, id="interface gone"),
        pytest.param(errno.ENXIO, LinkDown, id="interface gone for long"),
        pytest.param(errno.EINVAL, StackError, id="anything else"),
    ],
)
def test_a_failed_send_names_the_interface_and_the_cause(rig: Rig, code: int, expected: type[Exception]) -> None:
    rig.interface.open(rig.log)
    rig.socket.send_errors.append(_refusal(code))

    with pytest.raises(expected, match=f"'can0'.*{os.strerror(code)}.*{errno.errorcode[code]}"):
        rig.interface.send(CanFrame(1, b""))


@pytest.mark.verifies("REQ_0602", "REQ_0611")
def test_a_classical_interface_refuses_can_fd_and_the_way_out_is_told(rig: Rig) -> None:
    rig.wire.mtu = 16
    rig.interface.open(rig.log)

    with pytest.raises(StackError, match=r"'can0'.*EINVAL.*ip link set can0 mtu 72.*dbitrate 2000000 fd on"):
        rig.interface.send(CanFrame(1, b"", fd=True))


@pytest.mark.verifies("REQ_0611", "REQ_0612", "REQ_0613")
@pytest.mark.parametrize(
    ("frame", "expected", "text"),
    [
        pytest.param(
            CanFrame(1, bytes(9)),
            PayloadOverflow,
            "classical CAN frame on 'can0'; a frame of CAN FD has room for 64",
            id="long classical",
        ),
        pytest.param(CanFrame(1, bytes(65), fd=True), PayloadOverflow, "CAN FD frame on 'can0'", id="long CAN FD"),
        pytest.param(CanFrame(1, bytes(33), fd=True), StackError, "33 bytes; pad them to 48", id="no length of CAN FD"),
        pytest.param(CanFrame(1, b"", remote=True, fd=True), StackError, "no remote frames", id="remote CAN FD"),
    ],
)
def test_a_frame_that_no_bus_carries_is_refused(
    rig: Rig, frame: CanFrame, expected: type[Exception], text: str
) -> None:
    rig.interface.open(rig.log)

    with pytest.raises(expected, match=text):
        rig.interface.send(frame)

    assert rig.socket.sent == []


@pytest.mark.verifies("REQ_0611")
@pytest.mark.parametrize(
    ("mtu", "carries"),
    [
        pytest.param("16\n", False, id="classical"),
        pytest.param("72\n", True, id="CAN FD"),
        pytest.param("2060\n", True, id="CAN XL"),
        pytest.param(None, True, id="not there yet"),
    ],
)
def test_the_mtu_says_whether_an_interface_carries_can_fd(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mtu: str | None, carries: bool
) -> None:
    monkeypatch.setattr(socketcan_module, "_NETWORK", tmp_path)
    if mtu is not None:
        (tmp_path / "can0").mkdir()
        (tmp_path / "can0/mtu").write_text(mtu, encoding="ascii")

    before = rig.interface.carries_fd
    rig.interface.open(rig.log)

    assert (before, rig.interface.carries_fd) == (carries, carries)


@pytest.mark.verifies("REQ_0602")
def test_one_end_of_a_pair_whose_other_end_is_down_has_no_controller_that_is_bus_off(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(socketcan_module, "_NETWORK", tmp_path)
    (tmp_path / "can0").mkdir()
    for file, text in {"carrier": "0", "ifindex": "7", "iflink": "6"}.items():
        (tmp_path / "can0" / file).write_text(f"{text}\n", encoding="ascii")

    rig.interface.open(rig.log)

    assert rig.interface.state is CanIfaceState.ACTIVE


@pytest.mark.verifies("REQ_0633", "REQ_0644")
@pytest.mark.parametrize(
    ("carrier", "state"),
    [
        pytest.param("0\n", CanIfaceState.BUS_OFF, id="bus-off"),
        pytest.param("1\n", CanIfaceState.ACTIVE, id="on the bus"),
        pytest.param(None, CanIfaceState.ACTIVE, id="unknown"),
    ],
)
def test_an_interface_whose_controller_is_bus_off_is_seen_as_such_when_it_is_opened(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, carrier: str | None, state: CanIfaceState
) -> None:
    monkeypatch.setattr(socketcan_module, "_NETWORK", tmp_path)
    if carrier is not None:
        (tmp_path / "can0").mkdir()
        (tmp_path / "can0/carrier").write_text(carrier, encoding="ascii")

    rig.interface.open(rig.log)

    assert rig.interface.state is state


@pytest.mark.verifies("REQ_0611")
def test_an_interface_that_was_set_up_anew_is_seen_as_it_is_now(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socketcan_module, "_NETWORK", tmp_path)
    (tmp_path / "can0").mkdir()
    (tmp_path / "can0/mtu").write_text("16\n", encoding="ascii")
    rig.interface.open(rig.log)
    rig.interface.close()

    (tmp_path / "can0/mtu").write_text("72\n", encoding="ascii")

    assert rig.interface.carries_fd


@pytest.mark.verifies("REQ_0602")
def test_time_stamps_are_the_kernels_on_the_runtimes_clock(rig: Rig) -> None:
    interface = SocketCanInterface("can0", rig.clock, make_bus=lambda _name: rig.bus)
    interface.open(rig.log)
    rig.clock.mono_ns += 1_000_000_000
    rig.clock.civil_ns += 1_000_000_000

    for _ in range(3):
        rig.wire.put(_raw(1))
    rig.bus.settle()
    interface.close()

    stamps = [frame.timestamp_ns for frame in rig.log.frames]
    assert stamps == [5_000_001_000, 5_000_002_000, 5_000_003_000]


@pytest.mark.verifies("REQ_0602")
@pytest.mark.parametrize(
    "step_ns", [pytest.param(3_600_000_000_000, id="forward"), pytest.param(-3_600_000_000_000, id="back")]
)
def test_a_civil_clock_that_is_set_moves_no_time_stamp(rig: Rig, step_ns: int) -> None:
    interface = SocketCanInterface("can0", rig.clock, make_bus=lambda _name: rig.bus)
    interface.open(rig.log)
    rig.wire.put(_raw(1))
    rig.bus.settle()

    rig.clock.mono_ns += 1_000_000
    rig.clock.civil_ns += 1_000_000 + step_ns
    rig.wire.civil_ns = rig.clock.civil_ns - 5_000
    rig.wire.put(_raw(2))
    rig.bus.settle()
    interface.close()

    assert [frame.timestamp_ns for frame in rig.log.frames] == [5_000_000_000, 5_000_996_000]


@pytest.mark.verifies("REQ_0602")
def test_frames_stamped_before_the_civil_clock_was_set_stay_between_their_neighbours_and_now(rig: Rig) -> None:
    interface = SocketCanInterface("can0", rig.clock, make_bus=lambda _name: rig.bus)
    hold = _Hold(rig.log)
    interface.open(hold)
    rig.wire.put(_raw(1))
    assert hold.reached.wait(PATIENCE_S)
    for civil_ns in (_CIVIL_NS - 10**12, _CIVIL_NS + 10**12, _CIVIL_NS):
        rig.wire.civil_ns = civil_ns
        rig.wire.put(_raw(2))
    hold.go.set()
    rig.bus.settle()
    interface.close()

    stamps = [frame.timestamp_ns for frame in rig.log.frames]
    assert len(stamps) == 4
    assert all(one <= other for one, other in pairwise(stamps))
    assert stamps[-1] <= rig.clock.mono_ns


class _Hold(Log):
    """A listener that stops at the first frame until it is let go."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self.frames, self.lost, self.states = log.frames, log.lost, log.states
        self.reached = threading.Event()
        self.go = threading.Event()

    def on_frame(self, frame: CanFrame) -> None:
        super().on_frame(frame)
        self.reached.set()
        assert self.go.wait(PATIENCE_S)


@pytest.mark.verifies("REQ_0606", "REQ_0602")
@pytest.mark.parametrize("room", [pytest.param(3, id="few"), pytest.param(3 * BATCH, id="more than a batch")])
def test_each_loss_is_told_once_and_the_bus_may_be_quiet_then(rig: Rig, room: int) -> None:
    hold = _Hold(rig.log)
    rig.interface.open(hold)
    rig.peer.send(_raw(0), 0)
    assert hold.reached.wait(PATIENCE_S)
    rig.socket.room = room

    for number in range(room + 40):
        rig.peer.send(_raw(number), 0)
    hold.go.set()
    _wait_for(lambda: rig.log.lost)
    rig.socket.room = None
    rig.peer.send(_raw(1), 0)
    rig.bus.settle()

    assert rig.log.lost == [40]
    assert len(rig.log.frames) == 1 + room + 1


class _Endless(Log):
    """A listener that is never without a next frame, until it has heard of a loss or given up."""

    def __init__(self, rig: Rig) -> None:
        super().__init__()
        self._rig = rig

    def on_frame(self, frame: CanFrame) -> None:
        super().on_frame(frame)
        self._rig.socket.lost = 5
        if not self.lost and len(self.frames) < 10 * BATCH:
            self._rig.peer.send(_raw(1), 0)


@pytest.mark.verifies("REQ_0606", "REQ_0602")
def test_losses_are_told_while_frames_never_end(rig: Rig) -> None:
    endless = _Endless(rig)
    rig.interface.open(endless)

    rig.peer.send(_raw(1), 0)
    _wait_for(lambda: endless.lost or len(endless.frames) >= 10 * BATCH)

    assert endless.lost == [5]
    assert len(endless.frames) <= BATCH + 1


@pytest.mark.verifies("REQ_0606", "REQ_0602")
def test_what_was_lost_before_the_socket_came_to_us_is_not_ours(rig: Rig) -> None:
    rig.socket.lost = 7

    rig.interface.open(rig.log)
    for _ in range(2):
        rig.peer.send(_raw(1), 0)
    rig.bus.settle()

    assert rig.log.lost == []


@pytest.mark.verifies("REQ_0602", "REQ_0633")
def test_an_interface_that_goes_down_keeps_nothing_back_of_what_was_received_and_lost(rig: Rig) -> None:
    hold = _Hold(rig.log)
    rig.interface.open(hold)
    rig.peer.send(_raw(0), 0)
    assert hold.reached.wait(PATIENCE_S)
    rig.socket.room = 2
    for number in range(1, 6):
        rig.peer.send(_raw(number), 0)
    rig.socket.fail(_refusal(errno.ENODEV))
    rig.socket.fail(_refusal(errno.ENETDOWN))

    hold.go.set()
    _wait_for(lambda: rig.log.states)

    assert [frame.can_id for frame in rig.log.frames] == [0, 1, 2]
    assert rig.log.lost == [3]
    assert rig.log.states == [(CanIfaceState.DOWN, "Network is down [ENETDOWN]")]


@pytest.mark.verifies("REQ_0633")
def test_a_receive_error_is_reported_once_as_down(rig: Rig) -> None:
    rig.socket.fail(_refusal(errno.ENETDOWN))

    rig.interface.open(rig.log)
    _wait_for(lambda: rig.log.states)

    assert [state for state, _ in rig.log.states] == [CanIfaceState.DOWN]
    assert "ENETDOWN" in rig.log.states[0][1]
    assert rig.interface.state is CanIfaceState.DOWN


@pytest.mark.verifies("REQ_0605", "REQ_0296")
def test_a_defect_in_the_listener_is_handed_on_as_it_is(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_frame: CanFrame) -> None:
        raise OSError(errno.ENETDOWN, "listener bug")  # not the socket's

    monkeypatch.setattr(rig.log, "on_frame", fail)
    rig.interface.open(rig.log)

    rig.peer.send(_raw(1), 0)
    _wait_for(lambda: rig.log.failures)

    assert [str(failure) for failure in rig.log.failures] == ["[Errno 100] listener bug"]
    assert rig.log.states == []
    assert rig.interface.state is CanIfaceState.DOWN


@pytest.mark.verifies("REQ_0296")
def test_a_defect_while_sending_is_no_refusal(rig: Rig) -> None:
    rig.interface.open(rig.log)
    rig.socket.send_errors.append(ZeroDivisionError("planted"))

    with pytest.raises(ZeroDivisionError, match="planted"):
        rig.interface.send(CanFrame(1, b""))


@pytest.mark.verifies("REQ_0296")
@pytest.mark.parametrize(
    ("defect", "text"),
    [
        pytest.param(ZeroDivisionError("planted"), "ZeroDivisionError: planted", id="exception"),
        pytest.param(SystemExit(3), "a worker of the stack ended by SystemExit(3)", id="exit"),
    ],
)
def test_a_defect_in_the_reader_thread_is_down_and_ends_the_gateways_run(
    rig: Rig, defect: BaseException, text: str
) -> None:
    runtime = Runtime.system(transport="inprocess")
    options = CanConnectorOptions(ifaces=(CanIface("can0"),))
    connector = CanConnector(runtime, options, [rig.interface], BytesCodec())
    gateway = ConnectorGateway.builder(runtime, "gw").build()
    gateway.register(connector)
    rig.socket.fail(defect)

    with pytest.raises(TaskFailed) as caught:
        gateway.run()

    health = connector.health()
    assert text in f"{type(caught.value.__cause__).__name__}: {caught.value.__cause__}"
    assert isinstance(health, Down)
    assert text in str(health.reason)
    assert rig.bus.was_shut_down
    runtime.close()


def _own_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("taktora-can-can0")]


@pytest.mark.verifies("REQ_0602")
def test_closing_ends_the_threads_and_may_be_repeated(rig: Rig) -> None:
    rig.interface.open(rig.log)

    rig.interface.close()
    rig.interface.close()

    assert _own_threads() == []
    assert rig.bus.was_shut_down


@pytest.mark.verifies("REQ_0602", "REQ_0605")
def test_the_reader_waits_for_the_socket_or_the_end_and_never_looks_up_by_time(rig: Rig) -> None:
    rig.interface.open(rig.log)
    time.sleep(0.05)  # one that looks up by time would do so now
    looks = rig.socket.reads

    for can_id in (1, 2):
        rig.peer.send(_raw(can_id), 0)
        rig.bus.settle()
    rig.interface.close()

    assert [frame.can_id for frame in rig.log.frames] == [1, 2]
    assert looks == 0


@pytest.mark.verifies("REQ_0602")
def test_a_listener_may_close_the_interface_from_the_readers_thread(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig.log, "on_frame", lambda _frame: rig.interface.close())
    rig.interface.open(rig.log)

    rig.peer.send(_raw(1), 0)
    _wait_for(lambda: rig.bus.was_shut_down and not _own_threads())

    assert rig.log.failures == []
    assert rig.log.states == []


@pytest.mark.verifies("REQ_0602")
def test_nothing_is_handed_over_after_the_end(rig: Rig) -> None:
    hold = _Hold(rig.log)
    rig.interface.open(hold)
    for number in range(3):
        rig.peer.send(_raw(number), 0)
    assert hold.reached.wait(PATIENCE_S)

    closing = threading.Thread(target=rig.interface.close)
    closing.start()
    _wait_for(lambda: "taktora-can-can0-room" not in _own_threads())  # it has heard of the end
    hold.go.set()
    closing.join(PATIENCE_S)

    assert [frame.can_id for frame in rig.log.frames] == [0]
    assert _own_threads() == []


@pytest.mark.verifies("REQ_0602")
@pytest.mark.parametrize(
    ("code", "way_out"),
    [
        pytest.param(errno.EAFNOSUPPORT, "no CAN", id="no AF_CAN"),
        pytest.param(errno.ENODEV, "no such CAN interface", id="no interface"),
        pytest.param(errno.ENETDOWN, "ip link set can7 up", id="down"),
        pytest.param(errno.EPERM, "CAP_NET_RAW", id="permission"),
        pytest.param(errno.EIO, "cannot be opened", id="other"),
    ],
)
def test_an_interface_that_cannot_be_opened_names_the_way_out(code: int, way_out: str) -> None:
    def refuse(_name: str) -> Any:
        raise OSError(code, "as the kernel says")

    interface = SocketCanInterface("can7", make_bus=refuse)

    with pytest.raises(StackError, match=f"can7.*{way_out}.*as the kernel says"):
        interface.open(Log())
    assert interface.state is CanIfaceState.CLOSED


@pytest.mark.verifies("REQ_0602")
def test_an_interface_that_does_not_exist_is_refused_by_this_kernel() -> None:
    with pytest.raises(StackError, match="taktora-none"):
        SocketCanInterface("taktora-none").open(Log())


@pytest.mark.verifies("REQ_0602")
def test_a_local_network_interface_is_no_can_interface() -> None:
    if not hasattr(socket, "AF_CAN"):
        assert "AF_CAN" in open_text("lo", OSError(errno.EAFNOSUPPORT, ""))
        return
    with pytest.raises(StackError, match="'lo'"):
        SocketCanInterface("lo").open(Log())


@pytest.mark.verifies("REQ_0603", "REQ_0602")
def test_python_can_opens_the_bus_and_reads_no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(can, "Bus", lambda **arguments: asked.append(arguments))
    monkeypatch.setattr(socketcan_module, "_probe", lambda _name: None)

    open_bus("taktora-none")

    assert asked == [{"interface": "socketcan", "channel": "taktora-none", "fd": True, "ignore_config": True}]


@pytest.mark.verifies("REQ_0602")
def test_what_python_can_says_of_a_bus_that_does_not_open_keeps_its_errno(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_arguments: object) -> None:
        raise can.CanInitializationError("no", errno.ENODEV)

    monkeypatch.setattr(can, "Bus", refuse)
    monkeypatch.setattr(socketcan_module, "_probe", lambda _name: None)

    with pytest.raises(StackError, match=r"'taktora-none'.*no such CAN interface"):
        SocketCanInterface("taktora-none").open(Log())


@pytest.mark.realizes("TEST_0511")
def test_without_the_extra_the_package_and_the_mock_work_and_load_no_python_can() -> None:
    script = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"can", "cantools"}:
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
import taktora.can, taktora.can.socketcan, taktora.codec.dbc
from taktora.can import CanFrame
from taktora.testing.mock_can import MockCanInterface
class Listener:
    def on_frame(self, frame): print("received", frame.can_id)
interface = MockCanInterface(receive_own=True)
interface.open(Listener())
interface.send(CanFrame(7, b""))
assert "can" not in sys.modules
try:
    taktora.can.socketcan.SocketCanInterface("can0").open(Listener())
except taktora.errors.ConfigurationError as error:
    print(error)
"""

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )

    assert done.stderr == ""
    assert "received 7" in done.stdout
    assert "pip install 'taktora[can]', or 'taktora[all]' for everything" in done.stdout


@pytest.mark.realizes("TEST_0511")
def test_with_the_extra_the_real_driver_can_be_built() -> None:
    interface = SocketCanInterface("can0")

    assert interface.state is CanIfaceState.CLOSED
