"""Frames of the simulated MainDevice, there and back: time-outs, repetition and access to registers; no sequence.

What is sent is processed by the segment at once; the answer is waited for as long as the wire takes. Everything is a
generator that yields the instant to go on at, so operations of one MainDevice may be interleaved.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from taktora.ethercat import bringup_errors as text
from taktora.ethercat.driver import Steps
from taktora_sim.ethercat.frame import (
    Command,
    Datagram,
    FrameError,
    decode_frame,
    encode_frame,
    position_address,
    station_address,
)

if TYPE_CHECKING:
    from taktora_sim.ethercat.segment import SimulatedSegment

__all__ = ["FRAME_TIMEOUT_NS", "Broadcast", "Wire"]

FRAME_TIMEOUT_NS: Final = 2_000_000
"""How long a frame is waited for."""

_INDEX_BYTE: Final = 17
"""Where the index of a frame's first datagram stands: answers are told apart by it."""
_ATTEMPTS: Final = 10
_FRAME_BYTES: Final = 1400
"""Length of datagrams up to which they share a frame."""
_HEADER: Final = slice(12, 16)
"""EtherType and EtherCAT header."""
_AROUND_DATA: Final = 12
"""Bytes of a datagram beside its data: 10 before, and the working counter behind."""
_DATA_AT: Final = 26
"""Where the data of a frame's first datagram begin."""


class Broadcast(NamedTuple):
    """Answer to a broadcast: how many took part, and the OR of what they read."""

    taking_part: int
    data: bytes


class Wire:
    """The way to the SubDevices.

    Args:
        segment: Where frames go.
        place: What it is called in messages.
    """

    def __init__(self, segment: SimulatedSegment, place: str) -> None:
        self.place = place
        self.now_ns = segment.world.now_ns
        self.frames = 0
        """Frames sent."""
        self._arrivals = segment.arrivals
        self._index = 0
        self._questions: dict[tuple[tuple[int, ...], int, int], list[tuple[bytearray, int]]] = {}

    def launch(self, frames: Sequence[bytearray]) -> tuple[list[bytes], int]:
        """Send prepared frames together; return the answers and in how many ns all of them are there.

        The index of each first datagram is overwritten. When one is missing there are none, after the time-out.
        """
        answers = []
        last_ns = 0
        arrivals = self._arrivals
        for frame in frames:
            self.frames += 1
            frame[_INDEX_BYTE] = self._index = index = self._index + 1 & 0xFF
            length = len(frame)
            for data, after_ns, interface in arrivals(bytes(frame)):
                is_ours = len(data) >= length and data[_INDEX_BYTE] == index
                if is_ours and after_ns <= FRAME_TIMEOUT_NS and not interface:
                    answers.append(data)
                    if after_ns > last_ns:
                        last_ns = after_ns
                    break
        if len(answers) < len(frames):
            return [], FRAME_TIMEOUT_NS
        return answers, last_ns

    def once(self, datagrams: Sequence[Datagram]) -> Steps[list[Datagram] | None]:
        """Send one frame of datagrams; None when no valid answer came."""
        answers, after_ns = self.launch([bytearray(encode_frame(datagrams))])
        yield self.now_ns() + after_ns
        try:
            found = decode_frame(answers[0]) if answers else []
        except FrameError:
            return None
        return found if len(found) == len(datagrams) else None

    def send(self, datagrams: Sequence[Datagram]) -> Steps[list[Datagram]]:
        """Send datagrams in as few frames as they take, each up to ten times.

        Raises:
            StackError: no answer to any of them.
        """
        answers: list[Datagram] = []
        left = iter(datagrams)
        size = max((12 + len(each.data) for each in datagrams), default=1)
        while batch := list(islice(left, max(1, _FRAME_BYTES // size))):
            for _attempt in range(_ATTEMPTS):
                found = yield from self.once(batch)
                if found is not None:
                    break
            else:
                raise text.no_frame(self.place, _ATTEMPTS * FRAME_TIMEOUT_NS // 1000)
            answers += found
        return answers

    def read(self, address: int, register: int, length: int) -> Steps[bytes | None]:
        """Read from the SubDevice of a station address; None when it does not answer."""
        found = yield from self.send([Datagram(Command.FPRD, station_address(address, register), bytes(length))])
        return found[0].data if found[0].working_counter else None

    def write(self, address: int, register: int, data: bytes) -> Steps[bool]:
        """Write to the SubDevice of a station address; False when it does not answer."""
        found = yield from self.send([Datagram(Command.FPWR, station_address(address, register), data)])
        return found[0].working_counter > 0

    def write_at(self, position: int, register: int, data: bytes) -> Steps[bool]:
        """Write to the SubDevice at a position."""
        found = yield from self.send([Datagram(Command.APWR, position_address(position, register), data)])
        return found[0].working_counter > 0

    def read_each(self, addresses: Sequence[int], register: int, length: int) -> Steps[list[bytes | None]]:
        """Read one register of several SubDevices; as this is asked again and again, the frames are kept."""
        asked = (tuple(addresses), register, length)
        frames = self._questions.get(asked)
        if frames is None:
            frames = self._questions[asked] = _questions(*asked)
        found: list[bytes | None] = []
        for frame, count in frames:
            answer = yield from self._ask(frame)
            for at in range(_DATA_AT, _DATA_AT + count * (_AROUND_DATA + length), _AROUND_DATA + length):
                end = at + length
                found.append(answer[at:end] if answer[end] or answer[end + 1] else None)
        return found

    def _ask(self, frame: bytearray) -> Steps[bytes]:
        """Send a frame up to ten times; return an answer that has the same EtherCAT header, hence as many datagrams."""
        for _attempt in range(_ATTEMPTS):
            answers, after_ns = self.launch([frame])
            yield self.now_ns() + after_ns
            if answers and answers[0][_HEADER] == frame[_HEADER]:
                return answers[0]
        raise text.no_frame(self.place, _ATTEMPTS * FRAME_TIMEOUT_NS // 1000)

    def read_all(self, register: int, length: int) -> Steps[Broadcast]:
        """Read from all SubDevices at once."""
        found = yield from self.send([Datagram(Command.BRD, register << 16, bytes(length))])
        return Broadcast(found[0].working_counter, found[0].data)

    def write_all(self, *writes: tuple[int, bytes]) -> Steps[None]:
        """Write ``(register, data)`` to all SubDevices, one after the other."""
        yield from self.send([Datagram(Command.BWR, register << 16, data) for register, data in writes])


def _questions(addresses: tuple[int, ...], register: int, length: int) -> list[tuple[bytearray, int]]:
    """Return the frames that read a register of each station address, and how many of them each asks."""
    datagrams = [Datagram(Command.FPRD, station_address(each, register), bytes(length)) for each in addresses]
    room = _FRAME_BYTES // (_AROUND_DATA + length)
    batches = [datagrams[first : first + room] for first in range(0, len(datagrams), room)]
    return [(bytearray(encode_frame(batch)), len(batch)) for batch in batches]
