"""The machine behind the devices: axis, gripper, chute and panel; it knows the cabinet and nothing of app.py.

Modelled: the way of the carriage (by the drive's own model), jaws that take time and meet a part or none, a chute in
which the next part slides when the last one is gone, buttons, an operator. Simplified: parts neither slip nor jam, and
one that the gripper opens on falls where it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from taktora_sim.ethercat.devices import DigitalInputs, DigitalOutputs, device_of
from taktora_sim.ethercat.devices.drive import Cia402Drive
from taktora_sim.ethercat.segment import SimulatedSegment
from taktora_sim.plants import AxisParameters, Cylinder, PushButton, Sensor
from taktora_sim.world import World

__all__ = ["AXIS", "PICK_AT_MM", "Chute", "Gripper", "Operator", "Panel", "Plant", "PutDown", "attach"]

MS = 1_000_000

AXIS = AxisParameters(start=163.4, low=-12.0, high=520.0, switch_low=0.0, increments_per_unit=1000.0, inertia=0.012)
"""A belt axis with 12 kg; positions begin at the lower limit switch."""
PICK_AT_MM = 20.0
"""Where the chute ends."""


class Plant:
    """All of it, behind the devices of one segment.

    Args:
        segment: The simulated segment.
        patience_s: After which the operator presses the button that the stack light asks for; None: nobody is there.
    """

    def __init__(self, segment: SimulatedSegment, patience_s: float | None = None) -> None:
        world, sensors = segment.world, device_of(segment, "sensors", DigitalInputs)
        sensors.set("air_ok", True)
        self.drive = device_of(segment, "axis", Cia402Drive)
        self.axis = self.drive.mount(AXIS)
        self.chute = Chute(world, sensors)
        self.gripper = Gripper(world, sensors, device_of(segment, "valves", DigitalOutputs), self.chute)
        self.axis.on_move(self.gripper.carry)
        self.panel = Panel(world, sensors)
        if patience_s is not None:
            Operator(world, device_of(segment, "lamps", DigitalOutputs), self.panel, patience_s)


def attach(segment: SimulatedSegment, _label: str, settings: Mapping[str, object]) -> Plant:
    """Put the plant behind a segment, with an operator: what bench.toml names."""
    return Plant(segment, float(str(settings.get("patience_s", 1.0))))


class Chute:
    """Parts slide to its end, where a light barrier sees them; the next one comes when the last one is gone."""

    SLIDE_MS = (1200, 2600)

    def __init__(self, world: World, sensors: DigitalInputs) -> None:
        self._world = world
        self._draws = world.stream("plant/chute")
        self._barrier = Sensor(world, "barrier", partial(sensors.set, "part_there"))
        self._send()

    @property
    def has_part(self) -> bool:
        return self._barrier.is_on

    def take(self) -> None:
        """The part at the end is gone."""
        self._barrier.actuate(False)
        self._send()

    def _send(self) -> None:
        self._world.call_after(self._draws.integer(*self.SLIDE_MS) * MS, lambda: self._barrier.actuate(True))


class PutDown(NamedTuple):
    """A part that has left the gripper."""

    at_ns: int
    position_mm: float


class Gripper:
    """A pneumatic gripper on a valve with two coils: with both off, the jaws stay as they are."""

    STROKE_MS = 80
    REACH_MM = 3.0
    """How far beside it the jaws still find a part."""
    CLEAR_MM = 25.0
    """How far the carriage has to be from the chute for its part to be out of the barrier's way."""

    def __init__(self, world: World, sensors: DigitalInputs, valve: DigitalOutputs, chute: Chute) -> None:
        self._world = world
        self._chute = chute
        self._position_mm = 0.0
        self._is_in_barrier = False
        self._held = Sensor(world, "gripper/held", partial(sensors.set, "part_held"))
        self.closed_at_mm: list[float] = []
        """Where the jaws have met."""
        self.put_down: list[PutDown] = []
        """Parts that were let go beyond the chute."""
        opened = partial(sensors.set, "gripper_open")
        jaws = Cylinder(world, "gripper", opened, self._meet, stroke_ns=self.STROKE_MS * MS, is_bistable=True)
        valve.on_output(lambda _name, is_on: jaws.extend(bool(is_on)), "close_gripper")
        valve.on_output(lambda _name, is_on: jaws.retract(bool(is_on)), "open_gripper")

    @property
    def holds_part(self) -> bool:
        return self._held.is_on

    def carry(self, position_mm: float) -> None:
        """Be at `position_mm`, with what the jaws hold."""
        self._position_mm = position_mm
        if self._is_in_barrier and abs(position_mm - PICK_AT_MM) > self.CLEAR_MM:
            self._is_in_barrier = False
            self._chute.take()

    def _meet(self, are_closed: bool) -> None:
        """The jaws have closed, on a part if there is one between them; or they begin to open."""
        if are_closed:
            self.closed_at_mm.append(self._position_mm)
            finds_part = self._chute.has_part and abs(self._position_mm - PICK_AT_MM) < self.REACH_MM
            self._is_in_barrier = finds_part
            self._held.actuate(finds_part)
        elif self.holds_part:
            self._held.actuate(False)
            if not self._is_in_barrier:
                self.put_down.append(PutDown(self._world.now_ns(), self._position_mm))
            self._is_in_barrier = False


class Panel:
    """Start and reset close their contacts; stop and emergency stop open theirs."""

    def __init__(self, world: World, sensors: DigitalInputs) -> None:
        self.start = PushButton(world, "start", partial(sensors.set, "start"))
        self.reset = PushButton(world, "reset", partial(sensors.set, "reset"))
        self.stop = PushButton(world, "stop", partial(sensors.set, "stop_ok"), is_inverted=True)
        self.emergency_stop = PushButton(world, "estop", partial(sensors.set, "estop_ok"), is_inverted=True)


class Operator:
    """Looks at the stack light now and then: presses reset when it is red, start when it is yellow."""

    PRESS_NS = 200 * MS

    def __init__(self, world: World, lamps: DigitalOutputs, panel: Panel, patience_s: float) -> None:
        self._lamps = lamps
        self._buttons = {"red": panel.reset, "yellow": panel.start}
        self._patience_ns = round(patience_s * 1000) * MS
        self._world = world
        self._wait()

    def _wait(self) -> None:
        self._world.call_after(self._patience_ns, self._look)

    def _look(self) -> None:
        for lamp, button in self._buttons.items():
            if self._lamps.output(lamp):
                button.press(self.PRESS_NS)
        self._wait()
