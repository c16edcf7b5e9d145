from __future__ import annotations

import pytest

from taktora.connector import Connecting, Degraded, Down, HealthMonitor, InboundDropLatch, InboundDrops, Up
from taktora.connector.drops import ChannelDrops
from tests.unit.connector.conftest import ManualClock


@pytest.fixture
def monitor(clock: ManualClock) -> HealthMonitor:
    monitor = HealthMonitor("line", clock)
    monitor.transition_to(Up())
    return monitor


@pytest.mark.verifies("REQ_0608")
def test_reaching_the_threshold_degrades_once(monitor: HealthMonitor) -> None:
    stream, latch = monitor.subscribe(), InboundDropLatch(monitor, threshold=3)

    reported = [latch.note(count) for count in (1, 2, 3, 4, 5)]

    assert reported == [False, False, True, False, False]
    assert [event.target for event in stream.drain()] == [Degraded(InboundDrops(3))]


@pytest.mark.verifies("REQ_0608", "REQ_0630")
def test_reason_says_how_many_and_where() -> None:
    assert str(InboundDrops(3)) == "dropped 3 inbound frames"
    assert str(InboundDrops(3, "can1")) == "dropped 3 inbound frames on can1"
    assert str(InboundDrops(3, "can1", "status")) == "dropped 3 inbound frames of status on can1"


@pytest.mark.verifies("REQ_0608")
def test_drops_are_counted_by_channel_and_told_once_when_they_have_grown() -> None:
    drops = ChannelDrops()

    largest = [drops.add(["b", "a"]), drops.add(["b"]), drops.add([])]
    grown = [drops.take_grown(), drops.take_grown()]
    drops.add(["a"])

    assert largest == [1, 2, 1]
    assert [list(counts.items()) for counts in grown] == [[("", 1), ("a", 1), ("b", 2)], []]
    assert (drops.take_grown(), drops.of("b"), drops.of("c")) == ({"a": 2}, 2, 0)


@pytest.mark.verifies("REQ_0608")
def test_next_up_arms_it_again_for_new_drops(monitor: HealthMonitor) -> None:
    latch = InboundDropLatch(monitor)
    latch.note(1)
    monitor.transition_to(Up())

    assert not latch.note(1)
    assert latch.note(2)


@pytest.mark.verifies("REQ_0608")
def test_while_not_up_it_only_latches(monitor: HealthMonitor) -> None:
    latch = InboundDropLatch(monitor)
    monitor.transition_to(Down("cable", 1))
    monitor.transition_to(Connecting(2))

    assert not latch.note(1)
    assert monitor.current == Connecting(2)


@pytest.mark.verifies("REQ_0608")
def test_threshold_below_one_becomes_one(monitor: HealthMonitor) -> None:
    assert InboundDropLatch(monitor, threshold=0).threshold == 1


@pytest.mark.verifies("REQ_0608")
def test_report_that_moves_nothing_is_not_repeated_either(monitor: HealthMonitor) -> None:
    reports: list[InboundDrops] = []
    latch = InboundDropLatch(monitor, report=reports.append)

    for count in (1, 2, 3):
        latch.note(count)

    assert reports == [InboundDrops(1)]
