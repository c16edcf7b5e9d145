"""One gateway with two scripted interfaces: who receives what, and how two healths become one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from taktora.can import CanErrorClass, CanId, ErrorPassive, IfaceDown, InboundDrops
from taktora.connector import Connecting, Degraded, Down, Up
from taktora.connector.reconnect import ReconnectPolicy
from taktora.testing.mock_can import MockCanInterface
from tests.unit.can.support import MS, Bench, FixedPolicy, frame, values

_PASSIVE = bytes((0, 0x20, 0, 0, 0, 0, 0, 0))


def _pair(**options: Any) -> tuple[Bench, MockCanInterface, MockCanInterface]:
    first, second = MockCanInterface("vcan0"), MockCanInterface("vcan1")
    return Bench(first, second, recovery_window_ns=100 * MS, **options), first, second


def _bring_up(bench: Bench, *mocks: MockCanInterface) -> None:
    """Prove every interface by a frame, past its filters, and forget the moves until then."""
    bench.start()
    for mock in mocks:
        assert mock._listener is not None
        mock._listener.on_frame(frame(1))
    bench.run()
    bench.events.clear()


@pytest.mark.realizes("TEST_0505")
@pytest.mark.parametrize(("other_id", "other_mask"), [(0x200, 0x7F0), (0x20F, 0x70F)], ids=["equal", "crossing"])
def test_frames_go_to_the_matching_readers_of_their_own_interface(other_id: int, other_mask: int) -> None:
    bench, first, second = _pair()
    with bench:
        alone = bench.reader("alone", CanId(0x100), iface="vcan0")
        wide = bench.reader("wide", CanId(0x200), 0x7F0, "vcan1")
        other = bench.reader("other", CanId(other_id), other_mask, "vcan1")
        bench.start()

        for mock, mark in ((first, b"0"), (second, b"1")):
            for can_id in (0x100, 0x20F, 0x300):
                mock.inject_frame(frame(can_id, mark + can_id.to_bytes(2, "big")))
        bench.run()

        assert values(alone) == [b"0\x01\x00"]
        assert values(wide) == [b"1\x02\x0f"]
        assert values(other) == [b"1\x02\x0f"]


@pytest.mark.realizes("TEST_0505")
def test_both_overlapping_readers_get_an_envelope_of_their_own() -> None:
    bench, _, second = _pair()
    with bench:
        wide = bench.reader("wide", CanId(0x200), 0x7F0, "vcan1")
        crossing = bench.reader("crossing", CanId(0x205), 0x70F, "vcan1")
        bench.start()

        for can_id in (0x204, 0x205, 0x215):
            second.inject_frame(frame(can_id, can_id.to_bytes(2, "big")))
        bench.run()

        assert [(got.sequence_number, got.value) for got in wide.drain()] == [(0, b"\x02\x04"), (1, b"\x02\x05")]
        assert [(got.sequence_number, got.value) for got in crossing.drain()] == [(0, b"\x02\x05"), (1, b"\x02\x15")]


@pytest.mark.verifies("REQ_0620", "REQ_0621")
def test_what_is_written_leaves_on_the_interface_of_its_channel() -> None:
    bench, first, second = _pair()
    with bench:
        left, right = bench.writer("left", CanId(1), "vcan0"), bench.writer("right", CanId(1), "vcan1")
        bench.start()

        left.send(b"l")
        right.send(b"r")
        bench.run()

        assert [sent.data for sent in first.sent] == [b"l"]
        assert [sent.data for sent in second.sent] == [b"r"]


@pytest.mark.realizes("TEST_0507")
def test_error_passive_on_one_interface_degrades_the_connector_until_it_recovers() -> None:
    bench, first, second = _pair()
    with bench:
        _bring_up(bench, first, second)
        before = bench.connector.health()
        stream = bench.connector.subscribe_health()
        passive_at_ns = bench.world.now_ns()

        first.inject_error(CanErrorClass.CONTROLLER, _PASSIVE)
        bench.run(99 * MS)
        inside = [link.health for link in bench.connector.links]
        in_window = list(stream.drain())
        bench.run(2 * MS)
        after = list(stream.drain())

        assert before == Up()
        assert inside == [Degraded(ErrorPassive(iface="vcan0")), Up()]
        assert [event.target for event in in_window] == [Degraded(ErrorPassive(iface="vcan0"))]
        assert [event.target for event in after] == [Up()]
        assert after[0].at_ns - passive_at_ns == 100 * MS
        assert [link.health for link in bench.connector.links] == [Up(), Up()]


@pytest.mark.realizes("TEST_0507")
def test_a_further_error_frame_starts_the_recovery_window_anew_and_adds_no_event() -> None:
    bench, first, second = _pair()
    with bench:
        _bring_up(bench, first, second)

        for _ in range(3):
            first.inject_error(CanErrorClass.CONTROLLER, _PASSIVE)
            bench.run(60 * MS)
        still = bench.kinds()
        bench.run(60 * MS)

        assert still == ["Degraded"]
        assert bench.kinds() == ["Degraded", "Up"]


@pytest.mark.verifies("REQ_0630", "REQ_0635")
def test_trouble_on_the_second_interface_while_the_first_is_degraded_adds_no_event() -> None:
    bench, first, second = _pair()
    with bench:
        _bring_up(bench, first, second)

        first.inject_error(CanErrorClass.CONTROLLER, _PASSIVE)
        bench.run(50 * MS)
        second.inject_error(CanErrorClass.CONTROLLER, _PASSIVE)
        bench.run(70 * MS)
        first_over = bench.kinds()
        bench.run(100 * MS)

        assert first_over == ["Degraded"]
        assert bench.kinds() == ["Degraded", "Up"]


@pytest.mark.verifies("REQ_0630", "REQ_0633", "REQ_0635")
def test_one_interface_down_is_degraded_and_only_both_are_down_with_one_event_a_move() -> None:
    policies: Iterator[ReconnectPolicy] = iter([FixedPolicy(10 * MS), FixedPolicy(50 * MS)])
    bench, first, second = _pair(reconnect_policy=lambda _random: next(policies))
    with bench:
        bench.reader("a", CanId(1), iface="vcan0")
        bench.reader("b", CanId(1), iface="vcan1")
        _bring_up(bench, first, second)

        first.inject_error(CanErrorClass.BUS_OFF)
        bench.run()
        second.inject_error(CanErrorClass.BUS_OFF)
        bench.run()
        bench.run(10 * MS)
        first.inject_frame(frame(1))
        bench.run(50 * MS)
        second.inject_frame(frame(1))
        bench.run()

        assert [event.target.kind for event in bench.events] == [
            Degraded.kind, Down.kind, Connecting.kind, Degraded.kind, Up.kind,
        ]  # fmt: skip
        degraded, down, _, again, _ = (event.target for event in bench.events)
        assert degraded == Degraded(IfaceDown(iface="vcan0"))
        assert isinstance(down, Down)
        assert down.reason == IfaceDown(iface="vcan0")
        assert again == Degraded(IfaceDown(iface="vcan1"))


@pytest.mark.verifies("REQ_0608", "REQ_0630")
def test_drops_name_the_interface_that_dropped() -> None:
    bench, first, second = _pair(inbound_bridge_capacity=1)
    with bench:
        bench.reader("b", CanId(0), 0, "vcan1")
        _bring_up(bench, first, second)

        for number in range(4):
            second.inject_frame(frame(number))
        bench.run()

        assert [event.target for event in bench.events] == [Degraded(InboundDrops(3, "vcan1", "b"))]
