"""Logical datagrams compiled: what LRD, LWR and LRW do at one SubDevice, found once and repeated every cycle.

A step is found from the FMMUs and SyncManagers as they are configured; it holds until one of their registers is
written. Memory behind buffered SyncManagers, and memory without one, is copied straight; mailboxes and registers go
through the rules of the ESC each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from taktora_sim.ethercat.fmmu import BitCopy, find_copies
from taktora_sim.ethercat.frame import Command
from taktora_sim.ethercat.subdevice import SubDevice

__all__ = ["Step", "compile_step"]

Step: TypeAlias = Callable[[bytearray], int]
"""Processes one datagram of a frame, and returns what its working counter gains."""
_Copy: TypeAlias = Callable[[bytearray], object]
_Attempt: TypeAlias = Callable[[bytearray], bool]

_USER_MEMORY = 0x0F00


def compile_step(device: SubDevice, command: int, logical: int, length: int, at: int) -> Step | None:
    """Return what ``device`` does with a datagram whose data begins at byte ``at`` of the frame.

    None when no active FMMU maps it.
    """
    found = find_copies(device.esc.memory, device.esc.fmmus, logical, length)
    reads, writes = (tuple(copy._replace(frame_bit=copy.frame_bit + 8 * at) for copy in copies) for copies in found)
    if command == Command.LWR:
        reads = ()
    if command == Command.LRD:
        writes = ()
    if not reads and not writes:
        return None
    write_gain = 2 if command == Command.LRW else 1
    if all(_is_plain(device, copy, write=False) for copy in reads) and all(
        _is_plain(device, copy, write=True) for copy in writes
    ):
        return _plain_step(device, reads, writes, write_gain)
    return _careful_step(device, reads, writes, write_gain)


def _is_plain(device: SubDevice, copy: BitCopy, *, write: bool) -> bool:
    """Return whether the memory may be copied without asking each time."""
    start, stop = copy.memory_bytes
    if start < _USER_MEMORY:
        return False
    if start < 0x1000 and not device.esc.is_memory(start, stop):
        return False
    touched = [each for each in device.esc.syncs.active if each.start < stop and start < each.stop]
    return all(not each.is_mailbox and (each.writes or not write) for each in touched)


def _plain_step(device: SubDevice, reads: tuple[BitCopy, ...], writes: tuple[BitCopy, ...], write_gain: int) -> Step:
    copies = [_copy_in(device.esc.memory, copy) for copy in writes]
    completed = _completed(device, writes)
    if completed:
        copies.append(_note_outputs(device, completed))
    if _reads_inputs(device, reads):
        refresh = device.refresh_inputs
        copies.append(lambda _frame: refresh())
    copies += [_copy_out(device.esc.memory, copy) for copy in reads]
    gain = (1 if reads else 0) + (write_gain if writes else 0)
    if _is_simple(device, reads, writes, completed):
        return device.exchange_step(reads[0], writes[0], completed[0], gain)
    todo = tuple(copies)

    def step(frame: bytearray) -> int:
        for copy in todo:
            copy(frame)
        return gain

    return step


def _is_simple(
    device: SubDevice, reads: tuple[BitCopy, ...], writes: tuple[BitCopy, ...], completed: list[int]
) -> bool:
    """Return whether it is the usual case: whole bytes of one buffer each way."""
    if len(reads) != 1 or len(writes) != 1 or len(completed) != 1:
        return False
    return reads[0].is_bytes and writes[0].is_bytes and _reads_inputs(device, reads)


def _careful_step(device: SubDevice, reads: tuple[BitCopy, ...], writes: tuple[BitCopy, ...], write_gain: int) -> Step:
    ins = [_try_in(device, copy) for copy in writes]
    outs = [_try_out(device, copy) for copy in reads]

    def step(frame: bytearray) -> int:
        return _count(ins, frame) * write_gain + _count(outs, frame)

    return step


def _count(attempts: list[_Attempt], frame: bytearray) -> int:
    """Make all attempts, and return 1 when one of them was permitted."""
    done = False
    for attempt in attempts:
        done |= attempt(frame)
    return int(done)


def _completed(device: SubDevice, writes: tuple[BitCopy, ...]) -> list[int]:
    """Return the addresses of the status bytes of the output buffers whose last byte is written."""
    spans = [copy.memory_bytes for copy in writes]
    syncs = device.esc.syncs
    return [
        syncs.status_at(channel)
        for channel in syncs.outputs
        if any(start < channel.stop <= stop for start, stop in spans)
    ]


def _reads_inputs(device: SubDevice, reads: tuple[BitCopy, ...]) -> bool:
    spans = [copy.memory_bytes for copy in reads]
    return any(
        channel.start < stop and start < channel.stop for channel in device.esc.syncs.inputs for start, stop in spans
    )


def _note_outputs(device: SubDevice, status: list[int]) -> _Copy:
    memory, written = device.esc.memory, device.outputs_written

    def note(_frame: bytearray) -> None:
        for address in status:
            memory[address] = 0x01
        written()

    return note


def _copy_in(memory: bytearray, copy: BitCopy) -> _Copy:
    first, last = copy.frame_bytes
    start, stop = copy.memory_bytes

    def copy_bytes(frame: bytearray) -> None:
        memory[start:stop] = frame[first:last]

    def copy_bits(frame: bytearray) -> None:
        memory[start:stop] = _merge(memory[start:stop], copy.memory_bit & 7, frame[first:last], copy)

    return copy_bytes if copy.is_bytes else copy_bits


def _copy_out(memory: bytearray, copy: BitCopy) -> _Copy:
    first, last = copy.frame_bytes
    start, stop = copy.memory_bytes

    def copy_bytes(frame: bytearray) -> None:
        frame[first:last] = memory[start:stop]

    def copy_bits(frame: bytearray) -> None:
        here = frame[first:last]
        frame[first:last] = _extract(memory[start:stop], copy, here)

    return copy_bytes if copy.is_bytes else copy_bits


def _try_in(device: SubDevice, copy: BitCopy) -> _Attempt:
    first, last = copy.frame_bytes
    start, stop = copy.memory_bytes
    memory = device.esc.memory

    def attempt(frame: bytearray) -> bool:
        data = _merge(memory[start:stop], copy.memory_bit & 7, frame[first:last], copy)
        return device.esc.write(start, bytes(data))

    return attempt


def _try_out(device: SubDevice, copy: BitCopy) -> _Attempt:
    first, last = copy.frame_bytes
    start, stop = copy.memory_bytes

    def attempt(frame: bytearray) -> bool:
        data = device.esc.read(start, stop - start)
        if data is None:
            return False
        frame[first:last] = _extract(data, copy, frame[first:last])
        return True

    return attempt


def _merge(into: bytearray, shift: int, data: bytearray, copy: BitCopy) -> bytes:
    """Return ``into`` with the bits of ``copy`` taken from ``data``, a piece of a datagram."""
    mask = (1 << copy.bits) - 1
    value = int.from_bytes(data, "little") >> (copy.frame_bit & 7) & mask
    kept = int.from_bytes(into, "little") & ~(mask << shift)
    return (kept | value << shift).to_bytes(len(into), "little")


def _extract(data: bytes | bytearray, copy: BitCopy, into: bytearray) -> bytes:
    """Return ``into``, a piece of a datagram, with the bits of ``copy`` taken from ``data``."""
    mask = (1 << copy.bits) - 1
    shift = copy.frame_bit & 7
    value = int.from_bytes(data, "little") >> (copy.memory_bit & 7) & mask
    kept = int.from_bytes(into, "little") & ~(mask << shift)
    return (kept | value << shift).to_bytes(len(into), "little")
