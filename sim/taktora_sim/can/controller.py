"""The error counters of one CAN controller and the state they put it in (ISO 11898-1); it knows no bus and no clock.

Modelled: the transmit and receive error counters with every rule of fault confinement that a whole frame can show, the
limits 96 (warning), 128 (passive) and 256 (bus-off), and the return from bus-off with both counters at zero.
Simplified: the receive error counter stops at 255, as in registers of 8 bits; a good frame brings one above 127 back to
127 (the standard allows 119 to 127).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Protocol

from taktora.errors import StackError

__all__ = ["BUS_OFF_LIMIT", "PASSIVE_LIMIT", "WARNING_LIMIT", "Controller", "ControllerHost", "ControllerState"]

WARNING_LIMIT: Final = 96
PASSIVE_LIMIT: Final = 128
BUS_OFF_LIMIT: Final = 256
_REC_MAX: Final = 255
_TRANSMIT_ERROR: Final = 8
_FIRST_TO_COMPLAIN: Final = 8


class ControllerState(IntEnum):
    """Where the counters have brought a controller; the larger, the graver."""

    ERROR_ACTIVE = 0
    ERROR_WARNING = 1
    ERROR_PASSIVE = 2
    BUS_OFF = 3


class ControllerHost(Protocol):
    """Whom a controller tells of its state, and who carries out what needs a bus."""

    def state_changed(self, before: ControllerState) -> None:
        """The state of the controller is not ``before`` any more."""
        ...

    def counters_changed(self) -> None:
        """A person, not the bus, has set the counters."""
        ...

    def restart(self) -> None:
        """Have a bus-off controller come back."""
        ...


def _state_of(counter: int) -> ControllerState:
    if counter < WARNING_LIMIT:
        return ControllerState.ERROR_ACTIVE
    return ControllerState.ERROR_WARNING if counter < PASSIVE_LIMIT else ControllerState.ERROR_PASSIVE


# req: REQ_8201
class Controller:
    """Transmit and receive error counter of one node; changed by the bus, read by anybody."""

    def __init__(self, host: ControllerHost) -> None:
        self._host = host
        self._tec = 0
        self._rec = 0
        self._state = ControllerState.ERROR_ACTIVE

    @property
    def tec(self) -> int:
        """Transmit error counter, 0 to 256; 256 is bus-off."""
        return self._tec

    @property
    def rec(self) -> int:
        """Receive error counter, 0 to 255."""
        return self._rec

    @property
    def state(self) -> ControllerState:
        return self._state

    @property
    def transmit_state(self) -> ControllerState:
        """State by the transmit error counter alone."""
        return ControllerState.BUS_OFF if self._tec >= BUS_OFF_LIMIT else _state_of(self._tec)

    @property
    def receive_state(self) -> ControllerState:
        """State by the receive error counter alone; it never is bus-off."""
        return _state_of(self._rec)

    @property
    def is_bus_off(self) -> bool:
        """Neither sends nor receives nor acknowledges, until it has recovered."""
        return self._state is ControllerState.BUS_OFF

    @property
    def is_passive(self) -> bool:
        """Sends passive error flags, which disturb nobody; bus-off included."""
        return self._state >= ControllerState.ERROR_PASSIVE

    @property
    def is_clean(self) -> bool:
        """Both counters are zero."""
        return not (self._tec or self._rec)

    def restart(self) -> None:
        """Have the controller come back from bus-off, as ``ip link set can0 type can restart`` does.

        It takes part again after 128 times 11 recessive bits.

        Raises:
            StackError: it is not bus-off (EBUSY).
        """
        self._host.restart()

    def set_counters(self, tec: int, rec: int) -> None:
        """Set both counters, as no real controller lets one do; a transmit counter of 256 is bus-off.

        Raises:
            ValueError: ``tec`` is not within 0..256 or ``rec`` not within 0..255.
            StackError: the controller is bus-off; only a restart brings it back.
        """
        if not 0 <= tec <= BUS_OFF_LIMIT or not 0 <= rec <= _REC_MAX:
            raise ValueError(f"error counters TEC {tec}, REC {rec}: give a TEC of 0..256 and a REC of 0..255")
        if self.is_bus_off:
            raise StackError("error counters of a controller that is bus-off cannot be set; call restart()")
        self._change(tec, rec)
        self._host.counters_changed()

    def sent(self) -> None:
        """A frame was sent without an error."""
        if self._tec:
            self._change(self._tec - 1, self._rec)

    def received(self) -> None:
        """A frame was received without an error."""
        if self._rec:
            self._change(self._tec, min(self._rec - 1, PASSIVE_LIMIT - 1))

    def transmit_error(self) -> None:
        """It has sent an error flag as a transmitter, or seen eight dominant bits too many after it."""
        self._change(self._tec + _TRANSMIT_ERROR, self._rec)

    def receive_error(self, *, first: bool = False) -> None:
        """It has found an error as a receiver; ``first``: a dominant bit followed its own error flag."""
        self._change(self._tec, self._rec + 1 + (_FIRST_TO_COMPLAIN if first else 0))

    def dominant_run(self) -> None:
        """As a receiver it has seen eight dominant bits too many after its flag."""
        self._change(self._tec, self._rec + _FIRST_TO_COMPLAIN)

    def reset(self) -> None:
        """Come back error-active with both counters at zero: recovered from bus-off, or powered on."""
        before, self._state = self._state, ControllerState.ERROR_ACTIVE
        self._tec = self._rec = 0
        if before is not ControllerState.ERROR_ACTIVE:
            self._host.state_changed(before)

    def _change(self, tec: int, rec: int) -> None:
        if self._state is ControllerState.BUS_OFF:
            return
        self._tec, self._rec = min(tec, BUS_OFF_LIMIT), min(rec, _REC_MAX)
        before, self._state = self._state, max(self.transmit_state, self.receive_state)
        if self._state is not before:
            self._host.state_changed(before)
