"""The transport seam: named services and the ports on them; protocols and value types only, no I/O.

Two implementations satisfy it: shared memory through iceoryx2 (``taktora.transport.iceoryx``) and one process
(``taktora.transport.inprocess``). ``taktora.testing.check_transport`` is the contract in executable form.

Rules that hold for every implementation:

* Nothing blocks. A full subscriber buffer never stalls the publisher: the sample is not stored there and
  :class:`Delivery` tells so.
* A port serves one thread at a time. Notifying from another thread is allowed (bridges do).
* Between transports in shared memory, what a publisher sent is lost with its ``close`` to readers that did not look
  while it was open. A publisher that has something to say stays open, or hears from its readers before it closes.
* ``close`` is idempotent on everything; ports close before services, services before the transport.
* The same name opened with another payload type or other settings is refused with ``ConfigurationError`` that
  prints both; an empty or illegal name likewise. Other failures raise ``TransportError`` with the cause chained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

__all__ = [
    "ChannelSpec",
    "ClientPort",
    "Delivery",
    "ListenerPort",
    "NotifierPort",
    "PayloadType",
    "PublisherPort",
    "ServerPort",
    "ServiceSettings",
    "SlicePublisherPort",
    "SliceSubscriberPort",
    "SubscriberPort",
    "Transport",
    "event_service_name",
]


def event_service_name(service: str) -> str:
    """Return the name of the event service that belongs to ``service``: one rule for all, ``<service>.evt``."""
    return service + ".evt"


@dataclass(frozen=True, slots=True)
class PayloadType:
    """Identity of a fixed-size payload: both ends must agree on all three fields.

    Args:
        name: Type name, for example ``"taktora.ConnectorEnvelope<256>"``.
        size_bytes: Bytes of one sample, at least 1.
        alignment: Power of two that divides ``size_bytes``; 8 for envelopes.
    """

    name: str
    size_bytes: int
    alignment: int = 8


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """Quality of service of one publish-subscribe service.

    ``history_size`` samples are given to a subscriber that joins late (in another process: together with the next
    publish). A subscriber buffers up to
    ``subscriber_max_buffer_size`` samples; when it is full a new sample is discarded for that subscriber.
    ``subscriber_max_borrowed_samples`` bounds how many samples a reader may hold at once.
    """

    max_publishers: int = 1
    max_subscribers: int = 8
    subscriber_max_buffer_size: int = 64
    history_size: int = 1
    subscriber_max_borrowed_samples: int = 4


@dataclass(frozen=True, slots=True)
class ChannelSpec:
    """One service of a static topology (TSR_0007): the only ones that may be opened once declared."""

    name: str
    payload: PayloadType
    settings: ServiceSettings = ServiceSettings()


class Delivery(NamedTuple):
    """Result of one publish.

    ``reached`` subscribers stored the sample; ``connected`` were attached. ``reached < connected`` means that
    ``connected - reached`` readers are full and lost this sample.
    """

    reached: int
    connected: int


class PublisherPort(Protocol):
    """Sends fixed-size samples. At most one loan is outstanding: ``loan`` then ``publish`` or ``discard``."""

    service: str
    payload_bytes: int

    def loan(self) -> memoryview:
        """Return a writable byte view of one slot (``payload_bytes`` long, old bytes in it).

        The view dies with ``publish`` or ``discard``. Raises ``TransportError`` when no slot is free and
        ``ShutdownError`` after ``close``.
        """
        ...

    def publish(self) -> Delivery:
        """Send the loaned slot."""
        ...

    def discard(self) -> None:
        """Give the loaned slot back unsent."""
        ...

    def close(self) -> None: ...


class SubscriberPort(Protocol):
    """Receives fixed-size samples in order of publication."""

    service: str
    payload_bytes: int

    def receive(self) -> memoryview | None:
        """Return a read-only view of the next sample, or None when the buffer is empty.

        The view is valid until the next ``receive``, ``release`` or ``close`` on this port: copy what must live on.
        """
        ...

    def release(self) -> None:
        """Give back the sample of the last ``receive`` now."""
        ...

    def close(self) -> None: ...


class SlicePublisherPort(Protocol):
    """Sends samples whose length is chosen per message, each with a user header of two u64 (REQ_0889)."""

    service: str
    max_payload_bytes: int

    def loan(self, length_bytes: int) -> memoryview:
        """Return a writable view of exactly ``length_bytes``; grows the segment by powers of two if needed."""
        ...

    def publish(self, sequence_number: int, timestamp_ns: int) -> Delivery:
        """Send the loaned slice with its user header."""
        ...

    def discard(self) -> None: ...

    def close(self) -> None: ...


class SliceSubscriberPort(Protocol):
    """Receives slices: ``(view, sequence_number, timestamp_ns)``; same view lifetime as ``SubscriberPort``."""

    service: str

    def receive(self) -> tuple[memoryview, int, int] | None: ...

    def release(self) -> None: ...

    def close(self) -> None: ...


class NotifierPort(Protocol):
    """Wakes the listeners of an event service; may be called from any thread."""

    service: str

    def notify(self) -> int:
        """Return how many listeners were told; fewer than attached means a full wake-up socket, never lost data."""
        ...

    def close(self) -> None: ...


class ListenerPort(Protocol):
    """Receives notifications; a level: it stays ready until drained."""

    service: str

    @property
    def native(self) -> object | None:
        """What an iceoryx2 WaitSet can attach, or None when ``set_waker`` is the way."""
        ...

    def set_waker(self, waker: Callable[[], None] | None) -> None:
        """Have ``waker`` called (from the notifying thread) at each notification; at once if one is pending.

        In shared memory this reaches notifiers of the same transport only; for the others attach ``native``.

        Raises:
            ConfigurationError: an executor waits already, where the transport can tell; None first makes it free.
        """
        ...

    def tell(self) -> None:
        """Set the level of this listener alone, as a notification would; a WaitSet sees it when it attaches."""
        ...

    def drain(self) -> bool:
        """Take all pending notifications; return whether there was one."""
        ...

    def close(self) -> None: ...


class ServerPort(Protocol):
    """Answers requests of fixed-size payloads."""

    service: str

    def take_request(self) -> tuple[memoryview, int] | None:
        """Return ``(request view, token)`` or None; the token goes to ``respond``.

        The request's bytes live as long as the view, also after the answer and after ``close``.
        """
        ...

    def respond(self, token: int, payload: bytes | bytearray | memoryview) -> bool:
        """Send one response; False when the client has gone."""
        ...

    def close(self) -> None: ...


class ClientPort(Protocol):
    """Sends requests and takes their responses."""

    service: str

    def request(self, payload: bytes | bytearray | memoryview) -> int:
        """Send a request and return its token.

        Raises ``BackPressure`` when no server is open, its queue is full or too many requests of this client are open.
        """
        ...

    def take_response(self, token: int) -> bytes | None:
        """Return the response to ``token`` or None; one request has one response, and taking it ends the request."""
        ...

    def forget(self, token: int) -> None:
        """Drop interest in a request; late responses are discarded."""
        ...

    def close(self) -> None: ...


class Transport(Protocol):
    """Opens ports. Services are opened or created on first use (dynamic) unless a topology was declared."""

    def publisher(self, service: str, payload: PayloadType, settings: ServiceSettings = ...) -> PublisherPort: ...

    def subscriber(self, service: str, payload: PayloadType, settings: ServiceSettings = ...) -> SubscriberPort: ...

    def slice_publisher(
        self, service: str, initial_max_slice_len: int, max_payload_bytes: int, settings: ServiceSettings = ...
    ) -> SlicePublisherPort: ...

    def slice_subscriber(
        self, service: str, max_payload_bytes: int, settings: ServiceSettings = ...
    ) -> SliceSubscriberPort: ...

    def notifier(self, service: str) -> NotifierPort: ...

    def listener(self, service: str) -> ListenerPort: ...

    def server(self, service: str, request: PayloadType, response: PayloadType) -> ServerPort: ...

    def client(self, service: str, request: PayloadType, response: PayloadType) -> ClientPort: ...

    def create_all(self, channels: Iterable[ChannelSpec]) -> None:
        """Create every declared service now, refuse one that exists, and refuse undeclared names from then on.

        The transport keeps the services alive until ``close``; ports open them with the declared settings.
        """
        ...

    def close(self) -> None:
        """Close all ports and services opened here, in reverse order, and give shared memory back."""
        ...
