"""Bounded queues between protocol callbacks and gateway items; they hold, count and wake, and never block."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypeVar

from taktora.connector.errors import Disconnected
from taktora.connector.gate import SendGate
from taktora.connector.wakeup import Wakeup
from taktora.errors import BackPressure

__all__ = ["Dropped", "InboundBridge", "InboundOutcome", "OutboundBridge", "Sent"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sent:
    """The message is in the bridge."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """The bridge was full and the new message is lost; ``count`` of them so far."""

    count: int


InboundOutcome: TypeAlias = Sent | Dropped

_SENT: Final = Sent()


class _Bridge(Generic[T]):
    """What both directions share: a deque under a lock, a wake-up, an end."""

    def __init__(self, name: str, capacity: int) -> None:
        self.name: Final = name
        self.capacity: Final = max(1, capacity)
        self.listener: Final = Wakeup(name)
        self._lock = threading.Lock()
        self._items: deque[T] = deque()
        self.waiting: Final = self._items
        """What has not been taken yet, to be looked at only."""
        self._closed = False

    def __len__(self) -> int:
        return len(self._items)

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def full(self) -> bool:
        return len(self._items) >= self.capacity

    def take(self) -> T | None:
        """Return the oldest message, or None when there is none now.

        Raises:
            Disconnected: the bridge is closed and everything has been taken.
        """
        with self._lock:
            if self._items:
                item = self._items.popleft()
                self._made_room()
                return item
            if self._closed:
                raise Disconnected(self.name)
        return None

    def drain(self) -> Iterator[T]:
        """Yield messages until none is left; ends quietly on a closed bridge."""
        while self._items:
            item = self.take()
            if item is not None:
                yield item

    def close(self) -> None:
        """Refuse further messages; what is inside may still be taken. Wakes the taker. Idempotent."""
        with self._lock:
            self._closed = True
        self.listener.notify()

    def _made_room(self) -> None:
        """Called under the lock after a message was taken."""


# req: REQ_0606, REQ_0608
class InboundBridge(_Bridge[T]):
    """From protocol callbacks (any thread) to the gateway's inbound item.

    When full the *new* message is dropped and counted: what is inside is older and comes first.
    """

    def __init__(self, name: str, capacity: int = 256) -> None:
        super().__init__(name, capacity)
        self.dropped = 0

    def put(self, item: T) -> InboundOutcome:
        """Store ``item`` and wake the taker; never blocks.

        Raises:
            Disconnected: the bridge is closed.
        """
        with self._lock:
            if self._closed:
                raise Disconnected(self.name)
            if len(self._items) < self.capacity:
                self._items.append(item)
                outcome: InboundOutcome = _SENT
            else:
                self.dropped += 1
                outcome = Dropped(self.dropped)
        self.listener.notify()
        return outcome

    def take(self) -> T | None:
        try:
            return self._items.popleft()  # one atomic step; the lock is for the end only
        except IndexError:
            return super().take()


# req: REQ_0606, REQ_0607
class OutboundBridge(_Bridge[T]):
    """From the gateway's outbound item to the protocol seam.

    The head stays inside until :meth:`take`, so that a message the stack could not accept is retried and not lost.
    While the bridge is full its gate holds the writers back (REQ_0260, REQ_0607).
    """

    def __init__(self, name: str, capacity: int = 256, gate: SendGate | None = None) -> None:
        super().__init__(name, capacity)
        self._gate = gate

    def try_send(self, item: T) -> None:
        """Store ``item`` and wake the taker.

        Raises:
            BackPressure: the bridge is full; the caller still has the message.
            Disconnected: the bridge is closed.
        """
        with self._lock:
            if self._closed:
                raise Disconnected(self.name)
            if len(self._items) >= self.capacity:
                raise BackPressure(f"{self.name} is full with {self.capacity} messages; try again once one was taken")
            self._items.append(item)
            if self._gate is not None and len(self._items) == self.capacity:
                self._gate.hold(f"{self.name} is full with {self.capacity} messages")
        self.listener.notify()

    def peek(self) -> T | None:
        """Return the oldest message and leave it inside; None when there is none."""
        items = self._items
        return items[0] if items else None  # nobody but the caller takes the head away

    def _made_room(self) -> None:
        if self._gate is not None and self._gate.back_pressured:
            self._gate.relieve()
