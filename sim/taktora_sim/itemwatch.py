"""Tells the recorder what went wrong in items: exceptions, overruns, faulted executors; it ends nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from taktora.errors import TaktoraError
from taktora.executor import BudgetExceeded, Observer, TaskFailed
from taktora.places import line_of, place_of
from taktora_sim.guard import EscapeError

if TYPE_CHECKING:
    from taktora.errors import ItemError
    from taktora.executor import ExecutorFaultReason
    from taktora.executor.faults import TaskFaultReason
    from taktora_sim.world import World

__all__ = ["ItemFailure", "ItemFailures", "ItemWatch"]


@dataclass(slots=True)
class ItemFailure:
    """One way in which a task failed.

    Args:
        rule: What should have held, as a check says it.
        what: What happened the first time, in words.
        first_ns: Virtual time of the first time.
        count: How often it happened.
        error: What was raised; None for a fault.
        was_raised: Whether it has ended the executor, so that who steps the World gets it raised.
    """

    rule: str
    what: str
    first_ns: int
    error: BaseException | None = None
    count: int = 1
    was_raised: bool = False


class ItemFailures:
    """The items of one World that raised or were faulted; `world.part(ItemFailures)` is that World's own."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.found: dict[str, ItemFailure] = {}
        """By the rule that was broken, in order of the first time."""

    @property
    def unnoticed(self) -> list[ItemFailure]:
        """What nobody has been told yet: neither raised, nor concluded, nor tolerated."""
        return [failure for failure in self._untolerated() if not failure.was_raised]

    def add(self, rule: str, what: str, error: BaseException | None = None) -> bool:
        """Note a failure; return whether it is the first against ``rule``."""
        known = self.found.get(rule)
        if known is None:
            self.found[rule] = ItemFailure(rule, what, self._world.now_ns(), error)
            return True
        known.count += 1
        return False

    def note_raised(self, error: BaseException) -> None:
        """Note that ``error`` ends an executor."""
        for failure in self.found.values():
            failure.was_raised |= failure.error is error

    def conclude(self) -> None:
        """Record a failed check for each failure, unless the scenario said that it may happen."""
        for failure in self._untolerated():
            times = "once" if failure.count == 1 else f"{failure.count} times"
            self._world.recorder.finding(failure.rule, ok=False, detail=f"{failure.what}, {times}")
        self.found.clear()

    def _untolerated(self) -> list[ItemFailure]:
        return [] if self._world.recorder.tolerates_item_errors else list(self.found.values())


class ItemWatch(Observer):
    """The observer of one executor."""

    def __init__(self, world: World, executor: str) -> None:
        self._notice = world.recorder.notice
        self._failures = world.part(ItemFailures)
        self._executor = executor

    def on_app_error(self, task_id: str, error: ItemError) -> None:
        if isinstance(error.__cause__, EscapeError):
            return  # it ends the run by itself
        task, what = f"{self._executor}/{task_id}", _in_words(error)
        if self._failures.add(f"{task} runs without an exception", what, error):
            self._notice(f"{task} raised {what}", "alarm")

    def on_executor_error(self, error: BaseException) -> None:
        if isinstance(error, TaskFailed):
            self._failures.note_raised(error.error)

    def on_task_fault(self, task_id: str, reason: TaskFaultReason) -> None:
        if isinstance(reason, BudgetExceeded):  # otherwise the whole executor is faulted, and that is told
            self._note_fault(f"{self._executor}/{task_id}", f"one run took {reason.words}")

    def on_task_clear(self, task_id: str) -> None:
        self._notice(f"{self._executor}/{task_id} runs again")

    def on_executor_fault(self, reason: ExecutorFaultReason) -> None:
        self._note_fault(self._executor, f"one wake took {reason.took_ms} ms of {reason.budget_ms} ms")

    def on_executor_clear(self) -> None:
        self._notice(f"{self._executor} runs again")

    def _note_fault(self, who: str, why: str) -> None:
        self._failures.add(f"{who} stays within its budget", why)
        self._notice(f"{who} is faulted: {why}", "alarm")


def _in_words(error: BaseException) -> str:
    """Return the exception behind ``error`` and the place that raised it, which a refusal of taktora's own tells."""
    cause = error.__cause__ or error
    place = "" if isinstance(cause, TaktoraError) and line_of(cause) is None else place_of(cause)
    return f"{type(cause).__name__}: {cause}{f' ({place})' if place else ''}"
