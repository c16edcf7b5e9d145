"""EtherCAT frames as bytes (ETG.1000.4, IEC 61158-4-12): constants, builder and reader; it processes nothing."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

__all__ = [
    "BROADCAST",
    "CIRCULATING",
    "DATAGRAM_HEAD",
    "ETHERTYPE",
    "HEADER_BYTES",
    "LENGTH_MASK",
    "MAIN_DEVICE",
    "MORE_FOLLOWS",
    "Command",
    "Datagram",
    "FrameError",
    "decode_frame",
    "encode_frame",
    "position_address",
    "station_address",
]

ETHERTYPE = b"\x88\xa4"
HEADER_BYTES = 16
"""Destination, source, EtherType, EtherCAT header."""
BROADCAST = b"\xff" * 6
MAIN_DEVICE = b"\x01" * 6
"""Source address of our own frames; locally administered bit clear, as SOEM has it."""
DATAGRAM_HEAD = struct.Struct("<BBIHH")
"""Command, index, address (ADP and ADO, or logical), length and flags, interrupt."""
LENGTH_MASK = 0x07FF
CIRCULATING = 0x4000
MORE_FOLLOWS = 0x8000
_MAX_PAYLOAD = 1498
_TYPE_PDU = 0x1000


class Command(IntEnum):
    """Datagram commands."""

    NOP = 0
    APRD = 1
    APWR = 2
    APRW = 3
    FPRD = 4
    FPWR = 5
    FPRW = 6
    BRD = 7
    BWR = 8
    BRW = 9
    LRD = 10
    LWR = 11
    LRW = 12
    ARMW = 13
    FRMW = 14


class FrameError(ValueError):
    """Bytes that are no EtherCAT frame, or datagrams that fit into none."""


class Datagram(NamedTuple):
    """One datagram; ``address`` is the logical one, or ADP in the lower and ADO in the upper half."""

    command: int
    address: int
    data: bytes
    index: int = 0  # type: ignore[assignment] # the standard's word hides a method of tuples
    working_counter: int = 0
    interrupt: int = 0
    circulating: bool = False

    @property
    def adp(self) -> int:
        return self.address & 0xFFFF

    @property
    def ado(self) -> int:
        return self.address >> 16


def position_address(position: int, offset: int) -> int:
    """Return the address of a register by position on the bus (0 is the first), for APRD to APRW and ARMW."""
    return (-position & 0xFFFF) | offset << 16


def station_address(address: int, offset: int) -> int:
    """Return the address of a register by configured station address, for FPRD to FPRW and FRMW."""
    return address | offset << 16


def encode_frame(datagrams: Sequence[Datagram], source: bytes = MAIN_DEVICE) -> bytes:
    """Return the Ethernet frame, without padding and FCS.

    Raises:
        FrameError: more than 1498 bytes of datagrams, or none.
    """
    parts = []
    for number, datagram in enumerate(datagrams, 1):
        flags = len(datagram.data) | (MORE_FOLLOWS if number < len(datagrams) else 0)
        flags |= CIRCULATING if datagram.circulating else 0
        head = DATAGRAM_HEAD.pack(datagram.command, datagram.index, datagram.address, flags, datagram.interrupt)
        parts.append(head + datagram.data + datagram.working_counter.to_bytes(2, "little"))
    body = b"".join(parts)
    if not 0 < len(body) <= _MAX_PAYLOAD:
        msg = f"an EtherCAT frame of {len(datagrams)} datagrams has {len(body)} bytes, expected 1 to {_MAX_PAYLOAD}"
        raise FrameError(msg)
    return BROADCAST + source + ETHERTYPE + (_TYPE_PDU | len(body)).to_bytes(2, "little") + body


def decode_frame(data: bytes) -> list[Datagram]:
    """Return the datagrams of a frame; padding is ignored.

    Raises:
        FrameError: no EtherCAT frame, or a datagram runs past its end.
    """
    if len(data) < HEADER_BYTES or data[12:14] != ETHERTYPE:
        msg = f"{len(data)} bytes with EtherType {data[12:14].hex()} are no EtherCAT frame"
        raise FrameError(msg)
    end = HEADER_BYTES + (int.from_bytes(data[14:16], "little") & LENGTH_MASK)
    at, more = HEADER_BYTES, True
    datagrams: list[Datagram] = []
    while more:
        if at + 12 > min(end, len(data)):
            msg = f"datagram {len(datagrams)} at byte {at} runs past the end of the frame ({len(data)} bytes)"
            raise FrameError(msg)
        command, index, address, flags, interrupt = DATAGRAM_HEAD.unpack_from(data, at)
        stop = at + 10 + (flags & LENGTH_MASK)
        if stop + 2 > min(end, len(data)):
            msg = f"datagram {len(datagrams)} at byte {at} runs past the end of the frame ({len(data)} bytes)"
            raise FrameError(msg)
        counter = int.from_bytes(data[stop : stop + 2], "little")
        circulating = bool(flags & CIRCULATING)
        content = bytes(data[at + 10 : stop])
        datagrams.append(Datagram(command, address, content, index, counter, interrupt, circulating))
        at, more = stop + 2, bool(flags & MORE_FOLLOWS)
    return datagrams
