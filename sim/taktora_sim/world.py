"""The World: the only source of time, order, randomness, faults and trace of a simulated run; it starts no thread."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import cached_property, partial
from heapq import heappop, heappush
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeVar, cast

import simpy
from simpy.core import EmptySchedule, Infinity
from simpy.events import NORMAL, URGENT, EventPriority

from taktora.duration import advise_ns
from taktora_sim.faults import FaultBoard, FaultPlan
from taktora_sim.foreign import Foreign, as_current, current_world
from taktora_sim.pace import Pace
from taktora_sim.streams import Stream, StreamEntropy
from taktora_sim.trace import Trace

if TYPE_CHECKING:
    from taktora.runtime import Runtime
    from taktora_sim.foreign.baton import Baton
    from taktora_sim.reactor import Executions
    from taktora_sim.report.recorder import RunRecorder
    from taktora_sim.transport import SimTransport

__all__ = ["EPOCH_UNIX_NS", "NORMAL", "URGENT", "Timer", "World", "WorldAborted"]

P = TypeVar("P")

on_new_world: list[Callable[[World], object]] = []
"""Told of each World that is made: how a test run learns its seeds and hashes."""

EPOCH_UNIX_NS = 1_767_225_600_000_000_000
"""Default civil time at virtual zero: 2026-01-01T00:00:00Z."""


class WorldAborted(BaseException):
    """A broken invariant ended the run, as ``os.abort`` would end a real process (REQ_0123)."""


class Timer:
    """A call that is due at an instant of virtual time; ``cancel`` makes it do nothing."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[[], object]) -> None:
        self._call: Callable[[], object] | None = call

    def cancel(self) -> None:
        """Take the call back; idempotent."""
        self._call = None

    def fire(self) -> None:
        """Make the call, unless it was taken back."""
        call = self._call
        if call is not None:
            call()


class _Environment(simpy.Environment):
    """simpy's environment with a queue of plain calls.

    Nearly everything that happens in a World is a call of a function, not an event with callbacks. With calls in the
    queue the World's loop has nothing to tell apart, and what happens often needs no event object.
    """

    def schedule(self, event: simpy.Event, priority: EventPriority = NORMAL, delay: float = 0) -> None:
        _check_ns("timeout", delay)
        entry = (self._now + delay, priority, next(self._eid), partial(_process, event))
        heappush(self._queue, entry)  # type: ignore[misc]

    def step(self) -> None:
        if not self._queue:
            raise EmptySchedule
        self._now, _, _, call = heappop(self._queue)
        call()  # type: ignore[operator]


def _check_ns(call: str, time_ns: float) -> None:
    """Refuse a float: once in the clock, it would be in every later instant and in no record of the trace."""
    if not isinstance(time_ns, int):
        raise ValueError(f"{call}({time_ns!r}): virtual time is counted in integers; {advise_ns(time_ns)}")


def _process(event: simpy.Event) -> None:
    """Do with an event what ``simpy.Environment.step`` does with it."""
    callbacks, event.callbacks = event.callbacks, None  # type: ignore[assignment]
    for callback in callbacks:
        callback(event)
    if not event._ok and not hasattr(event, "_defused"):  # noqa: SLF001 - the rest of simpy's own step
        failure: BaseException = event._value  # noqa: SLF001
        raise type(failure)(*failure.args) from failure


def _make_clock(env: simpy.Environment) -> Callable[[], int]:
    """Return the fastest reading of virtual time there is: it is read several times per dispatched item."""

    def now_ns() -> int:
        return env._now  # type: ignore[return-value]  # noqa: SLF001 - half the cost of env.now; delays are integers

    return now_ns


def _make_civil_clock(env: simpy.Environment, epoch_unix_ns: int) -> Callable[[], int]:
    """Return the reading of civil time that stamps every message."""

    def unix_ns() -> int:
        return epoch_unix_ns + env._now  # type: ignore[return-value]  # noqa: SLF001 - as above

    return unix_ns


class _PostAt(Protocol):
    def __call__(self, time_ns: int, call: Callable[[], object], priority: EventPriority = NORMAL) -> None: ...


def _make_post_at(env: simpy.Environment) -> _PostAt:
    """Return the fastest way into the queue: nearly everything that happens has come through it."""
    queue: list[Any] = env._queue  # noqa: SLF001 - see _Environment
    serials = env._eid  # noqa: SLF001

    def post_at(time_ns: int, call: Callable[[], object], priority: EventPriority = NORMAL) -> None:
        if time_ns < env._now:  # noqa: SLF001 - see _make_clock
            msg = f"call_at({time_ns}): virtual time is already {env._now} ns"  # noqa: SLF001
            raise ValueError(msg)
        heappush(queue, (time_ns, priority, next(serials), call))

    return post_at


def _make_post(env: simpy.Environment) -> Callable[[Callable[[], object]], None]:
    """Return the same for this instant."""
    queue: list[Any] = env._queue  # noqa: SLF001 - as above
    serials = env._eid  # noqa: SLF001

    def post(call: Callable[[], object]) -> None:
        heappush(queue, (env._now, NORMAL, next(serials), call))  # noqa: SLF001

    return post


# req: REQ_8000, REQ_8002
class World:
    """A simulated run: virtual clock, event order, random streams, fault plan and trace.

    Events run in order of (time, priority, sequence number); no order depends on identity or hashing (REQ_8001).

    Args:
        seed: Seed of every random stream.
        name: Name of the scenario, for reports.
        epoch_unix_ns: Civil time at virtual zero, nanoseconds since 1970.
        trace_file: Where to write the trace; None keeps hashes only.
        plan: Faults of this run; None is a run without faults.
        transport: What carries the messages: ``inprocess``, or ``iceoryx2`` with the same order and the same trace.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        name: str = "world",
        epoch_unix_ns: int = EPOCH_UNIX_NS,
        trace_file: Path | None = None,
        plan: FaultPlan | None = None,
        transport: Literal["inprocess", "iceoryx2"] = "inprocess",
    ) -> None:
        self.seed = seed
        self.name = name
        self.epoch_unix_ns = epoch_unix_ns
        self.env: simpy.Environment = _Environment()
        # What the queue is made of, so that the World can take calls out itself.
        self._queue: list[tuple[Any, int, int, Any]] = self.env._queue  # type: ignore[assignment]  # noqa: SLF001
        self.now_ns: Callable[[], int] = _make_clock(self.env)
        """Return nanoseconds of virtual time since the start of the run."""
        self.unix_ns: Callable[[], int] = _make_civil_clock(self.env, epoch_unix_ns)
        """Return civil virtual time: the epoch plus ``now_ns``."""
        self.post_at = _make_post_at(self.env)
        """As :meth:`call_at`, for a call that is never taken back."""
        self.post = _make_post(self.env)
        """As :meth:`call_soon`, for a call that is never taken back."""
        self.trace = Trace(self.env, trace_file)
        self.rate: float | None = None
        """Virtual seconds per wall second: 1.0 is real time, None as fast as possible."""
        self.item_limit_s: float | None = 10.0
        """Processor seconds after which a call of an item is ended as one that never returns; None: it may take all
        the time of the world (see ``taktora_sim.hangwatch``)."""
        self.transport_name = transport
        self.baton: Baton | None = None
        """What passes between foreign threads while ``foreign_threads`` lasts."""
        self._closers: list[Callable[[], None]] = []
        self._starters: list[Callable[[], None]] = []
        self._failure: BaseException | None = None
        self._started = False
        self._stepping = False
        self._closed = False
        self._parts: dict[Callable[[World], Any], Any] = {}
        self.trace.channel("world", "seed")(str(seed).encode())
        self.faults = FaultBoard(self, plan)
        for tell in on_new_world:
            tell(self)

    # req: REQ_8203
    @staticmethod
    def current() -> World | None:
        """Return the World that a foreign program finds when it names none: see :meth:`as_current`."""
        return current_world()

    def as_current(self) -> AbstractContextManager[World]:
        """Make this the current World while the ``with`` block lasts; blocks may be nested, the innermost counts."""
        return as_current(self)

    @cached_property
    def foreign(self) -> Foreign:
        """How programs of other people wait in this World."""
        return Foreign(self)

    # req: REQ_8203
    def foreign_threads(
        self, *, packages: Iterable[str] | None = None, grace_ns: int = 0, patience_s: float | None = 30.0
    ) -> AbstractContextManager[None]:
        """Run programs with threads of their own, unchanged, on virtual time while the ``with`` block lasts.

        See ``taktora_sim.foreign.threads`` for what holds inside the block and what its end does.

        Args:
            packages: Third-party packages in whose modules names of ``time``, ``threading`` and ``queue`` bound before
                are virtual too; None is the known ones.
            grace_ns: Virtual time that threads which are no daemons have to end at the end of the block.
            patience_s: Real time after which a thread that neither waits nor ends is an error; None is never.
        """
        from taktora_sim.foreign.threads import foreign_threads

        return foreign_threads(self, packages, grace_ns, patience_s)

    @property
    def is_stepping(self) -> bool:
        """Whether an event of this World is under way."""
        return self._stepping

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed

    @property
    def next_due_ns(self) -> int | None:
        """When the next event is due; None when nothing is left to do. For whoever holds a run to the wall clock."""
        return self._queue[0][0] if self._queue else None

    def stream(self, path: str) -> Stream:
        """Return a new random stream for the component ``path``."""
        return Stream(self.seed, path)

    # req: REQ_8001
    def call_at(self, time_ns: int, call: Callable[[], object], priority: EventPriority = NORMAL) -> Timer:
        """Call ``call`` at ``time_ns``; of several due at one instant the smaller priority, then the older, runs first.

        Raises:
            ValueError: the instant has passed, or is no integer.
        """
        _check_ns("call_at", time_ns)
        timer = Timer(call)
        self.post_at(time_ns, timer.fire, priority)
        return timer

    def call_after(self, delay_ns: int, call: Callable[[], object], priority: EventPriority = NORMAL) -> Timer:
        """Call ``call`` after ``delay_ns`` (0 or more)."""
        return self.call_at(self.now_ns() + delay_ns, call, priority)

    def call_soon(self, call: Callable[[], object]) -> Timer:
        """Call ``call`` at this instant, after everything already due now."""
        return self.call_at(self.now_ns(), call)

    def process(self, generator: Generator[Any, Any, Any]) -> simpy.Process:
        """Run a simpy process: a plant or a script that yields ``world.env.timeout(int_ns)``."""
        return self.env.process(generator)

    def part(self, kind: Callable[[World], P]) -> P:
        """Return this world's one ``kind`` (a class, called with the world at the first use)."""
        if kind not in self._parts:
            self._parts[kind] = kind(self)
        return cast("P", self._parts[kind])

    def milestone(self, name: str) -> None:
        """Announce that the scenario has reached ``name``; fault plans can be triggered by it."""
        self.trace.channel("world", "milestone")(name.encode())
        self.faults.on_milestone(name)

    def check(self, name: str, ok: bool, detail: str = "") -> bool:
        """Record whether the statement ``name`` holds now, and return it; one that does not fails the run.

        Args:
            name: What must hold, in words a user understands.
            ok: Whether it does.
            detail: What was found.
        """
        return self.recorder.check(name, ok, detail)

    def on_start(self, call: Callable[[], None]) -> None:
        """Have ``call`` called once, before the first event."""
        self._starters.append(call)

    def on_close(self, call: Callable[[], None]) -> None:
        """Have ``call`` called by ``close``, last registered first."""
        self._closers.append(call)

    def fail(self, error: BaseException) -> None:
        """End the run: the stepping call raises ``error`` after the current event, or the next one does at once.

        The first error is kept.
        """
        if self._failure is None:
            self._failure = error

    def raise_failure(self) -> None:
        """Raise what :meth:`fail` was told outside a stepping call, if anything."""
        if self._failure is not None:
            raise self._take_failure()

    def forgive(self, kind: type[BaseException]) -> None:
        """Forget what :meth:`fail` was told, if it is of that kind."""
        if isinstance(self._failure, kind):
            self._failure = None

    @cached_property
    def transport(self) -> SimTransport:
        """The transport of this world."""
        from taktora_sim.transport import make_transport

        transport = make_transport(self)
        self.on_close(transport.close)
        return transport

    @cached_property
    def executions(self) -> Executions:
        """How long items take in this world (REQ_8011); nothing takes time unless a scenario says so."""
        from taktora_sim.reactor import Executions

        return Executions(self)

    @cached_property
    def recorder(self) -> RunRecorder:
        """Signals, events, health and checks of this run."""
        from taktora_sim.report.recorder import RunRecorder

        return RunRecorder(self)

    @cached_property
    def entropy(self) -> StreamEntropy:
        """Back-off jitter and generated names."""
        return StreamEntropy(self.stream("entropy"))

    @cached_property
    def runtime(self) -> Runtime:
        """What an application is bound to."""
        from taktora_sim.runtime import make_runtime

        return make_runtime(self)

    def start(self) -> None:
        """Check the fault plan against the registered targets and arm it; called by the first step."""
        if not self._started:
            self._started = True
            for call in self._starters:
                call()
            self.faults.arm()

    # req: REQ_8019
    def step(self) -> bool:
        """Run the next event; return False when nothing is left to do.

        Raises:
            RuntimeError: called from inside an event of this world.
        """
        self.refuse_nesting()
        self.raise_failure()
        self.start()
        if self.baton is not None and self.baton.step():
            return True
        if not self._queue:
            return False
        stepped = iter((False, True))
        return self._step_until(lambda: next(stepped), Infinity, None)

    def run_for(self, duration_ns: int) -> None:
        """Run all events up to and including ``now_ns() + duration_ns``; the clock ends there.

        Raises:
            ValueError: not an integer, or below 0.
        """
        _check_ns("run_for", duration_ns)
        if duration_ns < 0:
            raise ValueError(f"run_for({duration_ns}): time does not run backwards; give 0 or more")
        self._run(self.now_ns() + duration_ns, None)

    def run_until(self, predicate: Callable[[], bool], timeout_ns: int | None = None) -> bool:
        """Run until ``predicate`` holds (tested before each event); False on timeout or when nothing is left to do."""
        if timeout_ns is not None:
            _check_ns("run_until", timeout_ns)
        deadline_ns = None if timeout_ns is None else self.now_ns() + timeout_ns
        return self._run(deadline_ns, predicate)

    def close(self) -> None:
        """Close what was opened in this world and the trace; idempotent. What fails to close is raised at the end."""
        if self._closed:
            return
        self._closed = True
        with ExitStack() as stack:
            stack.callback(self.trace.close)
            for call in self._closers:
                stack.callback(call)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def refuse_nesting(self) -> None:
        """Raise RuntimeError when called from inside an event of this world."""
        if self._stepping:
            msg = "the World is already stepping: an item may not call step, run_for, run_until or Executor.run"
            raise RuntimeError(msg)

    def _take_failure(self) -> BaseException:
        failure, self._failure = self._failure, None
        assert failure is not None
        return failure

    def _run(self, deadline_ns: int | None, predicate: Callable[[], bool] | None) -> bool:
        if self.baton is not None:
            return self.baton.run(deadline_ns, predicate)
        with self.hang_watch():
            return self.run_alone(deadline_ns, predicate)

    def run_alone(self, deadline_ns: int | None, predicate: Callable[[], bool] | None) -> bool:
        """Do what :meth:`run_until` does on the calling thread, whoever else waits; for the baton."""
        self.refuse_nesting()
        self.raise_failure()
        self.start()
        pace = Pace(self) if self.rate is not None else None
        limit: float = Infinity if deadline_ns is None else deadline_ns
        is_over = self._step_until(predicate, limit, pace)
        return is_over or self._finish(deadline_ns, pace, predicate)

    def hang_watch(self) -> AbstractContextManager[None]:
        """Return what ends items that never return, while it lasts."""
        if self.item_limit_s is None:
            return nullcontext()
        from taktora_sim.hangwatch import HangWatch

        return HangWatch(self.item_limit_s)

    def _step_until(self, predicate: Callable[[], bool] | None, limit: float, pace: Pace | None) -> bool:
        """Step until ``predicate`` holds; False when nothing is left to do up to ``limit``."""
        self._stepping = True
        try:
            if predicate is None and pace is None:
                self._step_freely(limit)
                return False
            while predicate is None or not predicate():
                if not self._queue or self._queue[0][0] > limit:
                    return False
                if pace is not None:
                    pace.wait_for(self._queue[0][0])
                self.env.step()
                if self._failure is not None:
                    raise self._take_failure()
        finally:
            self._stepping = False
        return True

    def _step_freely(self, limit: float) -> None:
        """Step until nothing is left to do up to ``limit``: the same loop, with nothing to ask or to wait for."""
        queue, env = self._queue, self.env
        while True:  # not "while queue": a loop that is entered once is made fast by Python 3.11 at such a jump only
            if not queue:
                return
            entry = heappop(queue)
            if entry[0] > limit:
                heappush(queue, entry)  # nothing but its key decides where it goes: as if it had stayed
                return
            env._now, _, _, call = entry  # noqa: SLF001 - Environment.step, in place
            call()
            if self._failure is not None:
                raise self._take_failure()

    def _finish(self, deadline_ns: int | None, pace: Pace | None, predicate: Callable[[], bool] | None) -> bool:
        """Advance the clock to the deadline with nothing left to run before it."""
        if deadline_ns is not None:
            if pace is not None:
                pace.wait_for(deadline_ns)
            self.env._now = deadline_ns  # noqa: SLF001 - nothing is due before it
        return predicate is not None and predicate()
