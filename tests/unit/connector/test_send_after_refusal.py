"""What follows a value that could not be sent with a correlation id, and an envelope longer than its channel."""

from __future__ import annotations

import pytest

from taktora.connector import ChannelReader, ChannelWriter
from taktora.errors import CodecError, PayloadOverflow
from taktora.transport.base import ServiceSettings, Transport
from taktora.transport.channel import RawChannelReader
from taktora.transport.envelope import envelope_type, stamp
from tests.unit.connector.conftest import ManualClock, Tick, TickCodec

IDENTITY = bytes(range(32))


@pytest.mark.verifies("REQ_0204", "REQ_0205", "REQ_0202")
@pytest.mark.parametrize("label", [object(), "x" * 200])
def test_a_refused_value_with_a_correlation_id_gives_the_slot_back(
    label: object, transport: Transport, clock: ManualClock
) -> None:
    reader: ChannelReader[Tick, TickCodec] = ChannelReader(transport, "speed.out", 64, TickCodec(), Tick, clock)
    writer: ChannelWriter[object, TickCodec] = ChannelWriter(transport, "speed.out", 64, TickCodec(), clock)

    with pytest.raises((CodecError, PayloadOverflow)):
        writer.send_with_correlation(Tick(1, label) if isinstance(label, str) else label, IDENTITY)
    outcome = writer.send_with_correlation(Tick(2), IDENTITY)

    received = list(reader.drain())
    assert outcome.sequence_number == 0
    assert [(each.value, each.correlation_id) for each in received] == [(Tick(2), IDENTITY)]


@pytest.mark.verifies("TSR_0008", "REQ_0201")
def test_an_envelope_that_claims_more_than_its_channel_holds_is_corrupt_though_its_crc_is_right(
    transport: Transport,
) -> None:
    """60 bytes of payload lie in an envelope with room for 64: the last four are nobody's."""
    settings = ServiceSettings()
    reader = RawChannelReader(transport, "speed.out", 60, settings)
    publisher = transport.publisher("speed.out", envelope_type(60), settings)
    for number, length in enumerate((60, 61, 64, 60)):
        view = publisher.loan()
        view[64 : 64 + length] = bytes([number]) * length
        stamp(view, number, 0, bytes(32), length)
        publisher.publish()

    lengths = [received[0].payload_len for received in iter(reader.try_recv, None)]

    assert lengths == [60, 60]
    assert reader.crc_errors == 2
