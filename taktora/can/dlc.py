"""Data lengths of CAN frames and their codes (ISO 11898-1): which lengths there are, and the next longer one."""

from __future__ import annotations

from typing import Final

from taktora.errors import PayloadOverflow

__all__ = ["CLASSICAL_MAX_BYTES", "FD_LENGTHS", "FD_MAX_BYTES", "check_room", "code_of", "fd_length", "length_of"]

CLASSICAL_MAX_BYTES: Final = 8
FD_MAX_BYTES: Final = 64
FD_LENGTHS: Final = (0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64)
"""Data bytes of a CAN FD frame by its data length code."""

_CODE_OF: Final = {length: code for code, length in enumerate(FD_LENGTHS)}
_FD_LENGTH: Final = tuple(next(step for step in FD_LENGTHS if step >= length) for length in range(FD_MAX_BYTES + 1))


def fd_length(length: int) -> int:
    """Return the shortest length of a CAN FD frame that holds ``length`` bytes, 0 to 64.

    Raises:
        IndexError: more than 64 bytes.
    """
    return _FD_LENGTH[length]


def code_of(length: int) -> int:
    """Return the data length code, 0 to 15, of ``length`` bytes.

    Raises:
        KeyError: no CAN FD frame has this length.
    """
    return _CODE_OF[length]


def length_of(code: int, *, fd: bool) -> int:
    """Return the data bytes of a frame with data length code ``code``, 0 to 15; a classical one has no more than 8."""
    return FD_LENGTHS[code] if fd else min(code, CLASSICAL_MAX_BYTES)


def check_room(length: int, place: str, *, fd: bool) -> None:
    """Refuse more data than a frame of its kind carries; ``place`` is where it was to be sent.

    Raises:
        PayloadOverflow: ``length`` is above 8 bytes, with ``fd`` above 64.
    """
    kind, most = ("CAN FD", FD_MAX_BYTES) if fd else ("classical CAN", CLASSICAL_MAX_BYTES)
    if length > most:
        way_out = f"a frame of CAN FD has room for {FD_MAX_BYTES}"
        raise PayloadOverflow(length, most, f"a {kind} frame on {place}", way_out)
