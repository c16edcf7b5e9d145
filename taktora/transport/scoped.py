"""A transport whose services belong to one machine: the same ports under names of their own; it carries nothing itself.

Two machines on one computer may both have a bus ``cell``. With the machine's name in front ``press/cell.image.out`` and
``packer/cell.image.out`` are two services, while both halves of one machine still meet.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import quote

from taktora.transport.base import (
    ChannelSpec,
    ClientPort,
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

__all__ = ["ScopedTransport", "machine_prefix"]

_DEFAULT = ServiceSettings()
_PLAIN = "!#$&'()*+,:;=@[]"  # besides letters, digits and "_.-~"


def machine_prefix(machine: str) -> str:
    """Return what stands before the names of a machine's services: its name and ``/``.

    Blanks, slashes and what is not ASCII are written as in a URL (``%20``), so that different machines have different
    prefixes.
    """
    return quote(machine, safe=_PLAIN) + "/"


# req: REQ_0206
class ScopedTransport:
    """Opens the ports of ``transport`` on services whose names begin with ``prefix``.

    Args:
        transport: Carries the messages. ``close`` closes it.
        prefix: See :func:`machine_prefix`.
    """

    def __init__(self, transport: Transport, prefix: str) -> None:
        self._transport = transport
        self._prefix = prefix

    def publisher(self, service: str, payload: PayloadType, settings: ServiceSettings = _DEFAULT) -> PublisherPort:
        return self._transport.publisher(self._prefix + service, payload, settings)

    def subscriber(self, service: str, payload: PayloadType, settings: ServiceSettings = _DEFAULT) -> SubscriberPort:
        return self._transport.subscriber(self._prefix + service, payload, settings)

    def slice_publisher(
        self, service: str, initial_max_slice_len: int, max_payload_bytes: int, settings: ServiceSettings = _DEFAULT
    ) -> SlicePublisherPort:
        name = self._prefix + service
        return self._transport.slice_publisher(name, initial_max_slice_len, max_payload_bytes, settings)

    def slice_subscriber(
        self, service: str, max_payload_bytes: int, settings: ServiceSettings = _DEFAULT
    ) -> SliceSubscriberPort:
        return self._transport.slice_subscriber(self._prefix + service, max_payload_bytes, settings)

    def notifier(self, service: str) -> NotifierPort:
        return self._transport.notifier(self._prefix + service)

    def listener(self, service: str) -> ListenerPort:
        return self._transport.listener(self._prefix + service)

    def server(self, service: str, request: PayloadType, response: PayloadType) -> ServerPort:
        return self._transport.server(self._prefix + service, request, response)

    def client(self, service: str, request: PayloadType, response: PayloadType) -> ClientPort:
        return self._transport.client(self._prefix + service, request, response)

    def create_all(self, channels: Iterable[ChannelSpec]) -> None:
        self._transport.create_all(replace(each, name=self._prefix + each.name) for each in channels)

    def close(self) -> None:
        self._transport.close()
