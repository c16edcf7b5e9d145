"""Raw channel ends on both transports: order of steps, integrity, back-pressure, late readers, restarted writers."""

from __future__ import annotations

import random

import pytest

from taktora.clock import SystemClock
from taktora.errors import BackPressure, ConfigurationError, PayloadOverflow, ShutdownError, TransportError
from taktora.testing.faulty_transport import Corrupt, Drop, Duplicate, FaultyTransport, Refuse
from taktora.transport import (
    ChannelSpec,
    RawChannelReader,
    RawChannelWriter,
    RawSample,
    SendOutcome,
    ServiceSettings,
    Transport,
    envelope_type,
    event_service_name,
    inbound_service_name,
    outbound_service_name,
)
from tests.unit.transport.conftest import MakeTransport

SERVICE = "speed.out"


class FixedClock:
    """A clock that tests set."""

    def __init__(self, unix_ns: int = 1_000) -> None:
        self.value = unix_ns

    def now_ns(self) -> int:
        return self.value

    def unix_ns(self) -> int:
        return self.value


def open_writer(transport: Transport, size: int = 64, service: str = SERVICE) -> RawChannelWriter:
    return RawChannelWriter(transport, service, size, SystemClock())


def payloads(reader: RawChannelReader) -> list[bytes]:
    return [bytes(sample[1]) for sample in iter(reader.try_recv, None)]


@pytest.mark.verifies("REQ_0200", "REQ_0205", "REQ_0223")
def test_bytes_and_header_arrive_through_the_loaned_slot(transport: Transport) -> None:
    reader = RawChannelReader(transport, SERVICE, 64)
    writer = open_writer(transport)

    slot = writer.loan()
    slot[:5] = b"hello"
    outcome = writer.publish(5, bytes(range(32)), reserved=99)

    received = reader.try_recv()
    assert received is not None
    sample, payload = received
    assert bytes(payload) == b"hello"
    assert sample == RawSample(0, outcome.timestamp_ns, bytes(range(32)), 5, 99)
    assert outcome == SendOutcome(0, sample.timestamp_ns, 5)


@pytest.mark.realizes("TEST_0121")
def test_sequence_numbers_rise_from_zero(transport: Transport) -> None:
    reader = RawChannelReader(transport, SERVICE, 1024)
    writer = open_writer(transport, 1024)
    buffer = bytearray(1024)

    seen = []
    for number in range(32):
        writer.send_raw_bytes(bytes([number]) * 1024)
        sample = reader.try_recv_into(buffer)
        assert sample is not None
        seen.append(sample.sequence_number)

    assert seen == list(range(32))


@pytest.mark.realizes("TEST_0122")
def test_timestamp_lies_within_the_bracket(transport: Transport) -> None:
    reader = RawChannelReader(transport, SERVICE, 64)
    writer = open_writer(transport)
    clock = SystemClock()

    before_ns = clock.unix_ns()
    writer.send_raw_bytes(b"now")
    after_ns = clock.unix_ns()

    received = reader.try_recv()
    assert received is not None
    assert before_ns <= received[0].timestamp_ns <= after_ns


@pytest.mark.verifies("REQ_0203")
def test_timestamp_is_taken_at_the_loan(transport: Transport) -> None:
    clock = FixedClock(500)
    writer = RawChannelWriter(transport, SERVICE, 64, clock)

    writer.loan()
    clock.value = 900
    outcome = writer.publish(0)

    assert outcome.timestamp_ns == 500


@pytest.mark.realizes("TEST_0123")
def test_correlation_id_is_untouched(transport: Transport) -> None:
    reader = RawChannelReader(transport, SERVICE, 64)
    writer = open_writer(transport)
    correlation = random.Random(7).randbytes(32)

    writer.send_raw_bytes(b"with", correlation)
    writer.send_raw_bytes(b"without")

    found = [sample[0].correlation_id for sample in iter(reader.try_recv, None)]
    assert found == [correlation, bytes(32)]


@pytest.mark.verifies("REQ_0204")
def test_correlation_id_of_wrong_length_sends_nothing(transport: Transport) -> None:
    reader = RawChannelReader(transport, SERVICE, 64)
    writer = open_writer(transport)

    with pytest.raises(ConfigurationError):
        writer.send_raw_bytes(b"x", b"short")

    assert reader.try_recv() is None
    assert writer.send_raw_bytes(b"y").sequence_number == 0


@pytest.mark.realizes("TEST_0124")
def test_three_channel_sizes_have_pools_of_their_own(transport: Transport) -> None:
    sizes = (4096, 65536, 1048576)
    readers = [RawChannelReader(transport, f"size{size}.out", size) for size in sizes]
    writers = [open_writer(transport, size, f"size{size}.out") for size in sizes]
    messages = [random.Random(size).randbytes(size) for size in sizes]

    for writer, message in zip(writers, messages, strict=True):
        writer.send_raw_bytes(message)

    assert [payloads(reader) for reader in readers] == [[message] for message in messages]


@pytest.mark.verifies("REQ_0201", "REQ_0202")
def test_oversize_payload_is_refused_and_costs_no_number(transport: Transport) -> None:
    reader = RawChannelReader(transport, SERVICE, 64)
    writer = open_writer(transport)
    writer.send_raw_bytes(b"0")

    with pytest.raises(PayloadOverflow) as overflow:
        writer.send_raw_bytes(bytes(65))

    assert (overflow.value.actual, overflow.value.max) == (65, 64)
    assert SERVICE in str(overflow.value)
    assert writer.send_raw_bytes(bytes(64)).sequence_number == 1
    assert payloads(reader) == [b"0", bytes(64)]
    assert reader.sequence_gaps == 0


@pytest.mark.verifies("REQ_0201")
def test_declared_size_binds_even_where_alignment_leaves_room(transport: Transport) -> None:
    writer = open_writer(transport, 4)

    assert len(writer.loan()) == 4
    writer.discard()
    with pytest.raises(PayloadOverflow):
        writer.send_raw_bytes(bytes(5))


@pytest.mark.verifies("REQ_0205", "REQ_0202")
def test_failed_fill_releases_the_loan(transport: Transport) -> None:
    reader = RawChannelReader(transport, SERVICE, 64)
    writer = open_writer(transport)

    with pytest.raises(ValueError, match="structure"):
        writer.send_raw_bytes(memoryview(b"12345678").cast("I"))

    assert reader.try_recv() is None
    assert writer.send_raw_bytes(b"after").sequence_number == 0


@pytest.mark.verifies("REQ_0206")
def test_service_names_derive_from_the_channel() -> None:
    assert outbound_service_name("speed") == "speed.out"
    assert inbound_service_name("speed") == "speed.in"
    assert event_service_name("speed.out") == "speed.out.evt"


@pytest.mark.verifies("REQ_0201")
def test_ends_of_other_sizes_do_not_meet(transport: Transport) -> None:
    open_writer(transport, 64)

    with pytest.raises(ConfigurationError, match=r"Envelope<64>.*Envelope<128>"):
        RawChannelReader(transport, SERVICE, 128)


@pytest.mark.verifies("REQ_0205")
def test_failed_open_leaves_nothing_open(transport: Transport) -> None:
    with pytest.raises(ConfigurationError):
        RawChannelWriter(transport, "x" * 252, 64, SystemClock())

    transport.publisher("x" * 252, envelope_type(64)).close()


@pytest.mark.verifies("TSR_0008")
def test_corrupted_envelope_is_counted_and_passed_over(transport: Transport) -> None:
    faulty = FaultyTransport(transport)
    faulty.on_publish(SERVICE, 1, Corrupt(bit=64 * 8 + 3))
    faults: list[tuple[str, str]] = []
    reader = RawChannelReader(
        transport, SERVICE, 64, on_integrity_fault=lambda kind, detail: faults.append((kind, detail))
    )
    writer = open_writer(faulty)

    for message in (b"zero", b"one", b"two"):
        writer.send_raw_bytes(message)

    assert payloads(reader) == [b"zero", b"two"]
    assert (reader.crc_errors, reader.sequence_gaps) == (1, 1)
    assert [kind for kind, _ in faults] == ["corrupt", "gap"]
    assert "crc32" in faults[0][1]
    assert faulty.fired == [(SERVICE, 1, "bit 515 turned over")]


@pytest.mark.verifies("TSR_0008")
def test_corrupted_envelope_alone_yields_nothing(transport: Transport) -> None:
    faulty = FaultyTransport(transport)
    faulty.on_publish(SERVICE, 0, Corrupt(bit=3))
    reader = RawChannelReader(transport, SERVICE, 64)

    open_writer(faulty).send_raw_bytes(b"spoilt")

    assert reader.try_recv_into(bytearray(64)) is None
    assert reader.crc_errors == 1


@pytest.mark.verifies("TSR_0008")
@pytest.mark.parametrize("bit", [60 * 8, 56 * 8, 48 * 8 + 31, 0, 62 * 8], ids=str)
def test_corrupted_header_fields_are_found(transport: Transport, bit: int) -> None:
    faulty = FaultyTransport(transport)
    faulty.on_publish(SERVICE, 0, Corrupt(bit))
    reader = RawChannelReader(transport, SERVICE, 64)

    open_writer(faulty).send_raw_bytes(b"header")

    assert reader.try_recv() is None
    assert reader.crc_errors == 1


@pytest.mark.verifies("TSR_0008")
def test_intact_envelopes_raise_no_counter(transport: Transport) -> None:
    reader = RawChannelReader(transport, SERVICE, 64)
    writer = open_writer(transport)

    for number in range(16):
        writer.send_raw_bytes(bytes([number]))

    assert len(payloads(reader)) == 16
    assert (reader.crc_errors, reader.sequence_gaps, reader.repeats) == (0, 0, 0)


@pytest.mark.verifies("TSR_0008")
def test_lost_envelope_is_a_gap(transport: Transport) -> None:
    faulty = FaultyTransport(transport)
    faulty.on_publish(SERVICE, 1, Drop())
    faulty.on_publish(SERVICE, 2, Drop())
    faults: list[tuple[str, str]] = []
    reader = RawChannelReader(transport, SERVICE, 64)
    reader.set_integrity_sink(lambda kind, detail: faults.append((kind, detail)))
    writer = open_writer(faulty)

    for number in range(5):
        writer.send_raw_bytes(bytes([number]))

    assert payloads(reader) == [b"\0", b"\3", b"\4"]
    assert reader.sequence_gaps == 1
    assert faults == [("gap", "2 envelopes missing before number 3")]


@pytest.mark.verifies("TSR_0008")
def test_repeated_envelope_is_delivered_once(transport: Transport) -> None:
    faulty = FaultyTransport(transport)
    faulty.on_publish(SERVICE, 0, Duplicate())
    faults: list[str] = []
    reader = RawChannelReader(transport, SERVICE, 64, on_integrity_fault=lambda kind, _detail: faults.append(kind))
    writer = open_writer(faulty)

    writer.send_raw_bytes(b"a")
    writer.send_raw_bytes(b"b")

    assert payloads(reader) == [b"a", b"b"]
    assert (reader.repeats, reader.sequence_gaps, faults) == (1, 0, ["repeat"])


@pytest.mark.verifies("TSR_0008", "REQ_0202")
def test_late_reader_reports_no_gap(transport: Transport) -> None:
    writer = open_writer(transport)
    for number in range(5):
        writer.send_raw_bytes(bytes([number]))

    reader = RawChannelReader(transport, SERVICE, 64)
    writer.send_raw_bytes(b"next")

    assert payloads(reader) == [b"\4", b"next"]
    assert reader.sequence_gaps == 0


@pytest.mark.verifies("TSR_0008", "REQ_0202")
def test_restarted_writer_reports_no_gap(make_transport: MakeTransport) -> None:
    reader = RawChannelReader(make_transport(), SERVICE, 64)
    transport = make_transport()

    for life in range(3):
        writer = open_writer(transport)
        for number in range(life + 1):
            writer.send_raw_bytes(bytes([life, number]))
        assert payloads(reader) == [bytes([life, number]) for number in range(life + 1)]
        writer.close()

    assert (reader.sequence_gaps, reader.repeats) == (0, 0)


@pytest.mark.verifies("REQ_0202")
def test_full_reader_is_reported_and_counted(transport: Transport) -> None:
    settings = ServiceSettings(subscriber_max_buffer_size=4)
    slow = RawChannelReader(transport, SERVICE, 64, settings)
    writer = RawChannelWriter(transport, SERVICE, 64, SystemClock(), settings)
    for number in range(4):
        writer.send_raw_bytes(bytes([number]))

    for number in range(3):
        with pytest.raises(BackPressure, match=f"1 of 1 readers are full and lost envelope {4 + number}"):
            writer.send_raw_bytes(b"lost")

    assert writer.back_pressure_count == 3
    assert payloads(slow) == [b"\0", b"\1", b"\2", b"\3"]
    assert writer.send_raw_bytes(b"again").sequence_number == 7
    assert payloads(slow) == [b"again"]
    assert slow.sequence_gaps == 1


@pytest.mark.verifies("REQ_0202")
def test_slow_reader_does_not_starve_a_quick_one(transport: Transport) -> None:
    slow = RawChannelReader(transport, SERVICE, 64)
    quick = RawChannelReader(transport, SERVICE, 64)
    writer = open_writer(transport)

    received = 0
    for _ in range(300):
        try:
            writer.send_raw_bytes(b"load")
        except BackPressure as pressure:
            assert "1 of 2 readers" in str(pressure)  # noqa: PT017 - most sends of the loop do not raise
        received += len(payloads(quick))

    assert received == 300
    assert quick.sequence_gaps == 0
    assert len(payloads(slow)) == 64
    assert writer.back_pressure_count == 300 - 64


@pytest.mark.verifies("REQ_0202")
def test_failed_publish_costs_no_number(transport: Transport) -> None:
    faulty = FaultyTransport(transport)
    faulty.on_publish(SERVICE, 1, Refuse(TransportError("broken")))
    writer = open_writer(faulty)
    writer.send_raw_bytes(b"0")

    with pytest.raises(TransportError, match="broken"):
        writer.send_raw_bytes(b"1")

    assert writer.send_raw_bytes(b"1").sequence_number == 1


@pytest.mark.verifies("REQ_0206")
def test_readers_are_woken_after_each_send(transport: Transport) -> None:
    listener = transport.listener(event_service_name(SERVICE))
    writer = open_writer(transport)

    writer.send_raw_bytes(b"wake")

    assert listener.drain()
    assert not listener.drain()


@pytest.mark.verifies("REQ_0200")
def test_small_buffer_is_refused_and_the_sample_given_back(transport: Transport) -> None:
    reader = RawChannelReader(transport, SERVICE, 64)
    writer = open_writer(transport)
    writer.send_raw_bytes(b"12345")
    writer.send_raw_bytes(b"123")
    buffer = bytearray(4)

    with pytest.raises(PayloadOverflow) as overflow:
        reader.try_recv_into(buffer)

    assert (overflow.value.actual, overflow.value.max) == (5, 4)
    sample = reader.try_recv_into(buffer)
    assert sample is not None
    assert bytes(buffer[: sample.payload_len]) == b"123"


@pytest.mark.verifies("REQ_0200")
def test_payload_view_ends_at_the_valid_bytes(transport: Transport) -> None:
    reader = RawChannelReader(transport, SERVICE, 64)
    writer = open_writer(transport)
    for _ in range(200):
        writer.send_raw_bytes(b"old bytes that stay in the slot")
        assert len(payloads(reader)) == 1

    writer.send_raw_bytes(b"new")

    assert payloads(reader) == [b"new"]


@pytest.mark.verifies("REQ_0202")
def test_closed_ends_say_so_and_close_twice(transport: Transport) -> None:
    reader = RawChannelReader(transport, SERVICE, 64)
    writer = open_writer(transport)
    for end in (writer, reader, writer, reader):
        end.close()

    with pytest.raises(ShutdownError, match=SERVICE):
        writer.send_raw_bytes(b"x")
    with pytest.raises(ShutdownError, match=SERVICE):
        reader.try_recv()


@pytest.mark.realizes("TEST_0132")
def test_declared_topology_binds_every_end(make_transport: MakeTransport) -> None:
    transport = make_transport()
    specs = [
        ChannelSpec("a.out", envelope_type(1024), ServiceSettings(1, 2, 32, 1)),
        ChannelSpec("b.out", envelope_type(1024), ServiceSettings(1, 1, 64, 2)),
    ]

    transport.create_all(specs)

    writer = open_writer(transport, 1024, "a.out")
    readers = [RawChannelReader(transport, "a.out", 1024) for _ in range(2)]
    with pytest.raises(TransportError, match=r"a\.out"):
        open_writer(transport, 1024, "a.out")
    with pytest.raises(TransportError, match=r"a\.out"):
        RawChannelReader(transport, "a.out", 1024)
    with pytest.raises(ConfigurationError, match="not in declared topology"):
        open_writer(transport, 1024, "c.out")
    with pytest.raises(ConfigurationError, match="not in declared topology"):
        RawChannelReader(transport, "c.out", 1024)
    for number in range(32):
        writer.send_raw_bytes(bytes([number]))
    with pytest.raises(BackPressure):
        writer.send_raw_bytes(b"33rd")
    assert [len(payloads(reader)) for reader in readers] == [32, 32]


@pytest.mark.verifies("TSR_0007")
def test_declared_services_live_without_ports(make_transport: MakeTransport) -> None:
    owner, other = make_transport(), make_transport()
    owner.create_all([ChannelSpec("kept.out", envelope_type(64), ServiceSettings(max_subscribers=1))])
    owner.publisher("kept.out", envelope_type(64)).close()

    with pytest.raises(ConfigurationError, match=r"max_subscribers.*1.*max_subscribers.*8"):
        other.publisher("kept.out", envelope_type(64))

    owner.close()
    other.publisher("kept.out", envelope_type(64))


@pytest.mark.verifies("TSR_0007")
def test_dynamic_mode_opens_any_name(transport: Transport) -> None:
    reader = RawChannelReader(transport, "anything.in", 1024)

    open_writer(transport, 1024, "anything.in").send_raw_bytes(b"goes")

    assert payloads(reader) == [b"goes"]


@pytest.mark.verifies("REQ_0205", "TSR_0008")
def test_two_transports_exchange_under_load(make_transport: MakeTransport) -> None:
    reader = RawChannelReader(make_transport(), SERVICE, 4096)
    writer = open_writer(make_transport(), 4096)
    source = random.Random(3)

    for _ in range(200):
        burst = [source.randbytes(source.randrange(4097)) for _ in range(source.randrange(64))]
        for message in burst:
            writer.send_raw_bytes(message)
        assert payloads(reader) == burst

    assert (reader.crc_errors, reader.sequence_gaps) == (0, 0)
