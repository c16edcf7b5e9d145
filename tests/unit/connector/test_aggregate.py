from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora.connector import (
    LEGAL_TRANSITIONS,
    Connecting,
    ConnectorHealth,
    ConnectorHealthKind,
    Degraded,
    Down,
    HealthAggregate,
    HealthMonitor,
    Up,
    worst_of,
)
from taktora.errors import ConfigurationError, IllegalTransition
from tests.unit.connector.conftest import ManualClock

UP, CONNECTING, DEGRADED, DOWN = Up(), Connecting(3), Degraded("noise"), Down("cable", 4)


@pytest.mark.verifies("REQ_0630")
@pytest.mark.parametrize(
    ("endpoints", "expected"),
    [
        pytest.param([UP, UP], Up(), id="all-up"),
        pytest.param([UP, CONNECTING], Up(), id="up-and-connecting"),
        pytest.param([UP, DEGRADED], Degraded("b: noise"), id="one-degraded"),
        pytest.param([UP, DOWN], Degraded("b: cable"), id="one-down"),
        pytest.param([CONNECTING, DEGRADED], Degraded("b: noise"), id="degraded-and-connecting"),
        pytest.param([DOWN, DEGRADED], Degraded("a: cable"), id="down-and-degraded"),
        pytest.param([CONNECTING, DOWN], Connecting(3), id="down-and-connecting"),
        pytest.param([CONNECTING, Connecting(1)], Connecting(1), id="all-connecting"),
        pytest.param([DOWN, Down("dust", 9)], Down("a: cable", 9), id="all-down"),
        pytest.param([UP, Connecting(3, "mute")], Degraded("b: mute"), id="up-and-connecting-in-vain"),
        pytest.param([CONNECTING, Connecting(1, "mute")], Connecting(1, "b: mute"), id="connecting-in-vain"),
        pytest.param([DEGRADED, Connecting(1, "mute")], Degraded("b: mute"), id="degraded-and-connecting-in-vain"),
    ],
)
def test_worst_of_two(endpoints: list[ConnectorHealth], expected: ConnectorHealth) -> None:
    assert worst_of(zip("ab", endpoints, strict=True)) == expected


@pytest.mark.verifies("REQ_0630")
def test_all_down_says_when_the_first_of_them_is_tried_again() -> None:
    downs = [Down("cable", 2, 40), Down("dust", 9, 30), Down("gone", 5)]

    worst = worst_of(zip("abc", downs, strict=True))

    assert isinstance(worst, Down)
    assert (worst.since_ns, worst.retry_at_ns) == (9, 30)


@pytest.mark.verifies("REQ_0630")
def test_reason_that_names_its_endpoint_is_kept() -> None:
    reason = ("iface", "can1")

    assert worst_of([("can0", UP), ("can1", Down(reason, 1))]) == Degraded(reason)


@pytest.mark.verifies("REQ_0234", "REQ_0230")
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([UP, CONNECTING, DEGRADED, DOWN])), max_size=40))
def test_endpoints_on_legal_ways_keep_the_monitor_on_legal_ways(steps: list[tuple[str, ConnectorHealth]]) -> None:
    clock = ManualClock()
    monitor = HealthMonitor("line", clock)
    stream = monitor.subscribe()
    aggregate = HealthAggregate(monitor, clock, "abc")

    for endpoint, target in steps:
        if (aggregate.endpoint(endpoint).kind, target.kind) in LEGAL_TRANSITIONS:
            aggregate.move(target, endpoint)

    assert monitor.current.kind is worst_of((name, aggregate.endpoint(name)) for name in "abc").kind
    assert all((event.source.kind, event.target.kind) in LEGAL_TRANSITIONS for event in stream.drain())


@pytest.mark.verifies("REQ_0230")
def test_illegal_endpoint_move_names_the_endpoint(clock: ManualClock) -> None:
    aggregate = HealthAggregate(HealthMonitor("line", clock), clock, ["can0"])
    aggregate.move(UP, "can0")

    with pytest.raises(IllegalTransition, match="'line' can0: no transition from Up to Connecting"):
        aggregate.move(CONNECTING, "can0")


@pytest.mark.verifies("REQ_0234")
def test_same_kind_again_changes_nothing(clock: ManualClock) -> None:
    monitor = HealthMonitor("line", clock)
    aggregate = HealthAggregate(monitor, clock)
    aggregate.move(UP)
    stream = monitor.subscribe()

    assert not aggregate.move(Up())
    assert stream.try_next() is None


@pytest.mark.verifies("REQ_0630", "REQ_0635")
def test_the_reason_is_the_one_that_holds_now_and_is_no_event_of_its_own(clock: ManualClock) -> None:
    monitor = HealthMonitor("line", clock)
    aggregate = HealthAggregate(monitor, clock, "ab")
    aggregate.move(Up(), "a")
    stream = monitor.subscribe()

    aggregate.move(Degraded("noise"), "b")
    aggregate.move(Degraded("cable"), "b")
    renewed = monitor.current
    aggregate.move(Down("gone", 5), "b")

    assert renewed == Degraded("b: cable")
    assert monitor.current == Degraded("b: gone")
    assert [event.target for event in stream.drain()] == [Degraded("b: noise")]


@pytest.mark.verifies("TSR_0008")
def test_condition_degrades_for_its_time(clock: ManualClock) -> None:
    monitor = HealthMonitor("line", clock)
    aggregate = HealthAggregate(monitor, clock)
    aggregate.move(UP)

    aggregate.raise_condition("integrity", "corrupt envelope", for_ns=100)
    held = monitor.current
    next_ns = aggregate.expire(clock.time_ns + 99)
    still = monitor.current.kind
    aggregate.expire(clock.time_ns + 100)

    assert (held, next_ns, still) == (Degraded("corrupt envelope"), clock.time_ns + 100, ConnectorHealthKind.DEGRADED)
    assert monitor.current == Up()


@pytest.mark.verifies("REQ_0607")
def test_condition_without_end_is_cleared_by_hand(clock: ManualClock) -> None:
    monitor = HealthMonitor("line", clock)
    aggregate = HealthAggregate(monitor, clock)
    aggregate.move(UP)

    aggregate.raise_condition("outbound", "full")
    never = aggregate.expire(10**18)
    aggregate.clear_condition("outbound")

    assert never is None
    assert monitor.current == Up()


@pytest.mark.verifies("REQ_0230")
def test_aggregate_of_nothing_is_refused(clock: ManualClock) -> None:
    with pytest.raises(ConfigurationError, match="at least one endpoint"):
        HealthAggregate(HealthMonitor("line", clock), clock, [])


@pytest.mark.verifies("REQ_0296")
def test_a_failed_gateway_stays_down_whatever_its_readers_find(clock: ManualClock) -> None:
    monitor = HealthMonitor("can", clock)
    aggregate = HealthAggregate(monitor, clock)
    aggregate.move(Up())

    aggregate.fail("gateway failed")
    aggregate.raise_condition("integrity corrupt", "a reader found a corrupt envelope", for_ns=5)
    aggregate.expire(clock.now_ns() + 5)

    assert monitor.current == Down("gateway failed", clock.now_ns())
