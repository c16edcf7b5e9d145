"""What CAN error frames say about an interface: reasons with a text form, and one classifier; it keeps no state."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from taktora.can.interface import CanErrorClass, CanErrorFrame

__all__ = ["CanErrorKind", "ErrorPassive", "ErrorWarning", "IfaceDown", "ReceiveOverflow", "classify"]

_CONTROLLER_WARNING = 0x04 | 0x08  # receive or transmit counter at 96
_CONTROLLER_PASSIVE = 0x10 | 0x20  # receive or transmit counter at 128
_CONTROLLER_ACTIVE = 0x40


class CanErrorKind(Enum):
    """What one error frame comes down to; of several classes in one frame the gravest counts."""

    BUS_OFF = "bus-off"
    RESTARTED = "restarted"
    PASSIVE = "error-passive"
    WARNING = "error-warning"
    ACTIVE = "error-active"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class IfaceDown:
    """An interface carries nothing: bus-off, interface down or gone, or it cannot be opened."""

    iface: str
    cause: str = "bus-off"

    def __str__(self) -> str:
        return f"{self.iface} is down: {self.cause}"


@dataclass(frozen=True, slots=True)
class ErrorPassive:
    """The controller is error-passive: an error counter is at 128 or above."""

    iface: str

    def __str__(self) -> str:
        return f"{self.iface} is error-passive; check wiring, termination and bit rate"


@dataclass(frozen=True, slots=True)
class ErrorWarning:
    """The controller warns: an error counter is at 96 or above."""

    iface: str

    def __str__(self) -> str:
        return f"{self.iface} has reached the error warning limit"


@dataclass(frozen=True, slots=True)
class ReceiveOverflow:
    """The system dropped frames of an interface unread: its socket's receive buffer was full."""

    iface: str
    lost: int

    def __str__(self) -> str:
        return f"{self.iface} lost {self.lost} frames in its receive buffer; the process reads too slowly"


def classify(frame: CanErrorFrame) -> CanErrorKind:
    """Return the gravest thing that an error frame says, by bit test over its classes."""
    if CanErrorClass.BUS_OFF in frame.classes:
        return CanErrorKind.BUS_OFF
    if CanErrorClass.RESTARTED in frame.classes:
        return CanErrorKind.RESTARTED
    detail = frame.data[1] if CanErrorClass.CONTROLLER in frame.classes and len(frame.data) > 1 else 0
    if detail & _CONTROLLER_PASSIVE:
        return CanErrorKind.PASSIVE
    if detail & _CONTROLLER_WARNING:
        return CanErrorKind.WARNING
    return CanErrorKind.ACTIVE if detail & _CONTROLLER_ACTIVE else CanErrorKind.OTHER
