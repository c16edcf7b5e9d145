"""FMMUs of a simulated ESC, registers 0x0600 to 0x06FF: which bits of a logical datagram are which bits of memory."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["FMMUS", "FMMU_BYTES", "BitCopy", "find_copies"]

FMMUS = 0x0600
FMMU_BYTES = 16


class BitCopy(NamedTuple):
    """A run of bits that lies in a datagram and in the memory of an ESC; bit n is bit n % 8 of byte n // 8."""

    frame_bit: int
    memory_bit: int
    bits: int

    @property
    def is_bytes(self) -> bool:
        """Whether whole bytes are copied."""
        return not (self.frame_bit | self.memory_bit | self.bits) & 7

    @property
    def frame_bytes(self) -> tuple[int, int]:
        """First byte of the datagram that is touched, and the one after the last."""
        return self.frame_bit >> 3, (self.frame_bit + self.bits + 7) >> 3

    @property
    def memory_bytes(self) -> tuple[int, int]:
        """First byte of the memory that is touched, and the one after the last."""
        return self.memory_bit >> 3, (self.memory_bit + self.bits + 7) >> 3


# req: REQ_8105
def find_copies(
    memory: bytearray, count: int, logical: int, length: int
) -> tuple[tuple[BitCopy, ...], tuple[BitCopy, ...]]:
    """Return what a logical datagram copies out of ``memory`` (reads) and into it (writes), by the active FMMUs.

    Args:
        memory: Registers and RAM of the ESC.
        count: Number of FMMUs.
        logical: Logical address of the datagram's first byte.
        length: Its length in bytes.
    """
    reads: list[BitCopy] = []
    writes: list[BitCopy] = []
    for base in range(FMMUS, FMMUS + FMMU_BYTES * count, FMMU_BYTES):
        if not memory[base + 12] & 1:
            continue
        copy = _overlap(memory, base, logical * 8, (logical + length) * 8)
        if copy is not None:
            if memory[base + 11] & 1:
                reads.append(copy)
            if memory[base + 11] & 2:
                writes.append(copy)
    return tuple(reads), tuple(writes)


def _overlap(memory: bytearray, base: int, begin: int, end: int) -> BitCopy | None:
    length = int.from_bytes(memory[base + 4 : base + 6], "little")
    first = int.from_bytes(memory[base : base + 4], "little") * 8 + (memory[base + 6] & 7)
    bits = (length - 1) * 8 + (memory[base + 7] & 7) - (memory[base + 6] & 7) + 1
    physical = int.from_bytes(memory[base + 8 : base + 10], "little") * 8 + (memory[base + 10] & 7)
    start, stop = max(first, begin), min(first + bits, end)
    if start >= stop:
        return None
    last = len(memory) * 8
    offset = physical + start - first
    return BitCopy(start - begin, offset, stop - start) if offset + stop - start <= last else None
