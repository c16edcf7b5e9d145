"""What the SubDevices on a frame's way do to its datagrams: commands and working counters; it knows no cable.

Rules: Beckhoff ESC datasheet, section I, tables of the commands and of the working counter.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from taktora_sim.ethercat.esc import PROCESSING_ERRORS, FrameWork
from taktora_sim.ethercat.frame import (
    CIRCULATING,
    DATAGRAM_HEAD,
    HEADER_BYTES,
    LENGTH_MASK,
    MORE_FOLLOWS,
    Command,
)
from taktora_sim.ethercat.logical import Step, compile_step
from taktora_sim.ethercat.subdevice import SubDevice

__all__ = ["FrameProcessor"]

_U16 = struct.Struct("<H")
_unpack_head = DATAGRAM_HEAD.unpack_from
_LRD, _LRW = int(Command.LRD), int(Command.LRW)
_HEAD = 10
_MAX_PLANS = 256
_ERROR_COUNTER = PROCESSING_ERRORS
_Offsets = Callable[[SubDevice, int], int]


# req: REQ_8100
class FrameProcessor:
    """Processes frames for the SubDevices on one way through the segment.

    Args:
        order: SubDevices in the order in which they process a frame.
        circulates: The frame passes a closed port 0: datagrams get the circulating bit.
        shared: What the ESCs tell about themselves.
    """

    def __init__(self, order: tuple[SubDevice, ...], *, circulates: bool, shared: FrameWork) -> None:
        self.order = order
        self.wkc_offset: _Offsets | None = None
        """Active faults: added to what a SubDevice adds for a command."""
        self._circulates = circulates
        self._shared = shared
        self._plans: dict[tuple[int, int, int, int], tuple[Step, ...]] = {}
        """Of logical datagrams: what is done, by command, address, length and place in the frame."""
        self._stations: dict[int, list[SubDevice]] = {}
        self._irq = 0
        self._version = -1
        self._by_command = self._make_commands()

    # req: REQ_8112
    def process(self, frame: bytearray) -> bool:
        """Process all datagrams in place; False when the frame is destroyed on the way.

        A datagram that runs past the end of the frame, and what follows it, stays as it is and is counted as an error.
        """
        end = HEADER_BYTES + ((frame[14] | frame[15] << 8) & LENGTH_MASK)
        if end > len(frame):
            end = len(frame)
            self._count_error()
        at = HEADER_BYTES
        if self._circulates and self._has_circulated(frame, end):
            return False
        more = at < end
        while more:
            if at + 12 > end:
                self._count_error()
                break
            command, _index, address, flags, irq = _unpack_head(frame, at)
            length = flags & LENGTH_MASK
            stop = at + _HEAD + length
            if stop + 2 > end:
                self._count_error()
                break
            if self._shared.version != self._version:
                self._refresh()
            if self._circulates:
                _U16.pack_into(frame, at + 6, flags | CIRCULATING)
            if self._irq:
                _U16.pack_into(frame, at + 8, irq | self._irq)
            if _LRD <= command <= _LRW:
                steps = self._plans.get((command, address, length, at))
                if steps is None:
                    steps = self._compile(command, address, length, at)
                gain = 0
                for step in steps:
                    gain += step(frame)
            else:
                handler = self._by_command.get(command)
                gain = 0 if handler is None else handler(frame, at, address, length)
            if gain:
                gain += frame[stop] | frame[stop + 1] << 8
                frame[stop], frame[stop + 1] = gain & 0xFF, gain >> 8 & 0xFF
            more = flags & MORE_FOLLOWS
            at = stop + 2
        return True

    def forget(self) -> None:
        """Drop what was compiled: the fault that is asked for in each step has come or gone."""
        self._plans.clear()

    def _compile(self, command: int, logical: int, length: int, at: int) -> tuple[Step, ...]:
        if len(self._plans) >= _MAX_PLANS:
            self._plans.clear()
        steps = []
        for device in self.order:
            step = compile_step(device, command, logical, length, at + _HEAD)
            if step is not None:
                steps.append(step if self.wkc_offset is None else self._with_offset(step, device, command))
        plan = self._plans[command, logical, length, at] = tuple(steps)
        return plan

    def _with_offset(self, step: Step, device: SubDevice, command: int) -> Step:
        offset = self.wkc_offset
        assert offset is not None
        return lambda frame: step(frame) + offset(device, command)

    def _refresh(self) -> None:
        self._plans.clear()
        self._stations.clear()
        for device in self.order:
            esc = device.esc
            self._stations.setdefault(esc.station, []).append(device)
            if esc.alias is not None and esc.alias != esc.station:
                self._stations.setdefault(esc.alias, []).append(device)
        self._irq = 0
        for device in self.order:
            self._irq |= device.esc.irq
        self._version = self._shared.version

    def _has_circulated(self, frame: bytearray, end: int) -> bool:
        return end >= HEADER_BYTES + 8 and bool(frame[HEADER_BYTES + 7] << 8 & CIRCULATING)

    def _count_error(self) -> None:
        for device in self.order:
            device.esc.count_error(_ERROR_COUNTER)

    def _make_commands(self) -> dict[int, Callable[[bytearray, int, int, int], int]]:
        read, write, both = (True, False), (False, True), (True, True)
        commands: dict[int, Callable[[bytearray, int, int, int], int]] = {}
        for command, (reads, writes) in (
            (Command.APRD, read),
            (Command.APWR, write),
            (Command.APRW, both),
            (Command.FPRD, read),
            (Command.FPWR, write),
            (Command.FPRW, both),
        ):
            by_position = command <= Command.APRW
            commands[command] = self._addressed(command, reads=reads, writes=writes, by_position=by_position)
        for command, (reads, writes) in ((Command.BRD, read), (Command.BWR, write), (Command.BRW, both)):
            commands[command] = self._broadcast(command, reads=reads, writes=writes)
        commands[Command.ARMW] = self._read_multiple_write(Command.ARMW)
        commands[Command.FRMW] = self._read_multiple_write(Command.FRMW)
        return commands

    def _addressed(
        self, command: int, *, reads: bool, writes: bool, by_position: bool
    ) -> Callable[[bytearray, int, int, int], int]:
        write_gain = 2 if reads else 1

        def handle(frame: bytearray, at: int, address: int, length: int) -> int:
            start, begin = address >> 16, at + _HEAD
            gain = 0
            for device in self._advance(frame, at, address) if by_position else self._found(address):
                data = device.esc.read(start, length) if reads else None
                done = 0
                if writes and device.esc.write(start, bytes(frame[begin : begin + length])):
                    done = write_gain
                if data is not None:
                    frame[begin : begin + length] = data
                    done += 1
                gain += self._offset(device, command, done)
            return gain

        return handle

    def _broadcast(self, command: int, *, reads: bool, writes: bool) -> Callable[[bytearray, int, int, int], int]:
        write_gain = 2 if reads else 1

        def handle(frame: bytearray, at: int, address: int, length: int) -> int:
            start, begin = address >> 16, at + _HEAD
            self._advance(frame, at, address)
            gain = 0
            for device in self.order:
                here = bytes(frame[begin : begin + length])
                data = device.esc.read(start, length) if reads else None
                done = write_gain if writes and device.esc.write(start, here) else 0
                if data is not None:
                    merged = int.from_bytes(here, "little") | int.from_bytes(data, "little")
                    frame[begin : begin + length] = merged.to_bytes(length, "little")
                    done += 1
                gain += self._offset(device, command, done)
            return gain

        return handle

    def _read_multiple_write(self, command: int) -> Callable[[bytearray, int, int, int], int]:
        by_position = command == Command.ARMW

        def handle(frame: bytearray, at: int, address: int, length: int) -> int:
            start, begin = address >> 16, at + _HEAD
            readers = self._advance(frame, at, address) if by_position else self._found(address)
            gain = 0
            for device in self.order:
                if device in readers:
                    data = device.esc.read(start, length)
                    done = 0 if data is None else 1
                    if data is not None:
                        frame[begin : begin + length] = data
                else:
                    done = 1 if device.esc.write(start, bytes(frame[begin : begin + length])) else 0
                gain += self._offset(device, command, done)
            return gain

        return handle

    def _advance(self, frame: bytearray, at: int, address: int) -> tuple[SubDevice, ...]:
        """Count ADP up by every SubDevice, and return the one that met it at 0."""
        _U16.pack_into(frame, at + 2, address + len(self.order) & 0xFFFF)
        position = -address & 0xFFFF
        return self.order[position : position + 1]

    def _found(self, address: int) -> Sequence[SubDevice]:
        """Return who has the station address."""
        return self._stations.get(address & 0xFFFF, ())

    def _offset(self, device: SubDevice, command: int, gain: int) -> int:
        return gain if self.wkc_offset is None or not gain else gain + self.wkc_offset(device, command)
