"""Who gets a frame when sockets, filters and nodes change: between two frames, and while one is handed over."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from taktora.can import CanFilter, CanFrame
from taktora_sim.can import CanNode, SimulatedCanBus, SimulatedCanInterface
from taktora_sim.can.delivery import Delivery
from tests.sim.can.support import MS, Log, bus, socket

pytestmark = [pytest.mark.verifies("REQ_8202")]

FRAME = CanFrame(0x10, b"\x01")
Meddle = Callable[["_Bench"], object]


class _Meddler(Log):
    """One that does something the first time it hears a frame."""

    def __init__(self) -> None:
        super().__init__()
        self.act: Callable[[], object] | None = None

    def on_frame(self, frame: CanFrame) -> None:
        super().on_frame(frame)
        act, self.act = self.act, None
        if act is not None:
            act()


class _Bench:
    """A sender with two sockets, and three nodes with two each; the first of node a may meddle."""

    def __init__(self) -> None:
        self.bus = bus()
        self.logs: dict[str, Log] = {}
        self.sockets: dict[str, SimulatedCanInterface] = {}
        self.meddler = _Meddler()
        for name in ("sender", "a", "b", "c"):
            node = self.bus.node(name)
            for number in (1, 2):
                self.open(node, f"{name}{number}", self.meddler if f"{name}{number}" == "a1" else None)

    def open(self, node: CanNode, name: str, log: Log | None = None) -> None:
        self.logs[name] = log or Log()
        self.sockets[name] = socket(node, self.logs[name])

    def node(self, name: str) -> CanNode:
        return next(node for node in self.bus.nodes if node.name == name)

    def send(self) -> dict[str, int]:
        """Send a frame; return how many each socket has heard."""
        before = {name: len(log.frames) for name, log in self.logs.items()}
        self.sockets["sender1"].send(FRAME)
        self.bus.world.run_for(MS)
        return {name: len(log.frames) - before.get(name, 0) for name, log in self.logs.items()}


ALL = {"sender1": 0, "sender2": 1, "a1": 1, "a2": 1, "b1": 1, "b2": 1, "c1": 1, "c2": 1}
CHANGES: dict[str, tuple[Meddle, dict[str, int], dict[str, int]]] = {
    "a socket of the same node closes": (lambda bench: bench.sockets["a2"].close(), {"a2": 0}, {"a2": 0}),
    "a socket behind closes": (lambda bench: bench.sockets["c1"].close(), {"c1": 0}, {"c1": 0}),
    "a socket of the same node opens": (lambda bench: bench.open(bench.node("a"), "a3"), {"a3": 0}, {"a3": 1}),
    "a socket behind opens": (lambda bench: bench.open(bench.node("b"), "b3"), {"b3": 1}, {"b3": 1}),
    "a socket before opens": (
        lambda bench: bench.open(bench.node("sender"), "sender3"),
        {"sender3": 0},
        {"sender3": 1},
    ),
    "a filter of the same node": (lambda bench: bench.sockets["a2"].set_filters([]), {"a2": 0}, {"a2": 0}),
    "a filter behind": (
        lambda bench: bench.sockets["c2"].set_filters([CanFilter(0x11, 0x7FF)]),
        {"c2": 0},
        {"c2": 0},
    ),
    "an interface behind goes down": (
        lambda bench: bench.node("b").set_up(False),
        {"b1": 0, "b2": 0},
        {"b1": 0, "b2": 0},
    ),
    "its own interface goes down": (lambda bench: bench.node("a").set_up(False), {}, {"a1": 0, "a2": 0}),
    "a controller behind overflows": (
        lambda bench: bench.node("c").overflow(1),
        {"c1": 0, "c2": 0},
        {},
    ),
}


@pytest.mark.parametrize(("change", "at_once", "later"), CHANGES.values(), ids=CHANGES)
def test_a_change_by_a_listener_counts_for_all_behind_it_at_once(
    change: Meddle, at_once: dict[str, int], later: dict[str, int]
) -> None:
    bench = _Bench()
    assert bench.send() == ALL

    bench.meddler.act = lambda: change(bench)

    assert bench.send() == {**ALL, **at_once}
    assert bench.send() == {**ALL, **later}


@pytest.mark.parametrize(("change", "at_once", "later"), CHANGES.values(), ids=CHANGES)
def test_a_change_between_two_frames_counts_for_the_next(
    change: Meddle, at_once: dict[str, int], later: dict[str, int]
) -> None:
    bench = _Bench()
    assert bench.send() == ALL

    change(bench)

    overflows = {"c1": 0, "c2": 0} if at_once and not later else {}
    assert bench.send() == {**ALL, **later, **overflows}


def test_a_filter_opened_again_lets_the_frame_through_again() -> None:
    bench = _Bench()
    bench.sockets["b1"].set_filters([])
    assert bench.send() == {**ALL, "b1": 0}

    bench.sockets["b1"].set_filters([CanFilter(0x10, 0x7FF)])

    assert bench.send() == ALL


def test_frames_of_one_node_come_back_by_the_socket_they_were_sent_from() -> None:
    bench = _Bench()
    heard: list[dict[str, int]] = []
    for send in (bench.sockets["sender1"].send, bench.sockets["sender2"].send, bench.node("sender").transmit):
        before = {name: len(bench.logs[name].frames) for name in ("sender1", "sender2")}
        send(FRAME)
        bench.bus.world.run_for(MS)
        heard.append({name: len(bench.logs[name].frames) - count for name, count in before.items()})

    assert heard == [{"sender1": 0, "sender2": 1}, {"sender1": 1, "sender2": 0}, {"sender1": 1, "sender2": 1}]


@pytest.mark.parametrize("seed", range(6))
def test_kept_routes_deliver_what_the_way_from_node_to_node_delivers(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = _random_run(seed)
    monkeypatch.setattr(Delivery, "_find", lambda _self, _current: None)

    assert _random_run(seed) == kept
    assert any(frames for frames, _ in kept[1])


def _random_run(seed: int) -> tuple[str, list[tuple[list[CanFrame], int]]]:
    """Send and change at random; return the trace's hash and what each socket has heard."""
    draws = random.Random(seed)
    bench = _Bench()
    for _ in range(300):
        name = draws.choice(list(bench.sockets))
        _change_at_random(draws, bench, name, bench.sockets[name])
        if draws.random() < 0.1:
            other = draws.choice(list(bench.sockets))
            bench.meddler.act = lambda other=other: _change_at_random(draws, bench, other, bench.sockets[other])
        bench.bus.world.run_for(draws.randrange(300_000))
    return bench.bus.world.trace.sha256(), [(log.frames, len(log.states)) for log in bench.logs.values()]


def _change_at_random(draws: random.Random, bench: _Bench, name: str, interface: SimulatedCanInterface) -> None:
    node, segment = interface.node, bench.bus
    what = draws.random()
    if what < 0.6:
        _send(segment, node, CanFrame(draws.randrange(8), b"\x01", draws.random() < 0.2))
    elif what < 0.7:
        interface.set_filters([CanFilter(draws.randrange(8), 0x7FF) for _ in range(draws.randrange(6))])
    elif what < 0.8:
        interface.close()
    elif what < 0.9 and node.is_up:
        interface.open(bench.logs[name])
    elif what < 0.95:
        node.overflow(1)
    else:
        node.set_up(not node.is_up)


def _send(segment: SimulatedCanBus, node: CanNode, frame: CanFrame) -> None:
    if node.is_up and node.queued < node.queue_length and node in segment.nodes:
        node.transmit(frame)
