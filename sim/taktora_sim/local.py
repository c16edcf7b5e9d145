"""Ports of a World on the in-process transport, in one layer: they trace, count and hold back where they hand over.

The ports in ``taktora_sim.transport`` do the same around the ports of any transport, and both give one trace. These
are here because nearly every message of a simulated run goes through them: a layer of calls less is a twentieth of
what a message costs, and an instant of visibility that lies in the sample itself needs no book-keeping. Samples are
handed over without the service's lock: a World runs one thread at a time, and none of its ports yields half-way.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from taktora.transport.base import Delivery, PayloadType, ServiceSettings
from taktora.transport.inprocess import InProcessTransport
from taktora.transport.local_pubsub import LocalPublisher, LocalService, LocalSubscriber, give_back
from taktora.transport.rules import closed_error

if TYPE_CHECKING:
    from taktora_sim.transport import SimTransport

__all__ = ["LocalCarrier", "envelope_end", "is_envelope"]

_unpack_length = struct.Struct("=I").unpack_from


def is_envelope(payload: PayloadType) -> bool:
    """Return whether samples are envelopes: behind what such a sample's sender wrote lie old bytes."""
    return payload.name.startswith("taktora.ConnectorEnvelope<")


def envelope_end(sample: bytearray | memoryview) -> int:
    """Return how many bytes of an envelope its sender wrote."""
    return 64 + int(_unpack_length(sample, 48)[0])


class LocalCarrier(InProcessTransport):
    """The in-process transport of one World: what carries its messages unless it is told otherwise."""

    def open_publisher(
        self, world: SimTransport, service: str, payload: PayloadType, settings: ServiceSettings
    ) -> LocalPublisher:
        """Open a publisher that counts and traces for ``world``."""
        found = self._pubsub(service, payload, settings)
        return self._open(found, lambda done: _WorldPublisher(found, done, world))

    def open_subscriber(
        self, world: SimTransport, service: str, payload: PayloadType, settings: ServiceSettings
    ) -> LocalSubscriber:
        """Open a subscriber that sees what is visible in ``world``."""
        found = self._pubsub(service, payload, settings)
        return self._open(found, lambda done: _WorldSubscriber(found, done, world))


class _WorldPublisher(LocalPublisher):
    """Publishes a sample, counts it, traces its valid bytes and says from when on it is visible."""

    __slots__ = ("_connected", "_counts", "_is_envelope", "_reached", "_record", "_subscribers", "_world")

    def __init__(self, service: LocalService, on_close: Callable[[], None], world: SimTransport) -> None:
        super().__init__(service, on_close)
        self._world = world
        self._subscribers = service.subscribers
        self._reached = self._connected = 0  # as in the first _delivery
        self._counts = world.counts(service.name)
        self._record = world.world.trace.channel(f"service/{service.name}", "publish")
        self._is_envelope = is_envelope(service.payload)

    def publish(self) -> Delivery:
        """Do what ``LocalPublisher.publish`` does, and the World's part of it, in one place and without the lock."""
        slot = self._slot
        if slot is None:
            raise self._refuse()
        self._slot = None
        self._view.release()
        slot.visible_ns = self._world.hold_until_ns
        data, reached, connected, counts = slot.data, 0, len(self._subscribers), self._counts
        record = self._record
        record(data[: 64 + _unpack_length(data, 48)[0]] if self._is_envelope else data)  # envelope_end
        for subscriber in self._subscribers:
            queue = subscriber.queue
            if len(queue) < subscriber.capacity:
                queue.append(slot)
                reached += 1
        slot.holders = reached
        if self._depth:
            slot.holders = reached + 1  # the history is one
            history = self.history
            history.append(slot)
            if len(history) > self._depth:
                give_back(history.popleft())
        elif not reached:
            slot.home.append(slot)
        counts[0] += 1
        if reached < connected:
            counts[1] += connected - reached
        if reached != self._reached or connected != self._connected:  # one object for all sends that go alike
            self._reached, self._connected = reached, connected
            self._delivery = Delivery(reached, connected)
        return self._delivery


class _WorldSubscriber(LocalSubscriber):
    """Receives samples that are visible at the current instant."""

    __slots__ = ("_now_ns",)

    def __init__(self, service: LocalService, on_close: Callable[[], None], world: SimTransport) -> None:
        super().__init__(service, on_close)
        self._now_ns = world.world.now_ns

    def receive(self) -> memoryview | None:
        held = self._slot
        if held is not None:  # release, in place and without the lock
            self._slot = None
            self._view.release()
            held.holders = holders = held.holders - 1
            if not holders:
                held.home.append(held)
        queue = self.queue
        if not queue:
            if self._closed:
                raise closed_error(self.service)
            return None
        slot = queue[0]
        if slot.visible_ns and slot.visible_ns > self._now_ns():
            return None
        queue.popleft()
        self._slot = slot
        self._view = view = slot.view[:]
        return view
