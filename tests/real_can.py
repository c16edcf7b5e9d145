"""SocketCAN interfaces for tests: the harness's own in the rig world, the user's in hil; one fixture, no back-end."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taktora.can import CanErrorClass, CanErrorFrame, CanFrame, CanIfaceState, CanInterfaceListener
from taktora.can.socketcan import SocketCanInterface
from taktora_hil.fingerprint import fingerprint
from taktora_hil.rig_can import RECORDINGS, CanRig, why_no_rig
from tests.patience import PATIENCE_S

__all__ = [
    "GATE",
    "Fence",
    "FencedInterface",
    "can_interfaces",
    "can_rig",
    "needs_command",
    "send_raw",
    "wait_for",
]

GATE = "CAN_TEST_IFACE"
_FRAME = struct.Struct("=IB3x8s")
_FENCE = CanErrorClass.TX_TIMEOUT
_HIL_SETTLE_S = 0.2


def wait_for(condition: Callable[[], object], what: str = "nothing happened") -> None:
    """Return once ``condition`` holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} within {PATIENCE_S} s"
        time.sleep(0.002)


def needs_command(name: str, package: str) -> None:
    """Have the test say that it is not run where a command is missing."""
    if shutil.which(name) is None:
        pytest.skip(f"not run: needs the command {name} (package {package})")


@pytest.fixture(scope="session")
def _shared_rig() -> Iterator[CanRig]:
    reason = why_no_rig()
    if reason:
        pytest.skip(reason)
    folder = os.environ.get(RECORDINGS)
    with CanRig(2, record=Path(folder) if folder else None) as rig:
        yield rig


@pytest.fixture
def can_interfaces(world_name: str, request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return the names of the world's CAN interfaces, in the rig two buses; what they are goes into the evidence."""
    names: tuple[str, ...]
    if world_name == "rig":
        names = request.getfixturevalue("_shared_rig").interfaces
    else:
        names = tuple(name.strip() for name in os.environ[GATE].split(","))
    request.node.user_properties.append(("fingerprint", fingerprint("can", names[0])))
    return names


@pytest.fixture
def can_rig() -> Iterator[CanRig]:
    """Give a test two interfaces of its own, to take down and to remove."""
    reason = why_no_rig()
    if reason:
        pytest.skip(reason)
    with CanRig(2) as rig:
        yield rig


def send_raw(interface: str, can_id: int, data: bytes = b"", count: int = 1) -> None:
    """Send classical frames past our driver; ``can_id`` with the flags of ``linux/can.h``."""
    with socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW) as sender:
        sender.bind((interface,))
        for _ in range(count):
            sender.send(_FRAME.pack(can_id, len(data), data))


class Fence:
    """Knows when a receiver has handed over all that was sent before: by an error frame, which no filter holds up.

    On real hardware an error frame cannot be sent; there it waits a moment.
    """

    def __init__(self, interface: str, world: str) -> None:
        self._interface = interface
        self._sends_error_frames = world == "rig"
        self._open: list[FencedInterface] = []

    def add(self, interface: FencedInterface) -> None:
        self._open.append(interface)

    def settle(self) -> None:
        """Wait until each open interface has come to the fence."""
        if not self._sends_error_frames:
            time.sleep(_HIL_SETTLE_S)
            return
        waiting = [interface for interface in self._open if interface.state is CanIfaceState.ACTIVE]
        for interface in waiting:
            interface.reached.clear()
        send_raw(self._interface, 0x20000000 | _FENCE, bytes(8))
        for interface in waiting:
            assert interface.reached.wait(PATIENCE_S), f"the reader has taken nothing for {PATIENCE_S} s"


class FencedInterface(SocketCanInterface):
    """The real driver; its listener does not hear of the fence."""

    def __init__(self, name: str, fence: Fence, *, receive_own: bool = False, loopback: bool = True) -> None:
        super().__init__(name, receive_own=receive_own, loopback=loopback)
        self.reached = threading.Event()
        fence.add(self)

    def open(self, listener: CanInterfaceListener) -> None:
        super().open(_FencedListener(listener, self.reached))


class _FencedListener:
    def __init__(self, inner: CanInterfaceListener, reached: threading.Event) -> None:
        self._inner = inner
        self._reached = reached

    def on_frame(self, frame: CanFrame) -> None:
        self._inner.on_frame(frame)

    def on_error_frame(self, frame: CanErrorFrame) -> None:
        if frame.classes is _FENCE:
            self._reached.set()
        else:
            self._inner.on_error_frame(frame)

    def on_receive_overflow(self, lost: int) -> None:
        self._inner.on_receive_overflow(lost)

    def on_state(self, state: CanIfaceState, reason: str) -> None:
        self._inner.on_state(state, reason)

    def on_failure(self, error: BaseException) -> None:
        self._inner.on_failure(error)
