"""Faults of a node itself and of its line: what its sockets, its counters and the others see."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest

from taktora.can import CanErrorClass, CanFrame, CanIfaceState
from taktora_sim.can import ControllerState, WireErrorKind
from taktora_sim.can.timing import frame_bits
from taktora_sim.faults import FaultEntry, FaultPlanError
from taktora_sim.plan import ParamValue
from tests.sim.can.support import MS, Log, S, socket
from tests.sim.can.test_fault_wire import Segment

_BIT_NS = 2_000
_A, _B, _C = "can/vehicle/a", "can/vehicle/b", "can/vehicle/c"


def _at_once(kind: str, target: str = _A, at_ns: int = 0, **parameters: ParamValue) -> FaultEntry:
    return FaultEntry(target=target, kind=kind, at_ns=at_ns, parameters=parameters)


def _lasting(
    kind: str, target: str = _A, at_ns: int = 0, duration_ns: int = 10 * S, **parameters: ParamValue
) -> FaultEntry:
    return FaultEntry(target=target, kind=kind, at_ns=at_ns, duration_ns=duration_ns, parameters=parameters)


def _numbered(count: int, can_id: int = 0x100) -> list[CanFrame]:
    return [CanFrame(can_id, bytes((number % 256,))) for number in range(count)]


@pytest.mark.verifies("REQ_8204", "REQ_8201")
@pytest.mark.parametrize(
    ("kind", "parameters", "state", "tec", "detail"),
    [
        ("warning", {}, ControllerState.ERROR_WARNING, 96, 0x08),
        ("warning", {"tec": 127}, ControllerState.ERROR_WARNING, 127, 0x08),
        ("passive", {}, ControllerState.ERROR_PASSIVE, 128, 0x20),
        ("set_counters", {"tec": 10, "rec": 130}, ControllerState.ERROR_PASSIVE, 10, 0x10),
    ],
)
def test_counters_are_set_and_the_sockets_hear_of_the_state(
    kind: str, parameters: dict[str, ParamValue], state: ControllerState, tec: int, detail: int
) -> None:
    segment = Segment(FaultEntry(target=_A, kind=kind, at_ns=0, parameters=parameters))

    segment.world.run_for(MS)

    (error,) = segment.logs["a"].errors
    assert (segment.a.controller.state, segment.a.controller.tec) == (state, tec)
    assert CanErrorClass.CONTROLLER in error.classes
    assert (error.data[1], error.data[6]) == (detail, tec)
    assert segment.logs["b"].errors == []


@pytest.mark.verifies("REQ_8204", "REQ_8201")
def test_bus_off_loses_what_is_sent_until_the_restart_of_the_plan() -> None:
    segment = Segment(_at_once("bus_off", at_ns=3_500_000), _at_once("restart", at_ns=8_500_000))

    segment.send(*_numbered(20))

    # recovery takes 128 times 11 bits, 2.816 ms, from the restart on: frame 12 is the first of the new time
    classes = [error.classes for error in segment.logs["a"].errors]
    assert segment.received() == [0, 1, 2, 3, *range(9, 20)]
    assert CanErrorClass.BUS_OFF in classes[0]
    assert CanErrorClass.RESTARTED in classes[1]
    assert segment.a.controller.state is ControllerState.ERROR_ACTIVE


@pytest.mark.verifies("REQ_8204")
def test_a_restart_of_a_controller_that_is_not_bus_off_does_nothing() -> None:
    segment = Segment(_at_once("restart")).send(*_numbered(3))

    assert segment.received() == [0, 1, 2]
    assert segment.logs["a"].errors == []


@pytest.mark.verifies("REQ_8204", "REQ_8202")
def test_an_overflow_loses_frames_of_one_controller_each_with_an_error_frame() -> None:
    segment = Segment(_at_once("rx_overflow", _B, at_ns=2 * MS - 1, frames=3)).send(*_numbered(8))

    errors = segment.logs["b"].errors
    assert segment.received("b") == [0, 1, 5, 6, 7]
    assert segment.received("c") == list(range(8))
    assert [error.data[1] for error in errors] == [0x01] * 3
    assert all(CanErrorClass.CONTROLLER in error.classes for error in errors)


class _Counting(Log):
    """A listener that may lose frames."""

    def __init__(self) -> None:
        super().__init__()
        self.lost = 0

    def on_receive_overflow(self, lost: int) -> None:
        self.lost += lost


@pytest.mark.verifies("REQ_8204", "REQ_8202")
def test_an_overflow_of_a_socket_loses_frames_and_tells_the_number_with_the_next_one() -> None:
    fault = _at_once("rx_overflow", _C, at_ns=2 * MS - 1, frames=3, at="socket")
    segment = Segment(fault, _lasting("reader_pause", _C, at_ns=4 * MS - 1, duration_ns=10 * MS))
    log = _Counting()
    segment.bus.node("d")
    on_d = socket(segment.bus.nodes[-1], log)
    told: list[tuple[int, int]] = []
    segment.world.call_at(12 * MS - 1, lambda: on_d.overflow(2))
    segment.bus.observe(lambda done: told.append((done.frame.data[0], log.lost)))
    on_c = _Counting()
    segment.third.open(on_c)

    segment.send(*_numbered(18))

    assert [frame.data[0] for frame in on_c.frames] == [0, 1, *range(5, 18)]
    assert on_c.lost == 3
    assert [frame.data[0] for frame in log.frames] == [*range(12), *range(14, 18)]
    assert [lost for number, lost in told if number in (13, 14, 15)] == [0, 0, 2]
    assert segment.received("b") == list(range(18))


@pytest.mark.verifies("REQ_8204", "REQ_8202")
def test_a_reader_that_pauses_loses_what_its_buffer_does_not_hold_and_is_told_how_much() -> None:
    segment = Segment(_lasting("reader_pause", _B, at_ns=2 * MS - 1, duration_ns=10 * MS))
    log = _Counting()
    segment.b.interface(receive_buffer=4).open(log)

    segment.send(*_numbered(20))

    assert [frame.data[0] for frame in log.frames] == [0, 1, 2, 3, 4, 5, *range(12, 20)]
    assert log.lost == 6
    assert segment.received("b") == list(range(20))  # its other socket keeps everything


@pytest.mark.verifies("REQ_8204")
def test_an_interface_that_goes_down_is_seen_by_its_sockets_and_by_nobody_else() -> None:
    segment = Segment(_lasting("interface_down", _B, at_ns=2 * MS - 1, duration_ns=4 * MS))
    segment.world.call_at(6 * MS - 1, lambda: segment.receiver.open(segment.logs["b"]))

    segment.send(*_numbered(8))

    assert [state for state, _ in segment.logs["b"].states] == [CanIfaceState.DOWN]
    assert segment.received("b") == [0, 1, 6, 7]
    assert segment.received("c") == list(range(8))
    assert segment.b.is_up


@pytest.mark.verifies("REQ_8204", "REQ_8201")
def test_a_node_of_the_wrong_bit_rate_disturbs_the_others_until_it_is_right_again() -> None:
    segment = Segment(_lasting("wrong_bitrate", _B, at_ns=2 * MS - 1, duration_ns=4 * MS, bitrate=250_000))

    segment.send(*_numbered(10))

    assert segment.errors
    assert {error.by for error in segment.errors} == {("b",)}
    assert all(2 * MS <= error.start_ns < 6 * MS for error in segment.errors)
    assert segment.received("c") == list(range(10))
    assert segment.b.bitrate == 500_000


@pytest.mark.verifies("REQ_8204", "REQ_8201")
def test_frames_of_the_wrong_bit_rate_make_everybody_passive_and_then_find_no_acknowledge() -> None:
    segment = Segment(_lasting("wrong_bitrate", _A, bitrate=125_000)).send(CanFrame(0x100, b"\x01"))

    kinds = [error.kind for error in segment.errors]
    # 9 for the receivers at each error: passive after 15 of them, and their flags disturb nobody any more
    assert kinds[:16] == [WireErrorKind.STUFF] * 15 + [WireErrorKind.ACK]
    assert set(kinds[16:]) == {WireErrorKind.ACK}
    assert segment.counters()[0] == (128, 0)
    assert segment.received("b") == segment.received("c") == []


@pytest.mark.verifies("REQ_8204", "REQ_8200")
def test_a_babbling_node_starves_lower_priorities_as_on_a_wire() -> None:
    segment = Segment(_lasting("babble", _B, at_ns=5 * MS, duration_ns=20 * MS, id="050"))
    other = socket(segment.c)
    for number in range(30):
        segment.world.call_at(number * MS, partial(segment.sender.send, CanFrame(0x049, bytes((number,)))))
    segment.world.call_at(6 * MS, partial(other.send, CanFrame(0x051, b"\xff")))

    segment.world.run_for(S)

    during = [done for done in segment.done if 5 * MS <= done.start_ns < 25 * MS]
    urgent = [done for done in segment.done if done.frame.can_id == 0x049]
    starved = next(done for done in segment.done if done.frame.can_id == 0x051)
    assert [done.frame.data[0] for done in urgent] == list(range(30))
    assert {done.frame.can_id for done in during} == {0x049, 0x050}
    assert 25 * MS <= starved.start_ns < 26 * MS
    # back to back: each start of frame is the end of the intermission before it
    assert all(later.start_ns == before.end_ns + 3 * _BIT_NS for before, later in pairwise(during))
    # the longest wait of a higher priority is one frame
    longest_ns = frame_bits(0x050, bytes(8)) * _BIT_NS
    assert all(done.start_ns - number * MS <= longest_ns for number, done in enumerate(urgent))


@pytest.mark.verifies("REQ_8204")
def test_a_node_may_babble_with_a_period_and_never_has_more_than_one_such_frame_waiting() -> None:
    segment = Segment(
        _lasting("babble", _B, duration_ns=100 * MS, id="1ABCDEFx", length=2, period_ns=10 * MS),
        _lasting("babble", _B, at_ns=30 * MS, duration_ns=40 * MS, id="0"),
    )

    segment.world.run_for(S)

    starts = [done.start_ns for done in segment.done if done.frame.extended]
    assert segment.b.queued == 0
    assert {done.frame.data for done in segment.done if done.frame.extended} == {bytes(2)}
    assert starts[:3] == [0, 10 * MS, 20 * MS]
    assert starts[-2:] == [80 * MS, 90 * MS]


@pytest.mark.verifies("REQ_8204", "REQ_8201")
def test_a_babbling_node_goes_on_after_its_interface_was_down() -> None:
    segment = Segment(_lasting("babble", _B, id="7"), _lasting("interface_down", _B, at_ns=MS, duration_ns=9 * MS))

    segment.world.run_for(20 * MS)

    starts = [done.start_ns for done in segment.done]
    assert not [start for start in starts if 2 * MS < start < 10 * MS]
    assert len([start for start in starts if start >= 10 * MS]) > 30


@pytest.mark.verifies("REQ_8204", "REQ_8201")
def test_a_node_with_a_broken_line_reaches_bus_off_by_the_counts_of_the_standard_and_nobody_else_minds() -> None:
    segment = Segment(_lasting("open_wire"))
    states: list[tuple[int, int]] = []
    segment.logs["a"].on_error_frame = lambda frame: states.append((frame.data[1], frame.data[6]))  # type: ignore[method-assign]
    socket(segment.c).send(CanFrame(0x200, b"\x2a"))

    segment.send(CanFrame(0x100, b"\x01"))

    # 12 failed attempts to the warning limit, 16 to error-passive, 32 to bus-off
    assert [tec for _, tec in states[:2]] == [96, 128]
    assert segment.a.controller.tec == 256
    assert segment.a.controller.is_bus_off
    assert segment.logs["b"].ids == [0x200]
    assert segment.errors == []
    assert [(node.controller.tec, node.controller.rec) for node in (segment.b, segment.c)] == [(0, 0), (0, 0)]
    assert segment.logs["a"].frames == []


@pytest.mark.verifies("REQ_8204", "REQ_8201")
def test_a_node_that_hears_only_itself_is_error_passive_for_ever() -> None:
    segment = Segment(_lasting("open_wire", hears="itself")).send(CanFrame(0x100, b"\x01"))

    assert segment.a.controller.tec == 128
    assert segment.a.controller.state is ControllerState.ERROR_PASSIVE
    assert segment.a.queued == 1


@pytest.mark.verifies("REQ_8204", "REQ_8201")
def test_a_mended_line_lets_the_node_send_what_waits() -> None:
    segment = Segment(_lasting("open_wire", at_ns=2 * MS - 1, duration_ns=5 * MS, hears="itself"))

    segment.send(*_numbered(6))

    assert segment.received("b") == [0, 1, 2, 3, 4, 5]
    assert next(frame.timestamp_ns for frame in segment.logs["b"].frames if frame.data == b"\x02") > 7 * MS
    assert segment.a.bus is segment.bus
    assert segment.bus.nodes == (segment.a, segment.b, segment.c)


@pytest.mark.verifies("REQ_8204", "REQ_8201")
def test_a_node_whose_line_breaks_while_it_sends_ends_that_frame() -> None:
    during_ns = 20 * _BIT_NS
    segment = Segment(_lasting("open_wire", at_ns=during_ns, duration_ns=MS)).send(CanFrame(0x100, b"\x01"))

    assert segment.received("b") == [1]
    assert segment.errors == []


@pytest.mark.verifies("REQ_8204", "REQ_8201")
@pytest.mark.parametrize("bitrate", [500_000])
def test_a_bus_off_node_recovers_on_the_mended_line_after_128_times_11_bits(bitrate: int) -> None:
    segment = Segment(_lasting("open_wire", duration_ns=50 * MS), _at_once("restart", at_ns=60 * MS))
    back: list[int] = []
    segment.world.call_at(0, partial(segment.sender.send, CanFrame(0x100, b"\x01")))
    segment.world.call_at(60 * MS, partial(segment.world.call_soon, lambda: segment.sender.send(CanFrame(1, b"\x02"))))
    segment.bus.observe(lambda done: back.append(done.start_ns))

    segment.world.run_for(S)

    assert back == [60 * MS + 128 * 11 * 1_000_000_000 // bitrate]
    assert segment.received("b") == [2]
    assert segment.counters()[0] == (0, 0)


@pytest.mark.verifies("REQ_8204", "REQ_8201")
def test_a_line_held_dominant_stops_everybody_and_lets_receive_counters_rise() -> None:
    segment = Segment(_lasting("stuck_dominant", _B, at_ns=2 * MS - 1, duration_ns=5 * MS))

    segment.send(*_numbered(10))

    held = [done for done in segment.done if 2 * MS - 1 <= done.start_ns < 7 * MS]
    passive = [any(error.data[1] & 0x10 for error in segment.logs[name].errors) for name in "abc"]
    assert held == []
    assert segment.received("c") == list(range(10))
    assert passive == [True, True, True]
    assert all(node.controller.tec == 0 for node in segment.bus.nodes)
    first = next(done for done in segment.done if done.start_ns > 2 * MS)
    assert first.start_ns == 7 * MS - 1 + 11 * _BIT_NS


@pytest.mark.verifies("REQ_8204", "REQ_8201")
def test_a_line_held_dominant_in_a_frame_takes_its_transmitter_to_bus_off_by_the_rule_of_eights() -> None:
    segment = Segment(_lasting("stuck_dominant", _B, at_ns=20 * _BIT_NS + 1, duration_ns=5 * MS))
    off: list[int] = []
    segment.logs["a"].on_error_frame = lambda frame: (  # type: ignore[method-assign]
        off.append(frame.timestamp_ns) if CanErrorClass.BUS_OFF in frame.classes else None
    )

    segment.send(CanFrame(0x100, b"\x01"), CanFrame(0x100, b"\x02"), every_ns=10 * MS)

    # 8 for the bit error, 8 after 14 dominant bits from the flag on, then 8 each 8 bits: the 32nd eight is bus-off
    (off_ns,) = off
    rest_ns = off_ns - 20 * _BIT_NS - (14 + 30 * 8) * _BIT_NS
    assert 0 < rest_ns <= 6 * _BIT_NS  # until the next recessive bit was due
    assert segment.received("b") == []


@pytest.mark.verifies("REQ_8204")
def test_two_nodes_may_hold_the_line_one_after_the_other() -> None:
    segment = Segment(
        _lasting("stuck_dominant", _A, at_ns=2 * MS - 1, duration_ns=4 * MS),
        _lasting("stuck_dominant", _B, at_ns=4 * MS - 1, duration_ns=4 * MS),
    ).send(*_numbered(10))

    assert not [done for done in segment.done if 2 * MS <= done.start_ns < 8 * MS - 1]
    assert segment.received("c") == list(range(10))


@pytest.mark.verifies("REQ_8204")
@pytest.mark.parametrize(
    ("kind", "parameters", "message"),
    [
        ("warning", {"tec": 128}, "parameter 'tec' is 128, expected an integer from 96 up to 127"),
        ("passive", {"tec": 256}, "parameter 'tec' is 256, expected an integer from 128 up to 255"),
        ("set_counters", {"rec": 256}, "parameter 'rec' is 256, expected an integer from 0 up to 255"),
        ("rx_overflow", {"frames": 0}, "parameter 'frames' is 0, expected an integer from 1"),
        ("babble", {"id": "800"}, "parameter 'id' is '800', expected an identifier in hexadecimal, 0 to 7FF"),
        ("babble", {"id": 0}, "parameter 'id' is 0, expected a text in quotes"),
        ("babble", {"length": 9}, "parameter 'length' is 9, expected an integer from 0 up to 8 bytes"),
        ("wrong_bitrate", {}, "needs the parameter 'bitrate', an integer from 1000 up to 1000000 bit/s"),
        ("open_wire", {"hears": "all"}, "parameter 'hears' is 'all', expected one of 'nothing', 'itself'"),
    ],
)
def test_wrong_parameters_are_refused_with_name_and_range(
    kind: str, parameters: dict[str, ParamValue], message: str
) -> None:
    segment = Segment(FaultEntry(target=_A, kind=kind, at_ns=0, parameters=parameters))

    with pytest.raises(FaultPlanError, match=message):
        segment.world.run_for(1)
