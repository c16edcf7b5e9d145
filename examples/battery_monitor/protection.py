"""What the monitor decides, free of any I/O: trust in the battery's frames, limits, fan, heat and imbalance."""

from __future__ import annotations

from typing import NamedTuple

from messages import (
    CellExtremes,
    ContactorRequest,
    DriveMode,
    LimitReason,
    PackStatus,
    PackTemperatures,
    VehicleMotion,
    checksum,
)

__all__ = ["BatteryTrust", "ChargeFilter", "Fan", "Heat", "Imbalance", "Limits", "limits_for"]

DISCHARGE_MAX_A = 400
CHARGE_MAX_A = 350


class BatteryTrust:
    """Whether PackStatus can be relied on: checksum right, counter moving, and both for a second on end."""

    GOOD_FRAMES_NEEDED = 100
    BAD_FRAMES_ALLOWED = 9
    COUNTER_STEPS = (1, 2, 3)
    """One or two frames may get lost on the way; a counter that stands still is a sender that hangs."""

    def __init__(self) -> None:
        self.trusted = False
        self.was_trusted = False
        self._good_in_a_row = 0
        self._bad_in_a_row = 0
        self._counter: int | None = None

    def judge(self, status: PackStatus) -> bool:
        """Take one frame into account; return whether it is good."""
        is_good = self._is_good(status)
        self._good_in_a_row = self._good_in_a_row + 1 if is_good else 0
        self._bad_in_a_row = 0 if is_good else self._bad_in_a_row + 1
        if self._good_in_a_row >= self.GOOD_FRAMES_NEEDED:
            self.trusted = self.was_trusted = True
        elif self._bad_in_a_row > self.BAD_FRAMES_ALLOWED:
            self.lose()
        return is_good

    def lose(self) -> None:
        """Trust no longer: the frames stay away, or are bad."""
        self.trusted = False
        self._good_in_a_row = 0

    def _is_good(self, status: PackStatus) -> bool:
        if status.Checksum != checksum(status):
            return False
        last, self._counter = self._counter, status.AliveCounter
        return last is None or (status.AliveCounter - last) % 16 in self.COUNTER_STEPS


class ChargeFilter:
    """Smooths the state of charge, which the battery reports with noise; time constant 20 calls."""

    GAIN = 0.05

    def __init__(self) -> None:
        self._percent: float | None = None

    def update(self, status: PackStatus | None) -> float:
        """Return the filtered state of charge in %, to 0.01; 0 before the first frame."""
        if status is None:
            return 0.0
        if self._percent is None:
            self._percent = status.StateOfCharge
        self._percent += (status.StateOfCharge - self._percent) * self.GAIN
        return round(self._percent, 2)


class Limits(NamedTuple):
    """What the pack may be asked for, in A, and what holds it back."""

    discharge_a: int
    charge_a: int
    reason: LimitReason
    contactor: ContactorRequest


def limits_for(trust: BatteryTrust, cells: CellExtremes | None, temperatures: PackTemperatures | None) -> Limits:
    """Return the limits; `None` stands for a message that is missing or too old to rely on."""
    if not trust.trusted:
        reason = LimitReason.BATTERY_LOST if trust.was_trusted else LimitReason.NOT_READY
        return Limits(0, 0, reason, ContactorRequest.OPEN)
    if cells is None or temperatures is None:
        return Limits(0, 0, LimitReason.NOT_READY, ContactorRequest.KEEP_CLOSED)
    by_heat = _share(temperatures.CellTempMax, full_at=45, none_at=60)
    discharge = _share(cells.CellVoltageMin, full_at=3300, none_at=3000)
    charge = _share(cells.CellVoltageMax, full_at=4050, none_at=4150)
    return Limits(
        discharge_a=int(DISCHARGE_MAX_A * min(by_heat, discharge)),
        charge_a=int(CHARGE_MAX_A * min(by_heat, charge)),
        reason=_reason(by_heat, min(discharge, charge)),
        contactor=ContactorRequest.KEEP_CLOSED,
    )


def _share(value: float, *, full_at: float, none_at: float) -> float:
    """Return 1 up to `full_at`, 0 from `none_at` on and a straight line between; either may be the larger one."""
    return min(1.0, max(0.0, (none_at - value) / (none_at - full_at)))


def _reason(by_heat: float, by_voltage: float) -> LimitReason:
    if min(by_heat, by_voltage) >= 1:
        return LimitReason.NONE
    return LimitReason.TEMPERATURE if by_heat <= by_voltage else LimitReason.CELL_VOLTAGE


class Fan:
    """Cools from 40 degC on until below 36 degC, the harder the hotter; quieter while the car is parked."""

    ON_AT_C, OFF_BELOW_C, FULL_AT_C = 40.0, 36.0, 55.0
    DUTY_MIN, DUTY_MAX, DUTY_PARKED = 30, 100, 60

    def __init__(self) -> None:
        self._is_on = False

    def update(self, temperatures: PackTemperatures | None, motion: VehicleMotion | None) -> int:
        """Return the duty in %; full when the temperature is not known."""
        if temperatures is None:
            return self.DUTY_MAX
        hottest_c = temperatures.CellTempMax
        self._is_on = hottest_c >= (self.OFF_BELOW_C if self._is_on else self.ON_AT_C)
        if not self._is_on:
            return 0
        rise = 1 - _share(hottest_c, full_at=self.ON_AT_C, none_at=self.FULL_AT_C)
        duty = round(self.DUTY_MIN + rise * (self.DUTY_MAX - self.DUTY_MIN))
        is_parked = motion is not None and motion.DriveMode is DriveMode.PARKED
        return min(duty, self.DUTY_PARKED) if is_parked else duty


class Heat:
    """Too hot at 50 degC; over below 47 degC."""

    ALARM_AT_C, OVER_BELOW_C = 50.0, 47.0

    def __init__(self) -> None:
        self.present = False

    def begins(self, hottest_c: float) -> bool:
        """Take one reading into account; return whether it has just become too hot."""
        was_present = self.present
        self.present = hottest_c >= (self.OVER_BELOW_C if was_present else self.ALARM_AT_C)
        return self.present and not was_present


class Imbalance:
    """Cells have drifted apart: more than 60 mV in 20 readings on end (2 s); over below 50 mV."""

    ALARM_ABOVE_MV, OVER_BELOW_MV, READINGS_NEEDED = 60, 50, 20

    def __init__(self) -> None:
        self.present = False
        self._in_a_row = 0

    def begins(self, spread_mv: int) -> bool:
        """Take one reading into account; return whether the imbalance has just been found."""
        self._in_a_row = self._in_a_row + 1 if spread_mv > self.ALARM_ABOVE_MV else 0
        was_present = self.present
        self.present = spread_mv >= self.OVER_BELOW_MV if was_present else self._in_a_row >= self.READINGS_NEEDED
        return self.present and not was_present
