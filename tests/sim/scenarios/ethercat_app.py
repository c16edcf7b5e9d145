"""A scenario for the meta-test: an application on a simulated EtherCAT segment under drawn faults."""

from __future__ import annotations

import msgspec

from taktora.app.machine import Machine
from taktora_sim.campaign import Campaign, draw_plan
from taktora_sim.ethercat.backend import segment_of
from taktora_sim.ethercat.devices import SimulatedDevice, device_of
from taktora_sim.world import World
from tests.sim.ethercat.press import MACHINE, Press

MS = 1_000_000
_CAMPAIGN = Campaign(faults=(3, 6), begin_ns=(200 * MS, 700 * MS), duration_ns=(2 * MS, 200 * MS))


def scenario(world: World) -> None:
    """Run a second of a press with drawn faults."""
    machine = msgspec.yaml.decode(MACHINE, type=Machine)
    with Press().app.bind(world.runtime, machine=machine) as bound:
        world.faults.propose(draw_plan(world, _CAMPAIGN))
        device_of(segment_of(world, "cell"), "buttons", SimulatedDevice).set("start", True)
        bound.start()
        world.run_for(1000 * MS)
        world.check("a fault fired", bool(world.faults.fired))
