"""Programs of other people inside a World: which World they find, and the one wait in which virtual time passes.

A single-threaded program needs ``World.as_current`` only: where it waits (:meth:`Foreign.block`), the World is stepped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import thread_time
from typing import TYPE_CHECKING, Final

from taktora.errors import TaktoraError

if TYPE_CHECKING:
    from taktora_sim.world import World

__all__ = [
    "PATIENCE_S",
    "POLLS",
    "POLL_NS",
    "Foreign",
    "ForeignDeadlock",
    "ForeignError",
    "ForeignStuck",
    "ForeignThreadsLeft",
    "as_current",
    "current_world",
]

POLLS: Final = 10_000
"""Polls in a row (waits of no length, readings of the clock) that cost no virtual time."""

POLL_NS: Final = 100_000
"""Virtual time that each further poll takes in ns, so that a loop which only looks at the clock comes to an end."""


class ForeignError(TaktoraError, RuntimeError):
    """A foreign program cannot go on in the World as it is used; the message says what to do."""


class ForeignDeadlock(ForeignError):
    """Everything foreign waits, and nothing that could still happen in the World will ever end that."""


class ForeignStuck(ForeignError):
    """A thread holds up all others (it waits for something real or never ends), or a wait is longer than patience."""

    text = ""
    """The message of one that is raised out of the midst of the main thread."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or self.text)


class ForeignThreadsLeft(ForeignError):
    """Threads that should have ended by themselves were still alive at the end of the block; they were ended."""


PATIENCE_S: Final = 30.0
"""Processor time in s for which a wait without a timeout may step the World, unless somebody sets another."""

_ASKED: Final = 1024
"""How often a wait may ask whether it is over before it looks at the processor's time."""

_current: Final[list[tuple[World, int]]] = []
"""The Worlds that are current, innermost last, each with the thread that made it so."""


def current_world() -> World | None:
    """Return the innermost World that is current in this process, or None."""
    return _current[-1][0] if _current else None


@contextmanager
def as_current(world: World) -> Iterator[World]:
    """Make ``world`` the current one while the ``with`` block lasts.

    Raises:
        ForeignError: the World is closed or is just stepping, another thread has a current World, or the block ends
            out of order.
    """
    _refuse(world)
    entry = (world, threading.get_ident())
    _current.append(entry)
    try:
        yield world
    finally:
        if _current[-1] is not entry:
            _current.remove(entry)
            msg = f"World {world.name!r} stops being current before one that became so later; end the blocks inside out"
            raise ForeignError(msg)
        _current.pop()


def _refuse(world: World) -> None:
    if world.is_closed:
        msg = f"World {world.name!r} is closed and cannot become current; make a new one"
        raise ForeignError(msg)
    if world.is_stepping:
        msg = f"World {world.name!r} is stepping: an item cannot make it current; do so before the World is run"
        raise ForeignError(msg)
    if _current and _current[-1][1] != threading.get_ident():
        msg = (
            f"World {_current[-1][0].name!r} was made current by another thread, so {world.name!r} cannot become "
            f"current in {threading.current_thread().name!r}; a process has one current World: end that block first"
        )
        raise ForeignError(msg)


# req: REQ_8203
class Foreign:
    """What foreign programs do with their World: they wait."""

    def __init__(self, world: World) -> None:
        self.patience_s: float | None = PATIENCE_S
        """Processor time in s after which a wait without a timeout, with threads the wait of all of them, is an error;
        None is never. A thread that does not wait is up to the patience of ``foreign_threads``."""
        self._world = world
        self._polls = 0
        self._thread = 0

    @property
    def is_active(self) -> bool:
        """Whether ``world.foreign_threads()`` lasts."""
        return self._world.baton is not None

    def is_here(self) -> bool:
        """Return whether the calling thread is the one foreign thread that runs."""
        return self._world.baton is not None and self._world.baton.is_here()

    def look(self) -> None:
        """Count a look at the clock: a loop of nothing but looks is given time, see :data:`POLLS`."""
        if self.is_here():
            assert self._world.baton is not None
            self._world.baton.poll()

    def block(
        self,
        ready: Callable[[], bool],
        timeout_ns: int | None,
        what: str = "something",
        way_out: str = "start what it waits for before",
    ) -> bool:
        """Wait in virtual time until ``ready()`` holds; return whether it does.

        The World is stepped by whoever waits; inside ``world.foreign_threads()`` once all threads wait. ``ready`` is
        asked before each event, and must be cheap and without effects.

        Args:
            ready: What is waited for.
            timeout_ns: Longest wait, 0 or below to only look; None waits as long as it takes.
            what: The same in words, for messages.
            way_out: What to do if it never comes, likewise.

        Raises:
            ForeignError: called inside an item, or by a thread that the World does not know.
            ForeignDeadlock: ``timeout_ns`` is None and nothing is left to do in the World.
            ForeignStuck: ``timeout_ns`` is None and the World has been stepped for :attr:`patience_s` in vain.
        """
        if self._world.baton is not None:
            return self._world.baton.block(ready, timeout_ns)
        if ready():
            self._polls = 0
            return True
        if timeout_ns is not None and timeout_ns <= 0:
            self._poll()
            return False
        self._polls = 0
        if timeout_ns is not None:
            return self._step(ready, timeout_ns)
        if self._step(self.patient(ready, what, way_out), None):
            return True
        msg = (
            f"a foreign program waits for ever for {what} at {self._world.now_ns()} ns: nothing is left to do in World "
            f"{self._world.name!r}; {way_out}, or give the wait a timeout"
        )
        raise ForeignDeadlock(msg)

    def patient(self, ready: Callable[[], bool], what: str, way_out: str) -> Callable[[], bool]:
        """Return ``ready`` with an end to its patience: a World in which something always happens never runs dry."""
        patience_s = self.patience_s
        if patience_s is None:
            return ready
        since_ns, since_s, asked = self._world.now_ns(), thread_time(), 0

        def is_over() -> bool:
            nonlocal asked
            if ready():
                return True
            asked += 1
            if not asked % _ASKED and thread_time() - since_s > patience_s:
                msg = (
                    f"a foreign program waits at {self._world.now_ns()} ns for {what} since {since_ns} ns, and World "
                    f"{self._world.name!r} was stepped for {patience_s:g} s of processor time in vain; {way_out}, "
                    "give the wait a timeout, or set world.foreign.patience_s higher"
                )
                raise ForeignStuck(msg)
            return False

        return is_over

    def _poll(self) -> None:
        """Count a look; a loop of nothing but looks is given time."""
        self._polls += 1
        if self._polls > POLLS and not self._world.is_stepping:
            self._step(lambda: False, POLL_NS)

    def _step(self, ready: Callable[[], bool], timeout_ns: int | None) -> bool:
        self._refuse_strangers()
        if self._world.is_stepping:
            msg = (
                "a foreign program waits inside an item or a model: virtual time cannot pass there; wait with timeout "
                "0 there, or move the waiting part into the main program"
            )
            raise ForeignError(msg)
        return self._world.run_until(ready, timeout_ns)

    def _refuse_strangers(self) -> None:
        """Refuse a second thread: two that step one World would race."""
        me = threading.get_ident()
        owner = next((thread for world, thread in reversed(_current) if world is self._world), self._thread)
        if owner not in (0, me):
            msg = (
                f"thread {threading.current_thread().name!r} waits in World {self._world.name!r}, which another thread "
                "steps; run programs with threads inside 'with world.foreign_threads():'"
            )
            raise ForeignError(msg)
        self._thread = me
