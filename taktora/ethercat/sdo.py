"""The MainDevice's side of CoE as generators: they yield the mail to send and are sent the answers; no waiting.

Each yields the data of a CoE mail (without mailbox header), or None when one more answer to the last is to be read, and
is sent the data of the CoE mail that came back. Emergencies, error mails and time-outs are the caller's affair: an
emergency is put aside and the answer waited for further.
"""

from __future__ import annotations

import struct
from collections.abc import Generator
from typing import Final, NamedTuple, TypeAlias, TypeVar

from taktora.ethercat.coe import (
    COE_HEADER_BYTES,
    HEADER_BYTES,
    CoeService,
    InfoOpcode,
    MailboxProtocolError,
    SdoAbort,
    coe_frame,
    decode_coe,
    info_frame,
    sdo_frame,
)

__all__ = [
    "Dialogue",
    "EntryDescription",
    "ObjectDescription",
    "describe_entry",
    "describe_object",
    "download",
    "list_objects",
    "upload",
]

T = TypeVar("T")

Dialogue: TypeAlias = Generator[bytes | None, bytes, T]
"""Yields CoE mail to send (None: read on), is sent CoE mail received, returns the result."""

_SDO_HEAD_BYTES: Final = HEADER_BYTES + COE_HEADER_BYTES + 8
_SEGMENT_HEAD_BYTES: Final = HEADER_BYTES + COE_HEADER_BYTES + 1
_LEAST_SEGMENT_BYTES: Final = 7
_COMPLETE: Final = 0x10
_TOGGLE: Final = 0x10


class ObjectDescription(NamedTuple):
    """Answer of SDO information about an object: ``code`` 7 variable, 8 array, 9 record."""

    object_index: int
    data_type: int
    max_subindex: int
    code: int
    name: str


class EntryDescription(NamedTuple):
    """Answer of SDO information about an entry; ``access`` as in ``taktora.ethercat.dictionary.Access``."""

    object_index: int
    subindex: int
    data_type: int
    bits: int
    access: int
    name: str


def upload(index: int, subindex: int, *, complete: bool = False) -> Dialogue[bytes]:
    """Read an object: expedited, normal or segmented, as the device decides.

    Raises:
        SdoAbort: the device refuses.
        MailboxProtocolError: an answer that does not fit.
    """
    command = 0x40 | (_COMPLETE if complete else 0)
    answer = yield sdo_frame(CoeService.SDO_REQUEST, command, index, subindex)
    body = _sdo_body(answer, index, subindex, 0x40)
    if body[0] & 0x02:
        return body[4 : 8 - (body[0] >> 2 & 3 if body[0] & 0x01 else 0)]
    size = int.from_bytes(body[4:8], "little")
    data = bytearray(body[8 : 8 + size])
    toggle = 0
    while len(data) < size:
        answer = yield coe_frame(CoeService.SDO_REQUEST, bytes((0x60 | toggle,)) + bytes(7))
        body = _segment_body(answer, index, subindex, toggle)
        data += body[1:8][: 7 - (body[0] >> 1 & 7)] if len(body) <= 8 else body[1:]
        if body[0] & 0x01:
            break
        toggle ^= _TOGGLE
    if len(data) != size:
        raise MailboxProtocolError(f"upload of 0x{index:04X}:{subindex:02X} gave {len(data)} bytes, {size} announced")
    return bytes(data)


def download(index: int, subindex: int, data: bytes, mailbox_bytes: int, *, complete: bool = False) -> Dialogue[None]:
    """Write an object: expedited up to 4 bytes, normal if it fits a mailbox of ``mailbox_bytes``, else in segments.

    Raises:
        SdoAbort: the device refuses.
        MailboxProtocolError: an answer that does not fit.
    """
    access = _COMPLETE if complete else 0
    if 0 < len(data) <= 4:
        command = 0x23 | access | (4 - len(data)) << 2
        answer = yield sdo_frame(CoeService.SDO_REQUEST, command, index, subindex, data)
        _sdo_body(answer, index, subindex, 0x60)
        return
    room = mailbox_bytes - _SDO_HEAD_BYTES
    first, rest = data[:room], data[room:]
    size = len(data).to_bytes(4, "little")
    answer = yield sdo_frame(CoeService.SDO_REQUEST, 0x21 | access, index, subindex, size + first)
    _sdo_body(answer, index, subindex, 0x60)
    toggle = 0
    while rest:
        part, rest = rest[: mailbox_bytes - _SEGMENT_HEAD_BYTES], rest[mailbox_bytes - _SEGMENT_HEAD_BYTES :]
        short = max(0, _LEAST_SEGMENT_BYTES - len(part))
        command = toggle | short << 1 | (0 if rest else 1)
        answer = yield coe_frame(CoeService.SDO_REQUEST, bytes((command,)) + part + bytes(short))
        _segment_body(answer, index, subindex, 0x20 | toggle, mask=0xF0)
        toggle ^= _TOGGLE


def list_objects(kind: int = 1) -> Dialogue[tuple[int, ...]]:
    """Return the indices of all objects; ``kind`` 1 all, 2 RxPDO mappable, 3 TxPDO mappable."""
    body = yield from _information(InfoOpcode.LIST_REQUEST, InfoOpcode.LIST_RESPONSE, kind.to_bytes(2, "little"), 0)
    return tuple(number for (number,) in struct.iter_unpack("<H", body[2 : len(body) & ~1]))


def describe_object(index: int) -> Dialogue[ObjectDescription]:
    """Return what the device says about an object. Raises ``SdoAbort`` if it does not exist."""
    request = index.to_bytes(2, "little")
    body = yield from _information(InfoOpcode.OBJECT_REQUEST, InfoOpcode.OBJECT_RESPONSE, request, index)
    found, data_type, max_subindex, code = struct.unpack_from("<HHBB", _long_enough(body, 6))
    return ObjectDescription(found, data_type, max_subindex, code, body[6:].decode("latin-1"))


def describe_entry(index: int, subindex: int) -> Dialogue[EntryDescription]:
    """Return what the device says about an entry. Raises ``SdoAbort`` if it does not exist."""
    request = struct.pack("<HBB", index, subindex, 0)
    body = yield from _information(InfoOpcode.ENTRY_REQUEST, InfoOpcode.ENTRY_RESPONSE, request, index, subindex)
    found, sub, _info, data_type, bits, access = struct.unpack_from("<HBBHHH", _long_enough(body, 10))
    return EntryDescription(found, sub, data_type, bits, access, body[10:].decode("latin-1"))


def _information(request: int, response: int, body: bytes, index: int, subindex: int = 0) -> Dialogue[bytes]:
    """Ask, and put the fragments of the answer together."""
    collected = b""
    outgoing: bytes | None = info_frame(request, body)
    while True:
        answer = yield outgoing
        service, data = decode_coe(answer)
        if service == CoeService.SDO_REQUEST and data[:1] == b"\x80":
            raise SdoAbort(index, subindex, int.from_bytes(data[4:8], "little"))
        if service != CoeService.SDO_INFORMATION or len(data) < 4:
            raise MailboxProtocolError(f"SDO information was answered by service {service} with {len(data)} bytes")
        opcode, left = data[0] & 0x7F, int.from_bytes(data[2:4], "little")
        if opcode == InfoOpcode.ERROR:
            raise SdoAbort(index, subindex, int.from_bytes(data[4:8], "little"))
        if opcode != response:
            raise MailboxProtocolError(f"SDO information {request} was answered by {opcode}, expected {response}")
        collected += data[4:]
        if not left:
            return collected
        outgoing = None


def _sdo_body(answer: bytes, index: int, subindex: int, command: int) -> bytes:
    """Return the body of the answer to an initiating request."""
    body = _answer(answer, index, subindex)
    if body[0] & 0xE0 != command:
        raise MailboxProtocolError(_unfit(index, subindex, body, f"0x{command:02X}"))
    if struct.unpack_from("<HB", body, 1) != (index, subindex):
        found = struct.unpack_from("<HB", body, 1)
        what = f"0x{found[0]:04X}:{found[1]:02X}"
        raise MailboxProtocolError(f"SDO 0x{index:04X}:{subindex:02X} was answered by one about {what}")
    return body


def _segment_body(answer: bytes, index: int, subindex: int, command: int, mask: int = 0xF0) -> bytes:
    body = _answer(answer, index, subindex)
    if body[0] & mask != command:
        raise MailboxProtocolError(_unfit(index, subindex, body, f"0x{command:02X} (toggle)"))
    return body


def _answer(answer: bytes, index: int, subindex: int) -> bytes:
    service, body = decode_coe(answer)
    if len(body) < 8:
        raise MailboxProtocolError(f"SDO 0x{index:04X}:{subindex:02X} was answered by {len(body)} bytes, expected 8")
    if body[0] == 0x80:  # whatever the service: some devices abort as a response
        raise SdoAbort(index, subindex, int.from_bytes(body[4:8], "little"))
    if service != CoeService.SDO_RESPONSE:
        raise MailboxProtocolError(f"SDO 0x{index:04X}:{subindex:02X} was answered by CoE service {service}")
    return body


def _unfit(index: int, subindex: int, body: bytes, expected: str) -> str:
    return f"SDO 0x{index:04X}:{subindex:02X} was answered by command 0x{body[0]:02X}, expected {expected}"


def _long_enough(body: bytes, length: int) -> bytes:
    if len(body) < length:
        raise MailboxProtocolError(f"SDO information of {len(body)} bytes, expected at least {length}")
    return body
