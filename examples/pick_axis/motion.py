"""The positions that a drive in cyclic synchronous position mode is given: bounded speed and acceleration, no I/O."""

from __future__ import annotations

from math import copysign, sqrt

__all__ = ["Setpoint"]


class Setpoint:
    """A commanded position in mm that moves with a trapezoid of speed; one step per cycle of the bus.

    Args:
        acceleration: And deceleration, in mm/s2.
    """

    def __init__(self, acceleration: float) -> None:
        self.position = 0.0
        self.speed = 0.0
        """In mm/s, signed."""
        self._acceleration = acceleration

    @property
    def is_at_rest(self) -> bool:
        return self.speed == 0.0

    def place(self, position: float) -> None:
        """Begin at `position`, at rest: where the axis is."""
        self.position, self.speed = position, 0.0

    def towards(self, target: float, speed: float, period_s: float) -> None:
        """Take one step of `period_s` towards `target`, with at most `speed`, so that it comes to rest there."""
        way = target - self.position
        step = self._acceleration * period_s
        if abs(way) <= step * period_s and abs(self.speed) <= step:
            self.place(target)
            return
        # The highest speed from which whole cycles of deceleration end at the target.
        braking = sqrt(step * step / 4 + 2 * self._acceleration * abs(way)) - step / 2
        self._approach(copysign(min(speed, braking), way), period_s)

    def halt(self, period_s: float) -> None:
        """Take one step of `period_s` of slowing down."""
        self._approach(0.0, period_s)

    def _approach(self, speed: float, period_s: float) -> None:
        step = self._acceleration * period_s
        self.speed += min(max(speed - self.speed, -step), step)
        self.position += self.speed * period_s
