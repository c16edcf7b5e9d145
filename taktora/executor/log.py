"""An observer that writes to the standard logging module; it configures no handler (REQ_0073, TEST_0822)."""

from __future__ import annotations

import logging

from taktora.errors import ItemError
from taktora.executor.faults import BudgetExceeded, ExecutorFaultReason, TaskFaultReason
from taktora.executor.observer import Observer, UserEvent

__all__ = ["LoggingObserver"]

_EXECUTOR = logging.getLogger("taktora.executor")
_APP = logging.getLogger("taktora.app")
_USER = logging.getLogger("taktora.user")
_FAULT = logging.getLogger("taktora.fault")


class LoggingObserver(Observer):
    """Logs to ``taktora.executor``, ``taktora.app``, ``taktora.user`` and ``taktora.fault``.

    Fields travel in ``extra`` too: ``task``, ``app``, ``reason``, ``took_ms``, ``budget_ms``, ``task_index``, ``kind``.
    """

    def on_executor_up(self) -> None:
        _EXECUTOR.info("executor up")

    def on_executor_down(self) -> None:
        _EXECUTOR.info("executor down")

    def on_executor_error(self, error: BaseException) -> None:
        _EXECUTOR.error("executor error: %s", error)

    def on_app_start(self, task_id: str, app_id: str, app_instance_id: int | None) -> None:
        _APP.debug(
            "app %s/%s started in task %s", app_id, app_instance_id, task_id, extra={"task": task_id, "app": app_id}
        )

    def on_app_stop(self, task_id: str, app_id: str, app_instance_id: int | None) -> None:
        _APP.debug(
            "app %s/%s stopped in task %s", app_id, app_instance_id, task_id, extra={"task": task_id, "app": app_id}
        )

    def on_app_error(self, task_id: str, error: ItemError) -> None:
        _APP.error("task %s: %s", task_id, error, extra={"task": task_id})

    def on_send_event(self, task_id: str, event: UserEvent) -> None:
        extra = {"task": task_id, "kind": event.kind}
        _USER.info("task %s sent event %d: %d %s", task_id, event.kind, event.int_data, event.string_data, extra=extra)

    def on_task_fault(self, task_id: str, reason: TaskFaultReason) -> None:
        name = type(reason).__name__
        extra: dict[str, object] = {"task": task_id, "reason": name}
        if isinstance(reason, BudgetExceeded):
            extra |= {"took_ms": reason.took_ms, "budget_ms": reason.budget_ms}
        _FAULT.warning("task %s faulted: %s", task_id, reason, extra=extra)

    def on_task_clear(self, task_id: str) -> None:
        _FAULT.info("task %s cleared", task_id, extra={"task": task_id})

    def on_executor_fault(self, reason: ExecutorFaultReason) -> None:
        extra = {
            "reason": type(reason).__name__,
            "task_index": reason.task_index,
            "took_ms": reason.took_ms,
            "budget_ms": reason.budget_ms,
        }
        _FAULT.warning("executor faulted: %s", reason, extra=extra)

    def on_executor_clear(self) -> None:
        _FAULT.info("executor cleared")
