"""Health moves and executor callbacks as records of the standard logging module; off unless asked for (REQ_0273)."""

from __future__ import annotations

import logging

from taktora.connector.health import ConnectorHealthKind, HealthEvent, HealthMonitor
from taktora.executor import ExecutionMonitor, Observer

__all__ = ["LoggingAdapter"]

_LEVELS = {
    ConnectorHealthKind.UP: logging.INFO,
    ConnectorHealthKind.CONNECTING: logging.INFO,
    ConnectorHealthKind.DEGRADED: logging.WARNING,
    ConnectorHealthKind.DOWN: logging.ERROR,
}


# req: REQ_0273
class LoggingAdapter(Observer, ExecutionMonitor):
    """Forwards to ``logger``: health moves (level by the state entered), errors, missed deadlines, runs at DEBUG."""

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logging.getLogger("taktora.connector") if logger is None else logger

    def watch(self, monitor: HealthMonitor) -> None:
        """Log the moves of one connector from now on."""
        name = monitor.name

        def log(event: HealthEvent) -> None:
            source, target = event.source.kind, event.target.kind
            reason = getattr(event.target, "reason", "")
            suffix = f": {reason}{getattr(event.target, 'outlook', '')}" if reason else ""
            self._logger.log(_LEVELS[target], "%s: %s -> %s%s", name, source.value, target.value, suffix)

        monitor.add_listener(log)

    def on_executor_error(self, error: BaseException) -> None:
        self._logger.error("executor ends with %s: %s", type(error).__name__, error)

    def post_execute(self, task_id: str, started_at_ns: int, took_ns: int, ok: bool) -> None:
        self._logger.debug("%s ran at %d ns for %d ns, ok=%s", task_id, started_at_ns, took_ns, ok)

    def deadline_missed(self, task_id: str, at_ns: int, late_by_ns: int) -> None:  # noqa: ARG002
        self._logger.warning("%s: deadline missed by %d ns", task_id, late_by_ns)
