"""Ends of a slice channel: one message of any length per sample, up to a ceiling; it never replaces the envelope.

The user header carries sequence number and timestamp and nothing else. ``crc=True`` (on both ends) appends a CRC-32
over header and message to each sample, four bytes long, and checks it on receipt; above 64 KiB the CRC costs more than
the rest of the hop, hence the choice.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple
from zlib import crc32

from taktora.clock import Clock
from taktora.transport.base import ServiceSettings, Transport, event_service_name
from taktora.transport.channel import IntegritySink, SendOutcome, SequenceCheck, back_pressure
from taktora.transport.rules import overflow_error

__all__ = ["RecvSlice", "SliceChannelReader", "SliceChannelWriter"]

_DEFAULT = ServiceSettings()
_HEADER = Struct("=QQ")
_TRAILER = Struct("=I")


class RecvSlice(NamedTuple):
    """One received message; ``payload`` is valid until the next call on the reader."""

    payload: memoryview
    sequence_number: int
    timestamp_ns: int


def _checksum(message: memoryview, sequence_number: int, timestamp_ns: int) -> int:
    return crc32(message, crc32(_HEADER.pack(sequence_number, timestamp_ns)))


def _mark(message: RecvSlice) -> tuple[int, int]:
    """Return what tells ``message`` from another one of its number, where there is no CRC that does.

    Two writers meet in number 0, which each begins with: there the bytes count, be the instant the same. All others
    are told apart by time and length, because a CRC over each would cost more than the hop.
    """
    payload, sequence_number, timestamp_ns = message
    return timestamp_ns, len(payload) if sequence_number else crc32(payload)


# req: REQ_0885, REQ_0889, REQ_0900
class SliceChannelWriter:
    """Sends messages whose length is chosen per message.

    Args:
        transport: Where the ports are opened.
        service: Full service name.
        initial_max_slice_len: Bytes the segment's slots begin with; they grow by powers of two. Give
            ``max_payload_bytes`` if messages are to outlive this writer: see :meth:`close`.
        max_payload_bytes: Ceiling of a message; growth ends here.
        clock: Source of the UNIX timestamp.
        settings: Quality of service.
        crc: Protect each message with a CRC; the reader must be opened alike.
    """

    def __init__(
        self,
        transport: Transport,
        service: str,
        initial_max_slice_len: int,
        max_payload_bytes: int,
        clock: Clock,
        settings: ServiceSettings = _DEFAULT,
        *,
        crc: bool = False,
    ) -> None:
        self.service = service
        self.max_payload_bytes = max_payload_bytes
        self.sequence_number = 0
        self.back_pressure_count = 0
        self._clock = clock
        self._extra_bytes = _TRAILER.size if crc else 0
        ceiling = max_payload_bytes + self._extra_bytes
        self._publisher = transport.slice_publisher(
            service, initial_max_slice_len + self._extra_bytes, ceiling, settings
        )
        try:
            self._event = transport.notifier(event_service_name(service))
        except BaseException:
            self._publisher.close()
            raise

    # req: REQ_0886, REQ_0888
    def send(self, message: bytes | bytearray | memoryview) -> SendOutcome:
        """Send ``message``; its length is checked before anything is loaned.

        Raises:
            PayloadOverflow: the message is longer than ``max_payload_bytes``.
            BackPressure: a reader is full and lost the message; its number is consumed.
        """
        length, number = len(message), self.sequence_number
        if length > self.max_payload_bytes:
            raise overflow_error(self.service, length, self.max_payload_bytes)
        view = self._publisher.loan(length + self._extra_bytes)
        timestamp_ns = self._clock.unix_ns()
        try:
            self._fill(view, message, timestamp_ns)
        except BaseException:
            self._publisher.discard()
            raise
        delivery = self._publisher.publish(number, timestamp_ns)
        self.sequence_number = number + 1
        self._event.notify()
        if delivery.reached < delivery.connected:
            self.back_pressure_count += 1
            raise back_pressure(self.service, number, delivery)
        return SendOutcome(number, timestamp_ns, length)

    def _fill(self, view: memoryview, message: bytes | bytearray | memoryview, timestamp_ns: int) -> None:
        length = len(message)
        view[:length] = message
        if self._extra_bytes:
            _TRAILER.pack_into(view, length, _checksum(view[:length], self.sequence_number, timestamp_ns))

    def close(self) -> None:
        """Close both ports; idempotent.

        Through shared memory a segment goes with its writer, unless a reader has mapped it, which it does with the
        first message it takes from it: those in a new or grown segment are lost to it, and it sees no gap. With
        ``initial_max_slice_len`` equal to ``max_payload_bytes`` there is one segment, mapped when the reader connects:
        messages then stay as those of a channel do (``EnvelopeWriter.close``). In one process nothing is lost.
        """
        self._event.close()
        self._publisher.close()


# req: REQ_0885
class SliceChannelReader:
    """Receives messages without copying them.

    Args:
        transport: Where the port is opened.
        service: Full service name.
        max_payload_bytes: Longest message this reader takes; a longer one is dropped and raises PayloadOverflow.
        settings: Quality of service.
        crc: Check a CRC; the writer must be opened alike.
        on_integrity_fault: Told of every message that was discarded or is missing.
    """

    def __init__(
        self,
        transport: Transport,
        service: str,
        max_payload_bytes: int,
        settings: ServiceSettings = _DEFAULT,
        *,
        crc: bool = False,
        on_integrity_fault: IntegritySink | None = None,
    ) -> None:
        self.service = service
        self.crc_errors = 0
        self._crc = crc
        self._sequence = SequenceCheck(on_integrity_fault)
        ceiling = max_payload_bytes + (_TRAILER.size if crc else 0)
        self._subscriber = transport.slice_subscriber(service, ceiling, settings)

    @property
    def sequence_gaps(self) -> int:
        """How often numbers were missing between two messages."""
        return self._sequence.gaps

    def try_recv(self) -> RecvSlice | None:
        """Return the next intact message, None only when the queue is empty."""
        while True:
            received = self._subscriber.receive()
            if received is None:
                return None
            message = RecvSlice(*received)
            if not self._crc:
                mark: object = _mark(message)
            elif (mark := self._checked(message)) is None:
                continue
            else:
                message = message._replace(payload=message.payload[: -_TRAILER.size])
            if self._sequence.passes(message.sequence_number, mark):
                return message

    def _checked(self, message: RecvSlice) -> int | None:
        """Return the CRC at the end of ``message``; None, and count it, if it is not the right one."""
        length = len(message.payload) - _TRAILER.size
        if length >= 0:
            found: int = _TRAILER.unpack_from(message.payload, length)[0]
            if found == _checksum(message.payload[:length], message.sequence_number, message.timestamp_ns):
                return found
        self.crc_errors += 1
        if self._sequence.sink is not None:
            self._sequence.sink("corrupt", f"message {message.sequence_number} fails its CRC")
        return None

    def release(self) -> None:
        """Give back the sample of the last ``try_recv`` now."""
        self._subscriber.release()

    def close(self) -> None:
        """Close the port; idempotent."""
        self._subscriber.close()
