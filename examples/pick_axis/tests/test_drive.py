"""Statuswords and controlwords, one by one; no bus, no clock."""

from __future__ import annotations

import pytest
from drive import DriveState, Mode, Power, controlword, homing_failed, homing_is_done, state_of
from images import AxisIn


@pytest.mark.verifies("PICK_0002")
@pytest.mark.parametrize(
    ("statusword", "state"),
    [
        (0x0000, DriveState.NOT_READY),
        (0x0250, DriveState.SWITCH_ON_DISABLED),
        (0x0270, DriveState.SWITCH_ON_DISABLED),
        (0x0231, DriveState.READY),
        (0x0233, DriveState.SWITCHED_ON),
        (0x1637, DriveState.ENABLED),
        (0x0217, DriveState.QUICK_STOP),
        (0x021F, DriveState.FAULT_REACTION),
        (0x023F, DriveState.FAULT_REACTION),
        (0x0218, DriveState.FAULT),
        (0x0238, DriveState.FAULT),
        (0xFFFF, DriveState.NOT_READY),
    ],
)
def test_the_state_is_read_from_the_bits_that_count(statusword: int, state: DriveState) -> None:
    assert state_of(statusword) is state


@pytest.mark.verifies("PICK_0002")
def test_a_drive_is_walked_to_operation_step_by_step() -> None:
    walk = [DriveState.SWITCH_ON_DISABLED, DriveState.READY, DriveState.SWITCHED_ON, DriveState.ENABLED]

    assert [controlword(state, Power.ON) for state in walk] == [0x06, 0x07, 0x0F, 0x0F]


@pytest.mark.verifies("PICK_0005")
@pytest.mark.parametrize("wanted", Power)
@pytest.mark.parametrize("state", [DriveState.FAULT, DriveState.FAULT_REACTION, DriveState.NOT_READY])
def test_a_drive_in_a_fault_is_asked_for_nothing(state: DriveState, wanted: Power) -> None:
    assert controlword(state, wanted) == 0


@pytest.mark.verifies("PICK_0004")
@pytest.mark.parametrize("state", [DriveState.ENABLED, DriveState.QUICK_STOP])
def test_a_drive_under_power_is_stopped_by_bit_2(state: DriveState) -> None:
    assert controlword(state, Power.QUICK_STOP) == 0x02


@pytest.mark.verifies("PICK_0002")
@pytest.mark.parametrize(
    ("mode", "statusword", "is_done", "has_failed"),
    [
        (Mode.HOMING, 0x1637, True, False),
        (Mode.HOMING, 0x0637, False, False),
        (Mode.HOMING, 0x1237, False, False),
        (Mode.HOMING, 0x2637, False, True),
        (Mode.CYCLIC_POSITION, 0x3637, False, False),
    ],
)
def test_homing_is_judged_in_homing_mode_only(mode: Mode, statusword: int, is_done: bool, has_failed: bool) -> None:
    axis = AxisIn(statusword=statusword, mode_display=mode)

    assert (homing_is_done(axis), homing_failed(axis)) == (is_done, has_failed)
