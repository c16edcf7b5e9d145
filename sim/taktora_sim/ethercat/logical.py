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

Step: TypeAlias = Callable[[bytearray, int], int]
"""Processes one datagram, whose data begins at an offset of the frame, and returns what its working counter gains."""
_Copy: TypeAlias = Callable[[bytearray, int], object]
_Attempt: TypeAlias = Callable[[bytearray, int], bool]

_USER_MEMORY = 0x0F00


def compile_step(device: SubDevice, command: int, logical: int, length: int) -> Step | None:
    """Return what ``device`` does with the datagram; None when no active FMMU maps it."""
    reads, writes = find_copies(device.esc.memory, device.esc.fmmus, logical, length)
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
        copies.append(lambda _frame, _at: refresh())
    copies += [_copy_out(device.esc.memory, copy) for copy in reads]
    gain = (1 if reads else 0) + (write_gain if writes else 0)
    if _is_simple(device, reads, writes, completed):
        return _simple_step(device, reads[0], writes[0], completed[0], gain)
    todo = tuple(copies)

    def step(frame: bytearray, at: int) -> int:
        for copy in todo:
            copy(frame, at)
        return gain

    return step


def _is_simple(
    device: SubDevice, reads: tuple[BitCopy, ...], writes: tuple[BitCopy, ...], completed: list[int]
) -> bool:
    """Return whether it is the usual case: whole bytes of one buffer each way."""
    if len(reads) != 1 or len(writes) != 1 or len(completed) != 1:
        return False
    return reads[0].is_bytes and writes[0].is_bytes and _reads_inputs(device, reads)


def _simple_step(device: SubDevice, read: BitCopy, write: BitCopy, status: int, gain: int) -> Step:
    """Return the same as :func:`_plain_step` without a loop: it is what nearly all steps of a segment are."""
    memory, exchanged = device.esc.memory, device.exchanged
    (out_first, out_last), (out_start, out_stop) = write.frame_bytes, write.memory_bytes
    (in_first, in_last), (in_start, in_stop) = read.frame_bytes, read.memory_bytes

    def step(frame: bytearray, at: int) -> int:
        memory[out_start:out_stop] = frame[at + out_first : at + out_last]
        memory[status] = 0x01
        exchanged()
        frame[at + in_first : at + in_last] = memory[in_start:in_stop]
        return gain

    return step


def _careful_step(device: SubDevice, reads: tuple[BitCopy, ...], writes: tuple[BitCopy, ...], write_gain: int) -> Step:
    ins = [_try_in(device, copy) for copy in writes]
    outs = [_try_out(device, copy) for copy in reads]

    def step(frame: bytearray, at: int) -> int:
        return _count(ins, frame, at) * write_gain + _count(outs, frame, at)

    return step


def _count(attempts: list[_Attempt], frame: bytearray, at: int) -> int:
    """Make all attempts, and return 1 when one of them was permitted."""
    done = False
    for attempt in attempts:
        done |= attempt(frame, at)
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

    def note(_frame: bytearray, _at: int) -> None:
        for address in status:
            memory[address] = 0x01
        written()

    return note


def _copy_in(memory: bytearray, copy: BitCopy) -> _Copy:
    first, last = copy.frame_bytes
    start, stop = copy.memory_bytes

    def copy_bytes(frame: bytearray, at: int) -> None:
        memory[start:stop] = frame[at + first : at + last]

    def copy_bits(frame: bytearray, at: int) -> None:
        memory[start:stop] = _merge(memory[start:stop], copy.memory_bit & 7, frame[at + first : at + last], copy)

    return copy_bytes if copy.is_bytes else copy_bits


def _copy_out(memory: bytearray, copy: BitCopy) -> _Copy:
    first, last = copy.frame_bytes
    start, stop = copy.memory_bytes

    def copy_bytes(frame: bytearray, at: int) -> None:
        frame[at + first : at + last] = memory[start:stop]

    def copy_bits(frame: bytearray, at: int) -> None:
        here = frame[at + first : at + last]
        frame[at + first : at + last] = _extract(memory[start:stop], copy, here)

    return copy_bytes if copy.is_bytes else copy_bits


def _try_in(device: SubDevice, copy: BitCopy) -> _Attempt:
    first, last = copy.frame_bytes
    start, stop = copy.memory_bytes
    memory = device.esc.memory

    def attempt(frame: bytearray, at: int) -> bool:
        data = _merge(memory[start:stop], copy.memory_bit & 7, frame[at + first : at + last], copy)
        return device.esc.write(start, bytes(data))

    return attempt


def _try_out(device: SubDevice, copy: BitCopy) -> _Attempt:
    first, last = copy.frame_bytes
    start, stop = copy.memory_bytes

    def attempt(frame: bytearray, at: int) -> bool:
        data = device.esc.read(start, stop - start)
        if data is None:
            return False
        frame[at + first : at + last] = _extract(data, copy, frame[at + first : at + last])
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
