"""The monitor's decisions, one by one; no bus, no clock."""

from __future__ import annotations

import pytest
from messages import (
    CellExtremes,
    ContactorRequest,
    ContactorState,
    DriveMode,
    LimitReason,
    PackStatus,
    PackTemperatures,
    VehicleMotion,
    checksum,
)
from msgspec.structs import replace
from protection import BatteryTrust, ChargeFilter, Fan, Heat, Imbalance, Limits, limits_for

PARKED = VehicleMotion(0.0, 0.0, 0.0, 0.0, DriveMode.PARKED)
DRIVING = VehicleMotion(80.0, 0.0, 10.0, 0.0, DriveMode.DRIVE)


def status(counter: int) -> PackStatus:
    bare = PackStatus(371.2, -12.3, 55.5, ContactorState.CLOSED, counter % 16, 0)
    return replace(bare, Checksum=checksum(bare))


def cells(low_mv: int = 3700, high_mv: int = 3710) -> CellExtremes:
    return CellExtremes(low_mv, high_mv, 37, 12)


def hottest(degrees_c: float) -> PackTemperatures:
    return PackTemperatures(degrees_c - 3, degrees_c, 25.0, 30.0)


def trusted() -> BatteryTrust:
    trust = BatteryTrust()
    for counter in range(BatteryTrust.GOOD_FRAMES_NEEDED):
        trust.judge(status(counter))
    return trust


@pytest.mark.verifies("BAT_0001")
@pytest.mark.parametrize(
    ("degrees_c", "discharge_a", "charge_a"), [(45.0, 400, 350), (52.5, 200, 175), (59.9, 2, 2), (60.0, 0, 0)]
)
def test_limits_fall_with_temperature(degrees_c: float, discharge_a: int, charge_a: int) -> None:
    limits = limits_for(trusted(), cells(), hottest(degrees_c))

    reason = LimitReason.NONE if degrees_c == 45.0 else LimitReason.TEMPERATURE
    assert limits == Limits(discharge_a, charge_a, reason, ContactorRequest.KEEP_CLOSED)


@pytest.mark.verifies("BAT_0001")
@pytest.mark.parametrize(
    ("low_mv", "high_mv", "discharge_a", "charge_a"), [(3150, 3160, 200, 350), (4090, 4100, 400, 175)]
)
def test_an_empty_cell_limits_discharge_and_a_full_one_charge(
    low_mv: int, high_mv: int, discharge_a: int, charge_a: int
) -> None:
    limits = limits_for(trusted(), cells(low_mv, high_mv), hottest(30.0))

    assert limits[:3] == (discharge_a, charge_a, LimitReason.CELL_VOLTAGE)


@pytest.mark.verifies("BAT_0001")
def test_limits_are_zero_without_cell_voltages_or_temperatures() -> None:
    trust = trusted()

    limits = [limits_for(trust, None, hottest(30.0)), limits_for(trust, cells(), None)]

    assert limits == [Limits(0, 0, LimitReason.NOT_READY, ContactorRequest.KEEP_CLOSED)] * 2


@pytest.mark.verifies("BAT_0001")
def test_the_fan_has_hysteresis_and_is_quieter_while_parked() -> None:
    fan = Fan()

    duties = [fan.update(hottest(degrees_c), DRIVING) for degrees_c in (39.9, 40.0, 47.5, 36.0, 35.9, 39.9, 55.0)]

    assert duties == [0, 30, 65, 30, 0, 0, 100]
    assert fan.update(hottest(55.0), PARKED) == 60
    assert fan.update(None, PARKED) == 100


@pytest.mark.verifies("BAT_0001")
def test_heat_is_told_once_until_it_is_over() -> None:
    heat = Heat()

    told = [heat.begins(degrees_c) for degrees_c in (49.9, 50.0, 55.0, 47.0, 50.0, 46.9, 50.0)]

    assert told == [False, True, False, False, False, False, True]


@pytest.mark.verifies("BAT_0002")
def test_trust_takes_a_second_of_good_frames_on_end() -> None:
    trust = BatteryTrust()

    for counter in range(99):
        trust.judge(status(counter))
    after_99 = trust.trusted
    trust.judge(replace(status(99), Checksum=status(99).Checksum ^ 1))
    for counter in range(100, 199):
        trust.judge(status(counter))
    after_a_break = trust.trusted
    trust.judge(status(199))

    assert (after_99, after_a_break, trust.trusted) == (False, False, True)


@pytest.mark.verifies("BAT_0002")
@pytest.mark.parametrize("fault", ["wrong checksum", "counter stands still"])
def test_ten_bad_frames_on_end_lose_the_trust(fault: str) -> None:
    trust = trusted()
    bad = status(99) if fault == "counter stands still" else replace(status(100), Checksum=status(100).Checksum ^ 0x80)

    trust_after = [(trust.judge(bad), trust.trusted) for _ in range(10)]

    assert trust_after == [(False, True)] * 9 + [(False, False)]
    assert limits_for(trust, cells(), hottest(30.0)) == Limits(0, 0, LimitReason.BATTERY_LOST, ContactorRequest.OPEN)


@pytest.mark.verifies("BAT_0002")
def test_two_frames_lost_on_the_way_are_borne() -> None:
    trust = trusted()

    is_good = trust.judge(status(102))

    assert is_good
    assert trust.trusted


@pytest.mark.verifies("BAT_0002")
def test_before_the_first_second_nothing_may_be_drawn() -> None:
    limits = limits_for(BatteryTrust(), cells(), hottest(30.0))

    assert limits == Limits(0, 0, LimitReason.NOT_READY, ContactorRequest.OPEN)


@pytest.mark.verifies("BAT_0003")
def test_imbalance_needs_two_seconds_and_is_told_once() -> None:
    imbalance = Imbalance()

    told = [imbalance.begins(spread_mv) for spread_mv in [61] * 19 + [60] + [61] * 40]

    assert [number for number, begins in enumerate(told) if begins] == [39]


@pytest.mark.verifies("BAT_0003")
def test_imbalance_is_told_again_once_it_was_over() -> None:
    imbalance = Imbalance()

    told = [imbalance.begins(spread_mv) for spread_mv in [70] * 20 + [55] * 20 + [70] * 20 + [49] + [70] * 20]

    assert [number for number, begins in enumerate(told) if begins] == [19, 80]


@pytest.mark.verifies("BAT_0001")
def test_the_charge_filter_begins_at_the_first_value_and_follows_slowly() -> None:
    charge = ChargeFilter()

    values = [charge.update(None), charge.update(status(0)), charge.update(replace(status(1), StateOfCharge=65.5))]

    assert values == [0.0, 55.5, 56.0]
