"""Fault states of tasks and of the executor, as values; the machines that move between them are in ``dispatch``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = [
    "RUNNING",
    "BudgetExceeded",
    "ExecutorFaultReason",
    "ExecutorFaultState",
    "ExecutorFaulted",
    "Faulted",
    "IterationBudgetExceeded",
    "Running",
    "TaskFaultReason",
    "TaskFaultState",
    "saturated_ms",
]

_NS_PER_MS = 1_000_000
SINCE_BITS = 32
TOOK_BITS = 30


def saturated_ms(value_ns: int, bits: int) -> int:
    """Return whole milliseconds, at most what ``bits`` bits hold: a fixed-width reader never sees a wrapped value."""
    return min(max(value_ns, 0) // _NS_PER_MS, (1 << bits) - 1)


@dataclass(frozen=True, slots=True)
class BudgetExceeded:
    """One run of the task took ``took_ms`` (30 bits, saturated) and ``budget_ms`` was allowed; both whole ms.

    ``words`` says the same to the microsecond, of a chain with its name and its slowest item; it tells no two apart.
    """

    took_ms: int
    budget_ms: int
    words: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class ExecutorFaulted:
    """The task stands still because its executor is faulted."""


@dataclass(frozen=True, slots=True)
class IterationBudgetExceeded:
    """One wake took ``took_ms`` in all; ``task_index`` is the task that took the most of it."""

    task_index: int
    took_ms: int
    budget_ms: int


TaskFaultReason: TypeAlias = BudgetExceeded | ExecutorFaulted
ExecutorFaultReason: TypeAlias = IterationBudgetExceeded


@dataclass(frozen=True, slots=True)
class Running:
    """No fault."""


@dataclass(frozen=True, slots=True)
class Faulted:
    """Faulted for ``reason`` since ``since_ms`` whole ms (32 bits, saturated) after the executor was built."""

    reason: TaskFaultReason | ExecutorFaultReason
    since_ms: int


RUNNING = Running()
TaskFaultState: TypeAlias = Running | Faulted
ExecutorFaultState: TypeAlias = Running | Faulted
