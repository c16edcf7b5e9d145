"""How a drive is spoken to by CiA 402 (IEC 61800-7-201): states, controlwords and homing, free of any I/O."""

from __future__ import annotations

from enum import Enum, IntEnum

from images import AxisIn

__all__ = ["DriveState", "Mode", "Power", "controlword", "homing_failed", "homing_is_done", "state_of"]

FAULT_RESET = 0x80
HOMING_START = 0x10
HOMING_ATTAINED = 0x1400
"""Bits 10 and 12 of the statusword: at the reference, and at rest."""
HOMING_ERROR = 0x2000


class Mode(IntEnum):
    """Modes of operation (0x6060)."""

    HOMING = 6
    CYCLIC_POSITION = 8


class DriveState(IntEnum):
    """States of a drive, with their bits of the statusword."""

    NOT_READY = 0x00
    SWITCH_ON_DISABLED = 0x40
    READY = 0x21
    SWITCHED_ON = 0x23
    ENABLED = 0x27
    QUICK_STOP = 0x07
    FAULT_REACTION = 0x0F
    FAULT = 0x08

    @property
    def is_fault(self) -> bool:
        return self in (DriveState.FAULT, DriveState.FAULT_REACTION)


class Power(Enum):
    """What is wanted of the drive's power stage."""

    OFF = 0
    ON = 1
    QUICK_STOP = 2


_WITH_BIT_5 = (DriveState.READY, DriveState.SWITCHED_ON, DriveState.ENABLED, DriveState.QUICK_STOP)
_WITHOUT_BIT_5 = (DriveState.SWITCH_ON_DISABLED, DriveState.FAULT_REACTION, DriveState.FAULT)
_TOWARDS_ON = {
    DriveState.SWITCH_ON_DISABLED: 0x06,
    DriveState.READY: 0x07,
    DriveState.SWITCHED_ON: 0x0F,
    DriveState.ENABLED: 0x0F,
}


def state_of(statusword: int) -> DriveState:
    """Return the state that a statusword tells; what no state has is `NOT_READY`."""
    # Bit 5 tells quick stop from operation; it means nothing in a fault and before the start-up is over.
    for mask, states in ((0x6F, _WITH_BIT_5), (0x4F, _WITHOUT_BIT_5)):
        if statusword & mask in states:
            return DriveState(statusword & mask)
    return DriveState.NOT_READY


def controlword(state: DriveState, wanted: Power) -> int:
    """Return the controlword for the next step from `state` to what is wanted, faults aside."""
    if wanted is Power.ON:
        return _TOWARDS_ON.get(state, 0x00)
    if wanted is Power.QUICK_STOP and state in (DriveState.ENABLED, DriveState.QUICK_STOP):
        return 0x02
    return 0x00


def homing_is_done(axis: AxisIn) -> bool:
    """Return whether the drive has found its reference; what it says before it is in homing mode does not count."""
    return axis.mode_display == Mode.HOMING and axis.statusword & HOMING_ATTAINED == HOMING_ATTAINED


def homing_failed(axis: AxisIn) -> bool:
    """Return whether the drive has given up the search."""
    return axis.mode_display == Mode.HOMING and bool(axis.statusword & HOMING_ERROR)
