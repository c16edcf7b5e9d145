"""Servers and clients in shared memory; it works on iceoryx2 objects that it is given, and never blocks."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from taktora.errors import BackPressure, TransportError
from taktora.transport.base import PayloadType
from taktora.transport.rules import MAX_ACTIVE_REQUESTS_PER_CLIENT, closed_error, overflow_error
from taktora.transport.shared_service import SharedPort, SharedService, view_of

__all__ = ["IceoryxClient", "IceoryxServer"]

Bytes = bytes | bytearray | memoryview


class IceoryxServer(SharedPort):
    """Takes requests in order of arrival and answers each once."""

    __slots__ = ("_active", "_request_bytes", "_response_bytes", "_tokens")

    def __init__(
        self,
        service: SharedService,
        port: Any,
        on_close: Callable[[], None],
        request: PayloadType,
        response: PayloadType,
    ) -> None:
        super().__init__(service, port, on_close)
        self._request_bytes = request.size_bytes
        self._response_bytes = response.size_bytes
        self._active: dict[int, Any] = {}
        self._tokens = count(1)

    def take_request(self) -> tuple[memoryview, int] | None:
        if self._closed:
            raise closed_error(self.service)
        try:
            request = self._port.receive()
        except self._iox.ReceiveError as cause:
            raise TransportError(f"server on {self.service}: cannot receive: {cause}") from cause
        if request is None:
            return None
        token = next(self._tokens)
        self._active[token] = request
        # A copy: the caller may keep the view, the sample must go back with the answer.
        return memoryview(bytes(view_of(request.payload_ptr, self._request_bytes))), token

    def respond(self, token: int, payload: Bytes) -> bool:
        if self._closed:
            raise closed_error(self.service)
        if len(payload) > self._response_bytes:
            raise overflow_error(self.service, len(payload), self._response_bytes)
        request = self._active.pop(token, None)
        if request is None:
            return False
        try:
            return bool(request.is_connected) and self._answer(request, payload)
        finally:
            request.delete()

    def _answer(self, request: Any, payload: Bytes) -> bool:
        try:
            slot = request.loan_uninit()
            _fill(slot.payload_ptr, self._response_bytes, payload)
            slot.assume_init().send()
        except (self._iox.LoanError, self._iox.SendError) as cause:
            raise TransportError(f"server on {self.service}: cannot respond: {cause}") from cause
        return True

    def _before_close(self) -> None:
        for request in self._active.values():
            request.delete()
        self._active.clear()


class IceoryxClient(SharedPort):
    """Sends requests and collects their answers by token."""

    __slots__ = ("_pending", "_request_bytes", "_response_bytes", "_tokens")

    def __init__(
        self,
        service: SharedService,
        port: Any,
        on_close: Callable[[], None],
        request: PayloadType,
        response: PayloadType,
    ) -> None:
        super().__init__(service, port, on_close)
        self._request_bytes = request.size_bytes
        self._response_bytes = response.size_bytes
        self._pending: dict[int, Any] = {}
        self._tokens = count(1)

    def request(self, payload: Bytes) -> int:
        if self._closed:
            raise closed_error(self.service)
        if len(payload) > self._request_bytes:
            raise overflow_error(self.service, len(payload), self._request_bytes)
        pending = self._sent(payload)
        if not pending.number_of_server_connections:
            pending.delete()
            raise BackPressure(
                f"service {self.service}: no server is open or its queue of {MAX_ACTIVE_REQUESTS_PER_CLIENT} "
                "requests is full; nothing was sent, try again later"
            )
        token = next(self._tokens)
        self._pending[token] = pending
        return token

    def _sent(self, payload: Bytes) -> Any:
        try:
            slot = self._port.loan_uninit()
            _fill(slot.payload_ptr, self._request_bytes, payload)
            return slot.assume_init().send()
        except (self._iox.RequestSendError, self._iox.LoanError) as cause:
            if "ExceedsMaxActiveRequests" in str(cause):
                raise BackPressure(
                    f"service {self.service}: {len(self._pending)} requests of this client are open, "
                    f"the limit is {MAX_ACTIVE_REQUESTS_PER_CLIENT}; take or forget one first"
                ) from cause
            raise TransportError(f"client on {self.service}: cannot send: {cause}") from cause

    def take_response(self, token: int) -> bytes | None:
        if self._closed:
            raise closed_error(self.service)
        pending = self._pending.get(token)
        response = None if pending is None else pending.receive()
        if response is None:
            return None
        answer = bytes(view_of(response.payload_ptr, self._response_bytes))
        response.delete()
        self.forget(token)
        return answer

    def forget(self, token: int) -> None:
        pending = self._pending.pop(token, None)
        if pending is not None:
            pending.delete()

    def _before_close(self) -> None:
        for token in list(self._pending):
            self.forget(token)


def _fill(address: int, size_bytes: int, payload: Bytes) -> None:
    view = view_of(address, size_bytes)
    length = len(payload)
    view[:length] = payload
    view[length:] = bytes(size_bytes - length)
    view.release()
