"""The CAN connector on scripted interfaces: frames, filters, back-pressure and the health walk."""

from __future__ import annotations

import gc
import inspect
import logging
import threading
import time
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

import taktora.can
from taktora.can import (
    CanConnector,
    CanConnectorOptions,
    CanErrorClass,
    CanFilter,
    CanFrame,
    CanId,
    CanIface,
    CanIfaceState,
    CanRouting,
    ErrorPassive,
    ErrorWarning,
    IfaceDown,
    InboundDrops,
    can_channel,
)
from taktora.connector import (
    ChannelDescriptor,
    ChannelReader,
    ChannelWriter,
    Connector,
    ConnectorGateway,
    Degraded,
    Down,
    Dropped,
    Sent,
)
from taktora.errors import BackPressure, ConfigurationError, LinkDown, PayloadOverflow, StackError
from taktora.recording import LogRecorder
from taktora.runtime import Runtime
from taktora.testing.mock_can import MockCanInterface
from tests.patience import PATIENCE_S
from tests.unit.can.support import MS, Bench, BytesCodec, FixedPolicy, S, frame, values

_PASSIVE = bytes((0, 0x20, 0, 0, 0, 0, 0, 0))
_WARNING = bytes((0, 0x08, 0, 0, 0, 0, 0, 0))


@pytest.mark.realizes("TEST_0500")
def test_the_connector_satisfies_the_frameworks_interface() -> None:
    with Bench() as bench:
        connector: Connector[CanRouting, BytesCodec] = bench.connector

        reader = bench.reader("in", CanId(1))
        writer = bench.writer("out", CanId(1))

        assert connector.name == "can"
        assert type(reader) is ChannelReader
        assert type(writer) is ChannelWriter
        assert reader.codec is writer.codec is connector.codec


@pytest.mark.verifies("REQ_0600")
def test_a_wrong_number_of_drivers_is_refused() -> None:
    with Bench() as bench:
        options = CanConnectorOptions(ifaces=(CanIface("can0"), CanIface("can1")))

        with pytest.raises(ConfigurationError, match="1 drivers for 2 interfaces"):
            CanConnector(bench.world.runtime, options, [MockCanInterface()], BytesCodec())


@pytest.mark.verifies("REQ_0612", "REQ_0621")
def test_a_foreign_interface_or_size_is_refused_before_a_service_exists() -> None:
    with Bench() as bench:
        elsewhere = can_channel("a", CanRouting(CanIface("can9"), CanId(1)))
        too_large = ChannelDescriptor("a", CanRouting(CanIface("can0"), CanId(1)), 64)

        with pytest.raises(ConfigurationError, match=r"does not own interface 'can9'.*can0"):
            bench.connector.create_writer(elsewhere, bytes)
        with pytest.raises(ConfigurationError, match=r"max_payload_size is 64.*carries 8"):
            bench.connector.create_reader(too_large, bytes)
        bench.writer("a", CanId(1))


@pytest.mark.realizes("TEST_0502")
@pytest.mark.parametrize("extended", [False, True], ids=["standard", "extended"])
def test_a_hundred_envelopes_travel_byte_for_byte_both_ways(extended: bool) -> None:
    with Bench() as bench:
        reader = bench.reader("in", CanId(0x123, extended))
        writer = bench.writer("out", CanId(0x123, extended))
        bench.start()
        payloads = [bytes((number + index) & 0xFF for index in range(1 + number % 8)) for number in range(100)]

        received = []
        for payload in payloads:
            writer.send(payload)
            bench.run()
            sent = bench.mock.sent[-1]
            assert bench.mock.inject_frame(frame(0x123, payload, extended))
            bench.run()
            received += values(reader)
            assert len(sent.data) == len(payload)

        assert [(sent.data, sent.can_id, sent.extended) for sent in bench.mock.sent] == [
            (payload, 0x123, extended) for payload in payloads
        ]
        assert received == payloads


@pytest.mark.verifies("REQ_0610")
def test_nine_bytes_overflow_the_channel() -> None:
    with Bench() as bench:
        writer = bench.writer("out", CanId(1))

        with pytest.raises(PayloadOverflow) as caught:
            writer.send(bytes(9))

        assert caught.value.max == 8


@pytest.mark.verifies("REQ_0604")
def test_own_frames_do_not_come_back_to_own_readers() -> None:
    with Bench() as bench:
        reader = bench.reader("in", CanId(0x123))
        writer = bench.writer("out", CanId(0x123))
        bench.start()

        writer.send(b"x")
        bench.run()

        assert len(bench.mock.sent) == 1
        assert values(reader) == []


@pytest.mark.verifies("REQ_0613", "REQ_0615", "REQ_0624")
def test_frames_reach_the_readers_whose_flag_and_masked_identifier_match() -> None:
    with Bench() as bench:
        exact = bench.reader("exact", CanId.standard(0x120))
        wide = bench.reader("wide", CanId.standard(0x120), 0x7F0)
        extended = bench.reader("extended", CanId.extended(0x120))
        bench.start()

        for received in (frame(0x120, b"a"), frame(0x12F, b"b"), frame(0x120, b"c", True), frame(0x130, b"d")):
            bench.mock.inject_frame(received)
        bench.run()

        assert values(exact) == [b"a"]
        assert values(wide) == [b"a", b"b"]
        assert values(extended) == [b"c"]


@pytest.mark.verifies("REQ_0613")
def test_a_remote_frame_reaches_nobody_even_past_the_filters() -> None:
    with Bench() as bench:
        reader = bench.reader("all", CanId(0), 0)
        bench.start()
        bench.mock.filters = (CanFilter(0, 0),)

        assert bench.mock.inject_frame(CanFrame(0x123, b"", remote=True, dlc=8))
        bench.run()

        assert values(reader) == []
        driver = bench.connector.driver("can0")
        assert (driver.remotes, driver.unmatched) == (1, 0)


@pytest.mark.realizes("TEST_0504")
def test_the_filter_is_the_union_of_the_readers_and_follows_them_without_reopening() -> None:
    with Bench() as bench:
        readers = [
            bench.reader("a", CanId.standard(0x100)),
            bench.reader("b", CanId.standard(0x200), 0x7F0),
            bench.reader("c", CanId.extended(0x300)),
        ]
        bench.start()
        first = bench.mock.filters
        calls = bench.mock.apply_filter_count

        readers[1].close()
        bench.run()

        assert first == (
            CanFilter(0x100, 0xC00007FF),
            CanFilter(0x200, 0xC00007F0),
            CanFilter(0x80000300, 0xDFFFFFFF),
        )
        assert bench.mock.filters == (first[0], first[2])
        assert bench.mock.apply_filter_count == calls + 1
        assert bench.mock.open_count == 1


@pytest.mark.verifies("REQ_0622", "REQ_0623")
def test_no_reader_is_an_empty_filter_and_a_late_reader_is_added() -> None:
    with Bench() as bench:
        bench.writer("out", CanId(1))
        bench.start()
        without = bench.mock.filters

        late = bench.reader("late", CanId.standard(0x321))
        bench.run()
        bench.mock.inject_frame(frame(0x321, b"now"))
        bench.run()

        assert without == ()
        assert values(late) == [b"now"]


@pytest.mark.verifies("REQ_0623")
def test_a_replaced_reader_changes_the_filter_although_their_number_is_the_same() -> None:
    with Bench() as bench:
        old = bench.reader("old", CanId.standard(0x100))
        bench.start()

        old.close()
        bench.reader("new", CanId.standard(0x200))
        bench.run()

        assert [entry.can_id for entry in bench.mock.filters] == [0x200]


@pytest.mark.verifies("REQ_0623")
@pytest.mark.parametrize("started", [False, True])
def test_a_channel_can_be_read_again_at_once_after_its_reader_was_closed(started: bool) -> None:
    with Bench() as bench:
        first = bench.reader("in", CanId.standard(0x100))
        if started:
            bench.start()

        first.close()
        second = bench.reader("in", CanId.standard(0x100))
        if not started:
            bench.start()
        bench.run()
        bench.mock.inject_frame(frame(0x100, b"now"))
        bench.run()

        assert values(second) == [b"now"]


@pytest.mark.verifies("REQ_0623", "REQ_0624")
def test_a_frame_that_comes_while_a_reader_closes_does_not_find_a_closed_port() -> None:
    with Bench() as bench:
        bench.reader("in", CanId.standard(0x100))
        bench.start()
        driver = bench.connector.driver("can0")
        channels = driver.link.inbound_channels

        driver.retire(channels.entries[0].writer)  # as reader.close() does on another thread ...
        driver.channels_changed()  # ... while the gateway follows a change of another channel ...
        driver.deliver(frame(0x100, b"x"))
        channels.remove("in.in")  # ... before the channel has left the registry
        driver.channels_changed()

        assert driver.unmatched == 0
        assert driver.reclaim("in.in") is None


@pytest.mark.verifies("REQ_0622")
def test_more_readers_than_kernel_filters_still_receive_only_their_own() -> None:
    with Bench() as bench:
        readers = [bench.reader(f"r{number}", CanId.extended(number)) for number in range(513)]
        bench.start()

        bench.mock.inject_frame(frame(512, b"x", True))
        bench.run()

        assert bench.mock.filters == (CanFilter(0, 0),)
        assert [number for number, reader in enumerate(readers) if values(reader)] == [512]


@pytest.mark.verifies("REQ_0633", "REQ_0635")
def test_open_is_no_evidence_and_the_first_frame_is() -> None:
    with Bench() as bench:
        bench.reader("in", CanId(0), 0)
        bench.start()
        bench.run(S)
        before = bench.kinds()

        bench.mock.inject_frame(frame(1))
        bench.run()

        assert before == []
        assert bench.kinds() == ["Up"]


@pytest.mark.verifies("REQ_0633")
def test_a_successful_send_is_evidence_too() -> None:
    with Bench() as bench:
        writer = bench.writer("out", CanId(1))
        bench.start()

        writer.send(b"x")
        bench.run()

        assert bench.kinds() == ["Up"]


@pytest.mark.realizes("TEST_0506")
def test_bus_off_is_down_and_the_policy_decides_when_to_reopen() -> None:
    policy = FixedPolicy(1 * MS)
    with Bench(reconnect_policy=lambda _random: policy) as bench:
        reader = bench.reader("in", CanId.standard(0x100))
        writer = bench.writer("out", CanId(1))
        bench.start()
        bench.mock.inject_frame(frame(0x100))
        bench.run()

        bench.mock.inject_error(CanErrorClass.BUS_OFF)
        bench.run()
        closed = bench.mock.state
        down = bench.connector.health()
        with pytest.raises(LinkDown, match="bus-off"):
            writer.send(b"x")
        bench.run(1 * MS)
        reopened = bench.connector.health()
        bench.mock.inject_frame(frame(0x100, b"back"))
        bench.run()

        assert closed is CanIfaceState.CLOSED
        assert isinstance(down, Down)
        assert down.reason == IfaceDown("can0", "bus-off")
        assert reopened.kind.value == "Connecting"
        assert bench.kinds() == ["Up", "Down", "Connecting", "Up"]
        assert (policy.asked, bench.mock.open_count) == (1, 2)
        assert bench.mock.filter_calls[-2:] == [bench.mock.filters] * 2
        assert values(reader)[-1] == b"back"


@pytest.mark.verifies("REQ_0634")
def test_the_policy_is_reset_once_the_interface_is_up_again_and_asked_after_each_failure() -> None:
    policy = FixedPolicy(1 * MS)
    with Bench(reconnect_policy=lambda _random: policy) as bench:
        bench.reader("in", CanId.standard(0x100))
        bench.mock.script_open([StackError("no such interface"), StackError("no such interface"), None])
        bench.start()
        down = bench.connector.health()

        bench.run(3 * MS)
        bench.mock.inject_frame(frame(0x100))
        bench.run()

        assert isinstance(down, Down)
        assert bench.kinds() == ["Down", "Connecting", "Down", "Connecting", "Up"]
        assert (policy.asked, policy.resets) == (2, 1)


class _FilterWatch(MockCanInterface):
    """A mock that remembers in which state the connector's health was whenever filters were set."""

    def __init__(self) -> None:
        super().__init__("can0")
        self.seen: list[str] = []
        self.ask: Callable[[], str] = lambda: "none"

    def set_filters(self, filters: Sequence[CanFilter]) -> None:
        super().set_filters(filters)
        self.seen.append(self.ask())


@pytest.mark.verifies("REQ_0633")
def test_a_reopened_interface_has_its_filters_before_it_is_connecting() -> None:
    interface = _FilterWatch()
    with Bench(interface, reconnect_policy=lambda _random: FixedPolicy(1 * MS)) as bench:
        interface.ask = lambda: bench.connector.health().kind.value
        bench.reader("in", CanId.standard(0x100))
        bench.start()

        interface.inject_error(CanErrorClass.BUS_OFF)
        bench.run(3 * MS)

        assert interface.seen == ["Connecting", "Down"]
        assert bench.kinds() == ["Down", "Connecting"]


@pytest.mark.verifies("REQ_0633")
def test_an_interface_that_goes_down_is_named_with_its_cause() -> None:
    with Bench(reconnect_policy=lambda _random: FixedPolicy(S)) as bench:
        bench.start()

        bench.mock.inject_state(CanIfaceState.DOWN, "Network is down [ENETDOWN]")
        bench.run()

        health = bench.connector.health()
        assert isinstance(health, Down)
        assert health.reason == IfaceDown("can0", "Network is down [ENETDOWN]")


@pytest.mark.verifies("REQ_0631", "REQ_0632", "REQ_0635")
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(_PASSIVE, ErrorPassive("can0"), id="passive"),
        pytest.param(_WARNING, ErrorWarning("can0"), id="warning"),
    ],
)
def test_a_controller_in_trouble_is_degraded_until_the_recovery_window_is_over(data: bytes, reason: object) -> None:
    with Bench(recovery_window_ns=100 * MS) as bench:
        bench.reader("in", CanId(0), 0)
        bench.start()
        bench.mock.inject_frame(frame(1))
        bench.run()

        bench.mock.inject_error(CanErrorClass.CONTROLLER, data)
        bench.run(60 * MS)
        bench.mock.inject_error(CanErrorClass.CONTROLLER | CanErrorClass.BUS_ERROR, data)
        bench.run(60 * MS)
        still = bench.connector.health()
        bench.run(60 * MS)

        assert still == Degraded(reason)
        assert bench.kinds() == ["Up", "Degraded", "Up"]


@pytest.mark.verifies("REQ_0632")
def test_trouble_before_the_first_frame_lasts_for_the_whole_recovery_window() -> None:
    with Bench(recovery_window_ns=100 * MS) as bench:
        bench.reader("in", CanId(0), 0)
        bench.start()

        bench.mock.inject_error(CanErrorClass.CONTROLLER, _PASSIVE)
        bench.run(40 * MS)
        bench.mock.inject_frame(frame(1))
        bench.run(40 * MS)
        inside = bench.connector.health()
        bench.run(40 * MS)

        assert inside == Degraded(ErrorPassive("can0"))
        assert bench.connector.health().kind.value == "Up"


@pytest.mark.verifies("REQ_0631")
def test_arbitration_lost_and_other_error_frames_change_nothing() -> None:
    with Bench() as bench:
        bench.reader("in", CanId(0), 0)
        bench.start()
        bench.mock.inject_frame(frame(1))
        bench.run()

        bench.mock.inject_error(CanErrorClass.LOST_ARBITRATION | CanErrorClass.PROTOCOL)
        bench.run()

        assert bench.kinds() == ["Up"]


@pytest.mark.realizes("TEST_0513")
def test_error_frames_reach_no_reader() -> None:
    with Bench(reconnect_policy=lambda _random: FixedPolicy(S)) as bench:
        reader = bench.reader("everything", CanId(0), 0)
        extended = bench.reader("everything.extended", CanId.extended(0), 0)
        bench.start()

        for classes, data in (
            (CanErrorClass.CONTROLLER, _WARNING),
            (CanErrorClass.CONTROLLER, _PASSIVE),
            (CanErrorClass.BUS_OFF, bytes(8)),
        ):
            bench.mock.inject_error(classes, data)
            bench.run()

        assert values(reader) == []
        assert values(extended) == []
        assert bench.kinds() == ["Degraded", "Down"]


@pytest.mark.realizes("TEST_0509")
def test_a_transmit_side_that_never_drains_is_back_pressure_and_degraded() -> None:
    with Bench(outbound_bridge_capacity=1) as bench:
        writer = bench.writer("out", CanId(1))
        bench.mock.limit_room(0)
        bench.start()

        writer.send(b"1")
        bench.run()
        with pytest.raises(BackPressure):
            writer.send(b"2")
        held = bench.connector.health()
        bench.mock.limit_room(None)
        bench.run()
        writer.send(b"3")
        bench.run()

        assert isinstance(held, Degraded)
        assert [sent.data for sent in bench.mock.sent] == [b"1", b"3"]
        assert bench.connector.health().kind.value == "Up"


@pytest.mark.verifies("REQ_0607")
def test_a_full_transmit_queue_keeps_the_frame_at_the_head_and_the_order() -> None:
    with Bench() as bench:
        writer = bench.writer("out", CanId(1))
        bench.mock.limit_room(2)
        bench.start()

        for number in range(5):
            writer.send(bytes((number,)))
        bench.run()
        on_the_wire = len(bench.mock.sent)
        bench.mock.limit_room(None)
        bench.run()

        assert on_the_wire == 2
        assert [sent.data[0] for sent in bench.mock.sent] == [0, 1, 2, 3, 4]


@pytest.mark.verifies("REQ_0607")
def test_a_frame_that_the_stack_refuses_is_counted_and_the_rest_goes_on() -> None:
    with Bench() as bench:
        writer = bench.writer("out", CanId(1))
        bench.mock.script_send([StackError("EINVAL")])
        bench.start()

        writer.send(b"1")
        writer.send(b"2")
        bench.run()

        assert [sent.data for sent in bench.mock.sent] == [b"2"]
        assert bench.connector.links[0].refused == 1


@pytest.mark.realizes("TEST_0510")
def test_a_full_inbound_bridge_drops_counts_and_degrades_once() -> None:
    with Bench(inbound_bridge_capacity=1, recovery_window_ns=50 * MS) as bench:
        reader = bench.reader("in", CanId(0), 0)
        bench.start()
        bench.mock.inject_frame(frame(1, b"0"))
        bench.run()

        for number in range(1, 6):
            bench.mock.inject_frame(frame(1, bytes((number,))))
        bench.run()
        degraded = bench.connector.health()
        first = values(reader)
        bench.run(100 * MS)
        bench.mock.inject_frame(frame(1, b"later"))
        bench.run()

        assert degraded == Degraded(InboundDrops(4, "can0", "in"))
        assert bench.connector.links[0].inbound.dropped == 4
        assert first == [b"0", b"\x01"]
        assert values(reader) == [b"later"]
        assert bench.kinds() == ["Up", "Degraded", "Up"]


@pytest.mark.verifies("REQ_0633", "REQ_8510")
def test_an_interface_that_is_down_says_when_it_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    with Bench(reconnect_policy=lambda _random: FixedPolicy(20 * MS)) as bench:
        LogRecorder().watch(bench.connector.monitor)
        bench.start()

        with caplog.at_level(logging.INFO, "taktora.app"):
            bench.mock.inject_state(CanIfaceState.DOWN, "Network is down")
            bench.run()
        down = bench.events[-1].target
        bench.run(20 * MS)

        assert caplog.messages == ["can is Down: can0 is down: Network is down; next try in 0.02 s"]
        assert isinstance(down, Down)
        assert down.retry_at_ns == bench.events[-1].at_ns


@pytest.mark.verifies("REQ_0608")
def test_each_channel_counts_the_frames_that_it_has_lost_and_degrades_at_its_own_threshold() -> None:
    with Bench(inbound_bridge_capacity=1, inbound_drop_threshold=2, recovery_window_ns=50 * MS) as bench:
        for name, can_id, mask in (("one", 1, 0x7FF), ("two", 2, 0x7FF), ("all", 0, 0)):
            bench.reader(name, CanId(can_id), mask)
        bench.start()
        bench.mock.inject_frame(frame(1))
        bench.run()
        link = bench.connector.links[0]

        fitting = link.receive(frame(1))
        outcomes = [link.receive(frame(can_id)) for can_id in (1, 2, 2)]
        bench.run()
        first = bench.connector.health()
        bench.run(100 * MS)
        recovered = bench.connector.health()
        again = [link.receive(frame(can_id)) for can_id in (3, 1)]
        bench.run()

        assert (fitting, outcomes) == (Sent(), [Dropped(1), Dropped(2), Dropped(3)])
        assert first == Degraded(InboundDrops(3, "can0", "all"))
        assert (recovered.kind.value, again) == ("Up", [Sent(), Dropped(4)])
        assert [link.drops.of(name) for name in ("one", "two", "all", "")] == [2, 2, 4, 0]
        assert bench.kinds() == ["Up", "Degraded", "Up", "Degraded"]


@pytest.mark.verifies("REQ_0608")
def test_a_dropped_frame_that_is_for_no_channel_counts_for_the_interface() -> None:
    with Bench(inbound_bridge_capacity=1) as bench:
        bench.reader("one", CanId(1))
        bench.start()
        link = bench.connector.links[0]

        link.receive(frame(1))
        link.receive(frame(7))
        link.receive(frame(1)._replace(remote=True))

        assert (link.drops.of("one"), link.drops.of()) == (0, 2)


@pytest.mark.verifies("REQ_0608")
def test_a_stalled_application_reader_costs_frames_that_are_counted_and_no_other_reader() -> None:
    with Bench() as bench:
        stalled = bench.reader("stalled", CanId(0), 0)
        lively = bench.reader("lively", CanId(0), 0)
        bench.start()

        received = 0
        for number in range(200):
            bench.mock.inject_frame(frame(1, bytes((number,))))
            bench.run()
            received += len(values(lively))
        late = values(stalled)

        assert received == 200
        assert len(late) + bench.connector.driver("can0").undelivered == 200
        assert bench.connector.driver("can0").undelivered > 0


@pytest.mark.realizes("TEST_0514")
def test_channels_are_walked_in_order_of_opening_in_every_cycle() -> None:
    with Bench() as bench:
        readers = [bench.reader(f"in{number}", CanId(0), 0) for number in range(8)]
        writers = [bench.writer(f"out{number}", CanId(0x100 + number)) for number in range(8)]
        bench.start()
        order: list[str] = []
        for reader in readers:
            reader.listener.set_waker(partial(order.append, reader.service))

        for _ in range(3):
            for writer in reversed(writers):
                writer.send(b"x")
            bench.mock.inject_frame(frame(5))
            bench.run()

        assert [sent.can_id for sent in bench.mock.sent] == [0x100 + number for number in range(8)] * 3
        assert all(len(values(reader)) == 3 for reader in readers)
        assert order == [f"in{number}.in" for number in range(8)] * 3


@pytest.mark.realizes("TEST_0514")
def test_a_thousand_cycles_of_both_loops_allocate_nothing_lasting() -> None:
    with Bench() as bench:
        readers = [bench.reader(f"in{number}", CanId(number)) for number in range(8)]
        writers = [bench.writer(f"out{number}", CanId(0x100 + number)) for number in range(8)]
        bench.start()
        driver = bench.connector.driver("can0")

        def cycle() -> None:
            for number in range(8):
                driver.deliver(CanFrame(number, b"12345678"))
                driver.transmit(CanFrame(0x100 + number, b"12345678"))
            bench.mock.sent.clear()
            for reader in readers:
                while reader.try_recv() is not None:
                    pass

        for _ in range(100):
            cycle()
        tracemalloc.start()
        cycle()
        gc.collect()
        before = tracemalloc.take_snapshot()
        for _ in range(1000):
            cycle()
        gc.collect()
        after = tracemalloc.take_snapshot()
        tracemalloc.stop()

        grown = sum(
            entry.size_diff
            for entry in after.compare_to(before, "filename")
            if "/taktora/can/" in entry.traceback[0].filename or "/connector/" in entry.traceback[0].filename
        )
        assert grown < 1024
        assert len(writers) == 8


@pytest.mark.realizes("TEST_0508")
def test_no_public_signature_mentions_asyncio_sockets_or_python_can() -> None:
    for name in taktora.can.__all__:
        thing = getattr(taktora.can, name)
        members = [thing, *vars(thing).values()] if inspect.isclass(thing) else [thing]
        for member in members:
            annotations = getattr(member, "__annotations__", {})
            text = " ".join(str(annotation) for annotation in annotations.values())
            assert not any(word in text for word in ("asyncio", "socket", "can.Message", "BusABC")), (name, text)


class _ThreadedInterface(MockCanInterface):
    """A mock whose frames come from a thread, as those of a real interface do."""

    def receive_from_thread(self, *frames: CanFrame) -> None:
        def deliver() -> None:
            for received in frames:
                self.inject_frame(received)

        thread = threading.Thread(target=deliver, name="io")
        thread.start()
        thread.join()


@pytest.mark.realizes("TEST_0508")
def test_callbacks_stay_on_their_thread_and_publishing_on_the_gateways(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime.system(transport="inprocess")
    interface = _ThreadedInterface("can0")
    options = CanConnectorOptions(ifaces=(CanIface("can0"),))
    connector = CanConnector(runtime, options, [interface], BytesCodec())
    reader = connector.create_reader(can_channel("in", CanRouting(CanIface("can0"), CanId(1))), bytes)
    seen: list[str] = []
    link = connector.links[0]
    receive, deliver = link.receive, link.driver.deliver

    def note_receive(message: CanFrame) -> Any:
        seen.append(f"receive {threading.current_thread().name}")
        return receive(message)

    def note_deliver(message: CanFrame) -> None:
        seen.append(f"deliver {threading.current_thread().name}")
        deliver(message)

    monkeypatch.setattr(link, "receive", note_receive)
    monkeypatch.setattr(link.driver, "deliver", note_deliver)
    with ConnectorGateway.builder(runtime, "gw").build() as gateway:
        gateway.register(connector)
        gateway.start()
        _wait_until(lambda: interface.state is CanIfaceState.ACTIVE)

        interface.receive_from_thread(frame(1, b"a"))
        _wait_until(lambda: len(seen) == 2)

        assert seen == ["receive io", "deliver taktora-gw"]
        assert values(reader) == [b"a"]
    runtime.close()


def _wait_until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"nothing happened within {PATIENCE_S} s"
        time.sleep(0.002)


@pytest.mark.verifies("REQ_0605")
def test_closing_leaves_the_interface_closed_and_later_callbacks_harmless() -> None:
    bench = Bench().start()
    listener = bench.mock._listener
    assert listener is not None

    bench.close()
    listener.on_frame(frame(1))
    listener.on_state(CanIfaceState.DOWN, "late")

    assert bench.mock.state is CanIfaceState.CLOSED
