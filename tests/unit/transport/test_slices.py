"""Slice channel ends on both transports."""

from __future__ import annotations

import pytest

from taktora.clock import SystemClock
from taktora.errors import BackPressure, PayloadOverflow, TransportError
from taktora.testing.faulty_transport import Corrupt, Drop, Duplicate, FaultyTransport
from taktora.testing.mock_reactor import ManualClock
from taktora.transport import ServiceSettings, SliceChannelReader, SliceChannelWriter, Transport, event_service_name
from tests.unit.transport.conftest import MakeTransport

SERVICE = "bulk.out"


def open_writer(transport: Transport, *, crc: bool = False, ceiling: int = 4096) -> SliceChannelWriter:
    return SliceChannelWriter(transport, SERVICE, 16, ceiling, SystemClock(), crc=crc)


def messages(reader: SliceChannelReader) -> list[bytes]:
    return [bytes(message.payload) for message in iter(reader.try_recv, None)]


@pytest.mark.realizes("TEST_0884")
def test_messages_come_back_byte_for_byte(transport: Transport) -> None:
    reader = SliceChannelReader(transport, SERVICE, 4096)
    writer = open_writer(transport)
    sent = [bytes(index % 256 for index in range(length)) for length in (1, 17, 300, 4000, 2)]

    outcomes = [writer.send(message) for message in sent]

    received = [(bytes(payload), number, stamp) for payload, number, stamp in iter(reader.try_recv, None)]
    assert [message for message, _, _ in received] == sent
    assert [number for _, number, _ in received] == list(range(5))
    assert [stamp for _, _, stamp in received] == sorted(outcome.timestamp_ns for outcome in outcomes)
    assert reader.sequence_gaps == 0


@pytest.mark.realizes("TEST_0885")
def test_slices_grow_up_to_the_ceiling(transport: Transport) -> None:
    reader = SliceChannelReader(transport, SERVICE, 4096)
    writer = open_writer(transport)
    lengths = (8, 16, 33, 100, 4096)

    for length in lengths:
        writer.send(b"x" * length)
    with pytest.raises(PayloadOverflow) as overflow:
        writer.send(b"x" * 4097)

    assert (overflow.value.actual, overflow.value.max) == (4097, 4096)
    assert tuple(len(message) for message in messages(reader)) == lengths
    assert writer.send(b"next").sequence_number == 5


@pytest.mark.verifies("REQ_0887")
def test_growth_keeps_messages_already_queued(transport: Transport) -> None:
    reader = SliceChannelReader(transport, SERVICE, 1 << 20)
    writer = open_writer(transport, ceiling=1 << 20)
    lengths = [1 << power for power in range(0, 21, 2)]

    for length in lengths:
        writer.send(bytes([length % 251]) * length)

    assert messages(reader) == [bytes([length % 251]) * length for length in lengths]


@pytest.mark.verifies("REQ_0889")
def test_single_publisher_is_kept(transport: Transport) -> None:
    open_writer(transport)

    with pytest.raises(TransportError, match=SERVICE):
        open_writer(transport)


@pytest.mark.verifies("REQ_0885")
def test_full_reader_is_reported(transport: Transport) -> None:
    settings = ServiceSettings(subscriber_max_buffer_size=2)
    reader = SliceChannelReader(transport, SERVICE, 64, settings)
    writer = SliceChannelWriter(transport, SERVICE, 16, 64, SystemClock(), settings)
    writer.send(b"a")
    writer.send(b"b")

    with pytest.raises(BackPressure, match="lost envelope 2"):
        writer.send(b"c")

    assert messages(reader) == [b"a", b"b"]
    writer.send(b"d")
    assert (messages(reader), reader.sequence_gaps, writer.back_pressure_count) == ([b"d"], 1, 1)


@pytest.mark.verifies("REQ_0885")
def test_reader_is_woken(transport: Transport) -> None:
    listener = transport.listener(event_service_name(SERVICE))

    open_writer(transport).send(b"wake")

    assert listener.drain()


@pytest.mark.verifies("TSR_0008")
def test_protected_messages_survive_only_intact(transport: Transport) -> None:
    faulty = FaultyTransport(transport)
    faulty.on_publish(SERVICE, 1, Corrupt(bit=0))
    faulty.on_publish(SERVICE, 2, Drop())
    faulty.on_publish(SERVICE, 3, Duplicate())
    faults: list[str] = []
    reader = SliceChannelReader(
        transport, SERVICE, 64, crc=True, on_integrity_fault=lambda kind, _detail: faults.append(kind)
    )
    writer = open_writer(faulty, crc=True, ceiling=64)

    for message in (b"zero", b"one", b"two", b"three" * 12, b""):
        writer.send(message)

    assert messages(reader) == [b"zero", b"three" * 12, b""]
    assert (reader.crc_errors, reader.sequence_gaps, faults) == (1, 1, ["corrupt", "gap", "repeat"])


@pytest.mark.verifies("TSR_0008")
def test_unprotected_writer_is_noticed_by_a_protected_reader(transport: Transport) -> None:
    reader = SliceChannelReader(transport, SERVICE, 64, crc=True)
    writer = open_writer(transport, ceiling=64)

    writer.send(b"")
    writer.send(b"no trailer")

    assert messages(reader) == []
    assert reader.crc_errors == 2


@pytest.mark.verifies("REQ_0886", "REQ_0889")
def test_failed_fill_releases_the_loan_and_costs_no_number(transport: Transport) -> None:
    reader = SliceChannelReader(transport, SERVICE, 64)
    writer = open_writer(transport, ceiling=64)

    with pytest.raises(ValueError, match="structure"):
        writer.send(memoryview(b"12345678").cast("I"))

    assert writer.send(b"fine").sequence_number == 0
    assert messages(reader) == [b"fine"]


@pytest.mark.verifies("REQ_0885")
def test_ends_close_twice_and_reopen(make_transport: MakeTransport) -> None:
    reader = SliceChannelReader(make_transport(), SERVICE, 4096)
    transport = make_transport()
    for _ in range(3):
        writer = open_writer(transport)
        writer.send(b"life")
        assert messages(reader) == [b"life"]
        writer.close()
        writer.close()

    assert reader.sequence_gaps == 0
    reader.release()
    reader.close()


@pytest.mark.verifies("REQ_0889")
@pytest.mark.parametrize("crc", [False, True], ids=["plain", "crc"])
def test_a_writer_that_restarts_at_the_same_instant_is_no_repeat(transport: Transport, crc: bool) -> None:
    clock = ManualClock()
    reader = SliceChannelReader(transport, SERVICE, 64, crc=crc)
    received: list[bytes] = []

    for message in (b"msg0", b"msg1", b"msg", b""):
        writer = SliceChannelWriter(transport, SERVICE, 16, 64, clock, crc=crc)
        writer.send(message)
        received += messages(reader)
        writer.close()

    assert received == [b"msg0", b"msg1", b"msg", b""]
    assert reader.sequence_gaps == 0


@pytest.mark.verifies("REQ_0889")
@pytest.mark.parametrize("crc", [False, True], ids=["plain", "crc"])
@pytest.mark.parametrize("index", [0, 1])
def test_a_slice_that_comes_twice_is_handed_out_once(transport: Transport, index: int, crc: bool) -> None:
    faulty = FaultyTransport(transport)
    faulty.on_publish(SERVICE, index, Duplicate())
    faults: list[str] = []
    reader = SliceChannelReader(
        transport, SERVICE, 64, crc=crc, on_integrity_fault=lambda kind, _detail: faults.append(kind)
    )
    writer = SliceChannelWriter(faulty, SERVICE, 16, 64, ManualClock(), crc=crc)

    for message in (b"same", b"same"):
        writer.send(message)

    assert messages(reader) == [b"same", b"same"]
    assert faults == ["repeat"]


@pytest.mark.verifies("REQ_0887")
@pytest.mark.parametrize("crc", [False, True], ids=["plain", "crc"])
def test_messages_of_a_writer_whose_segment_cannot_grow_outlive_it(transport: Transport, crc: bool) -> None:
    reader = SliceChannelReader(transport, SERVICE, 64, crc=crc)

    for count in range(3):
        writer = SliceChannelWriter(transport, SERVICE, 64, 64, SystemClock(), crc=crc)
        writer.send(b"short" * count)
        writer.send(b"x" * 64)
        writer.close()

    assert messages(reader) == [b"", b"x" * 64, b"short", b"x" * 64, b"shortshort", b"x" * 64]
