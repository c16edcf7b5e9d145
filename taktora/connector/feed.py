"""Fan-out of events to independent bounded subscriptions; nothing is shared out and nobody is waited for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, Generic, TypeVar

from taktora.connector.errors import Disconnected
from taktora.connector.wakeup import Wakeup

__all__ = ["DEFAULT_CAPACITY", "Feed", "Subscription"]

E = TypeVar("E")

DEFAULT_CAPACITY: Final = 256


# req: REQ_0231
class Subscription(Generic[E]):
    """One stream of events from the moment of subscribing on.

    Holds up to ``capacity`` events (default 256, at least 1); when it is full the oldest is dropped and counted in
    :attr:`dropped`, because the newest state is what matters. Two users of one handle compete for its events: subscribe
    twice instead. :attr:`listener` makes an executor item run when events arrive. It is an in-process queue.
    """

    def __init__(self, feed: Feed[E], capacity: int) -> None:
        self._feed = feed
        self._events: deque[E] = deque(maxlen=max(1, capacity))
        self._closed = False
        self.dropped = 0
        self.listener: Final = Wakeup(feed.name)

    def try_next(self) -> E | None:
        """Return the next event, or None when there is none yet.

        Raises:
            Disconnected: the publisher has been closed (or this subscription was) and everything has been taken.
        """
        try:
            return self._events.popleft()
        except IndexError:
            if self._closed:
                raise Disconnected(self._feed.name) from None
            return None

    @property
    def waiting(self) -> int:
        """How many events are there to be taken."""
        return len(self._events)

    def drain(self) -> Iterator[E]:
        """Yield what is there now; ends quietly when it is empty, closed or not."""
        while self._events:
            try:
                event = self._events.popleft()
            except IndexError:
                continue  # the publisher has just made room by taking the last one
            yield event

    def close(self) -> None:
        """Leave the feed; what was received may still be taken."""
        self._feed.unsubscribe(self)
        self._closed = True

    def _offer(self, event: E) -> None:
        if len(self._events) == self._events.maxlen:
            # Taken out by hand and not by the deque, so that the count stays true beside a reader on another thread.
            with suppress(IndexError):  # that reader has just taken everything
                self._events.popleft()
                self.dropped += 1
        self._events.append(event)

    def _end(self) -> None:
        self._closed = True


# req: REQ_0847
class Feed(Generic[E]):
    """The publishing end; safe from any thread. Whoever needs one order for several feeds appends under a lock."""

    def __init__(self, name: str) -> None:
        self.name: Final = name
        self._lock = threading.Lock()
        self._subscriptions: tuple[Subscription[E], ...] = ()
        self._closed = False

    def subscribe(self, capacity: int = DEFAULT_CAPACITY) -> Subscription[E]:
        subscription = Subscription(self, capacity)
        with self._lock:
            if self._closed:
                raise Disconnected(self.name)
            self._subscriptions = (*self._subscriptions, subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription[E]) -> None:
        with self._lock:
            self._subscriptions = tuple(other for other in self._subscriptions if other is not subscription)

    def append(self, event: E) -> None:
        """Give ``event`` to every subscription; the owner calls :meth:`wake` after it has left its lock."""
        with self._lock:
            for subscription in self._subscriptions:
                subscription._offer(event)  # noqa: SLF001 - the two classes are one mechanism

    def wake(self) -> None:
        """Notify the listener of every subscription that has something to take (or to learn that this is the end)."""
        for subscription in self._subscriptions:
            if self._closed or subscription._events:  # noqa: SLF001
                subscription.listener.notify()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for subscription in self._subscriptions:
                subscription._end()  # noqa: SLF001
        self.wake()
