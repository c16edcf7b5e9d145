"""Request and response over the transport seam: ctypes structures, with an event in each direction."""

from __future__ import annotations

import ctypes
from contextlib import ExitStack
from typing import Generic, TypeVar

from taktora.executor.channel import payload_type
from taktora.transport.base import ClientPort, ListenerPort, NotifierPort, ServerPort, Transport, event_service_name

__all__ = ["ActiveRequest", "Client", "PendingRequest", "Server", "Service"]

Req = TypeVar("Req", bound=ctypes.Structure)
Resp = TypeVar("Resp", bound=ctypes.Structure)


class Service(Generic[Req, Resp]):
    """A named service that answers ``request`` structures with ``response`` structures.

    Its events are on ``<topic>.req.evt`` (to the server) and ``<topic>.resp.evt`` (to the clients).

    Args:
        transport: Carries it.
        topic: Service name.
        request: Structure of requests.
        response: Structure of responses.
    """

    def __init__(self, transport: Transport, topic: str, request: type[Req], response: type[Resp]) -> None:
        self.topic = topic
        self._transport = transport
        self._request = request
        self._response = response
        self._to_server = event_service_name(f"{topic}.req")
        self._to_client = event_service_name(f"{topic}.resp")

    def server(self) -> Server[Req, Resp]:
        """Open the answering end; declare it as a trigger to be run when a request arrives."""
        transport = self._transport
        with ExitStack() as undo:
            # The listener first: whatever reaches the server then has a wake-up that is heard.
            listener = transport.listener(self._to_server)
            undo.callback(listener.close)
            notifier = transport.notifier(self._to_client)
            undo.callback(notifier.close)
            port = transport.server(self.topic, payload_type(self._request), payload_type(self._response))
            undo.pop_all()
        return Server(self._request, port, listener, notifier)

    def client(self) -> Client[Req, Resp]:
        """Open an asking end; declare it as a trigger to be run when a response arrives."""
        transport = self._transport
        with ExitStack() as undo:
            listener = transport.listener(self._to_client)
            undo.callback(listener.close)
            notifier = transport.notifier(self._to_server)
            undo.callback(notifier.close)
            port = transport.client(self.topic, payload_type(self._request), payload_type(self._response))
            undo.pop_all()
        return Client(self._response, port, listener, notifier)


class ActiveRequest(Generic[Resp]):
    """A request that waits for its answers."""

    __slots__ = ("_notifier", "_port", "_token")

    def __init__(self, port: ServerPort, notifier: NotifierPort, token: int) -> None:
        self._port = port
        self._notifier = notifier
        self._token = token

    def respond_copy(self, response: Resp) -> bool:
        """Send one response and wake the client; False when the client has gone."""
        sent = self._port.respond(self._token, memoryview(response).cast("B"))
        if sent:
            self._notifier.notify()
        return sent


class Server(Generic[Req, Resp]):
    """Takes requests. An item triggered by it takes until nothing is left."""

    def __init__(self, request: type[Req], port: ServerPort, listener: ListenerPort, notifier: NotifierPort) -> None:
        self._request = request
        self._port = port
        self._notifier = notifier
        self.listener = listener

    def take_request(self) -> tuple[Req, ActiveRequest[Resp]] | None:
        """Return the next request, the caller's to keep, and what answers it; None if there is none."""
        taken = self._port.take_request()
        if taken is None:
            return None
        view, token = taken
        return self._request.from_buffer_copy(view), ActiveRequest(self._port, self._notifier, token)

    def close(self) -> None:
        """Close all ports; idempotent."""
        self.listener.close()
        self._notifier.close()
        self._port.close()


class PendingRequest(Generic[Resp]):
    """A request under way."""

    __slots__ = ("_port", "_response", "_token")

    def __init__(self, port: ClientPort, response: type[Resp], token: int) -> None:
        self._port = port
        self._response = response
        self._token = token

    def take(self) -> Resp | None:
        """Return the next response, the caller's to keep, or None."""
        payload = self._port.take_response(self._token)
        return None if payload is None else self._response.from_buffer_copy(payload)

    def forget(self) -> None:
        """Drop interest: late responses are discarded."""
        self._port.forget(self._token)


class Client(Generic[Req, Resp]):
    """Sends requests."""

    def __init__(self, response: type[Resp], port: ClientPort, listener: ListenerPort, notifier: NotifierPort) -> None:
        self._response = response
        self._port = port
        self._notifier = notifier
        self.listener = listener

    def send_copy(self, request: Req) -> PendingRequest[Resp]:
        """Send a copy of ``request`` and wake the server.

        Raises:
            BackPressure: the server's queue is full.
        """
        token = self._port.request(memoryview(request).cast("B"))
        self._notifier.notify()
        return PendingRequest(self._port, self._response, token)

    def close(self) -> None:
        """Close all ports; idempotent."""
        self.listener.close()
        self._notifier.close()
        self._port.close()
