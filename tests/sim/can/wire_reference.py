"""Frames bit by bit as ISO 11898-1 draws them, for tests to compare with; shares nothing with the code under test.

Bits are lists, the CRC is a long division by its polynomial, stuffing looks at the last five bits on the wire.
"""

from __future__ import annotations

import random
from fractions import Fraction
from typing import NamedTuple

from hypothesis import strategies as st

from taktora.can import CanFrame

FD_BYTES = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64]
"""Data bytes by data length code."""
CRC15 = (15, 14, 10, 8, 7, 4, 3, 0)
CRC17 = (17, 16, 14, 13, 11, 6, 4, 3, 1, 0)
CRC21 = (21, 20, 13, 11, 7, 4, 3, 0)
_STUFF_COUNTS = ["0000", "0011", "0110", "0101", "1100", "1111", "1010", "1001"]


class Reference(NamedTuple):
    """All bits of a frame in the order of the wire (the ACK slot recessive), and how many are at the data rate."""

    bits: list[int]
    fast: int

    @property
    def text(self) -> str:
        return "".join(map(str, self.bits))

    def until_end_of_frame(self) -> tuple[int, int]:
        """Return the bits at both rates without intermission."""
        return len(self.bits) - self.fast - 3, self.fast

    def lasts_ns(self, bitrate: int, data_bitrate: int, *, intermission: bool) -> Fraction:
        nominal, fast = self.until_end_of_frame()
        return Fraction((nominal + 3 * intermission) * 10**9, bitrate) + Fraction(fast * 10**9, data_bitrate)


def spell(value: int, width: int) -> list[int]:
    return [value >> position & 1 for position in reversed(range(width))]


def divide(bits: list[int], exponents: tuple[int, ...], first: int = 0) -> list[int]:
    """Return the remainder of ``bits`` times x^n by the polynomial; ``first`` is what the register holds before."""
    degree = exponents[0]
    rest = [*bits, *[0] * degree]
    for position, bit in enumerate(spell(first, degree)):
        rest[position] ^= bit
    for position in range(len(bits)):
        if rest[position]:
            for exponent in exponents:
                rest[position + degree - exponent] ^= 1
    return rest[len(bits) :]


def stuff(bits: list[int]) -> list[int]:
    wire: list[int] = []
    for bit in bits:
        wire.append(bit)
        if len(wire) >= 5 and len(set(wire[-5:])) == 1:
            wire.append(1 - bit)
    return wire


def identifier(frame: CanFrame) -> list[int]:
    """Return the bits from start of frame to the last one before the reserved bits or FDF."""
    remote = int(frame.remote)
    if frame.extended:
        return [0, *spell(frame.can_id >> 18, 11), 1, 1, *spell(frame.can_id % 2**18, 18), remote]
    return [0, *spell(frame.can_id, 11), remote, 0]


def _payload(frame: CanFrame) -> list[int]:
    return [bit for octet in frame.data for bit in spell(octet, 8)]


def unstuffed(frame: CanFrame) -> list[int]:
    """Return a classical frame from start of frame to the last CRC bit, without stuff bits."""
    code = frame.dlc if frame.remote else len(frame.data)
    bits = identifier(frame) + [0] * (2 if frame.extended else 1) + spell(code, 4) + _payload(frame)
    return bits + divide(bits, CRC15)


def reference(frame: CanFrame) -> Reference:
    """Return the whole frame."""
    if not frame.fd:
        return Reference([*stuff(unstuffed(frame)), *[1] * 13], 0)
    head = [*identifier(frame), 1, 0, int(frame.brs)]
    rest = [int(frame.esi), *spell(FD_BYTES.index(len(frame.data)), 4), *_payload(frame)]
    wire = [*stuff([*head, *rest[:-1]]), rest[-1]]
    before_switch = len(stuff(head))
    inserted = len(wire) - len(head) - len(rest)
    count = [int(bit) for bit in _STUFF_COUNTS[inserted % 8]]
    exponents = CRC17 if len(frame.data) <= 16 else CRC21
    checked = count + divide(wire + count, exponents, 1 << exponents[0] - 1)
    while checked:
        wire += [1 - wire[-1], *checked[:4]]
        checked = checked[4:]
    wire.append(1)  # CRC delimiter, the last bit at the data rate
    fast = len(wire) - before_switch if frame.brs else 0
    return Reference([*wire, *[1] * 12], fast)


def random_frame(draws: random.Random) -> CanFrame:
    """Return a frame of any format; half of them are full of long runs, so that stuffing has work."""
    extended = draws.random() < 0.5
    can_id = draws.choice([0, 0x7FF, draws.getrandbits(11)])
    if extended:
        can_id = can_id << 18 | draws.choice([0, 0x3FFFF, draws.getrandbits(18)])
    octets = [0x00, 0xFF, 0x0F, 0x1F, 0x3C, 0x83] if draws.random() < 0.5 else range(256)
    kind = draws.choice(["data", "remote", "fd", "fd switched"])
    if kind == "remote":
        return CanFrame(can_id, b"", extended, remote=True, dlc=draws.randrange(16))
    if kind == "data":
        return CanFrame(can_id, bytes(draws.choices(octets, k=draws.randrange(9))), extended)
    data = bytes(draws.choices(octets, k=draws.choice(FD_BYTES)))
    return CanFrame(can_id, data, extended, fd=True, brs=kind == "fd switched", esi=draws.random() < 0.2)


_IDENTIFIERS = st.booleans().flatmap(
    lambda extended: st.tuples(st.integers(0, 0x1FFF_FFFF if extended else 0x7FF), st.just(extended))
)
classical_frames = st.one_of(
    st.builds(lambda name, data: CanFrame(name[0], data, name[1]), _IDENTIFIERS, st.binary(max_size=8)),
    st.builds(
        lambda name, dlc: CanFrame(name[0], b"", name[1], remote=True, dlc=dlc), _IDENTIFIERS, st.integers(0, 15)
    ),
)
fd_frames = st.builds(
    lambda name, data, brs, esi: CanFrame(name[0], data, name[1], fd=True, brs=brs, esi=esi),
    _IDENTIFIERS,
    st.sampled_from(FD_BYTES).flatmap(
        lambda count: st.one_of(
            st.binary(min_size=count, max_size=count), st.integers(0, 255).map(lambda octet: bytes([octet]) * count)
        )
    ),
    st.booleans(),
    st.booleans(),
)
frames = st.one_of(classical_frames, fd_frames)
