"""The writer of an App: which outcomes of a send are a False of ``try_send``, and which raise all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from taktora.app.handles import Writer
from taktora.clock import SystemClock
from taktora.codec import Codec, JsonCodec
from taktora.connector import ChannelReader, ChannelWriter, SendGate
from taktora.errors import BackPressure, CodecError, LinkDown, PayloadOverflow, ShutdownError, TaktoraError
from taktora.transport.inprocess import InProcessTransport


@pytest.fixture
def transport() -> Iterator[InProcessTransport]:
    with InProcessTransport() as made:
        yield made


def _writer(transport: InProcessTransport, gate: SendGate) -> Writer[object]:
    port: ChannelWriter[object, Codec] = ChannelWriter(transport, "lamp", 16, JsonCodec(), SystemClock(), gate)
    writer: Writer[object] = Writer("lamp")
    writer.attach(port)
    return writer


@pytest.mark.verifies("REQ_8021", "REQ_0292")
@pytest.mark.parametrize(
    ("close", "reopen", "error"),
    [
        pytest.param(lambda gate: gate.close_link("cut"), SendGate.open_link, LinkDown, id="down"),
        pytest.param(lambda gate: gate.hold("full"), SendGate.relieve, BackPressure, id="full"),
        pytest.param(lambda gate: gate.await_ready("not in OP"), SendGate.be_ready, BackPressure, id="not ready"),
    ],
)
def test_a_way_that_is_full_or_down_is_false_and_nothing_of_it_is_kept(
    close: Callable[[SendGate], None],
    reopen: Callable[[SendGate], None],
    error: type[TaktoraError],
    transport: InProcessTransport,
) -> None:
    gate = SendGate("lamps")
    reader = ChannelReader(transport, "lamp", 16, JsonCodec(), int, SystemClock())
    writer = _writer(transport, gate)
    close(gate)

    refused = writer.try_send(1)
    with pytest.raises(error):
        writer.send(2)
    reopen(gate)

    assert (refused, writer.try_send(3)) == (False, True)
    assert ([envelope.value for envelope in reader.drain()], writer.sent) == ([3], 1)


@pytest.mark.verifies("REQ_8021", "REQ_0213")
@pytest.mark.parametrize(("value", "error"), [("x" * 99, PayloadOverflow), (object(), CodecError)])
def test_a_value_that_cannot_be_sent_at_all_raises(
    value: object, error: type[TaktoraError], transport: InProcessTransport
) -> None:
    writer = _writer(transport, SendGate("lamps"))

    with pytest.raises(error):
        writer.try_send(value)

    assert writer.sent == 0


@pytest.mark.verifies("REQ_8021")
def test_a_connector_that_has_been_closed_raises(transport: InProcessTransport) -> None:
    gate = SendGate("lamps")
    writer = _writer(transport, gate)
    gate.shut()

    with pytest.raises(ShutdownError):
        writer.try_send(1)
