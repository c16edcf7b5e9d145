"""Mailbox and CoE on the wire (ETG.1000.6): constants, abort codes, encoders and decoders; it waits for nothing.

Used by both sides: the simulated device's server and a MainDevice's client (:mod:`taktora.ethercat.sdo`).
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, NamedTuple

from taktora.errors import StackError

__all__ = [
    "ABORT_TEXTS",
    "COE_HEADER_BYTES",
    "HEADER_BYTES",
    "Abort",
    "CoeService",
    "InfoOpcode",
    "Mail",
    "MailboxError",
    "MailboxProtocolError",
    "MailboxType",
    "SdoAbort",
    "abort_text",
    "coe_frame",
    "decode_coe",
    "decode_mail",
    "emergency_frame",
    "encode_mail",
    "error_mail",
    "info_error",
    "info_frame",
    "next_counter",
    "sdo_abort",
    "sdo_frame",
]

HEADER_BYTES: Final = 6
"""Length of the mailbox header."""
COE_HEADER_BYTES: Final = 2

_HEADER: Final = struct.Struct("<HHBB")
_SDO: Final = struct.Struct("<BHB")
_ABORT: Final = struct.Struct("<BHBI")
_INFO: Final = struct.Struct("<BxH")


class MailboxType(IntEnum):
    """Protocol of a mail: bits 3:0 of byte 5."""

    ERROR = 0
    AOE = 1
    EOE = 2
    COE = 3
    FOE = 4
    SOE = 5
    VOE = 15


class MailboxError(IntEnum):
    """Detail of an error mail."""

    SYNTAX = 1
    UNSUPPORTED_PROTOCOL = 2
    INVALID_CHANNEL = 3
    SERVICE_NOT_SUPPORTED = 4
    INVALID_HEADER = 5
    SIZE_TOO_SHORT = 6
    NO_MORE_MEMORY = 7
    INVALID_SIZE = 8


class CoeService(IntEnum):
    """Bits 15:12 of the CoE header. An abort travels as SDO_REQUEST, also from device to MainDevice."""

    EMERGENCY = 1
    SDO_REQUEST = 2
    SDO_RESPONSE = 3
    SDO_INFORMATION = 8


class InfoOpcode(IntEnum):
    """Services of SDO information; bit 7 of the byte says that more fragments follow."""

    LIST_REQUEST = 1
    LIST_RESPONSE = 2
    OBJECT_REQUEST = 3
    OBJECT_RESPONSE = 4
    ENTRY_REQUEST = 5
    ENTRY_RESPONSE = 6
    ERROR = 7


class Abort(IntEnum):
    """SDO abort codes."""

    TOGGLE = 0x0503_0000
    TIMEOUT = 0x0504_0000
    COMMAND = 0x0504_0001
    MEMORY = 0x0504_0005
    UNSUPPORTED = 0x0601_0000
    WRITE_ONLY = 0x0601_0001
    READ_ONLY = 0x0601_0002
    COUNT_NOT_ZERO = 0x0601_0003
    NO_COMPLETE_ACCESS = 0x0601_0004
    NO_OBJECT = 0x0602_0000
    NOT_MAPPABLE = 0x0604_0041
    MAPPING_TOO_LONG = 0x0604_0042
    INCOMPATIBLE_PARAMETER = 0x0604_0043
    INCOMPATIBLE_DEVICE = 0x0604_0047
    HARDWARE = 0x0606_0000
    LENGTH = 0x0607_0010
    TOO_LONG = 0x0607_0012
    TOO_SHORT = 0x0607_0013
    NO_SUBINDEX = 0x0609_0011
    RANGE = 0x0609_0030
    TOO_HIGH = 0x0609_0031
    TOO_LOW = 0x0609_0032
    GENERAL = 0x0800_0000
    NOT_STORED = 0x0800_0020
    LOCAL_CONTROL = 0x0800_0021
    STATE = 0x0800_0022
    NO_DICTIONARY = 0x0800_0023


ABORT_TEXTS: Final[dict[int, str]] = {
    Abort.TOGGLE: "toggle bit not alternated",
    Abort.TIMEOUT: "SDO protocol timed out",
    Abort.COMMAND: "command specifier not valid or unknown",
    Abort.MEMORY: "out of memory",
    Abort.UNSUPPORTED: "access to this object is not supported",
    Abort.WRITE_ONLY: "object is write-only",
    Abort.READ_ONLY: "object is read-only",
    Abort.COUNT_NOT_ZERO: "subindex cannot be written while subindex 0 is not 0",
    Abort.NO_COMPLETE_ACCESS: "complete access is not supported",
    Abort.NO_OBJECT: "object does not exist",
    Abort.NOT_MAPPABLE: "object cannot be mapped into the PDO",
    Abort.MAPPING_TOO_LONG: "mapped objects exceed the PDO's length",
    Abort.INCOMPATIBLE_PARAMETER: "parameters do not go together",
    Abort.INCOMPATIBLE_DEVICE: "internal incompatibility in the device",
    Abort.HARDWARE: "hardware error",
    Abort.LENGTH: "length does not match the data type",
    Abort.TOO_LONG: "data too long for the data type",
    Abort.TOO_SHORT: "data too short for the data type",
    Abort.NO_SUBINDEX: "subindex does not exist",
    Abort.RANGE: "value out of range",
    Abort.TOO_HIGH: "value too high",
    Abort.TOO_LOW: "value too low",
    Abort.GENERAL: "general error",
    Abort.NOT_STORED: "data cannot be transferred or stored",
    Abort.LOCAL_CONTROL: "data cannot be stored because of local control",
    Abort.STATE: "not possible in the present AL state",
    Abort.NO_DICTIONARY: "no object dictionary is present",
}


def abort_text(code: int) -> str:
    """Return what an abort code means: ``0x06010002 (object is read-only)``."""
    return f"0x{code:08X} ({ABORT_TEXTS.get(code, 'code of the manufacturer')})"


class SdoAbort(StackError):
    """The device refused an SDO transfer.

    Args:
        index: Index of the object.
        subindex: Its subindex.
        code: Abort code.
    """

    def __init__(self, index: int, subindex: int, code: int) -> None:
        self.index = index
        self.subindex = subindex
        self.code = code
        super().__init__(f"SDO 0x{index:04X}:{subindex:02X} was aborted with {abort_text(code)}")


class MailboxProtocolError(StackError):
    """An answer that the protocol does not allow."""


class Mail(NamedTuple):
    """One mail without its header; ``counter`` 1 to 7, 0 where the sender does not count."""

    type: int
    data: bytes
    counter: int = 0
    address: int = 0
    priority: int = 0


def encode_mail(mail: Mail) -> bytes:
    """Return header and data, without padding."""
    kind = mail.type & 0xF | (mail.counter & 7) << 4
    return _HEADER.pack(len(mail.data), mail.address, (mail.priority & 3) << 6, kind) + mail.data


def decode_mail(data: bytes) -> Mail:
    """Return the mail in the content of a mailbox, padding removed.

    Raises:
        MailboxProtocolError: shorter than the header, or a length beyond the mailbox.
    """
    if len(data) < HEADER_BYTES:
        raise MailboxProtocolError(f"mail of {len(data)} bytes, expected at least {HEADER_BYTES}")
    length, address, channel, kind = _HEADER.unpack_from(data)
    if length > len(data) - HEADER_BYTES:
        raise MailboxProtocolError(f"mail says {length} bytes and its mailbox holds {len(data) - HEADER_BYTES}")
    return Mail(kind & 0xF, data[HEADER_BYTES : HEADER_BYTES + length], kind >> 4 & 7, address, channel >> 6)


def next_counter(counter: int) -> int:
    """Return the counter of the mail after that with ``counter``: 1 to 7, then 1 again."""
    return counter % 7 + 1


def error_mail(detail: int) -> bytes:
    """Return the data of an error mail."""
    return struct.pack("<HH", 1, detail)


def coe_frame(service: int, body: bytes) -> bytes:
    """Return the data of a CoE mail."""
    return (service << 12).to_bytes(COE_HEADER_BYTES, "little") + body


def decode_coe(data: bytes) -> tuple[int, bytes]:
    """Return service and body of a CoE mail.

    Raises:
        MailboxProtocolError: shorter than the CoE header.
    """
    if len(data) < COE_HEADER_BYTES:
        raise MailboxProtocolError(f"CoE mail of {len(data)} bytes, expected at least {COE_HEADER_BYTES}")
    return data[1] >> 4, data[COE_HEADER_BYTES:]


def sdo_frame(service: int, command: int, index: int, subindex: int, data: bytes = b"") -> bytes:
    """Return an SDO request or response with its command byte, address and data, at least the eight bytes of CAN."""
    return coe_frame(service, (_SDO.pack(command, index, subindex) + data).ljust(8, b"\0"))


def sdo_abort(index: int, subindex: int, code: int) -> bytes:
    """Return an abort. It travels as an SDO *request* either way: MainDevices do not look for it elsewhere."""
    return coe_frame(CoeService.SDO_REQUEST, _ABORT.pack(0x80, index, subindex, code))


def emergency_frame(error_code: int, error_register: int, data: bytes) -> bytes:
    """Return an emergency; ``data`` has five bytes of the manufacturer."""
    body = struct.pack("<HB", error_code, error_register) + data[:5].ljust(5, b"\0")
    return coe_frame(CoeService.EMERGENCY, body)


def info_frame(opcode: int, body: bytes, fragments_left: int = 0) -> bytes:
    """Return a mail of SDO information; more than 0 ``fragments_left`` sets the incomplete bit."""
    return coe_frame(
        CoeService.SDO_INFORMATION, _INFO.pack(opcode | (0x80 if fragments_left else 0), fragments_left) + body
    )


def info_error(code: int) -> bytes:
    """Return the refusal of an SDO information request."""
    return info_frame(InfoOpcode.ERROR, code.to_bytes(4, "little"))
