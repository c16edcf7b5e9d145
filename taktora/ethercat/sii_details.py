"""The few facts of a SubDevice's SII that a MainDevice needs before it writes to the device; read word by word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from taktora.ethercat.sii_model import CoeDetails, GeneralFlags, MailboxProtocol, SiiCategory

__all__ = ["SiiDetails", "read_sii_details"]

_PROTOCOLS: Final = 0x1C
_CATEGORIES: Final = 0x40
_END: Final = 0xFFFF
_MOST_CATEGORIES: Final = 64


class SiiDetails(NamedTuple):
    """What the mailbox speaks, what its CoE can do, and the general flags."""

    protocols: MailboxProtocol = MailboxProtocol(0)
    coe: CoeDetails = CoeDetails(0)
    flags: GeneralFlags = GeneralFlags(0)


def read_sii_details(read: Callable[[int], bytes]) -> SiiDetails:
    """Return the details.

    Args:
        read: Returns 4 bytes of the SII from a word address on.
    """
    protocols = MailboxProtocol(int.from_bytes(read(_PROTOCOLS)[:2], "little"))
    place = _CATEGORIES
    for _category in range(_MOST_CATEGORIES):
        header = read(place)
        kind, words = int.from_bytes(header[:2], "little"), int.from_bytes(header[2:], "little")
        if kind == SiiCategory.GENERAL:
            # Bytes 4 to 7 and 10 to 13 of the category: CoE details are byte 5, flags byte 11 (ETG.2010).
            coe, flags = read(place + 2 + 2)[1], read(place + 2 + 5)[1]
            return SiiDetails(protocols, CoeDetails(coe), GeneralFlags(flags))
        if kind == _END or not header.strip(b"\0"):
            break
        place += 2 + words
    return SiiDetails(protocols)
