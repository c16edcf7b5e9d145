"""A raw socket of a simulated host: filters, own messages, error frames and a bounded buffer; it knows no bus.

Modelled, after ``linux/can/raw.h``: kernel filters; own messages and loopback; error frames chosen by a mask alone;
a classical socket that never sees a CAN FD frame; a receive buffer that drops what comes while its reader does not
read, and tells how many with the next thing read. Simplified: a buffer counts frames, not bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from taktora.can.filter import ACCEPT_ALL, FILTERS_MAX, passes_word
from taktora.can.health import state_after
from taktora.can.interface import (
    CanErrorClass,
    CanErrorFrame,
    CanFilter,
    CanFrame,
    CanIfaceState,
    CanInterfaceListener,
)
from taktora.errors import BackPressure, ConfigurationError, LinkDown, StackError
from taktora_sim.can.errors import ALL_ERRORS

if TYPE_CHECKING:
    from taktora_sim.can.node import CanNode

__all__ = ["FD_WORD", "SimulatedCanInterface"]

_ACTIVE = CanIfaceState.ACTIVE
_VERDICTS_KEPT = 4096
FD_WORD = 1 << 32
"""Added to the identifier word of a CAN FD frame: no filter sees it, and a classical socket passes none that has it."""


def _discard(_frame: CanFrame) -> None:
    """Take nothing: the socket is closed."""


# req: REQ_8202
class SimulatedCanInterface:
    """A raw socket on a simulated node; a ``CanInterface``; made by ``CanNode.interface``."""

    def __init__(
        self,
        node: CanNode,
        name: str,
        *,
        receive_own: bool = False,
        loopback: bool = True,
        error_mask: CanErrorClass = ALL_ERRORS,
        fd: bool = True,
        receive_buffer: int | None = None,
    ) -> None:
        if receive_buffer is not None and receive_buffer < 1:
            raise ConfigurationError(f"CAN interface {name!r}: receive buffer {receive_buffer} is below 1 frame")
        self.node = node
        self.receive_own = receive_own
        self.loopback = loopback
        self.error_mask = error_mask
        self.fd = fd
        self.receive_buffer = receive_buffer
        self.overflowed = 0
        """Frames dropped because the receive buffer was full."""
        self.is_own_host = False
        """While a frame is handed over: it was sent by a socket of this very host (MSG_DONTROUTE)."""
        self._name = name
        self._state = CanIfaceState.CLOSED
        self._listener: CanInterfaceListener | None = None
        self._filters: Sequence[CanFilter] = ACCEPT_ALL
        self._verdicts: dict[int, bool] = {}
        self.take: Callable[[CanFrame], None] = _discard
        self._buffer: deque[CanFrame | CanErrorFrame] | None = None
        self._untold = 0
        self._drops_due = 0
        self._on_room: Callable[[], None] | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def state(self) -> CanIfaceState:
        return self._state

    @property
    def carries_fd(self) -> bool:
        return self.fd and self.node.carries_fd

    def open(self, listener: CanInterfaceListener) -> None:
        """Open a new socket: filters start as the kernel's accept-all; a controller that is bus-off stays so."""
        self.close()
        if not self.node.is_up:
            raise StackError(f"CAN interface {self._name!r}: interface is down (ENETDOWN); bring it up and open again")
        self._listener = listener
        self._filter(ACCEPT_ALL)
        self.take = listener.on_frame
        self._state = CanIfaceState.BUS_OFF if self.node.is_bus_off_host else CanIfaceState.ACTIVE
        self.node.attach(self)

    def send(self, frame: CanFrame) -> None:
        if self._state is not _ACTIVE:
            raise LinkDown(f"CAN interface {self._name!r} is {self._state.value}; open it before sending")
        try:
            self.node.transmit(frame, self)
        except BackPressure:
            self.node.want_room(self._tell_room)
            raise

    def set_filters(self, filters: Sequence[CanFilter]) -> None:
        if self._state is CanIfaceState.CLOSED:
            return  # there is no socket; the next one starts with the kernel's accept-all
        if len(filters) > FILTERS_MAX:
            raise StackError(f"CAN interface {self._name!r}: {len(filters)} filters (EINVAL); give up to {FILTERS_MAX}")
        self._filter(filters)

    def on_transmit_ready(self, callback: Callable[[], None] | None) -> None:
        self._on_room = callback

    def close(self) -> None:
        self._state = CanIfaceState.CLOSED
        self._listener = None
        self.take = _discard
        self._buffer = None
        self._untold = 0
        self._drops_due = 0
        self.node.detach(self)

    def overflow(self, count: int) -> None:
        """Have the kernel find no room for the next ``count`` frames; the reader hears of it with the frame after."""
        if self._listener is not None:
            self._drops_due += count
            self.take = self._drop

    def pause_reading(self) -> None:
        """Have the process behind the socket read nothing: what arrives fills the receive buffer, then is dropped.

        Raises:
            LinkDown: the socket is not open.
        """
        if self._listener is None:
            raise LinkDown(f"CAN interface {self._name!r} is {self._state.value}; open it before its reader can pause")
        if self._buffer is None:
            self._buffer = deque()
            self.take = self._way_in(self._listener)

    def resume_reading(self) -> None:
        """Have the process read again: it gets all that the buffer kept, then hears how many frames were dropped."""
        kept, listener = self._take_buffer(), self._listener
        if kept is None or listener is None:
            return
        self.take = self._way_in(listener)
        while kept and self._is_read_by(listener):  # as long as the listener neither pauses nor closes
            entry = kept.popleft()
            if isinstance(entry, CanErrorFrame):
                self._tell_error(listener, entry)
            else:
                listener.on_frame(entry)
        if kept and self._buffer is not None:  # the reader has paused again meanwhile
            self._buffer.extend(kept)
        elif self._untold and self._is_read_by(listener):
            self._tell_lost(listener)

    def deliver(self, frame: CanFrame, rx_id: int) -> None:
        """Hand over one frame if the filters pass its identifier word; called by the node."""
        if self.passes(rx_id):
            self.take(frame)

    def passes(self, rx_id: int) -> bool:
        """Return whether the filters pass an identifier word."""
        verdicts = self._verdicts
        try:
            return verdicts[rx_id]
        except KeyError:
            if len(verdicts) >= _VERDICTS_KEPT:
                verdicts.clear()
            passes = verdicts[rx_id] = (self.fd or rx_id < FD_WORD) and passes_word(self._filters, rx_id)
            return passes

    def take_own_host(self, frame: CanFrame) -> None:
        """Hand over one frame that a socket of this host has sent, and that the filters pass."""
        take, self.is_own_host = self.take, True
        take(frame)
        self.is_own_host = False

    def deliver_error(self, frame: CanErrorFrame) -> None:
        """Hand over one error frame if the error mask asks for any of its classes; called by the node."""
        listener = self._listener
        if listener is None or not frame.classes & self.error_mask:
            return
        if self._buffer is None:
            self._tell_error(listener, frame)
        else:
            self._store(frame)

    def go_down(self, reason: str) -> None:
        """Tell the listener once that the interface went down, and nothing more until it opens again."""
        listener = self._listener
        self._state = CanIfaceState.DOWN
        self.node.detach(self)
        if listener is not None:
            listener.on_state(CanIfaceState.DOWN, reason)

    def _take_buffer(self) -> deque[CanFrame | CanErrorFrame] | None:
        kept, self._buffer = self._buffer, None
        return kept

    def _way_in(self, listener: CanInterfaceListener) -> Callable[[CanFrame], None]:
        """Return where the next frame goes."""
        if self._drops_due:
            return self._drop
        return listener.on_frame if self._buffer is None else self._store

    def _drop(self, _frame: CanFrame) -> None:
        self.overflowed += 1
        self._untold += 1
        self._drops_due -= 1
        if not self._drops_due:
            self.take = self._read_after_loss if self._buffer is None else self._store

    def _read_after_loss(self, frame: CanFrame) -> None:
        listener = self._listener
        assert listener is not None
        self.take = listener.on_frame
        self._tell_lost(listener)
        self.take(frame)

    def _tell_lost(self, listener: CanInterfaceListener) -> None:
        self.take = self._way_in(listener)
        lost, self._untold = self._untold, 0
        listener.on_receive_overflow(lost)

    def _is_read_by(self, listener: CanInterfaceListener) -> bool:
        return self._listener is listener and self._buffer is None

    def _filter(self, filters: Sequence[CanFilter]) -> None:
        self._filters = tuple(filters)
        self._verdicts = {}
        self.node.bus.sockets_changed()

    def _tell_error(self, listener: CanInterfaceListener, frame: CanErrorFrame) -> None:
        self._state = state_after(self._state, frame.classes)
        listener.on_error_frame(frame)

    def _store(self, frame: CanFrame | CanErrorFrame) -> None:
        assert self._buffer is not None
        if self.receive_buffer is None or len(self._buffer) < self.receive_buffer:
            self._buffer.append(frame)
        else:
            self.overflowed += 1
            self._untold += 1

    def _tell_room(self) -> None:
        if self._on_room is not None:
            self._on_room()
