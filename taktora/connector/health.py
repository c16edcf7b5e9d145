"""The health of a connector: four states, one table of moves, one event per move; it decides nothing by itself."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar, Final, NamedTuple, TypeAlias

from taktora.clock import Clock
from taktora.connector.feed import DEFAULT_CAPACITY, Feed, Subscription
from taktora.errors import IllegalTransition

__all__ = [
    "LEGAL_TRANSITIONS",
    "Connecting",
    "ConnectorHealth",
    "ConnectorHealthKind",
    "Degraded",
    "Down",
    "HealthEvent",
    "HealthMonitor",
    "HealthSubscription",
    "HeartbeatEvent",
    "Up",
]


class ConnectorHealthKind(Enum):
    """Which of the four states a :data:`ConnectorHealth` is."""

    UP = "Up"
    CONNECTING = "Connecting"
    DEGRADED = "Degraded"
    DOWN = "Down"


@dataclass(frozen=True, slots=True)
class Up:
    """Messages flow."""

    kind: ClassVar[ConnectorHealthKind] = ConnectorHealthKind.UP


@dataclass(frozen=True, slots=True)
class Connecting:
    """The stack is being brought up, since ``since_ns`` on the connector's monotonic clock.

    ``reason`` says why it may be in vain, where that is known: any value with a text form, None otherwise.
    """

    since_ns: int
    reason: object = None
    kind: ClassVar[ConnectorHealthKind] = ConnectorHealthKind.CONNECTING


@dataclass(frozen=True, slots=True)
class Degraded:
    """Messages flow, not all of them or not well. ``reason`` is any value with a text form."""

    reason: object
    kind: ClassVar[ConnectorHealthKind] = ConnectorHealthKind.DEGRADED


@dataclass(frozen=True, slots=True)
class Down:
    """Nothing flows since ``since_ns``; sends are refused with ``LinkDown``.

    ``retry_at_ns`` is when the gateway next tries to connect, if it does so by itself; ``is_final`` says that nothing
    is tried any more in this process. Neither tells two of them apart.
    """

    reason: object
    since_ns: int
    retry_at_ns: int | None = field(default=None, compare=False)
    is_final: bool = field(default=False, compare=False)
    kind: ClassVar[ConnectorHealthKind] = ConnectorHealthKind.DOWN

    @property
    def outlook(self) -> str:
        """What follows the reason in a log: ``; next try in 0.1 s``, counted from ``since_ns``; "" if not known."""
        if self.is_final:
            return "; nothing is tried any more: put it right and start the process again"
        if self.retry_at_ns is None:
            return ""
        return f"; next try in {max(0, self.retry_at_ns - self.since_ns) / 1e9:.3g} s"


# req: REQ_0230
ConnectorHealth: TypeAlias = Up | Connecting | Degraded | Down

_UP, _CONNECTING = ConnectorHealthKind.UP, ConnectorHealthKind.CONNECTING
_DEGRADED, _DOWN = ConnectorHealthKind.DEGRADED, ConnectorHealthKind.DOWN

LEGAL_TRANSITIONS: Final = frozenset(
    {
        (_CONNECTING, _UP),
        (_CONNECTING, _DEGRADED),
        (_CONNECTING, _DOWN),
        (_UP, _DEGRADED),
        (_UP, _DOWN),
        (_DEGRADED, _UP),
        (_DEGRADED, _CONNECTING),
        (_DEGRADED, _DOWN),
        (_DOWN, _CONNECTING),
    }
)
"""The nine moves of ARCH_0012. Staying in a state is not one of them."""


class HealthEvent(NamedTuple):
    """One move: the state left, the state entered, and when (monotonic ns of the connector's clock)."""

    source: ConnectorHealth
    target: ConnectorHealth
    at_ns: int


class HeartbeatEvent(NamedTuple):
    """One sign of life of the executor behind the connector (TSR_0010); never dressed up as a health event."""

    sequence_number: int
    at_ns: int
    health: ConnectorHealth


HealthSubscription: TypeAlias = Subscription[HealthEvent]


# req: REQ_0234, TSR_0006
class HealthMonitor:
    """The one place where a connector's health changes; safe to use from any thread.

    Every accepted move is appended, under one lock, to every open subscription, so that all see one order. Listeners
    run in that order too, outside the lock, on the thread of one of the movers; what a listener raises goes to it.
    """

    def __init__(self, name: str, clock: Clock) -> None:
        self.name: Final = name
        self._clock = clock
        self._lock = threading.Lock()
        self._current: ConnectorHealth = Connecting(clock.now_ns())
        self._events: Feed[HealthEvent] = Feed(f"health of {name!r}")
        self._heartbeats: Feed[HeartbeatEvent] = Feed(f"heartbeats of {name!r}")
        self._listeners: tuple[Callable[[HealthEvent], None], ...] = ()
        self._untold: deque[HealthEvent] = deque()
        self._telling = threading.Lock()

    @property
    def current(self) -> ConnectorHealth:
        return self._current

    def transition_to(self, target: ConnectorHealth) -> HealthEvent:
        """Move to ``target`` and return the event.

        Raises:
            IllegalTransition: the table has no such move (staying included); nothing changed and nobody was told.
        """
        outcome = self.try_transition_to(target)
        if isinstance(outcome, IllegalTransition):
            raise outcome
        return outcome

    def try_transition_to(self, target: ConnectorHealth) -> HealthEvent | IllegalTransition:
        """Move to ``target`` if that is legal; otherwise return (not raise) the refusal that names both kinds."""
        with self._lock:
            outcome = self._move(target)
        if isinstance(outcome, HealthEvent):
            self._tell()
        return outcome

    def settle(self, target: ConnectorHealth, lost: object = "connection lost") -> tuple[HealthEvent, ...]:
        """Reach ``target`` over legal moves and return their events; none if it is of the current kind.

        Then it takes the place of the current one all the same: :attr:`current` has the reason that holds now.
        For callers that compute a state instead of following moves (aggregates). The table lacks three moves; they go
        over Connecting (from Down) or over Degraded with reason ``lost`` (from Up to Connecting).
        """
        with self._lock:
            events = tuple(self._walk(target, lost))
        self._tell()
        return events

    def degrade(self, reason: object) -> HealthEvent | None:
        """Enter Degraded from Up or Connecting; in Degraded and Down the fault adds nothing to say."""
        outcome = self.try_transition_to(Degraded(reason))
        return outcome if isinstance(outcome, HealthEvent) else None

    # req: REQ_0231, REQ_0847
    def subscribe(self, capacity: int = DEFAULT_CAPACITY) -> HealthSubscription:
        """Return an independent stream of every move from now on (REQ_0847)."""
        return self._events.subscribe(capacity)

    def subscribe_heartbeats(self, capacity: int = DEFAULT_CAPACITY) -> Subscription[HeartbeatEvent]:
        return self._heartbeats.subscribe(capacity)

    def add_listener(self, listener: Callable[[HealthEvent], None]) -> Callable[[], None]:
        """Have ``listener`` called at each move from now on; the returned function takes it off again."""
        with self._lock:
            self._listeners = (*self._listeners, listener)

        def remove() -> None:
            with self._lock:
                self._listeners = tuple(other for other in self._listeners if other is not listener)

        return remove

    # req: TSR_0010
    def beat(self, sequence_number: int, at_ns: int) -> None:
        """Pass on a heartbeat of the executor."""
        self._heartbeats.append(HeartbeatEvent(sequence_number, at_ns, self._current))
        self._heartbeats.wake()

    def close(self) -> None:
        """End every stream: subscribers take what is left and then see ``Disconnected``."""
        self._events.close()
        self._heartbeats.close()

    def _walk(self, target: ConnectorHealth, lost: object) -> list[HealthEvent]:
        source = self._current
        if source.kind is target.kind:
            self._current = target
            return []
        events = []
        if (source.kind, target.kind) not in LEGAL_TRANSITIONS:
            over: ConnectorHealth = Degraded(lost) if source.kind is _UP else Connecting(self._clock.now_ns())
            events.append(self._move(over))
        events.append(self._move(target))
        return [event for event in events if isinstance(event, HealthEvent)]

    def _move(self, target: ConnectorHealth) -> HealthEvent | IllegalTransition:
        source = self._current
        if (source.kind, target.kind) not in LEGAL_TRANSITIONS:
            return IllegalTransition(source.kind.value, target.kind.value, f"health of {self.name!r}")
        event = HealthEvent(source, target, self._clock.now_ns())
        self._current = target
        self._events.append(event)
        self._untold.append(event)
        return event

    def _tell(self) -> None:
        self._events.wake()
        # One mover at a time tells; the others leave their events to it. The outer test catches what arrives between
        # the last look at the queue and the release.
        while self._untold and self._telling.acquire(blocking=False):
            try:
                while self._untold:
                    event = self._untold.popleft()
                    for listener in self._listeners:
                        listener(event)
            finally:
                self._telling.release()
