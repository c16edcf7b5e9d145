"""The CAN seam: one interface that sends and receives frames; protocols and value types only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, IntFlag
from typing import Any, NamedTuple, Protocol

import msgspec

__all__ = [
    "CanErrorClass",
    "CanErrorFrame",
    "CanFilter",
    "CanFrame",
    "CanIfaceState",
    "CanInterface",
    "CanInterfaceListener",
]


# req: REQ_0642
class CanFrame(msgspec.Struct, frozen=True, order=True, gc=False):
    """One data or remote frame, classical or CAN FD; a struct, since one is made and looked at for each message.

    ``can_id`` is the plain identifier (11 or 29 bit); ``extended`` belongs to its identity. ``data`` has 0 to 8
    bytes, with ``fd`` one of :data:`taktora.can.dlc.FD_LENGTHS`. A remote frame has ``remote`` set, no data, and
    ``dlc`` as requested; CAN FD has none. ``timestamp_ns`` is on the clock of the interface's runtime (monotonic); 0
    when unknown. ``brs`` (bit rate switch) and ``esi`` (the sender is error-passive) mean something with ``fd`` only.
    """

    can_id: int
    data: bytes
    extended: bool = False
    remote: bool = False
    dlc: int = 0
    timestamp_ns: int = 0
    fd: bool = False
    brs: bool = False
    esi: bool = False

    def _replace(self, **changes: Any) -> CanFrame:
        """Return this frame with some of its fields changed, as that of a NamedTuple does."""
        return msgspec.structs.replace(self, **changes)


class CanErrorClass(IntFlag):
    """Error classes of ``linux/can/error.h``."""

    TX_TIMEOUT = 0x001
    LOST_ARBITRATION = 0x002
    CONTROLLER = 0x004
    PROTOCOL = 0x008
    TRANSCEIVER = 0x010
    NO_ACK = 0x020
    BUS_OFF = 0x040
    BUS_ERROR = 0x080
    RESTARTED = 0x100
    COUNTERS = 0x200


class CanErrorFrame(NamedTuple):
    """One error frame: classes and the eight data bytes of ``linux/can/error.h``."""

    classes: CanErrorClass
    data: bytes
    timestamp_ns: int = 0


class CanFilter(NamedTuple):
    """Kernel filter: a frame passes when ``rx_id & can_mask == can_id & can_mask`` with EFF and RTR flags folded in."""

    can_id: int
    can_mask: int


class CanIfaceState(Enum):
    """State of the socket, not of the connector's health."""

    CLOSED = "closed"
    ACTIVE = "active"
    BUS_OFF = "bus-off"
    DOWN = "down"


class CanInterfaceListener(Protocol):
    """Where an interface reports to. May be called on any thread; implementations only fill a bounded bridge."""

    def on_frame(self, frame: CanFrame) -> None: ...

    def on_error_frame(self, frame: CanErrorFrame) -> None: ...

    def on_state(self, state: CanIfaceState, reason: str) -> None: ...

    def on_receive_overflow(self, lost: int) -> None:
        """``lost`` further frames were dropped before this interface could read them: its socket's buffer was full."""
        ...

    def on_failure(self, error: BaseException) -> None:
        """The interface's own thread dies of something that nobody foresaw; ``error`` must end the gateway's run."""
        ...


class CanInterface(Protocol):
    """One CAN interface of a host: SocketCAN, the simulated bus, or a scripted mock."""

    @property
    def name(self) -> str:
        """Interface name, for example ``can0``."""
        ...

    @property
    def state(self) -> CanIfaceState: ...

    @property
    def carries_fd(self) -> bool:
        """Whether CAN FD frames can be sent here; True while nobody can know, as of an interface not there yet."""
        ...

    def open(self, listener: CanInterfaceListener) -> None:
        """Start without blocking. Also reopens after ``close``.

        Raises ``StackError`` naming the interface and the way out (no such interface, interface down, no kernel CAN).
        """
        ...

    def send(self, frame: CanFrame) -> None:
        """Queue one frame without blocking.

        Raises ``BackPressure`` when the transmit queue is full (ENOBUFS), ``LinkDown`` when closed or bus-off,
        ``PayloadOverflow`` for data longer than the frame's kind carries, ``StackError`` for a frame that the interface
        cannot send (CAN FD on a classical one).
        """
        ...

    def set_filters(self, filters: Sequence[CanFilter]) -> None:
        """Replace the receive filters; an empty sequence lets no data frame through."""
        ...

    def on_transmit_ready(self, callback: Callable[[], None] | None) -> None:
        """Have ``callback`` called when a full transmit queue has room again (any thread)."""
        ...

    def close(self) -> None:
        """Close within 5 s; idempotent; no thread is left."""
        ...
