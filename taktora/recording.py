"""The recording seam: what an application shows besides its messages (signals, events); it never changes a run."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Literal, Protocol, TypeAlias

__all__ = ["SEVERITIES", "LogRecorder", "Recorder", "Severity"]

Severity: TypeAlias = Literal["info", "warning", "alarm"]
Later: TypeAlias = Callable[[float, Callable[[], None]], object]

SEVERITIES: Final[tuple[Severity, ...]] = ("info", "warning", "alarm")
_LEVELS: Final = {"info": logging.INFO, "warning": logging.WARNING, "alarm": logging.ERROR}
_MOST_LINES: Final = 6  # three times to and fro
_WINDOW_S: Final = 1


class Recorder(Protocol):
    """Takes what a run page or a log shows; ``app`` is the App that speaks, empty for a scenario or a test."""

    def signal(self, name: str, unit: str = "", app: str = "") -> Callable[[float], None]:
        """Return the function that records a new value of the signal ``name`` now."""
        ...

    def event(self, text: str, severity: Severity = "info", app: str = "") -> None:
        """Record that something worth reading happened now, in words of the user's own."""
        ...

    def notice(self, text: str, severity: Severity = "info") -> None:
        """Show what the framework has to say: like an event, but no part of a trace, as it may quote an exception."""
        ...

    def watch(self, monitor: Any) -> None:
        """Follow the health of a connector (a ``HealthMonitor``) from now on."""
        ...


class LogRecorder:
    """The recorder of the real worlds: events go to the ``taktora.app`` logger, signals are not kept.

    An outage is told once for each reason that it has, with the time of the next attempt to reconnect, not again at
    each attempt, and so is its end. Health that goes to and fro is told line by line for three times within one second,
    from then on by one line per second until a second has passed without a move. A final Down is an error and told at
    once.

    Args:
        later: Calls a function after so many seconds, in any thread.
    """

    def __init__(self, later: Later | None = None) -> None:
        self._log = logging.getLogger("taktora.app")
        self._later = _call_later if later is None else later

    def signal(self, name: str, unit: str = "", app: str = "") -> Callable[[float], None]:  # noqa: ARG002 - the seam's
        return _ignore

    def event(self, text: str, severity: Severity = "info", app: str = "") -> None:  # noqa: ARG002 - the seam's
        self.notice(text, severity)

    def notice(self, text: str, severity: Severity = "info") -> None:
        self._log.log(_LEVELS[severity], "%s", text)

    def watch(self, monitor: Any) -> None:
        monitor.add_listener(_HealthLog(monitor.name, self._log, self._later).tell)


# req: REQ_8510
class _HealthLog:
    """The lines on the health of one connector; told by any thread."""

    def __init__(self, connector: str, log: logging.Logger, later: Later) -> None:
        self._connector = connector
        self._log = log
        self._later = later
        self._lock = threading.Lock()
        self._outage: set[str] = set()
        self._hinted: set[str] = set()
        self._told_ns: deque[int] = deque(maxlen=_MOST_LINES)
        self._is_muted = False
        self._unsaid = 0
        self._newest = ""

    def tell(self, event: Any) -> None:
        """Say what a move of health (a ``HealthEvent``) is, or count it."""
        health = event.target
        state, reason = health.kind.value, getattr(health, "reason", None)
        with self._lock:
            if self._outage and (state == "Connecting" or str(reason) in self._outage):
                return  # one more attempt in an outage that is told of already
            again = " again" if self._outage and state == "Up" else ""
            if state == "Down":
                self._outage.add(str(reason))
            else:
                self._outage.clear()
            why = "" if reason is None else f": {reason}{getattr(health, 'outlook', '')}"
            is_final = getattr(health, "is_final", False)
            level = logging.ERROR if is_final else logging.INFO if reason is None else logging.WARNING
            self._say(event.at_ns, level, f"is {state}{again}{why}", self._hint(reason), must=is_final)

    def _hint(self, reason: object) -> str:
        """Return what may help against the cause, the first time."""
        hint = getattr(reason, "hint", "")
        if not hint or hint in self._hinted:
            return ""
        self._hinted.add(hint)
        return f" ({hint})"

    def _say(self, at_ns: int, level: int, text: str, hint: str, must: bool) -> None:
        if not must and (self._is_muted or self._is_too_much(at_ns)):
            self._unsaid += 1
            self._newest = text
            if not self._is_muted:
                self._is_muted = True
                self._later(_WINDOW_S, self._sum_up)
            return
        self._told_ns.append(at_ns)
        self._log.log(level, "%s %s%s", self._connector, text, hint)

    def _is_too_much(self, at_ns: int) -> bool:
        return len(self._told_ns) == _MOST_LINES and at_ns - self._told_ns[0] < _WINDOW_S * 1_000_000_000

    def _sum_up(self) -> None:
        """Say how often health has moved since; go on as before where it no longer does."""
        with self._lock:
            count, self._unsaid = self._unsaid, 0
            if not count:
                self._is_muted = False
                return
            moved = f"health moved {count} more {'time' if count == 1 else 'times'} in {_WINDOW_S} s"
            self._log.warning("%s: %s; at the end it %s", self._connector, moved, self._newest)
            self._later(_WINDOW_S, self._sum_up)


def _call_later(delay_s: float, call: Callable[[], None]) -> None:
    timer = threading.Timer(delay_s, call)
    timer.daemon = True
    timer.start()


def _ignore(_value: float) -> None:
    """Keep nothing."""
