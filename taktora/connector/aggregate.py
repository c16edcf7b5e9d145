"""One health out of several: endpoints that have states of their own, and passing conditions; it never emits itself."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Final

from taktora.clock import Clock
from taktora.connector.health import (
    LEGAL_TRANSITIONS,
    Connecting,
    ConnectorHealth,
    ConnectorHealthKind,
    Degraded,
    Down,
    HealthMonitor,
    Up,
)
from taktora.connector.wakeup import Wakeup
from taktora.errors import ConfigurationError, IllegalTransition

__all__ = ["HealthAggregate", "worst_of"]

_FOREVER: Final = None


# req: REQ_0630
def worst_of(endpoints: Iterable[tuple[str, ConnectorHealth]]) -> ConnectorHealth:
    """Return the health of a connector with these (name, health) endpoints.

    All Up, or Up and Connecting mixed: Up. Any Degraded, or some Down beside one that is Up: Degraded. All Down: Down.
    None Up and none Degraded: Connecting. One that is Connecting and has a reason counts as Down beside one that is Up.
    The reason is the worst endpoint's own; a plain text gets its name in front.
    """
    pairs = list(endpoints)
    kinds = {health.kind for _, health in pairs}
    if kinds == {ConnectorHealthKind.DOWN}:
        return _all_down(pairs)
    connecting = [health for _, health in pairs if isinstance(health, Connecting)]
    has_reason = any(health.reason is not None for health in connecting)
    is_up, is_down = ConnectorHealthKind.UP in kinds, ConnectorHealthKind.DOWN in kinds
    if ConnectorHealthKind.DEGRADED in kinds or (is_up and (is_down or has_reason)):
        return Degraded(_first_fault(pairs))
    if is_up:
        return Up()
    reason = _first_fault(pairs) if has_reason else None
    return Connecting(min((health.since_ns for health in connecting), default=0), reason)


def _all_down(pairs: list[tuple[str, ConnectorHealth]]) -> Down:
    downs = [health for _, health in pairs if isinstance(health, Down)]
    tries_ns = [health.retry_at_ns for health in downs if health.retry_at_ns is not None]
    is_final = all(health.is_final for health in downs)
    return Down(_first_fault(pairs), max(health.since_ns for health in downs), min(tries_ns, default=None), is_final)


def _first_fault(pairs: Iterable[tuple[str, ConnectorHealth]]) -> object:
    """Down goes before Connecting in vain, and that before Degraded; among equals the first endpoint speaks."""
    pairs = list(pairs)
    for kind in (Down, Connecting, Degraded):
        for name, health in pairs:
            if isinstance(health, kind) and health.reason is not None:
                return f"{name}: {health.reason}" if isinstance(health.reason, str) and name else health.reason
    return "connection lost"


# req: REQ_0635
class HealthAggregate:
    """Keeps endpoint states and conditions, and moves a :class:`HealthMonitor` whenever their worst-of changes kind.

    An *endpoint* (an interface, a broker link) walks the nine moves by itself. A *condition* (integrity fault, inbound
    drops, full bridge) holds the connector at Degraded while it is raised although the endpoints are Up or
    Connecting; it has an end or is cleared. :meth:`expire` is called by whoever owns the timer; :attr:`changed` wakes
    it.

    Safe to use from any thread.
    """

    def __init__(self, monitor: HealthMonitor, clock: Clock, endpoints: Iterable[str] = ("",)) -> None:
        self.monitor: Final = monitor
        self.changed: Final = Wakeup(f"conditions of {monitor.name!r}")
        self._clock = clock
        self._lock = threading.RLock()
        now_ns = clock.now_ns()
        self._endpoints: dict[str, ConnectorHealth] = {name: Connecting(now_ns) for name in endpoints}
        self._conditions: dict[str, tuple[object, int | None]] = {}
        self._failed = False
        if not self._endpoints:
            raise ConfigurationError(f"connector {monitor.name!r}: an aggregate needs at least one endpoint")

    def endpoint(self, name: str = "") -> ConnectorHealth:
        return self._endpoints[name]

    def move(self, target: ConnectorHealth, endpoint: str = "") -> bool:
        """Move one endpoint; False if it is of that kind already, and then only its reason is the new one.

        Raises:
            IllegalTransition: the table of nine has no such move.
        """
        with self._lock:
            source = self._endpoints[endpoint]
            if source.kind is target.kind:
                if source != target:
                    self._endpoints[endpoint] = target
                    self._settle()
                return False
            if (source.kind, target.kind) not in LEGAL_TRANSITIONS:
                machine = f"health of {self.monitor.name!r} {endpoint}".rstrip()
                raise IllegalTransition(source.kind.value, target.kind.value, machine)
            self._endpoints[endpoint] = target
            self._settle()
            return True

    def raise_condition(self, name: str, reason: object, for_ns: int | None = None) -> None:
        """Hold the connector at Degraded, for ``for_ns`` from now or until :meth:`clear_condition` (None)."""
        with self._lock:
            self._conditions[name] = (reason, None if for_ns is None else self._clock.now_ns() + for_ns)
            self._settle()
        self.changed.notify()

    def prolong_condition(self, name: str, for_ns: int) -> None:
        """Let a raised condition end ``for_ns`` from now: its cause goes on. Does nothing to one that is not raised."""
        with self._lock:
            if name in self._conditions:
                self._conditions[name] = (self._conditions[name][0], self._clock.now_ns() + for_ns)
        self.changed.notify()

    def clear_condition(self, name: str) -> None:
        with self._lock:
            if self._conditions.pop(name, _FOREVER) is not None:
                self._settle()

    # req: REQ_0296
    def fail(self, reason: object) -> None:
        """Be Down for good: the gateway that would move the endpoints and end the conditions has failed."""
        with self._lock:
            self._failed = True
            self.monitor.settle(Down(reason, self._clock.now_ns(), is_final=True))

    def expire(self, now_ns: int) -> int | None:
        """Clear the conditions whose time is over; return when the next one ends, None if none will."""
        with self._lock:
            over = [name for name, (_, end_ns) in self._conditions.items() if end_ns is not None and end_ns <= now_ns]
            for name in over:
                del self._conditions[name]
            if over:
                self._settle()
            return min((end_ns for _, end_ns in self._conditions.values() if end_ns is not None), default=None)

    def _settle(self) -> None:
        if self._failed:
            return
        health = worst_of(self._endpoints.items())
        if health.kind in (ConnectorHealthKind.UP, ConnectorHealthKind.CONNECTING) and self._conditions:
            health = Degraded(next(iter(self._conditions.values()))[0])
        self.monitor.settle(health, _first_fault(self._endpoints.items()))
