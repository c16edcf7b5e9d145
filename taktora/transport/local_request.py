"""Request and response inside one process: one answer per request, bounded queues; never blocks.

A request that was forgotten before the server took it is skipped, and its late answer is discarded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import count
from threading import RLock

from taktora.errors import BackPressure, TransportError
from taktora.transport.base import PayloadType
from taktora.transport.rules import (
    MAX_ACTIVE_REQUESTS_PER_CLIENT,
    MAX_CLIENTS,
    MAX_SERVERS,
    closed_error,
    overflow_error,
)

__all__ = ["LocalClient", "LocalExchange", "LocalServer"]

Bytes = bytes | bytearray | memoryview


class LocalExchange:
    """One request-response service and the ports on it."""

    pattern = "request-response"
    __slots__ = ("clients", "lock", "name", "request", "response", "server")

    def __init__(self, name: str, request: PayloadType, response: PayloadType) -> None:
        self.name = name
        self.lock = RLock()
        self.request = request
        self.response = response
        self.server: LocalServer | None = None
        self.clients: list[LocalClient] = []

    @property
    def idle(self) -> bool:
        """Whether no port is left."""
        return self.server is None and not self.clients


class _Request:
    __slots__ = ("client", "payload", "token")

    def __init__(self, client: LocalClient, token: int, payload: bytes) -> None:
        self.client = client
        self.token = token
        self.payload = payload


def padded(service: str, payload: Bytes, size_bytes: int) -> bytes:
    """Return ``payload`` filled up with zeros to ``size_bytes``; refuse a longer one."""
    if len(payload) > size_bytes:
        raise overflow_error(service, len(payload), size_bytes)
    return bytes(payload).ljust(size_bytes, b"\0")


class LocalServer:
    """Takes requests in order of arrival and answers each once."""

    __slots__ = ("_active", "_closed", "_exchange", "_on_close", "_tokens", "queue", "service")

    def __init__(self, exchange: LocalExchange, on_close: Callable[[], None]) -> None:
        if exchange.server is not None:
            raise TransportError(f"service {exchange.name}: a server is open and {MAX_SERVERS} is the limit")
        self.service = exchange.name
        self.queue: deque[_Request] = deque()
        self._exchange = exchange
        self._on_close = on_close
        self._active: dict[int, _Request] = {}
        self._tokens = count(1)
        self._closed = False
        exchange.server = self

    def take_request(self) -> tuple[memoryview, int] | None:
        if self._closed:
            raise closed_error(self.service)
        with self._exchange.lock:
            request = self._next_wanted()
        if request is None:
            return None
        token = next(self._tokens)
        self._active[token] = request
        return memoryview(request.payload), token

    def _next_wanted(self) -> _Request | None:
        while self.queue:
            request = self.queue.popleft()
            request.client.queued -= 1
            if request.client.awaits(request.token):
                return request
        return None

    def respond(self, token: int, payload: Bytes) -> bool:
        if self._closed:
            raise closed_error(self.service)
        answer = padded(self.service, payload, self._exchange.response.size_bytes)
        request = self._active.pop(token, None)
        if request is None:
            return False
        with self._exchange.lock:
            return request.client.accept(request.token, answer)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with self._exchange.lock:
            for request in self.queue:
                request.client.queued -= 1
            self.queue.clear()
            self._active.clear()
            self._exchange.server = None
        self._on_close()


class LocalClient:
    """Sends requests and collects their answers by token."""

    __slots__ = ("_answers", "_closed", "_exchange", "_on_close", "_tokens", "_waiting", "queued", "service")

    def __init__(self, exchange: LocalExchange, on_close: Callable[[], None]) -> None:
        if len(exchange.clients) >= MAX_CLIENTS:
            raise TransportError(f"service {exchange.name}: {MAX_CLIENTS} clients are open, which is the limit")
        self.service = exchange.name
        self.queued = 0
        self._exchange = exchange
        self._on_close = on_close
        self._answers: dict[int, bytes] = {}
        self._waiting: dict[int, None] = {}
        self._tokens = count(1)
        self._closed = False
        exchange.clients.append(self)

    def request(self, payload: Bytes) -> int:
        if self._closed:
            raise closed_error(self.service)
        message = padded(self.service, payload, self._exchange.request.size_bytes)
        with self._exchange.lock:
            return self._enqueue(message)

    def _enqueue(self, message: bytes) -> int:
        server = self._exchange.server
        if server is None:
            raise BackPressure(f"service {self.service}: no server is open; nothing was sent, try again later")
        active = max(len(self._waiting) + len(self._answers), self.queued)
        if active >= MAX_ACTIVE_REQUESTS_PER_CLIENT:
            raise BackPressure(
                f"service {self.service}: {active} requests of this client are open, "
                f"the limit is {MAX_ACTIVE_REQUESTS_PER_CLIENT}; take or forget one first"
            )
        token = next(self._tokens)
        self._waiting[token] = None
        self.queued += 1
        server.queue.append(_Request(self, token, message))
        return token

    def awaits(self, token: int) -> bool:
        """Return whether the answer to ``token`` is still wanted."""
        return token in self._waiting

    def accept(self, token: int, answer: bytes) -> bool:
        """Store an answer; False when nobody waits for it any more."""
        if token not in self._waiting:
            return False
        self._answers[token] = answer
        del self._waiting[token]
        return True

    def take_response(self, token: int) -> bytes | None:
        if self._closed:
            raise closed_error(self.service)
        return self._answers.pop(token, None)

    def forget(self, token: int) -> None:
        with self._exchange.lock:
            self._waiting.pop(token, None)
            self._answers.pop(token, None)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with self._exchange.lock:
            self._waiting.clear()
            self._answers.clear()
            self._exchange.clients.remove(self)
        self._on_close()
