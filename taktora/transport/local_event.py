"""Events inside one process: a notification is a level that stays until drained; it carries no data, never blocks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from taktora.errors import TransportError
from taktora.transport.rules import MAX_LISTENERS, MAX_NOTIFIERS, closed_error, two_wakers

__all__ = ["LocalEvent", "LocalListener", "LocalNotifier"]


class LocalEvent:
    """One event service and the ports on it."""

    pattern = "event"
    __slots__ = ("listeners", "name", "notifiers")

    def __init__(self, name: str) -> None:
        self.name = name
        self.notifiers = 0
        self.listeners: tuple[LocalListener, ...] = ()

    @property
    def idle(self) -> bool:
        """Whether no port is left."""
        return not self.notifiers and not self.listeners


class LocalNotifier:
    """Tells every listener, in the order in which they were opened; any thread may call it."""

    __slots__ = ("_closed", "_event", "_on_close", "service")

    def __init__(self, event: LocalEvent, on_close: Callable[[], None]) -> None:
        _refuse_beyond(event.name, "notifier", event.notifiers, MAX_NOTIFIERS)
        self.service = event.name
        self._event = event
        self._on_close = on_close
        self._closed = False
        event.notifiers += 1

    def notify(self) -> int:
        if self._closed:
            raise closed_error(self.service)
        listeners = self._event.listeners
        for listener in listeners:  # tell, in place
            listener._pending.append(None)  # noqa: SLF001 - the two classes are one mechanism
            waker = listener._waker  # noqa: SLF001
            if waker is not None:
                waker()
        return len(listeners)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._event.notifiers -= 1
        self._on_close()


class LocalListener:
    """Pending or not; a one-place deque makes telling and draining atomic without a lock."""

    __slots__ = ("_closed", "_event", "_on_close", "_pending", "_waker", "service")

    native: object | None = None

    def __init__(self, event: LocalEvent, on_close: Callable[[], None]) -> None:
        _refuse_beyond(event.name, "listener", len(event.listeners), MAX_LISTENERS)
        self.service = event.name
        self._event = event
        self._on_close = on_close
        self._pending: deque[None] = deque(maxlen=1)
        self._waker: Callable[[], None] | None = None
        self._closed = False
        event.listeners = (*event.listeners, self)

    def tell(self) -> None:
        """Set the level, then wake; in this order no notification can be lost between a drain and a wait."""
        self._pending.append(None)
        waker = self._waker
        if waker is not None:
            waker()

    def set_waker(self, waker: Callable[[], None] | None) -> None:
        if waker is not None and self._waker is not None:
            raise two_wakers(self.service)
        self._waker = waker
        if waker is not None and self._pending:
            waker()

    def drain(self) -> bool:
        if self._closed:
            raise closed_error(self.service)
        try:
            self._pending.pop()
        except IndexError:
            return False
        return True

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._waker = None
        self._event.listeners = tuple(other for other in self._event.listeners if other is not self)
        self._on_close()


def _refuse_beyond(service: str, kind: str, present: int, limit: int) -> None:
    if present >= limit:
        raise TransportError(f"event service {service}: {present} {kind}s are open and {limit} is the limit")
