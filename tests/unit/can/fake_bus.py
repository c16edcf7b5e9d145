"""CAN_RAW sockets that answer as the kernel's, on a wire in memory: options, filters, a buffer that loses, errors."""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from collections import deque

from taktora.can import CanFilter, CanFrame
from taktora.can.filter import passes_filters
from tests.patience import PATIENCE_S

__all__ = ["FakeBus", "FakeSocket", "FakeWire"]

SOL_SOCKET, SOL_CAN_RAW = 1, 101
SO_RCVBUF, SO_RCVBUFFORCE, SO_TIMESTAMPNS, SO_MEMINFO = 8, 33, 35, 55
FILTER, ERR_FILTER, LOOPBACK, RECV_OWN, FD_FRAMES = 1, 2, 3, 4, 5
_ERR_FLAG = 0x20000000
_Message = tuple[bytes, list[tuple[int, int, bytes]]]


class FakeWire:
    """Virtual CAN interface: what one of its sockets sends, the others receive at once.

    Args:
        mtu: 72 carries CAN FD, 16 classical frames only.
    """

    def __init__(self, mtu: int = 72) -> None:
        self.mtu = mtu
        self.civil_ns = 1_700_000_000_000_000_000
        """Time stamp of the next frame; each is a microsecond after the one before."""
        self.is_held = False
        """Nothing leaves: the transmit queue is full."""
        self.sockets: list[FakeSocket] = []

    def put(self, raw: bytes, sender: FakeSocket | None = None) -> None:
        """Have the sockets receive ``raw``, as their options and filters say."""
        self.civil_ns += 1000
        for receiver in list(self.sockets):
            own = receiver is sender
            if (sender is None or sender.number(LOOPBACK)) and (not own or receiver.number(RECV_OWN)):
                receiver.take_from_wire(raw, self.civil_ns)


class FakeSocket:
    """One socket on a wire; readable while ``recvmsg`` has something to give."""

    def __init__(self, wire: FakeWire) -> None:
        self.options: dict[tuple[int, int], int | bytes] = {(SOL_CAN_RAW, LOOPBACK): 1}
        self.calls: list[tuple[int, int, int | bytes]] = []
        """What ``setsockopt`` was given, in order."""
        self.refused: dict[tuple[int, int], int] = {}
        """Options that the kernel refuses, with its errno."""
        self.filters = [CanFilter(0, 0)]
        self.room: int | None = None
        """Frames that the receive buffer holds; None is any number."""
        self.lost = 0
        self.sent: list[bytes] = []
        self.send_errors: list[BaseException] = []
        self.reads = 0
        self._wire = wire
        self._inbox: deque[_Message | BaseException | threading.Event] = deque()
        self._lock = threading.Lock()
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        wire.sockets.append(self)

    def fileno(self) -> int:
        return self._near.fileno()

    def number(self, option: int) -> int:
        """Return a numeric option of CAN_RAW."""
        value = self.options.get((SOL_CAN_RAW, option), 0)
        assert isinstance(value, int)
        return value

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        if code := self.refused.get((level, option)):
            raise OSError(code, os.strerror(code))
        self.calls.append((level, option, value))
        self.options[level, option] = value
        if (level, option) == (SOL_CAN_RAW, FILTER):
            assert isinstance(value, bytes)
            self.filters = [CanFilter(*entry) for entry in struct.iter_unpack("=II", value)]

    def getsockopt(self, level: int, option: int, size: int = 0) -> int | bytes:
        if code := self.refused.get((level, option)):
            raise OSError(code, os.strerror(code))
        if (level, option) == (SOL_SOCKET, SO_MEMINFO):
            return struct.pack("=9I", *[0] * 8, self.lost)[:size]
        return 1

    def take_from_wire(self, raw: bytes, civil_ns: int) -> None:
        """Receive, unless options and filters say no, or lose where there is no room."""
        (word,) = struct.unpack_from("=I", raw)
        if word & _ERR_FLAG:
            passes = bool(word & self.number(ERR_FILTER))
        else:
            kind = CanFrame(word & 0x1FFFFFFF, b"", bool(word >> 31), bool(word >> 30 & 1))
            passes = passes_filters(self.filters, kind)
        if not passes or (len(raw) == 72 and not self.number(FD_FRAMES)):
            return
        if self.room is not None and len(self._inbox) >= self.room:
            self.lost += 1
            return
        stamp = struct.pack("@ll", *divmod(civil_ns, 1_000_000_000))
        has_stamp = self.options.get((SOL_SOCKET, SO_TIMESTAMPNS))
        self._add((raw, [(SOL_SOCKET, SO_TIMESTAMPNS, stamp)] if has_stamp else []))

    def fail(self, error: BaseException) -> None:
        """Have ``recvmsg`` fail before it gives what is there, as the kernel does."""
        self._add(error, first=True)

    def settle(self) -> None:
        """Wait until the reader has handed over all that was received before."""
        reached = threading.Event()
        self._add(reached)
        assert reached.wait(PATIENCE_S), f"the reader has taken nothing for {PATIENCE_S} s"

    def recvmsg(self, size: int, _room: int, _flags: int) -> tuple[bytes, list[tuple[int, int, bytes]], int, None]:
        self.reads += 1
        while (item := self._take()) is not None:
            if isinstance(item, BaseException):
                raise item
            if isinstance(item, threading.Event):
                item.set()
                continue
            raw, ancillary = item
            assert len(raw) <= size
            return raw, ancillary, 0, None
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def send(self, raw: bytes, _flags: int) -> int:
        if self.send_errors:
            raise self.send_errors.pop(0)
        if self._wire.is_held:
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
        if len(raw) > self._wire.mtu:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self.sent.append(raw)
        self._wire.put(raw, self)
        return len(raw)

    def close(self) -> None:
        if self in self._wire.sockets:
            self._wire.sockets.remove(self)
        self._near.close()
        self._far.close()

    def _add(self, item: _Message | BaseException | threading.Event, *, first: bool = False) -> None:
        with self._lock:
            if not self._inbox:
                self._far.send(b"\0")
            if first:
                self._inbox.appendleft(item)
            else:
                self._inbox.append(item)

    def _take(self) -> _Message | BaseException | threading.Event | None:
        with self._lock:
            if not self._inbox:
                return None
            item = self._inbox.popleft()
            if not self._inbox:
                self._near.recv(1)
            return item


class FakeBus:
    """What SocketCanInterface uses of a python-can bus."""

    def __init__(self, wire: FakeWire) -> None:
        self.socket = FakeSocket(wire)
        self.was_shut_down = False

    def settle(self) -> None:
        """Wait until the reader has handed over all that was received before."""
        self.socket.settle()

    def shutdown(self) -> None:
        self.was_shut_down = True
        self.socket.close()
