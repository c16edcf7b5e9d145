"""A cycle paced from outside, as a fieldbus connector offers it to tasks; it has no clock and no thread of its own."""

from __future__ import annotations

from collections.abc import Callable

from taktora.errors import DeclareTriggersError
from taktora.executor.triggers import Duration, duration_ns

__all__ = ["PacedCycle"]


class PacedCycle:
    """Counts completed cycles and wakes the executor whose tasks run on them (a ``CycleSource``).

    One side calls ``complete``, from any one thread; the executor takes. No lock: each counter has one writer.

    Args:
        period: The declared period.
        name: Named in refusals.
    """

    def __init__(self, period: Duration, name: str = "cycle") -> None:
        self.period_ns = duration_ns(period, f"period of {name!r}")
        self._name = name
        self._completed = 0
        self._taken = 0
        self._waker: Callable[[], None] | None = None

    def complete(self, cycles: int = 1) -> None:
        """Say that ``cycles`` cycles have ended since the last call; more than 1 leaves all but the last unserved."""
        self._completed += cycles
        waker = self._waker
        if waker is not None:
            waker()

    def take(self) -> int:
        """Return how many cycles have ended since the last call."""
        completed = self._completed
        count, self._taken = completed - self._taken, completed
        return count

    def set_waker(self, waker: Callable[[], None] | None) -> None:
        """Have ``waker`` called at each completion; cycles that ended before are not made up for.

        Raises:
            DeclareTriggersError: another executor runs on this cycle.
        """
        if waker is not None and self._waker is not None:
            raise DeclareTriggersError(f"cycle {self._name!r} already paces an executor; give each its own cycle")
        self._taken = self._completed
        self._waker = waker
