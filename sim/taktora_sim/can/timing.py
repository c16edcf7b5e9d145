"""Length and rank of classical CAN frames on the wire: bits, stuffing, CRC-15, arbitration; pure functions.

Modelled: every bit from start of frame to the last CRC bit, the stuff bits in it, the fixed tail (CRC delimiter,
acknowledge, end of frame) and the three bits of intermission. Simplified: all nodes share one bit rate, so sample
points and resynchronisation do not appear; a bit lasts ``1e9 / bitrate`` ns and is summed exactly, rounded once.
"""

from __future__ import annotations

from functools import lru_cache

__all__ = [
    "FRAME_BITS_MAX",
    "INTERMISSION_BITS",
    "arbitration_key",
    "crc15",
    "duration_ns",
    "frame_bits",
    "stuff_bits",
    "stuffed_region",
]

INTERMISSION_BITS = 3
_TAIL_BITS = 1 + 1 + 1 + 7 + INTERMISSION_BITS  # CRC delimiter, ACK, ACK delimiter, end of frame, intermission
FRAME_BITS_MAX = 160
"""Bits of the longest frame: 29-bit identifier, 8 data bytes, all the stuff bits there can be, intermission."""
_CRC_POLYNOMIAL = 0x4599
_STUFF_RUN = 5


def _crc_row(byte: int) -> int:
    remainder = byte << 7
    for _ in range(8):
        remainder = (remainder << 1) ^ _CRC_POLYNOMIAL if remainder & 0x4000 else remainder << 1
    return remainder & 0x7FFF


_CRC_TABLE = tuple(_crc_row(byte) for byte in range(256))


def crc15(value: int, bits: int) -> int:
    """Return the CAN CRC of the ``bits`` lowest bits of ``value``, first bit on the wire highest."""
    padded = (bits + 7) & ~7  # leading zeros leave a zero register untouched
    register = 0
    for octet in value.to_bytes(padded // 8, "big"):
        register = ((register << 8) & 0x7FFF) ^ _CRC_TABLE[(register >> 7) ^ octet]
    return register


def _header(can_id: int, extended: bool, remote: bool, dlc: int) -> tuple[int, int]:
    if extended:
        value = (can_id >> 18) << 2 | 0b11  # SRR and IDE recessive; start of frame is the dominant bit in front
        value = (value << 18 | can_id & 0x3FFFF) << 1 | remote
        return value << 6 | dlc, 39  # r1, r0 dominant
    return (can_id << 1 | remote) << 6 | dlc, 19  # IDE, r0 dominant


def stuffed_region(
    can_id: int, data: bytes = b"", *, extended: bool = False, remote: bool = False, dlc: int = 0
) -> tuple[int, int]:
    """Return the bits from start of frame to the last CRC bit, without stuff bits, as ``(value, number of bits)``."""
    value, bits = _header(can_id, extended, remote, dlc if remote else len(data))
    if not remote:
        value = value << 8 * len(data) | int.from_bytes(data, "big")
        bits += 8 * len(data)
    return value << 15 | crc15(value, bits), bits + 15


def _advance(state: int, bit: int) -> tuple[int, int]:
    # State: twice the length of the run so far plus its bit; a full run costs a stuff bit, which starts the next run.
    run = state // 2 + 1 if state and state % 2 == bit else 1
    return (2 + (1 - bit), 1) if run == _STUFF_RUN else (2 * run + bit, 0)


def _stuff_row(state: int, byte: int) -> tuple[int, int]:
    stuffed = 0
    for position in range(7, -1, -1):
        state, inserted = _advance(state, byte >> position & 1)
        stuffed += inserted
    return state, stuffed


_STUFF_TABLE = tuple(tuple(_stuff_row(state, byte) for byte in range(256)) for state in range(2 * _STUFF_RUN))


def stuff_bits(value: int, bits: int) -> int:
    """Return how many stuff bits the sender inserts: one after five equal bits, which starts the next run itself."""
    state = stuffed = 0
    whole = bits // 8 * 8
    for position in range(bits - 1, whole - 1, -1):
        state, inserted = _advance(state, value >> position & 1)
        stuffed += inserted
    for octet in (value & ((1 << whole) - 1)).to_bytes(whole // 8, "big"):
        state, inserted = _STUFF_TABLE[state][octet]
        stuffed += inserted
    return stuffed


# req: REQ_8200 classical frames only
@lru_cache(maxsize=4096)
def frame_bits(can_id: int, data: bytes = b"", extended: bool = False, remote: bool = False, dlc: int = 0) -> int:
    """Return the bits of one frame on the wire, stuff bits and intermission included.

    Args:
        can_id: Identifier of 11 or 29 bits.
        data: 0 to 8 data bytes; of a remote frame none.
        extended: 29-bit format.
        remote: Remote frame; it carries ``dlc`` and no data.
        dlc: Length code of a remote frame, 0 to 15.
    """
    value, bits = stuffed_region(can_id, data, extended=extended, remote=remote, dlc=dlc)
    return bits + stuff_bits(value, bits) + _TAIL_BITS


def duration_ns(bits: int, bitrate: int) -> int:
    """Return how long ``bits`` bit times last at ``bitrate`` bit/s, rounded to the nearest ns."""
    return (bits * 1_000_000_000 + bitrate // 2) // bitrate


def arbitration_key(can_id: int, extended: bool = False, remote: bool = False) -> int:
    """Return the rank in arbitration: the lower key wins; base beats extended, data beats remote of one identifier."""
    if extended:
        return (can_id >> 18) << 21 | 1 << 20 | 1 << 19 | (can_id & 0x3FFFF) << 1 | remote
    return can_id << 21 | remote << 20
