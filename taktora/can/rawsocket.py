"""One CAN_RAW socket (AF_CAN) that somebody has opened: its options, what it has received, and what it has lost.

Facts of Linux that this rests on:

- A time stamp is of the civil clock. It is brought to the runtime's monotonic clock by their difference, which is
  measured when the socket is opened and looked at again at each wake: it changes when somebody sets the civil clock,
  and only then. A frame is never later than now and never earlier than the one before it.
- What finds the receive buffer full is dropped and counted per socket (``SO_MEMINFO``). The count that comes with a
  frame (``SO_RXQ_OVFL``) is that of before the frame, so the end of a burst would stay untold; hence the socket's own
  count is read after each batch. Only a batch of two or more frames can have been preceded by a full buffer: the
  smallest there is holds three.
- ENETDOWN and ENODEV are told before the frames that were received earlier; those are still there.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from typing import Any, Final

from taktora.can.interface import CanErrorFrame, CanFilter, CanFrame
from taktora.can.wireformat import CANFD_MTU, unpack_frame
from taktora.clock import Clock
from taktora.errors import StackError

__all__ = ["BATCH", "RECEIVE_BUFFER_BYTES", "KernelTime", "Reception", "apply_filters", "prepare"]

RECEIVE_BUFFER_BYTES: Final = 2 * 1024 * 1024
"""Receive buffer that is asked for. Linux doubles it and counts 768 bytes a frame, whatever its length: 5461 frames.
Without CAP_NET_ADMIN it gives no more than ``net.core.rmem_max``, with the default of that 555 frames."""

BATCH: Final = 256
"""Frames that are taken at most before the socket's losses are looked at."""

_SOL_SOCKET: Final = 1
_SO_RCVBUF: Final = 8
_SO_RCVBUFFORCE: Final = 33
_SO_TIMESTAMPNS: Final = 35
_SO_MEMINFO: Final = 55
_SOL_CAN_RAW: Final = 101
_CAN_RAW_FILTER: Final = 1
_CAN_RAW_ERR_FILTER: Final = 2
_CAN_RAW_LOOPBACK: Final = 3
_CAN_RAW_RECV_OWN_MSGS: Final = 4
_CAN_RAW_FD_FRAMES: Final = 5
_CAN_ERR_MASK: Final = 0x1FFF_FFFF

_FILTER_ENTRY: Final = struct.Struct("=II")
_TIMESPEC: Final = struct.Struct("@ll")
_MEMINFO: Final = struct.Struct("=9I")
_DROPS: Final = 8
_ANCILLARY_BYTES: Final = 128
_DONTWAIT: Final = 0x40
_ERRORS_IN_A_ROW: Final = 3
_CLOCK_SET_NS: Final = 50_000
_COMPARISONS: Final = 5
_NS_PER_S: Final = 1_000_000_000

_log: Final = logging.getLogger(__name__)


# req: REQ_0602, REQ_0611, REQ_0631
def prepare(
    name: str,
    raw: Any,
    *,
    receive_own: bool = False,
    loopback: bool = True,
    receive_buffer_bytes: int = RECEIVE_BUFFER_BYTES,
) -> None:
    """Have socket ``raw`` take frames of both kinds and all error frames, with the kernel's time stamps.

    Args:
        name: Interface, for errors.
        raw: The socket.
        receive_own: It receives what it sends itself.
        loopback: The other sockets of this host receive what it sends.
        receive_buffer_bytes: What to ask for as receive buffer.

    Raises:
        StackError: the kernel refuses one of them.
    """
    _set(name, raw, "CAN FD frames (CAN_RAW_FD_FRAMES)", _SOL_CAN_RAW, _CAN_RAW_FD_FRAMES, 1)
    _set(name, raw, "error frames (CAN_RAW_ERR_FILTER)", _SOL_CAN_RAW, _CAN_RAW_ERR_FILTER, _CAN_ERR_MASK)
    _set(name, raw, "loopback (CAN_RAW_LOOPBACK)", _SOL_CAN_RAW, _CAN_RAW_LOOPBACK, int(loopback))
    _set(name, raw, "own messages (CAN_RAW_RECV_OWN_MSGS)", _SOL_CAN_RAW, _CAN_RAW_RECV_OWN_MSGS, int(receive_own))
    _set(name, raw, "time stamps (SO_TIMESTAMPNS)", _SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    _set_receive_buffer(name, raw, receive_buffer_bytes)


# req: REQ_0622
def apply_filters(name: str, raw: Any, filters: list[CanFilter]) -> None:
    """Replace the receive filters of ``raw`` in one call; an empty list lets no data frame through.

    Raises:
        StackError: the kernel refuses them; it keeps the ones in force.
    """
    packed = b"".join(_FILTER_ENTRY.pack(entry.can_id, entry.can_mask) for entry in filters)
    _set(name, raw, f"{len(filters)} filters", _SOL_CAN_RAW, _CAN_RAW_FILTER, packed)


def _set(name: str, raw: Any, what: str, level: int, option: int, value: int | bytes) -> None:
    try:
        raw.setsockopt(level, option, value)
    except OSError as error:
        raise StackError(f"CAN interface {name!r}: the kernel refused {what} ({error.strerror})") from error


def _set_receive_buffer(name: str, raw: Any, size: int) -> None:
    try:
        raw.setsockopt(_SOL_SOCKET, _SO_RCVBUFFORCE, size)
    except PermissionError:  # no CAP_NET_ADMIN: what everybody may have
        _set(name, raw, f"a receive buffer of {size} bytes", _SOL_SOCKET, _SO_RCVBUF, size)
    except OSError as error:
        raise StackError(f"CAN interface {name!r}: the kernel refused a receive buffer ({error.strerror})") from error
    _log.debug("%s: receive buffer of %d bytes", name, raw.getsockopt(_SOL_SOCKET, _SO_RCVBUF))


class KernelTime:
    """Brings time stamps of the kernel to the runtime's clock.

    Args:
        clock: The runtime's; its civil clock is the one that the kernel stamps with.
    """

    def __init__(self, clock: Clock) -> None:
        self._now_ns = clock.now_ns
        self._unix_ns = clock.unix_ns
        self._last_ns = self._latest_ns = self._now_ns()
        self._ahead_ns = self._measure()

    def look(self) -> None:
        """Compare the clocks: once per wake, since the civil one may have been set."""
        if abs(self._compare()[0] - self._ahead_ns) > _CLOCK_SET_NS:  # it was, or this thread was held up
            self._ahead_ns = self._measure()

    def _measure(self) -> int:
        """Return how far the civil clock is ahead, from the comparison that was disturbed least."""
        return min((self._compare() for _ in range(_COMPARISONS)), key=lambda compared: compared[1])[0]

    def _compare(self) -> tuple[int, int]:
        """Return how far the civil clock is ahead of the runtime's, and how uncertain that is."""
        before_ns = self._now_ns()
        unix_ns = self._unix_ns()
        self._latest_ns = after_ns = self._now_ns()
        return unix_ns - (before_ns + after_ns) // 2, after_ns - before_ns

    def on_clock(self, unix_ns: int) -> int:
        """Return the instant on the runtime's clock; not before the last one and not after now."""
        at_ns = unix_ns - self._ahead_ns
        if at_ns > self._latest_ns:  # received since the clocks were compared, or the civil one was set back
            self._latest_ns = self._now_ns()
            at_ns = min(at_ns, self._latest_ns)
        self._last_ns = at_ns = max(at_ns, self._last_ns)
        return at_ns


class Reception:
    """Takes what a socket has received, without waiting; of one thread.

    Args:
        name: Interface, for errors.
        raw: The socket, prepared.
        clock: Clock of the frames' time stamps.

    Raises:
        StackError: the kernel does not count lost frames.
    """

    def __init__(self, name: str, raw: Any, clock: Clock) -> None:
        self._name = name
        self._raw = raw
        self._times = KernelTime(clock)
        self.taken = 0
        """Frames of the last batch."""
        self.error: OSError | None = None
        """What has ended the socket, if it has."""
        self._lost = self._count_lost()

    # req: REQ_0614, REQ_0605
    def frames(self) -> Iterator[CanFrame | CanErrorFrame]:
        """Yield what has been received, at most a batch; an end of the socket is in ``error`` afterwards."""
        self._times.look()
        recvmsg, on_clock, timespec, unpack = self._raw.recvmsg, self._times.on_clock, _TIMESPEC.unpack, unpack_frame
        taken = errors = 0
        try:
            while taken < BATCH and errors < _ERRORS_IN_A_ROW:
                try:
                    data, ancillary, _, _ = recvmsg(CANFD_MTU, _ANCILLARY_BYTES, _DONTWAIT)
                except BlockingIOError:
                    return
                except OSError as error:
                    errors += 1
                    self.error = self.error or error
                    continue  # to what was received before it
                taken += 1
                seconds, nanoseconds = timespec(ancillary[0][2])  # the time stamp is all that was asked for
                yield unpack(data, on_clock(seconds * _NS_PER_S + nanoseconds))
        finally:
            self.taken = taken

    # req: REQ_0606
    def newly_lost(self) -> int:
        """Return how many frames have found the buffer full since the last call."""
        lost = self._count_lost()
        new, self._lost = (lost - self._lost) & 0xFFFF_FFFF, lost
        return new

    def _count_lost(self) -> int:
        try:
            return int(_MEMINFO.unpack_from(self._raw.getsockopt(_SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))[_DROPS])
        except (OSError, struct.error) as error:
            raise StackError(
                f"CAN interface {self._name!r}: the kernel does not count lost frames (SO_MEMINFO: {error}); "
                "Linux does since 4.12"
            ) from error
