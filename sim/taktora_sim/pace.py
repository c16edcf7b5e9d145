"""Holds a run back to a rate, so that a person can watch it; nothing else of taktora_sim waits for the wall clock."""

from __future__ import annotations

from time import monotonic, sleep
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from taktora_sim.world import World

__all__ = ["Pace"]

_NAP_S: Final = 0.05
"""Longest wall time for which a run with a rate hears nothing of a signal."""


# req: REQ_8019
class Pace:
    """Holds a run back to ``rate`` virtual seconds a wall second; the trace does not see it."""

    def __init__(self, world: World) -> None:
        if world.rate is None or world.rate <= 0:
            msg = f"rate {world.rate} is not above 0; use None for as fast as possible"
            raise ValueError(msg)
        self._world = world
        self._factor = 1e-9 / world.rate
        self._virtual_ns = world.now_ns()
        self._wall_s = monotonic()

    def wait_for(self, due_ns: float) -> None:
        """Sleep until ``due_ns`` has come; what the World is failed with in the meantime is raised at once."""
        while (ahead_s := self._ahead_s(due_ns)) > 0:
            sleep(min(ahead_s, _NAP_S))
            self._world.raise_failure()

    def _ahead_s(self, due_ns: float) -> float:
        return (due_ns - self._virtual_ns) * self._factor - (monotonic() - self._wall_s)
