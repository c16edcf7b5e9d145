"""Who watches an executor: observers and monitors, and one tuple of listeners per hook; they never steer it.

A hook nobody listens to costs nothing. Observers and monitors must not fail: an exception from one is a broken
invariant of the framework and ends the process (REQ_0123).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec

from taktora.errors import AdmissionRejected, ItemError
from taktora.executor.faults import ExecutorFaultReason, TaskFaultReason

__all__ = ["CycleObservation", "ExecutionMonitor", "HeartbeatTick", "Hooks", "Observer", "UserEvent", "fan_out"]

P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class UserEvent:
    """What an item sends to the observers with ``Context.send_event``.

    Args:
        kind: Number of the application's choice, 0 to 2**32 - 1.
        int_data: Signed 64-bit number.
        string_data: Text, or None.
    """

    kind: int
    int_data: int = 0
    string_data: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.kind < 1 << 32:
            raise ValueError(f"UserEvent.kind is {self.kind}, expected 0 to {(1 << 32) - 1}")
        if not -(1 << 63) <= self.int_data < 1 << 63:
            raise ValueError(f"UserEvent.int_data is {self.int_data}, which does not fit signed 64 bits")


@dataclass(frozen=True, slots=True)
class HeartbeatTick:
    """One sign of life: ``seq`` counts from 1, ``at_ns`` is the scheduling clock."""

    seq: int
    at_ns: int


# req: REQ_0103
@dataclass(frozen=True, slots=True)
class CycleObservation:
    """One scan attempt of a cyclic task; None means not measured, never 0.

    Args:
        cycle_index: Counts from 0, faulted attempts included.
        task_id: The task.
        task_index: Its place in order of registration.
        faulted: The normal logic did not run.
        period_ns: The declared period.
        pre_ns: Start of the scan on the telemetry clock.
        actual_period_ns: Time since the previous start; None for the first.
        jitter_ns: Absolute difference of actual and declared period; None when faulted.
        lateness_ns: Start minus nominal start, positive is late; None when faulted.
        took_ns: Duration of ``execute``; None when it did not run.
        skipped_slots: Grid slots passed over unserved since the previous scan.
    """

    cycle_index: int
    task_id: str
    task_index: int
    faulted: bool
    period_ns: int
    pre_ns: int
    actual_period_ns: int | None
    jitter_ns: int | None
    lateness_ns: int | None
    took_ns: int | None
    skipped_slots: int


# req: REQ_0073
# req: REQ_0073, REQ_0103, TSR_0010
class Observer:
    """Told what happens to an executor and its tasks; override what is of interest.

    With worker threads the ``on_app_*``, ``on_send_event`` and ``on_task_fault`` hooks come from several threads.
    """

    def on_executor_up(self) -> None: ...

    def on_executor_down(self) -> None: ...

    def on_executor_error(self, error: BaseException) -> None:
        """The run ends with ``error``; comes instead of ``on_executor_down``."""

    def on_app_start(self, task_id: str, app_id: str, app_instance_id: int | None) -> None: ...

    def on_app_stop(self, task_id: str, app_id: str, app_instance_id: int | None) -> None: ...

    def on_app_error(self, task_id: str, error: ItemError) -> None:
        """An item failed: its own ItemError, or a PanickedTask around anything unexpected."""

    def on_send_event(self, task_id: str, event: UserEvent) -> None: ...

    def on_task_fault(self, task_id: str, reason: TaskFaultReason) -> None: ...

    def on_task_clear(self, task_id: str) -> None: ...

    def on_executor_fault(self, reason: ExecutorFaultReason) -> None: ...

    def on_executor_clear(self) -> None: ...

    def on_cycle_stats(self, observation: CycleObservation) -> None:
        """Once per scan attempt of each cyclic task, from the dispatch thread, in order of registration."""

    def on_heartbeat(self, tick: HeartbeatTick) -> None: ...

    def on_admission_rejected(self, error: AdmissionRejected) -> None: ...


# req: REQ_0003
# req: REQ_0003, REQ_0031, TSR_0004
class ExecutionMonitor:
    """Told the start and end of each run of a task, as a matched pair; called from the thread that runs it."""

    def pre_execute(self, task_id: str, at_ns: int) -> None: ...

    def post_execute(self, task_id: str, started_at_ns: int, took_ns: int, ok: bool) -> None: ...

    # req: TSR_0004
    def deadline_missed(self, task_id: str, at_ns: int, late_by_ns: int) -> None:
        """No event came in time (TSR_0004); called in the wake that detects it, before the task runs."""


class Hooks:
    """For each hook, the bound methods of those who overrode it."""

    __slots__ = (
        "deadline_missed",
        "on_admission_rejected",
        "on_app_error",
        "on_app_start",
        "on_app_stop",
        "on_cycle_stats",
        "on_executor_clear",
        "on_executor_down",
        "on_executor_error",
        "on_executor_fault",
        "on_executor_up",
        "on_heartbeat",
        "on_send_event",
        "on_task_clear",
        "on_task_fault",
        "post_execute",
        "pre_execute",
    )

    on_executor_up: tuple[Callable[[], object], ...]
    on_executor_down: tuple[Callable[[], object], ...]
    on_executor_error: tuple[Callable[[BaseException], object], ...]
    on_app_start: tuple[Callable[[str, str, int | None], object], ...]
    on_app_stop: tuple[Callable[[str, str, int | None], object], ...]
    on_app_error: tuple[Callable[[str, ItemError], object], ...]
    on_send_event: tuple[Callable[[str, UserEvent], object], ...]
    on_task_fault: tuple[Callable[[str, TaskFaultReason], object], ...]
    on_task_clear: tuple[Callable[[str], object], ...]
    on_executor_fault: tuple[Callable[[ExecutorFaultReason], object], ...]
    on_executor_clear: tuple[Callable[[], object], ...]
    on_cycle_stats: tuple[Callable[[CycleObservation], object], ...]
    on_heartbeat: tuple[Callable[[HeartbeatTick], object], ...]
    on_admission_rejected: tuple[Callable[[AdmissionRejected], object], ...]
    pre_execute: tuple[Callable[[str, int], object], ...]
    post_execute: tuple[Callable[[str, int, int, bool], object], ...]
    deadline_missed: tuple[Callable[[str, int, int], object], ...]

    def __init__(self, observers: list[Any], monitors: list[Any]) -> None:
        for name in self.__slots__:
            base, listeners = (Observer, observers) if name.startswith("on_") else (ExecutionMonitor, monitors)
            setattr(self, name, tuple(getattr(who, name) for who in listeners if _overrides(who, base, name)))


def fan_out(hooks: tuple[Callable[P, object], ...]) -> Callable[P, object] | None:
    """Return one call for all of ``hooks``, in order: None for none, and the hook itself where there is but one."""
    if len(hooks) < 2:
        return hooks[0] if hooks else None

    def tell(*args: P.args, **kwargs: P.kwargs) -> None:
        for hook in hooks:
            hook(*args, **kwargs)

    return tell


def _overrides(listener: object, base: type, name: str) -> bool:
    """Tell whether ``listener`` has a method of its own for the hook; any class may serve."""
    method = getattr(listener, name, None)
    return method is not None and getattr(method, "__func__", method) is not getattr(base, name)
