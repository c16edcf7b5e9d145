"""Raw ends of a channel: envelopes on a fixed-size service, checked on receipt; no codec is ever run here.

Typed ends (``taktora.connector``) and raw ends meet on the same service: both are built on :class:`EnvelopeWriter` and
:class:`EnvelopeReader`. What a writer promises: a send that fails in encoding or by overflow consumes no sequence
number; a send that a full reader could not store raises ``BackPressure``, is counted, and has consumed its number, so
that this reader sees the gap. What a reader promises: an envelope that fails its check is counted and passed over,
never mistaken for an empty queue.
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import Literal, TypeAlias

from msgspec import Struct

from taktora.clock import Clock
from taktora.errors import BackPressure
from taktora.transport.base import Delivery, ServiceSettings, Transport, event_service_name
from taktora.transport.envelope import NO_CORRELATION, Fields, accept, diagnose, envelope_type, stamp
from taktora.transport.rules import overflow_error

__all__ = [
    "EnvelopeReader",
    "EnvelopeWriter",
    "IntegrityFault",
    "IntegritySink",
    "RawChannelReader",
    "RawChannelWriter",
    "RawSample",
    "SendOutcome",
    "SequenceCheck",
    "back_pressure",
]

IntegrityFault: TypeAlias = Literal["corrupt", "gap", "repeat"]
IntegritySink: TypeAlias = Callable[[IntegrityFault, str], None]
"""Called with the kind of fault and its description in words, from the reader's thread."""

_DEFAULT = ServiceSettings()


class SendOutcome(Struct, frozen=True, gc=False):
    """What a successful send did."""

    sequence_number: int
    timestamp_ns: int
    bytes_written: int


class RawSample(Struct, frozen=True, gc=False):
    """What came with the bytes of one envelope."""

    sequence_number: int
    timestamp_ns: int
    correlation_id: bytes
    payload_len: int
    reserved: int


def back_pressure(service: str, sequence_number: int, delivery: Delivery) -> BackPressure:
    """Build the report of a publish that full readers lost."""
    full = delivery.connected - delivery.reached
    return BackPressure(
        f"channel {service}: {full} of {delivery.connected} readers are full and lost envelope {sequence_number}; "
        "read faster, send slower or raise subscriber_max_buffer_size"
    )


# req: REQ_0202
class EnvelopeWriter:
    """Owns publisher and notifier of one service; stamps, counts and publishes envelopes.

    Args:
        transport: Where the ports are opened.
        service: Full service name, with its ``.out`` or ``.in``.
        max_payload_size: Bytes of payload an envelope holds.
        clock: Source of the UNIX timestamp.
        settings: Quality of service; the default is the one for channels.
    """

    __slots__ = (
        "_end",
        "_event",
        "_loan",
        "_loaned",
        "_notify",
        "_publish",
        "_publisher",
        "_timestamp_ns",
        "_unix_ns",
        "back_pressure_count",
        "max_payload_size",
        "sequence_number",
        "service",
    )

    def __init__(
        self,
        transport: Transport,
        service: str,
        max_payload_size: int,
        clock: Clock,
        settings: ServiceSettings = _DEFAULT,
    ) -> None:
        self.service = service
        self.max_payload_size = max_payload_size
        self.sequence_number = 0
        self.back_pressure_count = 0
        self._publisher = transport.publisher(service, envelope_type(max_payload_size), settings)
        try:
            self._event = transport.notifier(event_service_name(service))
        except BaseException:
            self._publisher.close()
            raise
        self._end = 64 + max_payload_size
        self._unix_ns = clock.unix_ns
        self._loan, self._publish, self._notify = self._publisher.loan, self._publisher.publish, self._event.notify
        self._timestamp_ns = 0

    # req: REQ_0203, REQ_0205
    def loan(self) -> memoryview:
        """Return the payload part of a fresh slot, ``max_payload_size`` bytes, and take the timestamp."""
        loan, unix_ns = self._loan, self._unix_ns  # Python 3.11 calls locals faster than attributes that hold functions
        self._loaned = view = loan()
        self._timestamp_ns = unix_ns()
        return view[64 : self._end]

    def publish(self, payload_len: int, correlation_id: bytes = NO_CORRELATION, reserved: int = 0) -> SendOutcome:
        """Stamp and send the loaned slot, then wake the readers.

        Raises:
            BackPressure: at least one reader is full and lost the envelope; its number is consumed.
        """
        number, timestamp_ns = self.sequence_number, self._timestamp_ns
        try:
            stamp(self._loaned, number, timestamp_ns, correlation_id, payload_len, reserved)
        except BaseException:
            self.discard()
            raise
        publish, notify = self._publish, self._notify
        delivery = publish()
        self.sequence_number = number + 1
        notify()
        if delivery[0] < delivery[1]:
            self.back_pressure_count += 1
            raise back_pressure(self.service, number, delivery)
        return SendOutcome(number, timestamp_ns, payload_len)

    def discard(self) -> None:
        """Give the loaned slot back; no number is consumed."""
        self._publisher.discard()

    def close(self) -> None:
        """Close both ports; idempotent.

        Through shared memory a reader in another transport (another process) connects when it next looks. If it has not
        looked since this writer was opened, all that was sent is lost to it, and it sees no gap. So keep a writer open
        for as long as its application runs; a program that sends and ends waits for an answer on another channel first,
        or at least for longer than the reader's longest item takes. In one process nothing is lost.
        """
        self._event.close()
        self._publisher.close()


class SequenceCheck:
    """Finds gaps and repeats in a stream of sequence numbers; the first number seen only sets the start.

    A lower number is a writer that restarted, not a gap. An equal one is a repeat only if nothing else of the envelope
    differs either; otherwise the writer restarted.
    """

    __slots__ = ("expected", "gaps", "mark", "repeats", "sink")

    def __init__(self, sink: IntegritySink | None = None) -> None:
        self.gaps = 0
        self.repeats = 0
        self.sink = sink
        self.expected = -1
        """The number that comes next; -1 before the first."""
        self.mark: object = None
        """What tells the last envelope from another one of its number."""

    def passes(self, number: int, mark: object) -> bool:
        """Take note of one envelope; False if it repeats the last one. ``mark`` tells two of equal number apart."""
        expected = self.expected
        if number != expected and expected >= 0:
            if number == expected - 1 and mark == self.mark:
                self._report_repeat(number)
                return False
            if number > expected:
                self._report_gap(number)
        self.expected = number + 1
        self.mark = mark
        return True

    def _report_gap(self, number: int) -> None:
        self.gaps += 1
        if self.sink is not None:
            self.sink("gap", f"{number - self.expected} envelopes missing before number {number}")

    def _report_repeat(self, number: int) -> None:
        self.repeats += 1
        if self.sink is not None:
            self.sink("repeat", f"envelope {number} came again")


# req: REQ_0240
class EnvelopeReader:
    """Owns the subscriber of one service; hands out checked envelopes only.

    Args:
        transport: Where the port is opened.
        service: Full service name, with its ``.out`` or ``.in``.
        max_payload_size: Bytes of payload an envelope holds.
        settings: Quality of service; the default is the one for channels.
        on_integrity_fault: Told of every envelope that was discarded or is missing.
    """

    __slots__ = ("_receive", "_sequence", "_subscriber", "crc_errors", "max_payload_size", "service", "view", "waiting")

    def __init__(
        self,
        transport: Transport,
        service: str,
        max_payload_size: int,
        settings: ServiceSettings = _DEFAULT,
        on_integrity_fault: IntegritySink | None = None,
    ) -> None:
        self.service = service
        self.max_payload_size = max_payload_size
        self.crc_errors = 0
        self.view = memoryview(b"")
        self._sequence = SequenceCheck(on_integrity_fault)
        self._subscriber = transport.subscriber(service, envelope_type(max_payload_size), settings)
        self._receive = self._subscriber.receive
        self.waiting: Sized | None = getattr(self._subscriber, "queue", None)
        """Empty when nothing has arrived, where a receive is not needed to know; None where it is, and once closed."""

    @property
    def sequence_gaps(self) -> int:
        """How often numbers were missing between two envelopes."""
        return self._sequence.gaps

    @property
    def repeats(self) -> int:
        """How many envelopes came a second time and were dropped."""
        return self._sequence.repeats

    def set_integrity_sink(self, sink: IntegritySink | None) -> None:
        """Replace who is told of integrity faults."""
        self._sequence.sink = sink

    def receive(self) -> Fields | None:
        """Return the header fields of the next intact envelope, None only when the queue is empty.

        ``view`` is the whole envelope until the next ``receive``, ``release`` or ``close``; the payload is
        ``view[64 : 64 + fields[3]]``.
        """
        take = self._receive
        while True:
            view = take()
            if view is None:
                return None
            fields = accept(view)
            if fields is None or fields[3] > self.max_payload_size:
                self._count_corrupt(view)
                continue
            number, sequence = fields[0], self._sequence
            if number == sequence.expected:  # passes, in place
                sequence.expected = number + 1
                sequence.mark = fields[5]
            elif not sequence.passes(number, fields[5]):
                continue
            self.view = view
            return fields

    def _count_corrupt(self, view: memoryview) -> None:
        self.crc_errors += 1
        if self._sequence.sink is not None:
            reason = diagnose(view) or f"payload_len is beyond max_payload_size {self.max_payload_size}"
            self._sequence.sink("corrupt", reason)

    def release(self) -> None:
        """Give back the sample of the last ``receive`` now."""
        self._subscriber.release()

    def close(self) -> None:
        """Close the port; idempotent."""
        self.waiting = None
        self._subscriber.close()


class RawChannelWriter(EnvelopeWriter):
    """Sends bytes as they are; the writing end of a gateway."""

    __slots__ = ()

    def send_raw_bytes(
        self, payload: bytes | bytearray | memoryview, correlation_id: bytes = NO_CORRELATION, reserved: int = 0
    ) -> SendOutcome:
        """Send ``payload``; the size is checked before anything is loaned.

        Args:
            payload: At most ``max_payload_size`` bytes.
            correlation_id: 32 bytes, carried untouched.
            reserved: The header's reserved word, 0 to 2**32 - 1.

        Raises:
            PayloadOverflow: the payload is longer than the channel.
            BackPressure: a reader is full and lost the envelope.
        """
        length = len(payload)
        if length > self.max_payload_size:
            raise overflow_error(self.service, length, self.max_payload_size)
        loan, unix_ns = self._loan, self._unix_ns
        self._loaned = slot = loan()  # loan, in place: a view less
        self._timestamp_ns = unix_ns()
        try:
            slot[64 : 64 + length] = payload
        except BaseException:
            self.discard()
            raise
        return self.publish(length, correlation_id, reserved)


class RawChannelReader(EnvelopeReader):
    """Receives bytes as they are; the reading end of a gateway."""

    __slots__ = ()

    def try_recv(self) -> tuple[RawSample, memoryview] | None:
        """Return the next sample and a view of its payload, valid until the next call on this reader; None if empty."""
        fields = self.receive()
        if fields is None:
            return None
        number, timestamp_ns, correlation_id, length, reserved, _crc32, _version, _padding = fields
        return RawSample(number, timestamp_ns, correlation_id, length, reserved), self.view[64 : 64 + length]

    def try_recv_into(self, buffer: bytearray | memoryview) -> RawSample | None:
        """Copy the next payload to the start of ``buffer``; None if there is none.

        Raises:
            PayloadOverflow: the payload is longer than ``buffer``; this sample is dropped.
        """
        fields = self.receive()
        if fields is None:
            return None
        length = fields[3]
        try:
            if length > len(buffer):
                raise overflow_error(self.service, length, len(buffer))
            buffer[:length] = self.view[64 : 64 + length]
        finally:
            self.release()
        return RawSample(*fields[:5])
