"""Publishers and subscribers in shared memory; it works on iceoryx2 objects that it is given, and never blocks."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import Structure, c_uint64
from typing import Any

from taktora.errors import TransportError
from taktora.transport.base import Delivery
from taktora.transport.rules import closed_error, loan_error, overflow_error
from taktora.transport.shared_service import SharedPort, SharedService, view_of

__all__ = ["IceoryxPublisher", "IceoryxSlicePublisher", "IceoryxSliceSubscriber", "IceoryxSubscriber", "SliceHeader"]

_MAX_KEPT_VIEWS = 512
_RECOUNT_EVERY = 64


# req: REQ_0889
class SliceHeader(Structure):
    """User header of slice services: two u64."""

    _fields_ = (("sequence_number", c_uint64), ("timestamp_ns", c_uint64))
    sequence_number: int
    timestamp_ns: int

    @staticmethod
    def type_name() -> str:
        return "taktora.SliceHeader"


class _PublisherBase(SharedPort):
    __slots__ = ("_connected", "_losses", "_reap", "_sample", "_view")

    def __init__(
        self, service: SharedService, port: Any, on_close: Callable[[], None], reap: Callable[[], int]
    ) -> None:
        super().__init__(service, port, on_close)
        self._connected = service.handle.dynamic_config
        self._reap = reap
        self._losses = 0
        self._sample: Any = None
        self._view: memoryview | None = None

    def _refuse(self) -> Exception:
        return closed_error(self.service) if self._closed else loan_error(self.service, self._sample is not None)

    def _send(self) -> Delivery:
        sample, view = self._sample, self._view
        if sample is None or view is None:
            raise self._refuse()
        self._sample = None
        view.release()
        connected = self._connected.number_of_subscribers
        try:
            reached = sample.assume_init().send()
        except self._iox.SendError as cause:
            raise TransportError(f"publisher on {self.service}: cannot send: {cause}") from cause
        if reached != connected:
            connected = self._recount(reached, connected)
        return Delivery(reached, connected)

    def _recount(self, reached: int, connected: int) -> int:
        """Return how many readers are really there: some may have come, gone or died since the first count."""
        if reached > connected:
            return reached
        # Reaping costs 0.1 ms: do it for the first loss and now and then, not at each send to a slow reader.
        if self._losses % _RECOUNT_EVERY == 0:
            self._reap()
        self._losses += 1
        return max(reached, min(connected, int(self._connected.number_of_subscribers)))

    def discard(self) -> None:
        sample, view = self._sample, self._view
        if sample is None or view is None:
            return
        self._sample = None
        view.release()
        sample.delete()

    def _before_close(self) -> None:
        self.discard()
        self._connected = None


class IceoryxPublisher(_PublisherBase):
    """Publisher of fixed-size samples."""

    __slots__ = ("_loan_error", "_loan_uninit", "_views", "payload_bytes")

    def __init__(
        self,
        service: SharedService,
        port: Any,
        on_close: Callable[[], None],
        reap: Callable[[], int],
        payload_bytes: int,
    ) -> None:
        super().__init__(service, port, on_close, reap)
        self.payload_bytes = payload_bytes
        self._views: dict[int, memoryview] = {}
        self._loan_uninit = port.loan_uninit
        self._loan_error = service.iox.LoanError

    def loan(self) -> memoryview:
        if self._sample is not None or self._closed:
            raise self._refuse()
        try:
            sample = self._loan_uninit()
        except self._loan_error as cause:
            raise TransportError(f"publisher on {self.service}: no slot is free: {cause}") from cause
        self._sample = sample
        address = sample.payload_ptr
        whole = self._views.get(address)
        if whole is None:
            whole = self._views[address] = view_of(address, self.payload_bytes)
        self._view = view = whole[:]
        return view

    def publish(self) -> Delivery:
        return self._send()

    def _before_close(self) -> None:
        super()._before_close()
        self._loan_uninit = None
        self._views.clear()


class IceoryxSlicePublisher(_PublisherBase):
    """Publisher of slices."""

    __slots__ = ("max_payload_bytes",)

    def __init__(
        self,
        service: SharedService,
        port: Any,
        on_close: Callable[[], None],
        reap: Callable[[], int],
        max_payload_bytes: int,
    ) -> None:
        super().__init__(service, port, on_close, reap)
        self.max_payload_bytes = max_payload_bytes

    def loan(self, length_bytes: int) -> memoryview:
        if length_bytes > self.max_payload_bytes:
            raise overflow_error(self.service, length_bytes, self.max_payload_bytes)
        if self._sample is not None or self._closed or length_bytes < 0:
            raise self._refuse()
        try:
            sample = self._port.loan_slice_uninit(length_bytes)
        except self._iox.LoanError as cause:
            raise TransportError(
                f"publisher on {self.service}: no slot of {length_bytes} bytes is free: {cause}"
            ) from cause
        self._sample = sample
        self._view = view = view_of(sample.payload_ptr, length_bytes)
        return view

    def publish(self, sequence_number: int, timestamp_ns: int) -> Delivery:
        sample = self._sample
        if sample is not None:
            header = SliceHeader.from_address(sample.user_header_ptr)
            header.sequence_number = sequence_number
            header.timestamp_ns = timestamp_ns
        return self._send()


class _SubscriberBase(SharedPort):
    __slots__ = ("_receive", "_receive_error", "_sample", "_view")

    def __init__(self, service: SharedService, port: Any, on_close: Callable[[], None]) -> None:
        super().__init__(service, port, on_close)
        self._receive = port.receive
        self._receive_error = service.iox.ReceiveError
        self._sample: Any = None
        self._view: memoryview | None = None

    def _next(self) -> Any:
        if self._sample is not None:
            self.release()
        if self._closed:
            raise closed_error(self.service)
        try:
            self._sample = sample = self._receive()
        except self._receive_error as cause:
            raise TransportError(f"subscriber on {self.service}: cannot receive: {cause}") from cause
        return sample

    def release(self) -> None:
        sample, view = self._sample, self._view
        if sample is None:
            return
        self._sample = None
        if view is not None:
            view.release()
        sample.delete()

    def _before_close(self) -> None:
        self.release()
        self._receive = None


class IceoryxSubscriber(_SubscriberBase):
    """Subscriber of fixed-size samples."""

    __slots__ = ("_views", "payload_bytes")

    def __init__(self, service: SharedService, port: Any, on_close: Callable[[], None], payload_bytes: int) -> None:
        super().__init__(service, port, on_close)
        self.payload_bytes = payload_bytes
        self._views: dict[int, memoryview] = {}

    def receive(self) -> memoryview | None:
        sample = self._next()
        if sample is None:
            return None
        address = sample.payload_ptr
        whole = self._views.get(address)
        if whole is None:
            whole = self._keep_view(address)
        self._view = view = whole[:]
        return view

    def _keep_view(self, address: int) -> memoryview:
        if len(self._views) >= _MAX_KEPT_VIEWS:
            self._views.clear()
        self._views[address] = whole = view_of(address, self.payload_bytes).toreadonly()
        return whole


class IceoryxSliceSubscriber(_SubscriberBase):
    """Subscriber of slices; one longer than ``max_payload_bytes`` is dropped and reported as overflow."""

    __slots__ = ("max_payload_bytes",)

    def __init__(self, service: SharedService, port: Any, on_close: Callable[[], None], max_payload_bytes: int) -> None:
        super().__init__(service, port, on_close)
        self.max_payload_bytes = max_payload_bytes

    def receive(self) -> tuple[memoryview, int, int] | None:
        sample = self._next()
        if sample is None:
            return None
        length = sample.payload().len()
        if length > self.max_payload_bytes:
            self.release()
            raise overflow_error(self.service, length, self.max_payload_bytes)
        header = SliceHeader.from_address(sample.user_header_ptr)
        self._view = view = view_of(sample.payload_ptr, length).toreadonly()
        return view, header.sequence_number, header.timestamp_ns
