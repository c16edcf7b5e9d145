"""A scenario for the meta-test: three nodes on a CAN FD bus under drawn faults of every sort."""

from __future__ import annotations

from functools import partial

from taktora.can import CanFrame
from taktora.can.interface import CanErrorFrame, CanIfaceState
from taktora.errors import BackPressure, LinkDown
from taktora_sim.campaign import Campaign, draw_plan
from taktora_sim.can import SimulatedCanBus, SimulatedCanInterface
from taktora_sim.world import World

MS = 1_000_000
DURATION_NS = 500 * MS
CAMPAIGN = Campaign(faults=(6, 10), begin_ns=(0, 400 * MS), duration_ns=(2 * MS, 100 * MS))


class _Listener:
    """Writes what it hears into the trace."""

    def __init__(self, world: World, name: str) -> None:
        self._note = world.trace.channel(f"listener/{name}", "heard")

    def on_frame(self, frame: CanFrame) -> None:
        self._note(frame.can_id.to_bytes(4, "little") + frame.data)

    def on_error_frame(self, frame: CanErrorFrame) -> None:
        self._note(int(frame.classes).to_bytes(4, "little") + frame.data)

    def on_state(self, state: CanIfaceState, reason: str) -> None:
        self._note(f"{state.value} {reason}".encode())

    def on_receive_overflow(self, lost: int) -> None:
        self._note(lost.to_bytes(4, "little"))

    def on_failure(self, error: BaseException) -> None:
        raise error


def build(world: World) -> SimulatedCanBus:
    """Return a bus whose nodes send classical and CAN FD frames, each with a period of its own."""
    bus = SimulatedCanBus(world, "vehicle", data_bitrate=2_000_000)
    for number, name in enumerate(("engine", "body", "gauge")):
        interface = bus.node(name, restart_ms=20, berr_reporting=True).interface(receive_buffer=8)
        listener = _Listener(world, name)
        interface.open(listener)
        _send(interface, listener, world, number, 0)
    return bus


def _send(interface: SimulatedCanInterface, listener: _Listener, world: World, number: int, counter: int) -> None:
    is_fd = counter % 3 == 2
    data = counter.to_bytes(4, "little") * (5 if is_fd else 2)
    frame = CanFrame(0x100 * (number + 1) + counter % 2, data, fd=is_fd, brs=is_fd)
    if interface.state is CanIfaceState.DOWN and interface.node.is_up:
        interface.open(listener)
    try:
        interface.send(frame)
    except (BackPressure, LinkDown):
        world.trace.channel(f"listener/{interface.node.name}", "refused")(b"")
    world.call_after((number + 1) * MS, partial(_send, interface, listener, world, number, counter + 1))


def scenario(world: World) -> None:
    """Run half a second with drawn faults."""
    build(world)
    world.faults.propose(draw_plan(world, CAMPAIGN))
    world.run_for(DURATION_NS)
    world.check("a fault fired", bool(world.faults.fired))
