"""The SocketCAN back-end over python-can's virtual bus and a socket that answers as the kernel would."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
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
from taktora.can.socketcan import SocketCanInterface, open_text
from taktora.connector import ConnectorGateway, Down
from taktora.errors import BackPressure, LinkDown, StackError
from taktora.executor import TaskFailed
from taktora.runtime import Runtime
from tests.patience import PATIENCE_S
from tests.unit.can.fake_bus import FakeBus
from tests.unit.can.support import BytesCodec

_channels = count()


class Log:
    """A listener that remembers, and on which thread it was called."""

    def __init__(self) -> None:
        self.frames: list[CanFrame] = []
        self.errors: list[CanErrorFrame] = []
        self.states: list[tuple[CanIfaceState, str]] = []
        self.failures: list[BaseException] = []
        self.threads: set[str] = set()

    def on_frame(self, frame: CanFrame) -> None:
        self.threads.add(threading.current_thread().name)
        self.frames.append(frame)

    def on_error_frame(self, frame: CanErrorFrame) -> None:
        self.errors.append(frame)

    def on_receive_overflow(self, lost: int) -> None:
        raise AssertionError(f"{lost} frames lost unread")

    def on_state(self, state: CanIfaceState, reason: str) -> None:
        self.states.append((state, reason))

    def on_failure(self, error: BaseException) -> None:
        self.failures.append(error)


class Rig:
    """An interface on a virtual channel, the bus behind it and a second node."""

    def __init__(self) -> None:
        self.channel = f"taktora-{next(_channels)}"
        self.bus = FakeBus(self.channel)
        self.peer = can.Bus(interface="virtual", channel=self.channel)
        self.log = Log()
        self.interface = SocketCanInterface("can0", make_bus=lambda _name: self.bus)

    def close(self) -> None:
        self.interface.close()
        self.peer.shutdown()
        if not self.bus.was_shut_down:
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


@pytest.mark.verifies("REQ_0602", "REQ_0613", "REQ_0615")
@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(CanFrame(0x123, b"\x01\x02"), id="standard"),
        pytest.param(CanFrame(0x123, b"12345678", extended=True), id="extended"),
        pytest.param(CanFrame(0x7FF, b"", remote=True, dlc=4), id="remote"),
    ],
)
def test_a_frame_reaches_the_wire_as_it_is(rig: Rig, frame: CanFrame) -> None:
    rig.interface.open(rig.log)

    rig.interface.send(frame)
    received = rig.peer.recv(PATIENCE_S)

    assert received is not None
    assert (received.arbitration_id, received.is_extended_id, received.is_remote_frame) == (
        frame.can_id,
        frame.extended,
        frame.remote,
    )
    assert (bytes(received.data), received.dlc) == (frame.data, frame.dlc or len(frame.data))


@pytest.mark.verifies("REQ_0602", "REQ_0605", "REQ_0614")
def test_a_received_frame_comes_from_the_reader_thread(rig: Rig) -> None:
    rig.interface.open(rig.log)

    rig.peer.send(can.Message(arbitration_id=0x18FEF100, data=b"abc", is_extended_id=True))
    _wait_for(lambda: rig.log.frames)

    frame = rig.log.frames[0]
    assert (frame.can_id, frame.data, frame.extended) == (0x18FEF100, b"abc", True)
    assert rig.log.threads == {"taktora-can-can0"}


@pytest.mark.verifies("REQ_0631", "REQ_0633")
def test_an_error_frame_keeps_its_classes_and_bus_off_stops_sending(rig: Rig) -> None:
    rig.interface.open(rig.log)

    classes = CanErrorClass.BUS_OFF | CanErrorClass.COUNTERS
    rig.peer.send(can.Message(is_error_frame=True, arbitration_id=int(classes), data=bytes(8), dlc=8))
    _wait_for(lambda: rig.log.errors)

    assert rig.log.errors[0].classes == classes
    with pytest.raises(LinkDown, match="bus-off"):
        rig.interface.send(CanFrame(1, b""))


@pytest.mark.verifies("REQ_0622")
def test_filters_go_to_the_kernel_in_one_call_and_an_empty_list_is_empty(rig: Rig) -> None:
    rig.interface.open(rig.log)

    rig.interface.set_filters([CanFilter(0x123, 0xC00007FF), CanFilter(0x80000001, 0xDFFFFFFF)])
    rig.interface.set_filters([])

    packed = b"".join(word.to_bytes(4, sys.byteorder) for word in (0x123, 0xC00007FF, 0x80000001, 0xDFFFFFFF))
    assert rig.bus.socket.options == [(101, 1, packed), (101, 1, b"")]


@pytest.mark.verifies("REQ_0607")
def test_a_full_transmit_queue_is_back_pressure_and_room_is_told(rig: Rig) -> None:
    told = threading.Event()
    rig.interface.on_transmit_ready(told.set)
    rig.interface.open(rig.log)
    rig.bus.send_errors.append(can.CanOperationError("Failed to transmit", errno.ENOBUFS))

    with pytest.raises(BackPressure, match="ENOBUFS"):
        rig.interface.send(CanFrame(1, b""))

    assert told.wait(PATIENCE_S)
    rig.interface.send(CanFrame(1, b""))


@pytest.mark.verifies("REQ_0607")
def test_room_is_told_on_a_bus_where_nobody_else_sends(rig: Rig) -> None:
    told = threading.Event()
    rig.interface.on_transmit_ready(told.set)
    rig.interface.open(rig.log)

    for _ in range(3):
        told.clear()
        rig.bus.send_errors.append(can.CanOperationError("Failed to transmit", errno.ENOBUFS))
        with pytest.raises(BackPressure):
            rig.interface.send(CanFrame(1, b""))
        assert told.wait(PATIENCE_S)

    assert rig.bus.recv_timeouts == []  # no reception has helped


@pytest.mark.verifies("REQ_0296")
def test_a_defect_in_what_is_told_of_room_ends_the_run_and_is_not_swallowed(rig: Rig) -> None:
    def broken() -> None:
        raise RuntimeError("a defect")

    rig.interface.on_transmit_ready(broken)
    rig.interface.open(rig.log)
    rig.bus.send_errors.append(can.CanOperationError("Failed to transmit", errno.ENOBUFS))

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
        pytest.param(errno.EINVAL, StackError, id="anything else"),
    ],
)
def test_a_failed_send_names_the_interface_and_the_cause(rig: Rig, code: int, expected: type[Exception]) -> None:
    rig.interface.open(rig.log)
    rig.bus.send_errors.append(can.CanOperationError("Failed to transmit", code))

    with pytest.raises(expected, match=f"'can0'.*{errno.errorcode[code]}"):
        rig.interface.send(CanFrame(1, b""))


@pytest.mark.verifies("REQ_0633")
def test_a_receive_error_is_reported_once_as_down(rig: Rig) -> None:
    rig.bus.fail_recv(can.CanOperationError("Failed to receive: Network is down", errno.ENETDOWN))

    rig.interface.open(rig.log)
    _wait_for(lambda: rig.log.states)

    assert [state for state, _ in rig.log.states] == [CanIfaceState.DOWN]
    assert "ENETDOWN" in rig.log.states[0][1]
    assert rig.interface.state is CanIfaceState.DOWN


@pytest.mark.verifies("REQ_0605", "REQ_0296")
def test_a_defect_in_the_listener_is_handed_on_as_it_is(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_frame: CanFrame) -> None:
        raise RuntimeError("listener bug")

    monkeypatch.setattr(rig.log, "on_frame", fail)
    rig.interface.open(rig.log)

    rig.peer.send(can.Message(arbitration_id=1, is_extended_id=False))
    _wait_for(lambda: rig.log.failures)

    assert [repr(failure) for failure in rig.log.failures] == ["RuntimeError('listener bug')"]
    assert rig.log.states == []
    assert rig.interface.state is CanIfaceState.DOWN


@pytest.mark.verifies("REQ_0296")
def test_a_defect_while_sending_is_no_refusal(rig: Rig) -> None:
    rig.interface.open(rig.log)
    rig.bus.send_errors.append(ZeroDivisionError("planted"))

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
    rig.bus.fail_recv(defect)

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
    rig.bus.settle()
    looks = len(rig.bus.recv_timeouts)

    for can_id in (1, 2):
        rig.peer.send(can.Message(arbitration_id=can_id, is_extended_id=False))
        rig.bus.settle()
    rig.interface.close()

    assert [frame.can_id for frame in rig.log.frames] == [1, 2]
    assert looks == 1  # what settle has put there
    assert rig.bus.recv_timeouts == [0] * 5  # two frames and three times settle: each look was for something


@pytest.mark.verifies("REQ_0602")
def test_a_listener_may_close_the_interface_from_the_readers_thread(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig.log, "on_frame", lambda _frame: rig.interface.close())
    rig.interface.open(rig.log)

    rig.peer.send(can.Message(arbitration_id=1, is_extended_id=False))
    _wait_for(lambda: rig.bus.was_shut_down and not _own_threads())

    assert rig.log.failures == []
    assert rig.log.states == []


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
