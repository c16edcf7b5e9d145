"""What the machine does, as a sequence of steps, free of any I/O: one call per cycle of the bus.

```
       start                                 ┌───────────── the work, part by part ─────────────┐
 OFF ────────▶ ENABLING ───▶ HOMING ───▶ RETURNING ──▶ WAITING ──▶ GRIPPING ──▶ CARRYING ──▶ RELEASING
  ▲               │            │             ▲                                                  │
  │               │            │             └──────────────────────────────────────────────────┘
  ├── STOPPING ◀──┴────────────┴── stop, from any step of the work
  └── RESETTING ◀── reset ── EMERGENCY, FAULT ◀── from any step
```
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, IntEnum

from drive import DriveState, Mode, Power, homing_failed, homing_is_done, state_of
from images import AxisIn, Lamps, Sensors
from motion import Setpoint

__all__ = ["AT_WORK", "PICK_MM", "PLACE_MM", "Coil", "Orders", "Sequence", "Step"]

PICK_MM, PLACE_MM = 20.0, 420.0
"""At the end of the chute; above the belt."""
SPEED_MM_S, ACCELERATION_MM_S2 = 800.0, 4000.0
WITHIN_MM = 0.2
"""How close the axis has to be to where it was sent."""
ANSWER_CYCLES = 3
"""Cycles until the inputs can tell what became of an order."""


class Step(IntEnum):
    """Where the sequence is."""

    OFF = 0
    ENABLING = 1
    HOMING = 2
    WAITING = 3
    GRIPPING = 4
    CARRYING = 5
    RELEASING = 6
    RETURNING = 7
    STOPPING = 8
    RESETTING = 9
    EMERGENCY = 10
    FAULT = 11


AT_WORK = (Step.WAITING, Step.GRIPPING, Step.CARRYING, Step.RELEASING, Step.RETURNING)
UNDER_POWER = (Step.HOMING, *AT_WORK)
"""Steps in which the drive has to stay enabled."""

LIMITS_S = {
    Step.ENABLING: (1.0, "the drive does not enable operation"),
    Step.HOMING: (20.0, "the drive does not find its reference"),
    Step.GRIPPING: (0.5, "the light barrier sees a part and the gripper has found none"),
    Step.RELEASING: (0.5, "the gripper does not open"),
    Step.CARRYING: (3.0, "the axis does not arrive"),
    Step.RETURNING: (3.0, "the axis does not arrive, or the gripper does not open"),
    Step.STOPPING: (1.0, "the drive does not switch off"),
    Step.RESETTING: (0.5, "the fault of the drive remains"),
}
"""How long a step may take, and what is wrong when it takes longer."""


class Coil(Enum):
    """Which coil of the gripper's valve has current."""

    NONE = 0
    CLOSE = 1
    OPEN = 2


@dataclass(frozen=True, slots=True)
class Orders:
    """What the outputs are to be until the next cycle; `target` in mm."""

    power: Power
    mode: Mode
    target: float
    coil: Coil = Coil.NONE
    search: bool = False
    """The drive is to look for its reference."""
    reset: bool = False
    """The drive is to forget its fault."""


class Sequence:
    """The pick axis; `step`, `trouble`, `parts` and `setpoint` may be looked at, `advance` moves it on."""

    def __init__(self) -> None:
        self.step = Step.OFF
        self.trouble = ""
        """What is wrong, in EMERGENCY and FAULT: a code, and words."""
        self.parts = 0
        """Parts put down so far."""
        self.setpoint = Setpoint(ACCELERATION_MM_S2)
        self.is_homed = False
        self._period_s = 0.0  # until the first cycle
        self._cycles = 0
        """Spent in this step so far."""
        self._buttons = (True, True)
        """Start and reset in the last cycle: a button counts when it goes down."""
        self._run: dict[Step, Callable[[AxisIn, Sensors], Orders]] = {
            Step.OFF: self._off,
            Step.ENABLING: self._enable,
            Step.HOMING: self._home,
            Step.WAITING: self._wait,
            Step.GRIPPING: self._grip,
            Step.CARRYING: self._carry,
            Step.RELEASING: self._release,
            Step.RETURNING: self._return,
            Step.STOPPING: self._stop,
            Step.RESETTING: self._reset,
            Step.EMERGENCY: self._stand,
            Step.FAULT: self._stand,
        }

    def advance(self, axis: AxisIn, sensors: Sensors, period_s: float, fresh: bool) -> Orders:
        """Look at the inputs of a cycle and return what is to be done until the next one.

        Args:
            axis: Inputs of the drive.
            sensors: Inputs of the terminal.
            period_s: Cycle of the bus.
            fresh: False when the inputs are old ones.
        """
        before = self.step
        self._period_s = period_s
        self._cycles += 1
        self._supervise(axis, sensors, fresh)
        if fresh:
            self._press(sensors)
        orders = self._run[self.step](axis, sensors)
        if self.step is not before:
            self._cycles = 0
        return orders

    def lamps(self, sensors: Sensors) -> Lamps:
        """Return the stack light: red is trouble, yellow waits for start, green works, white is short of parts."""
        return Lamps(
            red=self.step in (Step.EMERGENCY, Step.FAULT, Step.RESETTING),
            yellow=self.step is Step.OFF,
            green=self.step not in (Step.OFF, Step.EMERGENCY, Step.FAULT, Step.RESETTING),
            white=self.step is Step.WAITING and not sensors.part_there,
        )

    # --- what ends a step from outside ----------------------------------------------------------------------------

    def _supervise(self, axis: AxisIn, sensors: Sensors, fresh: bool) -> None:
        if not fresh:
            self.is_homed = False  # the drive may have been without power
            if self.step not in (Step.OFF, Step.EMERGENCY, Step.FAULT):
                self._fail("NO_INPUTS", "the bus brings no new inputs")
            return
        if not sensors.estop_ok:
            if self.step is not Step.EMERGENCY:
                self.step, self.trouble = Step.EMERGENCY, "EMERGENCY_STOP: the emergency stop is pressed"
            return
        if self.step not in (Step.EMERGENCY, Step.FAULT, Step.RESETTING):
            self._supervise_work(axis, sensors)
        limit_s, words = LIMITS_S.get(self.step, (0.0, ""))
        if words and self._cycles * self._period_s > limit_s:
            self._fail(f"{self.step.name}_TIMEOUT", words)

    def _supervise_work(self, axis: AxisIn, sensors: Sensors) -> None:
        state = state_of(axis.statusword)
        if state.is_fault:
            self._fail("DRIVE_FAULT", f"the drive reports error 0x{axis.error_code:04X}")
        elif self.step in UNDER_POWER and state is not DriveState.ENABLED:
            self._fail("DRIVE_OFF", f"the drive has left operation, it is in {state.name}")
        elif self.step in UNDER_POWER and not sensors.air_ok:
            self._fail("NO_AIR", "the pressure for the gripper is missing")
        elif self.step is Step.HOMING and homing_failed(axis):
            self._fail("NO_REFERENCE", "the drive has not found its reference")
        elif self.step is Step.CARRYING and not sensors.part_held:
            self._fail("PART_LOST", "the gripper has lost its part on the way")

    def _press(self, sensors: Sensors) -> None:
        start, reset = sensors.start and not self._buttons[0], sensors.reset and not self._buttons[1]
        self._buttons = sensors.start, sensors.reset
        if not sensors.stop_ok:
            if self.step in (Step.ENABLING, *UNDER_POWER):
                self.step = Step.STOPPING
        elif start and self.step is Step.OFF and sensors.estop_ok:
            self.step = Step.ENABLING
        if reset and self.step in (Step.EMERGENCY, Step.FAULT) and sensors.estop_ok:
            self.step = Step.RESETTING

    def _fail(self, code: str, words: str) -> None:
        self.step, self.trouble = Step.FAULT, f"{code}: {words}"

    # --- the steps ------------------------------------------------------------------------------------------------

    def _off(self, axis: AxisIn, _sensors: Sensors) -> Orders:
        return self._hold(axis, Power.OFF)

    def _stand(self, axis: AxisIn, _sensors: Sensors) -> Orders:
        return self._hold(axis, Power.QUICK_STOP)

    def _enable(self, axis: AxisIn, sensors: Sensors) -> Orders:
        if state_of(axis.statusword) is DriveState.ENABLED:
            self.step = Step.HOMING if not self.is_homed else self._next_way(sensors)
        return self._hold(axis, Power.ON)

    def _home(self, axis: AxisIn, sensors: Sensors) -> Orders:
        if self._cycles > ANSWER_CYCLES and homing_is_done(axis):
            self.is_homed = True
            self.step = self._next_way(sensors)
        # Bit 4 starts the search where it rises, hence not before the drive is in homing mode.
        return self._hold(axis, Power.ON, search=axis.mode_display == Mode.HOMING and not self.is_homed)

    def _wait(self, axis: AxisIn, sensors: Sensors) -> Orders:
        if sensors.part_there:
            self.step = Step.GRIPPING
        return self._move(axis, PICK_MM)

    def _grip(self, axis: AxisIn, sensors: Sensors) -> Orders:
        if sensors.part_held:
            self.step = Step.CARRYING
        return self._move(axis, PICK_MM, Coil.CLOSE)

    def _carry(self, axis: AxisIn, _sensors: Sensors) -> Orders:
        if self._has_arrived(axis, PLACE_MM):
            self.step = Step.RELEASING
        return self._move(axis, PLACE_MM, Coil.CLOSE)

    def _release(self, axis: AxisIn, sensors: Sensors) -> Orders:
        if sensors.gripper_open:
            self.parts += 1
            self.step = Step.RETURNING
        return self._move(axis, PLACE_MM, Coil.OPEN)

    def _return(self, axis: AxisIn, sensors: Sensors) -> Orders:
        if sensors.gripper_open and self._has_arrived(axis, PICK_MM):
            self.step = Step.WAITING
        return self._move(axis, PICK_MM, Coil.OPEN)

    def _stop(self, axis: AxisIn, _sensors: Sensors) -> Orders:
        if state_of(axis.statusword) not in (DriveState.ENABLED, DriveState.QUICK_STOP):
            self.step = Step.OFF
        if axis.mode_display != Mode.CYCLIC_POSITION:
            return self._hold(axis, Power.QUICK_STOP)
        self.setpoint.halt(self._period_s)
        power = Power.OFF if self.setpoint.is_at_rest else Power.ON
        return Orders(power, Mode.CYCLIC_POSITION, self.setpoint.position)

    def _reset(self, axis: AxisIn, _sensors: Sensors) -> Orders:
        if not state_of(axis.statusword).is_fault:
            self.step, self.trouble = Step.OFF, ""
        return self._hold(axis, Power.OFF, reset=self._cycles > 1)

    # --- what steps are made of -----------------------------------------------------------------------------------

    def _next_way(self, sensors: Sensors) -> Step:
        """Return how to go on after a stop: a part that is held is delivered first."""
        return Step.CARRYING if sensors.part_held else Step.RETURNING

    def _has_arrived(self, axis: AxisIn, target: float) -> bool:
        return self.setpoint.position == target and abs(axis.position - target) < WITHIN_MM

    def _move(self, axis: AxisIn, target: float, coil: Coil = Coil.NONE) -> Orders:
        if axis.mode_display != Mode.CYCLIC_POSITION:
            return self._hold(axis, Power.ON, coil=coil)
        self.setpoint.towards(target, SPEED_MM_S, self._period_s)
        return Orders(Power.ON, Mode.CYCLIC_POSITION, self.setpoint.position, coil)

    def _hold(
        self, axis: AxisIn, power: Power, coil: Coil = Coil.NONE, search: bool = False, reset: bool = False
    ) -> Orders:
        """Order no motion: the setpoint follows the axis, so that it begins where the axis is."""
        self.setpoint.place(axis.position)
        mode = Mode.CYCLIC_POSITION if self.is_homed else Mode.HOMING
        return Orders(power, mode, axis.position, coil, search, reset)
