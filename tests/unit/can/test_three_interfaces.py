"""One gateway on three interfaces: what one that fails does to the others, and in which order they come back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from taktora.can import CanErrorClass, CanFilter, CanId, CanInterfaceListener, ErrorPassive, IfaceDown, RestartAwaited
from taktora.connector import (
    Connecting,
    ConnectorHealth,
    Degraded,
    Down,
    ExponentialBackoff,
    HealthEvent,
    HealthSubscription,
    ReconnectPolicy,
    Up,
)
from taktora.errors import BackPressure, LinkDown
from taktora.testing.mock_can import MockCanInterface
from taktora_sim.can import Attempt, ControllerState, SimulatedCanBus, SimulatedCanInterface, WireError, WireErrorKind
from taktora_sim.world import World
from tests.sim.can.support import Log
from tests.unit.can.support import MS, Bench, FixedPolicy, S, frame, values

_NAMES = ("can0", "can1", "can2")
_PASSIVE = bytes((0, 0x20, 0, 0, 0, 0, 0, 0))


class _Timed(MockCanInterface):
    """A mock that writes down when it was opened and filtered."""

    def __init__(self, name: str, world: World, log: list[tuple[str, str, int]]) -> None:
        super().__init__(name)
        self._world, self._log = world, log

    def open(self, listener: CanInterfaceListener) -> None:
        super().open(listener)
        self._log.append((self.name, "open", self._world.now_ns()))

    def set_filters(self, filters: Sequence[CanFilter]) -> None:
        super().set_filters(filters)
        self._log.append((self.name, "filter", self._world.now_ns()))


def _mocks(seed: int = 1, **options: Any) -> tuple[Bench, list[_Timed], list[tuple[str, str, int]]]:
    """Return a bench whose three mocks are Up, with a reader each; events and log begin now."""
    world, log = World(seed), list[tuple[str, str, int]]()
    mocks = [_Timed(name, world, log) for name in _NAMES]
    bench = Bench(*mocks, world=world, **options)
    for name in _NAMES:
        bench.reader(f"in.{name}", CanId(1), iface=name)
    bench.start()
    for mock in mocks:
        mock.inject_frame(frame(1))
    bench.run()
    assert bench.connector.health() == Up()
    bench.events.clear()
    log.clear()
    return bench, mocks, log


def _states(bench: Bench) -> list[str]:
    return [link.health.kind.value for link in bench.connector.links]


def _is_one_walk(events: Sequence[HealthEvent]) -> bool:
    """Tell whether each event starts where the last one ended and goes somewhere else."""
    ways = [(event.source.kind, event.target.kind) for event in events]
    return all(way[0] is not way[1] for way in ways) and all(one[1] is two[0] for one, two in pairwise(ways))


@pytest.mark.verifies("REQ_0620", "REQ_0630", "REQ_0633", "REQ_0635")
def test_bus_off_on_one_of_three_degrades_and_stops_nobody_else() -> None:
    bench, mocks, _ = _mocks(reconnect_policy=lambda _random: FixedPolicy(3600 * S))
    with bench:
        bench.reader("late", CanId(2), iface="can2")
        bench.run()
        mocks[1].inject_error(CanErrorClass.BUS_OFF)
        bench.run()

        for number in range(100):
            assert mocks[0].inject_frame(frame(1, bytes((number,))))
            assert mocks[2].inject_frame(frame(2, bytes((number,))))
            bench.run()

        assert _states(bench) == ["Up", "Down", "Up"]
        assert [event.target for event in bench.events] == [Degraded(IfaceDown("can1"))]
        assert [bench.connector.driver(name).undelivered for name in ("can0", "can2")] == [101 - 64, 100 - 64]


@pytest.mark.verifies("REQ_0630", "REQ_0635")
def test_all_down_is_down_and_every_change_of_the_whole_is_one_event() -> None:
    delays = iter([FixedPolicy(30 * MS), FixedPolicy(50 * MS), FixedPolicy(70 * MS)])
    policies: Iterator[ReconnectPolicy] = iter(delays)
    bench, mocks, _ = _mocks(reconnect_policy=lambda _random: next(policies))
    with bench:
        stream = bench.connector.subscribe_health()
        seen = []
        for mock in mocks:
            mock.inject_error(CanErrorClass.BUS_OFF)
            bench.run(MS)
            seen.append(_states(bench))
        for mock, wait_ns in zip(mocks, (28 * MS, 22 * MS, 22 * MS), strict=True):
            bench.run(wait_ns)
            seen.append(_states(bench))
            mock.inject_frame(frame(1))
            bench.run()

        assert seen == [
            ["Down", "Up", "Up"],
            ["Down", "Down", "Up"],
            ["Down", "Down", "Down"],
            ["Connecting", "Down", "Down"],
            ["Up", "Connecting", "Down"],
            ["Up", "Up", "Connecting"],
        ]
        targets = [event.target for event in bench.events]
        assert [target.kind for target in targets] == [
            Degraded.kind, Down.kind, Connecting.kind, Degraded.kind, Up.kind,
        ]  # fmt: skip
        assert [getattr(target, "reason", None) for target in targets] == [
            IfaceDown("can0"), IfaceDown("can0"), IfaceDown("can1"), IfaceDown("can1"), None,
        ]  # fmt: skip
        assert list(stream.drain()) == bench.events


@pytest.mark.verifies("REQ_0630", "REQ_0635")
def test_an_interface_reopened_after_bus_off_keeps_the_whole_degraded_until_it_is_heard() -> None:
    bench, mocks, _ = _mocks(reconnect_policy=lambda _random: FixedPolicy(10 * MS))
    with bench:
        mocks[1].inject_error(CanErrorClass.BUS_OFF)
        bench.run(S)
        silent = bench.connector.health()
        mocks[1].inject_frame(frame(1))
        bench.run()

        assert silent == Degraded(RestartAwaited("can1"))
        assert [event.target for event in bench.events] == [Degraded(IfaceDown("can1")), Up()]


@pytest.mark.verifies("REQ_0630", "REQ_0632")
def test_the_worst_of_three_is_the_reason() -> None:
    bench, mocks, _ = _mocks(reconnect_policy=lambda _random: FixedPolicy(S))
    with bench:
        mocks[0].inject_error(CanErrorClass.CONTROLLER, _PASSIVE)
        bench.run(MS)
        passive = bench.connector.health()
        mocks[2].inject_error(CanErrorClass.BUS_OFF)
        bench.run(MS)

        assert passive == Degraded(ErrorPassive("can0"))
        assert bench.connector.health() == Degraded(IfaceDown("can2"))
        assert len(bench.events) == 1


@pytest.mark.verifies("REQ_0634")
def test_each_interface_has_a_policy_of_its_own() -> None:
    made: list[FixedPolicy] = []

    def make(_random: object) -> FixedPolicy:
        made.append(FixedPolicy(10 * MS))
        return made[-1]

    bench, mocks, _ = _mocks(reconnect_policy=make)
    with bench:
        before = [policy.resets for policy in made]
        for _ in range(2):
            mocks[1].inject_error(CanErrorClass.BUS_OFF)
            bench.run(20 * MS)
        mocks[1].inject_frame(frame(1))
        bench.run()

        assert [policy.asked for policy in made] == [0, 2, 0]
        assert [policy.resets - past for policy, past in zip(made, before, strict=True)] == [0, 1, 0]


@pytest.mark.verifies("REQ_0622", "REQ_0633")
def test_interfaces_that_fail_together_come_back_in_their_order_each_with_its_filters() -> None:
    bench, mocks, log = _mocks(reconnect_policy=lambda _random: FixedPolicy(10 * MS))
    with bench:
        at_ns = bench.world.now_ns()

        for mock in reversed(mocks):
            mock.inject_error(CanErrorClass.BUS_OFF)
        bench.run(20 * MS)

        then_ns = at_ns + 10 * MS
        assert log == [(name, action, then_ns) for name in _NAMES for action in ("open", "filter")]


def _recoveries(seed: int) -> list[tuple[str, int]]:
    """Return when and in which order three interfaces are opened again with the default policy."""
    bench, mocks, log = _mocks(seed)
    with bench:
        for _ in range(3):
            for mock in mocks:
                mock.inject_error(CanErrorClass.BUS_OFF)
            bench.run(S)
        return [(name, at_ns) for name, action, at_ns in log if action == "open"]


@pytest.mark.verifies("REQ_0633", "REQ_0634")
def test_the_order_of_recovery_is_the_seeds() -> None:
    runs = [_recoveries(seed) for seed in range(12)]

    assert [_recoveries(seed) for seed in range(12)] == runs
    assert all(len(run) == 9 for run in runs)
    assert len({tuple(name for name, _ in run[:3]) for run in runs}) > 1


class _Buses:
    """Three simulated buses with a gateway, a peer and a silent node each; the gateway writes and reads on all."""

    def __init__(self, restart_ms: int = 0, seed: int = 1, back_off_ms: int = 20) -> None:
        self.world = World(seed)
        self.number = 0
        self.buses = [SimulatedCanBus(self.world, name, 500_000) for name in "abc"]
        self.nodes = [bus.node("app", restart_ms=restart_ms) for bus in self.buses]
        sockets = [node.interface(name) for node, name in zip(self.nodes, _NAMES, strict=True)]
        self.bench = Bench(
            *sockets,
            world=self.world,
            reconnect_policy=lambda _random: FixedPolicy(back_off_ms * MS),
            recovery_window_ns=100 * MS,
        )
        self.readers = [self.bench.reader(f"in.{name}", CanId(0x100), iface=name) for name in _NAMES]
        self.writers = [self.bench.writer(f"out.{name}", CanId(0x200), name) for name in _NAMES]
        self.broken: set[str] = set()
        for bus in self.buses:
            bus.wire_faults.append(partial(self._break, bus.name))
        self.heard: list[list[bytes]] = [[], [], []]
        self.peers = [self._peer(bus) for bus in self.buses]
        self.bench.start()

    def run(self, milliseconds: int) -> None:
        """Let everybody send one frame a millisecond."""
        for _ in range(milliseconds):
            value = self.number.to_bytes(2, "big")
            self.number += 1
            for peer in self.peers:
                with suppress(BackPressure):
                    peer.send(frame(0x100, value))
            for writer in self.writers:
                with suppress(LinkDown):
                    writer.send(value)
            self.world.run_for(MS)
            for heard, reader in zip(self.heard, self.readers, strict=True):
                heard.extend(values(reader))

    def states(self) -> list[ConnectorHealth]:
        return [link.health for link in self.bench.connector.links]

    def _peer(self, bus: SimulatedCanBus) -> SimulatedCanInterface:
        bus.node("silent")
        peer = bus.node("peer").interface()
        peer.open(Log())
        return peer

    def _break(self, bus: str, attempt: Attempt) -> WireError | None:
        """Have the gateway's node of a broken bus see a bit error in each of its frames."""
        is_hit = bus in self.broken and attempt.node == "app"
        return WireError(WireErrorKind.BIT, 30) if is_hit else None


@pytest.mark.verifies("REQ_0620", "REQ_0630", "REQ_0633", "REQ_0635")
def test_a_broken_line_takes_one_bus_through_all_states_and_leaves_the_others_alone() -> None:
    undisturbed, buses = _Buses(), _Buses()
    stream = buses.bench.connector.subscribe_health()
    undisturbed.run(400)

    buses.run(50)
    buses.broken.add("b")
    buses.run(250)
    stuck, node_state = buses.states(), buses.nodes[1].controller.state
    whole = buses.bench.connector.health()
    buses.broken.clear()
    buses.nodes[1].restart()
    buses.run(100)

    assert stuck[0] == stuck[2] == Up()
    assert stuck[1].kind is Connecting.kind
    assert node_state is ControllerState.BUS_OFF
    assert whole == Degraded(RestartAwaited("can1"))
    assert buses.states() == [Up(), Up(), Up()]
    assert (buses.heard[0], buses.heard[2]) == (undisturbed.heard[0], undisturbed.heard[2])
    assert [event.target.kind for event in _walk(stream)] == [Up.kind, Degraded.kind, Up.kind]


def _walk(stream: HealthSubscription) -> list[HealthEvent]:
    events = list(stream.drain())
    assert _is_one_walk(events)
    return events


@pytest.mark.verifies("REQ_0633", "REQ_0630")
def test_a_controller_that_restarts_by_itself_brings_its_bus_back_without_anybody() -> None:
    buses = _Buses(restart_ms=50)

    buses.run(50)
    buses.broken.add("c")
    buses.run(30)
    buses.broken.clear()
    off = buses.states()[2].kind
    buses.run(300)

    assert off is not Up.kind
    assert buses.states() == [Up(), Up(), Up()]
    assert buses.heard[2][-1] == (buses.number - 1).to_bytes(2, "big")


@pytest.mark.verifies("REQ_0630", "REQ_0635")
def test_three_broken_lines_are_down_and_each_change_of_the_whole_is_one_event() -> None:
    buses = _Buses(restart_ms=100, back_off_ms=200)
    stream = buses.bench.connector.subscribe_health()
    downs = []

    buses.run(20)
    for name in "abc":
        buses.broken.add(name)
        buses.run(12)
        downs.append(buses.bench.connector.health().kind)
    buses.broken.clear()
    buses.run(1_000)

    assert downs == [Degraded.kind, Degraded.kind, Down.kind]
    assert buses.states() == [Up(), Up(), Up()]
    kinds = [event.target.kind for event in _walk(stream)]
    assert kinds[:3] == [Up.kind, Degraded.kind, Down.kind]
    assert kinds[-1] is Up.kind


@pytest.mark.verifies("REQ_0633", "REQ_0634")
def test_real_bus_off_and_recovery_are_the_same_in_every_run() -> None:
    def run(seed: int) -> tuple[str, list[HealthEvent]]:
        buses = _Buses(restart_ms=30, seed=seed)
        buses.run(10)
        buses.broken |= {"c", "a", "b"}
        buses.run(60)
        buses.broken.clear()
        buses.run(100)
        return buses.world.trace.sha256(), buses.bench.events

    for seed in range(2):
        first, second = run(seed), run(seed)

        assert first == second
        assert first[1][-1].target == Up()


@pytest.mark.verifies("REQ_0633", "REQ_0634", "REQ_0644")
@pytest.mark.parametrize("restart_ms", [100, 1_000, 10_000])
def test_a_gateway_that_only_sends_is_back_with_the_first_frame_after_the_restart_however_late_that_is(
    restart_ms: int,
) -> None:
    world = World(1)
    bus = SimulatedCanBus(world, "a")
    bus.node("peer").interface().open(heard := Log())
    node = bus.node("app", restart_ms=restart_ms)
    bench = Bench(
        node.interface("can0"), world=world, reconnect_policy=lambda random: ExponentialBackoff(random, max_attempts=3)
    )
    writer = bench.writer("out", CanId(0x200))
    bench.start()
    refused = 0

    writer.send(b"first")
    bench.run(10 * MS)
    node.controller.set_counters(256, 0)
    off_ns = world.now_ns()
    while len(heard.frames) == 1 and world.now_ns() < off_ns + 20 * S:
        try:
            writer.send(b"again")
        except LinkDown:
            refused += 1
        bench.run(10 * MS)

    assert (world.now_ns() - off_ns) // MS in range(restart_ms, restart_ms + 200)
    assert refused >= restart_ms // 10 - 2  # each 10 ms but those on their way as it went off
    assert bench.kinds() == ["Up", "Down", "Connecting", "Up"]
    bench.close()


@pytest.mark.verifies("REQ_0633", "REQ_0644")
def test_a_gateway_started_on_a_controller_that_is_off_says_so_at_once_and_takes_no_frame_for_it() -> None:
    world = World(1)
    bus = SimulatedCanBus(world, "a")
    bus.node("peer").interface().open(heard := Log())
    node = bus.node("app")
    node.controller.set_counters(256, 0)
    bench = Bench(node.interface("can0"), world=world)
    writer = bench.writer("out", CanId(0x200))
    bench.start()

    started = bench.connector.health()
    with pytest.raises(LinkDown, match="can0 was bus-off"):
        writer.send(b"lost")
    bench.run(3 * S)
    node.restart()
    bench.run(S)
    writer.send(b"heard")
    bench.run(S)

    assert isinstance(started, Connecting)
    assert started.reason == RestartAwaited("can0")
    assert [done.data for done in heard.frames] == [b"heard"]
    assert bench.kinds() == ["Up"]
    bench.close()
