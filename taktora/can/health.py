"""What CAN error frames say about an interface: reasons with a text form, and one classifier; it keeps no state."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from taktora.can.interface import CanErrorClass, CanErrorFrame, CanIfaceState

__all__ = [
    "CanErrorKind",
    "ControllerOverflow",
    "ControllerRestarted",
    "ErrorPassive",
    "ErrorWarning",
    "IfaceDown",
    "NoAcknowledge",
    "ReceiveOverflow",
    "RestartAwaited",
    "SendRefused",
    "TransceiverFault",
    "TransmitStalled",
    "classify",
    "has_overflowed",
    "state_after",
]

_CONTROLLER_OVERFLOW = 0x01  # frames lost in the controller's receive buffer
_CONTROLLER_WARNING = 0x04 | 0x08  # receive or transmit counter at 96
_CONTROLLER_PASSIVE = 0x10 | 0x20  # receive or transmit counter at 128
_CONTROLLER_ACTIVE = 0x40
_ACKNOWLEDGE_SLOT = 0x19


class CanErrorKind(Enum):
    """What one error frame comes down to; of several in one frame the gravest counts, which is the one named first."""

    BUS_OFF = "bus-off"
    RESTARTED = "restarted"
    PASSIVE = "error-passive"
    WARNING = "error-warning"
    NO_ACKNOWLEDGE = "no acknowledge"
    TRANSCEIVER = "transceiver"
    OVERFLOW = "overflow"
    ACTIVE = "error-active"
    OTHER = "other"


# req: REQ_0630
@dataclass(frozen=True, slots=True)
class IfaceDown:
    """An interface carries nothing: bus-off, interface down or gone, or it cannot be opened.

    ``detail`` is what the error frame said besides; ``hint`` is what a user may do. Neither tells two of them apart.
    """

    iface: str
    cause: str = "bus-off"
    detail: str = field(default="", compare=False)
    hint: str = field(default="", compare=False, repr=False)

    def __str__(self) -> str:
        names_it = self.cause.startswith(f"CAN interface {self.iface!r}")
        return _with(self.cause if names_it else f"{self.iface} is down: {self.cause}", self.detail)


@dataclass(frozen=True, slots=True)
class RestartAwaited:
    """An interface was bus-off; it is open again, and nothing has been heard that would show a running controller."""

    iface: str

    def __str__(self) -> str:
        return (
            f"{self.iface} was bus-off and nothing is heard since: the bus is silent, or the controller needs a "
            f"restart by the host ('ip link set {self.iface} type can restart', or restart-ms for the next time)"
        )


@dataclass(frozen=True, slots=True)
class ControllerRestarted:
    """The controller was restarted after a bus-off that did not show; frames may be missing."""

    iface: str

    def __str__(self) -> str:
        return f"{self.iface} was restarted after a bus-off; frames may be missing"


@dataclass(frozen=True, slots=True)
class ErrorPassive:
    """The controller is error-passive: an error counter is at 128 or above. ``detail``: as in :class:`IfaceDown`."""

    iface: str
    detail: str = field(default="", compare=False)

    def __str__(self) -> str:
        return _with(f"{self.iface} is error-passive; check wiring, termination and bit rate", self.detail)


@dataclass(frozen=True, slots=True)
class ErrorWarning:
    """The controller warns: an error counter is at 96 or above. ``detail``: as in :class:`IfaceDown`."""

    iface: str
    detail: str = field(default="", compare=False)

    def __str__(self) -> str:
        return _with(f"{self.iface} has reached the error warning limit", self.detail)


@dataclass(frozen=True, slots=True)
class NoAcknowledge:
    """Frames of the interface were not acknowledged by anybody."""

    iface: str

    def __str__(self) -> str:
        return (
            f"{self.iface}: no other node acknowledges; is the bus connected and terminated, is another node on, "
            "is the bit rate right?"
        )


@dataclass(frozen=True, slots=True)
class TransceiverFault:
    """The transceiver reports a fault of the wires. ``detail``: as in :class:`IfaceDown`."""

    iface: str
    detail: str = field(default="", compare=False)

    def __str__(self) -> str:
        return _with(f"{self.iface} has a fault on its wires", self.detail)


@dataclass(frozen=True, slots=True)
class ControllerOverflow:
    """The controller lost frames before the system could fetch them, ``times`` times so far; nobody knows how many."""

    iface: str
    times: int

    def __str__(self) -> str:
        return f"{self.iface} lost frames in its controller ({self.times} times); the computer fetches them too slowly"


@dataclass(frozen=True, slots=True)
class ReceiveOverflow:
    """The system dropped frames of an interface unread: its socket's receive buffer was full."""

    iface: str
    lost: int

    def __str__(self) -> str:
        return f"{self.iface} lost {self.lost} frames in its receive buffer; the process reads too slowly"


@dataclass(frozen=True, slots=True)
class SendRefused:
    """The interface refuses frames that it is given, or no frame can be made of what a channel sends."""

    iface: str
    cause: str

    def __str__(self) -> str:
        return f"{self.iface} refuses to send: {self.cause}"


@dataclass(frozen=True, slots=True)
class TransmitStalled:
    """The interface takes no further frame: for the whole recovery window none has left its full transmit queue."""

    iface: str

    def __str__(self) -> str:
        return (
            f"{self.iface} gets no frame out: nobody acknowledges, or others keep the bus busy; is the bus connected "
            "and terminated, is another node on, is the bit rate right?"
        )


# req: REQ_0631
def classify(frame: CanErrorFrame) -> CanErrorKind:
    """Return the gravest thing that an error frame says, by bit test over its classes and their details."""
    classes, data = frame.classes, frame.data.ljust(8, b"\0")
    detail = data[1] if CanErrorClass.CONTROLLER in classes else 0
    if CanErrorClass.BUS_OFF in classes:
        return CanErrorKind.BUS_OFF
    if CanErrorClass.RESTARTED in classes:
        return CanErrorKind.RESTARTED
    if detail & _CONTROLLER_PASSIVE:
        return CanErrorKind.PASSIVE
    if detail & _CONTROLLER_WARNING:
        return CanErrorKind.WARNING
    if CanErrorClass.NO_ACK in classes or (CanErrorClass.PROTOCOL in classes and data[3] == _ACKNOWLEDGE_SLOT):
        return CanErrorKind.NO_ACKNOWLEDGE
    if CanErrorClass.TRANSCEIVER in classes and data[4]:
        return CanErrorKind.TRANSCEIVER
    if detail & _CONTROLLER_OVERFLOW:
        return CanErrorKind.OVERFLOW
    return CanErrorKind.ACTIVE if detail & _CONTROLLER_ACTIVE else CanErrorKind.OTHER


def has_overflowed(frame: CanErrorFrame) -> bool:
    """Tell whether the controller has lost received frames, whatever else the error frame says."""
    return (
        CanErrorClass.CONTROLLER in frame.classes and len(frame.data) > 1 and bool(frame.data[1] & _CONTROLLER_OVERFLOW)
    )


# req: REQ_0633
def state_after(state: CanIfaceState, classes: CanErrorClass) -> CanIfaceState:
    """Return the state of an interface in ``state`` after an error frame: bus-off ends sending, a restart ends that."""
    if state is CanIfaceState.ACTIVE and CanErrorClass.BUS_OFF in classes:
        return CanIfaceState.BUS_OFF
    if state is CanIfaceState.BUS_OFF and CanErrorClass.RESTARTED in classes:
        return CanIfaceState.ACTIVE  # it was never closed, and its controller sends again
    return state


def _with(text: str, detail: str) -> str:
    return f"{text} ({detail})" if detail else text
