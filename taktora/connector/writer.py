"""The sending end of a channel in the application; it encodes into the loaned slot and never waits."""

from __future__ import annotations

from types import TracebackType
from typing import Generic, Self, TypeVar, final

from taktora.clock import Clock
from taktora.codec.base import Codec
from taktora.connector.gate import SendGate
from taktora.transport.base import ServiceSettings, Transport
from taktora.transport.channel import RawChannelWriter, SendOutcome

__all__ = ["ChannelWriter"]

T = TypeVar("T")
C_co = TypeVar("C_co", bound=Codec, covariant=True)

_DEFAULT = ServiceSettings()


# req: REQ_0211, REQ_0223
@final
class ChannelWriter(Generic[T, C_co]):
    """Sends values of one type on one channel, encoded by one codec.

    The outcomes of ``send``, the same for every connector:

    ===================  =======================================================================  ===============
    outcome              when                                                                     number consumed
    ===================  =======================================================================  ===============
    ``SendOutcome``      published to every connected reader (none may be connected)              yes
    ``BackPressure``     the way out is full (gate): before anything is loaned                    no
    ``BackPressure``     a connected reader's buffer was full: that reader lost the envelope      yes
    ``NotReady``         the bus is not up yet (a BackPressure): before anything is loaned        no
    ``LinkDown``         the connector is Down: before anything is loaned, nothing is stored      no
    ``PayloadOverflow``  the encoding needs more than ``max_payload_size`` bytes                  no
    ``CodecError``       the codec refused the value                                              no
    ``ShutdownError``    the connector or this writer has been closed                             no
    ===================  =======================================================================  ===============

    One thread at a time may use a writer.

    Args:
        transport: Where the ports are opened.
        service: Full service name, ``<channel>.out`` in an application.
        max_payload_size: Bytes one encoded value may need.
        codec: Encodes the values.
        clock: Source of the UNIX timestamp.
        gate: Says Down, full and closed; None for a channel without a connector behind it.
        settings: Quality of service.
    """

    __slots__ = ("_codec", "_discard", "_encode", "_envelopes", "_gate", "_loan", "_publish")

    def __init__(
        self,
        transport: Transport,
        service: str,
        max_payload_size: int,
        codec: C_co,
        clock: Clock,
        gate: SendGate | None = None,
        settings: ServiceSettings = _DEFAULT,
    ) -> None:
        # The class that gateways use too, since the interpreter's caches are for one class at a time.
        self._envelopes = RawChannelWriter(transport, service, max_payload_size, clock, settings)
        self._gate = SendGate(service) if gate is None else gate
        self._loan, self._publish = self._envelopes.loan, self._envelopes.publish
        self._discard = self._envelopes.discard
        self._codec, self._encode = codec, codec.encode_into

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
    def sequence_number(self) -> int:
        """Number of the next envelope."""
        return self._envelopes.sequence_number

    @property
    def back_pressure_count(self) -> int:
        """How many sends a full reader lost."""
        return self._envelopes.back_pressure_count

    # req: REQ_0205
    def send(self, value: T, /) -> SendOutcome:
        """Encode and publish ``value``; see the table of outcomes."""
        if self._gate.blocked:
            self._gate.refuse(self._envelopes.service)
        loan, encode, publish = self._loan, self._encode, self._publish  # called as locals: faster in Python 3.11
        slot = loan()
        try:
            length = encode(value, slot)
        except BaseException:
            self._discard()
            raise
        return publish(length)

    # req: REQ_0204, REQ_0290
    def send_with_correlation(self, value: T, correlation_id: bytes, /) -> SendOutcome:
        """As ``send``, with 32 bytes that travel untouched and mean nothing to the framework (REQ_0204)."""
        if self._gate.blocked:
            self._gate.refuse(self._envelopes.service)
        slot = self._loan()
        try:
            length = self._encode(value, slot)
        except BaseException:
            self._discard()
            raise
        return self._publish(length, correlation_id)

    def close(self) -> None:
        """Close the ports; idempotent. Later sends raise ``ShutdownError``."""
        self._envelopes.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
