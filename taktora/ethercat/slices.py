"""Bits in and out of a process image: bit 0 of byte 0 first, numbers little-endian; pure functions."""

from __future__ import annotations

from typing import TypeAlias

from taktora.errors import PayloadOverflow

__all__ = ["Buffer", "SliceOverflow", "copy_bits", "extract_bits", "insert_bits", "read_number", "write_number"]

Buffer: TypeAlias = bytes | bytearray | memoryview


class SliceOverflow(PayloadOverflow):
    """A slice needs ``actual`` bytes of a payload or image that has ``max``."""

    def __init__(self, bit_offset: int, bit_length: int, actual: int, max: int, what: str) -> None:  # noqa: A002
        super().__init__(actual, max)
        message = f"slice of {bit_length} bits at bit {bit_offset} needs {actual} bytes of {what}, which has {max}"
        self.args = (f"{message}; correct the routing or what is sent",)


# req: REQ_0326
def insert_bits(image: bytearray | memoryview, bit_offset: int, bit_length: int, payload: Buffer) -> None:
    """Place the first ``bit_length`` bits of ``payload`` at ``bit_offset``; all other bits of ``image`` stay.

    ``payload`` may be longer than needed; what is behind is ignored. A length of 0 does nothing.

    Raises:
        SliceOverflow: ``payload`` or ``image`` is too short; ``image`` is unchanged.
    """
    if bit_length == 0:
        return
    size = (bit_length + 7) // 8
    if len(payload) < size:
        raise SliceOverflow(bit_offset, bit_length, size, len(payload), "the payload")
    if not (bit_offset | bit_length) & 7:
        start = bit_offset >> 3
        if start + size > len(image):
            raise SliceOverflow(bit_offset, bit_length, start + size, len(image), "the output image")
        image[start : start + size] = payload[:size]
        return
    write_number(image, bit_offset, bit_length, int.from_bytes(payload[:size], "little"))


# req: REQ_0327
def extract_bits(image: Buffer, bit_offset: int, bit_length: int) -> bytes:
    """Return ``bit_length`` bits at ``bit_offset`` as ``ceil(bit_length / 8)`` bytes, unused top bits zero.

    Raises:
        SliceOverflow: ``image`` ends before the slice.
    """
    size = (bit_length + 7) // 8
    if not (bit_offset | bit_length) & 7:
        start = bit_offset >> 3
        if bit_length and start + size > len(image):
            raise SliceOverflow(bit_offset, bit_length, start + size, len(image), "the input image")
        return bytes(image[start : start + size])
    return read_number(image, bit_offset, bit_length).to_bytes(size, "little")


def read_number(image: Buffer, bit_offset: int, bit_length: int) -> int:
    """Return ``bit_length`` bits at ``bit_offset`` as an unsigned number; 0 bits are 0.

    Raises:
        SliceOverflow: ``image`` ends before the slice.
    """
    if bit_length == 0:
        return 0
    start, stop = bit_offset >> 3, (bit_offset + bit_length + 7) >> 3
    if stop > len(image):
        raise SliceOverflow(bit_offset, bit_length, stop, len(image), "the input image")
    return int.from_bytes(image[start:stop], "little") >> (bit_offset & 7) & ((1 << bit_length) - 1)


def write_number(image: bytearray | memoryview, bit_offset: int, bit_length: int, value: int) -> None:
    """Write the low ``bit_length`` bits of ``value`` at ``bit_offset``; all other bits stay. 0 bits do nothing.

    Raises:
        SliceOverflow: ``image`` ends before the slice; it is unchanged.
    """
    if bit_length == 0:
        return
    start, stop = bit_offset >> 3, (bit_offset + bit_length + 7) >> 3
    if stop > len(image):
        raise SliceOverflow(bit_offset, bit_length, stop, len(image), "the output image")
    shift = bit_offset & 7
    mask = (1 << bit_length) - 1
    kept = int.from_bytes(image[start:stop], "little") & ~(mask << shift)
    image[start:stop] = (kept | (value & mask) << shift).to_bytes(stop - start, "little")


# req: REQ_8154
def copy_bits(
    source: Buffer, source_bit: int, target: bytearray | memoryview, target_bit: int, bit_length: int
) -> None:
    """Copy ``bit_length`` bits from one image to another.

    Raises:
        SliceOverflow: one of them ends before its slice; ``target`` is unchanged.
    """
    write_number(target, target_bit, bit_length, read_number(source, source_bit, bit_length))
