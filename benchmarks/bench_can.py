"""What CAN costs: DBC messages against cantools, the simulated bus against bare simpy and python-can's virtual bus.

The simulated bus runs in virtual time, classical and CAN FD, and in real time between processes, where its clients are
python-can programs.

python benchmarks/bench_can.py [--frames 20000]

Each ratio compares the processor time of two runs of the same work in this process, best of three. It says nothing
about a real interface: that needs hardware, and the guest.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import can
import cantools
import simpy
from conditions import conditions
from pace import pace

from taktora.can import CanConnector, CanConnectorOptions, CanFrame, CanId, CanIface, CanRouting, can_channel
from taktora.codec.dbc import DbcCodec, load_dbc
from taktora.connector import ConnectorHost
from taktora.executor import Context, item_with_triggers
from taktora_sim.can import SimulatedCanBus
from taktora_sim.world import World

_DBC = """VERSION ""
BU_: A B
BO_ 256 EngineData: 8 A
 SG_ Rpm : 0|16@1+ (0.25,0) [0|16000] "rpm" B
 SG_ Temperature : 16|8@1+ (1,-40) [-40|215] "degC" B
 SG_ Gear : 24|4@1+ (1,0) [0|15] "" B
 SG_ Torque : 39|16@0- (0.1,0) [-3000|3000] "Nm" B
 SG_ Counter : 60|4@1+ (1,0) [0|15] "" B
"""
_PERIOD_NS = 500_000
_AT_ONCE = 10


class Cost(NamedTuple):
    """Seconds of the processor and of the wall clock."""

    cpu_s: float
    wall_s: float


def best_of(work: Callable[[], object], repeats: int = 3) -> Cost:
    """Return the shortest times of ``work``, which has one thread and waits for nothing."""
    costs = []
    for _ in range(repeats):
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        work()
        costs.append(Cost(time.process_time() - cpu_s, time.perf_counter() - wall_s))
    return Cost(min(cost.cpu_s for cost in costs), min(cost.wall_s for cost in costs))


def show(what: str, cost: Cost, count: int, peer: str, peer_cost: Cost) -> None:
    """Print processor time per frame, the peer's, and the ratio."""
    own, other = cost.cpu_s / count * 1e6, peer_cost.cpu_s / count * 1e6
    ratio = own / other if other else math.nan  # a clock of the processor too coarse for so few frames
    print(f"{what:<44} {own:8.2f} us   {peer:<34} {other:8.2f} us   ratio {ratio:5.2f}")


def bench_dbc(frames: int) -> None:
    """Decode and encode one message of five signals, typed against dictionaries."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vehicle.dbc"
        path.write_text(_DBC)
        dbc = load_dbc(path)
        oracle: Any = cantools.database.load_file(path)
    codec, cls = DbcCodec(dbc), dbc.EngineData
    payload = bytes(range(8))
    view, room = memoryview(payload), memoryview(bytearray(8))
    message = oracle.get_message_by_name("EngineData")
    value = codec.decode(cls, view)
    fields = message.decode(payload, decode_choices=False)

    def repeat(call: Callable[..., object], *arguments: Any) -> Callable[[], None]:
        def run() -> None:
            for _ in range(frames):
                call(*arguments)

        return run

    show(
        "DBC decode into a typed value",
        best_of(repeat(codec.decode, cls, view)),
        frames,
        "cantools decode into a dict",
        best_of(repeat(lambda: message.decode(payload, decode_choices=False))),
    )
    show(
        "DBC encode of a typed value, range-checked",
        best_of(repeat(codec.encode_into, value, room)),
        frames,
        "cantools encode of a dict",
        best_of(repeat(message.encode, fields)),
    )


class Sink:
    """A listener that counts."""

    def __init__(self) -> None:
        self.frames = 0

    def on_frame(self, _frame: CanFrame) -> None:
        self.frames += 1

    def on_error_frame(self, _frame: object) -> None: ...

    def on_receive_overflow(self, _lost: int) -> None: ...

    def on_state(self, _state: object, _reason: str) -> None: ...

    def on_failure(self, error: BaseException) -> None: ...


def run_bus(frames: int, *, fd: bool = False) -> int:
    """Send ``frames`` frames over a simulated 500 kbit/s bus with trace, and return the virtual ns it took.

    They have 8 bytes, those of CAN FD 64 at 2 Mbit/s.
    """
    world = World(1)
    bus = SimulatedCanBus(world, "vehicle", 500_000, data_bitrate=2_000_000 if fd else None)
    length = 64 if fd else 8
    sink = Sink()
    sender = bus.node("sender").interface()
    sender.open(Sink())
    bus.node("receiver").interface().open(sink)

    def send(number: int = 0) -> None:
        sender.send(CanFrame(number & 0x7FF, number.to_bytes(length, "little"), fd=fd, brs=fd))
        if number + 1 < frames:
            world.call_after(_PERIOD_NS, lambda: send(number + 1))

    send()
    world.run_for((frames + 10) * _PERIOD_NS)
    assert sink.frames == frames
    return world.now_ns()


def run_simpy(frames: int) -> None:
    """Run as many bare simpy events as the bus needs: request, arbitration, end of frame."""
    environment = simpy.Environment()

    def sender() -> Any:
        for _ in range(frames):
            for step_ns in (0, 260_000, _PERIOD_NS - 260_000):
                yield environment.timeout(step_ns)

    environment.process(sender())
    environment.run()


def run_virtual(frames: int) -> None:
    """Send and receive over python-can's virtual bus, which has no time."""
    with can.Bus(interface="virtual", channel="bench") as left, can.Bus(interface="virtual", channel="bench") as right:
        _exchange(left, right, frames)


def run_foreign(frames: int) -> float:
    """Send and receive as a python-can program on a bus in real time, and return the seconds of its bus time.

    The bus is in a process of its own; what this process spends is the client's part.
    """
    settings: Any = {"interface": "taktora_sim", "channel": "bench", "bitrate": 1_000_000}
    with can.Bus(**settings) as left, can.Bus(**settings) as right:
        started_s = time.perf_counter()
        _exchange(left, right, frames)
        return time.perf_counter() - started_s


def _exchange(left: can.BusABC, right: can.BusABC, frames: int) -> None:
    """Send frames in tens and receive them."""
    for first in range(0, frames, _AT_ONCE):
        for number in range(first, first + _AT_ONCE):
            left.send(can.Message(arbitration_id=number & 0x7FF, is_extended_id=False, data=bytes(8)))
        for _ in range(_AT_ONCE):
            assert right.recv(10) is not None


class RawCodec:
    """Bytes as they are."""

    format_name = "raw"

    def encode_into(self, value: bytes, view: memoryview) -> int:
        view[: len(value)] = value
        return len(value)

    def decode(self, type: Any, view: memoryview) -> Any:  # noqa: A002
        return type(view)


def run_connector(frames: int, *, answers: bool = True) -> int:
    """Carry frames over bus, gateway, channel and item, one answer each if asked for; return the virtual ns it took."""
    world = World(1)
    bus = SimulatedCanBus(world, "vehicle", 1_000_000)
    sender = bus.node("sender").interface()
    sender.open(Sink())
    iface = CanIface("can0")
    connector = CanConnector(
        world.runtime, CanConnectorOptions(ifaces=(iface,)), [bus.node("app").interface("can0")], RawCodec()
    )
    reader = connector.create_reader(can_channel("in", CanRouting(iface, CanId(0x100))), bytes)
    writer = connector.create_writer(can_channel("out", CanRouting(iface, CanId(0x200))), bytes)
    host = ConnectorHost.builder(world.runtime, "app").build()
    host.register(connector)
    received = 0

    def answer(_context: Context) -> None:
        nonlocal received
        for envelope in reader.drain():
            received += 1
            if answers:
                writer.send(envelope.value)

    host.executor.add(item_with_triggers(lambda declare: declare.subscriber(reader), answer), "answer")

    def send(number: int = 0) -> None:
        sender.send(CanFrame(0x100, number.to_bytes(8, "little")))
        if number + 1 < frames:
            world.call_after(_PERIOD_NS, lambda: send(number + 1))

    world.call_soon(send)
    host.run_for((frames + 10) * _PERIOD_NS / 1e9)
    assert received == frames
    virtual_ns = world.now_ns()
    host.close()
    world.close()
    return virtual_ns


def main() -> None:
    """Run everything and print one line a comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=20_000)
    frames = parser.parse_args().frames
    print(conditions())
    bench_dbc(frames)
    bus_cost, simpy_cost = best_of(lambda: run_bus(frames)), best_of(lambda: run_simpy(frames))
    show("simulated bus, one frame, traced", bus_cost, frames, "simpy, its three events alone", simpy_cost)
    fd_cost = best_of(lambda: run_bus(frames, fd=True))
    show("simulated bus, CAN FD of 64 bytes, traced", fd_cost, frames, "simulated bus, classical frame", bus_cost)
    virtual_cost = best_of(lambda: run_virtual(frames))
    foreign_s: list[float] = []
    foreign_cost = best_of(lambda: foreign_s.append(run_foreign(frames)))
    show("python-can program on it in real time", foreign_cost, frames, "python-can virtual, send + recv", virtual_cost)
    whole_cost = best_of(lambda: run_connector(frames), 2)
    show("bus, gateway, channel, item and back", whole_cost, frames, "simulated bus alone, one frame", bus_cost)
    one_way = best_of(lambda: run_connector(frames, answers=False), 2)
    show("received: bus, gateway, channel, item", one_way, frames, "python-can virtual, send + recv", virtual_cost)
    simulated_s = (frames + 10) * _PERIOD_NS / 1e9
    print(pace("kernel: bare simpy, three events a frame", simulated_s, simpy_cost.wall_s))
    print(pace("bus: 2 kHz, traced", simulated_s, bus_cost.wall_s))
    print(pace("bus of CAN FD: 2 kHz, 64 bytes, traced", simulated_s, fd_cost.wall_s))
    print(pace("whole: gateway, item and back, 2 kHz each way", simulated_s, whole_cost.wall_s))
    print(f"frames through bus, gateway and reader: {frames / one_way.wall_s:.0f} a second of the wall clock")
    print(f"real time, 1 Mbit/s: {frames / min(foreign_s):.0f} frames/s between two python-can programs")


if __name__ == "__main__":
    main()
