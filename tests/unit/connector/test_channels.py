from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from taktora.clock import SystemClock
from taktora.codec import Codec, JsonCodec
from taktora.connector import ChannelReader, ChannelWriter, Degraded, HealthAggregate, HealthMonitor, SendGate, Up
from taktora.errors import (
    BackPressure,
    CodecError,
    ConfigurationError,
    LinkDown,
    PayloadOverflow,
    ShutdownError,
)
from taktora.testing.faulty_transport import Corrupt, Drop, Duplicate, FaultyTransport
from taktora.transport.base import ServiceSettings, Transport
from taktora.transport.channel import RawChannelReader, RawChannelWriter
from tests.unit.connector.conftest import ManualClock, Tick, TickCodec

Writer = ChannelWriter[Tick, Codec]
Reader = ChannelReader[Tick, Codec]


def open_writer(transport: Transport, clock: Any, size: int = 128, gate: SendGate | None = None) -> Writer:
    return ChannelWriter(transport, "speed.out", size, TickCodec(), clock, gate)


def open_reader(transport: Transport, clock: Any, size: int = 128, sink: Any = None) -> Reader:
    return ChannelReader(transport, "speed.out", size, TickCodec(), Tick, clock, sink)


@pytest.mark.realizes("TEST_0120")
def test_value_makes_the_round_trip(transport: Transport, clock: ManualClock) -> None:
    reader, writer = open_reader(transport, clock), open_writer(transport, clock)

    outcome = writer.send(Tick(7, "seven"))
    received = reader.try_recv()

    assert received is not None
    assert received.value == Tick(7, "seven")
    assert (received.sequence_number, received.timestamp_ns) == (outcome.sequence_number, outcome.timestamp_ns)
    assert outcome.bytes_written == len('[7, "seven"]')


@pytest.mark.realizes("TEST_0120")
def test_codec_writes_into_the_loaned_slot(transport: Transport, clock: ManualClock) -> None:
    views: list[memoryview] = []

    class Spy(TickCodec):
        def encode_into(self, value: Any, view: memoryview) -> int:
            length = super().encode_into(value, view)
            view[100:104] = b"mark"
            views.append(view)
            return length

    raw = RawChannelReader(transport, "speed.out", 128)
    writer: Writer = ChannelWriter(transport, "speed.out", 128, Spy(), clock)

    writer.send(Tick(1))
    raw.receive()

    assert bytes(raw.view[64 + 100 : 64 + 104]) == b"mark"
    assert len(views[0]) == 128


@pytest.mark.realizes("TEST_0121")
def test_sequence_numbers_rise_from_zero(transport: Transport, clock: ManualClock) -> None:
    reader, writer = open_reader(transport, clock, 1024), open_writer(transport, clock, 1024)

    received = []
    for count in range(32):
        writer.send(Tick(count))
        received += [envelope.sequence_number for envelope in reader.drain()]

    assert received == list(range(32))


@pytest.mark.realizes("TEST_0122")
def test_timestamp_lies_within_the_bracket(transport: Transport) -> None:
    clock = SystemClock()
    reader, writer = open_reader(transport, clock), open_writer(transport, clock)

    before_ns = clock.unix_ns()
    writer.send(Tick(1))
    after_ns = clock.unix_ns()
    received = reader.try_recv()

    assert received is not None
    assert before_ns <= received.timestamp_ns <= after_ns


@pytest.mark.realizes("TEST_0123")
@pytest.mark.verifies("REQ_0290")
def test_correlation_id_is_untouched(transport: Transport, clock: ManualClock) -> None:
    reader, writer = open_reader(transport, clock), open_writer(transport, clock)
    correlation_id = random.Random(5).randbytes(32)

    writer.send_with_correlation(Tick(1), correlation_id)
    writer.send(Tick(2))

    assert [envelope.correlation_id for envelope in reader.drain()] == [correlation_id, bytes(32)]


@pytest.mark.realizes("TEST_0124")
@pytest.mark.parametrize("size", [4096, 65536, 1048576])
def test_three_channel_sizes(size: int, transport: Transport, clock: ManualClock) -> None:
    reader, writer = open_reader(transport, clock, size), open_writer(transport, clock, size)
    value = Tick(1, "x" * (size - 10))

    writer.send(value)
    received = reader.try_recv()

    assert received is not None
    assert received.value == value


@pytest.mark.realizes("TEST_0103")
def test_other_size_on_an_existing_service_is_refused(transport: Transport, clock: ManualClock) -> None:
    open_reader(transport, clock, 64)

    with pytest.raises(ConfigurationError, match=r"speed.out"):
        open_writer(transport, clock, 128)


@pytest.mark.realizes("TEST_0125")
def test_overflow_uses_no_number_and_reaches_nobody(transport: Transport, clock: ManualClock) -> None:
    reader, writer = open_reader(transport, clock, 16), open_writer(transport, clock, 16)
    writer.send(Tick(0))

    with pytest.raises(PayloadOverflow) as caught:
        writer.send(Tick(1, "x" * 50))
    writer.send(Tick(2))

    assert (caught.value.actual, caught.value.max) == (len(f'[1, "{"x" * 50}"]'), 16)
    assert [(e.sequence_number, e.value.count) for e in reader.drain()] == [(0, 0), (1, 2)]


@pytest.mark.verifies("REQ_0202", "REQ_0205")
def test_refused_value_gives_the_slot_back(transport: Transport, clock: ManualClock) -> None:
    reader, writer = open_reader(transport, clock), open_writer(transport, clock)

    for _ in range(100):
        with pytest.raises(CodecError, match="is no Tick"):
            writer.send("no tick")  # type: ignore[arg-type]
    writer.send(Tick(1))

    assert [envelope.sequence_number for envelope in reader.drain()] == [0]


@pytest.mark.verifies("REQ_0205")
def test_unforeseen_codec_failure_gives_the_slot_back(transport: Transport, clock: ManualClock) -> None:
    class Broken(TickCodec):
        def encode_into(self, value: Any, view: memoryview) -> int:
            raise ZeroDivisionError

    writer: Writer = ChannelWriter(transport, "speed.out", 128, Broken(), clock)

    for _ in range(20):
        with pytest.raises(ZeroDivisionError):
            writer.send(Tick(1))

    assert writer.sequence_number == 0


@pytest.mark.verifies("REQ_0292")
@pytest.mark.parametrize(
    ("close", "error"),
    [
        pytest.param(lambda gate: gate.close_link("cable"), LinkDown, id="Down"),
        pytest.param(lambda gate: gate.hold("full"), BackPressure, id="BackPressure"),
        pytest.param(lambda gate: gate.shut(), ShutdownError, id="Shutdown"),
    ],
)
@pytest.mark.parametrize(
    "send",
    [lambda w: w.send(Tick(1)), lambda w: w.send_with_correlation(Tick(1), bytes(32))],
    ids=["send", "send_with_correlation"],
)
def test_closed_gate_refuses_before_the_loan(
    close: Callable[[SendGate], None],
    error: type[Exception],
    send: Callable[[Writer], object],
    transport: Transport,
    clock: ManualClock,
) -> None:
    gate = SendGate("line")
    reader, writer = open_reader(transport, clock), open_writer(transport, clock, gate=gate)
    close(gate)

    with pytest.raises(error, match=r"channel 'speed.out'"):
        send(writer)

    assert (writer.sequence_number, reader.try_recv()) == (0, None)


@pytest.mark.verifies("REQ_0607")
def test_full_reader_is_back_pressure(transport: Transport, clock: ManualClock) -> None:
    settings = ServiceSettings(subscriber_max_buffer_size=4)
    reader: Reader = ChannelReader(transport, "s", 64, TickCodec(), Tick, clock, settings=settings)
    writer: Writer = ChannelWriter(transport, "s", 64, TickCodec(), clock, settings=settings)
    for count in range(4):
        writer.send(Tick(count))

    with pytest.raises(BackPressure, match="1 of 1 readers are full"):
        writer.send(Tick(4))
    kept = [envelope.value.count for envelope in reader.drain()]
    writer.send(Tick(5))
    last = reader.try_recv()

    assert (kept, writer.back_pressure_count) == ([0, 1, 2, 3], 1)
    assert last is not None
    assert (last.value.count, reader.sequence_gaps) == (5, 1)


@pytest.mark.verifies("REQ_0292")
def test_sends_to_nobody_succeed(transport: Transport, clock: ManualClock) -> None:
    writer = open_writer(transport, clock)

    assert [writer.send(Tick(count)).sequence_number for count in range(3)] == [0, 1, 2]


@pytest.mark.verifies("REQ_0243")
def test_closed_ends_raise_shutdown(transport: Transport, clock: ManualClock) -> None:
    with open_reader(transport, clock) as reader, open_writer(transport, clock) as writer:
        reader.listener.drain()
    writer.close()
    reader.close()

    with pytest.raises(ShutdownError):
        writer.send(Tick(1))
    with pytest.raises(ShutdownError):
        reader.try_recv()


@pytest.mark.verifies("TSR_0008")
@pytest.mark.parametrize("bit", [0, 8 * 20, 8 * 57, 8 * 60, 8 * 65])
def test_corrupt_envelope_is_passed_over_counted_and_degrades(
    bit: int, transport: Transport, clock: ManualClock
) -> None:
    faulty = FaultyTransport(transport)
    monitor = HealthMonitor("line", clock)
    aggregate = HealthAggregate(monitor, clock)
    aggregate.move(Up())
    stream = monitor.subscribe()
    reader = open_reader(
        faulty, clock, sink=lambda kind, text: aggregate.raise_condition(f"integrity {kind}", f"{kind}: {text}", 100)
    )
    writer = open_writer(faulty, clock)
    faulty.on_publish("speed.out", 1, Corrupt(bit))

    for count in range(3):
        writer.send(Tick(count))
    values = [envelope.value.count for envelope in reader.drain()]
    event = stream.try_next()

    assert (values, reader.crc_errors) == ([0, 2], 1)
    assert event is not None
    assert isinstance(event.target, Degraded)
    assert "corrupt: " in str(event.target.reason)
    assert event.source == Up()
    assert monitor.current == event.target


@pytest.mark.verifies("REQ_0202", "TSR_0008")
def test_lost_envelope_is_a_gap(transport: Transport, clock: ManualClock) -> None:
    faulty = FaultyTransport(transport)
    faults: list[str] = []
    reader = open_reader(faulty, clock, sink=lambda kind, _text: faults.append(kind))
    writer = open_writer(faulty, clock)
    faulty.on_publish("speed.out", 1, Drop())

    for count in range(4):
        writer.send(Tick(count))
    values = [envelope.value.count for envelope in reader.drain()]

    assert (values, reader.sequence_gaps, faults) == ([0, 2, 3], 1, ["gap"])


@pytest.mark.verifies("TSR_0008")
def test_repeated_envelope_is_dropped(transport: Transport, clock: ManualClock) -> None:
    faulty = FaultyTransport(transport)
    reader, writer = open_reader(faulty, clock), open_writer(faulty, clock)
    faulty.on_publish("speed.out", 0, Duplicate())

    writer.send(Tick(1))
    values = [envelope.value.count for envelope in reader.drain()]

    assert (values, reader.repeats) == ([1], 1)


@pytest.mark.verifies("REQ_0202")
def test_late_joiner_and_restarted_writer_are_no_gap(transport: Transport, clock: ManualClock) -> None:
    writer = open_writer(transport, clock)
    for count in range(5):
        writer.send(Tick(count))
    reader = open_reader(transport, clock)
    writer.send(Tick(5))
    late = [envelope.value.count for envelope in reader.drain()]
    writer.close()

    restarted = open_writer(transport, clock)
    restarted.send(Tick(100))
    again = [envelope.value.count for envelope in reader.drain()]

    assert (late, again, reader.sequence_gaps) == ([4, 5], [100], 0)


@pytest.mark.verifies("REQ_0293")
def test_disagreeing_codec_shows_as_a_decode_error_with_its_place(transport: Transport, clock: ManualClock) -> None:
    reader: Reader = ChannelReader(transport, "speed.out", 128, JsonCodec(), Tick, clock)
    raw = RawChannelWriter(transport, "speed.out", 128, clock)
    raw.send_raw_bytes(b"\xff not json")
    raw.send_raw_bytes(b'{"count":2,"label":"good"}')

    with pytest.raises(CodecError, match=r"json: speed.out, envelope 0, as Tick: ") as caught:
        reader.try_recv()
    after = reader.try_recv()

    assert isinstance(caught.value.__cause__, CodecError)
    assert after is not None
    assert after.value == Tick(2, "good")


@pytest.mark.realizes("TEST_0112")
@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b'{"count":1,"lab', id="truncated text"),
        pytest.param(b"[1,2]", id="wrong shape"),
        pytest.param(b'{"label":"no count"}', id="missing field"),
        pytest.param(b'{"count":"one"}', id="wrong type"),
        pytest.param(b"", id="empty input"),
    ],
)
def test_payload_that_cannot_be_decoded_surfaces_and_is_not_skipped(
    payload: bytes, transport: Transport, clock: ManualClock
) -> None:
    reader: Reader = ChannelReader(transport, "speed.out", 128, JsonCodec(), Tick, clock)
    raw = RawChannelWriter(transport, "speed.out", 128, clock)

    outcomes: list[object] = []
    for sent in (payload, payload, b'{"count":2}'):
        raw.send_raw_bytes(sent)
    for _ in range(4):
        try:
            envelope = reader.try_recv()
            outcomes.append(None if envelope is None else envelope.value)
        except CodecError as error:
            outcomes.append(error.format_name)

    assert outcomes == ["json", "json", Tick(2), None]


@pytest.mark.verifies("REQ_0206")
def test_send_wakes_the_reader_after_the_data_is_there(transport: Transport, clock: ManualClock) -> None:
    reader, writer = open_reader(transport, clock), open_writer(transport, clock)
    quiet = reader.listener.drain()

    for count in range(3):
        writer.send(Tick(count))
    woken = reader.listener.drain()

    assert (quiet, woken) == (False, True)
    assert len(list(reader.drain())) == 3


@pytest.mark.verifies("REQ_0206")
def test_lost_notification_loses_no_data(transport: Transport, clock: ManualClock) -> None:
    reader, writer = open_reader(transport, clock), open_writer(transport, clock)

    writer.send(Tick(1))
    reader.listener.drain()
    writer.send(Tick(2))

    assert [envelope.value.count for envelope in reader.drain()] == [1, 2]


@pytest.mark.verifies("REQ_0203")
def test_age_follows_the_time_of_sending(transport: Transport, clock: ManualClock) -> None:
    reader, writer = open_reader(transport, clock), open_writer(transport, clock)
    never = reader.age_ns()

    writer.send(Tick(1))
    clock.time_ns += 700
    reader.try_recv()
    clock.time_ns += 300

    assert (never, reader.age_ns(), reader.last_sequence_number) == (None, 1000, 0)


@pytest.mark.verifies("REQ_0203")
@pytest.mark.parametrize("step_s", [-3600, 3600])
def test_age_does_not_follow_a_step_of_the_civil_clock(transport: Transport, step_s: int) -> None:
    class Stepped(ManualClock):
        offset_ns = 0

        def unix_ns(self) -> int:
            return super().unix_ns() + self.offset_ns

    clock = Stepped()
    reader, writer = open_reader(transport, clock), open_writer(transport, clock)
    writer.send(Tick(1))
    reader.try_recv()

    clock.offset_ns = step_s * 1_000_000_000
    clock.time_ns += 300

    assert reader.age_ns() == 300


@pytest.mark.verifies("REQ_0203", "REQ_0214")
def test_age_is_that_of_the_last_value_that_could_be_decoded(transport: Transport, clock: ManualClock) -> None:
    reader = open_reader(transport, clock)
    writer = RawChannelWriter(transport, reader.service, 128, clock)
    writer.send_raw_bytes(b'[1, "one"]')
    reader.try_recv()
    clock.time_ns += 300
    writer.send_raw_bytes(b"no json")

    with pytest.raises(CodecError):
        list(reader.drain())

    assert (reader.age_ns(), reader.last_sequence_number) == (300, 0)


@pytest.mark.verifies("TSR_0005")
def test_reader_offers_no_way_to_send(transport: Transport, clock: ManualClock) -> None:
    reader, writer = open_reader(transport, clock), open_writer(transport, clock)

    public_reader = {name for name in dir(reader) if not name.startswith("_")}
    public_writer = {name for name in dir(writer) if not name.startswith("_")}

    assert public_reader & {"send", "send_with_correlation", "loan", "publish", "sequence_number"} == set()
    assert public_writer & {"try_recv", "drain", "listener", "receive"} == set()
