"""Writes the frames of a simulated segment as pcapng with nanosecond time stamps; it changes nothing.

Format: draft-ietf-opsawg-pcapng, section header, interface description (Ethernet) and enhanced packet blocks, little
endian. A packet that the MainDevice sends is marked outbound, one that comes back inbound.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from taktora_sim.ethercat.segment import SimulatedSegment

__all__ = ["PcapngWriter", "SegmentRecording"]

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 0x00000001, 0x00000006
_BYTE_ORDER = 0x1A2B3C4D
_ETHERNET = 1
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
    """

    def __init__(self, path: Path | str, interface: str) -> None:
        self._file: BinaryIO | None = _create(Path(path))
        version = struct.pack("<IHHq", _BYTE_ORDER, 1, 0, -1)
        self._file.write(_block(_SECTION, version + _option(_APPLICATION, b"taktora") + _option(0, b"")))
        options = _option(_IF_NAME, interface.encode()) + _option(_IF_TSRESOL, b"\x09") + _option(0, b"")
        self._file.write(_block(_INTERFACE, struct.pack("<HHI", _ETHERNET, 0, _SNAP_BYTES) + options))

    def write(self, unix_ns: int, data: bytes, *, is_inbound: bool) -> None:
        """Append one packet; nothing happens after ``close``.

        Args:
            unix_ns: Nanoseconds since 1970.
            data: From the destination address on, without FCS.
            is_inbound: It came back.
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


# req: REQ_8111
class SegmentRecording:
    """Records a segment, as seen by the MainDevice's interface, until ``close`` or the end of the World.

    Args:
        segment: What to listen to.
        path: The pcapng file.
    """

    def __init__(self, segment: SimulatedSegment, path: Path | str) -> None:
        self.path = Path(path)
        self.frames = 0
        self._epoch_ns = segment.world.epoch_unix_ns
        self._writer = PcapngWriter(self.path, segment.path)
        segment.observe(self._write)
        segment.world.on_close(self.close)

    def close(self) -> None:
        """Finish the file; idempotent."""
        self._writer.close()

    def _write(self, at_ns: int, data: bytes, is_reply: bool) -> None:
        self._writer.write(self._epoch_ns + at_ns, data, is_inbound=is_reply)
        self.frames += 1


def _create(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("wb")


def _block(kind: int, body: bytes) -> bytes:
    total = len(body) + 12
    return struct.pack("<II", kind, total) + body + struct.pack("<I", total)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) & 3)
