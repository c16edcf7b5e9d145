"""The bytes of each SubDevice inside SOEM's process image, with a stand-in for what pysoem hands out."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from taktora.errors import StackError
from taktora.ethercat.pdo import SubDeviceMap
from taktora.ethercat.soem_wire import Mapped, OverlapWire, SequentialWire


class Bus:
    """SOEM's io map and frames: outputs come back as inputs, bit by bit, as the FMMUs say."""

    def __init__(self, size: int) -> None:
        self.io_map = bytearray(size)
        self.seen = b""
        self.answer: bytes | None = None
        self.counter = 9

    def send_processdata(self, *, release_gil: bool) -> None:
        assert release_gil
        self.seen = bytes(self.io_map)

    send_overlap_processdata = send_processdata

    def receive_processdata(self, timeout_us: int, *, release_gil: bool) -> int:
        assert release_gil
        assert timeout_us
        if self.answer is not None:
            self.io_map[:] = self.answer
        return self.counter


class Slave:
    """A SubDevice as pysoem shows it: whole bytes from its first one on."""

    def __init__(self, bus: Bus, output: tuple[int, int] | None, input_: tuple[int, int] | None) -> None:
        self._bus = bus
        self._places = (output, input_)

    @staticmethod
    def _span(place: tuple[int, int] | None) -> slice:
        if place is None:
            return slice(0, 0)
        start, bits = place
        return slice(start // 8, start // 8 + (1 if bits < 8 else (bits + 7) // 8))

    @property
    def output(self) -> bytes:
        return bytes(self._bus.io_map[self._span(self._places[0])])

    @output.setter
    def output(self, data: bytes) -> None:
        start = self._span(self._places[0]).start
        self._bus.io_map[start : start + len(data)] = data

    @property
    def input(self) -> bytes:
        return bytes(self._bus.io_map[self._span(self._places[1])])

    def _fprd(self, register: int, size: int, timeout_us: int) -> bytes:
        assert size == 16
        assert timeout_us
        found = [(kind, place) for kind, place in ((2, self._places[0]), (1, self._places[1])) if place]
        number = (register - 0x0600) // 16
        if number >= len(found):
            return bytes(16)
        kind, (start, bits) = found[number]
        last = start + bits - 1
        return struct.pack(
            "<IHBBHBBB3x", start // 8, last // 8 - start // 8 + 1, start % 8, last % 8, 0x1000, 0, kind, 1
        )


def views(subs: list[SubDeviceMap], what: str) -> dict[int, memoryview]:
    sizes = {sub.address: (getattr(sub, f"{what}_bits") + 7) // 8 for sub in subs}
    return {address: memoryview(bytearray(size)) for address, size in sizes.items() if size}


def sub(number: int, output_bits: int = 0, input_bits: int = 0) -> SubDeviceMap:
    return SubDeviceMap(address=0x1000 + number, label=f"d{number}", output_bits=output_bits, input_bits=input_bits)


@pytest.mark.verifies("REQ_8105", "REQ_0326", "REQ_0327")
def test_sequential_devices_that_share_bytes_get_their_own_bits() -> None:
    subs = [sub(0, 4), sub(1, 2), sub(2, 4), sub(3, 16, 16), sub(4, 0, 4), sub(5, 0, 2), sub(6, 0, 4), sub(7, 0, 1)]
    bus = Bus(8)
    places = [(0, 4), (4, 2), (6, 4), (16, 16), None, None, None, None]
    inputs = [None, None, None, (32, 16), (48, 4), (52, 2), (54, 4), (58, 1)]
    slaves = [Slave(bus, out, into) for out, into in zip(places, inputs, strict=True)]
    outs, ins = views(subs, "output"), views(subs, "input")
    wire = SequentialWire(bus, [Mapped(s, d, d.label) for s, d in zip(slaves, subs, strict=True)], outs, ins)
    for address, data in ((0x1000, b"\x05"), (0x1001, b"\xff"), (0x1002, b"\x09"), (0x1003, b"\x34\x12")):
        outs[address][:] = data
    bus.answer = bytes.fromhex("00000000cdab" + "9e06")

    assert wire.exchange(1000) == 9

    assert bus.seen[:4] == bytes.fromhex("75023412")
    assert {address: bytes(view).hex() for address, view in ins.items()} == {
        0x1003: "cdab",
        0x1004: "0e",
        0x1005: "01",
        0x1006: "0a",
        0x1007: "01",
    }


@pytest.mark.verifies("REQ_0327")
def test_sequential_inputs_in_a_byte_that_pysoem_hides_are_refused() -> None:
    subs = [sub(0, 0, 6), sub(1, 0, 6)]
    bus = Bus(4)
    slaves = [Slave(bus, None, (0, 6)), Slave(bus, None, (6, 6))]

    with pytest.raises(StackError, match=r"the inputs of d1 end in a byte that pysoem does not hand out .*overlap"):
        SequentialWire(
            bus, [Mapped(s, d, d.label) for s, d in zip(slaves, subs, strict=True)], {}, views(subs, "input")
        )


@pytest.mark.verifies("REQ_0327")
@pytest.mark.parametrize("maker", [OverlapWire, SequentialWire])
def test_a_lost_frame_leaves_the_inputs_alone(maker: Any) -> None:
    subs = [sub(0, 0, 8)]
    bus = Bus(4)
    ins = views(subs, "input")
    wire = maker(bus, [Mapped(Slave(bus, None, (0, 8)), subs[0], "d0")], {}, ins)
    ins[0x1000][:] = b"\x55"
    bus.counter, bus.answer = -1, bytes(4)

    assert wire.exchange(1000) == -1
    assert bytes(ins[0x1000]) == b"\x55"


@pytest.mark.verifies("REQ_0327")
def test_overlapping_inputs_show_nothing_beyond_their_bits() -> None:
    subs = [sub(0, 8, 4)]
    bus = Bus(4)
    outs, ins = views(subs, "output"), views(subs, "input")
    wire = OverlapWire(bus, [Mapped(Slave(bus, (0, 8), (8, 4)), subs[0], "d0")], outs, ins)
    bus.answer = b"\xff\xf5\0\0"

    wire.exchange(1000)

    assert bytes(ins[0x1000]) == b"\x05"
