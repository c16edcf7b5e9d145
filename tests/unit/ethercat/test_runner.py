"""The cycle over a scripted MainDevice: grid, counter, images, validity."""

from __future__ import annotations

import pytest

from taktora.connector.health import Degraded, Down
from taktora.ethercat.driver import AlState, Emergency, Steps
from taktora.ethercat.health import LowWorkingCounter, NotOperational
from taktora.ethercat.image import Validity
from taktora.ethercat.pdo import SubDeviceMap
from taktora.testing import ManualClock
from taktora.testing.mock_bus import CycleKind, MockBusDriver
from tests.unit.ethercat.bus_bench import COUPLER, DRIVE, INPUTS, MS, OUTPUTS, BusBench, make_plan

_NEVER, _FRESH, _STALE = Validity.NEVER_SEEN, Validity.FRESH, Validity.STALE


@pytest.mark.realizes("TEST_0209")
def test_ten_good_cycles_are_up_and_one_low_counter_ends_that() -> None:
    bench = BusBench()
    bench.run_cycles(10)
    assert bench.seen.texts == ["Up"]

    bench.mock.with_wkc_sequence([5])
    bench.run_cycles(1)

    assert bench.seen.texts == [
        "Up",
        "Degraded: working counter below expected: cycle 10, observed 5, expected 6",
    ]


@pytest.mark.realizes("TEST_0210")
def test_three_low_counters_in_a_row_give_one_degraded_that_names_the_cycle() -> None:
    bench = BusBench(make_plan(degraded_after_cycles=3))
    bench.mock.with_wkc_sequence([6, 5, 5, 6, 5, 4, 3, 2])

    bench.run_cycles(8)

    assert bench.seen.healths[1:] == [Degraded(LowWorkingCounter(cycle_index=6, observed=3, expected=6))]


@pytest.mark.verifies("REQ_0319")
def test_a_matching_counter_after_low_ones_is_up_again() -> None:
    bench = BusBench()
    bench.mock.with_wkc_sequence([6, 0, 0, 6, 7])

    bench.run_cycles(5)

    assert [text.partition(":")[0] for text in bench.seen.texts] == ["Up", "Degraded", "Up"]
    assert [record.wc_ok for record in bench.seen.records] == [True, False, False, True, True]


@pytest.mark.verifies("REQ_0316", "REQ_0317")
def test_cycles_lie_on_the_absolute_grid_however_long_the_round_takes() -> None:
    bench = BusBench(wire_round_ns=300_000, clock=ManualClock(5 * MS))

    bench.run_cycles(4)

    assert [record.at_ns for record in bench.seen.records] == [5 * MS + k * MS + 300_000 for k in range(4)]
    assert [record.phase_wait_ns for record in bench.seen.records] == [None, 700_000, 700_000, 700_000]
    assert {record.wire_round_ns for record in bench.seen.records} == {300_000}


@pytest.mark.realizes("TEST_0207")
def test_a_stall_of_five_periods_gives_one_exchange_and_no_burst() -> None:
    bench = BusBench()
    bench.run_cycles(2)

    bench.clock.advance(5 * MS + 400_000)
    bench.run_cycles(2)

    assert [record.at_ns for record in bench.seen.records] == [0, MS, 7 * MS + 400_000, 8 * MS]
    assert bench.mock.cycle_calls == 4
    assert bench.runner.scheduler.skipped_slots == 5


@pytest.mark.verifies("REQ_0266", "REQ_0317")
def test_a_round_longer_than_the_cycle_leaves_no_wait_and_skips_slots() -> None:
    bench = BusBench(wire_round_ns=2_300_000)

    bench.run_cycles(3)

    assert [record.phase_wait_ns for record in bench.seen.records] == [None, None, None]
    assert [record.at_ns for record in bench.seen.records] == [2_300_000, 4_600_000, 6_900_000]
    assert bench.runner.scheduler.skipped_slots == 3  # the fourth round has begun


@pytest.mark.verifies("REQ_0265", "REQ_0267")
def test_the_index_advances_on_every_attempt_failing_ones_included() -> None:
    bench = BusBench()
    bench.mock.with_wkc_sequence([6, "no frame came back", 6])

    bench.run_cycles(3)

    assert [record.cycle_index for record in bench.seen.records] == [0, 1, 2]
    assert [record.wire_round_ns for record in bench.seen.records] == [0, None, 0]
    assert [record.wc_ok for record in bench.seen.records] == [True, False, True]


@pytest.mark.realizes("TEST_0858")
def test_a_failed_bring_up_is_a_final_down_with_the_drivers_words() -> None:
    mock = MockBusDriver().failing_bring_up("no SubDevice answers on eth1")
    bench = BusBench(driver=mock)

    bench.run_cycles(1)

    assert bench.has_ended
    assert bench.seen.texts == ["Down: bring-up failed: no SubDevice answers on eth1"]
    assert [health.is_final for health in bench.seen.healths if isinstance(health, Down)] == [True]
    assert (mock.cycle_calls, mock.recover_calls) == (0, 0)


@pytest.mark.verifies("REQ_0314", "REQ_0842")
@pytest.mark.parametrize(
    ("size", "text"), [(None, "the SubDevice is not on the bus"), (2, "2 bytes on the bus and 6 in the PDO map")]
)
def test_a_mapped_subdevice_that_is_not_there_or_differs_in_size_ends_the_bring_up(size: int | None, text: str) -> None:
    mock = MockBusDriver()
    if size is not None:
        mock.with_subdevice_outputs(0x1003, bytes(size))
    bench = BusBench(make_plan(DRIVE), driver=mock)

    bench.run_cycles(1)

    assert bench.seen.texts[0].startswith("Down: bring-up failed: outputs of 'drive' (0x1003): ")
    assert text in bench.seen.texts[0]


@pytest.mark.verifies("REQ_0327", "REQ_8151")
def test_a_record_holds_all_inputs_of_one_cycle_in_bus_order() -> None:
    bench = BusBench()
    bench.mock.with_subdevice_inputs(0x1001, b"\x5a").with_subdevice_inputs(0x1003, b"abcdef")
    bench.run_cycles(1)
    bench.mock.set_inputs(0x1001, b"\xa5")
    bench.run_cycles(1)

    assert [record.inputs for record in bench.seen.records] == [b"\x5aabcdef", b"\xa5abcdef"]
    assert {record.validity for record in bench.seen.records} == {bytes((_FRESH,)) * 4}


@pytest.mark.verifies("REQ_0264", "REQ_8151")
def test_the_survey_says_whose_inputs_are_stale_and_they_keep_their_last_good_value() -> None:
    bench = BusBench()
    bench.mock.with_subdevice_inputs(0x1001, b"\x11").with_subdevice_inputs(0x1003, b"abcdef")
    bench.run_cycles(1)

    bench.mock.set_state(0x1003, AlState.NONE)
    bench.mock.set_inputs(0x1001, b"\x22")
    bench.mock.set_inputs(0x1003, b"\0\0\0\0\0\0")
    bench.mock.with_wkc_sequence([3])
    bench.run_cycles(1)

    assert bench.seen.records[-1].inputs == b"\x22abcdef"
    assert bench.seen.records[-1].validity == bytes((_FRESH, _FRESH, _FRESH, _STALE))


@pytest.mark.verifies("REQ_0320", "REQ_8510")
def test_a_low_counter_says_who_is_missing_and_how() -> None:
    bench = BusBench()
    bench.run_cycles(1)

    bench.mock.set_state(0x1001, AlState.NONE)
    bench.mock.set_state(0x1003, AlState.INIT, 0x1B)
    bench.mock.with_wkc_sequence([2])
    bench.run_cycles(1)

    who = "'inputs' (0x1001) does not answer, 'drive' (0x1003) is in INIT instead of OP, AL status code 0x001b"
    assert bench.seen.texts[1].startswith("Degraded: working counter below expected: cycle 1, observed 2, expected 6; ")
    assert bench.seen.texts[1].endswith(f"; {who}")


@pytest.mark.verifies("REQ_0320", "REQ_8510")
def test_a_low_counter_that_no_state_explains_names_nobody() -> None:
    bench = BusBench()
    bench.run_cycles(1)

    bench.mock.with_wkc_sequence([2])
    bench.run_cycles(1)

    assert bench.seen.texts[1] == "Degraded: working counter below expected: cycle 1, observed 2, expected 6"


@pytest.mark.verifies("REQ_0264")
def test_a_low_counter_that_nobody_explains_makes_all_inputs_stale() -> None:
    bench = BusBench()
    bench.run_cycles(1)

    bench.mock.with_wkc_sequence([5])
    bench.run_cycles(1)

    assert bench.seen.records[-1].validity == bytes((_FRESH, _STALE, _FRESH, _STALE))


@pytest.mark.verifies("REQ_0264", "REQ_0317")
def test_a_row_of_equal_low_counters_is_looked_into_when_it_changes_and_every_100_ms() -> None:
    bench = BusBench()
    bench.run_cycles(1)
    bench.mock.set_state(0x1003, AlState.NONE)
    bench.mock.with_wkc_sequence([3] * 50 + [2] * 50)

    bench.run_cycles(50)
    looks_at_three = bench.mock.survey_calls
    bench.run_cycles(50)

    assert (looks_at_three, bench.mock.survey_calls) == (1, 2)
    assert {record.validity for record in bench.seen.records[1:]} == {bytes((_FRESH, _FRESH, _FRESH, _STALE))}
    bench.mock.with_default_cycle_wkc(2)
    bench.run_cycles(250)
    assert 3 <= bench.mock.survey_calls <= 6


@pytest.mark.verifies("REQ_0264")
def test_who_vanishes_while_another_one_is_asked_back_to_op_is_not_taken_for_fresh() -> None:
    clock = ManualClock()
    plan = make_plan(INPUTS, DRIVE)
    slow = _SlowRequests.for_plan(plan, clock=clock)
    bench = BusBench(plan, slow, clock=clock)
    bench.run_cycles(1)
    bench.mock.set_state(0x1003, AlState.SAFE_OP)
    bench.mock.with_default_cycle_wkc(2)
    bench.run_cycles(120)
    assert bench.seen.records[-1].validity == bytes((_FRESH, _STALE))

    asked = len(slow.state_requests)
    bench.mock.set_state(0x1001, AlState.NONE)
    bench.mock.with_default_cycle_wkc(1)
    bench.run_cycles(20)

    assert (asked, len(slow.state_requests)) == (1, 1), "the request is still under way"
    assert {record.validity for record in bench.seen.records[-20:]} == {bytes((_STALE, _STALE))}
    bench.mock.set_state(0x1001, AlState.OP)
    bench.mock.set_state(0x1003, AlState.OP)
    bench.mock.with_default_cycle_wkc(4)
    bench.run_cycles(300)
    assert bench.seen.records[-1].validity == bytes((_FRESH, _FRESH))
    assert bench.seen.texts[-1] == "Up"


class _SlowRequests(MockBusDriver):
    """A request for a state takes 200 ms."""

    def request_state(self, address: int, state: AlState) -> Steps[bool]:
        self.state_requests.append((address, state))
        for _ in range(100):
            yield self._clock.now_ns() + 2 * MS  # type: ignore[union-attr]
        return False


@pytest.mark.verifies("REQ_0264")
def test_inputs_that_never_came_are_not_stale_but_never_seen() -> None:
    bench = BusBench()
    bench.mock.set_state(0x1003, AlState.NONE)
    bench.mock.with_wkc_sequence([3, "lost"])

    bench.run_cycles(2)

    assert [record.validity for record in bench.seen.records] == [
        bytes((_FRESH, _FRESH, _FRESH, _NEVER)),
        bytes((_STALE, _STALE, _STALE, _NEVER)),
    ]


@pytest.mark.verifies("REQ_0329", "REQ_0264")
def test_a_subdevice_outside_of_the_map_changes_nobodys_place() -> None:
    outer = SubDeviceMap(address=0x1002, label="outer", position=2, input_bits=8)
    bench = BusBench(make_plan(SubDeviceMap(address=0x1000, label="inner", position=0, input_bits=8), outer))
    bench.run_cycles(1)

    bench.mock.set_state(0x1002, AlState.NONE)
    bench.mock.with_wkc_sequence([1])
    bench.run_cycles(1)

    assert bench.seen.records[-1].validity == bytes((_FRESH, _STALE))


@pytest.mark.realizes("TEST_0224")
@pytest.mark.parametrize(("clocks", "kind"), [(True, CycleKind.DC), (False, CycleKind.PLAIN)])
def test_the_kind_of_exchange_follows_the_dc_option(clocks: bool, kind: CycleKind) -> None:
    mock = MockBusDriver(distributed_clocks=clocks).with_subdevice_inputs(0x1001, b"\0")
    bench = BusBench(make_plan(INPUTS), driver=mock)

    bench.run_cycles(3)

    assert list(mock.cycle_kinds) == [kind] * 3


@pytest.mark.verifies("REQ_0319")
def test_a_subdevice_that_fell_back_with_a_good_counter_is_found_and_brought_back() -> None:
    bench = BusBench()
    bench.run_cycles(1)
    bench.mock.set_state(0x1003, AlState.SAFE_OP, 0x001B)

    bench.run_until_ns(1_100 * MS)

    assert bench.mock.state_requests == [(0x1003, AlState.OP)]
    assert bench.seen.texts == ["Up"]


@pytest.mark.verifies("REQ_0319")
def test_a_subdevice_that_refuses_op_degrades_and_is_asked_again_until_it_is_there() -> None:
    bench = BusBench()
    bench.mock.with_refused_state(0x1003, AlState.OP)
    bench.run_cycles(1)
    bench.mock.set_state(0x1003, AlState.SAFE_OP, 0x001B)
    bench.run_until_ns(1_250 * MS)
    assert bench.seen.healths[1:] == [Degraded(NotOperational("'drive' (0x1003)", AlState.SAFE_OP, 0x001B))]

    bench.mock.set_state(0x1003, AlState.OP)
    bench.run_until_ns(1_350 * MS)

    assert bench.mock.state_requests == [(0x1003, AlState.OP)] * 3
    assert bench.seen.texts[2:] == ["Up"]


@pytest.mark.verifies("REQ_0319")
def test_a_subdevice_without_process_data_that_vanishes_is_missed_too() -> None:
    bench = BusBench()
    bench.run_cycles(1)
    bench.mock.set_state(0x1000, AlState.NONE)

    bench.run_until_ns(1_100 * MS)

    assert bench.seen.texts == ["Up", "Degraded: 'coupler' (0x1000) does not answer"]


@pytest.mark.verifies("REQ_0319", "REQ_0320")
def test_a_short_absence_below_the_threshold_is_never_degraded() -> None:
    bench = BusBench(make_plan(degraded_after_cycles=3), wire_round_ns=100_000)
    bench.run_cycles(1)
    bench.mock.set_state(0x1003, AlState.NONE)
    bench.mock.with_wkc_sequence([3, 3])
    bench.run_cycles(2)

    bench.mock.set_state(0x1003, AlState.OP)
    bench.run_cycles(10)

    assert bench.seen.texts == ["Up"]
    assert bench.seen.records[-1].validity == bytes((_FRESH,)) * 4


@pytest.mark.verifies("REQ_0319")
def test_after_a_low_counter_the_bus_is_up_only_once_the_missing_one_is_in_op_again() -> None:
    bench = BusBench(wire_round_ns=100_000)
    bench.run_cycles(1)
    bench.mock.set_state(0x1003, AlState.NONE)
    bench.mock.with_wkc_sequence([3, 3])
    bench.run_cycles(2)

    bench.mock.set_state(0x1003, AlState.SAFE_OP, 0x001B)
    bench.run_cycles(1)
    kinds_at_first_match = [text.partition(":")[0] for text in bench.seen.texts]
    bench.run_cycles(1)

    assert kinds_at_first_match == ["Up", "Degraded"]
    assert bench.seen.texts[-1] == "Up"
    assert bench.mock.state_requests == [(0x1003, AlState.OP)]


@pytest.mark.verifies("REQ_0331", "REQ_0319")
def test_a_counter_that_stays_low_for_the_timeout_has_the_segment_brought_up_again() -> None:
    bench = BusBench(make_plan(low_counter_timeout_ns=20 * MS))
    bench.run_cycles(1)
    bench.mock.set_state(0x1003, AlState.NONE)
    bench.mock.with_default_cycle_wkc(3)

    bench.run_until_ns(25 * MS)

    assert bench.mock.recover_calls == 0
    assert bench.seen.records[-1].at_ns == 21 * MS
    bench.run_until_ns(32 * MS)
    assert bench.mock.recover_calls == 1
    assert [text.partition(":")[0] for text in bench.seen.texts][:4] == ["Up", "Degraded", "Connecting", "Up"]


@pytest.mark.verifies("REQ_0319", "REQ_0331")
def test_one_that_fell_back_with_a_low_counter_is_asked_to_op_before_the_segment_is_brought_up_again() -> None:
    bench = BusBench(make_plan(low_counter_timeout_ns=1000 * MS))
    bench.run_cycles(5)
    bench.mock.set_state(0x1003, AlState.SAFE_OP)
    bench.mock.with_default_cycle_wkc(4)

    bench.run_cycles(200)

    assert bench.mock.state_requests[:1] == [(0x1003, AlState.OP)]
    assert bench.mock.recover_calls == 0


@pytest.mark.verifies("REQ_0331")
def test_emergencies_reach_the_listener() -> None:
    bench = BusBench()
    emergency = Emergency(3, 0x7300, 0x20, b"\1\2\3\4\5")
    bench.mock.emit_emergency(emergency)

    bench.run_cycles(1)

    assert bench.seen.emergencies == [emergency]


@pytest.mark.verifies("REQ_0331")
def test_a_survey_that_fails_leaves_the_cycle_standing() -> None:
    bench = BusBench()
    bench.run_cycles(1)
    bench.mock.with_failing_surveys()
    bench.mock.with_wkc_sequence([3, 6])

    bench.run_cycles(2)

    assert bench.seen.records[1].validity == bytes((_FRESH, _STALE, _FRESH, _STALE))
    assert bench.seen.texts[-1] == "Up"


@pytest.mark.verifies("REQ_0329")
def test_the_expectation_is_the_one_that_the_bring_up_found() -> None:
    bench = BusBench(make_plan(COUPLER, OUTPUTS))
    bench.mock.with_bring_up(12, 9)

    bench.run_cycles(1)
    bench.mock.with_default_cycle_wkc(11)
    bench.run_cycles(1)

    assert bench.seen.texts[-1].endswith("observed 11, expected 12")


@pytest.mark.verifies("REQ_0312")
def test_a_second_bring_up_of_one_driver_ends_in_down() -> None:
    bench = BusBench()
    bench.run_cycles(1)

    again = BusBench(bench.plan, driver=bench.mock)
    again.run_cycles(1)

    assert again.seen.texts[0].startswith("Down: bring-up failed: MockBusDriver.bring_up: called a second time")


@pytest.mark.verifies("REQ_0331")
def test_an_error_that_no_rule_foresees_is_not_swallowed() -> None:
    class Broken(MockBusDriver):
        def outputs(self, address: int) -> memoryview | None:
            raise ZeroDivisionError(address)

    bench = BusBench(make_plan(OUTPUTS), driver=Broken())

    with pytest.raises(ZeroDivisionError):
        bench.run_cycles(1)
