"""Holds a World to the wall clock for those who serve others with it: brings it up to now, tells how long to wait."""

from __future__ import annotations

from time import monotonic_ns

from taktora_sim.world import World

__all__ = ["WallClock"]


class WallClock:
    """Virtual time begins where the World stands and goes with the wall clock from then on.

    Args:
        world: Nobody else may step it meanwhile.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._offset_ns = monotonic_ns() - world.now_ns()

    def advance(self) -> None:
        """Bring the World to wall time."""
        ahead_ns = monotonic_ns() - self._offset_ns - self._world.now_ns()
        if ahead_ns > 0:
            self._world.run_for(ahead_ns)

    def wait_s(self, most_s: float) -> float:
        """Return how long nothing will happen in the World, 0 to ``most_s``."""
        due_ns = self._world.next_due_ns
        if due_ns is None:
            return most_s
        return min(most_s, max(0.0, (due_ns + self._offset_ns - monotonic_ns()) * 1e-9))
