"""Length, bits and rank of CAN frames on the wire: stuffing, CRC, field positions, arbitration; pure functions.

Modelled: every bit of classical and CAN FD frames (ISO 11898-1) from start of frame to the last bit of intermission,
dynamic and fixed stuff bits among them. Simplified: all nodes sample at one point, so resynchronisation does not
appear; a bit lasts ``1e9 / bitrate`` ns and is summed exactly, rounded once. With the bit rate switched the rate
changes at the sample points of BRS and of the CRC delimiter: BRS counted as nominal and the delimiter as data is exact
in the sum.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, TypeAlias

from taktora.can.dlc import code_of
from taktora.can.interface import CanFrame

__all__ = [
    "INTERMISSION_BITS",
    "WireImage",
    "arbitration_key",
    "crc15",
    "duration_ns",
    "fd_duration_ns",
    "fd_frame_bits",
    "field_position",
    "frame_bits",
    "phase_bits",
    "stuff_bits",
    "stuffed_region",
    "wire_image",
]

INTERMISSION_BITS = 3
_TAIL_BITS = 1 + 1 + 1 + 7 + INTERMISSION_BITS  # CRC delimiter, ACK, ACK delimiter, end of frame, intermission
_CRC_POLYNOMIAL = 0x4599
_STUFF_RUN = 5


def _crc_table(polynomial: int, width: int) -> tuple[int, ...]:
    return tuple(_crc_row(byte << width - 8, polynomial, width) for byte in range(256))


def _crc_row(remainder: int, polynomial: int, width: int) -> int:
    for _ in range(8):
        remainder = remainder << 1 ^ (polynomial if remainder >> width - 1 & 1 else 0)
    return remainder & (1 << width) - 1


_CRC_TABLE = _crc_table(_CRC_POLYNOMIAL, 15)


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


def _run_on(state: int, value: int, bits: int) -> tuple[int, int]:
    """Return the state after the ``bits`` lowest bits of ``value``, and how many stuff bits they cost."""
    stuffed = 0
    for position in range(bits - 1, -1, -1):
        state, inserted = _advance(state, value >> position & 1)
        stuffed += inserted
    return state, stuffed


_STUFF_TABLE = tuple(tuple(_run_on(state, byte, 8) for byte in range(256)) for state in range(2 * _STUFF_RUN))
_STUFF_TABLE_7 = tuple(tuple(_run_on(state, value, 7) for value in range(128)) for state in range(2 * _STUFF_RUN))


def stuff_bits(value: int, bits: int) -> int:
    """Return how many stuff bits the sender inserts: one after five equal bits, which starts the next run itself."""
    whole = bits // 8 * 8
    state, stuffed = _run_on(0, value >> whole, bits - whole)
    for octet in (value & ((1 << whole) - 1)).to_bytes(whole // 8, "big"):
        state, inserted = _STUFF_TABLE[state][octet]
        stuffed += inserted
    return stuffed


@lru_cache(maxsize=4096)
def _before_data(can_id: int, extended: bool, remote: bool, dlc: int) -> tuple[int, int, int]:
    """Return what start of frame to DLC come to: the register of the CRC, the state of stuffing, bits with stuff bits.

    It is the same for all frames of one identifier and length, and a third of the work.
    """
    value, bits = _header(can_id, extended, remote, dlc)
    state, inserted = _run_on(0, value, bits)
    return crc15(value, bits), state, bits + inserted


# req: REQ_8200 classical frames
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
    crc, state, bits = _before_data(can_id, extended, remote, dlc if remote else len(data))
    if not remote:
        for octet in data:
            crc = crc << 8 & 0x7FFF ^ _CRC_TABLE[crc >> 7 ^ octet]
            state, inserted = _STUFF_TABLE[state][octet]
            bits += inserted
        bits += 8 * len(data)
    state, inserted = _STUFF_TABLE_7[state][crc >> 8]
    return bits + 15 + inserted + _STUFF_TABLE[state][crc & 0xFF][1] + _TAIL_BITS


FD_CRC17_BYTES_MAX = 16
"""Data bytes up to which a CAN FD frame carries the CRC of 17 bits; a longer one carries that of 21."""
_FD_NOMINAL_TAIL_BITS = 1 + 1 + 7 + INTERMISSION_BITS  # ACK, ACK delimiter, end of frame, intermission
_FD_CHECK_BITS = {17: 4 + 17 + 6 + 1, 21: 4 + 21 + 7 + 1}  # stuff count, CRC, fixed stuff bits, CRC delimiter


def _fd_header(can_id: int, extended: bool, brs: bool) -> tuple[int, int]:
    """Return the bits from start of frame to BRS, as ``(value, number of bits)``."""
    if extended:
        base = (can_id >> 18) << 2 | 0b11  # SRR and IDE recessive
        value, bits = (base << 18 | can_id & 0x3FFFF) << 1, 33  # RRS dominant
    else:
        value, bits = can_id << 2, 14  # RRS and IDE dominant
    return (value << 2 | 0b10) << 1 | brs, bits + 3  # FDF recessive, res dominant


@lru_cache(maxsize=4096)
def _before_fd_data(can_id: int, extended: bool, brs: bool, esi: bool, count: int) -> tuple[int, int, int]:
    """Return what start of frame to DLC come to: the state of stuffing, bits with stuff bits, those of them up to BRS.

    Without data the last bit of the DLC is left out of the state: after it the fixed stuff bit comes anyway.
    """
    header, bits = _fd_header(can_id, extended, brs)
    state, inserted = _run_on(0, header, bits)
    nominal = bits + inserted
    rest = esi << 4 | code_of(count)
    state, inserted = _run_on(state, rest, 5) if count else _run_on(state, rest >> 1, 4)
    return state, nominal + 5 + inserted, nominal


# req: REQ_8200 CAN FD frames
@lru_cache(maxsize=4096)
def fd_frame_bits(
    can_id: int, data: bytes = b"", extended: bool = False, brs: bool = False, esi: bool = False
) -> tuple[int, int]:
    """Return the bits of one CAN FD frame as ``(at the nominal rate, at the data rate)``, intermission included.

    Args:
        can_id: Identifier of 11 or 29 bits.
        data: 0 to 64 data bytes, of a length that CAN FD has.
        extended: 29-bit format.
        brs: The rate is switched; without it every bit is at the nominal rate.
        esi: The sender is error-passive; the bit counts for stuffing.

    Raises:
        KeyError: CAN FD has no frame of this length.
    """
    count = len(data)
    state, total, nominal = _before_fd_data(can_id, extended, brs, esi, count)
    if count:
        for octet in data[:-1]:
            state, inserted = _STUFF_TABLE[state][octet]
            total += inserted
        total += 8 * count + _STUFF_TABLE_7[state][data[-1] >> 1][1]  # after the last bit the fixed one comes anyway
    total += _FD_CHECK_BITS[17 if count <= FD_CRC17_BYTES_MAX else 21] + _FD_NOMINAL_TAIL_BITS
    if not brs:
        return total, 0
    nominal += _FD_NOMINAL_TAIL_BITS
    return nominal, total - nominal


def fd_duration_ns(nominal_bits: int, data_bits: int, bitrate: int, data_bitrate: int) -> int:
    """Return how long bits at two rates (bit/s) last together, rounded once to the nearest ns."""
    rates = bitrate * data_bitrate
    return ((nominal_bits * data_bitrate + data_bits * bitrate) * 1_000_000_000 + rates // 2) // rates


def duration_ns(bits: int, bitrate: int) -> int:
    """Return how long ``bits`` bit times last at ``bitrate`` bit/s, rounded to the nearest ns."""
    return (bits * 1_000_000_000 + bitrate // 2) // bitrate


def arbitration_key(can_id: int, extended: bool = False, remote: bool = False) -> int:
    """Return the rank in arbitration: the lower key wins; base beats extended, data beats remote of one identifier."""
    if extended:
        return (can_id >> 18) << 21 | 1 << 20 | 1 << 19 | (can_id & 0x3FFFF) << 1 | remote
    return can_id << 21 | remote << 20


class WireImage(NamedTuple):
    """One frame as its transmitter sends it, bit by bit.

    Args:
        bits: From start of frame to the end of intermission, stuff bits included; ``"0"`` is dominant. The ACK slot is
            recessive, as the transmitter leaves it for others to overwrite.
        starts: The first bit of each field, counted from start of frame (0), in the order of the wire.
        fast: The bits at the data rate; empty without a switch of the rate.
    """

    bits: str
    starts: dict[str, int]
    fast: range


_Fields: TypeAlias = tuple[tuple[str, int], ...]
_BASE_FIELDS: _Fields = (("sof", 1), ("id", 11), ("rtr", 1), ("ide", 1))
_EXTENDED_FIELDS: _Fields = (("sof", 1), ("id", 11), ("srr", 1), ("ide", 1), ("id_extension", 18), ("rtr", 1))
_TAIL_FIELDS = (("crc_delimiter", 1), ("ack", 1), ("ack_delimiter", 1), ("eof", 7), ("intermission", INTERMISSION_BITS))
_FD_CRC_TABLES = {17: _crc_table(0x1685B, 17), 21: _crc_table(0x102899, 21)}


def _spell(value: int, bits: int) -> str:
    return f"{value:0{bits}b}" if bits else ""


def _opposite(bit: str) -> str:
    return "1" if bit == "0" else "0"


def _stuffed(bits: str) -> tuple[str, list[int]]:
    """Return ``bits`` with stuff bits between them, and where each bit went; a run that ends them is left as it is."""
    wire: list[str] = []
    places: list[int] = []
    run, last = 0, ""
    for bit in bits:
        if run == _STUFF_RUN:
            last, run = _opposite(last), 1
            wire.append(last)
        run = run + 1 if bit == last else 1
        last = bit
        places.append(len(wire))
        wire.append(bit)
    return "".join(wire), places


def _fd_crc(bits: str, width: int) -> int:
    # The register starts with its highest bit set, which is the same as a recessive start of frame and a zero register.
    table, mask, register = _FD_CRC_TABLES[width], (1 << width) - 1, 0
    for octet in int("1" + bits[1:], 2).to_bytes((len(bits) + 7) // 8, "big"):
        register = register << 8 & mask ^ table[register >> width - 8 ^ octet]
    return register


def _fd_check(stuffed: str, inserted: int, crc_bits: int) -> tuple[str, dict[str, int]]:
    """Return stuff count and CRC of a CAN FD frame with their fixed stuff bits, and where the two start."""
    gray = inserted % 8 ^ inserted % 8 >> 1
    count = _spell(gray << 1 | gray.bit_count() % 2, 4)
    wire = stuffed
    checked = count + _spell(_fd_crc(stuffed + count, crc_bits), crc_bits)
    for first in range(0, len(checked), 4):
        wire += _opposite(wire[-1]) + checked[first : first + 4]
    start = len(stuffed) + 1
    return wire, {"stuff_count": start, "crc": start + 5}


def _dynamic_part(frame: CanFrame) -> tuple[str, _Fields]:
    """Return the bits that get dynamic stuff bits, without them, and the fields they form."""
    can_id, data, extended = frame.can_id, frame.data, frame.extended
    fields: _Fields = _EXTENDED_FIELDS if extended else _BASE_FIELDS
    content = ("data", 8 * len(data))
    if frame.fd:
        bits = _spell(*_fd_header(can_id, extended, frame.brs)) + _spell(frame.esi << 4 | code_of(len(data)), 5)
        bits += _spell(int.from_bytes(data, "big"), 8 * len(data))
        return bits, (*fields, ("fdf", 1), ("res", 1), ("brs", 1), ("esi", 1), ("dlc", 4), content)
    bits = _spell(*stuffed_region(can_id, data, extended=extended, remote=frame.remote, dlc=frame.dlc))
    reserved = (("r1", 1), ("r0", 1)) if extended else (("r0", 1),)
    return bits, (*fields, *reserved, ("dlc", 4), content, ("crc", 15))


@lru_cache(maxsize=1024)
def _image(frame: CanFrame) -> WireImage:
    bits, fields = _dynamic_part(frame)
    wire, places = _stuffed(bits)
    starts: dict[str, int] = {}
    first = 0
    for name, length in fields:
        if length:
            starts[name] = places[first]
        first += length
    if frame.fd:
        crc_bits = 17 if len(frame.data) <= FD_CRC17_BYTES_MAX else 21
        wire, check = _fd_check(wire, len(wire) - len(bits), crc_bits)
        starts |= check
    elif wire[-_STUFF_RUN:] in ("0" * _STUFF_RUN, "1" * _STUFF_RUN):
        wire += _opposite(wire[-1])
    for name, length in _TAIL_FIELDS:
        starts[name] = len(wire)
        wire += "1" * length
    return WireImage(wire, starts, range(starts["esi"], starts["ack"]) if frame.fd and frame.brs else range(0))


# req: REQ_8200
def wire_image(frame: CanFrame) -> WireImage:
    """Return every bit of ``frame`` on the wire, and where its fields start.

    Raises:
        KeyError: a CAN FD frame of a length that CAN FD does not have.
    """
    return _image(frame._replace(timestamp_ns=0) if frame.timestamp_ns else frame)


def field_position(frame: CanFrame, field: str) -> int:
    """Return the first bit of ``field``, counted with stuff bits from start of frame (0).

    Fields by their order on the wire: ``sof``, ``id`` (11 bits), ``srr``, ``ide``, ``id_extension`` (18 bits), ``rtr``
    (RRS in CAN FD; of 11-bit identifiers before ``ide``), ``r1``, ``r0``, ``fdf``, ``res``, ``brs``, ``esi``, ``dlc``,
    ``data``, ``stuff_count``, ``crc``, ``crc_delimiter``, ``ack``, ``ack_delimiter``, ``eof``, ``intermission``.

    Raises:
        ValueError: this frame has no such field; the message lists those that it has.
    """
    starts = wire_image(frame).starts
    position = starts.get(field)
    if position is None:
        raise ValueError(f"frame {frame.can_id:#x} has no field {field!r}; its fields: {', '.join(starts)}")
    return position


def phase_bits(frame: CanFrame, count: int) -> tuple[int, int]:
    """Return how many of the first ``count`` bits of ``frame`` are at the nominal and at the data rate."""
    fast = wire_image(frame).fast
    at_data_rate = max(0, min(count, fast.stop) - fast.start) if fast else 0
    return count - at_data_rate, at_data_rate
