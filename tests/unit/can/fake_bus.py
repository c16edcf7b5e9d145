"""python-can's virtual bus with a socket that takes filters as the kernel does, and with errors on demand."""

from __future__ import annotations

import struct
from typing import Any

import can

from taktora.can import CanFilter, CanFrame, passes_filters


class FakeSocket:
    """Records socket options; remembers the filters in force."""

    def __init__(self) -> None:
        self.options: list[tuple[int, int, bytes]] = []
        self.filters = [CanFilter(0, 0)]

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        self.options.append((level, option, value))
        self.filters = [CanFilter(*entry) for entry in struct.iter_unpack("=II", value)]


class FakeBus:
    """What SocketCanInterface uses of a python-can bus."""

    def __init__(self, channel: str) -> None:
        self.inner = can.Bus(interface="virtual", channel=channel)
        self.socket = FakeSocket()
        self.send_errors: list[Exception] = []
        self.recv_errors: list[BaseException] = []
        self.was_shut_down = False

    def recv(self, timeout: float | None = None) -> Any:
        if self.recv_errors:
            raise self.recv_errors.pop(0)
        message = self.inner.recv(timeout)
        return message if message is None or self._passes(message) else None

    def send(self, msg: Any, timeout: float | None = None) -> None:
        if self.send_errors:
            raise self.send_errors.pop(0)
        self.inner.send(msg, timeout)

    def shutdown(self) -> None:
        self.was_shut_down = True
        self.inner.shutdown()

    def _passes(self, message: can.Message) -> bool:
        if message.is_error_frame:
            return True
        frame = CanFrame(message.arbitration_id, b"", message.is_extended_id, message.is_remote_frame)
        return passes_filters(self.socket.filters, frame)
