"""Writes packets of any link as pcapng with nanosecond time stamps; it knows no bus.

Format: draft-ietf-opsawg-pcapng, section header, interface description and enhanced packet blocks, little endian.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO, Final

__all__ = ["LINK_CAN", "LINK_ETHERNET", "PcapngWriter"]

LINK_ETHERNET: Final = 1
"""LINKTYPE_ETHERNET: from the destination address on, without FCS."""
LINK_CAN: Final = 227
"""LINKTYPE_CAN_SOCKETCAN: frames as SocketCAN lays them out, but with the identifier word big-endian."""

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 0x00000001, 0x00000006
_BYTE_ORDER = 0x1A2B3C4D
_SNAP_BYTES = 65535
_IF_NAME, _IF_TSRESOL, _PACKET_FLAGS, _APPLICATION = 2, 9, 2, 4
_INBOUND, _OUTBOUND = 1, 2
_PACKET_HEAD = struct.Struct("<IIIIIII")
_FLAGS = struct.Struct("<HHII")


class PcapngWriter:
    """One pcapng file with one interface.

    Args:
        path: Where to write.
        interface: Name of the interface, for people.
        link: Kind of the packets, one of the ``LINK_`` constants.
    """

    def __init__(self, path: Path | str, interface: str, link: int = LINK_ETHERNET) -> None:
        self._file: BinaryIO | None = _create(Path(path))
        version = struct.pack("<IHHq", _BYTE_ORDER, 1, 0, -1)
        self._file.write(_block(_SECTION, version + _option(_APPLICATION, b"taktora") + _option(0, b"")))
        options = _option(_IF_NAME, interface.encode()) + _option(_IF_TSRESOL, b"\x09") + _option(0, b"")
        self._file.write(_block(_INTERFACE, struct.pack("<HHI", link, 0, _SNAP_BYTES) + options))

    def write(self, unix_ns: int, data: bytes, *, is_inbound: bool) -> None:
        """Append one packet; nothing happens after ``close``.

        Args:
            unix_ns: Nanoseconds since 1970.
            data: The packet, as the kind of link has it.
            is_inbound: It came from the link, and not from who records.
        """
        if self._file is None:
            return
        size = len(data)
        padding = -size & 3
        total = 32 + size + padding + 12
        head = _PACKET_HEAD.pack(_PACKET, total, 0, unix_ns >> 32, unix_ns & 0xFFFF_FFFF, size, size)
        flags = _FLAGS.pack(_PACKET_FLAGS, 4, _INBOUND if is_inbound else _OUTBOUND, 0)
        self._file.write(b"".join((head, data, bytes(padding), flags, total.to_bytes(4, "little"))))

    def close(self) -> None:
        """Finish the file; idempotent."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _create(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("wb")


def _block(kind: int, body: bytes) -> bytes:
    total = len(body) + 12
    return struct.pack("<II", kind, total) + body + struct.pack("<I", total)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) & 3)
