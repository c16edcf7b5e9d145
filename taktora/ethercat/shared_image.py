"""The process image in memory that two processes share: staged outputs one way, cycle records the other; no process.

The memory is anonymous (memfd) and handed over as a file descriptor: it has no name, so nothing is left behind however
either side ends. Nobody ever waits for the other: each side writes into slots that the other does not read at that
moment and then publishes a sequence number; a reader that was overtaken sees that by the number and reads again.
"""

from __future__ import annotations

import mmap
import os
import threading
from array import array
from typing import Final

from taktora.ethercat.image import CycleRecord, ImageLayout
from taktora.ethercat.slices import Buffer

__all__ = ["OutputSlots", "RecordRing", "SharedImage"]

_HEADER_BYTES: Final = 64
_OUTPUT_SEQUENCE, _RECORD_SEQUENCE = 0, 1
_OUTPUT_SLOTS: Final = 4
_RECORD_WORDS: Final = 6
_NONE: Final = -1


class SharedImage:
    """One mapping of the shared memory; both sides make one of the same layout.

    Args:
        layout: Where each SubDevice lies.
        fd: The memory made by the other side; None makes it.
        records: Cycle records kept; a reader that is further behind loses the oldest.
    """

    def __init__(self, layout: ImageLayout, fd: int | None = None, records: int = 256) -> None:
        count = len(layout.subdevices)
        output_slot = _aligned(layout.output_bytes) + _aligned(4 * count)
        record_slot = 8 * _RECORD_WORDS + _aligned(count) + _aligned(layout.input_bytes)
        size = _HEADER_BYTES + _OUTPUT_SLOTS * output_slot + records * record_slot
        self.fd: Final = os.memfd_create("taktora-ethercat", os.MFD_CLOEXEC) if fd is None else fd
        if fd is None:
            os.ftruncate(self.fd, size)
        self._map = mmap.mmap(self.fd, size)
        self._view = memoryview(self._map)
        sequences = self._view[:_HEADER_BYTES].cast("Q")
        begin = _HEADER_BYTES + _OUTPUT_SLOTS * output_slot
        self.outputs: Final = OutputSlots(layout, sequences, self._view[_HEADER_BYTES:begin], output_slot)
        self.records: Final = RecordRing(layout, sequences, self._view[begin:size], record_slot)

    def close(self) -> None:
        """Give the mapping and the descriptor back; once."""
        self.outputs.release()
        self.records.release()
        self._view.release()
        self._map.close()
        os.close(self.fd)


# req: REQ_8150
class OutputSlots:
    """The latest output image and one counter of renewals per SubDevice; one side stages, the other collects.

    A counter, not a mark: renewals survive a newer image that overtakes them unread.
    """

    def __init__(self, layout: ImageLayout, sequences: memoryview, area: memoryview, slot: int) -> None:
        self._sequences = sequences
        self._bytes = layout.output_bytes
        self._count = len(layout.subdevices)
        self._images = [area[slot * n : slot * n + self._bytes] for n in range(_OUTPUT_SLOTS)]
        starts = [slot * n + _aligned(self._bytes) for n in range(_OUTPUT_SLOTS)]
        self._counters = [area[start : start + 4 * self._count] for start in starts]
        self._renewals = array("I", bytes(4 * self._count))
        self._seen = array("I", bytes(4 * self._count))
        self._collected = 0
        self._fence = threading.Lock()

    def stage(self, outputs: Buffer, renewed: Buffer) -> None:
        """Publish the whole output image; ``renewed`` has a byte per SubDevice, non-zero: renewed by this."""
        renewals = self._renewals
        for place, mark in enumerate(renewed):
            if mark:
                renewals[place] = (renewals[place] + 1) & 0xFFFFFFFF
        sequence = self._sequences[_OUTPUT_SEQUENCE] + 1
        slot = sequence % _OUTPUT_SLOTS
        self._images[slot][:] = outputs
        self._counters[slot][:] = renewals.tobytes()
        _order(self._fence)
        self._sequences[_OUTPUT_SEQUENCE] = sequence

    def collect(self, outputs: bytearray, renewed: bytearray) -> None:
        """Copy the latest image and mark who was renewed since the last call (``OutputSource`` of the runner)."""
        renewed[:] = bytes(self._count)
        sequence = self._sequences[_OUTPUT_SEQUENCE]
        while sequence != self._collected:
            _order(self._fence)
            slot = sequence % _OUTPUT_SLOTS
            image, counters = bytes(self._images[slot]), bytes(self._counters[slot])
            _order(self._fence)
            latest = self._sequences[_OUTPUT_SEQUENCE]
            # The writer may be at latest + 1 now: was that this slot?
            if latest - sequence < _OUTPUT_SLOTS - 1:
                self._take(image, counters, outputs, renewed)
                self._collected = sequence
                return
            sequence = latest

    def _take(self, image: bytes, counters: bytes, outputs: bytearray, renewed: bytearray) -> None:
        outputs[:] = image
        if counters == self._seen.tobytes():
            return
        latest = array("I", counters)
        for place, (now, before) in enumerate(zip(latest, self._seen, strict=True)):
            renewed[place] = now != before
        self._seen = latest

    def release(self) -> None:
        for view in (*self._images, *self._counters):
            view.release()


class RecordRing:
    """The latest cycle records, in order; one side puts, the other takes."""

    def __init__(self, layout: ImageLayout, sequences: memoryview, area: memoryview, slot: int) -> None:
        self._sequences = sequences
        self._count = len(layout.subdevices)
        self._input_bytes = layout.input_bytes
        self._size = len(area) // slot
        head = 8 * _RECORD_WORDS
        slots = [area[slot * n : slot * (n + 1)] for n in range(self._size)]
        self._words = [each[:head].cast("q") for each in slots]
        self._validity = [each[head : head + self._count] for each in slots]
        start = head + _aligned(self._count)
        self._inputs = [each[start : start + self._input_bytes] for each in slots]
        self._area = area
        self._slots = slots
        self._taken = 0
        self._fence = threading.Lock()

    def put(self, record: CycleRecord) -> int:
        """Publish a record and return its number, counted from 1."""
        sequence = self._sequences[_RECORD_SEQUENCE] + 1
        slot = sequence % self._size
        words = self._words[slot]
        words[0] = record.cycle_index
        words[1] = record.at_ns
        words[2] = _NONE if record.wire_round_ns is None else record.wire_round_ns
        words[3] = _NONE if record.phase_wait_ns is None else record.phase_wait_ns
        words[4] = record.wc_ok
        self._validity[slot][:] = record.validity
        self._inputs[slot][:] = record.inputs
        _order(self._fence)
        self._sequences[_RECORD_SEQUENCE] = sequence
        return int(sequence)

    def take(self, up_to: int) -> list[CycleRecord]:
        """Return the records up to number ``up_to`` that were not taken yet, the oldest first; some may be lost."""
        records: list[CycleRecord] = []
        first = max(self._taken + 1, self._sequences[_RECORD_SEQUENCE] - self._size + 2)
        for number in range(first, up_to + 1):
            record = self._read(number)
            if record is not None:
                records.append(record)
        self._taken = max(self._taken, up_to)
        return records

    def _read(self, number: int) -> CycleRecord | None:
        slot = number % self._size
        _order(self._fence)
        index, at_ns, wire_ns, phase_ns, wc_ok, _ = self._words[slot]
        inputs, validity = bytes(self._inputs[slot]), bytes(self._validity[slot])
        _order(self._fence)
        if self._sequences[_RECORD_SEQUENCE] - number >= self._size - 1:
            return None  # overtaken while it was read
        return CycleRecord(
            index,
            at_ns,
            inputs,
            validity,
            None if wire_ns == _NONE else wire_ns,
            None if phase_ns == _NONE else phase_ns,
            bool(wc_ok),
        )

    def release(self) -> None:
        for view in (*self._words, *self._validity, *self._inputs, *self._slots, self._area, self._sequences):
            view.release()


def _order(fence: threading.Lock) -> None:
    """Keep the processor from moving memory accesses across this point: a lock orders them, and nothing else does.

    The sequence numbers themselves are aligned words in the machine's byte order, which a memoryview stores at once.
    """
    with fence:
        return


def _aligned(size: int) -> int:
    return (size + 7) // 8 * 8
