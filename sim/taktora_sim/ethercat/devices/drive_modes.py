"""Modes of operation of a simulated CiA 402 drive: what each makes of set-points; it knows no power state.

====  =====================  ===========================================================================================
mode  name                   what it does
====  =====================  ===========================================================================================
1     profile position       set-points by the handshake of bits 4 and 12, one waiting behind the one under way
3     profile velocity       ramps to the target velocity
6     homing                 methods 17 and 18 (lower, upper limit switch, then back off it), 35 and 37 (here)
8     cyclic position        a straight line from each target to the next, in the time of a cycle
9     cyclic velocity        the target velocity as it is
10    cyclic torque          the target torque as it is
====  =====================  ===========================================================================================
"""

from __future__ import annotations

from typing import Final, Protocol

from taktora_sim.ethercat.devices.cia402 import HALT_OPTION, Ramp, ramp_of
from taktora_sim.ethercat.devices.drive_objects import (
    HOMING_METHOD,
    HOMING_SPEEDS,
    POSITION_TIME,
    POSITION_WINDOW,
    PROFILE_VELOCITY,
    TARGET_POSITION,
    TARGET_TORQUE,
    TARGET_VELOCITY,
    VELOCITY_WINDOW,
    Mode,
)
from taktora_sim.ethercat.devices.servo import Servo

__all__ = ["MODE_KINDS", "DriveCore", "Operation"]

REACHED: Final = 0x0400
"""Target reached; homing: not under way."""
SPECIFIC: Final = 0x1000
"""Set-point acknowledged, speed is 0, homing attained, drive follows."""
FAILED: Final = 0x2000
"""Homing error."""
START: Final = 0x0010
AT_ONCE: Final = 0x0020
RELATIVE: Final = 0x0040
HALT: Final = 0x0100

_HOME_HERE: Final = (35, 37)
_LOW_SWITCH: Final = 17
_HIGH_SWITCH: Final = 18


class DriveCore(Protocol):
    """What a mode may ask of its drive. Positions in increments, or in the axis's unit where they are floats."""

    servo: Servo
    limits: tuple[float, float] | None
    """Software position limits, in the axis's unit."""
    is_limited: bool
    """A set-point is beyond a limit."""

    def value(self, index: int, subindex: int = 0) -> int: ...

    def setpoint(self, increments: int) -> float:
        """Return a target position in the axis's unit: the nearest of those that look the same in 32 bits."""
        ...

    def speed(self, index: int, subindex: int = 0) -> float:
        """Return a velocity object in unit/s, or what the axis is good for where it is 0."""
        ...

    def rate(self, ramp: Ramp) -> float:
        """Return a deceleration, in unit/s^2."""
        ...

    @property
    def acceleration(self) -> float: ...

    @property
    def homing_acceleration(self) -> float: ...

    @property
    def increments_per_unit(self) -> float: ...

    def cycle_steps(self) -> int:
        """Return in how many steps the next target is to be expected."""
        ...

    def steps_of_ms(self, index: int) -> int: ...

    def set_home(self) -> None:
        """Have the axis's position be the home offset from here on."""
        ...


class Operation:
    """A mode of operation, and mode 0, which holds the axis where it is."""

    is_supervised = True
    """The following error counts."""

    def __init__(self, drive: DriveCore) -> None:
        self.drive = drive
        self.servo = drive.servo
        self.reference = drive.servo.reference

    @property
    def bits(self) -> int:
        """Bits 10, 12 and 13 of the statusword."""
        return 0

    def begin(self) -> None:
        """Start from what the axis does now, which the reference has taken over."""

    def command(self, word: int, *, is_new: bool) -> None:
        """Take what the MainDevice has set; ``is_new``: bit 4 has risen."""

    def step(self) -> bool:
        """Take a step; False when there is nothing to do but hold."""
        moves = self.reference.ramp(0.0, self.drive.rate(Ramp.SLOW))
        self.servo.track(with_position=True)
        return moves

    def within(self, position: float) -> float:
        """Return ``position``, or the software limit that it is beyond."""
        limits = self.drive.limits
        if limits is None:
            return position
        allowed = min(max(position, limits[0]), limits[1])
        self.drive.is_limited = allowed != position
        return allowed

    def slowed(self, velocity: float, rate: float) -> float:
        """Return ``velocity``, or what still lets the axis stop before a software limit."""
        limits = self.drive.limits
        self.drive.is_limited = False
        if limits is None or velocity == 0.0:
            return velocity
        room = limits[1] - self.servo.seen_position if velocity > 0.0 else self.servo.seen_position - limits[0]
        allowed = self.reference.braking_speed(room, rate) if room > 0.0 else 0.0
        if abs(velocity) <= allowed:
            return velocity
        self.drive.is_limited = True
        return allowed if velocity > 0.0 else -allowed

    def halt_rate(self) -> float:
        return self.drive.rate(ramp_of(self.drive.value(HALT_OPTION)))


class ProfilePosition(Operation):
    """Mode 1."""

    def __init__(self, drive: DriveCore) -> None:
        super().__init__(drive)
        self._target: float | None = None
        self._next: float | None = None
        self._halts = False
        self._asks = False
        self._acknowledged = False
        self._inside = 0
        self._is_reached = True

    @property
    def bits(self) -> int:
        return (REACHED if self._is_reached else 0) | (SPECIFIC if self._acknowledged else 0)

    def begin(self) -> None:
        self._target = self._next = None
        self._acknowledged = self._halts = False
        self._inside, self._is_reached = 0, True

    def command(self, word: int, *, is_new: bool) -> None:
        self._asks = bool(word & START)
        self._halts = bool(word & HALT)
        if is_new:
            self._take(word)
        self._release()

    def step(self) -> bool:
        drive, reference = self.drive, self.reference
        if self._halts:
            moves = reference.ramp(0.0, self.halt_rate())
            self._is_reached = not moves
        elif self._target is not None:
            speed = drive.speed(PROFILE_VELOCITY)
            moves = reference.approach(self._target, speed, drive.acceleration, drive.rate(Ramp.SLOW))
            if not moves and self._next is not None:
                self._go(self._next)
                self._next, moves = None, True
                self._release()
            self._judge(moves)
        else:
            moves = reference.ramp(0.0, drive.rate(Ramp.SLOW))
        self.servo.track(with_position=True)
        return moves or not self._is_reached

    def _take(self, word: int) -> None:
        """Take a set-point, unless one is waiting already."""
        if word & RELATIVE:
            before = self._next if self._next is not None else self._target
            base = self.reference.position if before is None else before
            target = base + self.drive.value(TARGET_POSITION) / self.drive.increments_per_unit
        else:
            target = self.drive.setpoint(self.drive.value(TARGET_POSITION))
        target = self.within(target)
        if self._is_reached or self._target is None or word & AT_ONCE:
            self._go(target)
            self._next = None
        elif self._next is None:
            self._next = target
        else:
            return
        self._acknowledged = True

    def _go(self, target: float) -> None:
        self._target, self._inside, self._is_reached = target, 0, False

    def _release(self) -> None:
        """Take the acknowledgement back, once bit 4 is 0 and there is room for another set-point."""
        if not self._asks and self._next is None:
            self._acknowledged = False

    def _judge(self, moves: bool) -> None:
        """Say that the target is reached when the axis has been near it for long enough."""
        assert self._target is not None
        window = self.drive.value(POSITION_WINDOW) / self.drive.increments_per_unit
        is_near = not moves and abs(self._target - self.servo.seen_position) <= window
        self._inside = self._inside + 1 if is_near else 0
        self._is_reached = self._inside > self.drive.steps_of_ms(POSITION_TIME)


class ProfileVelocity(Operation):
    """Mode 3."""

    is_supervised = False

    def __init__(self, drive: DriveCore) -> None:
        super().__init__(drive)
        self._target = 0.0
        self._halts = False

    @property
    def bits(self) -> int:
        scale = self.drive.increments_per_unit
        velocity = self.servo.seen_velocity
        wanted = 0.0 if self._halts else self._target
        near = abs(wanted - velocity) * scale <= max(1, self.drive.value(VELOCITY_WINDOW))
        return (REACHED if near else 0) | (SPECIFIC if round(velocity * scale) == 0 else 0)

    def begin(self) -> None:
        self._target = 0.0

    def command(self, word: int, *, is_new: bool) -> None:  # noqa: ARG002 - bit 4 says nothing here
        self._halts = bool(word & HALT)
        self._target = self.drive.value(TARGET_VELOCITY) / self.drive.increments_per_unit

    def step(self) -> bool:
        slow = self.drive.rate(Ramp.SLOW)
        if self._halts:
            moves = self.reference.ramp(0.0, self.halt_rate())
        else:
            target = self.slowed(self._target, slow)
            brakes = abs(target) < abs(self.reference.velocity)
            moves = self.reference.ramp(target, slow if brakes else self.drive.acceleration)
        self.servo.track(with_position=False)
        return moves or self.reference.velocity != 0.0


class Homing(Operation):
    """Mode 6."""

    def __init__(self, drive: DriveCore) -> None:
        super().__init__(drive)
        self._bits = REACHED
        self._phase = ""
        self._method = 0

    @property
    def bits(self) -> int:
        return self._bits

    def begin(self) -> None:
        self._bits, self._phase = REACHED, ""

    def command(self, word: int, *, is_new: bool) -> None:
        if is_new:
            self._start()
        elif self._phase and (not word & START or word & HALT):
            self._phase, self._bits = "", REACHED  # interrupted

    def step(self) -> bool:
        if not self._phase:
            return super().step()
        if self._phase == "seek":
            self._seek()
        elif self._phase == "leave":
            self._leave()
        else:
            self._stop()
        self.servo.track(with_position=True)
        return True

    def _start(self) -> None:
        self._method = self.drive.value(HOMING_METHOD)
        parameters = self.servo.axis.parameters
        switches = {_LOW_SWITCH: parameters.switch_low, _HIGH_SWITCH: parameters.switch_high}
        if self._method in _HOME_HERE:
            self.drive.set_home()
            self._bits = REACHED | SPECIFIC
        elif switches.get(self._method) is None:
            self._bits = REACHED | FAILED
        else:
            self._phase, self._bits = "seek", 0

    @property
    def _at_switch(self) -> bool:
        axis = self.servo.axis
        return axis.at_low_switch if self._method == _LOW_SWITCH else axis.at_high_switch

    @property
    def _outwards(self) -> float:
        return -1.0 if self._method == _LOW_SWITCH else 1.0

    def _seek(self) -> None:
        self.reference.ramp(self._outwards * self.drive.speed(HOMING_SPEEDS, 1), self.drive.homing_acceleration)
        if self._at_switch:
            self._phase = "leave"

    def _leave(self) -> None:
        self.reference.ramp(-self._outwards * self.drive.speed(HOMING_SPEEDS, 2), self.drive.homing_acceleration)
        if not self._at_switch:
            self.drive.set_home()
            self._phase = "stop"

    def _stop(self) -> None:
        if not self.reference.ramp(0.0, self.drive.homing_acceleration):
            self._phase, self._bits = "", REACHED | SPECIFIC


class CyclicPosition(Operation):
    """Mode 8."""

    def __init__(self, drive: DriveCore) -> None:
        super().__init__(drive)
        self._target: int | None = None

    @property
    def bits(self) -> int:
        return SPECIFIC

    def begin(self) -> None:
        self._target = None

    def command(self, word: int, *, is_new: bool) -> None:  # noqa: ARG002 - the target is all that counts
        target = self.drive.value(TARGET_POSITION)
        if target != self._target:
            self._target = target
            self.reference.lead_to(self.within(self.drive.setpoint(target)), self.drive.cycle_steps())

    def step(self) -> bool:
        moves = self.reference.follow()
        self.servo.track(with_position=True)
        return moves


class CyclicVelocity(Operation):
    """Mode 9."""

    is_supervised = False

    def __init__(self, drive: DriveCore) -> None:
        super().__init__(drive)
        self._target = 0.0

    @property
    def bits(self) -> int:
        return SPECIFIC

    def begin(self) -> None:
        self._target = 0.0

    def command(self, word: int, *, is_new: bool) -> None:  # noqa: ARG002 - the target is all that counts
        self._target = self.drive.value(TARGET_VELOCITY) / self.drive.increments_per_unit

    def step(self) -> bool:
        reference = self.reference
        reference.velocity = self.slowed(self._target, self.drive.rate(Ramp.SLOW))
        reference.acceleration = 0.0
        reference.position = self.servo.seen_position
        self.servo.track(with_position=False)
        return reference.velocity != 0.0


class CyclicTorque(Operation):
    """Mode 10."""

    is_supervised = False

    def __init__(self, drive: DriveCore) -> None:
        super().__init__(drive)
        self._force = 0.0

    @property
    def bits(self) -> int:
        return SPECIFIC

    def begin(self) -> None:
        self._force = 0.0

    def command(self, word: int, *, is_new: bool) -> None:  # noqa: ARG002 - the target is all that counts
        self._force = self.drive.value(TARGET_TORQUE) / 1000.0 * self.servo.axis.parameters.rated_force

    def step(self) -> bool:
        self.servo.push(self._force)
        self.reference.begin_at(self.servo.seen_position, self.servo.seen_velocity)
        return True


MODE_KINDS: Final[dict[int, type[Operation]]] = {
    Mode.NONE: Operation,
    Mode.PROFILE_POSITION: ProfilePosition,
    Mode.PROFILE_VELOCITY: ProfileVelocity,
    Mode.HOMING: Homing,
    Mode.CYCLIC_POSITION: CyclicPosition,
    Mode.CYCLIC_VELOCITY: CyclicVelocity,
    Mode.CYCLIC_TORQUE: CyclicTorque,
}
