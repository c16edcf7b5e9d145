"""The same application file and the same machine in two worlds: in virtual time, and on SOEM with the rig's segment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from app import build
from cell import MS, Cell, S

from taktora.app.bench import Bench, EthercatBacking, load_bench
from taktora.app.machine import load_machine
from taktora.runtime import Runtime
from taktora_hil.rig_ethercat import EthercatRig, why_no_rig
from taktora_sim.world import World

pytestmark = [pytest.mark.world("sim", "rig"), pytest.mark.timeout(600)]

HERE = Path(__file__).parent.parent
PATIENCE_S = 60.0


class Machine(Protocol):
    """The running application with its cabinet, and an operator who answers the stack light."""

    def axis(self) -> dict[str, Any]:
        """Return power state, position and velocity."""
        ...

    def until(self, predicate: Callable[[dict[str, Any]], bool]) -> None: ...

    def run_for(self, duration_ns: int) -> None: ...

    def fault(self, target: str, kind: str, duration_ns: int, **parameters: Any) -> None: ...

    def close(self) -> None: ...


class _Simulated:
    def __init__(self) -> None:
        self._world = World(1)
        self._cell = Cell(self._world, patience_s=1.0)

    def axis(self) -> dict[str, Any]:
        return dict(self._cell.plant.drive.snapshot())

    def until(self, predicate: Callable[[dict[str, Any]], bool]) -> None:
        for _ in range(round(PATIENCE_S * 100)):
            if predicate(self.axis()):
                return
            self._world.run_for(10 * MS)
        raise AssertionError(self.axis())

    def run_for(self, duration_ns: int) -> None:
        self._world.run_for(duration_ns)

    def fault(self, target: str, kind: str, duration_ns: int, **parameters: Any) -> None:
        self._world.faults.inject(target, kind, duration_ns, parameters)

    def close(self) -> None:
        self._world.close()


class _OnRig:
    def __init__(self) -> None:
        spec = load_machine(HERE / "machine.yaml").ethercat["cell"]
        plants = load_bench(HERE / "bench.toml").ethercat["cell"].plant
        self._rig = EthercatRig(spec, plants=plants, plants_folder=HERE).__enter__()
        self._runtime = Runtime.system(transport="inprocess")
        bench = Bench(ethercat={"cell": EthercatBacking(interface=self._rig.interface)})
        self._bound = build().bind(self._runtime, bench=bench)
        self._bound.start()

    def axis(self) -> dict[str, Any]:
        self._forgive()
        values: dict[str, Any] = self._rig.control.snapshot()["axis"]["values"]
        return values

    def until(self, predicate: Callable[[dict[str, Any]], bool]) -> None:
        give_up_s = time.monotonic() + PATIENCE_S
        while not predicate(values := self.axis()):
            assert time.monotonic() < give_up_s, (values, self._bound.health)
            time.sleep(0.01)

    def run_for(self, duration_ns: int) -> None:
        end_s = time.monotonic() + duration_ns / 1e9
        while time.monotonic() < end_s:
            self._forgive()
            time.sleep(0.01)

    def fault(self, target: str, kind: str, duration_ns: int, **parameters: Any) -> None:
        self._rig.control.inject(target, kind, duration_ns, **parameters)

    def close(self) -> None:
        self._bound.close()
        self._runtime.close()
        self._rig.close()

    def _forgive(self) -> None:
        """Clear the fault of a task that exceeded its budget: a busy test machine is not what is judged here."""
        executor = self._bound.executors["main"]
        for task in executor.faulted_tasks:
            executor.clear_task_fault(task)


@pytest.fixture
def machine(world_name: str) -> Iterator[Machine]:
    if world_name == "rig" and (reason := why_no_rig()):
        pytest.skip(reason)
    machine: Machine = _Simulated() if world_name == "sim" else _OnRig()
    try:
        yield machine
    finally:
        machine.close()


def is_at_belt(axis: dict[str, Any]) -> bool:
    return bool(abs(axis["position"] - 420.0) < 1.0)


def is_at_chute(axis: dict[str, Any]) -> bool:
    return bool(abs(axis["position"] - 20.0) < 1.0 and axis["state"] == "ENABLED")


@pytest.mark.verifies("PICK_0001", "PICK_0002")
def test_the_axis_goes_to_and_fro(machine: Machine) -> None:
    for _ in range(3):
        machine.until(is_at_chute)
        machine.until(is_at_belt)


@pytest.mark.verifies("PICK_0004", "PICK_0005")
@pytest.mark.parametrize(
    ("target", "kind", "parameters"),
    [
        ("plants/estop", "stick-sensor", {"value": False}),
        ("ethercat/cell/axis", "trip-drive", {}),
        ("ethercat/cell/axis", "cut-cable", {}),
    ],
    ids=["emergency stop", "drive fault", "cable cut"],
)
def test_trouble_ends_in_a_standstill_and_the_operator_restarts(
    machine: Machine, target: str, kind: str, parameters: dict[str, Any]
) -> None:
    machine.until(is_at_chute)

    machine.fault(target, kind, 2 * S, **parameters)
    machine.run_for(S)
    during = machine.axis()
    machine.until(is_at_chute)
    machine.until(is_at_belt)

    assert during["state"] in ("SWITCH_ON_DISABLED", "FAULT")
    assert abs(during["velocity"]) < 0.1
