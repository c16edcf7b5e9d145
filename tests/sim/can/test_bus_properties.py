"""What holds on the simulated bus for any traffic: nothing overlaps, nothing is lost or doubled, priorities rule."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taktora.can import CanFrame
from taktora.errors import BackPressure, LinkDown
from taktora_sim.can import (
    Attempt,
    BusError,
    BusFrame,
    CanNode,
    SimulatedCanBus,
    WireError,
    WireErrorKind,
    arbitration_key,
    duration_ns,
    frame_bits,
)
from taktora_sim.world import World
from tests.sim.can.support import Log, S, socket

_NODES = 4
_SENDS = st.lists(
    st.tuples(st.integers(0, 3_000_000), st.integers(0, _NODES - 1), st.integers(0, 0x1FF), st.binary(max_size=8)),
    max_size=40,
)


def _play(sends: list[tuple[int, int, int, bytes]]) -> tuple[list[BusFrame], list[Log], dict[bytes, int]]:
    """Send everything at its time; identifiers are made unique per node, payloads carry the number of the send."""
    segment = SimulatedCanBus(World(1), "vehicle", 500_000)
    logs = [Log() for _ in range(_NODES)]
    nodes = [socket(segment.node(f"n{index}", queue_length=100), logs[index]) for index in range(_NODES)]
    done: list[BusFrame] = []
    queued_at: dict[bytes, int] = {}
    segment.observe(done.append)
    for number, (at_ns, node, can_id, data) in enumerate(sends):
        frame = CanFrame(can_id << 2 | node, (bytes((number,)) + data)[:8])
        queued_at[frame.data[:1]] = at_ns
        segment.world.call_at(at_ns, partial(nodes[node].send, frame))
    segment.world.run_for(S)
    return done, logs, queued_at


@pytest.mark.verifies("REQ_8200")
@settings(max_examples=60, deadline=None)
@given(_SENDS)
def test_any_traffic_is_serialised_complete_and_ranked(sends: list[tuple[int, int, int, bytes]]) -> None:
    done, logs, queued_at = _play(sends)

    assert len(done) == len(sends)
    for event in done:
        assert event.end_ns - event.start_ns == duration_ns(event.bits - 3, 500_000)
        assert event.bits == frame_bits(event.frame.can_id, event.frame.data)
    for before, after in pairwise(done):
        assert after.start_ns >= before.start_ns + duration_ns(before.bits, 500_000)
    for index, log in enumerate(logs):
        assert log.frames == [event.frame for event in done if event.node != f"n{index}"]
    _check_ranks(done, queued_at)


def _check_ranks(done: list[BusFrame], queued_at: dict[bytes, int]) -> None:
    """At each start of frame the winner ranks before the head of every other node."""
    for position, event in enumerate(done):
        heads: dict[str, BusFrame] = {}
        for later in done[position:]:
            heads.setdefault(later.node, later)
        for head in heads.values():
            if queued_at[head.frame.data[:1]] <= event.start_ns:
                assert arbitration_key(event.frame.can_id) <= arbitration_key(head.frame.can_id)


@pytest.mark.verifies("REQ_8200")
@settings(max_examples=60, deadline=None)
@given(_SENDS)
def test_each_nodes_frames_leave_in_the_order_they_were_queued(sends: list[tuple[int, int, int, bytes]]) -> None:
    done, _, queued_at = _play(sends)

    for index in range(_NODES):
        own = [queued_at[event.frame.data[:1]] for event in done if event.node == f"n{index}"]
        assert own == sorted(own)


_RULES = st.fixed_dictionaries(
    {
        "every": st.integers(2, 12),
        "bit": st.integers(0, 60),
        "kind": st.sampled_from(WireErrorKind),
        "by": st.sampled_from([None, ("n1",), ("n2", "n3")]),
        "order": st.sampled_from(["fifo", "id"]),
        "one_shot": st.booleans(),
        "restart_ms": st.sampled_from([0, 3]),
    }
)
"""How the wire of a run disturbs its frames, and how its first node deals with that."""
_ACTIONS = st.lists(
    st.tuples(
        st.integers(0, 5_000_000),
        st.integers(0, _NODES - 1),
        st.sampled_from(["down", "up", "bus-off", "passive", "clean", "restart", "hold", "let go", "cut", "mend"]),
    ),
    max_size=12,
)


_COUNTERS = {"bus-off": (256, 0), "passive": (128, 128), "clean": (0, 0)}


class _Disturbed:
    """A run of four FD nodes whose frames meet errors; identifiers are shared, so that frames collide too."""

    def __init__(
        self, sends: list[tuple[int, int, int, bytes]], rule: dict[str, Any], actions: list[tuple[int, int, str]]
    ) -> None:
        self.world = World(3)
        self.bus = SimulatedCanBus(self.world, "vehicle", 500_000, data_bitrate=2_000_000)
        options = {"queue_order": rule["order"], "one_shot": rule["one_shot"], "restart_ms": rule["restart_ms"]}
        self.nodes = [
            self.bus.node(f"n{index}", queue_length=5, **(options if index == 0 else {})) for index in range(_NODES)
        ]
        self.accepted = [0] * _NODES
        self.done: list[BusFrame] = []
        self.errors: list[BusError] = []
        self.heads: list[tuple[int, list[int]]] = []
        self._rule = rule
        self._count = 0
        self.bus.wire_faults.append(self._strike)
        self.bus.observe(self.done.append)
        self.bus.observe_errors(self.errors.append)
        for at_ns, node, can_id, data in sends:
            frame = CanFrame(can_id & 0x3F, data, fd=can_id > 0xFF, brs=can_id > 0x17F)
            self.world.call_at(at_ns, partial(self._send, node, frame))
        for at_ns, node, action in actions:
            self.world.call_at(at_ns, partial(self._act, self.nodes[node], action))
        self.world.run_for(10_000_000)

    def _act(self, node: CanNode, action: str) -> None:
        off = node.controller.is_bus_off
        if action in {"down", "up"}:
            node.set_up(action == "up")
        elif action == "restart" and node.is_up and node.is_bus_off_host:
            node.restart()
        elif action in _COUNTERS and not off:
            node.controller.set_counters(*_COUNTERS[action])
        elif action == "hold" and not self.bus.is_held:
            for sender in getattr(self.bus.hold(), "senders", []):
                sender.fail()
        elif action == "let go" and self.bus.is_held:
            self.bus.let_go(11)
        elif action in {"cut", "mend"} and not node.is_sending:
            (self.bus.stub() if action == "cut" else self.bus).adopt(node)

    def _send(self, index: int, frame: CanFrame) -> None:
        try:
            self.nodes[index].transmit(frame)
        except (BackPressure, LinkDown):
            return
        self.accepted[index] += 1

    def _strike(self, attempt: Attempt) -> WireError | None:
        key = arbitration_key(attempt.frame.can_id)
        waiting = [
            node.queue[0].rank
            for node in self.nodes
            if node.queue and node in self.bus.hearing and not node.is_suspended
        ]
        self.heads.append((key, waiting))
        self._count += 1
        strikes = self._count % self._rule["every"] == 0
        return WireError(self._rule["kind"], self._rule["bit"], self._rule["by"]) if strikes else None


@pytest.mark.verifies("REQ_8200", "REQ_8201")
@settings(max_examples=30, deadline=None)
@given(_SENDS, _RULES, _ACTIONS)
def test_whatever_goes_wrong_nothing_is_lost_without_a_name(
    sends: list[tuple[int, int, int, bytes]], rule: dict[str, Any], actions: list[tuple[int, int, str]]
) -> None:
    run = _Disturbed(sends, rule, actions)

    for node, accepted in zip(run.nodes, run.accepted, strict=True):
        assert accepted == node.sent + sum(node.lost.values()) + node.queued
        assert 0 <= node.controller.tec <= 256
        assert 0 <= node.controller.rec <= 255
    assert run.bus.frames == len(run.done)
    assert run.bus.load() <= 1


@pytest.mark.verifies("REQ_8200", "REQ_8201")
@settings(max_examples=30, deadline=None)
@given(_SENDS, _RULES, _ACTIONS)
def test_whatever_goes_wrong_the_bus_is_serialised_and_its_priorities_hold(
    sends: list[tuple[int, int, int, bytes]], rule: dict[str, Any], actions: list[tuple[int, int, str]]
) -> None:
    run = _Disturbed(sends, rule, actions)

    spans = [(frame.start_ns, frame.end_ns) for frame in run.done]
    spans = sorted(spans + [(error.start_ns, error.end_ns) for error in run.errors])
    assert all(after[0] >= before[1] + 3 * 2_000 for before, after in pairwise(spans))
    assert all(key == min(waiting) for key, waiting in run.heads)
    assert len(run.heads) >= len(spans)


@pytest.mark.verifies("REQ_8201", "REQ_8000")
@settings(max_examples=15, deadline=None)
@given(_SENDS, _RULES, _ACTIONS)
def test_whatever_goes_wrong_goes_wrong_again(
    sends: list[tuple[int, int, int, bytes]], rule: dict[str, Any], actions: list[tuple[int, int, str]]
) -> None:
    first, second = _Disturbed(sends, rule, actions), _Disturbed(sends, rule, actions)

    assert first.world.trace.sha256() == second.world.trace.sha256()
