"""Runs unchanged programs that use threads inside a World: the block ``with world.foreign_threads():``.

What holds inside the block:

* Exactly one thread runs at a time. It keeps the baton until it waits (a lock, a condition, an event, a queue, a
  future, a sleep, a join, ``World.foreign.block``) or ends; nothing takes it away. Which is next is decided by wake
  time, then by who began to wait first; so a run repeats, whatever the operating system schedules.
* Virtual time passes, and the World with all its executors is stepped, only while every thread waits.
* ``time.time`` is the civil time of the World, ``monotonic``, ``perf_counter`` and the like count from its start.
* After 10 000 looks in a row at the clock, or at something that is not ready, each further look takes 100 us of
  virtual time: loops that wait by looking come to an end.
* ``World.run_for`` and ``run_until`` are waits of the thread that calls them.
* Threads of asyncio's loops wait in virtual time too. Real sockets, files and processes take real time.
* Locks, simple queues and running threads from before the block stay real (conditions, events and other queues need
  not be new). A thread that is stuck on one is found after ``patience_s`` and told with file and line.
* Three threads or thirty that wait for each other for ever are told with their stacks.

The end of the block waits ``grace_ns`` for threads that are no daemons, ends every thread that is left by an exception
where it waits, and takes all replacements away. It raises what the block raised; else what a thread raised (which
``threading.excepthook`` was told before); else :class:`ForeignThreadsLeft` for threads that had to be ended though
they are no daemons.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from taktora_sim.foreign import ForeignError, ForeignThreadsLeft, as_current
from taktora_sim.foreign.baton import Baton
from taktora_sim.foreign.locks import active
from taktora_sim.foreign.member import Member, Nudge
from taktora_sim.foreign.patches import PACKAGES, Patches
from taktora_sim.foreign.watch import DeferredSignals, StuckWatch

if TYPE_CHECKING:
    from taktora_sim.world import World

__all__ = ["foreign_threads"]


# req: REQ_8203
@contextmanager
def foreign_threads(
    world: World, packages: Iterable[str] | None = None, grace_ns: int = 0, patience_s: float | None = 30.0
) -> Iterator[None]:
    """Run the threads of the block under one baton; see the module, and ``World.foreign_threads`` for the arguments.

    Raises:
        ForeignError: the World is closed or stepping, or such a block is under way in this process.
    """
    _refuse_second(world)
    with as_current(world), ExitStack() as stack:
        baton = Baton(world)
        stack.enter_context(world.hang_watch())
        stack.enter_context(DeferredSignals(baton))
        stack.enter_context(Patches(baton, PACKAGES if packages is None else packages))
        stack.enter_context(StuckWatch(baton, patience_s))
        stack.enter_context(_in_force(world, baton))
        with _ending(baton, grace_ns):
            yield


def _refuse_second(world: World) -> None:
    other = active()
    if other is not None:
        msg = (
            f"World {world.name!r} cannot begin foreign_threads(): World {other.world.name!r} is in such a block, and "
            "a process has one at a time; end that one first"
        )
        raise ForeignError(msg)


@contextmanager
def _in_force(world: World, baton: Baton) -> Iterator[None]:
    world.baton = baton
    try:
        yield
    finally:
        world.baton = None
        baton.is_over = True
        world.forgive(Nudge)


@contextmanager
def _ending(baton: Baton, grace_ns: int) -> Iterator[None]:
    """End all threads with the block, and raise the one thing that its caller has to know."""
    left: list[str] = []
    try:
        yield
        left = _wait_for_threads(baton, grace_ns)
        baton.raise_untold()
    except BaseException as error:
        baton.end()
        for name, failure in baton.failures:
            error.add_note(f"foreign thread {name!r} had failed: {type(failure).__name__}: {failure}")
        raise
    baton.end()
    _raise_failure(baton)
    left += [f"{_told(member)} (which catches what ends it)" for member in baton.stubborn]
    if left:
        msg = (
            f"foreign threads were still alive at the end of the block: {', '.join(left)}; end them, join them, make "
            "them daemons, or give foreign_threads(grace_ns=...) the time that they need"
        )
        raise ForeignThreadsLeft(msg)


def _wait_for_threads(baton: Baton, grace_ns: int) -> list[str]:
    """Return names of the threads that do not end though they should, and where they were started."""

    def alive() -> list[Member]:
        return [member for member in baton.others() if not member.thread.daemon]

    # To let a thread run to its end takes no virtual time, so that is granted in any case.
    if alive():
        baton.run(baton.world.now_ns() + grace_ns, lambda: not alive())
    return [_told(member) for member in alive()]


def _told(member: Member) -> str:
    return f"{member.name!r}, started at {member.started_at}"


def _raise_failure(baton: Baton) -> None:
    """Raise what the first thread that failed has raised, with the others in its notes."""
    if not baton.failures:
        return
    (name, first), *others = baton.failures
    first.add_note(f"raised in foreign thread {name!r}")
    for name, failure in others:
        first.add_note(f"foreign thread {name!r} failed too: {type(failure).__name__}: {failure}")
    raise first
