"""The states of one interface (ARCH_0062), move by move: what causes each, what does not, and what is said of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from taktora.can import (
    CanConnector,
    CanConnectorOptions,
    CanErrorClass,
    CanFilter,
    CanId,
    CanIface,
    CanIfaceState,
    CanInterfaceListener,
    ControllerOverflow,
    ControllerRestarted,
    ErrorPassive,
    ErrorWarning,
    IfaceDown,
    NoAcknowledge,
    ReceiveOverflow,
    RestartAwaited,
    TransceiverFault,
    TransmitStalled,
)
from taktora.connector import Connecting, ConnectorGateway, ConnectorHealth, Degraded, Down, Up
from taktora.errors import LinkDown, StackError
from taktora.recording import LogRecorder
from taktora.runtime import Runtime
from taktora.testing.mock_can import MockCanInterface
from taktora_sim.can import SimulatedCanBus
from taktora_sim.world import World
from tests.patience import PATIENCE_S
from tests.unit.can.support import MS, Bench, BytesCodec, FixedPolicy, S, frame, values

_WINDOW_NS = 100 * MS
_BACK_OFF_NS = 10 * MS


def _detail(**places: int) -> bytes:
    """Return the data of an error frame: ``b1=0x20`` sets its second byte."""
    data = bytearray(8)
    for place, value in places.items():
        data[int(place[1])] = value
    return bytes(data)


_WARNING, _PASSIVE, _ACTIVE = _detail(b1=0x08), _detail(b1=0x20), _detail(b1=0x40)


def _bench(mock: MockCanInterface | None = None, **options: Any) -> Bench:
    given: dict[str, Any] = {
        "reconnect_policy": lambda _random: FixedPolicy(_BACK_OFF_NS),
        "recovery_window_ns": _WINDOW_NS,
    }
    return Bench(mock or MockCanInterface("can0"), **given | options)


def _up(bench: Bench) -> None:
    """Start with a reader of all standard identifiers, be Up by a frame, and forget the moves until then."""
    bench.reader("all", CanId(0), 0)
    bench.start()
    bench.mock.inject_frame(frame(1))
    bench.run()
    assert bench.connector.links[0].health == Up()
    bench.events.clear()


def _state(bench: Bench) -> ConnectorHealth:
    return bench.connector.links[0].health


def _bus_off(bench: Bench) -> None:
    """Go bus-off and wait until the interface is open again."""
    bench.mock.inject_error(CanErrorClass.BUS_OFF)
    bench.run(_BACK_OFF_NS + MS)
    assert _state(bench).kind is Connecting.kind


@pytest.mark.verifies("REQ_0633", "REQ_0635")
def test_connecting_becomes_up_by_the_first_frame_heard_and_not_by_being_open() -> None:
    with _bench() as bench:
        bench.reader("all", CanId(0), 0)
        bench.start()
        bench.run(10 * S)
        before = _state(bench)

        bench.mock.inject_frame(frame(1))
        bench.run()

        assert before.kind is Connecting.kind
        assert bench.kinds() == ["Up"]


@pytest.mark.verifies("REQ_0633", "REQ_0635")
def test_connecting_becomes_down_by_an_interface_that_cannot_be_opened_and_again_by_each_failed_try() -> None:
    with _bench() as bench:
        bench.mock.script_open([StackError("no such interface")] * 3)
        bench.start()
        first = _state(bench)

        bench.run(3 * _BACK_OFF_NS + MS)

        assert isinstance(first, Down)
        assert first.reason == IfaceDown("can0", "no such interface")
        assert bench.kinds() == ["Down", "Connecting", "Down", "Connecting", "Down", "Connecting"]
        assert bench.mock.open_count == 4


class _RefusesFilters(MockCanInterface):
    """A mock whose filters are refused as often as told."""

    refusals = 0

    def set_filters(self, filters: Sequence[CanFilter]) -> None:
        if self.refusals:
            self.refusals -= 1
            raise StackError("the kernel refused 1 filters")
        super().set_filters(filters)


@pytest.mark.verifies("REQ_0622", "REQ_0633")
def test_connecting_becomes_down_by_filters_that_are_refused_and_the_socket_is_closed() -> None:
    mock = _RefusesFilters("can0")
    with _bench(mock) as bench:
        _up(bench)
        mock.refusals = 1

        mock.inject_error(CanErrorClass.BUS_OFF)
        bench.run(_BACK_OFF_NS + MS)
        refused, closed = _state(bench), mock.state
        bench.run(_BACK_OFF_NS)

        assert isinstance(refused, Down)
        assert closed is CanIfaceState.CLOSED
        assert bench.kinds() == ["Down", "Connecting", "Down", "Connecting"]
        assert mock.filters == (CanFilter(0, 0xC0000000),)


@pytest.mark.verifies("REQ_0623", "REQ_0633")
def test_up_becomes_down_by_filters_that_are_refused_and_the_gateway_goes_on() -> None:
    mock = _RefusesFilters("can0")
    with _bench(mock) as bench:
        _up(bench)
        mock.refusals = 1

        late = bench.reader("late", CanId.extended(5))
        bench.run()
        refused = _state(bench)
        bench.run(_BACK_OFF_NS)
        mock.inject_frame(frame(5, b"x", extended=True))
        bench.run()

        assert isinstance(refused, Down)
        assert refused.reason == IfaceDown("can0", "the kernel refused 1 filters")
        assert values(late) == [b"x"]
        assert bench.kinds() == ["Down", "Connecting", "Up"]


@pytest.mark.verifies("REQ_0623", "REQ_0633")
def test_the_filters_follow_the_readers_while_a_restart_is_awaited_too() -> None:
    mock = _KnowsItsController("can0")
    with _bench(mock) as bench:
        _up(bench)
        mock.is_off = True
        _bus_off(bench)

        bench.reader("late", CanId.extended(5))
        bench.run()

        assert [entry.can_id for entry in mock.filters] == [0, 0x80000005]


@pytest.mark.verifies("REQ_0631", "REQ_0632", "REQ_0630")
@pytest.mark.parametrize(
    ("classes", "data", "reason"),
    [
        pytest.param(CanErrorClass.CONTROLLER, _WARNING, ErrorWarning("can0"), id="warning"),
        pytest.param(CanErrorClass.CONTROLLER, _PASSIVE, ErrorPassive("can0"), id="passive"),
        pytest.param(CanErrorClass.NO_ACK, _detail(), NoAcknowledge("can0"), id="acknowledge"),
        pytest.param(
            CanErrorClass.PROTOCOL | CanErrorClass.BUS_ERROR, _detail(b3=0x19), NoAcknowledge("can0"), id="ack slot"
        ),
        pytest.param(CanErrorClass.TRANSCEIVER, _detail(b4=0x04), TransceiverFault("can0"), id="broken wire"),
        pytest.param(CanErrorClass.CONTROLLER, _detail(b1=0x01), ControllerOverflow("can0", 1), id="overflow"),
        pytest.param(CanErrorClass.RESTARTED, _detail(), ControllerRestarted("can0"), id="unnoticed bus-off"),
    ],
)
def test_up_becomes_degraded_by_trouble_and_up_again_after_the_recovery_window(
    classes: CanErrorClass, data: bytes, reason: object
) -> None:
    with _bench() as bench:
        _up(bench)
        at_ns = bench.world.now_ns()

        bench.mock.inject_error(classes, data)
        bench.run(2 * _WINDOW_NS)

        assert [event.target for event in bench.events] == [Degraded(reason), Up()]
        assert [event.at_ns - at_ns for event in bench.events] == [0, _WINDOW_NS]


@pytest.mark.verifies("REQ_0631")
@pytest.mark.parametrize(
    ("classes", "data"),
    [
        pytest.param(CanErrorClass.LOST_ARBITRATION, _detail(b0=11), id="arbitration"),
        pytest.param(CanErrorClass.PROTOCOL | CanErrorClass.BUS_ERROR, _detail(b2=0x04, b3=0x0A), id="stuff error"),
        pytest.param(CanErrorClass.CONTROLLER, _ACTIVE, id="active"),
        pytest.param(CanErrorClass.COUNTERS, _detail(b6=3, b7=1), id="counters"),
        pytest.param(CanErrorClass.TX_TIMEOUT, _detail(), id="timeout"),
    ],
)
def test_an_error_frame_of_no_weight_changes_nothing_and_prolongs_trouble(classes: CanErrorClass, data: bytes) -> None:
    with _bench() as bench:
        _up(bench)

        bench.mock.inject_error(classes, data)
        bench.run(MS)
        untouched = bench.kinds()
        bench.mock.inject_error(CanErrorClass.CONTROLLER, _PASSIVE)
        bench.run(60 * MS)
        bench.mock.inject_error(classes, data)
        bench.run(60 * MS)
        held = _state(bench)
        bench.run(60 * MS)

        assert untouched == []
        assert held == Degraded(ErrorPassive("can0"))
        assert bench.kinds() == ["Degraded", "Up"]
        assert bench.connector.driver("can0").error_frames == 3


@pytest.mark.verifies("REQ_0632", "REQ_0635")
def test_graver_trouble_is_the_reason_from_then_on_and_no_second_event() -> None:
    with _bench() as bench:
        _up(bench)

        bench.mock.inject_error(CanErrorClass.CONTROLLER, _WARNING)
        bench.run(MS)
        bench.mock.inject_error(CanErrorClass.CONTROLLER | CanErrorClass.COUNTERS, _detail(b1=0x20, b6=128))
        bench.run(MS)

        assert str(bench.connector.health().reason) == (  # type: ignore[union-attr]
            "can0 is error-passive; check wiring, termination and bit rate "
            "(error-passive by transmit errors; 128 transmit errors, 0 receive errors)"
        )
        assert bench.kinds() == ["Degraded"]


@pytest.mark.verifies("REQ_0630", "REQ_0633")
def test_trouble_before_any_frame_ends_in_connecting_since_quiet_is_no_evidence() -> None:
    with _bench() as bench:
        bench.reader("all", CanId(0), 0)
        bench.start()

        bench.mock.inject_error(CanErrorClass.CONTROLLER, _PASSIVE)
        bench.run(_WINDOW_NS + MS)
        bench.mock.inject_frame(frame(1))
        bench.run()

        assert bench.kinds() == ["Degraded", "Connecting", "Up"]


@pytest.mark.verifies("REQ_0633")
@pytest.mark.parametrize("before", ["Up", "Degraded", "Connecting"])
def test_bus_off_is_down_from_anywhere_and_says_what_the_error_frame_said(before: str) -> None:
    with _bench() as bench:
        if before == "Connecting":
            bench.start()
        else:
            _up(bench)
        if before == "Degraded":
            bench.mock.inject_error(CanErrorClass.CONTROLLER, _PASSIVE)
            bench.run()
        writer_state = bench.mock.state

        bench.mock.inject_error(CanErrorClass.BUS_OFF | CanErrorClass.PROTOCOL, _detail(b2=0x81, b3=0x0A))
        bench.run()
        down = _state(bench)

        assert writer_state is CanIfaceState.ACTIVE
        assert isinstance(down, Down)
        assert down.reason == IfaceDown("can0", "bus-off")
        assert str(down.reason) == "can0 is down: bus-off (bit error while sending in data)"
        assert bench.mock.state is CanIfaceState.CLOSED


@pytest.mark.verifies("REQ_0633", "REQ_8510")
def test_the_log_says_with_the_bus_off_what_restarts_a_controller(caplog: pytest.LogCaptureFixture) -> None:
    with _bench() as bench:
        LogRecorder().watch(bench.connector.monitor)
        _up(bench)

        with caplog.at_level(logging.WARNING, "taktora.app"):
            bench.mock.inject_error(CanErrorClass.BUS_OFF)
            bench.run()

        (line,) = caplog.messages
        assert line.startswith("can is Down: can0 is down: bus-off; next try in 0.01 s (a controller that is bus-off")
        assert "ip link set can0 type can restart" in line


@pytest.mark.verifies("REQ_0633", "REQ_0644")
def test_after_bus_off_an_interface_that_hears_nothing_says_that_the_host_must_restart_it() -> None:
    with _bench() as bench:
        writer = bench.writer("out", CanId(1))
        _up(bench)
        _bus_off(bench)

        for _ in range(3):
            writer.send(b"lost")
            bench.run(S)
        silent = bench.connector.health()
        bench.mock.inject_frame(frame(1))
        bench.run()

        assert isinstance(silent, Connecting)
        assert silent.reason == RestartAwaited("can0")
        assert "the bus is silent, or the controller needs a restart by the host" in str(silent.reason)
        assert len(bench.mock.sent) == 3
        assert bench.kinds() == ["Down", "Connecting", "Up"]


@pytest.mark.verifies("REQ_0633")
def test_a_restarted_controller_is_up_at_once() -> None:
    with _bench() as bench:
        _up(bench)
        _bus_off(bench)

        bench.mock.inject_error(CanErrorClass.RESTARTED)
        bench.run()

        assert bench.kinds() == ["Down", "Connecting", "Up"]


@pytest.mark.verifies("REQ_0633")
def test_where_nothing_is_read_a_frame_sent_has_to_do_as_evidence() -> None:
    with _bench() as bench:
        writer = bench.writer("out", CanId(1))
        bench.start()
        writer.send(b"1")
        bench.run()
        _bus_off(bench)
        waiting = bench.connector.health()

        writer.send(b"2")
        bench.run()

        assert isinstance(waiting, Connecting)
        assert waiting.reason == RestartAwaited("can0")
        assert bench.kinds() == ["Up", "Down", "Connecting", "Up"]


class _KnowsItsController(MockCanInterface):
    """A mock that knows of a controller that is still bus-off when it is opened, and takes frames all the same."""

    is_off = False

    def open(self, listener: CanInterfaceListener) -> None:
        super().open(listener)
        if self.is_off:
            self._state = CanIfaceState.BUS_OFF


@pytest.mark.verifies("REQ_0633")
def test_a_frame_sent_is_no_evidence_where_the_interface_knows_that_its_controller_is_off() -> None:
    mock = _KnowsItsController("can0")
    with _bench(mock) as bench:
        writer = bench.writer("out", CanId(1))
        bench.start()
        writer.send(b"1")
        bench.run()
        mock.is_off = True
        mock.inject_error(CanErrorClass.BUS_OFF)
        bench.run(_BACK_OFF_NS + MS)
        waiting = _state(bench)

        with pytest.raises(LinkDown):
            mock.send(frame(1))
        with pytest.raises(LinkDown, match="can0 was bus-off and nothing is heard since"):
            writer.send(b"2")
        bench.run(3 * S)
        still = _state(bench)
        mock.is_off = False  # and nobody tells: the interface is looked at again after each window
        bench.run(S)
        writer.send(b"3")
        bench.run()

        assert isinstance(waiting, Connecting)
        assert waiting.reason == RestartAwaited("can0")
        assert still == waiting
        assert bench.kinds() == ["Up", "Down", "Connecting", "Up"]


@pytest.mark.verifies("REQ_0633")
def test_a_restart_heard_before_the_socket_was_closed_leaves_no_doubt() -> None:
    with _bench() as bench:
        writer = bench.writer("out", CanId(1))
        _up(bench)

        bench.mock.inject_error(CanErrorClass.BUS_OFF)
        bench.mock.inject_error(CanErrorClass.RESTARTED)
        bench.run(_BACK_OFF_NS + MS)
        reopened = _state(bench)
        writer.send(b"x")
        bench.run()

        assert isinstance(reopened, Connecting)
        assert reopened.reason is None
        assert bench.kinds() == ["Down", "Connecting", "Up"]


@pytest.mark.verifies("REQ_0633")
def test_any_error_frame_shows_that_the_controller_runs_again() -> None:
    with _bench() as bench:
        writer = bench.writer("out", CanId(1))
        _up(bench)
        _bus_off(bench)

        bench.mock.inject_error(CanErrorClass.CONTROLLER, _WARNING)
        bench.run(_WINDOW_NS + MS)
        quiet = _state(bench)
        writer.send(b"x")
        bench.run()

        assert isinstance(quiet, Connecting)
        assert quiet.reason is None
        assert bench.kinds() == ["Down", "Connecting", "Degraded", "Connecting", "Up"]


@pytest.mark.verifies("REQ_0633")
def test_an_interface_that_was_only_down_is_up_again_by_a_frame_sent() -> None:
    with _bench() as bench:
        writer = bench.writer("out", CanId(1))
        _up(bench)

        bench.mock.inject_state(CanIfaceState.DOWN, "Network is down [ENETDOWN]")
        bench.run(_BACK_OFF_NS + MS)
        reopened = _state(bench)
        writer.send(b"x")
        bench.run()

        assert isinstance(reopened, Connecting)
        assert reopened.reason is None
        assert bench.kinds() == ["Down", "Connecting", "Up"]


@pytest.mark.verifies("REQ_0606", "REQ_0633")
def test_a_flood_of_error_frames_leaves_room_for_the_bus_off_and_is_counted() -> None:
    with _bench() as bench:
        _up(bench)

        for _ in range(5_000):
            bench.mock.inject_error(CanErrorClass.CONTROLLER | CanErrorClass.BUS_ERROR, _PASSIVE)
        bench.mock.inject_error(CanErrorClass.BUS_OFF)
        bench.run()

        assert bench.kinds() == ["Degraded", "Down"]
        assert bench.connector.driver("can0").error_frames == 5_001


@pytest.mark.verifies("REQ_0608", "REQ_0635")
def test_frames_lost_in_the_kernel_are_counted_told_once_a_burst_and_again_after_recovery() -> None:
    with _bench() as bench:
        _up(bench)

        for _ in range(2):
            for lost in (3, 1, 6):
                bench.mock.inject_overflow(lost)
                bench.run(MS)
            bench.run(2 * _WINDOW_NS)

        assert bench.connector.driver("can0").overflowed == 20
        assert [event.target for event in bench.events] == [
            Degraded(ReceiveOverflow("can0", 3)), Up(), Degraded(ReceiveOverflow("can0", 13)), Up(),
        ]  # fmt: skip


@pytest.mark.verifies("REQ_0608", "REQ_0631")
def test_frames_lost_in_the_controller_are_counted_whatever_else_the_error_frame_says() -> None:
    with _bench() as bench:
        _up(bench)

        bench.mock.inject_error(CanErrorClass.CONTROLLER, _detail(b1=0x21))
        bench.mock.inject_error(CanErrorClass.CONTROLLER, _detail(b1=0x01))
        bench.run()

        assert bench.connector.driver("can0").controller_overflows == 2
        assert bench.connector.health() == Degraded(ControllerOverflow("can0", 2))


@pytest.mark.verifies("REQ_0634")
def test_the_policy_is_asked_once_a_failure_and_reset_by_up_only() -> None:
    policy = FixedPolicy(_BACK_OFF_NS)
    with _bench(reconnect_policy=lambda _random: policy) as bench:
        _up(bench)
        resets = policy.resets

        for _ in range(3):
            _bus_off(bench)
        between = (policy.asked, policy.resets - resets)
        bench.mock.inject_frame(frame(1))
        bench.run()

        assert between == (3, 0)
        assert policy.resets - resets == 1


@pytest.mark.verifies("REQ_0633", "REQ_0605")
def test_closing_during_the_back_off_takes_no_time_and_no_further_try() -> None:
    bench = _bench(reconnect_policy=lambda _random: FixedPolicy(3600 * S))
    _up(bench)
    bench.mock.inject_error(CanErrorClass.BUS_OFF)
    bench.run()
    down, at_ns = _state(bench), bench.world.now_ns()

    bench.gateway.close()

    assert isinstance(down, Down)
    assert bench.world.now_ns() == at_ns
    assert bench.mock.open_count == 1
    bench.close()


@pytest.mark.verifies("REQ_0633", "REQ_0605")
def test_closing_during_the_back_off_waits_for_nothing_on_the_wall_clock() -> None:
    runtime, mock = Runtime.system(transport="inprocess"), MockCanInterface("can0")
    options = CanConnectorOptions(
        ifaces=(CanIface("can0"),), reconnect_policy=lambda _random: FixedPolicy(100 * round(PATIENCE_S) * S)
    )
    connector = CanConnector(runtime, options, [mock], BytesCodec())
    is_down = threading.Event()
    connector.monitor.add_listener(lambda event: is_down.set() if event.target.kind is Down.kind else None)
    gateway = ConnectorGateway.builder(runtime, "gw").build()
    gateway.register(connector)
    mock.script_open([StackError("no such interface")])
    gateway.start()
    assert is_down.wait(PATIENCE_S)

    closing = threading.Thread(target=gateway.close)
    closing.start()
    closing.join(PATIENCE_S)

    assert not closing.is_alive()
    assert mock.open_count == 1
    runtime.close()


@pytest.mark.verifies("REQ_0607", "REQ_0630")
def test_an_interface_that_lets_no_frame_out_is_degraded_until_it_does() -> None:
    with _bench() as bench:
        writer = bench.writer("out", CanId(1))
        _up(bench)
        bench.mock.limit_room(0)

        writer.send(b"1")
        bench.run(5 * _WINDOW_NS)
        stuck = bench.connector.health()
        bench.mock.limit_room(None)
        bench.run(2 * _WINDOW_NS)

        assert stuck == Degraded(TransmitStalled("can0"))
        assert bench.kinds() == ["Degraded", "Up"]
        assert len(bench.mock.sent) == 1


@pytest.mark.verifies("REQ_0607", "REQ_0632")
def test_trouble_does_not_end_by_time_while_no_frame_gets_out() -> None:
    with _bench() as bench:
        writer = bench.writer("out", CanId(1))
        _up(bench)
        bench.mock.limit_room(0)
        writer.send(b"1")
        bench.run()

        bench.mock.inject_error(CanErrorClass.CONTROLLER, _PASSIVE)
        bench.run(5 * _WINDOW_NS)
        stuck = bench.connector.health()
        bench.mock.limit_room(None)
        bench.run(2 * _WINDOW_NS)

        assert stuck == Degraded(ErrorPassive("can0"))
        assert bench.kinds() == ["Degraded", "Up"]


@pytest.mark.verifies("REQ_0607")
def test_a_busy_bus_that_takes_a_frame_now_and_then_is_no_trouble() -> None:
    with _bench() as bench:
        writer = bench.writer("out", CanId(1))
        _up(bench)
        bench.mock.limit_room(0)
        for number in range(40):
            writer.send(bytes((number,)))

        for _ in range(30):
            bench.run(_WINDOW_NS // 2)
            bench.mock.limit_room(1)
        bench.run()

        assert len(bench.mock.sent) == 30
        assert bench.kinds() == []


@pytest.mark.verifies("REQ_0630", "REQ_0632")
@pytest.mark.parametrize("berr_reporting", [False, True], ids=["changes of state only", "every error"])
def test_a_node_alone_on_the_bus_is_degraded_for_as_long_as_it_is_alone(berr_reporting: bool) -> None:
    world = World(1)
    bus = SimulatedCanBus(world, "vehicle")
    interface = bus.node("app", berr_reporting=berr_reporting).interface("can0")
    with Bench(interface, world=world, recovery_window_ns=_WINDOW_NS) as bench:
        writer = bench.writer("out", CanId(1))
        bench.start()

        for _ in range(60):
            writer.send(b"x")
            bench.run(10 * MS)
        alone = bench.connector.health()
        bus.node("other")
        bench.run(S)

        assert "acknowledge" in str(alone.reason)  # type: ignore[union-attr]
        assert bench.kinds()[-2:] == ["Degraded", "Up"]
        assert bus.frames == 60
