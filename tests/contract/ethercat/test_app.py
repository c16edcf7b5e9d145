"""One application, unchanged, on the segment in virtual time and on the rig: its outputs come back as inputs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from taktora.app import App, Context
from taktora.app.bench import Bench, EthercatBacking
from taktora.app.bound import BoundApp
from taktora.app.ethercat import Device
from taktora.app.machine import Machine
from taktora.ethercat.network import EthercatBusSpec
from taktora.runtime import Runtime
from taktora_hil.rig_ethercat import EthercatRig, why_no_rig
from taktora_sim.ethercat.devices.terminals import coupler, digital_outputs
from taktora_sim.world import World
from tests.system.ethercat.cell import WATCHED, axis

pytestmark = pytest.mark.world("sim", "rig")

SPEC = EthercatBusSpec(
    cycle_time_ms=4.0,
    max_output_age_cycles=10,
    devices=(coupler("coupler"), digital_outputs("lamps", 4, **WATCHED), axis("axis1")),
)
MACHINE = Machine(machine="cell", ethercat={"cell": SPEC})
PATIENCE_S = 30.0


@dataclass
class AxisIn:
    """What the axis measures."""

    status: int
    actual: int


@dataclass
class AxisOut:
    """What the axis is told."""

    control: int
    target: int


@dataclass
class Counting:
    """An application that counts up and looks at what comes back."""

    app: App
    axis: Device[AxisIn, AxisOut]
    seen: list[tuple[int, int, int]]

    @classmethod
    def make(cls) -> Counting:
        app = App("counting")
        counting = cls(app, app.ethercat("cell").device("axis1", AxisIn, AxisOut), [])

        @app.cyclic(on=counting.axis.cycle)
        def control(_ctx: Context) -> None:
            counting.step()

        return counting

    def step(self) -> None:
        axis = self.axis
        self.seen.append((axis.cycle_index, axis.inputs.actual, axis.outputs.target))
        axis.outputs.control = 0x0F
        axis.outputs.target += 1


class Running(Protocol):
    """The application on its segment, in one of the worlds."""

    counting: Counting
    bound: BoundApp

    def until(self, predicate: Callable[[], object]) -> None: ...

    def fault(self, kind: str, duration_ns: int) -> None: ...

    def states(self) -> set[str]: ...


class _Virtual:
    def __init__(self) -> None:
        self.counting = Counting.make()
        self._world = World(1)
        self.bound = self.counting.app.bind(self._world.runtime, machine=MACHINE, bench=Bench())
        self.bound.start()

    def until(self, predicate: Callable[[], object]) -> None:
        assert self._world.run_until(lambda: bool(predicate()), int(PATIENCE_S * 1e9))

    def fault(self, kind: str, duration_ns: int) -> None:
        self._world.faults.inject("ethercat/cell/coupler", kind, duration_ns)

    def states(self) -> set[str]:
        from taktora_sim.ethercat.backend import segment_of

        return {device.state.text for device in segment_of(self._world, "cell").subdevices}

    def close(self) -> None:
        self.bound.close()
        self._world.close()


class _OnRig:
    def __init__(self) -> None:
        self.counting = Counting.make()
        self._rig = EthercatRig(SPEC).__enter__()
        self._runtime = Runtime.system(transport="inprocess")
        bench = Bench(ethercat={"cell": EthercatBacking(interface=self._rig.interface)})
        self.bound = self.counting.app.bind(self._runtime, machine=MACHINE, bench=bench)
        self.bound.start()

    def until(self, predicate: Callable[[], object]) -> None:
        give_up_s = time.monotonic() + PATIENCE_S
        while not predicate():
            assert time.monotonic() < give_up_s, self.bound.health
            time.sleep(0.01)

    def fault(self, kind: str, duration_ns: int) -> None:
        self._rig.control.inject("ethercat/cell/coupler", kind, duration_ns)

    def states(self) -> set[str]:
        return {str(device["state"]) for device in self._rig.control.snapshot().values()}

    def close(self) -> None:
        self.bound.close()
        self._runtime.close()
        self._rig.close()


@pytest.fixture
def running(world_name: str, tmp_path: Path) -> Iterator[Running]:
    if world_name == "rig" and (reason := why_no_rig()):
        pytest.skip(reason)
    opened: Any = _Virtual() if world_name == "sim" else _OnRig()
    try:
        yield opened
    finally:
        opened.close()


def kind(running: Running) -> str:
    return str(running.bound.health["cell"].kind.value)


@pytest.mark.verifies("REQ_8500", "REQ_8151", "REQ_0321")
def test_what_the_application_writes_comes_back_in_order(running: Running) -> None:
    seen = running.counting.seen

    running.until(lambda: len(seen) >= 200 and seen[-1][1] > 50)

    assert kind(running) == "Up"
    actual = [entry[1] for entry in seen]
    assert actual == sorted(actual)
    assert all(target >= back for _index, back, target in seen)  # equal where the item was late and missed a cycle


@pytest.mark.verifies("REQ_0331", "REQ_8150")
def test_the_application_goes_on_after_the_cable_was_cut(running: Running) -> None:
    seen = running.counting.seen
    running.until(lambda: seen and seen[-1][1] > 10)

    running.fault("cut-cable", 300_000_000)
    running.until(lambda: kind(running) != "Up")
    running.until(lambda: kind(running) == "Up")

    before = seen[-1][1]
    running.until(lambda: seen[-1][1] > before + 10)
    assert running.states() == {"OP"}
