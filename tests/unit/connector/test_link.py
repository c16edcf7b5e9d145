from __future__ import annotations

from typing import Any

import pytest

from taktora.codec import JsonCodec
from taktora.connector import (
    EXHAUSTED,
    ChannelDescriptor,
    Connecting,
    ConnectorBase,
    ConnectorHealthKind,
    ConnectorHost,
    Degraded,
    Down,
    ExponentialBackoff,
    GatewayItem,
    HealthMonitor,
    Link,
    LinkOptions,
    ReconnectPolicy,
    Sign,
    Up,
    Wakeup,
)
from taktora.errors import BackPressure, ConfigurationError, LinkDown, RoutingError, StackError
from taktora.executor import Context, TaskFailed, TriggerDeclarer
from taktora.runtime import Runtime
from taktora.transport.channel import RawChannelWriter, RawSample
from taktora_sim.world import World
from tests.unit.connector.conftest import LineRouting, Tick

MS = 1_000_000


class LineDriver:
    """A scripted stack: remembers what it was asked and answers as told."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.sent: list[bytes] = []
        self.refusals: list[Exception] = []
        self.open_errors: list[Exception] = []
        self.link: Link[LineRouting, bytes, bytes]

    def open(self) -> None:
        self.calls.append("open")
        if self.open_errors:
            raise self.open_errors.pop(0)

    def close(self) -> None:
        self.calls.append("close")

    def compose(self, routing: LineRouting, sample: RawSample, payload: memoryview) -> bytes:
        if routing.line == 13:
            raise RoutingError("line 13 does not exist")
        return bytes([routing.line]) + bytes(payload)

    def transmit(self, message: bytes) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        self.sent.append(message)

    def deliver(self, message: bytes) -> None:
        for channel in self.link.inbound_channels:
            channel.writer.send_raw_bytes(message)

    def channels_changed(self) -> None:
        self.calls.append("channels")


class LineConnector(ConnectorBase[LineRouting, JsonCodec]):
    routing_type = LineRouting

    def __init__(self, runtime: Runtime, options: LinkOptions, policy: ReconnectPolicy | None) -> None:
        super().__init__("line", runtime, JsonCodec())
        self.driver = LineDriver()
        self.link: Link[LineRouting, bytes, bytes] = Link("", self.driver, self.aggregate, runtime, options, policy)
        self.driver.link = self.link
        self.add_link(self.link)


class Rig:
    def __init__(self, options: LinkOptions | None = None, policy: ReconnectPolicy | None = None) -> None:
        self.world = World(1)
        runtime = self.world.runtime
        self.host = ConnectorHost.builder(runtime).build()
        self.connector = LineConnector(runtime, options or LinkOptions(), policy)
        self.link, self.driver = self.connector.link, self.connector.driver
        self.reader = self.connector.create_reader(ChannelDescriptor("a", LineRouting(1), 64), Tick)
        self.writer = self.connector.create_writer(ChannelDescriptor("a", LineRouting(1), 64), Tick)
        self.lost = self.connector.create_writer(ChannelDescriptor("lost", LineRouting(13), 64), Tick)
        self.health = self.connector.subscribe_health()
        self.host.register(self.connector)

    def run_ms(self, duration: float) -> None:
        self.host.run_for(duration / 1e3)

    def walk(self) -> list[tuple[str, int]]:
        return [(event.target.kind.value, event.at_ns // MS) for event in self.health.drain()]


def steady(initial_ms: int = 10, **more: Any) -> ExponentialBackoff:
    return ExponentialBackoff(initial_ns=initial_ms * MS, jitter_ratio=0, **more)


@pytest.mark.verifies("REQ_0607")
def test_refused_frame_stays_at_the_head_and_is_retried_when_there_is_room() -> None:
    rig = Rig()
    rig.driver.refusals = [BackPressure("ENOBUFS"), BackPressure("ENOBUFS")]
    for count in range(3):
        rig.writer.send(Tick(count))
    rig.run_ms(5)
    stalled = (len(rig.driver.sent), len(rig.link.outbound))

    rig.link.transmit_ready()
    rig.run_ms(5)
    rig.link.transmit_ready()
    rig.run_ms(5)

    assert stalled == (0, 3)
    assert [message[1:10] for message in rig.driver.sent] == [b'{"count":' for _ in range(3)]
    assert [message[10:11] for message in rig.driver.sent] == [b"0", b"1", b"2"]


@pytest.mark.verifies("REQ_0607")
def test_full_outbound_bridge_degrades_once_and_holds_the_writer() -> None:
    rig = Rig(LinkOptions(outbound_capacity=2))
    rig.run_ms(1)
    rig.link.report(Up())
    rig.run_ms(1)
    rig.driver.refusals = [BackPressure("ENOBUFS") for _ in range(3)]

    for count in range(4):
        rig.writer.send(Tick(count))
    rig.run_ms(1)
    with pytest.raises(BackPressure, match="outbound bridge of line is full with 2 messages"):
        rig.writer.send(Tick(9))
    rig.run_ms(1)
    degraded = rig.connector.health()
    rig.driver.refusals.clear()
    rig.link.transmit_ready()
    rig.run_ms(1)
    rig.writer.send(Tick(4))
    rig.run_ms(1)

    assert isinstance(degraded, Degraded)
    assert "backpressure" in str(degraded.reason)
    assert [kind for kind, _ in rig.walk()] == ["Up", "Degraded", "Up"]
    assert [message[10:11] for message in rig.driver.sent] == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.verifies("REQ_0296")
def test_message_the_stack_refuses_is_counted_and_the_rest_goes_on() -> None:
    rig = Rig()
    rig.driver.refusals = [StackError("bad frame")]

    rig.writer.send(Tick(0))
    rig.lost.send(Tick(1))
    rig.writer.send(Tick(2))
    rig.run_ms(1)

    assert [message[10:11] for message in rig.driver.sent] == [b"2"]
    assert rig.link.refused == 2


@pytest.mark.verifies("REQ_0232", "REQ_0234")
def test_down_link_is_reopened_after_growing_delays() -> None:
    rig = Rig(policy=steady())
    rig.driver.open_errors = [StackError("no carrier"), StackError("no carrier")]

    rig.run_ms(100)
    rig.link.report(Up())
    rig.run_ms(1)

    assert rig.walk() == [
        ("Down", 0), ("Connecting", 10), ("Down", 10), ("Connecting", 30), ("Up", 100),
    ]  # fmt: skip
    assert rig.driver.calls == ["channels", "open", "close"] * 2 + ["channels", "open"]


@pytest.mark.verifies("REQ_0232")
def test_up_resets_the_policy() -> None:
    policy = steady()
    rig = Rig(policy=policy)
    rig.driver.open_errors = [StackError("no carrier")]
    rig.run_ms(15)
    used = policy.attempts

    rig.link.report(Up())
    rig.run_ms(1)

    assert (used, policy.attempts) == (1, 0)


@pytest.mark.verifies("REQ_0232")
def test_finite_policy_ends_in_down_with_its_reason() -> None:
    rig = Rig(policy=steady(max_attempts=1))
    rig.driver.open_errors = [StackError("no carrier"), StackError("no carrier")]

    rig.run_ms(1_000)
    health = rig.connector.health()

    assert isinstance(health, Down)
    assert str(health.reason) == f"{EXHAUSTED} after: no carrier"
    assert rig.driver.calls.count("open") == 2


@pytest.mark.verifies("REQ_0235")
def test_stack_that_reconnects_by_itself_shows_every_move() -> None:
    rig = Rig()
    for health in (Up(), Down("gone", 0), Up(), Down("gone", 0), Connecting(0), Up()):
        rig.link.report(health)

    rig.run_ms(1)

    assert [kind for kind, _ in rig.walk()] == ["Up", "Down", "Connecting", "Up", "Down", "Connecting", "Up"]
    assert rig.driver.calls.count("open") == 1


@pytest.mark.verifies("REQ_0230")
def test_up_from_before_the_close_comes_too_late() -> None:
    rig = Rig(policy=steady())
    rig.link.report(Down("bus off", 0))
    rig.link.report(Up())

    rig.run_ms(1)

    assert [kind for kind, _ in rig.walk()] == ["Down"]


@pytest.mark.verifies("REQ_0630")
def test_degraded_ends_after_quiet_time_and_noise_prolongs_it() -> None:
    rig = Rig(LinkOptions(recovery_window_ns=20 * MS))
    rig.link.report(Up())
    rig.world.call_at(5 * MS, lambda: rig.link.report(Degraded("error passive")))
    rig.world.call_at(15 * MS, lambda: rig.link.report(Degraded("error passive")))

    rig.run_ms(100)

    assert rig.walk() == [("Up", 0), ("Degraded", 5), ("Up", 35)]


@pytest.mark.verifies("REQ_0630")
def test_noise_prolongs_degraded_keeps_its_reason_and_is_none_by_itself() -> None:
    rig = Rig(LinkOptions(recovery_window_ns=20 * MS))
    rig.link.report(Up())
    rig.world.call_at(3 * MS, lambda: rig.link.report(Sign.NOISE))
    rig.world.call_at(5 * MS, lambda: rig.link.report(Degraded("error passive")))
    rig.world.call_at(15 * MS, lambda: rig.link.report(Sign.NOISE))

    rig.run_ms(30)
    late = rig.connector.health()
    rig.run_ms(20)

    assert late == Degraded("error passive")
    assert rig.walk() == [("Up", 0), ("Degraded", 5), ("Up", 35)]


@pytest.mark.verifies("REQ_0333")
def test_degraded_lasts_until_it_is_told_otherwise_where_time_proves_nothing() -> None:
    rig = Rig(LinkOptions(recovery_window_ns=20 * MS, recovers_by_time=False), None)
    rig.link.report(Up())
    rig.world.call_at(5 * MS, lambda: rig.link.report(Degraded("working counter")))
    rig.world.call_at(90 * MS, lambda: rig.link.report(Up()))

    rig.run_ms(100)

    assert rig.walk() == [("Up", 0), ("Degraded", 5), ("Up", 90)]


@pytest.mark.verifies("REQ_0630", "REQ_0633")
def test_degraded_before_any_proof_ends_in_connecting_where_traffic_is_the_proof() -> None:
    rig = Rig(LinkOptions(up_on_traffic=True, recovery_window_ns=20 * MS))
    rig.world.call_at(5 * MS, lambda: rig.link.report(Degraded("error passive")))

    rig.run_ms(50)
    rig.link.report(Sign.PROOF)
    rig.run_ms(1)

    assert rig.walk() == [("Degraded", 5), ("Connecting", 25), ("Up", 50)]


@pytest.mark.verifies("REQ_0633")
def test_a_doubtful_connection_is_up_by_what_it_receives_and_says_why_not_before() -> None:
    rig = Rig(LinkOptions(up_on_traffic=True), steady())
    rig.run_ms(1)
    rig.link.report(Down("bus-off", 0))
    rig.world.call_at(5 * MS, lambda: setattr(rig.link, "doubt", "needs a restart"))
    rig.world.call_at(5 * MS, lambda: setattr(rig.link, "sending_proves", False))
    rig.run_ms(20)

    rig.writer.send(Tick(1))
    rig.run_ms(1)
    sent, doubtful = len(rig.driver.sent), rig.connector.health()
    rig.link.receive(b'{"count":1}')
    rig.run_ms(1)

    assert sent == 1
    assert isinstance(doubtful, Connecting)
    assert doubtful.reason == "needs a restart"
    assert [kind for kind, _ in rig.walk()] == ["Down", "Connecting", "Up"]
    assert (rig.link.doubt, rig.link.sending_proves) == (None, True)


@pytest.mark.verifies("REQ_0230")
@pytest.mark.parametrize("direction", ["inbound", "outbound"])
def test_traffic_is_the_proof_of_up_where_asked_for(direction: str) -> None:
    rig = Rig(LinkOptions(up_on_traffic=True))
    rig.run_ms(10)
    before = rig.connector.health().kind

    if direction == "inbound":
        rig.link.receive(b'{"count":1}')
    else:
        rig.writer.send(Tick(1))
    rig.run_ms(1)

    assert before is ConnectorHealthKind.CONNECTING
    assert rig.walk() == [("Up", 10)]


@pytest.mark.verifies("REQ_0608")
def test_inbound_flood_drops_the_newest_and_degrades_once() -> None:
    rig = Rig(LinkOptions(inbound_capacity=4, inbound_drop_threshold=2, recovery_window_ns=20 * MS))
    rig.link.report(Up())
    rig.run_ms(1)

    for count in range(7):
        rig.link.receive(b'{"count":%d}' % count)
    rig.run_ms(100)

    assert [envelope.value.count for envelope in rig.reader.drain()] == [0, 1, 2, 3]
    assert rig.walk() == [("Up", 0), ("Degraded", 1), ("Up", 21)]


@pytest.mark.verifies("REQ_0608")
def test_recovery_from_drops_begins_after_the_last_one() -> None:
    rig = Rig(LinkOptions(inbound_capacity=1, recovery_window_ns=20 * MS))
    rig.link.report(Up())

    def flood() -> None:
        for _ in range(3):
            rig.link.receive(b'{"count":1}')

    for at_ms in (5, 20, 35):
        rig.world.call_at(at_ms * MS, flood)
    rig.run_ms(100)

    assert rig.walk() == [("Up", 0), ("Degraded", 5), ("Up", 55)]


@pytest.mark.verifies("REQ_0272")
def test_late_reader_makes_the_driver_renew_its_filters() -> None:
    rig = Rig()
    rig.run_ms(1)

    rig.connector.create_reader(ChannelDescriptor("b", LineRouting(2), 64), Tick)
    rig.run_ms(1)

    assert rig.driver.calls == ["channels", "open", "channels"]


@pytest.mark.verifies("TSR_0008")
def test_integrity_fault_of_a_reader_degrades_for_the_recovery_window() -> None:
    rig = Rig()
    rig.link.report(Up())
    rig.run_ms(1)

    rig.connector._note_integrity("corrupt", "crc32 differs")
    rig.run_ms(2_000)

    assert rig.walk() == [("Up", 0), ("Degraded", 1), ("Up", 1001)]


@pytest.mark.verifies("REQ_0243")
def test_close_is_idempotent_and_refuses_everything_after() -> None:
    rig = Rig()
    rig.run_ms(1)

    rig.host.close()
    rig.connector.close()

    assert rig.link.gate.blocked
    assert rig.driver.calls.count("close") == 1


@pytest.mark.verifies("REQ_0292")
def test_what_was_not_sent_before_an_outage_is_not_sent_after_it() -> None:
    rig = Rig(LinkOptions(outbound_capacity=2), policy=steady())
    rig.link.report(Up())
    rig.driver.refusals = [BackPressure("ENOBUFS") for _ in range(9)]
    for count in range(5):
        rig.writer.send(Tick(count))
    rig.run_ms(1)

    rig.link.report(Down("bus off", 0))
    rig.run_ms(1)
    rig.driver.refusals.clear()
    rig.run_ms(50)
    rig.link.report(Up())
    rig.writer.send(Tick(9))
    rig.run_ms(1)

    assert [message[10:11] for message in rig.driver.sent] == [b"9"]
    assert rig.link.refused == 5


@pytest.mark.verifies("REQ_0224")
def test_channel_has_one_routing() -> None:
    rig = Rig()

    again = rig.connector.create_reader(ChannelDescriptor("a", LineRouting(1), 64), Tick)
    with pytest.raises(ConfigurationError, match=r"open with routing LineRouting\(line=1\), asked for"):
        rig.connector.create_reader(ChannelDescriptor("a", LineRouting(2), 64), Tick)

    assert again.service == "a.in"


@pytest.mark.verifies("REQ_0224")
def test_second_writer_of_a_channel_is_refused_and_leaves_nothing_behind() -> None:
    rig = Rig()

    for _ in range(10):
        with pytest.raises(ConfigurationError, match=r"service 'a.out' is open already"):
            rig.connector.create_writer(ChannelDescriptor("a", LineRouting(1), 64), Tick)
    rig.writer.send(Tick(1))
    rig.run_ms(1)

    assert len(rig.driver.sent) == 1


@pytest.mark.realizes("TEST_0103")
def test_writer_that_cannot_be_opened_leaves_nothing_behind() -> None:
    rig = Rig()
    other = RawChannelWriter(rig.world.runtime.transport, "c.out", 32, rig.world)

    for _ in range(10):
        with pytest.raises(ConfigurationError, match=r"c\.out"):
            rig.connector.create_writer(ChannelDescriptor("c", LineRouting(1), 64), Tick)
    other.close()
    rig.connector.create_writer(ChannelDescriptor("c", LineRouting(1), 64), Tick)

    assert "c.out" in rig.link.outbound_channels


@pytest.mark.verifies("REQ_0296")
def test_item_sets_down_with_the_text_before_it_lets_the_failure_go_on() -> None:
    world = World(1)
    monitor = HealthMonitor("line", world)
    waker = Wakeup("start")
    waker.notify()

    class Broken(GatewayItem):
        def declare_triggers(self, declarer: TriggerDeclarer) -> None:
            declarer.raw_listener(waker)

        def step(self, context: Context) -> None:
            raise ZeroDivisionError("planted")

    executor = world.runtime.executor_builder("alone").on_item_error("stop").build()
    executor.add(Broken("line.broken", monitor))

    with pytest.raises(TaskFailed):
        executor.run_for(MS)

    assert monitor.current == Down("gateway failed in line.broken: ZeroDivisionError: planted", 0)


@pytest.mark.verifies("REQ_0296")
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=["SystemExit", "KeyboardInterrupt"])
def test_gateway_that_a_driver_ends_is_down_and_takes_no_more(error: BaseException) -> None:
    rig = Rig()
    rig.world.recorder.tolerates_item_errors = True
    rig.run_ms(5)
    rig.driver.refusals = [error]  # type: ignore[list-item]
    rig.writer.send(Tick(1))

    rig.run_ms(5)

    assert isinstance(rig.connector.health(), Down)
    assert type(error).__name__ in str(rig.connector.health())
    with pytest.raises(LinkDown):
        rig.writer.send(Tick(2))


@pytest.mark.verifies("REQ_0296")
def test_message_longer_than_its_channel_is_counted_and_the_next_one_arrives() -> None:
    rig = Rig()
    rig.run_ms(5)
    rig.link.receive(b"x" * 65)
    rig.link.receive(b'{"count": 7}')

    rig.run_ms(5)

    degraded = rig.connector.health()
    assert [envelope.value for envelope in rig.reader.drain()] == [Tick(7)]
    assert rig.link.oversize == 1
    assert isinstance(degraded, Degraded)
    assert "65 bytes" in str(degraded.reason)


@pytest.mark.verifies("REQ_0243")
def test_closed_connector_frees_its_services() -> None:
    rig = Rig()
    rig.connector.close()
    transport = rig.world.runtime.transport

    for service in ("a.out", "a.in", "lost.out"):
        RawChannelWriter(transport, service, 32, rig.world).close()
