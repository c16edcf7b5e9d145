"""The gateway's side of one CAN interface: bytes to frames, frames to channels, filters to the socket; no codec.

All of it runs in the gateway's items, but for what is marked *any thread*.
"""

from __future__ import annotations

import logging
import threading
from typing import Final, NamedTuple

from taktora.can.callbacks import CanCallbacks
from taktora.can.dlc import fd_length
from taktora.can.filter import compile_filters
from taktora.can.health import IfaceDown, RestartAwaited, SendRefused, TransmitStalled
from taktora.can.interface import CanFilter, CanFrame, CanIfaceState, CanInterface
from taktora.can.routing import EXTENDED_ID_MAX, CanFrameKind, CanRouting
from taktora.clock import Clock
from taktora.connector.health import ConnectorHealthKind, Degraded, Down
from taktora.connector.link import Link
from taktora.errors import BackPressure, CodecError, ConnectorError, LinkDown, StackError
from taktora.transport.channel import RawChannelWriter, RawSample

__all__ = ["CanLinkDriver"]

_log: Final = logging.getLogger(__name__)
_IDENTIFIERS_KEPT = 4096


class _Match(NamedTuple):
    """One inbound channel, ready to be compared: ``(frame id ^ value) & mask == 0``, equal kind and extended flag."""

    fd: bool
    extended: bool
    value: int
    mask: int
    writer: RawChannelWriter
    name: str

    def wants(self, frame: CanFrame) -> bool:
        return self.fd == frame.fd and self.extended == frame.extended and (self.value ^ frame.can_id) & self.mask == 0


# req: REQ_0640, REQ_0641 raw frames and nothing above them
class CanLinkDriver:
    """One interface of the gateway; a ``LinkDriver``.

    Args:
        interface: The seam: SocketCAN, a simulated node or a mock.
        clock: Clock of the gateway.
        fd_padding: Fill CAN FD data up to the next length there is; otherwise such a payload is refused.
    """

    def __init__(self, interface: CanInterface, clock: Clock, *, fd_padding: bool = True) -> None:
        self.interface: Final = interface
        self.filters: tuple[CanFilter, ...] | None = None
        """Filters in force; None while closed."""
        self.undelivered = 0
        """Frames that a full reader of the application lost; its channel's writer counts them too."""
        self.unmatched = 0
        """Frames that no channel wanted: of the other kind, or on their way while filters were changed."""
        self.remotes = 0
        """Remote frames received; the filters let them through only where all frames are accepted."""
        self.overflowed = 0
        """Frames that the system dropped before the interface could read them."""
        self.controller_overflows = 0
        """How often the controller said that it has lost frames, an unknown number each time."""
        self.error_frames = 0
        """Error frames received."""
        self.is_restart_awaited = False
        """The controller went bus-off and has shown no sign of life since (any thread)."""
        self._fd_padding = fd_padding
        self._clock = clock
        self._link: Link[CanRouting, CanFrame, CanFrame] | None = None
        self._matches: tuple[_Match, ...] = ()
        # By identifier, that of an extended frame inverted; a number is found in half the time of a pair.
        self._wanted: dict[int, tuple[RawChannelWriter, ...]] = {}
        self._wanted_fd: dict[int, tuple[RawChannelWriter, ...]] = {}
        self._generation = -1
        self._is_widened = False
        self._retired: list[RawChannelWriter] = []
        self._retired_lock = threading.Lock()

    def attach(self, link: Link[CanRouting, CanFrame, CanFrame]) -> None:
        """Know the link that this driver serves; called once by the connector."""
        self._link = link
        link.wanted_by = self.channels_of
        link.reason_of = self._reason_of
        link.stall_reason = TransmitStalled(self.interface.name)
        self.interface.on_transmit_ready(link.transmit_ready)

    @property
    def link(self) -> Link[CanRouting, CanFrame, CanFrame]:
        assert self._link is not None
        return self._link

    def open(self) -> None:
        """Open the interface and apply the filters: a fresh socket accepts everything.

        Raises:
            StackError: no such interface, interface down, no kernel CAN; the link goes Down and tries again.
        """
        self.filters = None
        self.interface.open(CanCallbacks(self, self._clock))
        try:
            self._apply_filters()
        except StackError:
            self.interface.close()
            raise
        self._note_doubt()

    def close(self) -> None:
        self.filters = None
        self.interface.close()
        self._close_retired()

    def retire(self, writer: RawChannelWriter) -> None:
        """Have the port of a closed channel closed by the gateway's own thread, which may be using it (any thread)."""
        with self._retired_lock:
            self._retired.append(writer)

    def reclaim(self, service: str) -> RawChannelWriter | None:
        """Return the retired port of ``service``, no longer to be closed; None if there is none (any thread)."""
        with self._retired_lock:
            for place, writer in enumerate(self._retired):
                if writer.service == service:
                    return self._retired.pop(place)
        return None

    # req: REQ_0623
    def channels_changed(self) -> None:
        """Bring the filters up to date on the open socket; the bus does not notice. One that refuses them is Down."""
        self._compile_matches()
        self._close_retired()
        if self.filters is None or self.interface.state is CanIfaceState.DOWN:
            return
        try:
            self._apply_filters()
        except StackError as error:
            self.link.go_down(self._reason_of(error))

    # req: REQ_0611, REQ_0613, REQ_0615
    def compose(self, routing: CanRouting, sample: RawSample, payload: memoryview) -> CanFrame:  # noqa: ARG002
        can_id, extended, fd, brs, esi = routing.head
        data = self._fd_data(routing, payload) if fd else payload.tobytes()
        return CanFrame(can_id, data, extended, False, 0, 0, fd, brs, esi)

    def transmit(self, message: CanFrame) -> None:
        try:
            self.interface.send(message)
        except BackPressure:
            raise
        except LinkDown as error:
            self.is_restart_awaited |= self.interface.state is CanIfaceState.BUS_OFF
            if self.link.health.kind is not ConnectorHealthKind.DOWN:
                self.link.report(Down(IfaceDown(self.interface.name, str(error)), self._clock.now_ns()))
            raise
        except ConnectorError as error:
            self._note_refusal(str(error))
            raise

    # req: REQ_0614, REQ_0624
    def deliver(self, message: CanFrame) -> None:
        """Publish the data bytes on every matching channel, in order of opening; each gets its own envelope."""
        link = self._link
        assert link is not None
        if self._generation != link.inbound_channels.generation:
            self._compile_matches()
        if message.remote:
            self.remotes += 1
            return
        wanted = self._wanted_fd if message.fd else self._wanted
        try:
            writers = wanted[~message.can_id if message.extended else message.can_id]
        except KeyError:
            writers = self._find_writers(message)
        data = message.data
        for writer in writers:
            try:
                writer.send_raw_bytes(data)
            except BackPressure:
                self.undelivered += 1
        if not writers:
            self.unmatched += 1

    def _find_writers(self, frame: CanFrame) -> tuple[RawChannelWriter, ...]:
        """Match ``frame`` against all channels, once per identifier; a bus can send more of those than are kept."""
        wanted = self._wanted_fd if frame.fd else self._wanted
        if len(wanted) >= _IDENTIFIERS_KEPT:
            wanted.clear()
        found = tuple(match.writer for match in self._matches if match.wants(frame))
        wanted[~frame.can_id if frame.extended else frame.can_id] = found
        return found

    # req: REQ_0608
    def channels_of(self, frame: CanFrame) -> list[str]:
        """Return the names of the channels that ``frame`` is for (any thread), as far as the gateway knows them now."""
        if frame.remote:
            return []
        return [match.name for match in self._matches if match.wants(frame)]

    # req: REQ_0611
    def _fd_data(self, routing: CanRouting, payload: memoryview) -> bytes:
        """Return the payload as CAN FD can carry it."""
        length = len(payload)
        full = fd_length(length)
        if full != length and not self._fd_padding:
            cause = f"{length} bytes for {routing}: no CAN FD frame has this length, the next is {full}"
            self._note_refusal(cause)
            raise CodecError("CAN FD", cause)
        return payload.tobytes().ljust(full, b"\0")

    def _reason_of(self, error: ConnectorError) -> IfaceDown:
        return IfaceDown(self.interface.name, str(error))

    def _note_refusal(self, cause: str) -> None:
        """Be Degraded for a message that is counted and dropped; the first of a burst is the event that tells it."""
        self.link.apply(Degraded(SendRefused(self.interface.name, cause)))

    # req: REQ_0633
    def _note_doubt(self) -> None:
        """Say what speaks against the socket just opened: it works as well on a controller that is bus-off."""
        is_off = self.interface.state is CanIfaceState.BUS_OFF
        is_awaited = self.is_restart_awaited or is_off
        link = self.link
        link.doubt = RestartAwaited(self.interface.name) if is_awaited else None
        link.is_cut = is_off
        link.sending_proves = not is_off and (not is_awaited or len(link.inbound_channels) == 0)
        if is_off and self.interface.state is not CanIfaceState.BUS_OFF:
            self.note_life()  # it was restarted meanwhile, which another thread has told too early

    def note_life(self) -> None:
        """The controller has shown that it runs (any thread)."""
        self.is_restart_awaited = False
        self.link.doubt, self.link.sending_proves = None, True
        self.link.reconnected()

    # req: REQ_0625
    def _compile_matches(self) -> None:
        channels = self.link.inbound_channels
        self._generation = channels.generation
        self._wanted.clear()
        self._wanted_fd.clear()
        self._matches = tuple(
            _Match(
                channel.routing.kind is CanFrameKind.FD,
                channel.routing.can_id.is_extended,
                channel.routing.can_id.value,
                channel.routing.mask & EXTENDED_ID_MAX,
                channel.writer,
                channel.name,
            )
            for channel in channels.entries
        )

    def _close_retired(self) -> None:
        """Close the retired ports, but for those whose channel has not left the registry yet: a frame may want them."""
        if not self._retired:
            return
        self._compile_matches()
        in_use = [match.writer for match in self._matches]
        with self._retired_lock:
            for writer in self._retired:
                if writer not in in_use:
                    writer.close()
            self._retired = [writer for writer in self._retired if writer in in_use]

    # req: REQ_0622
    def _apply_filters(self) -> None:
        filters, widened = compile_filters(channel.routing for channel in self.link.inbound_channels.entries)
        if filters == self.filters:
            return
        self.interface.set_filters(filters)
        self.filters = filters
        if widened and not self._is_widened:
            _log.warning(
                "%s: more readers than the kernel has filters; all frames are accepted and matched in software",
                self.interface.name,
            )
        self._is_widened = widened
