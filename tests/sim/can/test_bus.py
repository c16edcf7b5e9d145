"""Who sends when on the simulated bus, and who gets what."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from math import floor
from pathlib import Path
from typing import Any

import pytest

from taktora.can import CanFilter, CanFrame, CanIfaceState
from taktora.can.dlc import FD_LENGTHS
from taktora.errors import BackPressure, ConfigurationError, LinkDown, PayloadOverflow, StackError
from taktora_sim.can import BusFrame, SimulatedCanBus, arbitration_key, frame_bits
from taktora_sim.can.timing import fd_frame_bits, field_position
from taktora_sim.trace import read_trace
from taktora_sim.world import World
from tests.sim.can.support import MS, Log, S, bus, errors_of, socket


@pytest.mark.verifies("REQ_8200")
def test_a_frame_arrives_at_its_end_and_the_next_one_follows_after_the_intermission() -> None:
    segment, log = bus(500_000), Log()
    sender = socket(segment.node("a"))
    socket(segment.node("b"), log)

    sender.send(CanFrame(0x123, bytes.fromhex("11223344")))  # 80 bits
    sender.send(CanFrame(0x000, b""))  # 53 bits
    segment.world.run_for(S)

    assert log.times == [(80 - 3) * 2000, (80 + 53 - 3) * 2000]
    assert segment.busy_ns == (80 + 53) * 2000


@pytest.mark.verifies("REQ_8200")
def test_the_lowest_identifier_among_those_pending_wins() -> None:
    segment, log = bus(), Log()
    nodes = [socket(segment.node(name)) for name in "abcd"]
    socket(segment.node("listener"), log)
    frames = [
        CanFrame(0x300, b""),
        CanFrame(0x100 << 18, b"", True),
        CanFrame(0x100, b"", remote=True),
        CanFrame(0x100, b""),
    ]

    for interface, frame in zip(nodes, frames, strict=True):
        interface.send(frame)
    segment.world.run_for(S)

    assert [(frame.can_id, frame.extended, frame.remote) for frame in log.frames] == [
        (0x100, False, False),
        (0x100, False, True),
        (0x100 << 18, True, False),
        (0x300, False, False),
    ]


@pytest.mark.verifies("REQ_8200")
def test_an_urgent_frame_waits_for_the_frame_on_the_wire_and_goes_before_all_others() -> None:
    segment, log = bus(), Log()
    slow, other, urgent = (socket(segment.node(name)) for name in ("slow", "other", "urgent"))
    socket(segment.node("listener"), log)

    slow.send(CanFrame(0x700, bytes(8)))
    slow.send(CanFrame(0x701, bytes(8)))
    segment.world.call_at(10_000, lambda: other.send(CanFrame(0x400, b"")))
    segment.world.call_at(20_000, lambda: urgent.send(CanFrame(0x001, b"")))
    segment.world.run_for(S)

    assert log.ids == [0x700, 0x001, 0x400, 0x701]


@pytest.mark.verifies("REQ_8200")
def test_an_answer_queued_within_the_intermission_joins_the_next_start_of_frame() -> None:
    segment, log = bus(), Log()
    asker, answerer = socket(segment.node("asker")), segment.node("answerer")
    socket(segment.node("listener"), log)

    class Answer(Log):
        def on_frame(self, frame: CanFrame) -> None:
            if frame.can_id == 0x500:
                answering.send(CanFrame(0x080, b""))

    answering = socket(answerer, Answer())
    asker.send(CanFrame(0x500, b""))
    asker.send(CanFrame(0x501, b""))
    segment.world.run_for(S)

    assert log.ids == [0x500, 0x080, 0x501]


@pytest.mark.verifies("REQ_8200")
def test_the_queue_of_one_node_is_first_in_first_out() -> None:
    segment, log = bus(), Log()
    sender = socket(segment.node("a"))
    socket(segment.node("b"), log)

    for can_id in (0x300, 0x100, 0x200):
        sender.send(CanFrame(can_id, b""))
    segment.world.run_for(S)

    assert log.ids == [0x300, 0x100, 0x200]


@pytest.mark.verifies("REQ_8200")
def test_equal_frames_of_two_nodes_merge() -> None:
    segment, log = bus(), Log()
    left, right = socket(segment.node("left")), socket(segment.node("right"))
    socket(segment.node("listener"), log)

    left.send(CanFrame(0x100, b"\x01"))
    right.send(CanFrame(0x100, b"\x01"))
    segment.world.run_for(S)

    assert [frame.data for frame in log.frames] == [b"\x01"]
    assert (left.node.sent, right.node.sent, segment.frames, segment.collisions) == (1, 1, 1, 0)


@pytest.mark.verifies("REQ_8200")
def test_no_priority_inversion_between_nodes_at_95_percent_load() -> None:
    segment = bus(500_000)
    draws = segment.world.stream("test")
    waiting: dict[str, tuple[int, CanFrame]] = {}
    inversions: list[BusFrame] = []

    def check(done: BusFrame) -> None:
        del waiting[done.node]
        for since_ns, frame in waiting.values():
            if since_ns <= done.start_ns and arbitration_key(frame.can_id) < arbitration_key(done.frame.can_id):
                inversions.append(done)

    def start_sender(number: int) -> None:
        node = segment.node(f"n{number}")
        interface = socket(node)

        def send() -> None:
            if node.name not in waiting:
                frame = CanFrame(draws.getrandbits(6) << 5 | number, bytes(draws.getrandbits(8) for _ in range(8)))
                waiting[node.name] = segment.world.now_ns(), frame
                interface.send(frame)
            segment.world.call_after(4_300_000, send)

        segment.world.call_at(draws.integer(0, 4_300_000), send)

    segment.observe(check)
    for number in range(18):
        start_sender(number)
    segment.world.run_for(3 * S)

    assert not inversions
    assert 0.93 < segment.load() < 1.0


@pytest.mark.verifies("REQ_8207")
def test_load_is_the_sum_of_frame_durations_over_the_window() -> None:
    segment = bus(250_000)
    sender = socket(segment.node("a", queue_length=100))
    segment.node("b")
    bits = 0

    def send() -> None:
        nonlocal bits
        frame = CanFrame(0x100 + bits % 64, bytes((bits & 0xFF,)) * 5)
        bits += frame_bits(frame.can_id, frame.data)
        sender.send(frame)
        if segment.world.now_ns() < 990 * MS:
            segment.world.call_after(1 * MS, send)

    send()
    segment.world.run_for(S)

    expected = bits * 4000 / S
    assert segment.load() == pytest.approx(expected, rel=0.001)
    assert segment.peak_load == pytest.approx(expected, rel=0.01)


@pytest.mark.verifies("REQ_8207")
def test_load_of_a_shorter_window_counts_only_what_lies_in_it() -> None:
    segment = bus(500_000)
    sender = socket(segment.node("a"))
    segment.node("b")

    segment.world.call_at(500 * MS, lambda: sender.send(CanFrame(0x123, bytes.fromhex("11223344"))))
    segment.world.run_for(501 * MS)

    assert segment.load(1 * MS) == pytest.approx(80 * 2000 / MS)
    assert segment.load(500_000) == 0
    with pytest.raises(ValueError, match="load_window_ns"):
        segment.load(2 * S)


@pytest.mark.verifies("REQ_8202", "REQ_0607")
def test_the_eleventh_waiting_frame_is_refused_and_room_is_told() -> None:
    segment, told = bus(), []
    sender = socket(segment.node("a"))
    segment.node("b")
    sender.on_transmit_ready(lambda: told.append(segment.world.now_ns()))

    for number in range(10):
        sender.send(CanFrame(number, b""))
    with pytest.raises(BackPressure, match="ENOBUFS"):
        sender.send(CanFrame(0x7FF, b""))
    segment.world.run_for(S)

    assert told == [(53 - 3) * 2000]


@pytest.mark.verifies("REQ_8202")
def test_own_messages_are_not_received_but_the_nodes_other_sockets_get_them() -> None:
    segment, own, wanted, other = bus(), Log(), Log(), Log()
    node = segment.node("a")
    segment.node("b")
    sender = socket(node, own)
    both = socket(node, wanted, receive_own=True)
    socket(node, other)

    sender.send(CanFrame(0x100, b""))
    both.send(CanFrame(0x101, b""))
    segment.world.run_for(S)

    assert own.ids == [0x101]
    assert wanted.ids == [0x100, 0x101]
    assert other.times == wanted.times


@pytest.mark.verifies("REQ_8202", "REQ_0622")
def test_filters_belong_to_the_socket_and_start_anew_when_it_is_reopened() -> None:
    segment, log = bus(), Log()
    sender, receiver = socket(segment.node("a")), socket(segment.node("b"), log)

    receiver.set_filters([CanFilter(0x100, 0xC00007FF)])
    sender.send(CanFrame(0x100, b""))
    sender.send(CanFrame(0x200, b""))
    segment.world.run_for(MS)
    receiver.set_filters([])
    sender.send(CanFrame(0x100, b""))
    segment.world.run_for(MS)
    receiver.open(log)
    sender.send(CanFrame(0x300, b""))
    segment.world.run_for(MS)

    assert log.ids == [0x100, 0x300]


@pytest.mark.verifies("REQ_8202")
def test_an_interface_that_goes_down_tells_its_sockets_once_and_refuses_to_open() -> None:
    segment, log = bus(), Log()
    node = segment.node("a")
    interface = socket(node, log)
    interface.send(CanFrame(1, b""))
    interface.send(CanFrame(2, b""))

    node.set_up(False)
    node.set_up(False)

    assert [state for state, _ in log.states] == [CanIfaceState.DOWN]
    with pytest.raises(LinkDown, match="down"):
        interface.send(CanFrame(3, b""))
    with pytest.raises(StackError, match="ENETDOWN"):
        interface.open(log)
    node.set_up(True)
    interface.open(log)
    assert interface.state is CanIfaceState.ACTIVE


@pytest.mark.verifies("REQ_8200")
def test_what_cannot_be_is_refused_with_its_range() -> None:
    segment = bus()
    segment.node("a")

    with pytest.raises(ConfigurationError, match="already has a node 'a'"):
        segment.node("a")
    with pytest.raises(ConfigurationError, match=r"1000\.\.1000000"):
        bus(2_000_000)
    with pytest.raises(PayloadOverflow, match=r"9 bytes .* the 8 bytes of .*; a frame of CAN FD has room for 64"):
        socket(segment.node("b")).send(CanFrame(1, bytes(9)))


@pytest.mark.verifies("REQ_8200")
@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (
            CanFrame(0x18FEF100, b""),
            r"can/vehicle/a: identifier 0x18fef100 is outside 0\.\.0x7ff of 11 bits .*extended=True",
        ),
        (CanFrame(0x800, b"", fd=True), r"identifier 0x800 is outside 0\.\.0x7ff of 11 bits"),
        (CanFrame(0x2000_0000, b"", extended=True), r"identifier 0x20000000 is outside 0\.\.0x1fffffff of 29 bits"),
        (CanFrame(-1, b""), r"identifier -0x1 is outside 0\.\.0x7ff of 11 bits"),
    ],
)
def test_an_identifier_that_no_frame_has_is_refused_where_it_is_sent(frame: CanFrame, text: str) -> None:
    segment = bus(data_bitrate=2_000_000)
    node = segment.node("a")

    with pytest.raises(StackError, match=text):
        node.transmit(frame)

    assert node.queued == 0


@pytest.mark.verifies("REQ_8000", "REQ_8004")
def test_every_frame_is_in_the_trace_under_its_sender_and_one_seed_gives_one_hash() -> None:
    def run() -> tuple[str, list[str]]:
        segment = bus()
        senders = [socket(segment.node(name)) for name in "abc"]
        draws = segment.world.stream("test")
        for number in range(50):
            frame = CanFrame(draws.getrandbits(11), bytes(draws.integer(0, 8)))
            segment.world.call_at(draws.integer(0, 5 * MS) + number * MS, partial(senders[number % 3].send, frame))
        segment.world.run_for(S)
        return segment.world.trace.sha256(), sorted(segment.world.trace.component_hashes())

    first, second = run(), run()

    assert first == second
    assert {"can/vehicle/a", "can/vehicle/b", "can/vehicle/c"} <= set(first[1])


@pytest.mark.verifies("REQ_8200")
def test_a_node_that_comes_in_the_middle_of_a_frame_does_not_hear_it() -> None:
    segment, log = bus(), Log()
    sender, late = socket(segment.node("a")), segment.node("late")
    segment.node("b")
    late.set_up(False)

    def come_up() -> None:
        late.set_up(True)
        socket(late, log)

    sender.send(CanFrame(0x100, bytes(8)))
    sender.send(CanFrame(0x101, b""))
    segment.world.call_at(100_000, come_up)
    segment.world.run_for(S)

    assert log.ids == [0x101]


_FD_RATES = [(500_000, 2_000_000), (1_000_000, 8_000_000), (250_000, 1_000_000), (83_333, 3_333_333)]


@pytest.mark.verifies("REQ_8200")
@pytest.mark.parametrize(("bitrate", "data_bitrate"), _FD_RATES)
@pytest.mark.parametrize("brs", [False, True])
def test_fd_frames_last_as_long_as_their_bits_at_both_rates(bitrate: int, data_bitrate: int, brs: bool) -> None:
    segment, log = bus(bitrate, data_bitrate=data_bitrate), Log()
    sender = socket(segment.node("a", queue_length=100))
    socket(segment.node("b"), log)
    done: list[BusFrame] = []
    segment.observe(done.append)
    frames = [CanFrame(0x123, bytes(range(length)), fd=True, brs=brs) for length in FD_LENGTHS]

    for frame in frames:
        sender.send(frame)
    segment.world.run_for(S)

    now_ns = 0
    for frame, seen in zip(frames, done, strict=True):
        nominal, data = fd_frame_bits(frame.can_id, frame.data, brs=brs)
        assert (seen.start_ns, seen.bits, seen.frame) == (
            now_ns,
            nominal + data,
            frame._replace(timestamp_ns=seen.end_ns),
        )
        end_ns = Fraction(nominal - 3, bitrate) + Fraction(data, data_bitrate)
        assert seen.end_ns - seen.start_ns == floor(end_ns * S + Fraction(1, 2))
        now_ns += floor((Fraction(nominal, bitrate) + Fraction(data, data_bitrate)) * S + Fraction(1, 2))
    assert [frame.timestamp_ns for frame in log.frames] == [seen.end_ns for seen in done]
    assert segment.busy_ns == now_ns


@pytest.mark.verifies("REQ_8200")
def test_fd_and_classical_frames_compete_by_identifier_alone() -> None:
    segment, log = bus(data_bitrate=2_000_000), Log()
    nodes = [socket(segment.node(name)) for name in "abcd"]
    socket(segment.node("listener"), log)
    frames = [
        CanFrame(0x300, bytes(64), fd=True, brs=True),
        CanFrame(0x200, bytes(8)),
        CanFrame(0x100, bytes(12), fd=True),
        CanFrame(0x100 << 18, bytes(64), True, fd=True),
    ]

    for interface, frame in zip(nodes, frames, strict=True):
        interface.send(frame)
    segment.world.run_for(S)

    assert [(frame.can_id, frame.fd) for frame in log.frames] == [
        (0x100, True),
        (0x100 << 18, True),
        (0x200, False),
        (0x300, True),
    ]


@pytest.mark.verifies("REQ_8200", "REQ_8201")
def test_an_fd_and_a_classical_frame_of_one_identifier_collide_where_fd_begins() -> None:
    segment = bus(data_bitrate=2_000_000)
    errors, left, right = errors_of(segment), segment.node("left"), segment.node("right")
    segment.node("b")

    left.transmit(CanFrame(0x555, b"\x01"))
    right.transmit(CanFrame(0x555, b"\x01", fd=True))
    segment.world.run_until(lambda: bool(errors))

    fdf = field_position(CanFrame(0x555, b"\x01", fd=True), "fdf")
    assert (errors[0].bit, segment.collisions) == (fdf, 1)
    assert (left.controller.tec, right.controller.tec) == (8, 8)


@pytest.mark.verifies("REQ_8200", "REQ_8002")
def test_the_trace_tells_fd_frames_from_classical_ones(tmp_path: Path) -> None:
    world = World(1, trace_file=tmp_path / "run.trace")
    segment = SimulatedCanBus(world, "vehicle", data_bitrate=2_000_000)
    node = segment.node("a")
    segment.node("b")

    node.transmit(CanFrame(0x123, b"\x01\x02"))
    node.transmit(CanFrame(0x18FEF100, bytes(12), True, fd=True, brs=True))
    node.transmit(CanFrame(0x123, b"\x01", fd=True, esi=True))
    world.run_for(MS)
    world.close()

    payloads = [record.payload.hex() for record in read_trace(tmp_path / "run.trace") if record.kind == "frame"]
    assert payloads == [
        "23010000" + "02" + "0102",
        "00f1fe98" + "8c" + "01" + 12 * "00",
        "23010000" + "81" + "02" + "01",
    ]


@pytest.mark.verifies("REQ_8200")
def test_bit_rates_and_nodes_that_cannot_be_are_refused_with_their_range() -> None:
    with pytest.raises(ConfigurationError, match=r"500000\.\.8000000"):
        bus(500_000, data_bitrate=250_000)
    with pytest.raises(ConfigurationError, match="queue length 0"):
        bus().node("a", queue_length=0)
    with pytest.raises(ConfigurationError, match="restart_ms -1"):
        bus().node("a", restart_ms=-1)
    order: Any = "prio"
    with pytest.raises(ConfigurationError, match="queue_order 'prio'; expected 'fifo' or 'id'"):
        bus().node("a", queue_order=order)
    with pytest.raises(ConfigurationError, match="node name 'a/b': expected one without '/'"):
        bus().node("a/b")
