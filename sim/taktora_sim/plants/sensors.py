"""What gives digital inputs: sensors that can stick, push buttons, light barriers; none of them knows a device.

A signal goes out through a function, usually the ``set`` of a channel of a simulated device::

    button = PushButton(world, "start", lambda on: inputs.set("in1", on))
    button.press(for_ns=100_000_000)

Modelled: normally open and normally closed contacts, a fault that holds the signal. Simplified: no bouncing, no delay.

Faults of each, at path ``plants/<name>``: ``stick-sensor`` (``value``: the signal stays so).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from taktora.errors import ConfigurationError
from taktora_sim.faults import FaultKind, Parameters
from taktora_sim.plants.axis import Axis

if TYPE_CHECKING:
    from taktora_sim.world import Timer, World

__all__ = ["LightBarrier", "PushButton", "Sensor", "SetInput"]

SetInput: TypeAlias = Callable[[bool], object]
"""Takes the state of a digital input."""


# req: REQ_8109
class Sensor:
    """A contact: what it says is given to an input whenever it changes.

    Args:
        world: Of the run.
        name: Path ``plants/<name>``.
        give: Where the signal goes.
        is_inverted: Normally closed: the signal is 1 while nothing is there.
    """

    def __init__(self, world: World, name: str, give: SetInput, *, is_inverted: bool = False) -> None:
        self.path = f"plants/{name}"
        self._give = give
        self._is_inverted = is_inverted
        self._is_on = False
        self._stuck: list[Parameters] = []
        kind = FaultKind(
            start=self._begin, stop=self._end, params={"value": False}, describe="the signal stays {value}"
        )
        world.faults.target(self.path, {"stick-sensor": kind})
        self._tell()

    @property
    def is_on(self) -> bool:
        """Whether it is actuated, whatever its signal says."""
        return self._is_on

    @property
    def signal(self) -> bool:
        """What the input gets."""
        if self._stuck:
            return bool(self._stuck[-1]["value"])
        return self._is_on is not self._is_inverted

    def actuate(self, is_on: bool) -> None:
        """Have it see something, or nothing."""
        if is_on is not self._is_on:
            self._is_on = is_on
            self._tell()

    def _tell(self) -> None:
        self._give(self.signal)

    def _begin(self, given: Parameters) -> None:
        self._stuck.append(given)
        self._tell()

    def _end(self, given: Parameters) -> None:
        self._stuck = [each for each in self._stuck if each is not given]
        self._tell()


# req: REQ_8109
class PushButton:
    """A button that somebody presses; arguments as for :class:`Sensor`."""

    def __init__(self, world: World, name: str, give: SetInput, *, is_inverted: bool = False) -> None:
        self.sensor = Sensor(world, name, give, is_inverted=is_inverted)
        self._world = world
        self._timer: Timer | None = None

    @property
    def is_pressed(self) -> bool:
        return self.sensor.is_on

    def press(self, for_ns: int | None = None) -> None:
        """Press it, and let it go after ``for_ns`` (None: on :meth:`release`)."""
        self.release()
        self.sensor.actuate(True)
        if for_ns is not None:
            self._timer = self._world.call_after(for_ns, self.release)

    def release(self) -> None:
        """Let it go."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.sensor.actuate(False)


# req: REQ_8109
class LightBarrier:
    """A light barrier on the way of an axis: interrupted while the part on it is between ``begin`` and ``end``.

    It is looked at every millisecond while the axis moves.

    Args:
        world: Of the run.
        name: Path ``plants/<name>``.
        give: Where the signal goes; it is 1 while the light is interrupted.
        axis: What carries the part.
        begin: Where the part interrupts the light, in the axis's unit.
        end: Where it lets it through again.
        is_inverted: The signal is 1 while the light gets through.
    """

    def __init__(
        self,
        world: World,
        name: str,
        give: SetInput,
        axis: Axis,
        begin: float,
        end: float,
        *,
        is_inverted: bool = False,
    ) -> None:
        if begin >= end:
            raise ConfigurationError(f"plants/{name}: begin {begin:g} is not below end {end:g}")
        self.sensor = Sensor(world, name, give, is_inverted=is_inverted)
        axis.on_move(partial(self._look, begin, end))

    @property
    def is_interrupted(self) -> bool:
        return self.sensor.is_on

    def _look(self, begin: float, end: float, position: float) -> None:
        self.sensor.actuate(begin <= position <= end)
