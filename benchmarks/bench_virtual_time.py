"""How fast virtual time runs: the executor beside bare simpy, and the whole framework beside the wall clock.

Rounds of the compared programs alternate in one process and the median counts. simpy alone is the kernel; a World adds
trace and queue to it, the executor its statistics, the bus its arbitration and frame times. What these figures do not
show: code of an application, which usually costs more than the framework around it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import simpy
from conditions import conditions
from pace import pace

from taktora.app import App, Bench, CanBacking, Context
from taktora.can import CanFrame
from taktora.executor import item_with_triggers
from taktora_sim import World
from taktora_sim.can import CanNode, SimulatedCanBus
from taktora_sim.can.backend import bus_of

MS = 1_000_000
ITEMS = 8

DBC = """VERSION ""
NS_ :
BS_:
BU_: Plant Control
BO_ 256 Level1: 8 Plant
 SG_ Height1 : 0|16@1+ (0.1,0) [0|6553.5] "mm" Control
BO_ 257 Level2: 8 Plant
 SG_ Height2 : 0|16@1+ (0.1,0) [0|6553.5] "mm" Control
BO_ 512 Valve1: 8 Control
 SG_ Opening1 : 0|16@1+ (0.1,0) [0|6553.5] "%" Plant
BO_ 513 Valve2: 8 Control
 SG_ Opening2 : 0|16@1+ (0.1,0) [0|6553.5] "%" Plant
"""


def bare_simpy(seconds: float) -> float:
    """Eight processes at 1 kHz; return wall seconds."""
    env = simpy.Environment()
    runs = [0] * ITEMS

    def tick(index: int):  # noqa: ANN202 - a simpy process
        while True:
            yield env.timeout(MS)
            runs[index] += 1

    for index in range(ITEMS):
        env.process(tick(index))
    started = time.perf_counter()
    env.run(until=round(seconds * 1e9))
    return time.perf_counter() - started


def world_alone(seconds: float) -> float:
    """The same eight processes in a World; return wall seconds."""
    with World() as world:
        runs = [0] * ITEMS

        def tick(index: int):  # noqa: ANN202 - a simpy process
            while True:
                yield world.env.timeout(MS)
                runs[index] += 1

        for index in range(ITEMS):
            world.process(tick(index))
        started = time.perf_counter()
        world.run_for(round(seconds * 1e9))
        return time.perf_counter() - started


def executor_in_world(seconds: float) -> float:
    """The same eight at 1 kHz as executor items, statistics and trace on; return wall seconds."""
    with World() as world:
        executor = world.runtime.executor_builder("bench").build()
        runs = [0] * ITEMS
        for index in range(ITEMS):

            def tick(_context: object, index: int = index) -> None:
                runs[index] += 1

            executor.add(item_with_triggers(lambda declarer: declarer.interval(MS), tick), f"item{index}")
        world.runtime.start(executor)
        started = time.perf_counter()
        world.run_for(round(seconds * 1e9))
        elapsed = time.perf_counter() - started
        assert runs == [round(seconds * 1000)] * ITEMS
        return elapsed


class _Counter:
    """A listener that counts."""

    def __init__(self) -> None:
        self.frames = 0

    def on_frame(self, _frame: CanFrame) -> None:
        self.frames += 1

    def on_error_frame(self, _frame: object) -> None: ...

    def on_receive_overflow(self, _lost: int) -> None: ...

    def on_state(self, _state: object, _reason: str) -> None: ...

    def on_failure(self, error: BaseException) -> None:
        raise error


def bus_alone(seconds: float) -> float:
    """Two nodes that send two frames each a ms over a bus of 1 Mbit/s, traced; return wall seconds."""
    with World() as world:
        bus = SimulatedCanBus(world, "cell", 1_000_000)
        counters = [_Counter(), _Counter()]
        nodes = [bus.node(name) for name in ("plant", "control")]
        for node, counter in zip(nodes, counters, strict=True):
            node.interface().open(counter)

        def talk(node: CanNode, first_id: int):  # noqa: ANN202 - a simpy process
            while True:
                yield world.env.timeout(MS)
                node.transmit(CanFrame(first_id, bytes(8)))
                node.transmit(CanFrame(first_id + 1, bytes(8)))

        for node, first_id in zip(nodes, (256, 512), strict=True):
            world.process(talk(node, first_id))
        started = time.perf_counter()
        world.run_for(round(seconds * 1e9))
        elapsed = time.perf_counter() - started
        assert all(counter.frames >= seconds * 1900 for counter in counters), [counter.frames for counter in counters]
        return elapsed


class Framework:
    """An application with two CAN messages each way per ms, its gateway, the bus with its plant, and the trace."""

    def __init__(self, folder: Path) -> None:
        (folder / "bench.dbc").write_text(DBC)
        self._machine = folder / "machine.yaml"
        self._machine.write_text("machine: bench\ncan: {cell: {bitrate: 1000000, dbc: bench.dbc}}\n")

    def run(self, seconds: float) -> float:
        """Return wall seconds."""
        app = App("bench")
        bus = app.can("cell")
        levels = [bus.reader("Level1"), bus.reader("Level2")]
        valves = [bus.writer("Valve1"), bus.writer("Valve2")]
        received = [0]

        @app.cyclic(every_ms=1)
        def control(_ctx: Context) -> None:
            for writer, kind, value in sends:
                writer.send(kind(value))

        for number, level in enumerate(levels):

            def take(_ctx: Context, level=level) -> None:  # noqa: ANN001
                received[0] += sum(1 for _ in level.drain())

            take.__name__ = f"take{number}"
            app.on(level)(take)

        with World() as world:
            bench = Bench(can={"cell": CanBacking(simulated=True)})
            with app.bind(world.runtime, machine=self._machine, bench=bench) as bound:
                dbc = bound.dbcs["cell"]
                sends = [(valves[0], dbc.Valve1, 10.0), (valves[1], dbc.Valve2, 20.0)]
                self._start_plant(world)
                bound.start()
                started = time.perf_counter()
                world.run_for(round(seconds * 1e9))
                elapsed = time.perf_counter() - started
        assert received[0] >= seconds * 1900, received
        return elapsed

    def _start_plant(self, world: World) -> None:
        node = bus_of(world, "cell").node("plant")

        def plant():  # noqa: ANN202 - a simpy process
            while True:
                yield world.env.timeout(MS)
                node.transmit(CanFrame(256, bytes(8)))
                node.transmit(CanFrame(257, bytes(8)))

        world.process(plant())


def measure(run: Callable[[float], float], seconds: float, rounds: int) -> list[float]:
    """Return wall seconds of each round."""
    return [run(seconds) for _ in range(rounds)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="virtual seconds a round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(conditions())
    kernels: dict[Callable[[float], float], list[float]] = {bare_simpy: [], world_alone: [], executor_in_world: []}
    for _ in range(options.rounds):
        for run, times in kernels.items():
            times += measure(run, options.seconds, 1)
    bare, world, ours = (median(times) for times in kernels.values())
    print(pace(f"kernel: bare simpy, {ITEMS} processes at 1 kHz", options.seconds, bare))
    print(pace(f"world: {ITEMS} processes at 1 kHz", options.seconds, world))
    print(pace(f"executor: {ITEMS} items at 1 kHz, traced", options.seconds, ours, ">= 30"))
    print(f"{'executor / simpy':<44} {ours / bare:9.2f} x the time  (bar: <= 4)")
    bus = median(measure(bus_alone, options.seconds, options.rounds))
    print(pace("bus: 2 + 2 frames/ms, traced", options.seconds, bus))
    with tempfile.TemporaryDirectory() as folder:
        whole = median(measure(Framework(Path(folder)).run, options.seconds, options.rounds))
    print(pace("whole: application, gateway, 2 + 2 frames/ms", options.seconds, whole, ">= 10"))
    print(f"{'':<44} {whole / options.seconds / 4000 * 1e6:9.1f} us a message")


if __name__ == "__main__":
    main()
