"""Fixed steps on virtual time, taken when somebody looks: idle costs nothing, and looking changes nothing.

Step n belongs to the instant n * ``step_ns`` of the World. What a step computes depends on its number and on what was
changed between two steps, never on when :meth:`LazySteps.advance` was called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from taktora_sim.world import World

__all__ = ["LazySteps"]

_TICK_NS: Final = 1_000_000


class LazySteps:
    """The steps of one thing that moves.

    Args:
        step_ns: Time of a step.
        step: Takes one; returns False when nothing moves and nothing is waited for.
        calm_ns: After so long of that the thing is at rest, until it is woken.
        on_rest: Called then.
        on_tick: Called every millisecond while it moves, if :attr:`is_watched`.
    """

    def __init__(
        self,
        step_ns: int,
        step: Callable[[], bool],
        calm_ns: int,
        on_rest: Callable[[], object],
        on_tick: Callable[[], object],
    ) -> None:
        self.step_ns = step_ns
        self.number = 0
        """The last step taken."""
        self.is_watched = False
        """Somebody wants to be told while it moves."""
        self._step = step
        self._calm_steps = -(-calm_ns // step_ns)
        self._on_rest = on_rest
        self._on_tick = on_tick
        self._world: World | None = None
        self._now_ns: Callable[[], int] = lambda: 0
        self._calm = 0
        self._rests = self._ticks = False

    def bind(self, world: World) -> None:
        """Live in ``world`` from now on."""
        self._world, self._now_ns = world, world.now_ns

    @property
    def rests(self) -> bool:
        """Nothing changes until it is woken."""
        return self._rests

    def now_ns(self) -> int:
        """Return virtual time."""
        return self._now_ns()

    def advance(self) -> None:
        """Take the steps that are due."""
        due = self._now_ns() // self.step_ns
        while self.number < due and not self._rests:
            self.number += 1
            self._calm = 0 if self._step() else self._calm + 1
            if self._calm >= self._calm_steps:
                self._rests = True
                self._on_rest()
        self.number = due

    def wake(self) -> None:
        """Go on with the steps: something has changed, after :meth:`advance`."""
        self._rests, self._calm = False, 0
        self._watch()

    def _watch(self) -> None:
        if self.is_watched and not self._ticks and self._world is not None:
            self._ticks = True
            self._world.call_after(_TICK_NS, self._tick)

    def _tick(self) -> None:
        self._ticks = False
        self.advance()
        self._on_tick()
        if not self._rests:
            self._watch()
