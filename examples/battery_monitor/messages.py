"""The messages the monitor reads and sends, as classes: names and fields are those of battery.dbc."""

from __future__ import annotations

import struct
from enum import IntEnum

from msgspec import Struct

__all__ = [
    "Alarm",
    "CellExtremes",
    "ContactorRequest",
    "ContactorState",
    "DriveMode",
    "LimitReason",
    "MonitorCommand",
    "PackStatus",
    "PackTemperatures",
    "VehicleMotion",
    "checksum",
    "crc8",
]


class ContactorState(IntEnum):
    """State of the main contactors, as the battery reports it."""

    OPEN = 0
    PRECHARGE = 1
    CLOSED = 2
    WELDED = 3


class DriveMode(IntEnum):
    """What the vehicle is doing."""

    PARKED = 0
    DRIVE = 1
    CHARGE = 2


class ContactorRequest(IntEnum):
    """What the monitor asks of the main contactors."""

    OPEN = 0
    KEEP_CLOSED = 1


class LimitReason(IntEnum):
    """What holds the current limits back."""

    NONE = 0
    TEMPERATURE = 1
    CELL_VOLTAGE = 2
    NOT_READY = 3
    BATTERY_LOST = 4


class PackStatus(Struct, frozen=True):
    """The pack as a whole, every 10 ms; current is positive when it is discharged."""

    PackVoltage: float
    PackCurrent: float
    StateOfCharge: float
    ContactorState: ContactorState
    AliveCounter: int
    Checksum: int


class CellExtremes(Struct, frozen=True):
    """The weakest and the strongest cell, in mV, every 100 ms."""

    CellVoltageMin: int
    CellVoltageMax: int
    CellNumberMin: int
    CellNumberMax: int


class PackTemperatures(Struct, frozen=True):
    """In degC, every 100 ms."""

    CellTempMin: float
    CellTempMax: float
    CoolantInlet: float
    CoolantOutlet: float


class VehicleMotion(Struct, frozen=True):
    """Speed in km/h, acceleration in m/s2, pedals in %, every 20 ms."""

    Speed: float
    Acceleration: float
    AcceleratorPedal: float
    BrakePedal: float
    DriveMode: DriveMode


class MonitorCommand(Struct, frozen=True):
    """What the pack may be asked for now: limits in A, fan and charge in %, every 100 ms."""

    DischargeLimit: int
    ChargeLimit: int
    FanDuty: int
    ContactorRequest: ContactorRequest
    LimitReason: LimitReason
    FilteredCharge: float


class Alarm(Struct, frozen=True):
    """What the operator is told; `code` stays the same in every language."""

    code: str
    text: str
    at_ms: int


def crc8(data: bytes) -> int:
    """Return the CRC-8 SAE J1850 of `data` (polynomial 0x1D, start and final XOR 0xFF)."""
    crc = 0xFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x1D if crc & 0x80 else crc << 1) & 0xFF
    return crc ^ 0xFF


def checksum(status: PackStatus) -> int:
    """Return the checksum that `status` ought to carry: the CRC over bytes 0 to 6 of its frame."""
    state_and_counter = status.ContactorState | status.AliveCounter << 4
    return crc8(
        struct.pack(
            "<HhHB",
            round(status.PackVoltage * 10),
            round(status.PackCurrent * 10),
            round(status.StateOfCharge * 100),
            state_and_counter,
        )
    )
