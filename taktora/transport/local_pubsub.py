"""Publish-subscribe inside one process: counted slots handed from a publisher to its subscribers; never blocks long.

A slot is a preallocated bytearray. A publish appends it to the queue of each subscriber with room; the last holder
gives it back to its publisher. All counting happens under the service's lock, which is held for a few hundred
nanoseconds, so ports of one service may live in different threads. In one thread everything is deterministic.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock

from taktora.transport.base import Delivery, PayloadType, ServiceSettings
from taktora.transport.rules import closed_error, full_error, loan_error, overflow_error

__all__ = ["LocalPublisher", "LocalService", "LocalSlicePublisher", "LocalSliceSubscriber", "LocalSubscriber", "Slot"]


class Slot:
    """One sample's memory, how many hold it, and where it goes when nobody does.

    ``visible_ns`` is for ports of a simulated world: when readers may see the sample, 0 for at once.
    """

    __slots__ = ("data", "holders", "home", "length", "sequence_number", "timestamp_ns", "view", "visible_ns", "whole")

    def __init__(self, size_bytes: int, home: list[Slot]) -> None:
        self.data = bytearray(size_bytes)
        self.whole = memoryview(self.data)  # ports hand out slices, which they can take back one by one
        self.view = self.whole.toreadonly()
        self.holders = 0
        self.home = home
        self.length = size_bytes
        self.sequence_number = 0
        self.timestamp_ns = 0
        self.visible_ns = 0


_NO_VIEW = memoryview(b"")


class LocalService:
    """One publish-subscribe service: its type, its settings and the ports on it."""

    pattern = "publish-subscribe"
    __slots__ = ("lock", "name", "payload", "publishers", "settings", "subscribers")

    def __init__(self, name: str, payload: PayloadType, settings: ServiceSettings) -> None:
        self.name = name
        self.payload = payload
        self.settings = settings
        self.lock = Lock()
        self.publishers: list[_PublisherBase] = []
        self.subscribers: list[_SubscriberBase] = []

    def join(self, port: _PublisherBase | _SubscriberBase) -> None:
        """Add a port, refuse it when the service is full, and hand the history to a subscriber."""
        with self.lock:
            if isinstance(port, _PublisherBase):
                self._refuse_beyond("publisher", len(self.publishers), self.settings.max_publishers)
                self.publishers.append(port)
                return
            self._refuse_beyond("subscriber", len(self.subscribers), self.settings.max_subscribers)
            self.subscribers.append(port)
            for slot in [slot for publisher in self.publishers for slot in publisher.history]:
                port.offer(slot)

    def leave(self, port: _PublisherBase | _SubscriberBase) -> None:
        """Remove a port and drop what it held; a publisher takes its history along."""
        with self.lock:
            if isinstance(port, _PublisherBase):
                self.publishers.remove(port)
                held = port.history
            else:
                self.subscribers.remove(port)
                held = port.queue
            while held:
                give_back(held.popleft())

    @property
    def idle(self) -> bool:
        """Whether no port is left."""
        return not self.publishers and not self.subscribers

    def _refuse_beyond(self, kind: str, present: int, limit: int) -> None:
        if present >= limit:
            raise full_error(self.name, kind, limit)


def give_back(slot: Slot) -> None:
    """Take one holder off; the service's lock is held."""
    slot.holders -= 1
    if not slot.holders:
        slot.home.append(slot)


class _PublisherBase:
    """What the fixed-size and the slice publisher share: the loan, the fan-out and the history."""

    __slots__ = (
        "_closed",
        "_delivery",
        "_depth",
        "_free",
        "_lock",
        "_on_close",
        "_service",
        "_slot",
        "_view",
        "history",
        "service",
    )

    def __init__(self, service: LocalService, on_close: Callable[[], None]) -> None:
        self.service = service.name
        self.history: deque[Slot] = deque()
        self._service = service
        self._depth = service.settings.history_size
        self._delivery = Delivery(0, 0)
        self._lock = service.lock
        self._on_close = on_close
        self._free: list[Slot] = []
        self._slot: Slot | None = None
        self._view = _NO_VIEW
        self._closed = False
        service.join(self)

    def _refuse(self) -> Exception:
        return closed_error(self.service) if self._closed else loan_error(self.service, self._slot is not None)

    def _send(self) -> Delivery:
        slot = self._slot
        if slot is None:
            raise self._refuse()
        self._slot = None
        self._view.release()
        subscribers, reached = self._service.subscribers, 0
        with self._lock:
            for subscriber in subscribers:  # offer, in place
                queue = subscriber.queue
                if len(queue) < subscriber.capacity:
                    queue.append(slot)
                    reached += 1
            if self._depth:
                slot.holders = reached + 1  # the history is one
                history = self.history
                history.append(slot)
                if len(history) > self._depth:  # give_back, in place
                    oldest = history.popleft()
                    oldest.holders -= 1
                    if not oldest.holders:
                        oldest.home.append(oldest)
            elif reached:
                slot.holders = reached
            else:
                slot.home.append(slot)
            if self._delivery != (reached, len(subscribers)):  # one object for all sends that go alike
                self._delivery = Delivery(reached, len(subscribers))
            return self._delivery

    def discard(self) -> None:
        slot = self._slot
        if slot is None:
            return
        self._slot = None
        self._view.release()
        with self._lock:
            slot.home.append(slot)

    def close(self) -> None:
        if self._closed:
            return
        self.discard()
        self._closed = True
        self._service.leave(self)
        self._on_close()


class LocalPublisher(_PublisherBase):
    """Publisher of fixed-size samples."""

    __slots__ = ("payload_bytes",)

    def __init__(self, service: LocalService, on_close: Callable[[], None]) -> None:
        self.payload_bytes = service.payload.size_bytes
        super().__init__(service, on_close)

    def loan(self) -> memoryview:
        if self._slot is not None or self._closed:
            raise self._refuse()
        free = self._free
        self._slot = slot = free.pop() if free else Slot(self.payload_bytes, free)
        self._view = view = slot.whole[:]
        return view

    publish = _PublisherBase._send  # noqa: SLF001 - one frame less than a method that calls it


class LocalSlicePublisher(_PublisherBase):
    """Publisher of slices; ``capacity_bytes`` starts at the initial length and grows by powers of two.

    The largest capacity is the power of two that holds ``max_payload_bytes``.
    """

    __slots__ = ("capacity_bytes", "max_payload_bytes")

    def __init__(
        self, service: LocalService, initial_max_slice_len: int, max_payload_bytes: int, on_close: Callable[[], None]
    ) -> None:
        self.capacity_bytes = initial_max_slice_len
        self.max_payload_bytes = max_payload_bytes
        super().__init__(service, on_close)

    def loan(self, length_bytes: int) -> memoryview:
        if length_bytes > self.max_payload_bytes:
            raise overflow_error(self.service, length_bytes, self.max_payload_bytes)
        if self._slot is not None or self._closed or length_bytes < 0:
            raise self._refuse()
        if length_bytes > self.capacity_bytes:
            self._grow(length_bytes)
        self._slot = slot = self._free.pop() if self._free else Slot(self.capacity_bytes, self._free)
        slot.length = length_bytes
        self._view = view = slot.whole[:length_bytes]
        return view

    # req: REQ_0887
    def _grow(self, length_bytes: int) -> None:
        self.capacity_bytes = 1 << (length_bytes - 1).bit_length()
        self._free = []

    def publish(self, sequence_number: int, timestamp_ns: int) -> Delivery:
        slot = self._slot
        if slot is not None:
            slot.sequence_number = sequence_number
            slot.timestamp_ns = timestamp_ns
        return self._send()


class _SubscriberBase:
    """What both subscribers share: the bounded queue and the sample in hand."""

    __slots__ = ("_closed", "_lock", "_on_close", "_service", "_slot", "_view", "capacity", "queue", "service")

    def __init__(self, service: LocalService, on_close: Callable[[], None]) -> None:
        self.service = service.name
        self.queue: deque[Slot] = deque()
        self._service = service
        self._lock = service.lock
        self._on_close = on_close
        self.capacity = service.settings.subscriber_max_buffer_size
        self._slot: Slot | None = None
        self._view = _NO_VIEW
        self._closed = False
        service.join(self)

    def offer(self, slot: Slot) -> bool:
        """Store ``slot`` if there is room; the service's lock is held."""
        if len(self.queue) >= self.capacity:
            return False
        slot.holders += 1
        self.queue.append(slot)
        return True

    def release(self) -> None:
        slot = self._slot
        if slot is None:
            return
        self._slot = None
        self._view.release()
        with self._lock:
            slot.holders -= 1
            if not slot.holders:
                slot.home.append(slot)

    def close(self) -> None:
        if self._closed:
            return
        self.release()
        self._closed = True
        self._service.leave(self)
        self._on_close()


class LocalSubscriber(_SubscriberBase):
    """Subscriber of fixed-size samples."""

    __slots__ = ("payload_bytes",)

    def __init__(self, service: LocalService, on_close: Callable[[], None]) -> None:
        self.payload_bytes = service.payload.size_bytes
        super().__init__(service, on_close)

    def receive(self) -> memoryview | None:
        if self._slot is not None:
            self.release()
        if not self.queue:
            if self._closed:
                raise closed_error(self.service)
            return None
        self._slot = slot = self.queue.popleft()
        self._view = view = slot.view[:]
        return view


class LocalSliceSubscriber(_SubscriberBase):
    """Subscriber of slices; one longer than ``max_payload_bytes`` is dropped and reported as overflow."""

    __slots__ = ("max_payload_bytes",)

    def __init__(self, service: LocalService, max_payload_bytes: int, on_close: Callable[[], None]) -> None:
        self.max_payload_bytes = max_payload_bytes
        super().__init__(service, on_close)

    def receive(self) -> tuple[memoryview, int, int] | None:
        if self._slot is not None:
            self.release()
        if not self.queue:
            if self._closed:
                raise closed_error(self.service)
            return None
        self._slot = slot = self.queue.popleft()
        self._view = view = slot.view[: slot.length]
        if slot.length > self.max_payload_bytes:
            self.release()
            raise overflow_error(self.service, slot.length, self.max_payload_bytes)
        return view, slot.sequence_number, slot.timestamp_ns
