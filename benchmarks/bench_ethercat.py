"""What simulated EtherCAT costs: a frame against the number of SubDevices and bytes, and the pace of a whole bus.

python benchmarks/bench_ethercat.py [--frames 4000]

Processor time of this process, best of three. Frames are traced, as in every simulated run. It says nothing about a
real interface or about SOEM: that is the rig's business.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
from conditions import conditions
from pace import pace

from taktora.app import App, Context
from taktora.app.machine import Machine
from taktora.ethercat.driver import AlState
from taktora.ethercat.network import DeviceSpec
from taktora_sim.ethercat.application import NullApplication
from taktora_sim.ethercat.eeprom import sii_checksum
from taktora_sim.ethercat.frame import Command, Datagram, encode_frame, position_address
from taktora_sim.ethercat.segment import SimulatedSegment
from taktora_sim.ethercat.subdevice import SubDevice
from taktora_sim.world import World

_PERIOD_NS = 1_000_000
_OUTPUTS_AT, _INPUTS_AT = 0x1000, 0x1400
_AXES = 8
_AXIS = """
      - label: axis{number}
        identity: {{vendor_id: 0x7E57, product_code: 1}}
        mailbox: {{}}
        sm_watchdog_enabled: true
        options: {{loopback: true, signals: {draws}}}
        pdos:
          rx: [{{index: 0x1600, entries: [{{name: target, index: 0x607A, type: i32, factor: 0.001, unit: mm}}]}}]
          tx: [{{index: 0x1A00, entries: [{{name: position, index: 0x6064, type: i32, factor: 0.001, unit: mm}}]}}]
"""


class Cost(NamedTuple):
    """Seconds of the processor and of the wall clock."""

    cpu_s: float
    wall_s: float


@dataclass
class AxisInputs:
    position: float


@dataclass
class AxisOutputs:
    target: float


class Loopback(NullApplication):
    """A device that gives back as inputs what it got as outputs."""

    def __init__(self) -> None:
        self._last = b""

    def outputs(self, data: memoryview) -> None:
        self._last = bytes(data)

    def inputs(self, data: memoryview) -> bool:
        data[: len(self._last)] = self._last
        return True


def best_of(work: Callable[[], object], repeats: int = 3) -> Cost:
    """Return the shortest times of ``work``, which has one thread and waits for nothing."""
    costs = []
    for _ in range(repeats):
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        work()
        costs.append(Cost(time.process_time() - cpu_s, time.perf_counter() - wall_s))
    return Cost(min(cost.cpu_s for cost in costs), min(cost.wall_s for cost in costs))


def make_segment(subdevices: int, data_bytes: int) -> tuple[SimulatedSegment, int]:
    """Return a line in OP and the length of its process data.

    Args:
        subdevices: How many.
        data_bytes: Process data of all together, half of it outputs; at least one byte each way and SubDevice.
    """
    each = max(1, data_bytes // (2 * subdevices))
    world = World(1)
    image = bytes(14)
    image += bytes((sii_checksum(image), 0)) + bytes(112)
    bus = SimulatedSegment(
        world,
        "bench",
        [
            SubDevice(world, f"ethercat/bench/d{number}", DeviceSpec(label=f"d{number}"), Loopback(), image)
            for number in range(subdevices)
        ],
    )
    for position in range(subdevices):
        for register, data in (
            (0x0010, (0x1000 + position).to_bytes(2, "little")),
            (0x0810, _sync_manager(_OUTPUTS_AT, each, 0x64)),
            (0x0818, _sync_manager(_INPUTS_AT, each, 0x20)),
            (0x0600, _fmmu(position * each, each, _OUTPUTS_AT, 2)),
            (0x0610, _fmmu((subdevices + position) * each, each, _INPUTS_AT, 1)),
        ):
            bus.frame(encode_frame([Datagram(Command.APWR, position_address(position, register), data)]))
    length = 2 * each * subdevices
    for state in (2, 4, 8):
        bus.frame(encode_frame([Datagram(Command.BWR, 0x0120 << 16, bytes((state, 0)))]))
        bus.frame(process_data(length))
    assert {device.state for device in bus.subdevices} == {AlState.OP}
    return bus, length


def process_data(length: int) -> bytes:
    """Return a frame with one LRW of all process data."""
    return encode_frame([Datagram(Command.LRW, 0, bytes(length))])


def bench_frames(frames: int) -> None:
    """Send frames one after the other, with no time between."""
    print(f"{'one frame, one LRW':<26}{'SubDevices':>10}{'bytes':>7}{'us':>9}{'us/SubDevice':>14}")
    for subdevices in (1, 8, 32, 100):
        for data_bytes in sorted({2 * subdevices, 64, 512, 1400}):
            if data_bytes < 2 * subdevices:
                continue
            bus, length = make_segment(subdevices, data_bytes)
            frame = process_data(length)
            count = max(200, frames // subdevices)

            def send(bus: SimulatedSegment = bus, frame: bytes = frame, count: int = count) -> None:
                for _ in range(count):
                    bus.arrivals(frame)

            us = best_of(send).cpu_s / count * 1e6
            print(f"{'':<26}{subdevices:>10}{length:>7}{us:>9.1f}{us / subdevices:>14.2f}")


def bench_registers(frames: int) -> None:
    """Send what a MainDevice sends besides process data."""
    bus, length = make_segment(8, 64)
    datagrams = {
        "LRW 64 B alone": [Datagram(Command.LRW, 0, bytes(length))],
        "LRW 64 B + BRD 0x0130": [
            Datagram(Command.LRW, 0, bytes(length)),
            Datagram(Command.BRD, 0x0130 << 16, bytes(2)),
        ],
        "FPRD 0x0130": [Datagram(Command.FPRD, 0x0130_1007, bytes(6))],
        "APRD 0x0130": [Datagram(Command.APRD, position_address(7, 0x0130), bytes(6))],
    }
    for what, content in datagrams.items():
        frame = encode_frame(content)

        def send(frame: bytes = frame) -> None:
            for _ in range(frames):
                bus.arrivals(frame)

        print(f"8 SubDevices, {what:<40}{best_of(send).cpu_s / frames * 1e6:>9.1f} us")


def run_paced(cycles: int) -> None:
    """Exchange 64 bytes with 8 SubDevices every millisecond of virtual time."""
    bus, length = make_segment(8, 64)
    world = bus.world
    frame = process_data(length)

    def cycle() -> None:
        bus.arrivals(frame)
        world.post_at(world.now_ns() + _PERIOD_NS, cycle)

    world.call_soon(cycle)
    world.run_for(cycles * _PERIOD_NS)
    assert bus.frames >= cycles
    assert {device.state for device in bus.subdevices} == {AlState.OP}
    world.close()


def run_application(cycles: int, *, draws: bool) -> Cost:
    """Run an App with typed images of 8 CoE devices whose values change in every cycle; return what the cycles took.

    Args:
        cycles: How many, of 1 ms.
        draws: Every output is drawn on the page of the run, as it is unless a machine file says otherwise.
    """
    axes = "".join(_AXIS.format(number=number, draws=str(draws).lower()) for number in range(_AXES))
    text = f"machine: bench\nethercat:\n  cell:\n    cycle_time_ms: {_PERIOD_NS // 1_000_000}\n    devices:{axes}"
    app = App("bench")
    cell = app.ethercat("cell")
    devices = [cell.device(f"axis{number}", AxisInputs, AxisOutputs) for number in range(_AXES)]
    runs = [0]

    @app.cyclic(on=cell.cycle)
    def control(_ctx: Context) -> None:
        runs[0] += 1
        for device in devices:
            device.outputs.target = 0.5 * device.inputs.position + 0.25 * runs[0]

    with World(1) as world, app.bind(world.runtime, machine=msgspec.yaml.decode(text, type=Machine)) as bound:
        bound.start()
        assert world.run_until(lambda: runs[0] >= 100, 10**10)  # brought up, and everything used once
        before = runs[0]
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        world.run_for(cycles * _PERIOD_NS)
        cost = Cost(time.process_time() - cpu_s, time.perf_counter() - wall_s)
        assert runs[0] - before == cycles
        assert all(device.fresh and device.inputs.position for device in devices)
    return cost


def bench_application(cycles: int) -> None:
    """Print the pace of the whole framework on a bus, best of three by processor time."""
    for draws, what in ((False, "whole: 8 SubDevices, App, typed images"), (True, "the same, every output drawn")):
        cost = min(run_application(cycles, draws=draws) for _ in range(3))
        print(pace(what, cycles * _PERIOD_NS / 1e9, cost.cpu_s, ">= 10"))
        print(f"{'':<44} {cost.cpu_s / cycles * 1e6:9.1f} us a cycle")


def _sync_manager(start: int, length: int, control: int) -> bytes:
    return start.to_bytes(2, "little") + length.to_bytes(2, "little") + bytes((control, 0, 1, 0))


def _fmmu(logical: int, length: int, physical: int, kind: int) -> bytes:
    head = logical.to_bytes(4, "little") + length.to_bytes(2, "little") + b"\x00\x07"
    return head + physical.to_bytes(2, "little") + bytes((0, kind, 1, 0, 0, 0))


def main() -> None:
    """Run everything and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=4000)
    frames = parser.parse_args().frames
    print(conditions())
    bench_frames(frames)
    bench_registers(frames)
    cost = best_of(lambda: run_paced(frames))
    simulated_s = frames * _PERIOD_NS / 1e9
    print(pace("segment: 8 SubDevices, 64 B LRW, 1 kHz, traced", simulated_s, cost.wall_s, ">= 20"))
    print(pace("the same by processor time, on a busy machine", simulated_s, cost.cpu_s, ">= 20"))
    bench_application(frames)


if __name__ == "__main__":
    main()
