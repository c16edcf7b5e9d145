"""Frames and filters as can-utils write them: ``123#1122``, ``18FEF100#R4``, ``123##1AABB``, ``123:7FF``."""

from __future__ import annotations

import re
from typing import Final

from taktora.can.dlc import CLASSICAL_MAX_BYTES, FD_LENGTHS
from taktora.can.filter import INVERTED_FLAG
from taktora.can.interface import CanErrorFrame, CanFilter, CanFrame
from taktora.can.routing import EXTENDED_ID_MAX, STANDARD_ID_MAX

__all__ = ["error_text", "frame_text", "parse_filter", "parse_frame"]

_ERROR_FLAG: Final = 0x2000_0000
_BRS: Final = 1
_ESI: Final = 2
_FRAME: Final = re.compile(
    r"(?P<id>[0-9A-Fa-f]{3}|[0-9A-Fa-f]{8})#"
    r"(?:R(?P<dlc>[0-8]?)|#(?P<flags>[0-9A-Fa-f])(?P<fd_data>[0-9A-Fa-f.]*)|(?P<data>[0-9A-Fa-f.]*))"
)
_FILTER: Final = re.compile(r"(?P<id>[0-9A-Fa-f]{1,8})(?P<sign>[:~])(?P<mask>[0-9A-Fa-f]{1,8})")


def frame_text(frame: CanFrame) -> str:
    """Return a frame as ``candump -L`` writes it."""
    identifier = f"{frame.can_id:08X}" if frame.extended else f"{frame.can_id:03X}"
    if frame.remote:
        return f"{identifier}#R{frame.dlc or ''}"
    flags = f"#{_BRS * frame.brs | _ESI * frame.esi:X}" if frame.fd else ""
    return f"{identifier}#{flags}{frame.data.hex().upper()}"


def error_text(frame: CanErrorFrame) -> str:
    """Return an error frame as ``candump -L`` writes it: the identifier word with the error flag."""
    return f"{_ERROR_FLAG | frame.classes:08X}#{frame.data.hex().upper()}"


def parse_frame(text: str) -> CanFrame:
    """Return the frame that ``cansend`` sends for ``text``.

    Raises:
        ValueError: it is none; the text says what is expected.
    """
    found = _FRAME.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{text!r} is no frame; expected 3 or 8 hexadecimal digits and '#data', '#R' with a length, or '##' with "
            "flags and data, as in 123#1122"
        )
    can_id, extended = int(found["id"], 16), len(found["id"]) == 8
    limit = EXTENDED_ID_MAX if extended else STANDARD_ID_MAX
    if can_id > limit:
        raise ValueError(f"identifier {found['id']} of {text!r} is above {limit:X}; expected 0 to {limit:X}")
    if found["dlc"] is not None:
        return CanFrame(can_id, b"", extended, True, int(found["dlc"] or "0"))
    if found["flags"] is None:
        return CanFrame(can_id, _data(found["data"], range(CLASSICAL_MAX_BYTES + 1), "0 to 8"), extended)
    flags = int(found["flags"], 16)
    data = _data(found["fd_data"], FD_LENGTHS, "0 to 8, 12, 16, 20, 24, 32, 48 or 64")
    return CanFrame(can_id, data, extended, fd=True, brs=bool(flags & _BRS), esi=bool(flags & _ESI))


def _data(text: str, lengths: range | tuple[int, ...], expected: str) -> bytes:
    digits = text.replace(".", "")
    if len(digits) % 2 or len(digits) // 2 not in lengths:
        raise ValueError(f"data {text!r} has {len(digits) / 2:g} bytes; expected {expected}")
    return bytes.fromhex(digits)


def parse_filter(text: str) -> CanFilter:
    """Return the kernel filter of ``id:mask``, or of ``id~mask`` for what differs; the words of ``can_filter``.

    The flags 80000000 (extended) and 40000000 (remote) are written in both words, and nothing is added.

    Raises:
        ValueError: it is none; the text says what is expected.
    """
    found = _FILTER.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no filter; expected ID:MASK, or ID~MASK for what differs, as in 123:C00007FF")
    can_id, mask = int(found["id"], 16), int(found["mask"], 16)
    if (can_id | mask) & _ERROR_FLAG:
        raise ValueError(
            f"filter {text!r} has the error flag 20000000; expected none: error frames are chosen by 'errors='"
        )
    return CanFilter(can_id | (INVERTED_FLAG if found["sign"] == "~" else 0), mask)
