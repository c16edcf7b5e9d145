"""What a CAN interface calls, from any thread: frames and error frames into the link's bounded bridges, no more."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from taktora.can.error_text import error_text
from taktora.can.health import (
    CanErrorKind,
    ControllerOverflow,
    ControllerRestarted,
    ErrorPassive,
    ErrorWarning,
    IfaceDown,
    NoAcknowledge,
    ReceiveOverflow,
    TransceiverFault,
    classify,
    has_overflowed,
)
from taktora.can.interface import CanErrorFrame, CanFrame, CanIfaceState
from taktora.clock import Clock
from taktora.connector.errors import Disconnected
from taktora.connector.health import ConnectorHealth, ConnectorHealthKind, Degraded, Down
from taktora.connector.link import Sign

if TYPE_CHECKING:
    from taktora.can.gateway import CanLinkDriver

__all__ = ["CanCallbacks"]

_log: Final = logging.getLogger(__name__)
_REPORTS_WAITING_MAX: Final = 256
"""Reports in the bridge beyond which those of trouble are left out: a flood must leave room for a bus-off."""
_HINT: Final = "a controller that is bus-off is restarted by restart-ms, or by 'ip link set {} type can restart'"


class CanCallbacks:
    """Listener of one opening of an interface; does nothing once the link is closed.

    Args:
        driver: The gateway's side; its counters are counted here.
        clock: Clock of the gateway.
    """

    __slots__ = ("_clock", "_driver", "_iface", "_link", "_receive")

    def __init__(self, driver: CanLinkDriver, clock: Clock) -> None:
        self._driver = driver
        self._link = driver.link
        self._receive = driver.link.receive
        self._iface = driver.interface.name
        self._clock = clock

    def on_frame(self, frame: CanFrame) -> None:
        receive = self._receive  # calling an attribute of an object costs more than a variable
        try:
            receive(frame)
        except Disconnected:
            return  # the connector is closing: the frame came too late

    # req: REQ_0631, REQ_0632, REQ_0633, REQ_0636, REQ_0643
    def on_error_frame(self, frame: CanErrorFrame) -> None:
        driver, kind, text = self._driver, classify(frame), error_text(frame)
        driver.error_frames += 1
        if has_overflowed(frame):
            driver.controller_overflows += 1
        _log.debug("%s: %s", self._iface, text)
        if kind is CanErrorKind.BUS_OFF:
            driver.is_restart_awaited = True
            detail = "" if text == "bus-off" else text.removeprefix("bus-off; ")
            down = IfaceDown(self._iface, detail=detail, hint=_HINT.format(self._iface))
            self._report(Down(down, self._clock.now_ns()))
            return
        driver.note_life()
        trouble = self._trouble_of(kind, text)
        if trouble is not None:
            self._report_trouble(Degraded(trouble))
        else:
            self._report_trouble(Sign.NOISE)
        if kind is CanErrorKind.RESTARTED:
            self._report(Sign.PROOF)

    def on_state(self, state: CanIfaceState, reason: str) -> None:
        if state is not CanIfaceState.ACTIVE:
            self._driver.is_restart_awaited = state is CanIfaceState.BUS_OFF
            self._report(Down(IfaceDown(self._iface, reason), self._clock.now_ns()))

    def on_receive_overflow(self, lost: int) -> None:
        self._driver.overflowed += lost
        self._report_trouble(Degraded(ReceiveOverflow(self._iface, self._driver.overflowed)))

    # req: REQ_0296
    def on_failure(self, error: BaseException) -> None:
        self._link.fail(error)

    # req: REQ_0630
    def _trouble_of(self, kind: CanErrorKind, text: str) -> object | None:
        """Return the reason to be Degraded; None for an error frame that by itself is no reason."""
        iface = self._iface
        match kind:
            case CanErrorKind.PASSIVE:
                return ErrorPassive(iface, text)
            case CanErrorKind.WARNING:
                return ErrorWarning(iface, text)
            case CanErrorKind.NO_ACKNOWLEDGE:
                return NoAcknowledge(iface)
            case CanErrorKind.TRANSCEIVER:
                return TransceiverFault(iface, text)
            case CanErrorKind.OVERFLOW:
                return ControllerOverflow(iface, self._driver.controller_overflows)
            case CanErrorKind.RESTARTED if self._link.health.kind is ConnectorHealthKind.UP:
                return ControllerRestarted(iface)
            case _:
                return None

    def _report_trouble(self, trouble: ConnectorHealth | Sign) -> None:
        if len(self._link.reports) < _REPORTS_WAITING_MAX:
            self._report(trouble)

    def _report(self, news: ConnectorHealth | Sign) -> None:
        try:
            self._link.report(news)
        except Disconnected:
            return  # as above
