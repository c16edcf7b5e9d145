"""Tasks as the executor holds them: an item, a chain or a graph with its scratch; provisioned once, reset per run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from taktora.errors import ItemError
from taktora.executor.faults import RUNNING, TaskFaultState
from taktora.executor.items import Execute, Item
from taktora.executor.stats import TaskStatistics
from taktora.executor.triggers import Trigger

if TYPE_CHECKING:
    from taktora.executor.context import Context
    from taktora.executor.graph import Graph

__all__ = ["Body", "PanickedTask", "Sequence", "Task", "TaskFailed", "Unit"]


# req: REQ_0124
# req: REQ_0124
class PanickedTask(ItemError):
    """An item raised something it did not mean to; contained, the task stays Running (REQ_0124).

    Args:
        task_id: The task.
        error: What was raised; also the ``__cause__``.
    """

    def __init__(self, task_id: str, error: BaseException) -> None:
        self.task_id = task_id
        self.error = error
        super().__init__(f"task {task_id!r} panicked: {type(error).__name__}: {error}")
        self.__cause__ = error


class TaskFailed(ItemError):
    """What ends a run by the item-error policy: the first failure of the wake, with its task.

    Args:
        task_id: The task.
        error: The item's own ItemError, or the PanickedTask; also the ``__cause__``.
    """

    def __init__(self, task_id: str, error: ItemError) -> None:
        self.task_id = task_id
        self.error = error
        super().__init__(f"task {task_id!r} failed: {error}")
        self.__cause__ = error


class Unit:
    """One item in its place: what is called, and under which names."""

    __slots__ = ("app_id", "app_instance_id", "begun_ns", "context", "error", "execute", "is_timed", "item_id", "task")

    def __init__(self, task: Task, item: Item, item_id: str) -> None:
        self.task = task
        self.item_id = item_id
        self.execute: Execute = item.execute
        self.app_id: str | None = getattr(item, "app_id", None)
        self.app_instance_id: int | None = getattr(item, "app_instance_id", None)
        self.context: Context = task.context
        self.error: BaseException | None = None
        self.is_timed = False
        """It shares a budget with others: which of them was slow is told when it is exceeded."""
        self.begun_ns = 0
        """Begin of its last run on the clock of budgets, if it is timed."""


class Sequence:
    """Units that run in order until one stops; a single item is a sequence of one."""

    __slots__ = ("place", "task", "units")

    def __init__(self, task: Task, units: tuple[Unit, ...]) -> None:
        self.task = task
        self.units = units
        self.place = 0
        for unit in units if len(units) > 1 else ():
            unit.is_timed = task.budget_ns is not None

    # req: REQ_0070
    def slowest(self, since_ns: int, spent_ns: int) -> tuple[str, int] | None:
        """Return id and duration in ns of the unit that took most of a run; None if units are not timed.

        Args:
            since_ns: Begin of the run, on the clock of budgets.
            spent_ns: What the run took.
        """
        ran = [unit for unit in self.units if unit.is_timed and unit.begun_ns >= since_ns]
        if not ran:
            return None
        ends_ns = [*(unit.begun_ns for unit in ran[1:]), since_ns + spent_ns]
        took = [(unit.item_id, end_ns - unit.begun_ns) for unit, end_ns in zip(ran, ends_ns, strict=True)]
        return max(took, key=lambda each: each[1])


Body: TypeAlias = "Sequence | Graph"


# req: REQ_0854
class Task:
    """One entry of the task table and all of its state.

    ``pending`` is the token of REQ_0854: set at dispatch, taken by the fold, and while set no second submit.
    """

    __slots__ = (
        "body",
        "budget_ns",
        "chain",
        "context",
        "cycle_take",
        "failures",
        "fault",
        "faulted",
        "handler",
        "id",
        "index",
        "late_by_ns",
        "lone",
        "ok",
        "pending",
        "period_ns",
        "pre_ns",
        "skipped",
        "spent_from_ns",
        "started_ns",
        "stats",
        "took_ns",
        "triggers",
    )

    body: Body
    context: Context

    def __init__(
        self, task_id: str, index: int, triggers: tuple[Trigger, ...], period_ns: int | None, budget_ns: int | None
    ) -> None:
        self.id = task_id
        self.index = index
        self.triggers = triggers
        self.period_ns = period_ns
        self.budget_ns = budget_ns
        self.chain = ""
        """Name of the chain that the task is, where its id is that of its first item."""
        self.handler: Sequence | None = None
        self.lone: Unit | None = None
        """The task's only item, if it has no other and no application's name; None for every other body."""
        self.fault: TaskFaultState = RUNNING
        self.failures = 0
        self.cycle_take: Callable[[], int] | None = None
        self.pending = False
        self.faulted = False
        self.ok = True
        self.skipped = 0
        self.late_by_ns = 0
        self.pre_ns = 0
        self.started_ns = 0
        self.spent_from_ns = 0
        self.took_ns = 0
        self.stats: TaskStatistics

    def reset(self) -> None:
        """Clear what a run cut short may have left: the token and the one-shot values."""
        self.pending = False
        self.skipped = self.late_by_ns = 0
        self.stats.restart()
