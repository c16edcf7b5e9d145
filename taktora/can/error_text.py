"""Error frames in words: what the bits of ``linux/can/error.h`` say, for logs and reasons; it judges nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from taktora.can.interface import CanErrorClass, CanErrorFrame

__all__ = ["error_text"]

_CONTROLLER: Final = {
    0x01: "receive buffer overflow",
    0x02: "transmit buffer overflow",
    0x04: "receive errors at the warning limit",
    0x08: "transmit errors at the warning limit",
    0x10: "error-passive by receive errors",
    0x20: "error-passive by transmit errors",
    0x40: "error-active again",
}
_VIOLATION: Final = {
    0x01: "bit error",
    0x02: "form error",
    0x04: "stuff error",
    0x08: "dominant bit not sent",
    0x10: "recessive bit not sent",
    0x20: "overload",
    0x40: "active error announced",
    0x80: "while sending",
}
_PLACE: Final = {
    0x03: "start of frame",
    0x02: "identifier bits 28-21",
    0x06: "identifier bits 20-18",
    0x04: "SRR bit",
    0x05: "IDE bit",
    0x07: "identifier bits 17-13",
    0x0F: "identifier bits 12-5",
    0x0E: "identifier bits 4-0",
    0x0C: "RTR bit",
    0x0D: "reserved bit 1",
    0x09: "reserved bit 0",
    0x0B: "data length code",
    0x0A: "data",
    0x08: "CRC",
    0x18: "CRC delimiter",
    0x19: "acknowledge slot",
    0x1B: "acknowledge delimiter",
    0x1A: "end of frame",
    0x12: "intermission",
}
_WIRE: Final = {4: "not connected", 5: "short to battery", 6: "short to Vcc", 7: "short to ground"}
_TRANSMIT_ERRORS, _RECEIVE_ERRORS = 6, 7  # where the counters stand; drivers before Linux 6.0 do not mark them


def error_text(frame: CanErrorFrame) -> str:
    """Return what ``frame`` says, gravest first: ``bus-off; bit error while sending in data; 248 transmit errors``."""
    return "; ".join(_parts(frame.classes, frame.data.ljust(8, b"\0"))) or "error frame without content"


def _parts(classes: CanErrorClass, data: bytes) -> Iterator[str]:
    if CanErrorClass.BUS_OFF in classes:
        yield "bus-off"
    if CanErrorClass.RESTARTED in classes:
        yield "controller restarted"
    if CanErrorClass.CONTROLLER in classes:
        yield _named(_CONTROLLER, data[1], ", ") or "controller trouble of no named kind"
    if CanErrorClass.NO_ACK in classes:
        yield "no acknowledge"
    if CanErrorClass.PROTOCOL in classes:
        yield _violation(data[2], data[3])
    if CanErrorClass.TRANSCEIVER in classes:
        yield _wires(data[4])
    if CanErrorClass.LOST_ARBITRATION in classes:
        yield f"arbitration lost at bit {data[0]}" if data[0] else "arbitration lost"
    if CanErrorClass.TX_TIMEOUT in classes:
        yield "transmission timed out"
    if CanErrorClass.BUS_ERROR in classes:
        yield "bus error"
    if CanErrorClass.COUNTERS in classes or data[_TRANSMIT_ERRORS] or data[_RECEIVE_ERRORS]:
        yield f"{data[_TRANSMIT_ERRORS]} transmit errors, {data[_RECEIVE_ERRORS]} receive errors"


def _named(names: Mapping[int, str], bits: int, between: str) -> str:
    return between.join(name for bit, name in names.items() if bits & bit)


def _violation(kinds: int, place: int) -> str:
    what = _named(_VIOLATION, kinds, " ") or "protocol violation"
    return f"{what} in {_PLACE.get(place, f'place {place:#04x}')}" if place else what


def _wires(status: int) -> str:
    faults = []
    if status & 0x80:
        faults.append("CANL and CANH short")
    for wire, code in (("CANH", status & 0x0F), ("CANL", status >> 4 & 0x07)):
        if code:
            faults.append(f"{wire} {_WIRE.get(code, f'status {code}')}")
    return "transceiver: " + (", ".join(faults) or "trouble of no named kind")
