"""Writes the frames of a simulated segment as pcapng with nanosecond time stamps; it changes nothing.

A packet that the MainDevice sends is marked outbound, one that comes back inbound.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from taktora_sim.pcapng import PcapngWriter

if TYPE_CHECKING:
    from taktora_sim.ethercat.segment import SimulatedSegment

__all__ = ["SegmentRecording"]


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
