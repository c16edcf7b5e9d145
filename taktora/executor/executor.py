"""The executor: its task table, its runs and what can be asked of it; how tasks are carried out is in ``conduct``."""

from __future__ import annotations

import ctypes
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from taktora.clock import Clock
from taktora.errors import (
    AdmissionRejected,
    AlreadyRunning,
    BuilderError,
    DeclareTriggersError,
    ExecutorNotFaulted,
    TaskNotFaulted,
    TaskNotFound,
)
from taktora.executor.admission import AdmissionContext
from taktora.executor.attributes import AppliedAttributes, apply_attributes
from taktora.executor.channel import Channel
from taktora.executor.conduct import Conduct
from taktora.executor.context import Context, Stoppable
from taktora.executor.fatal import FailFast, FatalSite
from taktora.executor.faults import ExecutorFaultState, Faulted, TaskFaultState
from taktora.executor.graph import Graph, GraphBuilder
from taktora.executor.grid import DispatchMode, GridTimer, LegacyTimer
from taktora.executor.items import Item
from taktora.executor.loop import Heartbeat, Limit, Wakes
from taktora.executor.observer import Hooks
from taktora.executor.pool import WorkerPool
from taktora.executor.reactor import Loop, Reactor
from taktora.executor.service import Service
from taktora.executor.settings import ExecutorBuilder, Settings
from taktora.executor.sources import Sources
from taktora.executor.stats import TaskSnapshot, TaskStatistics
from taktora.executor.task import Sequence as UnitSequence
from taktora.executor.task import Task, TaskFailed, Unit
from taktora.executor.triggers import Duration, IntervalTrigger, TriggerDeclarer, duration_ns
from taktora.executor.tuning import tuned
from taktora.executor.virtual import ModelledInline, ModelledWorkers
from taktora.transport.base import ServiceSettings, Transport

__all__ = ["Executor", "IgnoredTriggersWarning"]

_LOG = logging.getLogger("taktora.executor")
P = TypeVar("P", bound=ctypes.Structure)
Req = TypeVar("Req", bound=ctypes.Structure)
Resp = TypeVar("Resp", bound=ctypes.Structure)


class IgnoredTriggersWarning(UserWarning):
    """A later item of a chain, or a vertex that is not the root, declares triggers; only the first one's count."""


class Executor:
    """Decides when items run and carries them out. Made by :meth:`builder`; single-use after ``stop``."""

    def __init__(self, settings: Settings) -> None:
        self.name = settings.name
        self._settings = settings
        self._reactor = settings.reactor
        self._stoppable = Stoppable(settings.reactor.wake)
        self._hooks = Hooks(settings.observers, settings.monitors)
        now_ns = settings.reactor.clock.now_ns
        self._now_ns = settings.cyclic_ns or now_ns
        # On virtual time no thread may be started; the world ends the run itself.
        limit_s = settings.fatal_limit_s if settings.reactor.model is None else None
        self._fail_fast = FailFast(settings.on_fatal, settings.terminal, limit_s)
        self._conduct = Conduct(
            self._hooks,
            self._fail_fast,
            self._stoppable,
            settings.telemetry_ns or now_ns,
            settings.fault_ns or now_ns,
            settings.on_item_error,
        )
        if settings.workers and settings.reactor.model is None:
            self._conduct.site = FatalSite.POOL_WORKER
        self._heartbeat = Heartbeat(settings.heartbeat_ns, self._hooks.on_heartbeat) if settings.heartbeat_ns else None
        self._tasks: list[Task] = []
        self._by_id: dict[str, Task] = {}
        self._running = False
        self._ended_by_stop = False
        self._applied: tuple[AppliedAttributes, ...] = ()

    @classmethod
    def builder(
        cls, *, clock: Clock, transport: Transport | None = None, reactor: Reactor, name: str = "executor"
    ) -> ExecutorBuilder:
        """Return a builder; see :class:`ExecutorBuilder` for its arguments."""
        return ExecutorBuilder(clock=clock, transport=transport, reactor=reactor, name=name)

    @property
    def clock(self) -> Clock:
        """The clock this executor was built with."""
        return self._settings.clock

    @property
    def reactor(self) -> Reactor:
        """The reactor that waits for this executor."""
        return self._reactor

    @property
    def is_running(self) -> bool:
        """Whether a run is under way."""
        return self._running

    @property
    def task_ids(self) -> tuple[str, ...]:
        """All task ids, in order of registration."""
        return tuple(task.id for task in self._tasks)

    @property
    def applied_attributes(self) -> tuple[AppliedAttributes, ...]:
        """What the threads of the last run really got: the dispatch thread if asked for, then each worker."""
        return self._applied

    def add(self, item: Item, task_id: str | None = None, *, fault_handler: Item | None = None) -> str:
        """Add an item as a task and return the task's id.

        The item's own ``task_id`` beats the argument, which beats ``task-<n>``.

        Args:
            item: What to run.
            task_id: Id of the task.
            fault_handler: Runs in place of ``item``, on its triggers, while the task or the executor is faulted.

        Raises:
            DeclareTriggersError: the triggers make no sense, or the id is taken; nothing was added.
            AlreadyRunning: tasks are fixed during a run.
        """
        name = self._name(getattr(item, "task_id", None) or task_id, "task")
        task = self._make_task(name, item)
        unit = Unit(task, item, name)
        task.body = UnitSequence(task, (unit,))
        task.lone = unit if unit.app_id is None else None
        if fault_handler is not None:
            task.handler = UnitSequence(task, (Unit(task, fault_handler, f"{name}/handler"),))
        return self._register(task)

    def add_with_id(self, task_id: str, item: Item) -> str:
        """Add an item under ``task_id``; see ``add``."""
        return self.add(item, task_id)

    # req: REQ_0072
    def add_with_fault_handler(self, main: Item, handler: Item, task_id: str | None = None) -> str:
        """Add ``main`` with the item that stands in for it while it is faulted; see ``add``."""
        return self.add(main, task_id, fault_handler=handler)

    # req: REQ_0020
    # req: REQ_0020
    def add_chain(self, items: Sequence[Item], task_id: str | None = None) -> str:
        """Add items that run in order, one dispatch each time the first one's triggers fire.

        The head's budget, if it declares one, holds for the whole chain.

        Raises:
            BuilderError: the chain is empty.
            DeclareTriggersError: as in ``add``.
        """
        if not items:
            raise BuilderError(f"executor {self.name!r}: add_chain was given no items; a chain has at least one")
        name = self._name(getattr(items[0], "task_id", None) or task_id, "chain")
        task = self._make_task(name, items[0])
        self._warn_of_triggers(name, items[1:])
        task.body = UnitSequence(task, _units(task, items))
        task.chain = task_id if task_id is not None and task_id != name else ""
        return self._register(task)

    def add_chain_with_id(self, task_id: str, items: Sequence[Item]) -> str:
        """Add a chain under ``task_id``; see ``add_chain``."""
        return self.add_chain(items, task_id)

    def add_graph(self, task_id: str | None = None) -> GraphBuilder:
        """Return a builder for a graph: vertices, edges, a root whose triggers (and budget) hold for all; ``build``."""
        return GraphBuilder(self._add_graph, task_id)

    def channel(self, topic: str, payload: type[P], settings: ServiceSettings | None = None) -> Channel[P]:
        """Return the channel of ``topic`` on this executor's transport."""
        return Channel(self._carrier(f"channel({topic!r})"), topic, payload, settings)

    def service(self, topic: str, request: type[Req], response: type[Resp]) -> Service[Req, Resp]:
        """Return the request-response service of ``topic`` on this executor's transport."""
        return Service(self._carrier(f"service({topic!r})"), topic, request, response)

    def run(self) -> None:
        """Run until stopped.

        Raises:
            TaskFailed: an item failed and the policy ends the run for it.
            AdmissionRejected: the admission check refused.
            AlreadyRunning: a run is under way, or one has been stopped.
        """
        self._drive(Limit())

    def run_for(self, duration: Duration) -> None:
        """Run for ``duration``; what is due at the last instant still runs. Raises like ``run``."""
        self._drive(Limit(duration_ns=duration_ns(duration, f"executor {self.name!r}: run_for", BuilderError)))

    def run_n(self, wakes: int) -> None:
        """Run until ``wakes`` wakes have run at least one task each. Raises like ``run``."""
        if wakes < 0:
            raise BuilderError(f"executor {self.name!r}: run_n({wakes}): 0 or more are possible")
        self._drive(Limit(wakes=wakes))

    def run_until(self, predicate: Callable[[], bool]) -> None:
        """Run until ``predicate`` holds; tested at the start and after each wake. Raises like ``run``."""
        self._drive(Limit(predicate=predicate))

    def start_loop(self, limit: Limit | None = None) -> Loop:
        """Return the loop of one run, for whoever drives it; closing it runs the shutdown path.

        Raises:
            AlreadyRunning: a run is under way, or one has been stopped.
        """
        self._refuse_second_run()
        return self._run(limit or Limit())

    def stoppable(self) -> Stoppable:
        """Return the handle that stops this executor; it works before, during and after a run."""
        return self._stoppable

    def stop(self) -> None:
        """Ask for the end of the current or the coming run."""
        self._stoppable.stop()

    # req: REQ_0103
    # req: REQ_0103
    def stats_snapshot(self) -> tuple[TaskSnapshot, ...]:
        """Return the aggregates of all tasks, in order of registration; from any thread, also during a run."""
        return tuple(task.stats.snapshot(task.id) for task in self._tasks)

    def task_fault_state(self, task_id: str) -> TaskFaultState:
        """Return the fault state of one task; from any thread.

        Raises:
            TaskNotFound: there is no such task.
        """
        return self._task(task_id).fault

    def executor_fault_state(self) -> ExecutorFaultState:
        """Return the fault state of the executor; from any thread."""
        return self._conduct.faults.executor

    def overrun_count(self, task_id: str) -> int:
        """Return how often the task has exceeded its budget; no clear resets it.

        Raises:
            TaskNotFound: there is no such task.
        """
        return self._task(task_id).stats.overrun_count

    # req: REQ_0070
    @property
    def faulted_tasks(self) -> tuple[str, ...]:
        """Ids of the tasks that are faulted now, in order of registration."""
        return tuple(task.id for task in self._tasks if isinstance(task.fault, Faulted))

    @property
    def item_failures(self) -> dict[str, int]:
        """How often items failed unexpectedly, by task id; only tasks in which one did."""
        return {task.id: task.failures for task in self._tasks if task.failures}

    def clear_task_fault(self, task_id: str) -> Faulted:
        """Return a task to Running and tell what it was.

        Raises:
            TaskNotFound: there is no such task.
            TaskNotFaulted: it is Running.
        """
        task = self._task(task_id)
        return self._cleared(lambda: self._conduct.faults.clear_task(task))

    # req: REQ_0071
    def clear_executor_fault(self) -> Faulted:
        """Return the executor, and the tasks that stood still only because of it, to Running.

        Raises:
            ExecutorNotFaulted: it is Running.
        """
        return self._cleared(lambda: self._conduct.faults.clear_executor(self._tasks))

    def _cleared(self, clear: Callable[[], Faulted]) -> Faulted:
        try:
            return clear()
        except (TaskNotFaulted, ExecutorNotFaulted):
            raise
        except Exception as error:
            self._fail_fast.trip(error, FatalSite.EXECUTOR_RUN_LOOP)

    def close(self) -> None:
        """Close the reactor; idempotent, not during a run."""
        self._reactor.close()

    def _make_task(self, name: str, head: Item) -> Task:
        declarer = TriggerDeclarer(name)
        head.declare_triggers(declarer)
        declarer.check()
        period_ns = declarer.period_ns
        task = Task(name, len(self._tasks), tuple(declarer.triggers), period_ns, declarer.budget_ns)
        task.stats = TaskStatistics(self._settings.stats_window, period_ns)
        clock = self._reactor.clock
        task.context = Context(task, self._stoppable, clock.now_ns, clock.unix_ns, self._conduct.send_event)
        return task

    def _add_graph(self, items: list[Item], edges: list[tuple[int, int]], root: int, task_id: str | None) -> str:
        name = self._name(getattr(items[root], "task_id", None) or task_id, "graph")
        task = self._make_task(name, items[root])
        self._warn_of_triggers(name, [item for place, item in enumerate(items) if place != root])
        task.body = Graph(task, list(_units(task, items)), edges, root)
        return self._register(task)

    def _register(self, task: Task) -> str:
        self._tasks.append(task)
        self._by_id[task.id] = task
        return task.id

    def _name(self, wanted: str | None, kind: str) -> str:
        """Return the id of the next task; refuse one that is taken, and any during a run."""
        name = wanted or f"{kind}-{len(self._tasks)}"
        if self._running:
            raise AlreadyRunning(f"executor {self.name!r}: task {name!r} cannot be added while it runs; add it before")
        if name in self._by_id:
            msg = f"executor {self.name!r}: task id {name!r} is taken (ids: {', '.join(self._by_id)}); give another"
            raise DeclareTriggersError(msg)
        return name

    def _warn_of_triggers(self, name: str, items: Sequence[Item]) -> None:
        for place, item in enumerate(items, 1):
            declarer = TriggerDeclarer(f"{name}/{place}")
            item.declare_triggers(declarer)
            if declarer.triggers:
                msg = f"task {name!r}: the triggers of item {place} ({type(item).__name__}) are ignored"
                warnings.warn(f"{msg}; only the first item's count", IgnoredTriggersWarning, stacklevel=4)

    def _carrier(self, what: str) -> Transport:
        if self._settings.transport is None:
            msg = f"executor {self.name!r}: {what} needs a transport; give one to Executor.builder(transport=...)"
            raise BuilderError(msg)
        return self._settings.transport

    def _task(self, task_id: str) -> Task:
        try:
            return self._by_id[task_id]
        except KeyError:
            known = ", ".join(self._by_id) or "none"
            raise TaskNotFound(f"executor {self.name!r} has no task {task_id!r} (tasks: {known})") from None

    def _refuse_second_run(self) -> None:
        if self._running:
            raise AlreadyRunning(f"executor {self.name!r} is running; one run at a time")
        if self._ended_by_stop:
            raise AlreadyRunning(f"executor {self.name!r} was stopped and is single-use; build another one")

    def _drive(self, limit: Limit) -> None:
        loop = self.start_loop(limit)
        with tuned(self._settings.freeze_gc, self._settings.switch_interval_s):
            self._reactor.drive(loop)

    def _run(self, limit: Limit) -> Loop:
        self._refuse_second_run()
        self._running = True
        try:
            self._admit()
            # One generator around the loop's own: each further one would cost its share of every wake.
            with self._up_and_down() as (wakes, epoch_ns), self._guarded(wakes):
                yield from wakes.loop(epoch_ns, limit)
        finally:
            self._running = False
            self._ended_by_stop = self._stoppable.stopped

    # req: TSR_0011
    def _admit(self) -> None:
        check = self._settings.admission
        fault = check(AdmissionContext(self.name, None, len(self._tasks))) if check is not None else None
        if fault is not None:
            error = AdmissionRejected(f"executor {self.name!r} was not admitted: {fault.reason}")
            self._tell(self._hooks.on_admission_rejected, error)
            raise error

    @contextmanager
    def _up_and_down(self) -> Iterator[tuple[Wakes, int]]:
        """Bring the executor up for one run and down again; gives the run's wakes and the epoch of its grid."""
        for task in self._tasks:
            task.reset()
        self._tell(self._hooks.on_executor_up)
        pool = self._make_pool()
        sources = Sources(self._tasks, self._hooks.deadline_missed)
        ended: BaseException | None = None
        try:
            if pool is not None:
                pool.start()
            self._report_attributes(pool)
            epoch_ns = self._now_ns()
            sources.attach(self._reactor, epoch_ns)
            yield self._make_wakes(sources, pool, epoch_ns), epoch_ns
        except BaseException as error:
            ended = error
            raise
        finally:
            sources.detach(self._reactor)
            if pool is not None:
                pool.stop()
            self._tell_end(ended)

    # req: REQ_0123
    @contextmanager
    def _guarded(self, wakes: Wakes) -> Iterator[None]:
        """Put the fail-fast boundary around the wakes; what ends a run on purpose goes through."""
        self._conduct.take_error()
        try:
            yield
        except TaskFailed:
            raise
        except Exception as error:
            if error is wakes.outside:
                raise
            self._fail_fast.trip(error, FatalSite.EXECUTOR_RUN_LOOP)

    def _make_pool(self) -> WorkerPool | None:
        settings = self._settings
        if not settings.workers or self._reactor.model is not None:
            return None
        jobs = sum(len(task.body.vertices) if isinstance(task.body, Graph) else 1 for task in self._tasks)
        return WorkerPool(self._conduct, settings.workers, settings.worker_attributes, jobs)

    def _make_wakes(self, sources: Sources, pool: WorkerPool | None, epoch_ns: int) -> Wakes:
        grid_tasks = [task for task in self._tasks if isinstance(task.triggers[0], IntervalTrigger)]
        timer_type = GridTimer if self._settings.dispatch_mode is DispatchMode.GRID else LegacyTimer
        if self._heartbeat is not None:
            self._heartbeat.restart(epoch_ns)
        return Wakes(
            self._conduct,
            self._stoppable,
            self._now_ns,
            timer_type(epoch_ns, [task.period_ns or 0 for task in grid_tasks]),
            grid_tasks,
            sources,
            self._heartbeat,
            self._settings.iteration_budget_ns,
            self._make_modelled(),
            pool,
        )

    def _make_modelled(self) -> ModelledInline | ModelledWorkers | None:
        model = self._reactor.model
        if model is None:
            return None
        now_ns, workers = self._reactor.clock.now_ns, self._settings.workers
        if workers:
            return ModelledWorkers(self._conduct, model, now_ns, self._tasks, workers)
        return ModelledInline(self._conduct, model, now_ns, self._tasks)

    def _report_attributes(self, pool: WorkerPool | None) -> None:
        wanted = self._settings.dispatch_attributes
        own = () if wanted is None or self._reactor.model is not None else (apply_attributes(wanted),)
        self._applied = (*own, *(pool.applied if pool is not None else ()))
        for applied in self._applied:
            for refusal in applied.refused:
                _LOG.warning("executor %r goes on without %s", self.name, refusal)

    def _tell_end(self, ended: BaseException | None) -> None:
        if self._fail_fast.tripped:
            return
        if ended is None or isinstance(ended, GeneratorExit):
            self._tell(self._hooks.on_executor_down)
        else:
            self._tell(self._hooks.on_executor_error, ended)

    def _tell(self, hooks: tuple[Callable[..., object], ...], *args: object) -> None:
        try:
            for hook in hooks:
                hook(*args)
        except Exception as error:
            self._fail_fast.trip(error, FatalSite.EXECUTOR_RUN_LOOP)


def _units(task: Task, items: Sequence[Item]) -> tuple[Unit, ...]:
    return tuple(
        Unit(task, item, getattr(item, "task_id", None) or f"{task.id}/{place}") for place, item in enumerate(items)
    )
