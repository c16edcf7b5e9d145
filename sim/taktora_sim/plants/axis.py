"""An axis: mass, friction, load, end stops and switches behind a drive; it has no controller and no time of its own.

All quantities are in the axis's own ``unit`` (mm, deg) and in N (or N m); times are steps of the drive, which
integrates the axis on a fixed grid of virtual time, so that what comes out does not depend on who looks when.

Modelled: inertia, viscous and Coulomb friction with sticking, a constant load, a holding brake, inelastic end stops,
switches. Simplified: a rigid body without backlash, elasticity or temperature; friction does not depend on the load.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from taktora.errors import ConfigurationError

__all__ = ["Axis", "AxisParameters", "MoveListener"]

MoveListener: TypeAlias = Callable[[float], object]
"""Told of the position, in the axis's unit."""

_POSITIVE: Final = ("increments_per_unit", "inertia", "rated_force")
_NOT_NEGATIVE: Final = ("viscous", "coulomb", "brake_force")


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisParameters:
    """What an axis is; the defaults are a belt axis of 20 kg in mm.

    Args:
        unit: Of positions, for people.
        increments_per_unit: Of the encoder.
        inertia: Force for an acceleration of 1 unit/s^2, in N (or N m) s^2/unit: 20 kg moved in mm are 0.02.
        viscous: Friction that grows with the speed, in N s/unit.
        coulomb: Friction that does not, in N; below it the axis sticks.
        load: Force that always acts, in N: a weight is negative.
        rated_force: Force of the motor at a torque of 1000 (per mille of rated), in N.
        brake_force: Holding brake that falls in when the drive has no torque, in N; 0 is none.
        start: Position at the beginning.
        low: End stop, None is none.
        high: End stop, None is none.
        switch_low: Limit switch, closed at this position and below; None is none.
        switch_high: Limit switch, closed at this position and above; None is none.
    """

    unit: str = "mm"
    increments_per_unit: float = 1000.0
    inertia: float = 0.02
    viscous: float = 0.02
    coulomb: float = 4.0
    load: float = 0.0
    rated_force: float = 200.0
    brake_force: float = 600.0
    start: float = 0.0
    low: float | None = None
    high: float | None = None
    switch_low: float | None = None
    switch_high: float | None = None

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"axis: {name} is {getattr(self, name)!r}, expected a number above 0")
        for name in _NOT_NEGATIVE:
            if not getattr(self, name) >= 0:
                raise ConfigurationError(f"axis: {name} is {getattr(self, name)!r}, expected 0 or more")
        low = self.start if self.low is None else self.low
        high = self.start if self.high is None else self.high
        if not low <= self.start <= high:
            raise ConfigurationError(f"axis: start {self.start:g} is not between low {self.low} and high {self.high}")


# req: REQ_8108
class Axis:
    """The moving part; a drive steps it (see :mod:`taktora_sim.ethercat.devices.drive`)."""

    def __init__(self, parameters: AxisParameters | None = None) -> None:
        self.parameters = parameters or AxisParameters()
        self.listeners: list[MoveListener] = []
        """Told of the position every millisecond while the axis moves."""
        self.x = self.parameters.start
        """Position at the last step; see :attr:`position`."""
        self.v = 0.0
        """Velocity at the last step, in units per second."""
        self.blocks = 0
        """Faults that keep it from moving."""
        self._load = self.parameters.load
        self._sync: Callable[[], object] = lambda: None
        self._wake: Callable[[], object] = lambda: None

    def bind(self, sync: Callable[[], object], wake: Callable[[], object]) -> None:
        """Let a drive integrate the axis: ``sync`` brings it to now, ``wake`` says that something has changed."""
        self._sync, self._wake = sync, wake

    @property
    def position(self) -> float:
        """Where it is now, in its unit."""
        self._sync()
        return self.x

    @property
    def velocity(self) -> float:
        """How fast it is now, in units per second."""
        self._sync()
        return self.v

    @property
    def load(self) -> float:
        """The force that acts on it beside motor and friction, in N; may be set at any time."""
        return self._load

    @load.setter
    def load(self, force: float) -> None:
        self._sync()
        self._load = force
        self._wake()

    @property
    def at_low_switch(self) -> bool:
        """Whether the lower limit switch is closed."""
        at = self.parameters.switch_low
        return at is not None and self.x <= at

    @property
    def at_high_switch(self) -> bool:
        """Whether the upper limit switch is closed."""
        at = self.parameters.switch_high
        return at is not None and self.x >= at

    def on_move(self, listener: MoveListener) -> None:
        """Have ``listener`` told of the position now, and every millisecond while the axis moves."""
        self._sync()
        self.listeners.append(listener)
        listener(self.x)
        self._wake()

    def place(self, position: float) -> None:
        """Put the axis somewhere, at rest, as if by hand."""
        self._sync()
        self.x, self.v = position, 0.0
        self._wake()

    def block(self, by: int) -> None:
        """Add (1) or take away (-1) something that keeps the axis where it is."""
        self._sync()
        self.blocks += by
        self._wake()

    def step(self, force: float, dt_s: float, *, has_brake: bool) -> None:
        """Move on by one step under the motor's ``force``, in N."""
        if self.blocks:
            self.v = 0.0
            return
        given = self.parameters
        pull = force + self._load
        friction = given.coulomb + given.brake_force if has_brake else given.coulomb
        v = self.v
        if v == 0.0:
            if -friction <= pull <= friction:
                return
            pull += -friction if pull > 0.0 else friction
        else:
            pull -= friction if v > 0.0 else -friction
        # Viscous friction is taken at the end of the step: stable however large it is.
        new = (given.inertia * v + pull * dt_s) / (given.inertia + given.viscous * dt_s)
        if v * new < 0.0:
            new = 0.0  # friction stops, it does not push back
        self.v = new
        self.x += new * dt_s
        if given.low is not None and self.x < given.low:
            self.x, self.v = given.low, 0.0
        elif given.high is not None and self.x > given.high:
            self.x, self.v = given.high, 0.0

    def sticks(self, *, has_brake: bool) -> bool:
        """Return whether it is at rest and stays there without the motor's force."""
        friction = self.parameters.coulomb + (self.parameters.brake_force if has_brake else 0.0)
        return self.v == 0.0 and (bool(self.blocks) or -friction <= self._load <= friction or self._is_pressed())

    def _is_pressed(self) -> bool:
        """Return whether the load presses it against an end stop."""
        low, high = self.parameters.low, self.parameters.high
        return (low is not None and self.x <= low and self._load < 0.0) or (
            high is not None and self.x >= high and self._load > 0.0
        )
