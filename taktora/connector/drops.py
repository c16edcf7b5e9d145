"""The latch that turns a growing count of inbound drops into one health event; it counts nothing itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from taktora.connector.health import ConnectorHealthKind, HealthEvent, HealthMonitor

__all__ = ["InboundDropLatch", "InboundDrops"]


# req: REQ_0630
@dataclass(frozen=True, slots=True)
class InboundDrops:
    """A full inbound bridge lost messages: ``count`` since the start, of which ``endpoint`` (empty if there is one)."""

    count: int
    endpoint: str = ""

    def __str__(self) -> str:
        text = f"dropped {self.count} inbound frames"
        return f"{text} on {self.endpoint}" if self.endpoint else text


# req: REQ_0608
class InboundDropLatch:
    """Reports :class:`InboundDrops` once, and again only after the connector has been Up anew (REQ_0261).

    Args:
        monitor: Whose moves re-arm the latch.
        threshold: Cumulative count from which on it reports; below 1 counts as 1.
        report: What to do, by default ``monitor.degrade``; a connector with an aggregate raises a condition instead.
        endpoint: Whose bridge it is, for the reason.
    """

    def __init__(
        self,
        monitor: HealthMonitor,
        threshold: int = 1,
        report: Callable[[InboundDrops], object] | None = None,
        endpoint: str = "",
    ) -> None:
        self.threshold = max(1, threshold)
        self._monitor = monitor
        self._endpoint = endpoint
        self._report = monitor.degrade if report is None else report
        self._latched = False
        self._seen = 0
        self._remove = monitor.add_listener(self._rearm)

    def note(self, count: int) -> bool:
        """Take the cumulative ``count``; return whether it was reported. While not Up it only latches."""
        grown, self._seen = count > self._seen, count
        if not grown or count < self.threshold or self._latched:
            return False
        self._latched = True
        if self._monitor.current.kind is not ConnectorHealthKind.UP:
            return False
        self._report(InboundDrops(count, self._endpoint))
        return True

    def close(self) -> None:
        self._remove()

    def _rearm(self, event: HealthEvent) -> None:
        if event.target.kind is ConnectorHealthKind.UP:
            self._latched = False
