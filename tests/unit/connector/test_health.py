from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from taktora.clock import SystemClock
from taktora.connector import (
    LEGAL_TRANSITIONS,
    Connecting,
    ConnectorHealth,
    ConnectorHealthKind,
    Degraded,
    Disconnected,
    Down,
    HealthEvent,
    HealthMonitor,
    Up,
    feed,
)
from taktora.errors import IllegalTransition
from tests.patience import PATIENCE_S
from tests.unit.connector.conftest import ManualClock

UP, CONNECTING, DEGRADED, DOWN = (
    ConnectorHealthKind.UP,
    ConnectorHealthKind.CONNECTING,
    ConnectorHealthKind.DEGRADED,
    ConnectorHealthKind.DOWN,
)
NINE = {
    (CONNECTING, UP),
    (CONNECTING, DEGRADED),
    (CONNECTING, DOWN),
    (UP, DEGRADED),
    (UP, DOWN),
    (DEGRADED, UP),
    (DEGRADED, CONNECTING),
    (DEGRADED, DOWN),
    (DOWN, CONNECTING),
}
STATES: dict[ConnectorHealthKind, ConnectorHealth] = {
    UP: Up(),
    CONNECTING: Connecting(7),
    DEGRADED: Degraded("noise"),
    DOWN: Down("cable", 8),
}
WAY_TO: dict[ConnectorHealthKind, list[ConnectorHealth]] = {
    CONNECTING: [],
    UP: [Up()],
    DEGRADED: [Degraded("first")],
    DOWN: [Down("first", 1)],
}


def monitor_in(kind: ConnectorHealthKind, clock: ManualClock) -> HealthMonitor:
    monitor = HealthMonitor("line", clock)
    for state in WAY_TO[kind]:
        monitor.transition_to(state)
    return monitor


@pytest.mark.realizes("TEST_0101")
def test_table_has_the_nine_moves() -> None:
    assert LEGAL_TRANSITIONS == NINE


@pytest.mark.realizes("TEST_0101")
@pytest.mark.parametrize(
    ("source", "target"),
    [pytest.param(a, b, id=f"{a.value}-{b.value}") for a, b in sorted(NINE, key=str)],
)
def test_legal_move_gives_one_event(
    source: ConnectorHealthKind, target: ConnectorHealthKind, clock: ManualClock
) -> None:
    monitor = monitor_in(source, clock)
    left = monitor.current
    stream = monitor.subscribe()
    clock.time_ns += 500

    monitor.transition_to(STATES[target])

    assert list(stream.drain()) == [HealthEvent(left, STATES[target], clock.time_ns)]
    assert monitor.current == STATES[target]


@pytest.mark.realizes("TEST_0101")
@pytest.mark.parametrize(
    ("source", "target"),
    [
        pytest.param(a, b, id=f"{a.value}-{b.value}")
        for a, b in itertools.product(ConnectorHealthKind, repeat=2)
        if (a, b) not in NINE
    ],
)
def test_illegal_move_is_refused_naming_both_kinds(
    source: ConnectorHealthKind, target: ConnectorHealthKind, clock: ManualClock
) -> None:
    monitor = monitor_in(source, clock)
    left = monitor.current
    stream = monitor.subscribe()

    refusal = monitor.try_transition_to(STATES[target])

    assert isinstance(refusal, IllegalTransition)
    assert (refusal.source, refusal.target) == (source.value, target.value)
    assert (monitor.current, stream.try_next()) == (left, None)


@pytest.mark.realizes("TEST_0101")
def test_raising_form_raises_on_up_to_connecting(clock: ManualClock) -> None:
    monitor = monitor_in(UP, clock)

    with pytest.raises(IllegalTransition, match="'line': no transition from Up to Connecting"):
        monitor.transition_to(Connecting(9))


@pytest.mark.verifies("REQ_0230")
def test_starts_connecting_since_now(clock: ManualClock) -> None:
    assert HealthMonitor("line", clock).current == Connecting(clock.time_ns)


@pytest.mark.verifies("REQ_0847")
def test_each_subscription_sees_every_event(clock: ManualClock) -> None:
    monitor = HealthMonitor("line", clock)
    first, second = monitor.subscribe(), monitor.subscribe()

    up = monitor.transition_to(Up())
    late = monitor.subscribe()
    down = monitor.transition_to(Down("cable", 5))

    assert [list(stream.drain()) for stream in (first, second, late)] == [[up, down], [up, down], [down]]


@pytest.mark.verifies("REQ_0847")
def test_full_subscription_keeps_the_newest_and_counts(clock: ManualClock) -> None:
    monitor = HealthMonitor("line", clock)
    small, large = monitor.subscribe(capacity=2), monitor.subscribe()

    events = [monitor.transition_to(state) for state in (Up(), Degraded("a"), Up(), Degraded("b"))]

    assert (list(small.drain()), small.dropped) == (events[2:], 2)
    assert (list(large.drain()), large.dropped) == (events, 0)


@pytest.mark.verifies("REQ_0231")
def test_closed_monitor_ends_streams_after_the_rest_was_taken(clock: ManualClock) -> None:
    monitor = HealthMonitor("line", clock)
    stream = monitor.subscribe()
    event = monitor.transition_to(Up())

    monitor.close()

    assert stream.try_next() == event
    with pytest.raises(Disconnected, match="health of 'line'"):
        stream.try_next()


@pytest.mark.verifies("REQ_0231")
def test_subscription_wakes_a_listener(clock: ManualClock) -> None:
    monitor = HealthMonitor("line", clock)
    stream, woken = monitor.subscribe(), []
    stream.listener.set_waker(lambda: woken.append(True))

    monitor.transition_to(Up())

    assert woken == [True]
    assert stream.listener.drain()
    assert not stream.listener.drain()


@pytest.mark.verifies("REQ_0847")
def test_closed_subscription_gets_no_more(clock: ManualClock) -> None:
    monitor = HealthMonitor("line", clock)
    stream = monitor.subscribe()

    stream.close()
    monitor.transition_to(Up())

    with pytest.raises(Disconnected):
        stream.try_next()


@pytest.mark.verifies("TSR_0010")
def test_heartbeats_have_a_stream_of_their_own(clock: ManualClock) -> None:
    monitor = monitor_in(UP, clock)
    health, beats = monitor.subscribe(), monitor.subscribe_heartbeats()

    monitor.beat(1, 50)
    monitor.beat(2, 100)

    assert [(beat.sequence_number, beat.at_ns, beat.health) for beat in beats.drain()] == [
        (1, 50, Up()),
        (2, 100, Up()),
    ]
    assert health.try_next() is None


@pytest.mark.verifies("REQ_0234")
@pytest.mark.parametrize(
    ("source", "target", "way"),
    [
        pytest.param(DOWN, UP, [CONNECTING, UP], id="Down-Up"),
        pytest.param(DOWN, DEGRADED, [CONNECTING, DEGRADED], id="Down-Degraded"),
        pytest.param(UP, CONNECTING, [DEGRADED, CONNECTING], id="Up-Connecting"),
        pytest.param(UP, DOWN, [DOWN], id="Up-Down"),
        pytest.param(UP, UP, [], id="Up-Up"),
    ],
)
def test_settle_takes_legal_moves_only(
    source: ConnectorHealthKind, target: ConnectorHealthKind, way: list[ConnectorHealthKind], clock: ManualClock
) -> None:
    monitor = monitor_in(source, clock)

    events = monitor.settle(STATES[target])

    assert [event.target.kind for event in events] == way
    assert monitor.current.kind is target


@pytest.mark.verifies("REQ_0234")
def test_listener_that_moves_again_is_told_in_order(clock: ManualClock) -> None:
    monitor = HealthMonitor("line", clock)
    told: list[ConnectorHealthKind] = []

    def degrade_at_once(event: HealthEvent) -> None:
        told.append(event.target.kind)
        if event.target.kind is UP:
            monitor.transition_to(Degraded("at once"))

    monitor.add_listener(degrade_at_once)
    monitor.transition_to(Up())

    assert told == [UP, DEGRADED]


@pytest.mark.verifies("REQ_0234")
def test_removed_listener_is_not_told(clock: ManualClock) -> None:
    monitor = HealthMonitor("line", clock)
    told: list[HealthEvent] = []
    remove = monitor.add_listener(told.append)

    remove()
    monitor.transition_to(Up())

    assert told == []


@pytest.mark.realizes("TEST_0161")
def test_concurrent_updates_give_one_order_everywhere(clock: ManualClock) -> None:
    monitor = HealthMonitor("line", clock)
    streams = [monitor.subscribe(capacity=10_000) for _ in range(3)]
    accepted: list[HealthEvent] = []

    def move(targets: list[ConnectorHealth]) -> None:
        for _ in range(300):
            for target in targets:
                outcome = monitor.try_transition_to(target)
                if isinstance(outcome, HealthEvent):
                    accepted.append(outcome)

    ways: list[list[ConnectorHealth]] = [[Down("worker", 1)], [Connecting(2)], [Up(), Degraded("noise")]]
    threads = [threading.Thread(target=move, args=(way,)) for way in ways]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    seen = [list(stream.drain()) for stream in streams]

    assert seen[0] == seen[1] == seen[2]
    assert sorted(map(id, accepted)) == sorted(map(id, seen[0]))
    assert all((event.source.kind, event.target.kind) in NINE for event in seen[0])
    assert all(after.source is before.target for before, after in itertools.pairwise(seen[0]))


@pytest.mark.verifies("TSR_0006")
def test_event_carries_the_instant_of_the_change(clock: ManualClock) -> None:
    monitor = HealthMonitor("line", clock)
    stream = monitor.subscribe()
    clock.time_ns = 123_456

    monitor.transition_to(Up())
    event = stream.try_next()

    assert event is not None
    assert event.at_ns == 123_456


@pytest.mark.verifies("TSR_0006")
def test_event_reaches_another_thread_within_50_ms(record_property: Any) -> None:
    monitor = HealthMonitor("line", SystemClock())
    stream, arrived = monitor.subscribe(), threading.Event()
    latencies_ns: list[int] = []
    stream.listener.set_waker(arrived.set)

    def watch() -> None:
        while len(latencies_ns) < 50 and arrived.wait(PATIENCE_S):
            arrived.clear()
            latencies_ns.extend(time.monotonic_ns() - event.at_ns for event in stream.drain())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for index in range(50):
        monitor.transition_to(Degraded("odd") if index % 2 else Up())
        _wait_for(lambda seen=index + 1: len(latencies_ns) == seen)  # type: ignore[misc]
    watcher.join(PATIENCE_S)
    latencies_ns.sort()
    record_property("latency_median_ns", latencies_ns[25])

    assert len(latencies_ns) == 50
    assert latencies_ns[0] < 50_000_000  # the machine may hold back any of them, something slow would all


def _wait_for(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, f"nothing happened within {PATIENCE_S} s"
        time.sleep(0.001)


class _TakenFrom(deque[Any]):
    """Another thread takes everything right after somebody has looked."""

    def __len__(self) -> int:
        found = super().__len__()
        self.clear()
        return found

    def __bool__(self) -> bool:
        return len(self) > 0


@pytest.mark.verifies("REQ_0847")
def test_a_reader_that_empties_a_full_subscription_meanwhile_disturbs_nobody(clock: ManualClock) -> None:
    monitor = HealthMonitor("echo", clock)
    subscription = monitor.subscribe(capacity=1)
    monitor.transition_to(Up())
    subscription._events = _TakenFrom(subscription._events, maxlen=1)

    monitor.transition_to(Degraded("noise"))
    left = list(subscription.drain())

    assert (left, subscription.dropped) == ([], 0)
    assert monitor.current == Degraded("noise")


@pytest.mark.verifies("REQ_0231")
def test_a_subscription_made_while_the_monitor_closes_has_an_end(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor = HealthMonitor("echo", clock)
    make = feed.Subscription

    def make_late(*arguments: Any) -> Any:
        monitor.close()
        return make(*arguments)

    monkeypatch.setattr(feed, "Subscription", make_late)

    with pytest.raises(Disconnected):
        monitor.subscribe().try_next()
