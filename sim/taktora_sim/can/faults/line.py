"""What happens to the line of a simulated CAN bus: a node cut off from it, and a line held dominant, as fault kinds.

==================  ================================================================================================
``open_wire``       the node is cut off until the fault ends: nobody hears it, and it hears nobody. ``hears`` is
                    ``nothing`` (its own bits do not come back: bit errors, bus-off after 32 attempts) or ``itself``
                    (nobody acknowledges: error-passive after 16 attempts, and so it stays)
``stuck_dominant``  the node holds the line dominant until the fault ends: nobody can send, all error counters rise
==================  ================================================================================================

Modelled: the piece of wire behind the cut is a bus of its own, on which a bus-off node recovers too. A line held
dominant breaks off the frame on it: its transmitter counts a bit error at the next recessive bit that it sends, all
others an error, then one more for the dominant bit after their flags and, as the transmitter, eight after 14 dominant
bits from the flag on and after each 8 more (ISO 11898-1). Bus-off nodes count no recessive bits meanwhile.
Simplified: a node that is sending is cut off after its frame; recovery from bus-off begins anew where the wire is cut
or mended; all nodes find the error of a held line at one instant, and an error frame that is on the line as it begins
is completed; the time of a held line is no bus load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taktora_sim.can.errors import WireError, WireErrorKind
from taktora_sim.can.timing import phase_bits, wire_image
from taktora_sim.faults import FaultKind, Param, Parameters

if TYPE_CHECKING:
    from taktora_sim.can.bus import SimulatedCanBus, Transmission
    from taktora_sim.can.node import CanNode
    from taktora_sim.world import Timer, World

__all__ = ["line_kinds"]

_DOMINANT_AFTER_FLAG_BITS = 7
_FIRST_RUN_BITS = 14
_FURTHER_RUN_BITS = 8
_RUNS_MAX = 40
"""By then every transmitter is bus-off and every receive error counter at its end."""
_DELIMITER_AND_INTERMISSION_BITS = 11


# req: REQ_8204
def line_kinds(node: CanNode) -> dict[str, FaultKind]:
    """Return the fault kinds that ``node`` suffers from, or brings to, the line."""
    cut, lines, bus = _Cut(node), node.bus.world.part(_HeldLines), node.bus
    hears = Param(str, default="nothing", choices=("nothing", "itself"))
    return {
        "open_wire": FaultKind(
            cut.begin, cut.end, params={"hears": hears}, describe="the wire to the node is open: it hears {hears}"
        ),
        "stuck_dominant": FaultKind(
            lambda _parameters: lines.of(bus).press(),
            lambda _parameters: lines.of(bus).release(),
            describe="the node holds the line dominant",
        ),
    }


class _Cut:
    """One node and the wires it may be on: its bus, or the piece behind a cut."""

    def __init__(self, node: CanNode) -> None:
        self._node = node
        self._bus = node.bus
        self._active: list[Parameters] = []

    def begin(self, parameters: Parameters) -> None:
        self._active.append(parameters)
        self._move_when_silent()

    def end(self, parameters: Parameters) -> None:
        self._active = [other for other in self._active if other is not parameters]
        self._move_when_silent()

    def _move_when_silent(self) -> None:
        bus = self._node.bus
        if self._node.is_sending:
            bus.world.call_at(bus.free_at_ns, self._move)
        else:
            self._move()

    def _move(self) -> None:
        self._node.is_suspended = False  # what it waited for is on the other wire
        if not self._active:
            self._bus.adopt(self._node)
            return
        stub = self._bus.stub()
        if self._active[-1]["hears"] == "nothing":
            stub.wire_faults.append(lambda _attempt: WireError(WireErrorKind.BIT, 0))
        stub.adopt(self._node)


class _HeldLines:
    """The lines of one World that somebody may hold; ``world.part(_HeldLines)`` is that World's own."""

    def __init__(self, _world: World) -> None:
        self._lines: dict[str, _HeldLine] = {}

    def of(self, bus: SimulatedCanBus) -> _HeldLine:
        """Return that of ``bus``."""
        if bus.name not in self._lines:
            self._lines[bus.name] = _HeldLine(bus)
        return self._lines[bus.name]


class _HeldLine:
    """The line of one bus, held dominant while anybody presses."""

    def __init__(self, bus: SimulatedCanBus) -> None:
        self._bus = bus
        self._pressed = 0
        self._senders: list[CanNode] = []
        self._flag_ns = 0
        self._timer: Timer | None = None

    def press(self) -> None:
        """Hold the line, if nobody does yet."""
        self._pressed += 1
        if self._pressed > 1:
            return
        bus = self._bus
        broken = bus.hold()
        now_ns = bus.world.now_ns()
        self._senders = [] if broken is None else broken.senders
        seen_ns = now_ns + bus.duration_ns(_DOMINANT_AFTER_FLAG_BITS - 1) if broken is None else self._seen_ns(broken)
        for node in self._senders:
            node.fail()
        self._flag_ns = max(seen_ns, now_ns)
        self._timer = bus.world.call_at(self._flag_ns, self._find_error)

    def release(self) -> None:
        """Let the line go, if nobody else holds it."""
        self._pressed -= 1
        if self._pressed == 0:
            if self._timer is not None:
                self._timer.cancel()
            self._bus.let_go(_DELIMITER_AND_INTERMISSION_BITS)

    def _seen_ns(self, broken: Transmission) -> int:
        """Return when the transmitter has seen its next recessive bit dominant."""
        bus, bits = self._bus, wire_image(broken.frame).bits
        elapsed_ns = bus.world.now_ns() - broken.start_ns
        first = next(
            bit for bit in range(len(bits)) if bus.duration_ns(*phase_bits(broken.frame, bit + 1)) > elapsed_ns
        )
        seen = bits.index("1", first)
        return broken.start_ns + bus.duration_ns(*phase_bits(broken.frame, seen + 1))

    def _find_error(self) -> None:
        for node in self._senders:
            node.controller.transmit_error()
        self._wait(0, _DOMINANT_AFTER_FLAG_BITS)

    def _wait(self, run: int, bits: int) -> None:
        at_ns = self._flag_ns + self._bus.duration_ns(bits)
        self._timer = self._bus.world.call_at(at_ns, lambda: self._count(run))

    def _count(self, run: int) -> None:
        """Count what the standard asks for: after the flag (run 0), after 14 dominant bits, after each 8 more."""
        for node in self._bus.hearing:
            if node in self._senders:
                if run:
                    node.controller.transmit_error()
            elif not node.options.listen_only:
                if run:
                    node.controller.dominant_run()
                else:
                    node.controller.receive_error(first=True)
        self._bus.rewire()
        if run < _RUNS_MAX:
            self._wait(run + 1, _FIRST_RUN_BITS + run * _FURTHER_RUN_BITS)
