"""An emergency-stop chain: buttons and guards in series in front of a contactor; it gives signals and takes one.

Modelled: two channels that open together, latched buttons, a contactor that drops at once, a reset that takes effect
only while the chain is closed (manual start), a feedback contact. Simplified: one relay, no delayed contacts, no
cross-circuit detection beyond the discrepancy that the fault makes.

Faults at ``plants/<name>``: ``stick-contactor`` (it stays closed: the feedback shows it), ``open-channel`` (one of the
two channels is interrupted).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from taktora_sim.faults import FaultKind
from taktora_sim.plants.sensors import SetInput

if TYPE_CHECKING:
    from taktora_sim.world import World

__all__ = ["StopChain"]


# req: REQ_8109
class StopChain:
    """A chain; it begins closed, with the contactor off until the first reset.

    Args:
        world: Of the run.
        name: Path ``plants/<name>``.
        channel1: Input that is 1 while channel 1 is closed.
        channel2: Likewise for channel 2.
        feedback: Input that is 1 while the contactor is off (normally closed contact).
        on_power: Told when the contactor switches the power on or off.
    """

    def __init__(
        self,
        world: World,
        name: str,
        channel1: SetInput,
        channel2: SetInput,
        feedback: SetInput | None = None,
        on_power: Callable[[bool], object] | None = None,
    ) -> None:
        self._channels = (channel1, channel2)
        self._feedback = feedback
        self._on_power = on_power
        self._open: list[str] = []
        self._breaks = self._sticks = 0
        self._is_on = self._is_closed = False
        world.faults.target(
            f"plants/{name}",
            {
                "stick-contactor": FaultKind(
                    start=lambda _: self._stick(1),
                    stop=lambda _: self._stick(-1),
                    describe="the contactor does not drop",
                ),
                "open-channel": FaultKind(
                    start=lambda _: self._break(1), stop=lambda _: self._break(-1), describe="channel 2 is interrupted"
                ),
            },
        )
        self._tell()

    @property
    def is_closed(self) -> bool:
        """Whether both channels are closed."""
        return not self._open and not self._breaks

    @property
    def has_power(self) -> bool:
        """Whether the contactor is closed."""
        return self._is_closed

    def open(self, where: str = "button") -> None:
        """Press the button ``where`` (it latches), or open the guard of that name."""
        if where not in self._open:
            self._open.append(where)
            self._tell()

    def close(self, where: str = "button") -> None:
        """Unlatch the button, or close the guard; power comes back with :meth:`reset` only."""
        if where in self._open:
            self._open.remove(where)
            self._tell()

    def reset(self) -> bool:
        """Press the reset button; return whether there is power now."""
        self._is_on = self.is_closed and not self._sticks
        self._tell()
        return self._is_closed

    def _tell(self) -> None:
        is_closed = not self._open
        self._channels[0](is_closed)
        self._channels[1](is_closed and not self._breaks)
        self._is_on = self._is_on and self.is_closed
        before, self._is_closed = self._is_closed, self._is_on or (self._is_closed and bool(self._sticks))
        if self._feedback is not None:
            self._feedback(not self._is_closed)
        if self._on_power is not None and before is not self._is_closed:
            self._on_power(self._is_closed)

    def _stick(self, by: int) -> None:
        self._sticks += by
        self._tell()

    def _break(self, by: int) -> None:
        self._breaks += by
        self._tell()
