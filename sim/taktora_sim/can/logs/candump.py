"""The notation of candump logs (``candump -L``, canplayer): one line a frame, written and read; it opens no file."""

from __future__ import annotations

import re
from typing import NamedTuple

from taktora.can.dlc import CLASSICAL_MAX_BYTES, FD_LENGTHS
from taktora.can.filter import EFF_FLAG
from taktora.can.interface import CanErrorClass, CanErrorFrame, CanFrame
from taktora.can.routing import EXTENDED_ID_MAX, STANDARD_ID_MAX, CanFdFlags

__all__ = ["ERROR_FLAG", "SCREEN_HINT", "CandumpLine", "candump_line", "parse_candump_line"]

ERROR_FLAG = 0x2000_0000
"""Mark of an error frame in the identifier word (``linux/can.h``)."""
SCREEN_HINT = "is what candump shows on the screen; 'candump -l' or 'candump -L' writes what can be read"
"""What is wrong with a line of the output of ``candump`` without an option for logs."""
_ERROR_BYTES = 8
_CLASSICAL_LENGTHS = range(CLASSICAL_MAX_BYTES + 1)


class CandumpLine(NamedTuple):
    """What one line says: time in ns since the log's origin, interface, frame."""

    time_ns: int
    channel: str
    frame: CanFrame | CanErrorFrame


# req: REQ_8205
def candump_line(unix_ns: int, channel: str, frame: CanFrame | CanErrorFrame) -> str:
    """Return one line as ``candump -L`` writes it; the time is cut to 1 us."""
    seconds, rest_ns = divmod(unix_ns, 1_000_000_000)
    return f"({seconds}.{rest_ns // 1000:06d}) {channel} {_content(frame)}\n"


def _content(frame: CanFrame | CanErrorFrame) -> str:
    if isinstance(frame, CanErrorFrame):
        return f"{ERROR_FLAG | frame.classes:08X}#{frame.data.hex().upper()}"
    identifier = f"{frame.can_id:08X}" if frame.extended else f"{frame.can_id:03X}"
    if frame.remote:
        code = f"{CLASSICAL_MAX_BYTES}_{frame.dlc:X}" if frame.dlc > CLASSICAL_MAX_BYTES else frame.dlc or ""
        return f"{identifier}#R{code}"
    flags = f"#{frame.brs * CanFdFlags.BRS | frame.esi * CanFdFlags.ESI:X}" if frame.fd else ""
    return f"{identifier}#{flags}{frame.data.hex().upper()}"


_LINE = re.compile(
    r"\((?P<time>\d+\.\d+)\)\s+(?P<channel>\S+)\s+(?P<id>[0-9A-Fa-f]+)#"
    r"(?:(?P<rtr>[Rr])(?P<dlc>[0-8]?(?:_[9A-Fa-f])?)"
    r"|(?:#(?P<flags>[0-9A-Fa-f]))?(?P<data>[0-9A-Fa-f.]*?)(?:_[9A-Fa-f])?)"
    r"(?:\s+[RTrt])?"
)
_SCREEN_LINE = re.compile(
    r"\s*(?:\(\d[\d:. -]*\)\s+)?\S+\s+(?:[RT]X\s+\S\s+\S\s+)?(?:[0-9A-F]{3}|[0-9A-F]{8})\s+\[\d+\](?:\s|$)"
)


def parse_candump_line(text: str) -> CandumpLine:
    """Return what a line without its end says.

    Raises:
        ValueError: it is no such line; the text says what is wrong with it: ``SCREEN_HINT`` where that is the cause.
    """
    found = _LINE.fullmatch(text)
    if found is None:
        raise ValueError(SCREEN_HINT if _SCREEN_LINE.match(text) else "is no candump line")
    time, channel, identifier, rtr, code, flags, digits = found.groups()
    word, extended, time_ns = _checked_id(identifier), len(identifier) == 8, _exact_ns(time)
    can_id = word & EXTENDED_ID_MAX
    if rtr:
        dlc = int(code.rpartition("_")[2] or "0", 16)
        return CandumpLine(time_ns, channel, CanFrame(can_id, b"", extended, True, dlc))
    data = _checked_data(digits, is_fd=flags is not None)
    if word & ERROR_FLAG:
        return CandumpLine(time_ns, channel, CanErrorFrame(CanErrorClass(can_id), data.ljust(_ERROR_BYTES, b"\0")))
    if flags is None:
        return CandumpLine(time_ns, channel, CanFrame(can_id, data, extended))
    marks = int(flags, 16)
    brs, esi = bool(marks & CanFdFlags.BRS), bool(marks & CanFdFlags.ESI)
    return CandumpLine(time_ns, channel, CanFrame(can_id, data, extended, fd=True, brs=brs, esi=esi))


def _checked_id(digits: str) -> int:
    if len(digits) not in {3, 8}:
        raise ValueError(f"has an identifier of {len(digits)} digits, 3 or 8 are possible")
    value = int(digits, 16)
    limit = STANDARD_ID_MAX if len(digits) == 3 else EFF_FLAG - 1
    if value > limit:
        raise ValueError(f"has identifier {value:#x} above {limit:#x}")
    return value


def _checked_data(digits: str, is_fd: bool) -> bytes:
    if "." in digits:
        digits = digits.replace(".", "")
    count = len(digits)
    if count & 1 or count >> 1 not in (FD_LENGTHS if is_fd else _CLASSICAL_LENGTHS):
        possible = "0 to 16 in pairs, 24, 32, 40, 48, 64, 96, 128" if is_fd else "0 to 16 in pairs"
        raise ValueError(f"has {count} hexadecimal digits of data, {possible} are possible")
    return bytes.fromhex(digits)


def _exact_ns(text: str) -> int:
    seconds, _, fraction = text.partition(".")
    return int(seconds) * 1_000_000_000 + int(fraction[:9].ljust(9, "0"))
