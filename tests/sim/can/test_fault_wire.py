"""Faults that destroy frames on the wire: what others see, what error counters say, and that frames come again."""

from __future__ import annotations

import re
from functools import partial

import pytest

from taktora.can import CanErrorClass, CanFrame
from taktora_sim.can import BusError, BusFrame, SimulatedCanBus, WireErrorKind
from taktora_sim.can.timing import field_position, frame_bits
from taktora_sim.faults import FaultEntry, FaultPlan, FaultPlanError
from taktora_sim.plan import ParamValue
from taktora_sim.report.drawing import signal_plot
from taktora_sim.report.page import fault_lines
from taktora_sim.report.recorder import Samples
from taktora_sim.report.scale import TimeAxis
from taktora_sim.world import World
from tests.sim.can.support import MS, Log, S, socket

_BIT_NS = 2_000


class Segment:
    """Three nodes at 500 kbit/s: ``a`` sends what it is told to, ``b`` and ``c`` listen; and a plan."""

    def __init__(self, *entries: FaultEntry, seed: int = 1) -> None:
        self.world = World(seed, plan=FaultPlan.of(*entries))
        self.bus = SimulatedCanBus(self.world, "vehicle", data_bitrate=2_000_000)
        self.a, self.b, self.c = (self.bus.node(name) for name in "abc")
        self.logs = {name: Log() for name in "abc"}
        self.sender, self.receiver, self.third = (socket(node, self.logs[node.name]) for node in self.bus.nodes)
        self.done: list[BusFrame] = []
        self.errors: list[BusError] = []
        self.bus.observe(self.done.append)
        self.bus.observe_errors(self.errors.append)

    def send(self, *frames: CanFrame, every_ns: int = MS) -> Segment:
        """Write one frame after the other to the controller, bus-off or not, and run on for a second."""
        for number, frame in enumerate(frames):
            self.world.call_at(number * every_ns, partial(self.a.transmit, frame, self.sender))
        self.world.run_for(len(frames) * every_ns + S)
        return self

    def counters(self) -> list[tuple[int, int]]:
        return [(node.controller.tec, node.controller.rec) for node in self.bus.nodes]

    def received(self, name: str = "b") -> list[int]:
        return [frame.data[0] for frame in self.logs[name].frames]


def entry(kind: str, target: str = "can/vehicle/a", **parameters: ParamValue) -> FaultEntry:
    return FaultEntry(target=target, kind=kind, at_ns=0, duration_ns=10 * S, parameters=parameters)


def _numbered(count: int, can_id: int = 0x100) -> list[CanFrame]:
    return [CanFrame(can_id, bytes((number % 256, 0x55))) for number in range(count)]


@pytest.mark.verifies("REQ_8204", "REQ_8201")
def test_a_bit_error_destroys_the_frame_which_is_sent_again() -> None:
    frame = CanFrame(0x100, b"\x01\x55")

    segment = Segment(entry("bit_error", field="data", bit=3, times=1)).send(frame)

    (error,), (done,) = segment.errors, segment.done
    assert (error.kind, error.bit, error.by) == (WireErrorKind.BIT, field_position(frame, "data") + 3, ())
    assert error.start_ns == 0
    # the flag follows the bit: 6 bits and up to 6 of echoes, then a delimiter of 8
    first_after_bit_ns = (error.bit + 1) * _BIT_NS
    assert first_after_bit_ns + 14 * _BIT_NS <= error.end_ns <= first_after_bit_ns + 20 * _BIT_NS
    assert done.start_ns == error.end_ns + 3 * _BIT_NS
    assert segment.received() == segment.received("c") == [1]
    assert segment.counters() == [(7, 0), (0, 0), (0, 0)]  # 8 for the error, 1 back for the success; 1 and back


@pytest.mark.verifies("REQ_8204", "REQ_8201")
def test_an_error_that_one_receiver_sees_costs_that_one_nine_and_the_others_one() -> None:
    frame = CanFrame(0x100, b"\x01\x55")
    segment = Segment(entry("bit_error", field="crc", bit=2, by="c", times=1))
    seen: list[list[tuple[int, int]]] = []
    segment.bus.observe_errors(lambda _: seen.append(segment.counters()))

    segment.send(frame)

    assert [error.by for error in segment.errors] == [("c",)]
    assert seen == [[(8, 0), (0, 1), (0, 9)]]
    assert segment.received() == segment.received("c") == [1]
    assert segment.counters() == [(7, 0), (0, 0), (0, 8)]


@pytest.mark.verifies("REQ_8204")
@pytest.mark.parametrize("field", ["id", "dlc", "data", "crc", "crc_delimiter", "ack_delimiter", "eof"])
def test_a_bit_error_may_be_in_any_field(field: str) -> None:
    frame = CanFrame(0x100, b"\x01\x55")

    segment = Segment(entry("bit_error", field=field, times=2)).send(frame)

    assert [error.bit for error in segment.errors] == [field_position(frame, field)] * 2
    assert segment.received() == [1]


@pytest.mark.verifies("REQ_8204")
def test_a_field_that_the_frame_has_not_leaves_it_alone() -> None:
    frames = [CanFrame(0x100, b""), CanFrame(0x100, b"\x01"), CanFrame(0x100, b"\x02")]

    segment = Segment(entry("bit_error", field="data", times=1)).send(*frames)

    assert [error.frame.data for error in segment.errors] == [b"\x01"]
    assert [frame.data for frame in segment.logs["b"].frames] == [b"", b"\x01", b"\x02"]


@pytest.mark.verifies("REQ_8204", "REQ_8200")
def test_a_bit_error_in_the_data_phase_of_can_fd_comes_at_its_rate() -> None:
    frame = CanFrame(0x100, bytes(range(64)), fd=True, brs=True)

    segment = Segment(entry("bit_error", field="data", bit=400, times=1)).send(frame)

    (error,) = segment.errors
    nominal, fast = field_position(frame, "esi"), error.bit + 1 - field_position(frame, "esi")
    flagged_ns = nominal * 2_000 + fast * 500
    assert error.bit == field_position(frame, "data") + 400
    assert flagged_ns + 14 * _BIT_NS <= error.end_ns <= flagged_ns + 20 * _BIT_NS
    assert [done.data for done in segment.logs["b"].frames] == [frame.data]


@pytest.mark.verifies("REQ_8204")
def test_wire_faults_pick_by_identifier_and_every_nth_attempt() -> None:
    frames = _numbered(6) + _numbered(6, 0x200)

    segment = Segment(entry("bit_error", ids="200", every=3)).send(*frames)

    assert {error.frame.can_id for error in segment.errors} == {0x200}
    assert len(segment.errors) == 2  # eight attempts for six frames, the third and the sixth of them destroyed
    assert len(segment.logs["b"].frames) == 12


@pytest.mark.verifies("REQ_8204", "REQ_8201")
def test_no_acknowledge_costs_the_sender_alone() -> None:
    segment = Segment(entry("no_ack", times=3)).send(CanFrame(0x100, b"\x01\x55"))

    assert [error.kind for error in segment.errors] == [WireErrorKind.ACK] * 3
    assert {error.bit for error in segment.errors} == {field_position(CanFrame(0x100, b"\x01\x55"), "ack")}
    assert segment.counters()[0] == (23, 0)
    assert segment.received() == [1]


@pytest.mark.verifies("REQ_8204", "REQ_8201")
def test_no_acknowledge_for_ever_makes_the_sender_passive_and_never_bus_off() -> None:
    segment = Segment(entry("no_ack")).send(CanFrame(0x100, b"\x01\x55"))

    assert len(segment.errors) > 1000
    assert segment.counters()[0][0] == 128
    assert segment.logs["a"].errors[-1].classes & CanErrorClass.CONTROLLER


@pytest.mark.verifies("REQ_8204", "REQ_8201")
def test_an_error_in_the_last_bit_delivers_the_frame_twice() -> None:
    segment = Segment(entry("duplicate", every=2)).send(*_numbered(4))

    # attempts: 0, 1 twice (2nd destroyed), 2, ... the 2nd, 4th and 6th attempt come again
    assert segment.received() == segment.received("c")
    assert segment.received() == [0, 1, 1, 2, 2, 3, 3]
    assert len(segment.done) == 4
    assert [error.bit for error in segment.errors] == [frame_bits(0x100, bytes((n, 0x55))) - 4 for n in (1, 2, 3)]
    assert all(rec == 0 for _, rec in segment.counters())


@pytest.mark.verifies("REQ_8204")
def test_an_error_rate_destroys_its_share_of_attempts_by_the_salt_alone() -> None:
    runs = [
        Segment(entry("error_rate", percent=10, salt=salt), seed=seed).send(*_numbered(1000), every_ns=2 * MS)
        for salt, seed in [(1, 1), (1, 2), (2, 1)]
    ]

    places = [[(error.frame.data[0], error.bit) for error in run.errors] for run in runs]
    assert places[0] == places[1] != places[2]
    assert 70 <= len(places[0]) <= 150
    assert [len(run.received()) for run in runs] == [1000] * 3
    assert len({bit for _, bit in places[0]}) > 20


@pytest.mark.verifies("REQ_8204", "REQ_8008")
def test_effects_on_the_wire_are_in_the_trace() -> None:
    quiet, noisy = (
        Segment(*entries).send(CanFrame(0x100, b"\x01")) for entries in [(), (entry("bit_error", times=1),)]
    )

    hashes = [run.world.trace.component_hashes()["can/vehicle/a"] for run in (quiet, noisy)]
    assert hashes[0] != hashes[1]


@pytest.mark.verifies("REQ_8204")
def test_when_the_last_wire_fault_is_over_the_bus_asks_nobody() -> None:
    fault = FaultEntry(target="can/vehicle/a", kind="bit_error", at_ns=0, duration_ns=1)
    segment = Segment(fault, fault, entry("no_ack", ids="7FF"))
    segment.world.run_for(1 * MS)
    during = len(segment.bus.wire_faults)

    segment.world.run_for(20 * S)

    assert (during, segment.bus.wire_faults) == (1, [])


@pytest.mark.verifies("REQ_8204")
@pytest.mark.parametrize(
    ("kind", "parameters", "message"),
    [
        ("bit_error", {"field": "checksum"}, "parameter 'field' is 'checksum', expected one of 'sof', 'id'"),
        ("bit_error", {"bit": 701}, "parameter 'bit' is 701, expected an integer from 0 up to 700 bits"),
        ("bit_error", {"by": "b, d"}, r"parameter 'by' is 'b, d', expected names of other nodes of the bus .*\(b, c\)"),
        ("bit_error", {"by": "a"}, "parameter 'by' is 'a', expected names of other nodes"),
        ("error_rate", {"percent": 101}, "parameter 'percent' is 101, expected an integer from 1 up to 100"),
        ("no_ack", {"times": -1}, "parameter 'times' is -1, expected an integer from 0 up to 1000000"),
        ("duplicate", {"ids": "999"}, "parameter 'ids' is '999', expected an identifier in hexadecimal, 0 to 7FF"),
        ("no_ack", {"id": "100"}, "no parameter 'id'; did you mean 'ids'"),
    ],
)
def test_wrong_parameters_are_refused_with_name_and_range(
    kind: str, parameters: dict[str, ParamValue], message: str
) -> None:
    segment = Segment(FaultEntry(target="can/vehicle/a", kind=kind, at_ns=0, parameters=parameters))

    with pytest.raises(FaultPlanError, match=message):
        segment.world.run_for(1)


@pytest.mark.verifies("REQ_8204")
@pytest.mark.parametrize(
    ("kind", "parameters", "why"),
    [
        ("bit_error", {"field": "crc", "bit": 99}, "none of its 3 frames has bit 99 of field crc"),
        (
            "bit_error",
            {"field": "srr", "ids": "333"},
            "none of its 3 frames has bit 0 of field srr and an identifier of 333",
        ),
        (
            "bit_error",
            {"field": "eof", "bit": 6, "by": "c"},
            "none of its 3 frames has bit 6 of field eof where it is an error for c",
        ),
        ("no_ack", {"ids": "18FEF100x, 333"}, "none of its 3 frames has an identifier of 18FEF100x, 333"),
        ("no_ack", {"every": 4}, "every 4 and percent 100 picked none of 3 frames"),
        ("drop", {"ids": "333"}, "none of its 3 frames has an identifier of 333"),
    ],
)
def test_a_fault_that_never_hits_is_told_at_the_end_of_the_run(
    kind: str, parameters: dict[str, ParamValue], why: str
) -> None:
    segment = Segment(entry(kind, "can/vehicle/a", **parameters)).send(*_numbered(3))
    segment.world.close()

    (event,) = segment.world.recorder.events
    assert (event.severity, event.text) == ("warning", f"fault {kind} at can/vehicle/a never hit a frame: {why}")


@pytest.mark.verifies("REQ_8204")
def test_a_fault_that_ends_without_a_hit_is_told_then_and_once_and_one_that_hits_is_not() -> None:
    segment = Segment(entry("no_ack", "can/vehicle/b"), entry("bit_error", times=1), entry("drop", times=1))

    segment.send(*_numbered(3)).world.run_for(20 * S)
    segment.world.close()

    told = [(event.t_ns, event.text) for event in segment.world.recorder.events]
    assert told == [(10 * S, "fault no_ack at can/vehicle/b never hit a frame: it sent none meanwhile")]


@pytest.mark.verifies("REQ_8204", "REQ_8014")
def test_a_fault_is_over_in_the_report_when_its_times_are_used_up() -> None:
    segment = Segment(entry("bit_error", times=2), entry("drop")).send(*_numbered(3))

    used, lasting = segment.world.faults.fired
    last = max(error.start_ns for error in segment.errors)
    assert len(segment.errors) == 2
    assert (used.over_ns, used.ended_ns, lasting.over_ns) == (last, None, None)
    told = [(line.t_ns, line.text) for line in fault_lines([used, lasting])]
    assert told[1] == (last, "can/vehicle/a: bit_error is over")
    axis = TimeAxis(S)
    empty = Samples("speed", "m/s")
    empty.add(0, 1.0)
    shades = [signal_plot(empty, [fault], axis) for fault in (used, lasting)]
    widths = [float(re.findall(r'class="shade" x="[^"]*" y="[^"]*" width="([^"]*)"', shade)[0]) for shade in shades]
    assert widths[0] < widths[1] / 100
