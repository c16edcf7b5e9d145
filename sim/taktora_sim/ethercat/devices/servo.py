"""The control loops of a simulated drive and the motion it plans itself, in steps of a fixed time; it knows no object.

All in the axis's unit. A cascade: proportional position control with the planned velocity fed forward, then
proportional and integral velocity control, which knows the axis's inertia, then the limit of force.

Simplified: the loops see the axis without quantisation and without delay; the current loop is ideal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from taktora_sim.plants.axis import Axis

__all__ = ["Gains", "Reference", "Servo"]

_INTEGRAL_PER_S = 40.0


@dataclass(frozen=True, slots=True)
class Gains:
    """Of position control and of velocity control, in 1/s."""

    position_per_s: float = 100.0
    velocity_per_s: float = 500.0


class Reference:
    """Where the axis is to be, and how fast: the demand values."""

    __slots__ = ("_by", "_end", "_left", "acceleration", "dt_s", "position", "velocity")

    def __init__(self, dt_s: float) -> None:
        self.dt_s = dt_s
        self.position = 0.0
        self.velocity = 0.0
        self.acceleration = 0.0
        """Fed forward to the force."""
        self._left = 0
        self._by = 0.0
        self._end = 0.0

    def begin_at(self, position: float, velocity: float) -> None:
        """Start from what is."""
        self.position, self.velocity, self.acceleration, self._left = position, velocity, 0.0, 0

    def lead_to(self, position: float, steps: int) -> None:
        """Get to ``position`` in a straight line within ``steps``; then stay until the next one comes."""
        steps = max(1, steps)
        self._end, self._left, self._by = position, steps, (position - self.position) / steps

    def follow(self) -> bool:
        """Take a step on the line; False at its end."""
        before = self.velocity
        if self._left:
            self._left -= 1
            self.velocity = self._by / self.dt_s
            self.position = self.position + self._by if self._left else self._end
        else:
            self.velocity = 0.0
        self.acceleration = 0.0
        return bool(self._left) or before != 0.0

    def ramp(self, velocity: float, rate: float) -> bool:
        """Take a step towards ``velocity`` with ``rate`` (unit/s^2); False when it was reached before."""
        change = velocity - self.velocity
        step = rate * self.dt_s
        limited = min(max(change, -step), step)
        self.velocity += limited
        self.acceleration = limited / self.dt_s
        self.position += self.velocity * self.dt_s
        return limited != 0.0

    def approach(self, target: float, speed: float, acceleration: float, deceleration: float) -> bool:
        """Take a step of the quickest way to ``target`` within the limits; False when it is there, at rest."""
        distance = target - self.position
        step = deceleration * self.dt_s
        if distance == 0.0 and self.velocity == 0.0:
            self.acceleration = 0.0
            return False
        if abs(distance) <= step * self.dt_s and abs(self.velocity) <= step:
            self.begin_at(target, 0.0)
            return True
        wanted = math.copysign(min(speed, self.braking_speed(abs(distance), deceleration)), distance)
        is_slower = abs(wanted) < abs(self.velocity) or wanted * self.velocity < 0.0
        self.ramp(wanted, deceleration if is_slower else acceleration)
        if (target - self.position) * distance < 0.0 and abs(self.velocity) <= step:
            self.begin_at(target, 0.0)
        return True

    def braking_speed(self, distance: float, deceleration: float) -> float:
        """Return the speed from which ``distance`` is enough to stop, in whole steps."""
        half = 0.5 * deceleration * self.dt_s
        return math.sqrt(half * half + 2.0 * deceleration * distance) - half


class Servo:
    """Turns a reference into force.

    Args:
        axis: What it moves.
        gains: Of the loops.
        dt_s: Time of a step.
    """

    def __init__(self, axis: Axis, gains: Gains, dt_s: float) -> None:
        self.axis = axis
        self.gains = gains
        self.dt_s = dt_s
        self.reference = Reference(dt_s)
        self.force = 0.0
        self.max_force = 0.0
        self.is_limited = False
        """The force of the last step was at its limit."""
        self.stuck_at: float | None = None
        """What a stuck encoder shows."""
        self._integral = 0.0

    @property
    def seen_position(self) -> float:
        """What the encoder shows."""
        return self.axis.x if self.stuck_at is None else self.stuck_at

    @property
    def seen_velocity(self) -> float:
        """What the encoder shows."""
        return self.axis.v if self.stuck_at is None else 0.0

    def begin(self) -> None:
        """Take over the axis as it is."""
        self.reference.begin_at(self.seen_position, self.seen_velocity)
        self._integral = 0.0

    def track(self, *, with_position: bool) -> None:
        """Take a step of control, then one of the axis."""
        reference, gains = self.reference, self.gains
        error = reference.velocity - self.seen_velocity
        if with_position:
            error += gains.position_per_s * (reference.position - self.seen_position)
        inertia = self.axis.parameters.inertia
        gain = inertia * gains.velocity_per_s
        wanted = gain * error + self._integral + inertia * reference.acceleration
        self.push(wanted)
        if not self.is_limited:
            self._integral += gain * error * _INTEGRAL_PER_S * self.dt_s

    def push(self, force: float) -> None:
        """Take a step of the axis with ``force``, as far as it is allowed."""
        limit = self.max_force
        self.is_limited = not -limit <= force <= limit
        self.force = min(max(force, -limit), limit)
        self.axis.step(self.force, self.dt_s, has_brake=False)

    def coast(self) -> None:
        """Take a step of the axis without torque, with the brake closed."""
        self.force, self.is_limited = 0.0, False
        self.axis.step(0.0, self.dt_s, has_brake=True)
