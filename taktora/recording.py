"""The recording seam: what an application shows besides its messages (signals, events); it never changes a run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, Literal, Protocol, TypeAlias

__all__ = ["SEVERITIES", "LogRecorder", "Recorder", "Severity"]

Severity: TypeAlias = Literal["info", "warning", "alarm"]

SEVERITIES: Final[tuple[Severity, ...]] = ("info", "warning", "alarm")
_LEVELS: Final = {"info": logging.INFO, "warning": logging.WARNING, "alarm": logging.ERROR}


class Recorder(Protocol):
    """Takes what a run page or a log shows."""

    def signal(self, name: str, unit: str = "") -> Callable[[float], None]:
        """Return the function that records a new value of the signal ``name`` now."""
        ...

    def event(self, text: str, severity: Severity = "info") -> None:
        """Record that something worth reading happened now."""
        ...

    def watch(self, monitor: Any) -> None:
        """Follow the health of a connector (a ``HealthMonitor``) from now on."""
        ...


class LogRecorder:
    """The recorder of the real worlds: events go to the ``taktora.app`` logger, signals are not kept.

    An outage is told once for each reason that it has, with the time of the next attempt to reconnect, not again at
    each attempt, and so is its end.
    """

    def __init__(self) -> None:
        self._log = logging.getLogger("taktora.app")
        self._outages: dict[str, set[str]] = {}

    def signal(self, name: str, unit: str = "") -> Callable[[float], None]:  # noqa: ARG002 - the seam's signature
        return _ignore

    def event(self, text: str, severity: Severity = "info") -> None:
        self._log.log(_LEVELS[severity], "%s", text)

    def watch(self, monitor: Any) -> None:
        monitor.add_listener(lambda event: self._tell(monitor.name, event.target))

    def _tell(self, connector: str, health: Any) -> None:
        state, reason = health.kind.value, getattr(health, "reason", None)
        told = self._outages.setdefault(connector, set())
        if told and (state == "Connecting" or str(reason) in told):
            return  # one more attempt in an outage that is told of already
        again = " again" if told and state == "Up" else ""
        if state == "Down":
            told.add(str(reason))
        else:
            told.clear()
        level = logging.INFO if reason is None else logging.WARNING
        why = "" if reason is None else f": {reason}{getattr(health, 'outlook', '')}"
        self._log.log(level, "%s is %s%s%s", connector, state, again, why)


def _ignore(_value: float) -> None:
    """Keep nothing."""
