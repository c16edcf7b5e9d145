"""What a frame is in arbitration, to kernel filters, on the wire and in the trace: worked out once for equal frames."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TypeAlias

from taktora.can.filter import kernel_id
from taktora.can.interface import CanFrame
from taktora.can.routing import EXTENDED_ID_MAX, STANDARD_ID_MAX
from taktora_sim.can.socket import FD_WORD
from taktora_sim.can.timing import arbitration_key, fd_frame_bits, frame_bits

__all__ = ["Bits", "Coded", "coded"]

Bits: TypeAlias = int | tuple[int, int]
"""Length on the wire with intermission; of a CAN FD frame the bits at the nominal and at the data rate."""
Coded: TypeAlias = tuple[int, int, Bits, bytes]
"""All that a frame is: rank, identifier word, bits on the wire, and what the trace says."""

_pack_head = struct.Struct("<IB").pack
_FD_MARK = 0x80
_BRS, _ESI = 0x01, 0x02
_FRAMES_KEPT = 1 << 15
"""Of all formats together, some 10 MB in a process: a hundred identifiers with a counter of 8 bits each fit in."""
_BOTH = (False, True)

# Data frames by identifier, then by their data: a tenth of what a cache by the whole frame would cost at each hit.
_Known: TypeAlias = dict[int, dict[bytes, Coded]]
_standard: _Known = {}
_extended: _Known = {}
_fd: dict[tuple[bool, bool, bool], _Known] = {(ext, brs, esi): {} for ext in _BOTH for brs in _BOTH for esi in _BOTH}
_kept: list[dict[bytes, Coded]] = []
"""For each frame that is remembered, where: its length is how many there are."""


@lru_cache(maxsize=4096)
def _ranked(can_id: int, extended: bool, remote: bool, fd: bool) -> tuple[int, int]:
    """Return what an identifier is on the wire and to the kernel: its rank in arbitration and its identifier word.

    Raises:
        ValueError: no frame of its format has it.
    """
    limit = EXTENDED_ID_MAX if extended else STANDARD_ID_MAX
    if not 0 <= can_id <= limit:
        bits = f"{limit.bit_length()} bits (EINVAL)"
        way_out = "give a smaller one" if extended else "a frame of 29 bits has extended=True"
        raise ValueError(f"identifier {can_id:#x} is outside 0..{limit:#x} of {bits}; {way_out}")
    frame = CanFrame(can_id, b"", extended, remote)
    return arbitration_key(can_id, extended, remote), kernel_id(frame) | (FD_WORD if fd else 0)


def coded(frame: CanFrame) -> Coded:
    """Return all that a frame is.

    The trace holds the identifier word (u32 little-endian), length or remote DLC (u8) and the data; of a CAN FD frame
    the length has 0x80 added, and a byte of flags follows it (BRS 1, ESI 2).

    Raises:
        ValueError: no frame of its format has the identifier.
    """
    if frame.fd:
        known = _fd[frame.extended, frame.brs, frame.esi]
    elif frame.remote:
        return _code(frame)
    else:
        known = _extended if frame.extended else _standard
    try:
        return known[frame.can_id][frame.data]
    except KeyError:
        return _remember(frame, known)


def _remember(frame: CanFrame, known: _Known) -> Coded:
    made = _code(frame)
    if len(_kept) >= _FRAMES_KEPT:
        for table in (_standard, _extended, *_fd.values()):
            table.clear()
        _kept.clear()
    contents = known.setdefault(frame.can_id, {})
    contents[frame.data] = made
    _kept.append(contents)
    return made


def _code(frame: CanFrame) -> Coded:
    can_id, data, extended, remote = frame.can_id, frame.data, frame.extended, frame.remote
    fd = frame.fd
    rank, rx_id = _ranked(can_id, extended, remote, fd)
    if fd:
        flags = (_BRS if frame.brs else 0) | (_ESI if frame.esi else 0)
        counts = fd_frame_bits.__wrapped__(can_id, data, extended, frame.brs, frame.esi)
        return rank, rx_id, counts, _pack_head(rx_id ^ FD_WORD, len(data) | _FD_MARK) + bytes((flags,)) + data
    length = frame.dlc if remote else len(data)
    bits = frame_bits.__wrapped__(can_id, data, extended, remote, frame.dlc if remote else 0)
    return rank, rx_id, bits, _pack_head(rx_id, length) + data
