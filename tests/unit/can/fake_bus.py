"""python-can's virtual bus with a socket that takes filters as the kernel does, and with errors on demand."""

from __future__ import annotations

import queue
import socket
import struct
import threading
from typing import Any

import can
from can.interfaces.virtual import VirtualBus

from taktora.can import CanFilter, CanFrame, passes_filters
from tests.patience import PATIENCE_S


class FakeSocket:
    """Records socket options; remembers the filters in force; is readable once for each thing that ``recv`` gives."""

    def __init__(self) -> None:
        self.options: list[tuple[int, int, bytes]] = []
        self.filters = [CanFilter(0, 0)]
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)

    def fileno(self) -> int:
        return self._near.fileno()

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        self.options.append((level, option, value))
        self.filters = [CanFilter(*entry) for entry in struct.iter_unpack("=II", value)]

    def add(self) -> None:
        self._far.send(b"\0")

    def take(self) -> None:
        self._near.recv(1)

    def close(self) -> None:
        self._near.close()
        self._far.close()


class _Inbox(queue.Queue[Any]):
    """The queue of a virtual bus; it makes the socket readable, and an event in it is set and not handed out."""

    def __init__(self, ready: FakeSocket) -> None:
        super().__init__()
        self._ready = ready

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        super().put(item, block, timeout)
        self._ready.add()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        item = super().get(block, timeout)
        if isinstance(item, threading.Event):
            item.set()
            return None
        return item


class FakeBus:
    """What SocketCanInterface uses of a python-can bus."""

    def __init__(self, channel: str) -> None:
        self.inner = VirtualBus(channel=channel)
        self.socket = FakeSocket()
        self._inbox = _Inbox(self.socket)
        self.inner.channel[self.inner.channel.index(self.inner.queue)] = self._inbox
        self.inner.queue = self._inbox
        self.send_errors: list[Exception] = []
        self.recv_timeouts: list[float | None] = []
        self.was_shut_down = False
        self._recv_errors: list[BaseException] = []

    def fail_recv(self, error: BaseException) -> None:
        """Have the next ``recv`` fail, and the socket readable for it, as the kernel does."""
        self._recv_errors.append(error)
        self.socket.add()

    def settle(self) -> None:
        """Wait until the reader has handed over all that was sent before."""
        reached = threading.Event()
        self._inbox.put(reached)
        assert reached.wait(PATIENCE_S), f"the reader has taken nothing for {PATIENCE_S} s"

    def recv(self, timeout: float | None = None) -> Any:
        self.recv_timeouts.append(timeout)
        self.socket.take()
        if self._recv_errors:
            raise self._recv_errors.pop(0)
        message = self.inner.recv(timeout)
        return message if message is None or self._passes(message) else None

    def send(self, msg: Any, timeout: float | None = None) -> None:
        if self.send_errors:
            raise self.send_errors.pop(0)
        self.inner.send(msg, timeout)

    def shutdown(self) -> None:
        self.was_shut_down = True
        self.inner.shutdown()
        self.socket.close()

    def _passes(self, message: can.Message) -> bool:
        if message.is_error_frame:
            return True
        frame = CanFrame(message.arbitration_id, b"", message.is_extended_id, message.is_remote_frame)
        return passes_filters(self.socket.filters, frame)
