"""The loop: one generator that waits, decides what is due and has it carried out; it blocks nowhere (REQ_0268)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from taktora.executor.observer import HeartbeatTick
from taktora.executor.reactor import Loop, Wait
from taktora.executor.sources import Sources

if TYPE_CHECKING:
    from taktora.executor.conduct import Conduct
    from taktora.executor.context import Stoppable
    from taktora.executor.grid import GridTimer
    from taktora.executor.pool import WorkerPool
    from taktora.executor.task import Task
    from taktora.executor.virtual import ModelledInline, ModelledWorkers

__all__ = ["Limit", "Wakes"]

_BY_INDEX = attrgetter("index")


@dataclass(frozen=True, slots=True)
class Limit:
    """When a run ends by itself; tested after each wake.

    Args:
        duration_ns: Time since the loop was entered.
        wakes: Number of wakes that ran at least one task.
        predicate: Ends the run when it returns True.
    """

    duration_ns: int | None = None
    wakes: int | None = None
    predicate: Callable[[], bool] | None = None


# req: TSR_0010
# req: TSR_0010
class Heartbeat:
    """Ticks on an absolute grid of its own: missed ones are left out, never made up for (TSR_0010)."""

    __slots__ = ("_hooks", "_period_ns", "_seq", "due_ns")

    def __init__(self, period_ns: int, hooks: tuple[Callable[[HeartbeatTick], object], ...]) -> None:
        self._period_ns = period_ns
        self._hooks = hooks
        self._seq = 0
        self.due_ns = 0

    def restart(self, now_ns: int) -> None:
        """Make the first tick of a run due now: it says that the executor is ready."""
        self.due_ns = now_ns

    def beat(self, now_ns: int) -> None:
        """Emit the tick that is due and put the next one on the grid."""
        self._seq += 1
        tick = HeartbeatTick(self._seq, now_ns)
        for hook in self._hooks:
            hook(tick)
        self.due_ns = now_ns + self._period_ns - (now_ns - self.due_ns) % self._period_ns


# req: REQ_0060
# req: REQ_0268, REQ_0269
class Wakes:
    """The wakes of one run.

    Args:
        conduct: How tasks are carried out.
        stoppable: Ends the run.
        now_ns: Scheduling clock.
        timer: The grid, one position per entry of ``grid_tasks``.
        grid_tasks: Tasks with an interval.
        sources: Attachments and deadlines.
        heartbeat: Ticks, or None.
        iteration_budget_ns: Budget of a whole wake, or None.
        modelled: Carries tasks out on virtual time; None in the real worlds.
        pool: Carries tasks out on threads; None runs them inline.
    """

    def __init__(
        self,
        conduct: Conduct,
        stoppable: Stoppable,
        now_ns: Callable[[], int],
        timer: GridTimer,
        grid_tasks: list[Task],
        sources: Sources,
        heartbeat: Heartbeat | None,
        iteration_budget_ns: int | None,
        modelled: ModelledInline | ModelledWorkers | None,
        pool: WorkerPool | None,
    ) -> None:
        self._conduct = conduct
        self._stoppable = stoppable
        self._now_ns = now_ns
        self._timer = timer
        self._grid_tasks = grid_tasks
        self._sources = sources
        self._heartbeat = heartbeat
        self._iteration_budget_ns = iteration_budget_ns
        self._modelled = modelled
        self._run = pool.run if pool is not None else conduct.run_inline
        self._wait = Wait()
        self._ready: list[Task] = []
        self._positions: list[int] = []
        self._end_ns: int | None = None
        self._wakes = 0
        self.outside: Exception | None = None
        """What the reactor threw in or the caller's predicate raised: not ours, hence not a broken invariant."""

    # req: REQ_0269
    def loop(self, epoch_ns: int, limit: Limit) -> Loop:
        """Wait and dispatch until the run is to end.

        Raises:
            TaskFailed: an item's failure ends the run by policy.
        """
        self._end_ns = None if limit.duration_ns is None else epoch_ns + limit.duration_ns
        timed, ends = self._sources.timed, self._end_ns is not None or self._heartbeat is not None
        bounded = timed or ends
        # What a wake needs is bound here, and what a run without limits needs not is asked for with one test.
        stoppable, timer, wait, now_ns, ready = self._stoppable, self._timer, self._wait, self._now_ns, self._ready
        run, fold, conduct = self._run, self._conduct.fold, self._conduct
        modelled = self._modelled
        model = None if modelled is None else modelled.timeless_model
        one_clock = conduct.telemetry_ns == now_ns
        collect_fired, earlier = self._sources.collect_fired, self._sources.earlier
        budget_ns, most, predicate = self._iteration_budget_ns, limit.wakes, limit.predicate
        limited = limit != Limit()
        if most == 0 or (predicate is not None and self._holds(predicate)):
            return
        while not stoppable.stopped:
            due_ns = timer.next_ns
            if timed:
                due_ns = earlier(due_ns)
            if ends:
                due_ns = self._earlier(due_ns)
            wait.deadline_ns = due_ns
            try:
                fired = yield wait
            except Exception as error:
                self.outside = error
                raise
            if self._stoppable.stopped:
                return
            now = now_ns()
            if due_ns is None or now < due_ns:  # woken early: there can be nothing but what fired
                if fired:
                    collect_fired(fired, now, ready)
            else:
                if bounded or fired:
                    self._collect(fired, now)
                if timer.next_ns is not None and now >= timer.next_ns:
                    self._collect_grid(now)
            if ready:
                begun_ns = 0 if budget_ns is None else conduct.budget_ns()
                is_left = True
                if modelled is None:
                    is_left = run(ready, None)
                elif model is not None and model.timeless:
                    is_left = run(ready, now if one_clock else None)
                else:
                    yield from modelled.run(ready)
                if budget_ns is not None:
                    self._check_iteration(conduct.budget_ns() - begun_ns, budget_ns)
                if is_left:
                    fold(ready)
                if conduct.error is not None:
                    raise conduct.error
                if limited:
                    self._wakes += 1
                    if self._wakes == most:
                        return
                ready.clear()
            if limited and self._is_over(predicate):
                return

    def _is_over(self, predicate: Callable[[], bool] | None) -> bool:
        """Return whether the caller's predicate holds or the time of the run is over."""
        if predicate is not None and self._holds(predicate):
            return True
        return self._end_ns is not None and self._now_ns() >= self._end_ns

    def _holds(self, predicate: Callable[[], bool]) -> bool:
        try:
            return predicate()
        except StopIteration as error:
            # Inside a generator it would turn into another exception on its way out.
            self.outside = RuntimeError("the predicate of run_until raised StopIteration")
            raise self.outside from error
        except Exception as error:
            self.outside = error
            raise

    def _earlier(self, due_ns: int | None) -> int | None:
        """Return ``due_ns``, or the end of the run or the next tick of the heartbeat if that is earlier."""
        end_ns, heartbeat = self._end_ns, self._heartbeat
        if end_ns is not None and (due_ns is None or end_ns < due_ns):
            due_ns = end_ns
        if heartbeat is not None and (due_ns is None or heartbeat.due_ns < due_ns):
            due_ns = heartbeat.due_ns
        return due_ns

    def _collect(self, fired: Sequence[int], now_ns: int) -> None:
        heartbeat = self._heartbeat
        if heartbeat is not None and now_ns >= heartbeat.due_ns:
            heartbeat.beat(now_ns)
        sources, ready = self._sources, self._ready
        if fired:
            sources.collect_fired(fired, now_ns, ready)
        if sources.timed:
            if sources.deadlines:
                sources.collect_missed(now_ns, ready)
            sources.collect_rung(now_ns, ready)
            if len(ready) > 1:
                ready.sort(key=_BY_INDEX)

    def _collect_grid(self, now_ns: int) -> None:
        timer, tasks, ready, positions = self._timer, self._grid_tasks, self._ready, self._positions
        skipped, late_by_ns = timer.skipped, timer.late_by_ns
        mixed = bool(ready)
        timer.collect(now_ns, positions)
        for position in positions:
            task = tasks[position]
            task.pending = True
            task.skipped = skipped[position]
            task.late_by_ns = late_by_ns[position]
            ready.append(task)
        positions.clear()
        if mixed:
            ready.sort(key=_BY_INDEX)

    def _check_iteration(self, spent_ns: int, budget_ns: int) -> None:
        if spent_ns > budget_ns:
            # A faulted task without a handler has not run: what it holds is the duration of an earlier wake.
            ran = [task for task in self._ready if not task.faulted or task.handler is not None]
            worst = max(ran or self._ready, key=attrgetter("took_ns"))
            self._conduct.faults.breach_iteration(worst, spent_ns, budget_ns)
