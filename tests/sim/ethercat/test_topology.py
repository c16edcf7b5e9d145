"""Ports, branches, ring, cut and heal, hot connect, power: what a MainDevice sees of them."""

from __future__ import annotations

import pytest

from taktora.errors import ConfigurationError
from taktora.ethercat.driver import AlState
from taktora_sim.ethercat.frame import Command, Datagram, decode_frame, encode_frame
from taktora_sim.ethercat.segment import SimulatedSegment
from taktora_sim.faults import FaultEntry, FaultPlan
from taktora_sim.world import World
from tests.sim.ethercat.segments import (
    MS,
    Recorder,
    application,
    ask,
    bring_to_op,
    device,
    exchange,
    give_addresses,
    line,
    read_at,
    segment,
    word_at,
    write_at,
    write_word,
)


def _count(bus: SimulatedSegment) -> int:
    return ask(bus, Command.BRD, 0, 1).working_counter


def _status(bus: SimulatedSegment) -> list[int]:
    return [word_at(bus, position, 0x0110) for position in range(_count(bus))]


def _order(bus: SimulatedSegment) -> list[str]:
    return [device.label for device in bus.topology.route(0).order]


@pytest.mark.verifies("REQ_8107")
def test_dl_status_of_a_line() -> None:
    assert _status(line(3)) == [0x5A31, 0x5A31, 0x5611]


@pytest.mark.verifies("REQ_8107")
def test_a_branch_is_walked_port_3_first_then_1_then_2() -> None:
    world = World(1)
    bus = segment(
        world,
        device(world, "coupler"),
        device(world, "three", parent="coupler", port=3),
        device(world, "three_next"),
        device(world, "one", parent="coupler", port=1),
        device(world, "two", parent="coupler", port=2),
    )

    assert _order(bus) == ["coupler", "three", "three_next", "one", "two"]
    assert _status(bus) == [0xAAF1, 0x5A31, 0x5611, 0x5611, 0x5611]


@pytest.mark.verifies("REQ_8107")
def test_children_without_a_port_are_met_in_the_order_of_the_list() -> None:
    world = World(1)
    bus = segment(
        world,
        device(world, "coupler"),
        device(world, "terminal"),
        device(world, "drive", parent="coupler"),
        device(world, "behind_drive"),
    )

    assert _order(bus) == ["coupler", "terminal", "drive", "behind_drive"]


@pytest.mark.verifies("REQ_8107")
@pytest.mark.parametrize(
    ("tree", "text"),
    [
        ((("a", None, None), ("b", "c", None)), "parent 'c'"),
        ((("a", None, None), ("b", "a", 1), ("c", "a", 1)), "taken"),
        ((("a", None, None), ("b", "a", 1), ("c", "a", 3)), "in the order a, c, b"),
        ((("a", None, None), ("b", "a", 1), ("c", "a", None), ("d", "a", None)), "no port of 'a' is left"),
        ((("a", None, None), ("a", "a", None)), "same label|order"),
    ],
    ids=["unknown parent", "port twice", "wrong order", "no port left", "label twice"],
)
def test_a_topology_that_cannot_be_is_refused(tree: tuple[tuple[str, str | None, int | None], ...], text: str) -> None:
    world = World(1)

    with pytest.raises(ConfigurationError, match=text):
        segment(world, *(device(world, label, parent=parent, port=port) for label, parent, port in tree))


@pytest.mark.verifies("REQ_8107")
def test_a_cut_hides_what_is_behind_and_is_counted_in_front() -> None:
    bus = line(4)
    bring_to_op(bus)

    bus.cut("d2")
    cut = (_count(bus), exchange(bus, bytes(16)).working_counter, _status(bus), read_at(bus, 1, 0x0310, 4).data)
    bus.world.run_for(200 * MS)
    behind = [bus[label].state for label in ("d1", "d2", "d3")]
    bus.heal("d2")

    assert cut == (2, 6, [0x5A31, 0x5611], b"\0\x01\0\0")
    assert behind == [AlState.SAFE_OP] * 3  # no outputs for any of them in the meantime
    assert (_count(bus), _status(bus)) == (4, [0x5A31, 0x5A31, 0x5A31, 0x5611])
    assert read_at(bus, 2, 0x0310, 4).data == b"\x01\0\0\0"


@pytest.mark.verifies("REQ_8107", "REQ_8105")
def test_behind_a_cut_the_watchdog_makes_outputs_safe() -> None:
    bus = line(2)
    bring_to_op(bus)
    exchange(bus, b"\x01" * 8)

    bus.cut("d1")
    for _ in range(150):
        bus.world.run_for(MS)
        exchange(bus, b"\x01" * 8)

    assert application(bus, "d1").log[-2:] == ["safe: SyncManager watchdog expired", "SAFE-OP"]
    assert bus["d0"].state is AlState.OP


@pytest.mark.verifies("REQ_8107")
def test_cuts_of_one_cable_add_up() -> None:
    bus = line(2)

    bus.cut("d1")
    bus.cut("d1")
    bus.heal("d1")
    once = _count(bus)
    bus.heal("d1")

    assert (once, _count(bus)) == (1, 2)


@pytest.mark.verifies("REQ_8107")
def test_without_the_first_cable_nothing_comes_back() -> None:
    bus = line(2)
    bus.cut("d0")

    assert bus.frame(encode_frame([Datagram(Command.BRD, 0, b"\0")])) is None


@pytest.mark.verifies("REQ_8107")
def test_a_cable_that_is_not_there_cannot_be_cut() -> None:
    bus = line(2)

    with pytest.raises(ConfigurationError, match="no cable at port 1"):
        bus.cut("d1", 1)
    with pytest.raises(ConfigurationError, match="it has d0, d1"):
        bus.heal("d7")


@pytest.mark.verifies("REQ_8107")
def test_power_lost_hides_a_device_and_all_behind_and_resets_it() -> None:
    bus = line(3)
    give_addresses(bus)
    bring_to_op(bus)
    exchange(bus, bytes(12))

    bus.power_off("d1")
    alone = _count(bus)
    bus.power_on("d1")

    assert alone == 1
    assert application(bus, "d1").log[-2:] == ["safe: power lost", "power on"]
    assert [word_at(bus, position, 0x0010) for position in range(3)] == [0x1000, 0, 0x1002]
    assert [word_at(bus, position, 0x0130) for position in range(3)] == [8, 1, 8]


@pytest.mark.verifies("REQ_8107")
def test_hot_connect() -> None:
    world = World(1)
    bus = segment(world, device(world, "a"), device(world, "b", hot_connect=True), device(world, "c"))

    before = _order(bus)
    bus.heal("b")

    assert (before, _order(bus)) == (["a"], ["a", "b", "c"])
    assert read_at(bus, 0, 0x0310, 4).data == bytes(4)


@pytest.mark.verifies("REQ_8107", "REQ_8109")
def test_a_device_is_connected_while_the_plan_says_so() -> None:
    entry = FaultEntry(target="ethercat/cell/b", kind="hot-connect", at_ns=3 * MS, duration_ns=4 * MS)
    world = World(1, plan=FaultPlan.of(entry))
    bus = segment(world, device(world, "a"), device(world, "b", hot_connect=True))
    counts = []
    for _ in range(10):
        counts.append(_count(bus))
        world.run_for(MS)

    assert counts == [1] * 3 + [2] * 4 + [1] * 3


@pytest.mark.verifies("REQ_8107")
def test_a_port_closed_by_dl_control_ends_the_line() -> None:
    bus = line(3)

    write_at(bus, 1, 0x0101, b"\x0c")
    closed = (_count(bus), word_at(bus, 1, 0x0110))
    write_at(bus, 1, 0x0101, b"\0")

    assert closed == (2, 0x5631)
    assert _count(bus) == 3


def _send(bus: SimulatedSegment, interface: int, *datagrams: Datagram) -> tuple[int, list[Datagram]] | None:
    arrived = bus.arrivals(encode_frame(datagrams), interface)
    return (arrived[0].interface, decode_frame(arrived[0].data)) if arrived else None


@pytest.mark.verifies("REQ_8107")
def test_a_closed_ring_processes_one_frame_and_passes_the_other() -> None:
    world = World(1)
    bus = segment(world, *(device(world, f"d{number}", Recorder()) for number in range(3)), has_ring=True)
    question = Datagram(Command.BRD, 0, b"\0")

    first, second = _send(bus, 0, question), _send(bus, 1, question)

    assert first is not None
    assert second is not None
    assert (first[0], first[1][0].working_counter) == (1, 3)
    assert (second[0], second[1][0].working_counter) == (0, 0)
    assert word_at_ring(bus) == [0x5A31] * 3


def word_at_ring(bus: SimulatedSegment) -> list[int]:
    return [int.from_bytes(each.esc.memory[0x0110:0x0112], "little") for each in bus.subdevices]


@pytest.mark.verifies("REQ_8107")
def test_a_cut_ring_reaches_everybody_from_its_two_ends() -> None:
    world = World(1)
    bus = segment(world, *(device(world, f"d{number}", Recorder()) for number in range(4)), has_ring=True)
    write = Datagram(Command.BWR, 0x1200 << 16, b"\x42")

    bus.cut("d1")
    first, second = _send(bus, 0, write), _send(bus, 1, write)

    assert first is not None
    assert second is not None
    assert (first[0], first[1][0].working_counter, first[1][0].circulating) == (0, 1, False)
    assert (second[0], second[1][0].working_counter, second[1][0].circulating) == (1, 3, True)
    assert [each.esc.memory[0x1200] for each in bus.subdevices] == [0x42] * 4


@pytest.mark.verifies("REQ_8107", "REQ_8112")
def test_a_frame_that_has_circulated_is_destroyed_at_a_closed_port_0() -> None:
    world = World(1)
    bus = segment(world, *(device(world, f"d{number}", Recorder()) for number in range(2)), has_ring=True)
    bus.cut("d0")

    again = _send(bus, 1, Datagram(Command.BWR, 0x1200 << 16, b"\x42", circulating=True))

    assert again is None
    assert bus["d0"].esc.memory[0x1200] == 0


@pytest.mark.verifies("REQ_8107")
def test_a_longer_segment_takes_longer() -> None:
    times = [line(count).round_ns(64) for count in (1, 2, 10)]

    assert times[0] == (64 + 24) * 80 + 2 * 50 + 320
    assert times[2] - times[1] == 8 * (times[1] - times[0]) == 8 * (2 * 50 + 2 * 320)
    assert line(1).round_ns(20) == line(1).round_ns(60)


@pytest.mark.verifies("REQ_8107")
def test_the_link_event_is_signalled_until_dl_status_is_read() -> None:
    bus = line(2)
    word_at(bus, 0, 0x0110)
    write_word(bus, 0, 0x0200, 0x0004)

    bus.cut("d1")
    told = ask(bus, Command.NOP, 0, 1).interrupt
    word_at(bus, 0, 0x0110)

    assert (told, ask(bus, Command.NOP, 0, 1).interrupt) == (4, 0)
