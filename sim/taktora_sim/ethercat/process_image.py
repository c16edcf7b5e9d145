"""Where process data lie in the logical address space, and the prepared frames that carry them; it sends nothing.

Outputs of all SubDevices in bus order, then inputs. Less than a byte is packed bit by bit, so that small terminals
share bytes; everything else begins at a byte. One direction of one SubDevice never spans two frames, because it would
count twice in the working counter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from taktora.errors import ConfigurationError
from taktora.ethercat.image import ImageLayout
from taktora_sim.ethercat.frame import Command, Datagram, encode_frame, station_address

__all__ = ["FRAME_DATA_BYTES", "Fmmu", "LogicalPlace", "ProcessImage", "place_bits"]

FRAME_DATA_BYTES: Final = 1408
"""Process data in one frame at most; room is left for the distribution of the clock."""

_DATA_AT: Final = 26
"""First byte of data of the first datagram: Ethernet, EtherCAT and datagram headers are before it."""
_SYSTEM_TIME: Final = 0x0910


class LogicalPlace(NamedTuple):
    """Where ``bits`` of one direction of one SubDevice lie: first bit in the logical address space."""

    first_bit: int
    bits: int


class Fmmu(NamedTuple):
    """One FMMU: which logical bits are which physical ones."""

    first_bit: int
    bits: int
    physical: int
    is_output: bool

    def encode(self) -> bytes:
        """Return the 16 bytes of its registers, enabled."""
        start_bit = self.first_bit & 7
        last = self.first_bit + self.bits - 1
        length = (last >> 3) - (self.first_bit >> 3) + 1
        return (
            (self.first_bit >> 3).to_bytes(4, "little")
            + length.to_bytes(2, "little")
            + bytes((start_bit, last & 7))
            + self.physical.to_bytes(2, "little")
            + bytes((0, 2 if self.is_output else 1, 1, 0, 0, 0))
        )


def place_bits(sizes: Sequence[int], first_bit: int = 0) -> tuple[list[LogicalPlace], int]:
    """Return a place for each number of bits in order, and the first byte-aligned bit behind all.

    Raises:
        ConfigurationError: more than one frame can carry.
    """
    chunk = 8 * FRAME_DATA_BYTES
    places = []
    at = first_bit
    for bits in sizes:
        if bits > chunk:
            raise ConfigurationError(f"{bits // 8} bytes of one SubDevice do not fit a frame of {FRAME_DATA_BYTES}")
        if bits >= 8:
            at = (at + 7) // 8 * 8
        if bits and at // chunk != (at + bits - 1) // chunk:
            at = (at // chunk + 1) * chunk
        places.append(LogicalPlace(at, bits))
        at += bits if bits < 8 else (bits + 7) // 8 * 8
    return places, (at + 7) // 8 * 8


@dataclass(slots=True)
class _Run:
    """Bytes that are the same in image and frame."""

    frame: int
    at: int
    image: int
    length: int

    @property
    def move(self) -> tuple[int, slice, slice]:
        """The frame, and the bytes there and in the image."""
        return self.frame, slice(self.at, self.at + self.length), slice(self.image, self.image + self.length)


@dataclass(slots=True)
class _Packed:
    """Bytes of a frame in which several SubDevices have bits: ``(image byte, mask, shift)`` each."""

    frame: int
    start: int
    stop: int
    parts: list[tuple[int, int, int]] = field(default_factory=list)


class _Frame(NamedTuple):
    """One prepared frame: where its working counter is and how much it says."""

    data: bytearray
    counter_at: int
    weight: int


class ProcessImage:
    """The process image of one bus and the frames for it; buffers are made once.

    Args:
        layout: The image as the application knows it.
        outputs: Output image by ``layout``; stays the caller's.
        inputs: Input image by ``layout``; likewise.
        no_lrw: Some SubDevice cannot LRW: LWR for the outputs and LRD for the inputs instead.
        clock_address: Station address of the reference clock, to be distributed with the first frame; None: no clock.
    """

    def __init__(
        self,
        layout: ImageLayout,
        outputs: bytearray,
        inputs: bytearray,
        *,
        no_lrw: bool = False,
        clock_address: int | None = None,
    ) -> None:
        self._outputs = outputs
        self._inputs = inputs
        subs = layout.subdevices
        chunk = 8 * FRAME_DATA_BYTES
        self.output_places, end = place_bits([sub.output_bits for sub in subs])
        begin = -(-end // chunk) * chunk if no_lrw else end
        self.input_places, last = place_bits([sub.input_bits for sub in subs], begin)
        frames = self._make_frames(end, begin, last, no_lrw, clock_address)
        self.frames = tuple(frame.data for frame in frames)
        """To be sent in order; :meth:`fill` puts the outputs into them."""
        self._counters = tuple((number, frame.counter_at, frame.weight) for number, frame in enumerate(frames))
        out_runs, self._out_packed = _moves(
            [(place, sub.output_offset) for place, sub in zip(self.output_places, subs, strict=True)]
        )
        in_runs, self._in_packed = _moves(
            [(place, sub.input_offset) for place, sub in zip(self.input_places, subs, strict=True)]
        )
        self._out_moves, self._in_moves = [run.move for run in out_runs], [run.move for run in in_runs]

    def fill(self) -> None:
        """Put the output image into the frames."""
        frames, outputs = self.frames, self._outputs
        for number, there, here in self._out_moves:
            frames[number][there] = outputs[here]
        for packed in self._out_packed:
            bits = 0
            for at, mask, shift in packed.parts:
                bits |= (outputs[at] & mask) << shift
            start, stop = packed.start, packed.stop
            frames[packed.frame][start:stop] = bits.to_bytes(stop - start, "little")

    def take(self, answers: Sequence[bytes]) -> int:
        """Take the input image from the answers and return the working counter, an LWR counted twice.

        What came back also goes out again: a SubDevice that is away leaves the inputs as they were.
        """
        frames, inputs = self.frames, self._inputs
        for number, there, here in self._in_moves:
            inputs[here] = frames[number][there] = answers[number][there]
        for packed in self._in_packed:
            content = answers[packed.frame][packed.start : packed.stop]
            frames[packed.frame][packed.start : packed.stop] = content
            bits = int.from_bytes(content, "little")
            for at, mask, shift in packed.parts:
                inputs[at] = bits >> shift & mask
        counter = 0
        for number, at, weight in self._counters:
            answer = answers[number]
            counter += weight * (answer[at] | answer[at + 1] << 8)
        return counter

    def fmmus(
        self, position: int, output_starts: Sequence[tuple[int, int]], input_starts: Sequence[tuple[int, int]]
    ) -> list[Fmmu]:
        """Return the FMMUs of one SubDevice.

        Args:
            position: Its place in the layout.
            output_starts: ``(physical address, bits)`` of its output SyncManagers in order.
            input_starts: Likewise for inputs.
        """
        found = []
        for place, starts, is_output in (
            (self.output_places[position], output_starts, True),
            (self.input_places[position], input_starts, False),
        ):
            at, left = place.first_bit, place.bits if place.bits < 8 else (place.bits + 7) // 8 * 8
            for number, (physical, bits) in enumerate(starts):
                length = left if number + 1 == len(starts) else min(bits, left)
                if length:
                    found.append(Fmmu(at, length, physical, is_output))
                at, left = at + length, left - length
        return found

    @staticmethod
    def _make_frames(
        output_end: int, input_begin: int, input_end: int, no_lrw: bool, clock_address: int | None
    ) -> list[_Frame]:
        spans = [(Command.LRW, 1, 0, input_end)]
        if no_lrw:
            spans = [(Command.LWR, 2, 0, output_end), (Command.LRD, 1, input_begin, input_end)]
        frames: list[_Frame] = []
        for command, weight, first_bit, end_bit in spans:
            for start in range(first_bit // 8, end_bit // 8, FRAME_DATA_BYTES):
                length = min(FRAME_DATA_BYTES, end_bit // 8 - start)
                datagrams = [Datagram(command, start, bytes(length))]
                if clock_address is not None and not frames:
                    datagrams.append(Datagram(Command.FRMW, station_address(clock_address, _SYSTEM_TIME), bytes(8)))
                data = bytearray(encode_frame(datagrams))
                frames.append(_Frame(data, _DATA_AT + length, weight))
        return frames


def _moves(places: Sequence[tuple[LogicalPlace, int]]) -> tuple[list[_Run], list[_Packed]]:
    """Return how image and frames are copied: whole bytes in runs, bits in groups of bytes."""
    runs: list[_Run] = []
    groups: list[_Packed] = []
    for place, image in places:
        if not place.bits:
            continue
        frame, at = divmod(place.first_bit >> 3, FRAME_DATA_BYTES)
        at += _DATA_AT
        length = (place.bits + 7) // 8
        if place.bits >= 8:
            last = runs[-1] if runs else None
            if last and (last.frame, last.at + last.length, last.image + last.length) == (frame, at, image):
                last.length += length
            else:
                runs.append(_Run(frame, at, image, length))
            continue
        stop = at + ((place.first_bit & 7) + place.bits + 7) // 8
        group = groups[-1] if groups and groups[-1].frame == frame and at <= groups[-1].stop else None
        if group is None:
            group = _Packed(frame, at, stop)
            groups.append(group)
        group.stop = max(group.stop, stop)
        shift = 8 * (at - group.start) + (place.first_bit & 7)
        group.parts.append((image, (1 << place.bits) - 1, shift))
    return runs, groups
