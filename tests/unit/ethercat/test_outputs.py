"""What goes out with each exchange: staged outputs, safe values, ageing with SAFE-OP and back, copies."""

from __future__ import annotations

import pytest

from taktora.connector.health import Degraded
from taktora.errors import ConfigurationError
from taktora.ethercat.driver import AlState
from taktora.ethercat.health import AgedOutputs
from taktora.ethercat.image import Validity
from taktora.ethercat.local import OutputStage
from taktora.ethercat.options import SliceCopy
from taktora.ethercat.output_age import OutputAges
from taktora.ethercat.routing import EthercatRouting, PdoDirection
from taktora.testing import ManualClock
from tests.unit.ethercat.bus_bench import DRIVE, INPUTS, MS, OUTPUTS, BusBench, make_plan

_SAFE = b"\x08", b"\x06\0\0\0\0\0"
_LIVE = b"\x03\x0f\0\1\2\3\4"


def _sent(bench: BusBench) -> tuple[bytes, bytes]:
    return bench.mock.snapshot_outputs(0x1002), bench.mock.snapshot_outputs(0x1003)


@pytest.mark.verifies("REQ_8150")
def test_what_nobody_has_renewed_since_the_bring_up_is_safe_and_stays_in_op() -> None:
    bench = BusBench()

    bench.run_cycles(50)

    assert _sent(bench) == _SAFE
    assert bench.mock.state_requests == []
    assert bench.seen.texts == ["Up"]


@pytest.mark.verifies("REQ_8150", "REQ_0326")
def test_renewed_outputs_go_out_with_the_next_exchange() -> None:
    bench = BusBench()

    bench.run_cycles(1)

    bench.run_cycles(1, renew=_LIVE)

    assert _sent(bench) == (_LIVE[:1], _LIVE[1:])


@pytest.mark.verifies("REQ_8150", "REQ_0313")
def test_what_was_staged_before_op_is_not_sent() -> None:
    bench = BusBench()

    bench.run_cycles(1, renew=_LIVE)

    assert _sent(bench) == _SAFE


@pytest.mark.verifies("REQ_8150")
def test_outputs_of_one_subdevice_are_taken_over_while_another_goes_on_ageing() -> None:
    bench = BusBench()
    bench.run_cycles(1)
    bench.run_cycles(1, renew=_LIVE)

    bench.renew(b"\x01\x0f\0\x11\x11\x11\x11", "outputs")
    bench.run_cycles(1)

    assert _sent(bench) == (b"\x01", b"\x0f\0\x11\x11\x11\x11")
    for _ in range(3):
        bench.renew(b"\x01\x0f\0\x11\x11\x11\x11", "outputs")
        bench.run_cycles(1)
    assert _sent(bench) == (b"\x01", _SAFE[1])


@pytest.mark.verifies("REQ_8150")
def test_past_the_largest_age_the_safe_values_go_out_then_safe_op_then_degraded_with_the_age() -> None:
    bench = BusBench()
    bench.run_cycles(1)
    bench.run_cycles(1, renew=_LIVE)

    bench.run_cycles(3)
    assert _sent(bench) == (_LIVE[:1], _LIVE[1:])
    assert bench.mock.state_requests == []
    bench.run_cycles(1)
    assert _sent(bench) == _SAFE
    bench.run_cycles(1)

    assert bench.mock.state_requests == [(0x1002, AlState.SAFE_OP), (0x1003, AlState.SAFE_OP)]
    assert bench.seen.healths[1:] == [Degraded(AgedOutputs(("'outputs' (0x1002)", "'drive' (0x1003)"), 4))]
    assert "not renewed for 4 cycles" in bench.seen.texts[1]


@pytest.mark.verifies("REQ_8150")
def test_the_safe_values_are_on_the_bus_before_safe_op_is_asked_for() -> None:
    bench = BusBench(wire_round_ns=100_000)
    bench.run_cycles(1)
    bench.run_cycles(1, renew=_LIVE)

    while not bench.mock.state_requests:
        bench.run_cycles(1)

    assert _sent(bench) == _SAFE
    assert bench.mock.cycle_calls >= 5


@pytest.mark.verifies("REQ_8150")
def test_a_subdevice_held_in_safe_op_that_counts_no_outputs_gives_no_low_counter_and_fresh_inputs() -> None:
    bench = BusBench(make_plan(INPUTS, DRIVE))
    bench.run_cycles(1)
    bench.run_cycles(1, renew=_LIVE[1:])
    bench.run_cycles(4)

    bench.mock.with_default_cycle_wkc(2)
    bench.run_cycles(20)

    assert all(record.wc_ok for record in bench.seen.records)
    assert bench.seen.records[-1].validity == b"\1\1"
    assert len(bench.seen.healths) == 2


@pytest.mark.verifies("REQ_8150")
def test_renewed_again_it_goes_back_to_op_and_the_bus_is_up() -> None:
    bench = BusBench()
    bench.run_cycles(1)
    bench.run_cycles(1, renew=_LIVE)
    bench.run_cycles(20)

    bench.run_cycles(3, renew=_LIVE)

    assert _sent(bench) == (_LIVE[:1], _LIVE[1:])
    assert bench.mock.state_requests[2:] == [(0x1002, AlState.OP), (0x1003, AlState.OP)]
    assert bench.seen.texts[-1] == "Up"
    assert len(bench.seen.texts) == 3


@pytest.mark.verifies("REQ_8150", "REQ_0319")
def test_renewed_while_safe_op_is_being_asked_for_the_bus_is_up_once_op_is_back() -> None:
    bench = BusBench(make_plan(DRIVE), wire_round_ns=600_000)
    bench.run_cycles(1)
    bench.run_cycles(1, renew=_LIVE[1:])
    while not bench.mock.state_requests:
        bench.run_cycles(1)

    bench.run_cycles(20, renew=_LIVE[1:])

    assert bench.mock.state_requests == [(0x1003, AlState.SAFE_OP), (0x1003, AlState.OP)]
    assert [health.kind.value for health in bench.seen.healths] == ["Up", "Degraded", "Up"]


@pytest.mark.verifies("REQ_8150")
def test_the_bus_is_not_up_while_one_of_two_is_still_aged() -> None:
    bench = BusBench()
    bench.run_cycles(1)
    bench.run_cycles(1, renew=_LIVE)
    bench.run_cycles(10)

    for _ in range(3):
        bench.renew(_LIVE, "drive")
        bench.run_cycles(1)

    assert [text.partition(":")[0] for text in bench.seen.texts] == ["Up", "Degraded"]
    assert bench.mock.state_requests[2:] == [(0x1003, AlState.OP)]


@pytest.mark.verifies("REQ_8150")
def test_a_refused_return_to_op_stays_degraded_and_is_tried_again() -> None:
    bench = BusBench(make_plan(DRIVE))
    bench.mock.with_refused_state(0x1003, AlState.OP)
    bench.run_cycles(1)
    bench.run_cycles(1, renew=_LIVE[1:])
    bench.run_cycles(6)

    bench.run_cycles(250, renew=_LIVE[1:])

    assert bench.mock.state_requests == [(0x1003, AlState.SAFE_OP)] + [(0x1003, AlState.OP)] * 3
    assert [text.partition(":")[0] for text in bench.seen.texts] == ["Up", "Degraded"]


@pytest.mark.verifies("REQ_8150", "REQ_0331")
def test_what_was_staged_during_an_outage_never_goes_out() -> None:
    bench = BusBench()
    bench.run_cycles(1)
    bench.run_cycles(1, renew=_LIVE)
    bench.mock.with_wkc_sequence(["lost"])
    bench.run_cycles(1, renew=_LIVE)

    bench.renew(b"\x07\x07\x07\x07\x07\x07\x07", "outputs", "drive")
    bench.run_cycles(10)

    assert _sent(bench) == _SAFE
    assert bench.seen.texts[-1] == "Up"
    bench.run_cycles(1, renew=_LIVE)
    assert _sent(bench) == (_LIVE[:1], _LIVE[1:])


@pytest.mark.verifies("REQ_8150", "REQ_0331")
def test_outputs_are_safe_while_the_segment_is_brought_up_again() -> None:
    bench = BusBench()
    bench.run_cycles(1)
    bench.run_cycles(1, renew=_LIVE)
    bench.mock.with_wkc_sequence(["lost"])

    bench.run_cycles(1, renew=_LIVE)

    assert bench.clock.now_ns() == 12 * MS
    assert _sent(bench) == _SAFE


@pytest.mark.verifies("REQ_8154")
def test_copies_go_out_one_cycle_after_they_came_in_whatever_the_application_does() -> None:
    copy = SliceCopy(EthercatRouting(0x1001, PdoDirection.TX, 1, 3), EthercatRouting(0x1003, PdoDirection.RX, 12, 3))
    bench = BusBench(make_plan(INPUTS, OUTPUTS, DRIVE, copies=(copy,)))
    bench.mock.with_subdevice_inputs(0x1001, b"\x0a")

    bench.run_cycles(1)
    before = bench.mock.snapshot_outputs(0x1003)
    bench.run_cycles(1)

    assert before == _SAFE[1]
    assert bench.mock.snapshot_outputs(0x1003) == b"\x06\x50\0\0\0\0"
    bench.run_cycles(1, renew=b"\x01\xff\x8f\xff\xff\xff\xff")
    assert bench.mock.snapshot_outputs(0x1003) == b"\xff\xdf\xff\xff\xff\xff"


@pytest.mark.verifies("REQ_8154")
def test_a_copy_carries_the_last_good_inputs_while_its_source_is_silent() -> None:
    copy = SliceCopy(EthercatRouting(0x1001, PdoDirection.TX, 0, 8), EthercatRouting(0x1003, PdoDirection.RX, 8, 8))
    bench = BusBench(make_plan(INPUTS, DRIVE, copies=(copy,)))
    bench.mock.with_subdevice_inputs(0x1001, b"\x42")
    bench.run_cycles(2)

    bench.mock.set_state(0x1001, AlState.NONE)
    bench.mock.set_inputs(0x1001, b"\0")
    bench.mock.with_default_cycle_wkc(3)
    bench.run_cycles(3)

    assert bench.mock.snapshot_outputs(0x1003)[1] == 0x42


@pytest.mark.verifies("REQ_8150")
def test_ages_count_cycles_and_only_for_those_with_outputs() -> None:
    ages = OutputAges(count=3, with_outputs=(1, 2), max_age_cycles=2)

    moves = [ages.advance(marks) for marks in (b"\1\1\0", b"\0\0\0", b"\0\0\0", b"\0\0\0", b"\0\0\0", b"\0\1\0")]

    assert moves == [False, False, False, True, False, True]
    assert (ages.age(0), ages.age(1), ages.age(2)) == (None, 0, None)
    assert ages.live == b"\0\1\0"


@pytest.mark.verifies("REQ_8150")
def test_renewals_staged_twice_in_one_cycle_add_up_and_the_last_image_counts() -> None:
    stage = OutputStage(make_plan(OUTPUTS, DRIVE).layout())
    image, marks = bytearray(7), bytearray(2)

    stage.stage(bytes(7), b"\1\0")
    stage.stage(_LIVE, b"\0\1")
    stage.collect(image, marks)

    assert (bytes(image), bytes(marks)) == (_LIVE, b"\1\1")
    stage.collect(image, marks)
    assert (bytes(image), bytes(marks)) == (_LIVE, b"\0\0")


@pytest.mark.verifies("REQ_8150")
@pytest.mark.parametrize(("image", "marks"), [(b"\0", b"\0\0"), (bytes(7), b"\0")])
def test_an_image_or_marks_of_another_size_are_refused(image: bytes, marks: bytes) -> None:
    stage = OutputStage(make_plan(OUTPUTS, DRIVE).layout())

    with pytest.raises(ConfigurationError, match="the layout has 7 bytes and 2 SubDevices"):
        stage.stage(image, marks)


@pytest.mark.verifies("REQ_8150")
def test_a_look_at_the_states_under_way_does_not_hold_up_safe_op() -> None:
    bench = BusBench(make_plan(DRIVE), wire_round_ns=600_000)
    bench.run_cycles(1)
    while bench.mock.survey_calls == 0:
        bench.run_cycles(1, renew=_LIVE[1:])  # the look that comes round once a second

    bench.run_cycles(8)

    assert bench.mock.state_requests == [(0x1003, AlState.SAFE_OP)]


@pytest.mark.verifies("REQ_8150")
def test_a_long_list_of_aged_subdevices_is_cut() -> None:
    reason = AgedOutputs(tuple(f"'d{number}'" for number in range(6)), 4)

    assert str(reason).startswith("outputs of 'd0', 'd1', 'd2', 'd3' and 2 more not renewed for 4 cycles")


@pytest.mark.verifies("REQ_8150", "REQ_0264", "REQ_0319")
def test_who_vanishes_is_missed_although_one_held_in_safe_op_goes_on_counting_its_outputs() -> None:
    bench = BusBench(make_plan(INPUTS, DRIVE))
    bench.run_cycles(1)
    bench.run_cycles(1, renew=_LIVE[1:])
    bench.run_cycles(20)  # held in SAFE-OP, and the counter is still 4 of 4

    bench.mock.set_state(0x1001, AlState.NONE)
    bench.mock.with_wkc_sequence([3] * 5)
    bench.run_cycles(5)

    assert {record.validity for record in bench.seen.records[-5:]} == {bytes((Validity.STALE, Validity.FRESH))}
    assert not any(record.wc_ok for record in bench.seen.records[-5:])

    bench.mock.set_state(0x1001, AlState.OP)
    bench.run_cycles(10, renew=_LIVE[1:])

    assert bench.seen.records[-1].validity == bytes((Validity.FRESH, Validity.FRESH))
    assert bench.seen.texts[-1] == "Up"


@pytest.mark.verifies("REQ_8150", "REQ_0264")
def test_who_was_missing_stays_stale_when_the_outputs_of_all_grow_old() -> None:
    bench = BusBench(make_plan(INPUTS, DRIVE))
    bench.run_cycles(1)
    bench.run_cycles(1, renew=_LIVE[1:])
    bench.mock.set_state(0x1001, AlState.NONE)
    bench.mock.with_default_cycle_wkc(3)
    bench.run_cycles(2, renew=_LIVE[1:])

    bench.run_cycles(40)

    assert {record.validity for record in bench.seen.records[-42:]} == {bytes((Validity.STALE, Validity.FRESH))}


@pytest.mark.verifies("REQ_8150")
def test_a_bus_that_does_not_keep_up_makes_outputs_safe_in_time_all_the_same() -> None:
    clock = ManualClock()
    bench = BusBench(clock=clock, wire_round_ns=20 * MS)
    bench.run_cycles(2)
    bench.run_cycles(1, renew=_LIVE)
    renewed_ns = clock.now_ns()

    bench.run_until_ns(renewed_ns + bench.plan.ftti_ns // 2)

    assert _sent(bench) == _SAFE
    bench.run_cycles(5, renew=_LIVE)
    assert _sent(bench) == (_LIVE[:1], _LIVE[1:])
