"""What errors on the wire cost, how far they take a node, and how it comes back: by the counts of ISO 11898-1."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest

from taktora.can import CanFrame
from taktora.errors import BackPressure, StackError
from taktora_sim.can import BusFrame, CanNode, ControllerState, FrameLoss, SimulatedCanBus, WireError, WireErrorKind
from taktora_sim.can.confinement import flag_bits
from taktora_sim.can.timing import wire_image
from tests.sim.can.support import MS, Log, S, bus, errors_of, socket, strike

ACTIVE, WARNING, PASSIVE, BUS_OFF = ControllerState
FRAME = CanFrame(0x123, bytes.fromhex("11223344"))
"""80 bits on the wire, intermission included; its ACK slot is bit 68."""
FRAME_BITS = 80
_ALONE_BITS = 69 + 6 + 8 + 3
"""Up to the ACK slot, an error flag that nobody echoes, its delimiter, intermission."""


def _counters(segment: SimulatedCanBus) -> list[tuple[int, int]]:
    return [(node.controller.tec, node.controller.rec) for node in segment.nodes]


def _keep_sending(segment: SimulatedCanBus, node: CanNode, frame: CanFrame) -> None:
    """Have ``node`` send ``frame`` again at every end of it, so that the bus is never idle."""
    segment.observe(lambda done: node.transmit(frame) if done.node == node.name else None)
    node.transmit(frame)


@pytest.mark.verifies("REQ_8201")
def test_a_node_alone_is_passive_after_16_tries_and_tries_on_for_ever() -> None:
    segment = bus(500_000)
    errors, node = errors_of(segment), segment.node("a")
    socket(node).send(FRAME)

    segment.world.run_until(lambda: node.controller.state is PASSIVE)
    tries = len(errors)
    segment.world.run_for(S)

    assert tries == 16
    assert (node.controller.tec, node.controller.state, node.queued, node.sent) == (128, PASSIVE, 1, 0)
    assert {(error.kind, error.bit, error.by) for error in errors} == {(WireErrorKind.ACK, 68, ())}
    assert len(errors) > 5_000


@pytest.mark.verifies("REQ_8201", "REQ_8200")
def test_a_passive_node_waits_eight_bits_more_before_it_tries_again() -> None:
    segment = bus(500_000)
    errors = errors_of(segment)
    socket(segment.node("a")).send(FRAME)

    segment.world.run_for(5 * MS)

    gaps_bits = [(after.start_ns - error.start_ns) / 2000 for error, after in pairwise(errors)]
    assert gaps_bits[:15] == [_ALONE_BITS] * 15
    assert set(gaps_bits[15:]) == {_ALONE_BITS + 8}


@pytest.mark.verifies("REQ_8201")
def test_a_node_that_comes_up_acknowledges_what_was_tried_in_vain() -> None:
    segment, log = bus(), Log()
    node, late = segment.node("a"), segment.node("late")
    late.set_up(False)
    socket(node).send(FRAME)

    segment.world.run_for(50 * MS)
    late.set_up(True)
    socket(late, log)
    segment.world.run_for(50 * MS)

    assert log.ids == [0x123]
    assert (node.sent, node.queued, node.controller.tec) == (1, 0, 127)


@pytest.mark.verifies("REQ_8200")
def test_an_invisible_listener_acknowledges_if_one_is_asked_for() -> None:
    segment = bus(acknowledge=True)
    errors, node = errors_of(segment), segment.node("a")

    socket(node).send(FRAME)
    segment.world.run_for(S)

    assert (errors, node.sent, node.controller.is_clean) == ([], 1, True)


@pytest.mark.verifies("REQ_8201")
def test_a_listen_only_node_hears_and_neither_acknowledges_nor_sends() -> None:
    segment, log = bus(), Log()
    sender, spy = segment.node("a"), segment.node("spy", listen_only=True)
    socket(spy, log)

    socket(sender).send(FRAME)
    spy.transmit(FRAME)
    segment.world.run_until(lambda: sender.controller.state is PASSIVE)
    heard_of_active = list(log.frames)
    segment.world.run_for(MS)
    heard_of_passive = list(log.frames)
    segment.node("b")
    segment.world.run_for(MS)

    assert heard_of_active == []  # each was destroyed by the sender's own error flag
    assert heard_of_passive  # a passive flag, all recessive, leaves the frame valid for who does not mind the ACK slot
    assert sender.sent == 1
    assert (spy.lost[FrameLoss.LISTEN_ONLY], spy.sent, spy.controller.is_clean) == (1, 0, True)


@pytest.mark.verifies("REQ_8201")
def test_a_sender_whose_every_frame_is_corrupted_is_passive_after_16_and_bus_off_after_32() -> None:
    segment = bus()
    errors, a, b = errors_of(segment), segment.node("a"), segment.node("b")
    states: list[ControllerState] = []
    segment.observe_errors(lambda _error: states.append(a.controller.state))
    strike(segment, "a")
    sender = socket(a)

    for number in range(3):
        sender.send(CanFrame(number, b""))
    segment.world.run_for(S)

    assert states == [ACTIVE] * 11 + [WARNING] * 4 + [PASSIVE] * 16 + [BUS_OFF]
    assert len(errors) == 32
    assert (a.queued, a.sent, a.lost[FrameLoss.BUS_OFF]) == (0, 0, 3)
    assert (b.controller.tec, b.controller.rec) == (0, 32)


@pytest.mark.verifies("REQ_8201")
def test_eight_frames_pay_for_one_error() -> None:
    segment = bus()
    strike(segment, "a", when=lambda count: count == 1)
    sender = socket(segment.node("a"))
    segment.node("b")
    tecs: list[int] = []
    segment.observe(lambda _done: tecs.append(sender.node.controller.tec))

    for number in range(10):
        sender.send(CanFrame(number, b""))
    segment.world.run_for(S)

    assert tecs == [7, 6, 5, 4, 3, 2, 1, 0, 0, 0]


@pytest.mark.verifies("REQ_8201")
@pytest.mark.parametrize(("every", "ends"), [(9, ACTIVE), (8, BUS_OFF)])
def test_more_errors_than_one_in_nine_drift_to_bus_off(every: int, ends: ControllerState) -> None:
    segment = bus()
    strike(segment, "a", when=lambda count: count % every == 0)
    node = segment.node("a")
    segment.node("b")
    _keep_sending(segment, node, FRAME)

    segment.world.run_for(S)

    assert node.controller.state is ends


@pytest.mark.verifies("REQ_8201")
def test_an_error_at_one_receiver_costs_it_nine_the_others_one_and_the_sender_eight() -> None:
    segment, log = bus(), Log()
    strike(segment, "a", ("b",), when=lambda count: count == 1)
    errors, sender = errors_of(segment), socket(segment.node("a"))
    socket(segment.node("b"), log)
    segment.node("c")

    sender.send(FRAME)
    segment.world.run_until(lambda: bool(errors))
    counters = _counters(segment)
    segment.world.run_for(MS)

    assert errors[0].by == ("b",)
    assert counters == [(8, 0), (0, 9), (0, 1)]
    assert _counters(segment) == [(7, 0), (0, 8), (0, 0)]
    assert log.ids == [0x123]


@pytest.mark.verifies("REQ_8201")
def test_a_passive_receiver_disturbs_nobody_and_loses_the_frame_alone() -> None:
    segment, logs = bus(), [Log(), Log()]
    strike(segment, "a", ("b",))
    errors, sender = errors_of(segment), socket(segment.node("a"))
    b, c = segment.node("b"), segment.node("c")
    socket(b, logs[0])
    socket(c, logs[1])
    b.controller.set_counters(0, 128)

    sender.send(FRAME)
    segment.world.run_for(MS)

    assert (errors, logs[0].ids, logs[1].ids) == ([], [], [0x123])
    assert _counters(segment) == [(0, 0), (0, 129), (0, 0)]


@pytest.mark.verifies("REQ_8201")
def test_a_passive_node_lets_others_send_before_its_next_frame() -> None:
    segment, log = bus(), Log()
    a, b = segment.node("a"), segment.node("b")
    socket(segment.node("c"), log)
    a.controller.set_counters(200, 0)

    for can_id in (0x001, 0x002):
        a.transmit(CanFrame(can_id, b""))
    b.transmit(CanFrame(0x700, b""))
    segment.world.run_for(MS)

    assert log.ids == [0x001, 0x700, 0x002]


@pytest.mark.verifies("REQ_8201")
def test_a_one_shot_node_gives_up_after_one_try() -> None:
    segment = bus()
    strike(segment, "a", when=lambda count: count == 1)
    errors, node, told = errors_of(segment), segment.node("a", one_shot=True, queue_length=2), list[int]()
    segment.node("b")
    node.want_room(lambda: told.append(segment.world.now_ns()))

    node.transmit(FRAME)
    node.transmit(CanFrame(0x200, b""))
    segment.world.run_for(MS)

    assert (len(errors), node.sent, node.lost[FrameLoss.ONE_SHOT]) == (1, 1, 1)
    assert told == [errors[0].end_ns]


@pytest.mark.verifies("REQ_8201")
def test_a_one_shot_node_gives_up_when_it_loses_arbitration() -> None:
    segment, log = bus(), Log()
    timid, other = segment.node("timid", one_shot=True), segment.node("other")
    socket(segment.node("c"), log)

    timid.transmit(CanFrame(0x200, b""))
    other.transmit(CanFrame(0x100, b""))
    segment.world.run_for(MS)

    assert (log.ids, timid.lost[FrameLoss.ONE_SHOT], timid.queued) == ([0x100], 1, 0)


@pytest.mark.verifies("REQ_8201", "REQ_8200")
def test_two_nodes_of_one_identifier_and_different_data_drive_each_other_bus_off() -> None:
    segment, log = bus(), Log()
    errors, left, right = errors_of(segment), segment.node("left"), segment.node("right")
    socket(segment.node("listener"), log)

    left.transmit(CanFrame(0x555, b"\x01"))
    right.transmit(CanFrame(0x555, b"\x03"))
    segment.world.run_for(S)

    assert (log.frames, len(errors), segment.collisions) == ([], 32, 32)
    assert (left.controller.state, right.controller.state) == (BUS_OFF, BUS_OFF)
    # 0x555 and a length of 1 bring no stuff bit before the data but after the seven dominant bits of it
    first_difference = wire_image(CanFrame(0x555, b"\x03")).starts["data"] + 6 + 1
    assert {(error.kind, error.bit) for error in errors} == {(WireErrorKind.BIT, first_difference)}
    assert segment.nodes[2].controller.rec == 32


@pytest.mark.verifies("REQ_8201", "REQ_8200")
@pytest.mark.parametrize("others_speak_fd", [True, False])
def test_a_classical_node_destroys_fd_frames_until_it_is_passive(others_speak_fd: bool) -> None:
    segment, log = bus(data_bitrate=2_000_000), Log()
    errors, a, old = errors_of(segment), segment.node("a"), segment.node("old", fd=False)
    other = segment.node("other", fd=others_speak_fd)
    socket(other, log)

    a.transmit(CanFrame(0x123, bytes(16), fd=True, brs=True))
    segment.world.run_for(100 * MS)

    destroyed = [error for error in errors if error.kind is WireErrorKind.FORM]
    assert len(destroyed) == 15  # 9 each: passive at 135
    assert old.controller.state is PASSIVE
    if others_speak_fd:
        assert (len(errors), len(log.frames), a.controller.tec) == (15, 1, 15 * 8 - 1)
        assert set(destroyed[0].by) == {"old"}
    else:  # nobody is left to acknowledge
        assert (log.frames, a.controller.tec, a.controller.state) == ([], 128, PASSIVE)


@pytest.mark.verifies("REQ_8201")
def test_a_node_of_another_bit_rate_destroys_what_the_others_say_until_it_is_passive() -> None:
    segment, log = bus(500_000), Log()
    errors, a = errors_of(segment), segment.node("a")
    socket(segment.node("b"), log)
    wrong_log = Log()
    wrong = segment.node("wrong", bitrate=250_000)
    socket(wrong, wrong_log)

    a.transmit(FRAME)
    segment.world.run_for(100 * MS)

    assert len(errors) == 15
    assert {error.by for error in errors} == {("wrong",)}
    assert (wrong.controller.state, log.ids, wrong_log.ids) == (PASSIVE, [0x123], [])


@pytest.mark.verifies("REQ_8201")
def test_a_node_of_another_bit_rate_gets_nothing_through() -> None:
    segment, log = bus(500_000), Log()
    wrong = segment.node("wrong", bitrate=250_000)
    socket(segment.node("b"), log)
    segment.node("c")

    wrong.transmit(FRAME)
    segment.world.run_for(S)

    assert (log.frames, wrong.sent) == ([], 0)
    assert wrong.controller.state is PASSIVE


@pytest.mark.verifies("REQ_8201")
def test_a_passive_sender_says_so_in_its_fd_frames() -> None:
    segment, log = bus(data_bitrate=2_000_000), Log()
    node = segment.node("a")
    socket(segment.node("b"), log)
    node.controller.set_counters(129, 0)

    for _ in range(3):
        node.transmit(CanFrame(0x123, bytes(8), fd=True))
    segment.world.run_for(MS)

    assert [frame.esi for frame in log.frames] == [True, True, False]


@pytest.mark.verifies("REQ_8201", "REQ_8200")
@pytest.mark.parametrize(
    ("bit", "kind", "length"),
    [
        (20, WireErrorKind.BIT, 6 + 6),  # a recessive bit before the flag, whatever it should have been
        (68, WireErrorKind.ACK, 6 + 1),  # a form error at the first dominant bit of the delimiter
        (75, WireErrorKind.FORM, 6 + 1),
    ],
)
def test_an_error_flag_lasts_as_long_as_its_echoes(bit: int, kind: WireErrorKind, length: int) -> None:
    image = wire_image(FRAME)
    assert kind is not WireErrorKind.BIT or image.bits[bit] == "0"

    assert flag_bits(image, kind, bit + 1, echo=True, sender_echo=False) == length
    assert flag_bits(image, kind, bit + 1, echo=False, sender_echo=False) == 6


@pytest.mark.verifies("REQ_8201", "REQ_8200")
def test_dominant_bits_before_the_flag_bring_its_echo_forward() -> None:
    image = wire_image(CanFrame(0x000, b""))  # 0 0 0 0 0 1 ...

    lengths = [flag_bits(image, WireErrorKind.FORM, flag_bit, echo=True, sender_echo=False) for flag_bit in range(1, 7)]

    assert lengths == [11, 10, 9, 8, 7, 12]


@pytest.mark.verifies("REQ_8207")
def test_destroyed_frames_count_as_load_up_to_their_intermission() -> None:
    segment = bus(500_000)
    strike(segment, "a", bit=20, when=lambda count: count <= 3)
    node = segment.node("a")
    segment.node("b")

    node.transmit(FRAME)
    segment.world.run_for(10 * MS)

    busy_bits = 3 * (21 + 12 + 8 + 3) + FRAME_BITS
    assert segment.busy_ns == busy_bits * 2000
    assert segment.load(10 * MS) == pytest.approx(busy_bits * 2000 / (10 * MS))


@pytest.mark.verifies("REQ_8201")
@pytest.mark.parametrize("bitrate", [1_000_000, 500_000, 250_000, 125_000, 83_333])
def test_recovery_on_a_quiet_bus_takes_1408_bits(bitrate: int) -> None:
    segment, log = bus(bitrate), Log()
    node = segment.node("a")
    socket(segment.node("b"), log)
    node.controller.set_counters(256, 0)

    segment.world.run_for(10 * MS)
    node.controller.restart()
    node.transmit(FRAME)
    segment.world.run_for(S)

    started_ns = log.times[0] - segment.duration_ns(FRAME_BITS - 3)
    assert started_ns - 10 * MS == pytest.approx(1408 * S / bitrate, abs=2)
    assert (node.controller.state, node.controller.tec) == (ACTIVE, 0)


@pytest.mark.verifies("REQ_8201")
def test_recovery_on_a_busy_bus_takes_128_frames() -> None:
    segment = bus(500_000)
    off, talker = segment.node("off"), segment.node("talker")
    segment.node("listener")
    _keep_sending(segment, talker, CanFrame(0x100, bytes(8)))
    segment.world.run_for(10 * MS)
    off.controller.set_counters(256, 0)
    off.controller.restart()
    ended: list[BusFrame] = []
    segment.observe(ended.append)

    segment.world.run_until(lambda: not off.controller.is_bus_off, S)

    assert len(ended) == 128
    assert segment.world.now_ns() == segment.free_at_ns


@pytest.mark.verifies("REQ_8201")
def test_a_bus_off_node_neither_sends_nor_hears_nor_acknowledges() -> None:
    segment, log = bus(), Log()
    node, off = segment.node("a"), segment.node("off")
    socket(off, log)
    off.controller.set_counters(256, 0)
    errors = errors_of(segment)

    node.transmit(FRAME)
    off.transmit(FRAME)
    segment.world.run_for(MS)

    assert errors
    assert (log.frames, node.sent, off.sent, off.lost[FrameLoss.BUS_OFF]) == ([], 0, 0, 1)


@pytest.mark.verifies("REQ_8201")
def test_the_host_restarts_a_controller_by_itself_if_told_to() -> None:
    segment, log = bus(), Log()
    node = segment.node("a", restart_ms=100)
    socket(segment.node("b"), log)
    segment.world.call_at(10 * MS, partial(node.controller.set_counters, 256, 0))
    segment.world.call_at(105 * MS, partial(node.transmit, FRAME))
    segment.world.call_at(111 * MS, partial(node.transmit, FRAME))

    segment.world.run_for(S)

    assert node.lost[FrameLoss.BUS_OFF] == 1
    assert log.times == [110 * MS + (1408 + FRAME_BITS - 3) * 2000]


@pytest.mark.verifies("REQ_8201")
def test_a_controller_that_is_not_bus_off_cannot_be_restarted() -> None:
    node = bus().node("a")

    with pytest.raises(StackError, match="EBUSY"):
        node.controller.restart()


@pytest.mark.verifies("REQ_8201")
def test_taking_the_interface_down_and_up_brings_a_bus_off_node_back_too() -> None:
    segment = bus()
    node = segment.node("a")
    segment.node("b")
    node.controller.set_counters(256, 0)

    node.set_up(False)
    with pytest.raises(StackError, match="ENETDOWN"):
        node.restart()
    node.set_up(True)
    node.transmit(FRAME)
    segment.world.run_for(MS)

    assert (node.sent, node.controller.state) == (1, ACTIVE)


@pytest.mark.verifies("REQ_8201")
def test_a_receiver_that_complains_in_the_last_bits_loses_a_frame_that_the_others_get_twice() -> None:
    segment, logs = bus(), [Log(), Log()]
    strike(segment, "a", ("b",), bit=FRAME_BITS - 3 - 2, when=lambda count: count == 1)
    node = segment.node("a")
    for name, log in zip("bc", logs, strict=True):
        socket(segment.node(name), log)

    node.transmit(FRAME)
    segment.world.run_for(MS)

    assert (len(logs[0].frames), len(logs[1].frames)) == (1, 2)
    assert logs[1].times[0] == (FRAME_BITS - 3) * 2000


@pytest.mark.verifies("REQ_8201", "REQ_8004")
def test_errors_and_states_are_in_the_trace_and_one_seed_gives_one_hash() -> None:
    def run(corrupt: bool) -> str:
        segment = bus()
        if corrupt:
            strike(segment, "a", when=lambda count: count % 3 == 0)
        node = segment.node("a", restart_ms=5)
        segment.node("b")
        _keep_sending(segment, node, FRAME)
        segment.world.run_for(50 * MS)
        return segment.world.trace.sha256()

    assert run(True) == run(True)
    assert run(True) != run(False)


@pytest.mark.verifies("REQ_8201")
@pytest.mark.parametrize(("bit", "tec"), [(6, 0), (5, 8)])
def test_a_recessive_stuff_bit_of_the_identifier_seen_dominant_costs_the_sender_nothing(bit: int, tec: int) -> None:
    segment = bus()
    errors, node = errors_of(segment), segment.node("a")
    segment.node("b")
    frame = CanFrame(0x400, b"")
    assert wire_image(frame).bits[:8] == "01000001"  # bit 7 is the stuff bit
    segment.wire_faults.append(lambda _attempt: None if errors else WireError(WireErrorKind.STUFF, bit + 1))

    node.transmit(frame)
    segment.world.run_until(lambda: bool(errors))

    assert (node.controller.tec, segment.nodes[1].controller.rec) == (tec, 1)


@pytest.mark.verifies("REQ_8201", "REQ_8202")
def test_of_two_that_collide_the_recessive_one_sees_the_bit_and_the_other_the_flag() -> None:
    segment, logs = bus(), [Log(), Log()]
    errors = errors_of(segment)
    nodes = [segment.node(name, berr_reporting=True) for name in ("dominant", "recessive")]
    segment.node("listener")
    for node, log, data in zip(nodes, logs, (b"\x0f", b"\x8f"), strict=True):
        socket(node, log).send(CanFrame(0x555, data))

    segment.world.run_until(lambda: bool(errors))

    assert errors[0].node == "recessive"
    assert [log.errors[0].data[2:4].hex() for log in logs] == ["900a", "900a"]
    assert [node.controller.tec for node in nodes] == [8, 8]


@pytest.mark.verifies("REQ_8201", "REQ_0607")
def test_whoever_waits_for_room_is_told_when_bus_off_empties_the_queue() -> None:
    segment, told = bus(), list[str]()
    node = segment.node("a", queue_length=1)
    interface = socket(node)
    interface.on_transmit_ready(lambda: told.append("room"))
    interface.send(FRAME)
    with pytest.raises(BackPressure):
        interface.send(FRAME)

    segment.world.run_for(0)
    node.controller.set_counters(256, 0)

    assert told == ["room"]


@pytest.mark.verifies("REQ_8201")
def test_a_recovery_goes_on_behind_a_cut_and_begins_anew() -> None:
    segment = bus(500_000)
    node = segment.node("a")
    segment.node("b")
    node.controller.set_counters(256, 0)
    node.controller.restart()

    segment.world.run_for(2 * MS)
    segment.stub().adopt(node)
    segment.world.run_for(2_815_000)
    before = node.controller.state
    segment.world.run_for(2_000)

    assert (before, node.controller.state) == (BUS_OFF, ACTIVE)


@pytest.mark.verifies("REQ_8201")
def test_a_held_line_breaks_the_frame_off_and_stops_recoveries() -> None:
    segment, log = bus(500_000), Log()
    node, off = segment.node("a"), segment.node("off")
    socket(segment.node("b"), log)
    off.controller.set_counters(256, 0)
    off.controller.restart()
    node.transmit(FRAME)

    segment.world.run_for(50_000)
    broken = segment.hold()
    assert broken is not None
    for sender in broken.senders:
        sender.fail()
    segment.world.run_for(5 * MS)
    held = (list(log.frames), off.controller.state)
    segment.let_go(11)
    segment.world.run_for(10 * MS)

    assert (broken.senders, held) == ([node], ([], BUS_OFF))
    # 11 recessive bits later the frame is sent again
    assert log.times == [50_000 + 5 * MS + (11 + FRAME_BITS - 3) * 2000]
    assert off.controller.state is ACTIVE
