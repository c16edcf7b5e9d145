"""Typed channels over the transport seam: ctypes structures in shared slots, and an event that wakes the consumer."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Generic, TypeVar

from taktora.transport.base import (
    ListenerPort,
    NotifierPort,
    PayloadType,
    PublisherPort,
    ServiceSettings,
    SubscriberPort,
    Transport,
    event_service_name,
)

__all__ = ["Channel", "NotifyOutcome", "Publisher", "Subscriber", "payload_type", "view_as"]

T = TypeVar("T", bound=ctypes.Structure)


# req: REQ_0013
@dataclass(frozen=True, slots=True)
class NotifyOutcome:
    """Result of one send (REQ_0013).

    Args:
        sent: The sample was published.
        listeners_notified: Listeners that were told; 0 when nothing was sent. Fewer than there are subscribers means
            that a wake-up was lost, never data; 0 is normal while consumers start.
        full_subscribers: Subscribers whose buffer was full: they have lost this sample.
    """

    sent: bool
    listeners_notified: int
    full_subscribers: int = 0

    @property
    def delivered_to_any_listener(self) -> bool:
        """Whether it was sent and at least one listener was told."""
        return self.sent and self.listeners_notified > 0


_NOT_SENT = NotifyOutcome(sent=False, listeners_notified=0)


class _Buffer(ctypes.Structure):
    """CPython's Py_buffer: the one way to the address of a read-only view."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = [ctypes.py_object, ctypes.POINTER(_Buffer), ctypes.c_int]
_release_buffer = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes = [ctypes.POINTER(_Buffer)]


def payload_type(payload: type[ctypes.Structure]) -> PayloadType:
    """Return the identity both ends of a channel of ``payload`` agree on."""
    return PayloadType(payload.__name__, ctypes.sizeof(payload), ctypes.alignment(payload))


def view_as(payload: type[T], view: memoryview) -> T:
    """Return ``payload`` over the very bytes of ``view``; it holds no export, so the port can release the view.

    Nor does it keep the bytes: whoever hands it on holds ``view`` for as long as it says the structure is valid.
    """
    buffer = _Buffer()
    _get_buffer(view, ctypes.byref(buffer), 0)
    try:
        return payload.from_address(buffer.buf or 0)
    finally:
        _release_buffer(ctypes.byref(buffer))


class Channel(Generic[T]):
    """A topic that carries structures of one type.

    Args:
        transport: Carries it.
        topic: Service name; its events are on ``<topic>.evt``.
        payload: The structure.
        settings: Quality of service; both ends give the same.
    """

    def __init__(
        self, transport: Transport, topic: str, payload: type[T], settings: ServiceSettings | None = None
    ) -> None:
        self.topic = topic
        self.payload = payload
        self._transport = transport
        self._settings = settings or ServiceSettings()

    def publisher(self) -> Publisher[T]:
        """Open a publisher."""
        with ExitStack() as undo:
            notifier = self._transport.notifier(event_service_name(self.topic))
            undo.callback(notifier.close)
            port = self._transport.publisher(self.topic, payload_type(self.payload), self._settings)
            undo.pop_all()
        return Publisher(self.payload, port, notifier)

    def subscriber(self) -> Subscriber[T]:
        """Open a subscriber; declare it as a trigger to be run when a sample arrives."""
        with ExitStack() as undo:
            # The listener first: whatever reaches the subscriber then has a wake-up that is heard.
            listener = self._transport.listener(event_service_name(self.topic))
            undo.callback(listener.close)
            port = self._transport.subscriber(self.topic, payload_type(self.payload), self._settings)
            undo.pop_all()
        return Subscriber(self.payload, port, listener)


# req: REQ_0011
class Publisher(Generic[T]):
    """Sends structures; three ways, one outcome. For one thread at a time.

    The structure that a ``fill`` is handed is valid within it only: afterwards its bytes are the readers'.
    """

    def __init__(self, payload: type[T], port: PublisherPort, notifier: NotifierPort) -> None:
        self._payload = payload
        self._zeros = bytes(ctypes.sizeof(payload))
        self._port = port
        self._notifier = notifier

    def send_copy(self, value: T) -> NotifyOutcome:
        """Copy ``value`` into a slot and send it."""
        view = self._port.loan()
        try:
            view[:] = memoryview(value).cast("B")
        except BaseException:
            self._port.discard()
            raise
        return self._publish()

    def loan_send(self, fill: Callable[[T], object]) -> NotifyOutcome:
        """Let ``fill`` write into a slot of zeros, then send it; a ``fill`` that returns False skips the send."""
        view = self._port.loan()
        view[:] = self._zeros
        return self._fill(view, fill)

    def loan(self, fill: Callable[[T], object]) -> NotifyOutcome:
        """Let ``fill`` write into a raw slot, which holds old bytes; anything but False means fully written."""
        return self._fill(self._port.loan(), fill)

    def close(self) -> None:
        """Close both ports; idempotent."""
        self._notifier.close()
        self._port.close()

    def _fill(self, view: memoryview, fill: Callable[[T], object]) -> NotifyOutcome:
        try:
            wanted = fill(view_as(self._payload, view)) is not False
        except BaseException:
            self._port.discard()
            raise
        if wanted:
            return self._publish()
        self._port.discard()
        return _NOT_SENT

    def _publish(self) -> NotifyOutcome:
        reached, connected = self._port.publish()
        return NotifyOutcome(True, self._notifier.notify(), connected - reached)


# req: REQ_0010, REQ_0012
class Subscriber(Generic[T]):
    """Receives structures as views of the bytes the producer wrote. For one thread at a time.

    An item that is triggered by it takes until nothing is left: one wake may stand for many samples. The first wake
    comes at once if the channel had a history when it was opened: nobody notifies of what was sent before.
    """

    def __init__(self, payload: type[T], port: SubscriberPort, listener: ListenerPort) -> None:
        self._payload = payload
        self._port = port
        self.listener = listener
        self._receive = port.receive
        self._view: memoryview | None = None
        self._first = port.receive()
        if self._first is not None:
            self._receive = self._hand_out_first
            listener.tell()

    def take(self) -> T | None:
        """Return the next sample, or None. It is valid until the next ``take`` or ``close``: copy what must live on."""
        self._view = view = self._receive()  # held: the sample lies in its bytes
        return None if view is None else view_as(self._payload, view)

    def drain(self) -> Iterator[T]:
        """Yield samples until none is left; each is valid until the next one."""
        while (sample := self.take()) is not None:
            yield sample
        self._port.release()

    def close(self) -> None:
        """Close both ports; idempotent."""
        self.listener.close()
        self._receive, self._first = self._port.receive, None
        self._port.close()

    def _hand_out_first(self) -> memoryview | None:
        """Return the sample that was found at the opening; the port has kept it as its last one."""
        self._receive, first, self._first = self._port.receive, self._first, None
        return first
