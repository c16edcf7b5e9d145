"""How tasks are carried out: guarded execution, brackets for monitors, fault routing and the fold after a wake.

Nothing here waits or decides what is due; the loop does the one, the reactor the other.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias

from taktora.errors import ExecutorNotFaulted, ItemError, TaskNotFaulted
from taktora.executor.context import Stoppable
from taktora.executor.fatal import FailFast, FatalSite
from taktora.executor.faults import (
    RUNNING,
    SINCE_BITS,
    TOOK_BITS,
    BudgetExceeded,
    ExecutorFaulted,
    ExecutorFaultState,
    Faulted,
    IterationBudgetExceeded,
    TaskFaultState,
    saturated_ms,
)
from taktora.executor.graph import Graph, Vertex
from taktora.executor.items import ItemFlow
from taktora.executor.observer import Hooks, UserEvent, fan_out
from taktora.executor.task import Body, PanickedTask, Sequence, Task, TaskFailed, Unit

__all__ = ["DONE", "FAILED", "STOPPED", "Conduct", "FaultMachine", "ItemErrorPolicy"]

ItemErrorPolicy: TypeAlias = Literal["deliberate", "stop", "continue"]
"""Which failures of items end the run after their wake; every one reaches ``on_app_error`` and stops its chain.

``deliberate`` (the default): an :class:`ItemError` that an item raises on purpose ends the run, anything unexpected is
contained (REQ_0124). ``stop``: any failure ends it. ``continue``: none does.
"""

DONE, STOPPED, FAILED = 0, 1, 2
# A GeneratorExit on its way out would pass for the end of the loop, which is a generator.
_CONTAINED = (Exception, KeyboardInterrupt, SystemExit, GeneratorExit)
_LOG = logging.getLogger("taktora.executor")
_CONTINUE, _STOP_CHAIN = ItemFlow.CONTINUE, ItemFlow.STOP_CHAIN


# req: REQ_0073
# req: REQ_0070, REQ_0071, REQ_0073, REQ_0102
def is_milestone(count: int) -> bool:
    """Return whether ``count`` is 1, 10, 100 ...: how often something is logged that may happen in every cycle."""
    return str(count) == "1" + "0" * (len(str(count)) - 1)


class FaultMachine:
    """Moves tasks and the executor between Running and Faulted and tells the observers, once per transition.

    Args:
        now_ns: Fault clock; ``since_ms`` counts from the moment this is made.
        hooks: Whom to tell.
    """

    def __init__(self, now_ns: Callable[[], int], hooks: Hooks) -> None:
        self._now_ns = now_ns
        self._born_ns = now_ns()
        self._hooks = hooks
        self._lock = threading.Lock()
        self.executor: ExecutorFaultState = RUNNING

    # req: REQ_0070, REQ_0102
    def breach(self, task: Task, spent_ns: int, budget_ns: int) -> None:
        """Count an overrun of ``task`` and fault it unless it is faulted."""
        task.stats.overrun_count += 1
        took_ms, budget_ms = saturated_ms(spent_ns, TOOK_BITS), saturated_ms(budget_ns, TOOK_BITS)
        reason = BudgetExceeded(took_ms, budget_ms, _breach_in_words(task, spent_ns, budget_ns))
        if self._enter(task, reason):
            for hook in self._hooks.on_task_fault:
                hook(task.id, reason)
            if not self._hooks.on_task_fault and is_milestone(task.stats.overrun_count):
                _LOG.error(
                    "task %r is faulted: it took %s and does not run until its fault is cleared", task.id, reason.words
                )

    # req: REQ_0071
    def breach_iteration(self, worst: Task, spent_ns: int, budget_ns: int) -> None:
        """Fault the executor unless it is faulted; its tasks follow at their next wake, silently."""
        reason = IterationBudgetExceeded(
            worst.index, saturated_ms(spent_ns, TOOK_BITS), saturated_ms(budget_ns, TOOK_BITS)
        )
        with self._lock:
            if self.executor is not RUNNING:
                return
            self.executor = Faulted(reason, self._since_ms())
        for hook in self._hooks.on_executor_fault:
            hook(reason)

    def cascade(self, task: Task) -> None:
        """Let ``task`` follow its executor, unless that has been cleared since the caller saw it faulted."""
        with self._lock:
            if self.executor is not RUNNING and task.fault is RUNNING:
                task.fault = Faulted(ExecutorFaulted(), self._since_ms())

    def clear_task(self, task: Task) -> Faulted:
        """Return ``task`` to Running and tell what it was.

        Raises:
            TaskNotFaulted: it is Running.
        """
        with self._lock:
            old = task.fault
            if not isinstance(old, Faulted):
                raise TaskNotFaulted(f"task {task.id!r} is Running; there is no fault to clear")
            task.fault = RUNNING
        self._tell_clear(task)
        return old

    def clear_executor(self, tasks: Iterable[Task]) -> Faulted:
        """Return the executor, and the tasks that only followed it, to Running; tell what it was.

        Raises:
            ExecutorNotFaulted: it is Running.
        """
        with self._lock:
            old = self.executor
            if not isinstance(old, Faulted):
                raise ExecutorNotFaulted("the executor is Running; there is no fault to clear")
            followers = [task for task in tasks if _follows(task.fault)]
            for task in followers:
                task.fault = RUNNING
            self.executor = RUNNING
        for task in followers:
            self._tell_clear(task)
        for hook in self._hooks.on_executor_clear:
            hook()
        return old

    def _enter(self, task: Task, reason: BudgetExceeded) -> bool:
        with self._lock:
            if task.fault is not RUNNING:
                return False
            task.fault = Faulted(reason, self._since_ms())
            return True

    def _tell_clear(self, task: Task) -> None:
        for hook in self._hooks.on_task_clear:
            hook(task.id)

    def _since_ms(self) -> int:
        return saturated_ms(self._now_ns() - self._born_ns, SINCE_BITS)


def _breach_in_words(task: Task, spent_ns: int, budget_ns: int) -> str:
    """Return what a run took and was allowed; of a chain also its name, and the item that took most of it."""
    slowest = task.body.slowest(task.spent_from_ns, spent_ns) if isinstance(task.body, Sequence) else None
    details = [f"chain {task.chain!r}"] if task.chain else []
    if slowest is not None:
        details.append(f"most of it {slowest[0]!r}: {_ms(slowest[1])}")
    return f"{_ms(spent_ns)} of {_ms(budget_ns)}" + (f" ({', '.join(details)})" if details else "")


def _ms(duration_ns: int) -> str:
    """Return a duration in ms, to the microsecond."""
    return f"{duration_ns // 1_000 / 1_000:.12g} ms"


def _follows(fault: TaskFaultState) -> bool:
    return isinstance(fault, Faulted) and isinstance(fault.reason, ExecutorFaulted)


def _outcome_of(unit: Unit, flow: object) -> int:
    """Return how an item ended that returned ``flow``."""
    if flow is None or flow is _CONTINUE:
        return DONE
    if flow is _STOP_CHAIN:
        return STOPPED
    unit.error = TypeError(f"item {unit.item_id!r} returned {flow!r}; execute returns an ItemFlow or None")
    return FAILED


# req: REQ_0062, REQ_0072, REQ_0124, REQ_0854
class Conduct:
    """Carries tasks out on behalf of one executor.

    Args:
        hooks: Observers and monitors.
        fail_fast: The boundary for what escapes containment.
        stoppable: Stops the executor.
        telemetry_ns: Clock of ``pre``, ``took`` and the statistics.
        budget_ns: Clock of budgets and faults.
        policy: What a failing item means for the run.
    """

    def __init__(
        self,
        hooks: Hooks,
        fail_fast: FailFast,
        stoppable: Stoppable,
        telemetry_ns: Callable[[], int],
        budget_ns: Callable[[], int],
        policy: ItemErrorPolicy,
    ) -> None:
        self.hooks = hooks
        self.fail_fast = fail_fast
        self.faults = FaultMachine(budget_ns, hooks)
        self.telemetry_ns = telemetry_ns
        self.budget_ns = budget_ns
        self.error: TaskFailed | None = None
        """The error slot of a wake: the first failure that ends the run (REQ_0062)."""
        self._on_cycle_stats = hooks.on_cycle_stats
        self._pre_execute = hooks.pre_execute
        self._post_execute = fan_out(hooks.post_execute)
        self.site = FatalSite.INLINE_SUBMIT
        """Where items run: the site of a failure that an item's call into the framework brings to light."""
        self._one_clock = telemetry_ns == budget_ns
        self._is_plain = self._one_clock and not hooks.pre_execute
        """Opening a task's bracket is one reading of a clock and nothing else."""
        self._stoppable = stoppable
        self._policy = policy
        self._slot_lock = threading.Lock()

    # req: REQ_0072
    def route(self, task: Task) -> Body | None:
        """Return what ``task`` runs in this wake: its logic, its fault handler, or nothing."""
        if task.fault is RUNNING:
            if self.faults.executor is RUNNING:
                task.faulted = False
                return task.body
            self.faults.cascade(task)
        task.faulted = True
        return task.handler

    # req: REQ_0003
    def start(self, task: Task) -> None:
        """Open the bracket around one run of ``task``."""
        started_ns = task.started_ns = self.telemetry_ns()
        task.ok = True
        for hook in self._pre_execute:
            hook(task.id, started_ns)
        task.spent_from_ns = started_ns if self._one_clock else self.budget_ns()

    # req: REQ_0031
    def finish(self, task: Task) -> None:
        """Close the bracket: duration, monitors, budget."""
        started_ns = task.started_ns
        took_ns = task.took_ns = self.telemetry_ns() - started_ns
        limit_ns = task.budget_ns
        spent_ns = 0
        if limit_ns is not None:
            spent_ns = took_ns if self._one_clock else self.budget_ns() - task.spent_from_ns
        if self._post_execute is not None:
            self._post_execute(task.id, started_ns, took_ns, task.ok)
        if limit_ns is not None and spent_ns > limit_ns and not task.faulted:
            self.faults.breach(task, spent_ns, limit_ns)

    # req: REQ_0124
    def invoke(self, unit: Unit) -> int:
        """Run one item under guard; a failure waits in the unit until ``settle``."""
        if unit.app_id is not None:
            for hook in self.hooks.on_app_start:
                hook(unit.task.id, unit.app_id, unit.app_instance_id)
        if unit.is_timed:
            unit.begun_ns = self.budget_ns()
        try:
            flow = unit.execute(unit.context)
        except _CONTAINED as error:
            return self._contain(unit, error)
        return DONE if flow is None else _outcome_of(unit, flow)

    def _contain(self, unit: Unit, error: BaseException) -> int:
        """Keep what an item raised for ``settle``, unless it is the end of the process on its way out."""
        if self.fail_fast.tripped:
            raise error
        unit.error = error
        return FAILED

    def settle(self, unit: Unit, outcome: int) -> None:
        """Report how an item ended, at the instant at which it ended."""
        if outcome == FAILED:
            self._report(unit)
        if unit.app_id is not None:
            for hook in self.hooks.on_app_stop:
                hook(unit.task.id, unit.app_id, unit.app_instance_id)

    def run_task(self, task: Task, body: Body) -> None:
        """Run a whole task here and now."""
        self.start(task)
        if isinstance(body, Sequence):
            self._run_units(body)
        else:
            self._run_graph(body)
        self.finish(task)

    def run_inline(self, ready: list[Task], still_ns: int | None = None) -> bool:
        """Run the tasks of a wake one after the other in this thread; return whether ``fold`` has tokens left to take.

        Args:
            ready: The tasks.
            still_ns: The instant at which all of them run, where time stands still meanwhile; None: the clock runs.
        """
        faults, telemetry_ns = self.faults, self.telemetry_ns
        post_execute, is_plain = self._post_execute, self._is_plain
        is_left = False
        try:
            for task in ready:
                unit = task.lone
                if unit is None or not is_plain or task.fault is not RUNNING or faults.executor is not RUNNING:
                    self._run_routed(task)
                    is_left = True
                    continue
                # The usual case, in place: _run_routed for one healthy item, without a call but the item's own.
                task.faulted = False
                task.pre_ns = started_ns = telemetry_ns() if still_ns is None else still_ns
                execute = unit.execute
                try:
                    flow = execute(unit.context)
                except _CONTAINED as error:
                    outcome = self._contain(unit, error)
                else:
                    outcome = DONE if flow is None else _outcome_of(unit, flow)
                if outcome:
                    self.settle(unit, outcome)
                task.took_ns = took_ns = telemetry_ns() - started_ns if still_ns is None else 0
                if post_execute is not None:
                    post_execute(task.id, started_ns, took_ns, outcome != FAILED)
                limit_ns = task.budget_ns
                if limit_ns is not None and took_ns > limit_ns:
                    faults.breach(task, took_ns, limit_ns)
                if task.period_ns is None:  # fold, in place
                    task.pending = False
                    task.stats.record_run(took_ns)
                else:
                    is_left = True
        except Exception as error:
            self.fail_fast.trip(error, FatalSite.INLINE_SUBMIT)
        return is_left

    def _run_routed(self, task: Task) -> None:
        """Run what ``task`` runs in this wake, if anything."""
        body = self.route(task)
        if body is None:
            task.pre_ns = self.telemetry_ns()
            return
        self.start(task)
        task.pre_ns = task.started_ns
        if isinstance(body, Sequence):
            self._run_units(body)
        else:
            self._run_graph(body)
        self.finish(task)

    # req: REQ_0107
    def fold(self, ready: list[Task]) -> None:
        """Take the tokens of a wake that are left: one record per task, in order of registration."""
        on_cycle_stats = self._on_cycle_stats
        for task in ready:
            if not task.pending:
                continue
            task.pending = False
            stats, faulted = task.stats, task.faulted
            if not faulted:
                stats.record_run(task.took_ns)
            if task.period_ns is None:
                continue
            stats.record_scan(task.pre_ns, task.late_by_ns, task.skipped, faulted)
            if on_cycle_stats:
                seen = stats.observation(task.id, task.index, faulted, None if faulted else task.took_ns)
                for hook in on_cycle_stats:
                    hook(seen)
            stats.cycle_index += 1

    def send_event(self, task_id: str, event: UserEvent) -> None:
        """Show an item's event to the observers; one that fails is not the item's failure."""
        try:
            for hook in self.hooks.on_send_event:
                hook(task_id, event)
        except Exception as error:
            self.fail_fast.trip(error, self.site)

    # req: REQ_0062
    def take_error(self) -> TaskFailed | None:
        """Return what ends the run, and empty the slot."""
        error, self.error = self.error, None
        return error

    # req: REQ_0022
    def _run_units(self, body: Sequence) -> None:
        for unit in body.units:
            outcome = self.invoke(unit)
            if outcome or unit.app_id is not None:
                self.settle(unit, outcome)
            if outcome:
                body.task.ok = outcome != FAILED
                return

    def _run_graph(self, graph: Graph) -> None:
        ready = graph.begin()
        while ready:
            vertex = ready.popleft()
            outcome = self.invoke(vertex.unit)
            self.finish_vertex(vertex, outcome)
            graph.complete(vertex, outcome == DONE, ready.append)

    def finish_vertex(self, vertex: Vertex, outcome: int) -> None:
        """Report how a vertex ended."""
        unit = vertex.unit
        if outcome or unit.app_id is not None:
            self.settle(unit, outcome)
        if outcome == FAILED:
            unit.task.ok = False

    def _log_unseen(self, unit: Unit, error: BaseException) -> None:
        """Log a contained failure that no observer is told of: its task's 1st, 10th, 100th ..., with its traceback."""
        count = unit.task.failures
        if is_milestone(count):
            times = f", {count} times so far" if count > 1 else ""
            _LOG.error("task %r: item %r failed%s; the run goes on", unit.task.id, unit.item_id, times, exc_info=error)

    def _report(self, unit: Unit) -> None:
        error, unit.error = unit.error, None
        assert error is not None
        if isinstance(error, KeyboardInterrupt | SystemExit):
            self._stoppable.stop()
        deliberate = isinstance(error, ItemError)
        failure = error if isinstance(error, ItemError) else PanickedTask(unit.task.id, error)
        for hook in self.hooks.on_app_error:
            hook(unit.task.id, failure)
        if not deliberate:
            unit.task.failures += 1
            if not self.hooks.on_app_error:
                self._log_unseen(unit, error)
        ends_run = self._policy == "stop" or (self._policy == "deliberate" and deliberate)
        if ends_run and not isinstance(error, KeyboardInterrupt | SystemExit):
            with self._slot_lock:
                self.error = self.error or TaskFailed(unit.task.id, failure)
