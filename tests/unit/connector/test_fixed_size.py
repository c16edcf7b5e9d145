"""Channels of a known size stay on envelopes: the slice channel is beside them and takes no service of theirs."""

from __future__ import annotations

import pytest

from taktora.connector import ChannelReader, ChannelWriter
from taktora.errors import ConfigurationError
from taktora.transport.base import Transport
from taktora.transport.channel import RawChannelReader
from taktora.transport.envelope import HEADER_BYTES, envelope_type
from taktora.transport.slices import SliceChannelReader, SliceChannelWriter
from tests.unit.connector.conftest import ManualClock, Tick, TickCodec


@pytest.mark.verifies("REQ_0900", "REQ_0200")
def test_a_typed_channel_is_a_service_of_envelopes_of_its_size(transport: Transport, clock: ManualClock) -> None:
    reader = transport.subscriber("speed.out", envelope_type(48))
    writer: ChannelWriter[Tick, TickCodec] = ChannelWriter(transport, "speed.out", 48, TickCodec(), clock)

    writer.send(Tick(7))

    view = reader.receive()
    assert view is not None
    assert len(view) == HEADER_BYTES + 48
    assert bytes(view[HEADER_BYTES : HEADER_BYTES + 7]) == b'[7, ""]'


@pytest.mark.verifies("REQ_0900")
def test_slice_ends_are_refused_on_a_service_of_envelopes_and_the_reverse(
    transport: Transport, clock: ManualClock
) -> None:
    reader: ChannelReader[Tick, TickCodec] = ChannelReader(transport, "speed.out", 48, TickCodec(), Tick, clock)
    bulk = SliceChannelReader(transport, "bulk.out", 4096)

    with pytest.raises(ConfigurationError, match=r"speed\.out"):
        SliceChannelWriter(transport, "speed.out", 16, 4096, clock)
    with pytest.raises(ConfigurationError, match=r"bulk\.out"):
        RawChannelReader(transport, "bulk.out", 48)

    assert reader.try_recv() is None
    assert bulk.try_recv() is None
