"""What goes wrong on the wire of a simulated CAN bus, as values, and how SocketCAN words it; it decides nothing.

The layout of error frames follows ``linux/can/error.h`` and the drivers of the kernel: one frame per change of the
controller's state, with its counters; one per error on the wire where bus-error reporting is on.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from taktora.can.interface import CanErrorClass, CanErrorFrame, CanFrame
from taktora_sim.can.controller import Controller, ControllerState
from taktora_sim.can.timing import WireImage, arbitration_key, wire_image

__all__ = [
    "ALL_ERRORS",
    "Attempt",
    "BusError",
    "FrameLoss",
    "WireError",
    "WireErrorKind",
    "arbitration_lost",
    "bus_error",
    "controller_overflow",
    "overheard",
    "state_change",
]

ALL_ERRORS: Final = CanErrorClass(0x3FF)


class WireErrorKind(Enum):
    """The five errors that a controller can detect (ISO 11898-1)."""

    BIT = "bit"
    STUFF = "stuff"
    FORM = "form"
    CRC = "crc"
    ACK = "acknowledge"


class FrameLoss(Enum):
    """Why an accepted frame was never sent."""

    BUS_OFF = "bus-off"
    INTERFACE_DOWN = "interface down"
    ONE_SHOT = "one-shot"
    LISTEN_ONLY = "listen-only"


class Attempt(NamedTuple):
    """One start of frame; ``number`` is 1 for the first attempt to send ``frame``."""

    start_ns: int
    node: str
    frame: CanFrame
    number: int


class WireError(NamedTuple):
    """An error that is to happen to an attempt.

    Args:
        kind: What is detected.
        bit: The bit at which it is, counted from start of frame (0) with stuff bits. A CRC error is flagged after the
            ACK delimiter and a missing acknowledge in its slot, wherever ``bit`` is.
        by: None: the transmitter sees it first. Names of nodes: these receivers see it first, the others do not.
    """

    kind: WireErrorKind
    bit: int
    by: tuple[str, ...] | None = None


class BusError(NamedTuple):
    """One attempt that was destroyed: start of frame, end of the error delimiter, and the error that did it.

    ``by`` is empty when the transmitter saw it first.
    """

    start_ns: int
    end_ns: int
    node: str
    frame: CanFrame
    kind: WireErrorKind
    bit: int
    by: tuple[str, ...]


_TRANSMIT_FLAGS: Final = {
    ControllerState.ERROR_ACTIVE: 0x40,
    ControllerState.ERROR_WARNING: 0x08,
    ControllerState.ERROR_PASSIVE: 0x20,
}
_RECEIVE_FLAGS: Final = {
    ControllerState.ERROR_ACTIVE: 0x40,
    ControllerState.ERROR_WARNING: 0x04,
    ControllerState.ERROR_PASSIVE: 0x10,
}
_RX_OVERFLOW: Final = 0x01
_PROT_TX: Final = 0x80
_PROT_TYPES: Final = {WireErrorKind.FORM: 0x02, WireErrorKind.STUFF: 0x04, WireErrorKind.CRC: 0, WireErrorKind.ACK: 0}
_BIT0, _BIT1 = 0x08, 0x10
_PLACES: Final = {
    "sof": 0x03,
    "srr": 0x04,
    "ide": 0x05,
    "rtr": 0x0C,
    "r1": 0x0D,
    "r0": 0x09,
    "fdf": 0x0D,
    "res": 0x09,
    "brs": 0x0D,
    "esi": 0x0D,
    "dlc": 0x0B,
    "data": 0x0A,
    "stuff_count": 0x08,
    "crc": 0x08,
    "crc_delimiter": 0x18,
    "ack": 0x19,
    "ack_delimiter": 0x1B,
    "eof": 0x1A,
    "intermission": 0x12,
}
_ID_PLACES: Final = {"id": ((8, 0x02), (11, 0x06)), "id_extension": ((5, 0x07), (13, 0x0F), (18, 0x0E))}


def state_change(controller: Controller, now_ns: int) -> CanErrorFrame:
    """Return the frame for a change of state: the side that leads sets its flag, both if they are equal."""
    if controller.is_bus_off:
        return CanErrorFrame(CanErrorClass.BUS_OFF, bytes(8), now_ns)
    sending, receiving = controller.transmit_state, controller.receive_state
    detail = _TRANSMIT_FLAGS[sending] if sending >= receiving else 0
    detail |= _RECEIVE_FLAGS[receiving] if receiving >= sending else 0
    return _frame(CanErrorClass.CONTROLLER, controller, now_ns, detail=detail)


def bus_error(
    kind: WireErrorKind, bit: int, image: WireImage, controller: Controller, *, sending: bool, now_ns: int
) -> CanErrorFrame:
    """Return the frame for one error on the wire, as drivers send it with bus-error reporting on."""
    classes, violation, place = _violation(kind, bit, image)
    return _frame(classes, controller, now_ns, violation=violation | (_PROT_TX if sending else 0), place=place)


def overheard(error: BusError) -> CanErrorFrame:
    """Return the frame by which a listener reports an error on the wire: whose counters rose it cannot know."""
    classes, violation, place = _violation(error.kind, error.bit, wire_image(error.frame))
    return CanErrorFrame(classes, bytes((0, 0, violation, place, 0, 0, 0, 0)), error.end_ns)


def _violation(kind: WireErrorKind, bit: int, image: WireImage) -> tuple[CanErrorClass, int, int]:
    violation = _PROT_TYPES.get(kind, _BIT1 if image.bits[bit] == "1" else _BIT0)
    place = _PLACES["crc"] if kind is WireErrorKind.CRC else _place(image, bit)
    classes = CanErrorClass.PROTOCOL | CanErrorClass.BUS_ERROR
    if kind is WireErrorKind.ACK:
        classes |= CanErrorClass.NO_ACK
    return classes, violation, place


def controller_overflow(controller: Controller, now_ns: int) -> CanErrorFrame:
    """Return the frame for a received frame that the controller had no room for."""
    return _frame(CanErrorClass.CONTROLLER, controller, now_ns, detail=_RX_OVERFLOW)


def arbitration_lost(own: CanFrame, winner: CanFrame, now_ns: int) -> CanErrorFrame:
    """Return the frame for a lost arbitration; its first byte is the bit that was lost, counted without stuff bits."""
    keys = [arbitration_key(frame.can_id, frame.extended, frame.remote) for frame in (own, winner)]
    bit = 33 - (keys[0] ^ keys[1]).bit_length()  # the key has ID28 at bit 31, and ID28 is bit 1 of the frame
    return CanErrorFrame(CanErrorClass.LOST_ARBITRATION, bytes((bit,)) + bytes(7), now_ns)


def _frame(
    classes: CanErrorClass, controller: Controller, now_ns: int, *, detail: int = 0, violation: int = 0, place: int = 0
) -> CanErrorFrame:
    data = bytes((0, detail, violation, place, 0, 0, min(controller.tec, 255), controller.rec))
    return CanErrorFrame(classes | CanErrorClass.COUNTERS, data, now_ns)


def _place(image: WireImage, bit: int) -> int:
    field = max((start, name) for name, start in image.starts.items() if start <= bit)[1]
    parts = _ID_PLACES.get(field)
    if parts is None:
        return _PLACES[field]
    offset = _without_stuffing(image.bits, bit) - _without_stuffing(image.bits, image.starts[field])
    return next((code for end, code in parts if offset < end), parts[-1][1])


def _without_stuffing(bits: str, count: int) -> int:
    """Return how many of the first ``count`` bits are no stuff bits."""
    kept = run = 0
    last = ""
    for bit in bits[:count]:
        if run == 5:
            run, last = 1, bit
            continue
        run = run + 1 if bit == last else 1
        last = bit
        kept += 1
    return kept
