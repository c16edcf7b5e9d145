"""What an application leaves on a simulated segment: answers with their dead time, and safe outputs once it is gone."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import pytest

from taktora import App, Context
from taktora.app import Machine
from taktora.ethercat.driver import AlState
from taktora_sim.ethercat.backend import segment_of
from taktora_sim.ethercat.devices import SimulatedDevice, device_of
from taktora_sim.faults import FaultEntry, FaultPlan
from taktora_sim.world import World

from .cell import MS, coupler, drive


@dataclass
class DriveIn:
    position: int


@dataclass
class DriveOut:
    target: int


MACHINE = msgspec.convert(
    {"machine": "cell", "ethercat": {"cell": {"cycle_time_ms": 1, "devices": [coupler(), drive("axis")]}}}, Machine
)


class Follower:
    """Answers each cycle with its index."""

    def __init__(self) -> None:
        self.app = App("follower")
        self.axis = self.app.ethercat("cell").device("axis", DriveIn, DriveOut)

        @self.app.cyclic(on=self.axis.cycle)
        def answer(_: Context) -> None:
            self.axis.outputs.target = self.axis.cycle_index + 1


@pytest.mark.verifies("REQ_8151")
def test_the_answer_to_cycle_k_is_on_the_device_with_cycle_k_plus_1() -> None:
    follower, seen = Follower(), []
    with World(1) as world, follower.app.bind(world.runtime, machine=MACHINE) as bound:
        device = device_of(segment_of(world, "cell"), "axis", SimulatedDevice)

        def sample() -> None:
            if follower.axis.cycle_index > 3:
                seen.append((follower.axis.cycle_index, device.output("target")))
            world.call_after(MS, sample)

        world.call_after(MS // 2 + 7, sample)
        bound.start()
        assert world.run_until(lambda: len(seen) == 50, 2_000 * MS)

    dead_time = follower.axis.dead_time_cycles
    assert [target for _, target in seen] == [index - dead_time + 1 for index, _ in seen]


@pytest.mark.verifies("REQ_8151")
def test_an_item_runs_at_the_emergency_of_a_device() -> None:
    follower, seen = Follower(), list[tuple[int, int]]()

    @follower.app.on(follower.axis.emergencies)
    def alarm(ctx: Context) -> None:
        seen.extend((ctx.now_ns, each.error_code) for each in follower.axis.emergencies.drain())

    plan = FaultPlan.of(
        FaultEntry(target="ethercat/cell/axis", kind="send-emergency", at_ns=1_000 * MS, parameters={"code": 0x8611})
    )
    with World(1, plan=plan) as world, follower.app.bind(world.runtime, machine=MACHINE) as bound:
        bound.start()
        world.run_for(2_000 * MS)

    [(at_ns, code)] = seen
    assert code == 0x8611
    assert 1_000 * MS <= at_ns < 2_000 * MS


@pytest.mark.verifies("REQ_8150")
@pytest.mark.parametrize("kind", ["kill", "stop", "hang"])
def test_outputs_are_safe_within_half_of_the_fault_tolerant_time(kind: str) -> None:
    follower = Follower()
    plan = FaultPlan.of(FaultEntry(target="app/follower", kind=kind, at_ns=1_000 * MS))
    with World(1, plan=plan) as world, follower.app.bind(world.runtime, machine=MACHINE) as bound:
        segment = segment_of(world, "cell")
        device = device_of(segment, "axis", SimulatedDevice)
        bound.start()
        world.run_for(1_000 * MS)
        assert device.output("target") > 100
        is_safe = world.run_until(lambda: device.output("target") == 0, 50 * MS)

        assert is_safe
        world.run_for(50 * MS)
        assert segment.subdevices[1].state is AlState.SAFE_OP
        assert bound.health["cell"].kind.value == "Degraded"
