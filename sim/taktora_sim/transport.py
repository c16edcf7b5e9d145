"""The transport of a World: ports that trace, count and hold back messages; what carries the bytes stays behind them.

The bytes travel through the in-process transport or through iceoryx2; wake-ups always go through the World, so both
give the same order of events and the same trace.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from taktora.errors import ShutdownError
from taktora.transport.base import (
    ChannelSpec,
    ClientPort,
    Delivery,
    ListenerPort,
    NotifierPort,
    PayloadType,
    PublisherPort,
    ServerPort,
    ServiceSettings,
    SlicePublisherPort,
    SliceSubscriberPort,
    SubscriberPort,
    Transport,
)
from taktora.transport.rules import closed_error
from taktora_sim.local import LocalCarrier, envelope_end, is_envelope

if TYPE_CHECKING:
    from taktora_sim.world import World

__all__ = ["SimTransport", "make_transport"]

_DEFAULT_SETTINGS = ServiceSettings()
_USER_HEADER = struct.Struct("<QQ")


# req: REQ_8020
def make_transport(world: World) -> SimTransport:
    """Return the transport that ``world.transport_name`` asks for."""
    local = LocalCarrier()
    if world.transport_name == "inprocess":
        return SimTransport(world, local, local)
    from taktora.transport.iceoryx import IceoryxTransport

    return SimTransport(world, IceoryxTransport("taktora-world", isolated=True), local)


class SimTransport:
    """Wraps a transport for use in a World.

    Args:
        world: Gives the clock and the trace.
        data: Carries samples, slices, requests and responses.
        events: Carries notifications; always in process.
    """

    def __init__(self, world: World, data: Transport, events: Transport) -> None:
        self.world = world
        self.hold_until_ns = 0
        """Instant at which what is sent now becomes visible; 0 means at once."""
        self.message_counts: dict[str, list[int]] = {}
        """By service name: samples published, and samples that a full reader lost."""
        self._data = data
        self._events = events
        self._books: dict[str, _Book] = {}
        self._exchanges: dict[str, deque[_Exchange]] = {}

    def publisher(
        self, service: str, payload: PayloadType, settings: ServiceSettings = _DEFAULT_SETTINGS
    ) -> PublisherPort:
        if isinstance(self._data, LocalCarrier):
            return self._data.open_publisher(self, service, payload, settings)
        return _SimPublisher(self, self._data.publisher(service, payload, settings), payload, settings)

    def subscriber(
        self, service: str, payload: PayloadType, settings: ServiceSettings = _DEFAULT_SETTINGS
    ) -> SubscriberPort:
        if isinstance(self._data, LocalCarrier):
            return self._data.open_subscriber(self, service, payload, settings)
        return _SimSubscriber(self, self._data.subscriber(service, payload, settings), settings)

    def slice_publisher(
        self,
        service: str,
        initial_max_slice_len: int,
        max_payload_bytes: int,
        settings: ServiceSettings = _DEFAULT_SETTINGS,
    ) -> SlicePublisherPort:
        port = self._data.slice_publisher(service, initial_max_slice_len, max_payload_bytes, settings)
        return _SimSlicePublisher(self, port, settings)

    def slice_subscriber(
        self, service: str, max_payload_bytes: int, settings: ServiceSettings = _DEFAULT_SETTINGS
    ) -> SliceSubscriberPort:
        port = self._data.slice_subscriber(service, max_payload_bytes, settings)
        return _SimSliceSubscriber(self, port, settings)

    def notifier(self, service: str) -> NotifierPort:
        return _SimNotifier(self, self._events.notifier(service))

    def listener(self, service: str) -> ListenerPort:
        return self._events.listener(service)

    def server(self, service: str, request: PayloadType, response: PayloadType) -> ServerPort:
        return _SimServer(self, self._data.server(service, request, response))

    def client(self, service: str, request: PayloadType, response: PayloadType) -> ClientPort:
        return _SimClient(self, self._data.client(service, request, response))

    def create_all(self, channels: Iterable[ChannelSpec]) -> None:
        declared = tuple(channels)
        self._data.create_all(declared)
        if self._events is not self._data:
            self._events.create_all(declared)  # closes its topology too

    def close(self) -> None:
        self._data.close()
        self._events.close()

    def counts(self, service: str) -> list[int]:
        """Return the live counters of a service: published, lost."""
        return self.message_counts.setdefault(service, [0, 0])

    def exchanges(self, service: str) -> deque[_Exchange]:
        """Return the requests of a service that no server has taken yet, oldest first."""
        return self._exchanges.setdefault(service, deque())

    def book(self, service: str) -> _Book:
        """Return who has sent what from when on, for the ports around a carrier that does not know."""
        return self._books.setdefault(service, _Book())


class _Book:
    """From when on the samples of one service are visible, on their way and in the publishers' histories."""

    __slots__ = ("histories", "subscribers")

    def __init__(self) -> None:
        self.histories: list[deque[int]] = []
        self.subscribers: list[_Visibility] = []

    def open_history(self, settings: ServiceSettings) -> deque[int]:
        """Return the history of a new publisher."""
        history: deque[int] = deque(maxlen=settings.history_size)
        self.histories.append(history)
        return history

    def close_history(self, history: deque[int]) -> None:
        """Forget what a closed publisher takes along; idempotent."""
        self.histories = [other for other in self.histories if other is not history]

    def note(self, history: deque[int], visible_ns: int) -> None:
        """Note a published sample."""
        history.append(visible_ns)
        for subscriber in self.subscribers:
            subscriber.expect(visible_ns)


class _Visibility:
    """When each sample in one subscriber's buffer becomes visible, oldest first; 0 for what was never held back."""

    __slots__ = ("_book", "_capacity", "_now_ns", "_waiting")

    def __init__(self, transport: SimTransport, service: str, settings: ServiceSettings) -> None:
        self._capacity = settings.subscriber_max_buffer_size
        self._now_ns = transport.world.now_ns
        self._waiting: deque[int] = deque()
        self._book = transport.book(service)
        self._book.subscribers.append(self)
        for history in self._book.histories:  # a late subscriber is given what the publishers keep, in their order
            for visible_ns in history:
                self.expect(visible_ns)

    def expect(self, visible_ns: int) -> None:
        """Note a published sample; a full buffer has not stored it."""
        if len(self._waiting) < self._capacity:
            self._waiting.append(visible_ns)

    def holds_back(self) -> bool:
        """Return whether the oldest sample is not visible yet."""
        return bool(self._waiting) and self._waiting[0] > self._now_ns()

    def took(self, found: bool) -> None:
        """Note the outcome of a receive on the port behind."""
        if not found:
            self._waiting.clear()
        elif self._waiting:
            self._waiting.popleft()

    def close(self) -> None:
        if self in self._book.subscribers:
            self._book.subscribers.remove(self)


class _SimPublisher:
    """Publishes a sample, counts it, traces its valid bytes and says from when on it is visible."""

    def __init__(
        self, transport: SimTransport, port: PublisherPort, payload: PayloadType, settings: ServiceSettings
    ) -> None:
        self.service = port.service
        self.payload_bytes = port.payload_bytes
        self._port = port
        self._transport = transport
        self._is_envelope = is_envelope(payload)
        self._view: memoryview | None = None
        self._counts = transport.counts(port.service)
        self._book = transport.book(port.service)
        self._history = self._book.open_history(settings)
        self._record = transport.world.trace.channel(f"service/{port.service}", "publish")

    def loan(self) -> memoryview:
        self._view = view = self._port.loan()
        return view

    def discard(self) -> None:
        self._view = None
        self._port.discard()

    def close(self) -> None:
        self._view = None
        self._book.close_history(self._history)
        self._port.close()

    def publish(self) -> Delivery:
        view, self._view = self._view, None
        if view is None:
            return self._port.publish()  # nothing is loaned: the port behind refuses in its own words
        self._record(view[: envelope_end(view)] if self._is_envelope else view)
        self._book.note(self._history, self._transport.hold_until_ns)
        delivery = self._port.publish()
        _count(self._counts, delivery)
        return delivery


class _SimSubscriber:
    """Receives samples that are visible at the current instant."""

    def __init__(self, transport: SimTransport, port: SubscriberPort, settings: ServiceSettings) -> None:
        self.service = port.service
        self.payload_bytes = port.payload_bytes
        self.release = port.release
        self._port = port
        self._visibility = _Visibility(transport, port.service, settings)

    def receive(self) -> memoryview | None:
        if self._visibility.holds_back():
            return None
        view = self._port.receive()
        self._visibility.took(view is not None)
        return view

    def close(self) -> None:
        self._visibility.close()
        self._port.close()


class _SimSlicePublisher:
    """The slice form of :class:`_SimPublisher`."""

    def __init__(self, transport: SimTransport, port: SlicePublisherPort, settings: ServiceSettings) -> None:
        self.service = port.service
        self.max_payload_bytes = port.max_payload_bytes
        self._transport = transport
        self._port = port
        self._view: memoryview | None = None
        self._counts = transport.counts(port.service)
        self._book = transport.book(port.service)
        self._history = self._book.open_history(settings)
        self._record = transport.world.trace.channel(f"service/{port.service}", "publish")

    def loan(self, length_bytes: int) -> memoryview:
        self._view = view = self._port.loan(length_bytes)
        return view

    def discard(self) -> None:
        self._view = None
        self._port.discard()

    def close(self) -> None:
        self._view = None
        self._book.close_history(self._history)
        self._port.close()

    def publish(self, sequence_number: int, timestamp_ns: int) -> Delivery:
        view, self._view = self._view, None
        if view is None:
            return self._port.publish(sequence_number, timestamp_ns)
        self._record(_USER_HEADER.pack(sequence_number, timestamp_ns) + view)
        self._book.note(self._history, self._transport.hold_until_ns)
        delivery = self._port.publish(sequence_number, timestamp_ns)
        _count(self._counts, delivery)
        return delivery


class _SimSliceSubscriber:
    """The slice form of :class:`_SimSubscriber`."""

    def __init__(self, transport: SimTransport, port: SliceSubscriberPort, settings: ServiceSettings) -> None:
        self.service = port.service
        self.release = port.release
        self._port = port
        self._visibility = _Visibility(transport, port.service, settings)

    def receive(self) -> tuple[memoryview, int, int] | None:
        if self._visibility.holds_back():
            return None
        found = self._port.receive()
        self._visibility.took(found is not None)
        return found

    def close(self) -> None:
        self._visibility.close()
        self._port.close()


class _Exchange:
    """When a request, and then its response, becomes visible."""

    __slots__ = ("answered_ns", "asked_ns")

    def __init__(self, asked_ns: int) -> None:
        self.asked_ns = asked_ns
        self.answered_ns = 0


class _SimClient:
    """Sends requests, traces them, and takes responses that are visible at the current instant."""

    def __init__(self, transport: SimTransport, port: ClientPort) -> None:
        self.service = port.service
        self._transport = transport
        self._port = port
        self._open: dict[int, _Exchange] = {}
        self._asked = transport.exchanges(port.service)
        self._record = transport.world.trace.channel(f"service/{port.service}", "request")

    def request(self, payload: bytes | bytearray | memoryview) -> int:
        token = self._port.request(payload)
        self._record(payload)
        exchange = self._open[token] = _Exchange(self._transport.hold_until_ns)
        self._asked.append(exchange)
        return token

    def take_response(self, token: int) -> bytes | None:
        exchange = self._open.get(token)
        if exchange is not None and exchange.answered_ns > self._transport.world.now_ns():
            return None
        response = self._port.take_response(token)
        if response is not None:
            self._open.pop(token, None)
        return response

    def forget(self, token: int) -> None:
        self._open.pop(token, None)
        self._port.forget(token)

    def close(self) -> None:
        self._open.clear()
        self._port.close()


class _SimServer:
    """Takes requests that are visible at the current instant, and traces the responses."""

    def __init__(self, transport: SimTransport, port: ServerPort) -> None:
        self.service = port.service
        self._transport = transport
        self._port = port
        self._taken: dict[int, _Exchange] = {}
        self._asked = transport.exchanges(port.service)
        self._record = transport.world.trace.channel(f"service/{port.service}", "response")

    def take_request(self) -> tuple[memoryview, int] | None:
        asked = self._asked
        if asked and asked[0].asked_ns > self._transport.world.now_ns():
            return None
        found = self._port.take_request()
        if found is None:
            asked.clear()  # what is noted and not there was lost with a port
        elif asked:
            self._taken[found[1]] = asked.popleft()
        return found

    def respond(self, token: int, payload: bytes | bytearray | memoryview) -> bool:
        self._record(payload)
        exchange = self._taken.pop(token, None)
        if exchange is not None:
            exchange.answered_ns = self._transport.hold_until_ns
        return self._port.respond(token, payload)

    def close(self) -> None:
        self._taken.clear()
        self._port.close()


class _SimNotifier:
    """Notifies at once, or at the end instant of the item that is being modelled, even if closed meanwhile."""

    def __init__(self, transport: SimTransport, port: NotifierPort) -> None:
        self.service = port.service
        self._transport = transport
        self._port = port
        self._notify = port.notify
        self._held = 0
        self._closed = False

    def notify(self) -> int:
        hold_until_ns, notify = self._transport.hold_until_ns, self._notify
        if not hold_until_ns or self._closed:
            return notify()
        self._held += 1
        self._transport.world.post_at(hold_until_ns, self._notify_late)
        return 1

    def close(self) -> None:
        self._closed = True
        if self._held:
            self._notify = self._refuse  # what was sent is still told of; nothing more is taken
        else:
            self._port.close()

    def _notify_late(self) -> None:
        self._held -= 1
        with suppress(ShutdownError):  # the whole transport has been closed
            self._port.notify()
        if self._closed and not self._held:
            self._port.close()

    def _refuse(self) -> int:
        raise closed_error(self.service)


def _count(counts: list[int], delivery: Delivery) -> None:
    counts[0] += 1
    counts[1] += delivery.connected - delivery.reached
