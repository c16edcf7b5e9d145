"""The envelope, wire version 2: 64 bytes of header before the payload; pure bytes work, it never opens a port.

=======  ====  ================  ==========================================================
offset   size  field             rule
=======  ====  ================  ==========================================================
0        8     sequence_number   per writer and channel, from 0, one more per published envelope
8        8     timestamp_ns      UNIX nanoseconds at the loan
16       32    correlation_id    carried untouched; zeros if unused
48       4     payload_len       valid payload bytes
52       4     reserved          0 by default; a raw sender may stamp it
56       4     crc32             CRC-32 (IEEE) over bytes 0..56, 60..64 and the valid payload
60       2     version           2
62       2     padding           0 when sent
64       N     payload           what lies beyond payload_len is old bytes: never read it
=======  ====  ================  ==========================================================

Native byte order, because both ends are on one host. Any change of up to 32 consecutive bits in the header or in the
valid payload is detected; so is every single bit.
"""

from __future__ import annotations

from functools import cache
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from taktora.errors import ConfigurationError
from taktora.transport.base import PayloadType

__all__ = [
    "CORRELATION_BYTES",
    "HEADER_BYTES",
    "MAX_PAYLOAD_BYTES",
    "NO_CORRELATION",
    "WIRE_VERSION",
    "Fields",
    "Header",
    "accept",
    "check",
    "diagnose",
    "envelope_type",
    "read_header",
    "stamp",
]

HEADER_BYTES = 64
WIRE_VERSION = 2
CORRELATION_BYTES = 32
NO_CORRELATION = bytes(CORRELATION_BYTES)
MAX_PAYLOAD_BYTES = 0xFFFF_FFFF
_ALIGNMENT = 8

_WHOLE = Struct("=QQ32sIIIHH")
_pack_whole_into = _WHOLE.pack_into
_pack_checksum_into = Struct("=I").pack_into
_unpack_whole = _WHOLE.unpack_from

Fields = tuple[int, int, bytes, int, int, int, int, int]
"""The header's eight fields in wire order as a bare tuple; :class:`Header` gives them names."""


class Header(NamedTuple):
    """The header's fields in wire order."""

    sequence_number: int
    timestamp_ns: int
    correlation_id: bytes
    payload_len: int
    reserved: int
    crc32: int
    version: int
    padding: int


# req: REQ_0200, REQ_0201
@cache
def envelope_type(max_payload_size: int) -> PayloadType:
    """Return the payload type of envelopes whose payload buffer holds ``max_payload_size`` bytes (1 to 2**32 - 1).

    Raises:
        ConfigurationError: the size is outside that range.
    """
    if not 1 <= max_payload_size <= MAX_PAYLOAD_BYTES:
        raise ConfigurationError(
            f"max_payload_size is {max_payload_size}, expected 1 to {MAX_PAYLOAD_BYTES} bytes; "
            "correct the channel's descriptor"
        )
    size_bytes = -(-(HEADER_BYTES + max_payload_size) // _ALIGNMENT) * _ALIGNMENT
    return PayloadType(f"taktora.ConnectorEnvelope<{max_payload_size}>", size_bytes, _ALIGNMENT)


# req: REQ_0204
def stamp(
    view: memoryview,
    sequence_number: int,
    timestamp_ns: int,
    correlation_id: bytes,
    payload_len: int,
    reserved: int = 0,
) -> None:
    """Write header and CRC around a payload that already lies at offset 64 of ``view``.

    Args:
        view: The whole envelope, writable.
        sequence_number: 0 to 2**64 - 1.
        timestamp_ns: UNIX nanoseconds, 0 to 2**64 - 1.
        correlation_id: Exactly 32 bytes.
        payload_len: Valid bytes behind the header; they are covered by the CRC.
        reserved: 0 to 2**32 - 1.

    Raises:
        ConfigurationError: the correlation id has another length.
    """
    if correlation_id is not NO_CORRELATION and len(correlation_id) != CORRELATION_BYTES:
        raise ConfigurationError(f"correlation_id has {len(correlation_id)} bytes, expected {CORRELATION_BYTES}")
    _pack_whole_into(view, 0, sequence_number, timestamp_ns, correlation_id, payload_len, reserved, 0, WIRE_VERSION, 0)
    # The CRC is over all but its own four bytes; what is behind them lies in one piece.
    _pack_checksum_into(view, 56, crc32(view[60 : 64 + payload_len], crc32(view[:56])))


def read_header(view: memoryview) -> Header:
    """Return the header of ``view`` unchecked; it needs at least 64 bytes."""
    return Header(*_unpack_whole(view))


# req: TSR_0008
def accept(view: memoryview) -> Fields | None:
    """Return the header's fields if version, length and CRC are right, else None; :func:`diagnose` says why."""
    fields = _unpack_whole(view)
    payload_len = fields[3]
    if fields[6] != WIRE_VERSION or payload_len > len(view) - HEADER_BYTES:
        return None
    return fields if crc32(view[60 : 64 + payload_len], crc32(view[:56])) == fields[5] else None


def check(view: memoryview) -> bool:
    """Return whether ``view`` holds an intact envelope of wire version 2."""
    return len(view) >= HEADER_BYTES and accept(view) is not None


def diagnose(view: memoryview) -> str:
    """Return what is wrong with an envelope in words, with the value found and the one expected; empty if intact."""
    if len(view) < HEADER_BYTES:
        return f"{len(view)} bytes, expected at least {HEADER_BYTES}"
    header = read_header(view)
    if header.version != WIRE_VERSION:
        return f"wire version {header.version}, expected {WIRE_VERSION}"
    room = len(view) - HEADER_BYTES
    if header.payload_len > room:
        return f"payload_len {header.payload_len}, expected at most {room}"
    found = crc32(view[60 : 64 + header.payload_len], crc32(view[:56]))
    return "" if found == header.crc32 else f"crc32 {header.crc32:#010x}, computed {found:#010x}"
