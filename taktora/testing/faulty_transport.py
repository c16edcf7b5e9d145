"""A transport that spoils what is published: corrupts, drops or duplicates chosen samples; all else goes through.

Faults are values; which sample they hit is decided by counting, never by chance or by time::

    faulty = FaultyTransport(InProcessTransport())
    faulty.on_publish("speed.out", 3, Corrupt(bit=520))   # the fourth sample of this service
    writer = RawChannelWriter(faulty, "speed.out", 64, clock)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

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

__all__ = ["Corrupt", "Drop", "Duplicate", "FaultyTransport", "Refuse", "SampleFault"]

_DEFAULT = ServiceSettings()


@dataclass(frozen=True, slots=True)
class Corrupt:
    """Turns one bit of the sample over, after it was stamped; bit 0 is the lowest of byte 0."""

    bit: int

    def describe(self) -> str:
        return f"bit {self.bit} turned over"


@dataclass(frozen=True, slots=True)
class Drop:
    """Loses the sample on the way; the sender is told that nobody listens."""

    def describe(self) -> str:
        return "sample dropped"


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Delivers the sample twice."""

    def describe(self) -> str:
        return "sample duplicated"


@dataclass(frozen=True, slots=True)
class Refuse:
    """Raises ``error`` in place of publishing."""

    error: Exception

    def describe(self) -> str:
        return f"publish raised {type(self.error).__name__}"


SampleFault: TypeAlias = Corrupt | Drop | Duplicate | Refuse


class FaultyTransport:
    """Wraps a transport; fixed-size publishers and slice publishers opened through it obey the plan.

    Args:
        inner: Does the real work; closed together with the wrapper.

    Attributes:
        fired: What has hit so far: (service, index of the sample, description).
    """

    def __init__(self, inner: Transport) -> None:
        self.inner = inner
        self.fired: list[tuple[str, int, str]] = []
        self._plan: dict[tuple[str, int], SampleFault] = {}

    def on_publish(self, service: str, index: int, fault: SampleFault) -> None:
        """Have ``fault`` hit the sample with this index (from 0, per publisher) on ``service``."""
        self._plan[service, index] = fault

    def due(self, service: str, index: int) -> SampleFault | None:
        """Return the fault that hits this sample and take note of it."""
        fault = self._plan.get((service, index))
        if fault is not None:
            self.fired.append((service, index, fault.describe()))
        return fault

    def publisher(self, service: str, payload: PayloadType, settings: ServiceSettings = _DEFAULT) -> PublisherPort:
        return _FaultyPublisher(self, self.inner.publisher(service, payload, settings))

    def subscriber(self, service: str, payload: PayloadType, settings: ServiceSettings = _DEFAULT) -> SubscriberPort:
        return self.inner.subscriber(service, payload, settings)

    def slice_publisher(
        self,
        service: str,
        initial_max_slice_len: int,
        max_payload_bytes: int,
        settings: ServiceSettings = _DEFAULT,
    ) -> SlicePublisherPort:
        port = self.inner.slice_publisher(service, initial_max_slice_len, max_payload_bytes, settings)
        return _FaultySlicePublisher(self, port)

    def slice_subscriber(
        self, service: str, max_payload_bytes: int, settings: ServiceSettings = _DEFAULT
    ) -> SliceSubscriberPort:
        return self.inner.slice_subscriber(service, max_payload_bytes, settings)

    def notifier(self, service: str) -> NotifierPort:
        return self.inner.notifier(service)

    def listener(self, service: str) -> ListenerPort:
        return self.inner.listener(service)

    def server(self, service: str, request: PayloadType, response: PayloadType) -> ServerPort:
        return self.inner.server(service, request, response)

    def client(self, service: str, request: PayloadType, response: PayloadType) -> ClientPort:
        return self.inner.client(service, request, response)

    def create_all(self, channels: Iterable[ChannelSpec]) -> None:
        self.inner.create_all(channels)

    def close(self) -> None:
        self.inner.close()


class _Faulty:
    """What both faulty publishers share: the count, the loaned view, and the faults themselves."""

    def __init__(self, transport: FaultyTransport, port: Any) -> None:
        self.service: str = port.service
        self._transport = transport
        self._port = port
        self._published = 0
        self._view = memoryview(b"")

    def _publish(self, *header: int) -> Delivery:
        fault = self._transport.due(self.service, self._published)
        self._published += 1
        if isinstance(fault, Drop):
            self._port.discard()
            return Delivery(0, 0)
        if isinstance(fault, Refuse):
            self._port.discard()
            raise fault.error
        if isinstance(fault, Corrupt):
            self._view[fault.bit // 8] ^= 1 << fault.bit % 8
        copy = bytes(self._view) if isinstance(fault, Duplicate) else None
        delivery: Delivery = self._port.publish(*header)
        return delivery if copy is None else self._again(copy, header)

    def _again(self, copy: bytes, header: tuple[int, ...]) -> Delivery:
        self._loan_for(len(copy))[:] = copy
        delivery: Delivery = self._port.publish(*header)
        return delivery

    def _loan_for(self, _length_bytes: int) -> memoryview:
        view: memoryview = self._port.loan()
        return view

    def discard(self) -> None:
        self._port.discard()

    def close(self) -> None:
        self._port.close()


class _FaultyPublisher(_Faulty):
    def __init__(self, transport: FaultyTransport, port: PublisherPort) -> None:
        super().__init__(transport, port)
        self.payload_bytes = port.payload_bytes

    def loan(self) -> memoryview:
        self._view = self._loan_for(0)
        return self._view

    def publish(self) -> Delivery:
        return self._publish()


class _FaultySlicePublisher(_Faulty):
    def __init__(self, transport: FaultyTransport, port: SlicePublisherPort) -> None:
        super().__init__(transport, port)
        self.max_payload_bytes = port.max_payload_bytes

    def loan(self, length_bytes: int) -> memoryview:
        self._view = self._loan_for(length_bytes)
        return self._view

    def _loan_for(self, length_bytes: int) -> memoryview:
        view: memoryview = self._port.loan(length_bytes)
        return view

    def publish(self, sequence_number: int, timestamp_ns: int) -> Delivery:
        return self._publish(sequence_number, timestamp_ns)
