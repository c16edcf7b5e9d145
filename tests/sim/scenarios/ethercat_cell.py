"""A scenario for the meta-test: a MainDevice on a segment of all kinds of devices, faults of all sorts, a recording.

The recording is ``cell.pcapng`` in the working directory.
"""

from __future__ import annotations

from taktora.errors import TaktoraError
from taktora_sim.ethercat.pcapng import SegmentRecording
from taktora_sim.faults import FaultEntry, FaultPlan
from taktora_sim.world import World
from tests.sim.ethercat import cell
from tests.sim.ethercat.segments import MS

_PLAN = FaultPlan.of(
    FaultEntry(
        target="ethercat/cell", kind="lose-frames", at_ns=0, duration_ns=600 * MS, parameters={"percent": 2, "salt": 5}
    ),
    FaultEntry(target="ethercat/cell", kind="stale-frames", frame=3000, duration_ns=5 * MS),
    FaultEntry(target="ethercat/cell/axis1", kind="busy-sii", at_ns=0, duration_ns=30 * MS),
    FaultEntry(target="ethercat/cell/axis2", kind="cut-cable", at_ns=700 * MS, duration_ns=50 * MS),
    FaultEntry(target="ethercat/cell/do6", kind="power-cycle", at_ns=900 * MS, duration_ns=20 * MS),
    FaultEntry(target="ethercat/cell/di6", kind="flip-inputs", at_ns=100 * MS, duration_ns=900 * MS),
    FaultEntry(target="ethercat/cell/fixed", kind="retreat-to-safe-op", at_ns=400 * MS),
)


def scenario(world: World) -> None:
    world.faults.propose(_PLAN)
    mixed = cell.Cell(cell.MIXED, world=world)
    SegmentRecording(mixed.segment, "cell.pcapng")
    is_up = False
    while world.now_ns() < 1200 * MS:
        try:
            if not is_up:
                mixed.run(mixed.main.recover() if mixed.segment.frames else mixed.main.bring_up())
                is_up = True
            mixed.cycles(1)
        except TaktoraError:
            is_up = False
            world.run_for(10 * MS)
    world.check("all faults have fired", not world.faults.unfired())
