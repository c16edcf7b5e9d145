"""Inbound drops: how many each channel has lost, and the latch that makes one health event of a growing count."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from taktora.connector.health import ConnectorHealthKind, HealthEvent, HealthMonitor

__all__ = ["ChannelDrops", "InboundDropLatch", "InboundDrops"]


# req: REQ_0630
@dataclass(frozen=True, slots=True)
class InboundDrops:
    """A full inbound bridge lost messages: ``count`` since the start.

    ``endpoint`` is empty if there is only one; ``channel`` is empty for what was for no channel in particular.
    """

    count: int
    endpoint: str = ""
    channel: str = ""

    def __str__(self) -> str:
        channel = f" of {self.channel}" if self.channel else ""
        endpoint = f" on {self.endpoint}" if self.endpoint else ""
        return f"dropped {self.count} inbound frames{channel}{endpoint}"


# req: REQ_0608
class ChannelDrops:
    """Counts the dropped messages of each channel, since the start; a message may have been for several of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self.grown: set[str] = set()
        """Channels whose counts have grown since :meth:`take_grown`; asked for at every inbound wake."""

    def add(self, channels: Sequence[str]) -> int:
        """Count one dropped message for each channel that it was for (any thread); return the largest of their counts.

        One that was for no channel in particular counts for the channel "".
        """
        with self._lock:
            for channel in channels or ("",):
                self._counts[channel] = self._counts.get(channel, 0) + 1
                self.grown.add(channel)
            return max(self._counts[channel] for channel in channels or ("",))

    def of(self, channel: str = "") -> int:
        """Return how many messages ``channel`` has lost."""
        return self._counts.get(channel, 0)

    def take_grown(self) -> dict[str, int]:
        """Return the counts, by name and in its order, that have grown since the last call."""
        with self._lock:
            grown = {channel: self._counts[channel] for channel in sorted(self.grown)}
            self.grown.clear()
        return grown


# req: REQ_0608
class InboundDropLatch:
    """Reports :class:`InboundDrops` once, and again only after the connector has been Up anew (REQ_0261).

    Args:
        monitor: Whose moves re-arm the latch.
        threshold: Cumulative count from which on it reports; below 1 counts as 1.
        report: What to do, by default ``monitor.degrade``; a connector with an aggregate raises a condition instead.
        endpoint: Whose bridge it is, for the reason.
        channel: Which of its channels, for the reason.
    """

    def __init__(
        self,
        monitor: HealthMonitor,
        threshold: int = 1,
        report: Callable[[InboundDrops], object] | None = None,
        endpoint: str = "",
        channel: str = "",
    ) -> None:
        self.threshold = max(1, threshold)
        self._monitor = monitor
        self._endpoint = endpoint
        self._channel = channel
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
        self._report(InboundDrops(count, self._endpoint, self._channel))
        return True

    def close(self) -> None:
        self._remove()

    def _rearm(self, event: HealthEvent) -> None:
        if event.target.kind is ConnectorHealthKind.UP:
            self._latched = False
