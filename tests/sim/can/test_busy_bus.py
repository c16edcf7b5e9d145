"""A bus near its limit: who gets it, who starves, and how a node that fails leaves and comes back."""

from __future__ import annotations

import random
from functools import partial
from typing import Literal, NamedTuple

import pytest

from taktora.can import CanErrorClass, CanErrorFrame, CanFrame
from taktora_sim.can import BusFrame, CanNode, SimulatedCanBus, arbitration_key
from taktora_sim.faults import FaultEntry, FaultPlan
from taktora_sim.world import World
from tests.sim.can.support import MS, Log, S, socket
from tests.sim.can.wire_reference import reference

_BITRATE = 500_000
_NODES, _IDS_PER_NODE = 5, 6


class _Message(NamedTuple):
    """One cyclic message of the traffic."""

    node: int
    frame: CanFrame
    period_ns: int
    phase_ns: int


class _Sent(NamedTuple):
    """One frame of the traffic: when it was written, came to the head of its node, and began to be sent."""

    rank: int
    queued_ns: int
    head_ns: int
    start_ns: int


def _traffic(load: float) -> list[_Message]:
    """Return cyclic messages of five nodes, 11 and 29 bits, that take ``load`` of the bus together."""
    draws = random.Random(95)
    raw = []
    for place in range(_NODES * _IDS_PER_NODE):
        extended = draws.random() < 0.4
        can_id = draws.getrandbits(29 if extended else 11)
        frame = CanFrame(can_id, draws.randbytes(draws.randrange(9)), extended)
        raw.append((place % _NODES, frame, draws.choice([5, 10, 20, 50, 100])))
    share = sum(
        float(reference(frame).lasts_ns(_BITRATE, _BITRATE, intermission=True)) / (period * MS)
        for _, frame, period in raw
    )
    return [
        _Message(node, frame, int(period * MS * share / load), draws.randrange(period * MS))
        for node, frame, period in raw
    ]


def _run(load: float, order: Literal["fifo", "id"]) -> tuple[SimulatedCanBus, list[_Sent], int]:
    """Run a second of traffic; return what was sent, and how many frames were written."""
    segment = SimulatedCanBus(World(1), "vehicle", _BITRATE)
    nodes = [segment.node(f"n{number}", queue_length=1000, queue_order=order) for number in range(_NODES)]
    sockets = [socket(node) for node in nodes]
    messages = _traffic(load)
    written: dict[tuple[str, int, bool], list[int]] = {}
    free_ns = dict.fromkeys((node.name for node in nodes), 0)
    sent: list[_Sent] = []

    def write(message: _Message) -> None:
        frame, node = message.frame, nodes[message.node]
        written.setdefault((node.name, frame.can_id, frame.extended), []).append(segment.world.now_ns())
        sockets[message.node].send(frame)
        if segment.world.now_ns() + message.period_ns < S:
            segment.world.call_after(message.period_ns, partial(write, message))

    def note(done: BusFrame) -> None:
        frame = done.frame
        queued_ns = written[done.node, frame.can_id, frame.extended].pop(0)
        rank = arbitration_key(frame.can_id, frame.extended, frame.remote)
        sent.append(_Sent(rank, queued_ns, max(queued_ns, free_ns[done.node]), done.start_ns))
        free_ns[done.node] = done.end_ns

    segment.observe(note)
    for message in messages:
        segment.world.call_at(message.phase_ns, partial(write, message))
    segment.world.run_for(S)
    busy_load = segment.load()
    segment.world.run_for(S)
    count = len(sent) + sum(len(times) for times in written.values())
    assert load * 0.98 <= busy_load <= load * 1.02
    return segment, sent, count


def _inversions(sent: list[_Sent], since: Literal["queued_ns", "head_ns"]) -> int:
    """Count the frames that began while one of higher priority had been waiting since before."""
    return sum(
        other.rank < frame.rank and getattr(other, since) < frame.start_ns < other.start_ns
        for place, frame in enumerate(sent)
        for other in sent[place + 1 : place + 200]
    )


@pytest.mark.verifies("REQ_8200", "REQ_8207")
def test_at_95_percent_load_no_frame_waits_for_one_of_lower_priority() -> None:
    _, sent, count = _run(0.95, "id")

    assert len(sent) == count > 2000
    assert _inversions(sent, "queued_ns") == 0
    assert max(frame.start_ns - frame.queued_ns for frame in sent) > 2 * MS  # there was a queue to jump


@pytest.mark.verifies("REQ_8200", "REQ_8207")
def test_at_95_percent_load_the_heads_of_first_in_first_out_queues_go_by_priority() -> None:
    _, sent, count = _run(0.95, "fifo")

    assert len(sent) == count
    assert _inversions(sent, "head_ns") == 0
    assert _inversions(sent, "queued_ns") > 0  # inside one node a queue hides urgent frames, as in SocketCAN


def _watched(bitrate: int, *entries: FaultEntry, restart_ms: int = 0) -> tuple[SimulatedCanBus, CanNode, Log]:
    segment = SimulatedCanBus(World(1, plan=FaultPlan.of(*entries)), "vehicle", bitrate)
    node, log = segment.node("a", restart_ms=restart_ms), Log()
    socket(node, log)
    for name in ("b", "c"):
        socket(segment.node(name))
    return segment, node, log


def _fault(
    kind: str, at_ns: int = 0, duration_ns: int | None = None, target: str = "a", **parameters: str
) -> FaultEntry:
    return FaultEntry(
        target=f"can/vehicle/{target}", kind=kind, at_ns=at_ns, duration_ns=duration_ns, parameters={**parameters}
    )


def _at(log: Log, wanted: CanErrorClass) -> list[CanErrorFrame]:
    return [error for error in log.errors if wanted in error.classes]


@pytest.mark.verifies("REQ_8201", "REQ_8204")
def test_a_node_whose_frames_are_all_destroyed_is_passive_after_16_and_bus_off_after_32_attempts() -> None:
    segment, node, log = _watched(_BITRATE, _fault("bit_error", 0, S))
    attempts: list[int] = []
    segment.observe_errors(lambda _: attempts.append(node.controller.tec))

    segment.world.call_at(0, partial(node.transmit, CanFrame(0x100, b"\x01")))
    segment.world.run_for(S)

    assert attempts == [8 * number for number in range(1, 33)]
    assert [(error.data[1], error.data[6]) for error in _at(log, CanErrorClass.CONTROLLER)] == [(0x08, 96), (0x20, 128)]
    assert len(_at(log, CanErrorClass.BUS_OFF)) == 1
    assert [other.controller.rec for other in segment.nodes[1:]] == [32, 32]


@pytest.mark.verifies("REQ_8201", "REQ_8204")
@pytest.mark.parametrize(
    ("bitrate", "recovery_ns"),
    [(1_000_000, 1_408_000), (500_000, 2_816_000), (250_000, 5_632_000), (125_000, 11_264_000)],
)
def test_a_node_with_a_broken_line_recovers_after_128_times_11_bits_when_its_host_restarts_it(
    bitrate: int, recovery_ns: int
) -> None:
    segment, node, log = _watched(bitrate, _fault("open_wire", 0, 80 * MS), restart_ms=100)
    starts: list[int] = []
    segment.observe(lambda done: starts.append(done.start_ns))
    segment.world.call_at(0, partial(node.transmit, CanFrame(0x100, b"\x01")))

    def send_again() -> None:
        if _at(log, CanErrorClass.RESTARTED) and not node.queued:
            node.transmit(CanFrame(0x101, b"\x02"))
        elif not starts:
            segment.world.call_after(MS, send_again)

    segment.world.call_at(MS, send_again)
    segment.world.run_for(S)

    (off,), (restarted,) = _at(log, CanErrorClass.BUS_OFF), _at(log, CanErrorClass.RESTARTED)
    assert restarted.timestamp_ns == off.timestamp_ns + 100 * MS
    assert starts == [restarted.timestamp_ns + recovery_ns]
    assert (node.controller.tec, node.controller.rec) == (0, 0)


@pytest.mark.verifies("REQ_8201", "REQ_8204")
def test_on_a_full_bus_a_node_recovers_with_the_tails_of_128_frames() -> None:
    at_ns = 10 * MS
    segment, node, log = _watched(
        _BITRATE,
        _fault("babble", 0, S, target="b", id="7FF"),
        _fault("bus_off", 5 * MS),
        _fault("restart", at_ns),
    )
    frames: list[BusFrame] = []
    segment.observe(frames.append)
    segment.world.call_at(at_ns + 1, partial(node.transmit, CanFrame(0x100, b"\x01")))

    segment.world.run_for(S)

    own = next(place for place, done in enumerate(frames) if done.node == "a")
    tails = [done for done in frames[:own] if done.end_ns > at_ns]
    assert len(tails) == 128
    assert frames[own].start_ns == frames[own - 1].end_ns + 3 * 2_000
    assert _at(log, CanErrorClass.RESTARTED)


@pytest.mark.verifies("REQ_8201", "REQ_8204")
@pytest.mark.parametrize(("percent", "ends_bus_off"), [(5, False), (30, True)])
def test_an_error_rate_above_one_in_nine_drifts_to_bus_off(percent: int, ends_bus_off: bool) -> None:
    entry = FaultEntry(
        target="can/vehicle/a", kind="error_rate", at_ns=0, duration_ns=10 * S, parameters={"percent": percent}
    )
    segment, node, _ = _watched(_BITRATE, entry)
    for number in range(4000):
        segment.world.call_at(number * MS, partial(node.transmit, CanFrame(0x100, bytes(4))))

    segment.world.run_for(5 * S)

    assert node.controller.is_bus_off == ends_bus_off
