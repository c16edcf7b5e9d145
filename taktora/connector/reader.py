"""The receiving end of a channel in the application; it decodes checked envelopes and offers no way to send."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar, final

from msgspec import Struct

from taktora.clock import Clock
from taktora.codec.base import Codec
from taktora.errors import CodecError, TaktoraError
from taktora.transport.base import ListenerPort, ServiceSettings, Transport, event_service_name
from taktora.transport.channel import IntegritySink, RawChannelReader

__all__ = ["ChannelReader", "RecvEnvelope"]

T = TypeVar("T")
C_co = TypeVar("C_co", bound=Codec, covariant=True)

_DEFAULT = ServiceSettings()


class RecvEnvelope(Struct, Generic[T], frozen=True):
    """One received value with what its envelope says; ``timestamp_ns`` is UNIX time of sending."""

    sequence_number: int
    timestamp_ns: int
    correlation_id: bytes
    value: T


# req: REQ_0211, REQ_0223, TSR_0005
@final
class ChannelReader(Generic[T, C_co]):
    """Receives values of one type from one channel, decoded by one codec.

    An envelope that fails its check (CRC, length, wire version) or repeats the last one is counted, reported to
    ``on_integrity_fault`` and passed over; None from :meth:`try_recv` means that the queue is empty and nothing else.
    The first envelope only sets the start of the sequence, so that a late joiner sees no gap; neither does one whose
    writer restarted.

    :attr:`listener` makes the reader a trigger of an executor item. Drain the reader completely when it fires: one
    notification may stand for many envelopes. One thread at a time may use a reader.

    Args:
        transport: Where the ports are opened.
        service: Full service name, ``<channel>.in`` in an application.
        max_payload_size: Bytes of payload an envelope of this channel holds.
        codec: Decodes the values.
        value_type: What the codec builds.
        clock: Source of the UNIX time that :meth:`age_ns` compares with.
        on_integrity_fault: Told ``(kind, text)`` of every envelope that was discarded or is missing.
        settings: Quality of service.
        on_close: Told once, when the reader has been closed.
    """

    __slots__ = (
        "_closed",
        "_codec",
        "_decode",
        "_envelopes",
        "_listener",
        "_now_ns",
        "_on_close",
        "_receive",
        "_sent_ns",
        "_transport",
        "_unix_ns",
        "_value_type",
        "last_sequence_number",
        "last_timestamp_ns",
        "waiting",
    )

    def __init__(
        self,
        transport: Transport,
        service: str,
        max_payload_size: int,
        codec: C_co,
        value_type: type[T],
        clock: Clock,
        on_integrity_fault: IntegritySink | None = None,
        settings: ServiceSettings = _DEFAULT,
        on_close: Callable[[ChannelReader[T, C_co]], None] | None = None,
    ) -> None:
        self._closed, self._on_close = False, on_close
        self._transport, self._codec = transport, codec
        self._now_ns, self._unix_ns = clock.now_ns, clock.unix_ns
        # The class that gateways use too, since the interpreter's caches are for one class at a time.
        self._envelopes = RawChannelReader(transport, service, max_payload_size, settings, on_integrity_fault)
        self._listener: ListenerPort | None = None
        self._receive, self._decode = self._envelopes.receive, codec.decode
        self.waiting = self._envelopes.waiting
        """Empty when nothing has arrived, where a receive is not needed to know; None where it is, and once closed."""
        self._value_type = value_type
        self.last_sequence_number: int | None = None
        self.last_timestamp_ns: int | None = None
        self._sent_ns: int | None = None

    @property
    def service(self) -> str:
        return self._envelopes.service

    @property
    def codec(self) -> C_co:
        return self._codec

    @property
    def max_payload_size(self) -> int:
        return self._envelopes.max_payload_size

    @property
    def value_type(self) -> type[T]:
        return self._value_type

    @property
    def crc_errors(self) -> int:
        """How many envelopes failed their check and were discarded."""
        return self._envelopes.crc_errors

    @property
    def sequence_gaps(self) -> int:
        """How often numbers were missing between two envelopes."""
        return self._envelopes.sequence_gaps

    @property
    def repeats(self) -> int:
        """How many envelopes came a second time and were discarded."""
        return self._envelopes.repeats

    @property
    def listener(self) -> ListenerPort:
        """What wakes an item when something arrives; opened at the first use."""
        if self._listener is None:
            self._listener = self._transport.listener(event_service_name(self._envelopes.service))
        return self._listener

    # req: REQ_0214, REQ_0293
    def try_recv(self) -> RecvEnvelope[T] | None:
        """Return the next value, or None when the queue is empty.

        Raises:
            CodecError: the payload is no valid encoding of the value type; that envelope is consumed, the next call
                goes on behind it.
            ShutdownError: the reader has been closed.
        """
        # Called as locals: faster in Python 3.11 than as attributes.
        receive, decode, now_ns, unix_ns = self._receive, self._decode, self._now_ns, self._unix_ns
        fields = receive()
        if fields is None:
            return None
        number, timestamp_ns, correlation_id, length, _reserved, _crc32, _version, _padding = fields
        try:
            value = decode(self._value_type, self._envelopes.view[64 : 64 + length])
        except TaktoraError as error:
            raise self._decode_error(number, error) from error
        self.last_sequence_number, self.last_timestamp_ns = number, timestamp_ns
        # Kept on the clock that nobody sets: a step of the civil one makes no value older or younger than it is.
        on_its_way_ns = unix_ns() - timestamp_ns
        self._sent_ns = now_ns() - on_its_way_ns if on_its_way_ns > 0 else now_ns()
        return RecvEnvelope(number, timestamp_ns, correlation_id, value)

    def drain(self) -> Iterator[RecvEnvelope[T]]:
        """Yield values until the queue is empty; raises as :meth:`try_recv`, and may be taken up again after that."""
        while (envelope := self.try_recv()) is not None:
            yield envelope

    def age_ns(self) -> int | None:
        """Return how long ago the last value that could be decoded was sent, at least 0; None if none ever came.

        The way to this reader is timed by the civil clocks of both ends, the time since then by the monotonic one.
        """
        sent_ns = self._sent_ns
        return None if sent_ns is None else max(0, self._now_ns() - sent_ns)

    def close(self) -> None:
        """Close the ports; idempotent. Later calls raise ``ShutdownError``."""
        if self._closed:
            return
        self._closed, self.waiting = True, None
        if self._listener is not None:
            self._listener.close()
        self._envelopes.close()
        if self._on_close is not None:
            self._on_close(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _decode_error(self, number: int, error: TaktoraError) -> CodecError:
        cause = error.cause if isinstance(error, CodecError) else str(error)
        place = f"{self._envelopes.service}, envelope {number}, as {self._value_type.__name__}"
        return CodecError(self._codec.format_name, f"{place}: {cause}")
