"""A pneumatic cylinder with its valve and two end switches; it takes signals and gives signals, and knows no device.

Modelled: a stroke time each way, reversal on the way, a monostable valve (one coil, spring return) or a bistable one
(two coils, it stays where it was), end switches, a jam. Simplified: constant speed, no pressure, no cushioning.

Faults at ``plants/<name>``: ``jam-cylinder`` (it stands where it is), ``stick-valve`` (the coils do nothing); the end
switches at ``plants/<name>/retracted`` and ``plants/<name>/extended`` as every sensor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taktora.errors import ConfigurationError
from taktora_sim.faults import FaultKind
from taktora_sim.plants.sensors import Sensor, SetInput

if TYPE_CHECKING:
    from taktora_sim.world import Timer, World

__all__ = ["Cylinder"]


# req: REQ_8109
class Cylinder:
    """A cylinder; it begins retracted.

    Args:
        world: Of the run.
        name: Path ``plants/<name>``.
        retracted: Input of the end switch at the retracted end; None: there is none.
        extended: Likewise at the extended end.
        stroke_ns: Time from one end to the other.
        return_ns: Time back; None: the same.
        is_bistable: The valve has two coils: :meth:`extend` and :meth:`retract` are separate.

    Raises:
        ConfigurationError: a stroke that takes no time.
    """

    def __init__(
        self,
        world: World,
        name: str,
        retracted: SetInput | None = None,
        extended: SetInput | None = None,
        *,
        stroke_ns: int = 400_000_000,
        return_ns: int | None = None,
        is_bistable: bool = False,
    ) -> None:
        back_ns = stroke_ns if return_ns is None else return_ns
        if min(stroke_ns, back_ns) <= 0:
            msg = f"plants/{name}: stroke of {stroke_ns} ns, back in {back_ns} ns; expected more than 0"
            raise ConfigurationError(msg)
        self._world = world
        self._times_ns = (back_ns, stroke_ns)
        self._is_bistable = is_bistable
        self._coils = [False, False]
        self._goes_out = False
        # How much of the way it had behind it at an instant, as a time: integers, so that no error adds up.
        self._done_ns, self._since_ns = back_ns, world.now_ns()
        self._timer: Timer | None = None
        self._jams = self._sticks = 0
        self._ends = (
            Sensor(world, f"{name}/retracted", retracted or _nowhere),
            Sensor(world, f"{name}/extended", extended or _nowhere),
        )
        self._ends[0].actuate(True)
        world.faults.target(
            f"plants/{name}",
            {
                "jam-cylinder": FaultKind(
                    start=lambda _: self._jam(1), stop=lambda _: self._jam(-1), describe="the cylinder is jammed"
                ),
                "stick-valve": FaultKind(
                    start=lambda _: self._stick(1), stop=lambda _: self._stick(-1), describe="its valve does not switch"
                ),
            },
        )

    @property
    def position(self) -> float:
        """How far it is out now, from 0 to 1."""
        share = self._progress_ns() / self._times_ns[self._goes_out]
        return share if self._goes_out else 1.0 - share

    @property
    def is_extended(self) -> bool:
        return self._ends[1].is_on

    @property
    def is_retracted(self) -> bool:
        return self._ends[0].is_on

    def extend(self, is_on: bool = True) -> None:
        """Switch the coil that drives it out; a monostable valve drives it back when it is off."""
        self._coils[1] = is_on
        self._switch()

    def retract(self, is_on: bool = True) -> None:
        """Switch the coil that drives it back; only a bistable valve has one."""
        self._coils[0] = is_on
        self._switch()

    def _switch(self) -> None:
        """Follow the coils; two of a bistable valve at once leave it as it is."""
        if self._sticks:
            return
        back, out = self._coils
        goes_out = out if not self._is_bistable else self._goes_out if back is out else out
        if goes_out is not self._goes_out:
            share = self._progress_ns(), self._times_ns[self._goes_out]
            self._goes_out = goes_out
            new_ns = self._times_ns[goes_out]
            self._done_ns = new_ns - share[0] * new_ns // share[1]
            self._since_ns = self._world.now_ns()
            self._move()

    def _progress_ns(self) -> int:
        """Return how much of the way in the present direction is behind it, in ns of that way."""
        whole_ns = self._times_ns[self._goes_out]
        moved_ns = 0 if self._jams else self._world.now_ns() - self._since_ns
        return min(self._done_ns + moved_ns, whole_ns)

    def _move(self) -> None:
        """Be on the way, with a timer for its end."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        whole_ns = self._times_ns[self._goes_out]
        if self._jams or self._done_ns >= whole_ns:
            return
        self._ends[not self._goes_out].actuate(False)
        self._timer = self._world.call_after(whole_ns - self._done_ns, self._arrive)

    def _arrive(self) -> None:
        self._timer = None
        self._done_ns, self._since_ns = self._times_ns[self._goes_out], self._world.now_ns()
        self._ends[self._goes_out].actuate(True)

    def _jam(self, by: int) -> None:
        done_ns = self._progress_ns()
        self._jams += by
        self._done_ns, self._since_ns = done_ns, self._world.now_ns()
        self._move()

    def _stick(self, by: int) -> None:
        self._sticks += by
        self._switch()


def _nowhere(_is_on: bool) -> None:
    """Take the signal of a switch that is not there."""
