"""What holds on the simulated bus for any traffic: nothing overlaps, nothing is lost or doubled, priorities rule."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taktora.can import CanFrame
from taktora_sim.can import BusFrame, SimulatedCanBus, arbitration_key, duration_ns, frame_bits
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
