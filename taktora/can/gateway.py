"""The gateway's side of one CAN interface: bytes to frames, frames to channels, error frames to health; no codec.

Everything but the callbacks of :class:`_Callbacks` runs in the gateway's items; the callbacks come from any thread and
only fill the link's bounded bridges.
"""

from __future__ import annotations

import logging
import threading
from typing import Final, NamedTuple

from taktora.can.filter import compile_filters
from taktora.can.health import CanErrorKind, ErrorPassive, ErrorWarning, IfaceDown, ReceiveOverflow, classify
from taktora.can.interface import CanErrorFrame, CanFilter, CanFrame, CanIfaceState, CanInterface
from taktora.can.routing import EXTENDED_ID_MAX, CanRouting
from taktora.clock import Clock
from taktora.connector.errors import Disconnected
from taktora.connector.health import ConnectorHealth, ConnectorHealthKind, Degraded, Down
from taktora.connector.link import Link
from taktora.errors import BackPressure, LinkDown, StackError
from taktora.transport.channel import RawChannelWriter, RawSample

__all__ = ["CanLinkDriver"]

_log: Final = logging.getLogger(__name__)
# What a NamedTuple's own constructor does in the end, in half the time; for what is made once per frame.
_new_tuple = tuple.__new__
_IDENTIFIERS_KEPT = 4096


class _Match(NamedTuple):
    """One inbound channel, ready to be compared: ``(frame id ^ value) & mask == 0`` and an equal extended flag."""

    extended: bool
    value: int
    mask: int
    writer: RawChannelWriter
    name: str

    def wants(self, frame: CanFrame) -> bool:
        return self.extended == frame.extended and (self.value ^ frame.can_id) & self.mask == 0


# req: REQ_0640, REQ_0641 raw frames and nothing above them
class CanLinkDriver:
    """One interface of the gateway; a ``LinkDriver``.

    Args:
        interface: The seam: SocketCAN, a simulated node or a mock.
        clock: Clock of the gateway.
    """

    def __init__(self, interface: CanInterface, clock: Clock) -> None:
        self.interface: Final = interface
        self.filters: tuple[CanFilter, ...] | None = None
        """Filters in force; None while closed."""
        self.undelivered = 0
        """Frames that a full reader of the application lost; its channel's writer counts them too."""
        self.unmatched = 0
        """Frames that no channel wanted: remote frames, and those on their way while filters were changed."""
        self.overflowed = 0
        """Frames that the system dropped before the interface could read them."""
        self._clock = clock
        self._link: Link[CanRouting, CanFrame, CanFrame] | None = None
        self._matches: tuple[_Match, ...] = ()
        self._wanted: dict[tuple[int, bool], tuple[RawChannelWriter, ...]] = {}
        self._generation = -1
        self._is_widened = False
        self._retired: list[RawChannelWriter] = []
        self._retired_lock = threading.Lock()

    def attach(self, link: Link[CanRouting, CanFrame, CanFrame]) -> None:
        """Know the link that this driver serves; called once by the connector."""
        self._link = link
        link.wanted_by = self.channels_of
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
        self.interface.open(_Callbacks(self, self._clock))
        try:
            self._apply_filters()
        except StackError:
            self.interface.close()
            raise

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
        """Bring the filters up to date on the open socket; the bus does not notice."""
        self._compile_matches()
        self._close_retired()
        if self.interface.state is CanIfaceState.ACTIVE:
            self._apply_filters()

    # req: REQ_0613, REQ_0615 classical frames only
    def compose(self, routing: CanRouting, sample: RawSample, payload: memoryview) -> CanFrame:  # noqa: ARG002
        can_id = routing.can_id
        return _new_tuple(
            CanFrame, (can_id.value, payload.tobytes(), can_id.is_extended, False, 0, 0, False, False, False)
        )

    def transmit(self, message: CanFrame) -> None:
        try:
            self.interface.send(message)
        except LinkDown as error:
            if self.link.health.kind is not ConnectorHealthKind.DOWN:
                self.link.report(Down(IfaceDown(self.interface.name, str(error)), self._clock.now_ns()))
            raise

    # req: REQ_0614, REQ_0624
    def deliver(self, message: CanFrame) -> None:
        """Publish the data bytes on every matching channel, in order of opening; each gets its own envelope."""
        if self._generation != self.link.inbound_channels.generation:
            self._compile_matches()
        can_id, data, extended, remote, _, _, _, _, _ = message
        if remote:
            self.unmatched += 1
            return
        writers = self._wanted.get((can_id, extended))
        if writers is None:
            writers = self._find_writers(message)
        for writer in writers:
            try:
                writer.send_raw_bytes(data)
            except BackPressure:
                self.undelivered += 1
        if not writers:
            self.unmatched += 1

    def _find_writers(self, frame: CanFrame) -> tuple[RawChannelWriter, ...]:
        """Match ``frame`` against all channels, once per identifier; a bus can send more of those than are kept."""
        if len(self._wanted) >= _IDENTIFIERS_KEPT:
            self._wanted.clear()
        found = tuple(match.writer for match in self._matches if match.wants(frame))
        self._wanted[frame.can_id, frame.extended] = found
        return found

    # req: REQ_0608
    def channels_of(self, frame: CanFrame) -> list[str]:
        """Return the names of the channels that ``frame`` is for (any thread), as far as the gateway knows them now."""
        if frame.remote:
            return []
        return [match.name for match in self._matches if match.wants(frame)]

    # req: REQ_0625
    def _compile_matches(self) -> None:
        channels = self.link.inbound_channels
        self._generation = channels.generation
        self._wanted.clear()
        self._matches = tuple(
            _Match(
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


class _Callbacks:
    """What the interface calls, from any thread: fills the link's bridges, or nothing once they are closed."""

    __slots__ = ("_clock", "_driver", "_iface", "_link")

    def __init__(self, driver: CanLinkDriver, clock: Clock) -> None:
        self._driver = driver
        self._link = driver.link
        self._iface = driver.interface.name
        self._clock = clock

    def on_frame(self, frame: CanFrame) -> None:
        try:
            self._link.receive(frame)
        except Disconnected:
            return  # the connector is closing: the frame came too late

    # req: REQ_0631, REQ_0632, REQ_0633, REQ_0636, REQ_0643
    def on_error_frame(self, frame: CanErrorFrame) -> None:
        kind = classify(frame)
        if kind is CanErrorKind.BUS_OFF:
            self._report(Down(IfaceDown(self._iface, "bus-off"), self._clock.now_ns()))
        elif kind is CanErrorKind.PASSIVE:
            self._report(Degraded(ErrorPassive(self._iface)))
        elif kind is CanErrorKind.WARNING:
            self._report(Degraded(ErrorWarning(self._iface)))
        elif kind is CanErrorKind.OTHER and isinstance(health := self._link.health, Degraded):
            self._report(health)  # still errors: the recovery window starts anew

    def on_state(self, state: CanIfaceState, reason: str) -> None:
        if state is not CanIfaceState.ACTIVE:
            self._report(Down(IfaceDown(self._iface, reason), self._clock.now_ns()))

    def on_receive_overflow(self, lost: int) -> None:
        self._driver.overflowed += lost
        self._report(Degraded(ReceiveOverflow(self._iface, self._driver.overflowed)))

    # req: REQ_0296
    def on_failure(self, error: BaseException) -> None:
        self._link.fail(error)

    def _report(self, health: ConnectorHealth) -> None:
        try:
            self._link.report(health)
        except Disconnected:
            return  # as above
