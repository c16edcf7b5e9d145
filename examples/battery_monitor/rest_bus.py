"""Plays the rest of the vehicle in real time, with python-can and cantools, and records it; it does not use taktora.

`recordings/drive.log` was made by this program. It stands in for the battery management system, the vehicle control
unit, the fast charger and three controllers nobody gave us a DBC for. On a kernel CAN interface it serves as the
other side of `python app.py --bench bench.can0.toml`.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import time
from bisect import bisect_right
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import can
import cantools
from messages import crc8

HERE = Path(__file__).parent
DBC = cantools.database.can.Database()
DBC.add_dbc_file(HERE / "battery.dbc")

SPEED_KMH = ((0, 0), (6, 0), (18, 100), (30, 100), (38, 0), (58, 0), (66, 70))
"""The drive: time in s and speed. Fast charging from 40 s to 56 s."""

MASS_KG, DRAG_N, DRAG_N_S2_M2, EFFICIENCY = 1800, 150.0, 0.4, 0.9
CELLS, RESISTANCE_OHM, AMBIENT_C = 96, 0.06, 24.0
CAPACITY_AS, HEAT_J_K, COOLING_W_K = 6 * 3600.0, 4600.0, 40.0
"""Charge and heat of the pack in time lapse: about a tenth and a hundredth of a real one, so that a minute shows it."""


class Drive:
    """Vehicle, pack and charger as functions of time; `advance` integrates up to now."""

    def __init__(self, seed: int) -> None:
        self.noise = random.Random(seed)
        self.time_s = self.speed_m_s = self.acceleration = self.current_a = 0.0
        self.charge = 0.55
        self.temp_c = 28.0

    def advance(self, until_s: float) -> None:
        while self.time_s < until_s:
            self._step(min(0.01, until_s - self.time_s))

    def _step(self, step_s: float) -> None:
        self.time_s += step_s
        self.speed_m_s, self.acceleration = _motion(self.time_s)
        self.current_a += (self._wanted_a() - self.current_a) * min(1.0, step_s / 0.15)
        self.charge -= self.current_a * step_s / CAPACITY_AS
        heat_w = self.current_a**2 * RESISTANCE_OHM - COOLING_W_K * (self.temp_c - AMBIENT_C)
        self.temp_c += heat_w * step_s / HEAT_J_K

    def _wanted_a(self) -> float:
        if self.contactor != 2:
            return 0.0
        if self.charging:
            return -min(300.0, max(0.0, (4.14 - self.cell_open_v) * CELLS / RESISTANCE_OHM))
        force_n = MASS_KG * self.acceleration + (DRAG_N + DRAG_N_S2_M2 * self.speed_m_s**2) * (self.speed_m_s > 0.1)
        power_w = force_n * self.speed_m_s
        power_w = power_w / EFFICIENCY if power_w > 0 else max(-75_000.0, power_w * EFFICIENCY)
        return (power_w + 800) / (self.cell_open_v * CELLS)

    @property
    def charging(self) -> bool:
        return 40 <= self.time_s < 56

    @property
    def plugged(self) -> bool:
        return 39 <= self.time_s < 57

    @property
    def contactor(self) -> int:
        return 0 if self.time_s < 1 else 1 if self.time_s < 2 else 2

    @property
    def cell_open_v(self) -> float:
        return 3.4 + 0.7 * self.charge

    @property
    def cell_v(self) -> float:
        return self.cell_open_v - self.current_a * RESISTANCE_OHM / CELLS

    @property
    def spread_mv(self) -> float:
        """One cell falls behind: slowly at first, faster from 26 s on."""
        return 9 + 2.6 * max(0.0, self.time_s - 26)


def _motion(time_s: float) -> tuple[float, float]:
    """Return speed in m/s and acceleration in m/s2."""
    last = SPEED_KMH[min(len(SPEED_KMH) - 1, bisect_right(SPEED_KMH, (time_s, math.inf))) - 1]
    after = SPEED_KMH[min(len(SPEED_KMH) - 1, bisect_right(SPEED_KMH, (time_s, math.inf)))]
    if after[0] == last[0]:
        return after[1] / 3.6, 0.0
    acceleration = (after[1] - last[1]) / 3.6 / (after[0] - last[0])
    return last[1] / 3.6 + acceleration * (time_s - last[0]), acceleration


Encoder = Callable[[Drive, int], bytes]
"""Returns the data of the n-th frame of a message."""


def pack_status(drive: Drive, count: int) -> bytes:
    voltage = drive.cell_v * CELLS + drive.noise.gauss(0, 0.05)
    data = DBC.encode_message(
        "PackStatus",
        {
            "PackVoltage": voltage if drive.contactor else 0.0,
            "PackCurrent": drive.current_a + drive.noise.gauss(0, 0.3),
            "StateOfCharge": min(100.0, max(0.0, 100 * drive.charge + drive.noise.gauss(0, 0.15))),
            "ContactorState": drive.contactor,
            "AliveCounter": count % 16,
            "Checksum": 0,
        },
    )
    return data[:7] + bytes((crc8(data[:7]),))


def cell_extremes(drive: Drive, _count: int) -> bytes:
    mean_mv = drive.cell_v * 1000 + drive.noise.gauss(0, 0.7)
    return DBC.encode_message(
        "CellExtremes",
        {
            "CellVoltageMin": round(mean_mv - 0.75 * drive.spread_mv),
            "CellVoltageMax": round(mean_mv + 0.25 * drive.spread_mv),
            "CellNumberMin": 37,
            "CellNumberMax": drive.noise.choice((12, 58, 71)),
        },
    )


def pack_temperatures(drive: Drive, _count: int) -> bytes:
    warming = drive.temp_c - AMBIENT_C
    return DBC.encode_message(
        "PackTemperatures",
        {
            "CellTempMin": drive.temp_c - 1.5 - 0.05 * warming,
            "CellTempMax": drive.temp_c + 0.8 + 0.08 * warming + drive.noise.gauss(0, 0.05),
            "CoolantInlet": AMBIENT_C + 0.2 * warming,
            "CoolantOutlet": AMBIENT_C + 0.5 * warming,
        },
    )


def module_status(drive: Drive, count: int) -> bytes:
    module = count % 4
    return DBC.encode_message(
        "ModuleStatus",
        {
            "Module": module,
            f"Module{module}Voltage": drive.cell_v * CELLS / 4 + drive.noise.gauss(0, 0.02),
            f"Module{module}Temp": round(drive.temp_c) - module % 2,
            f"Module{module}Balancing": 0b0101_0100_0010 if drive.spread_mv > 40 and module != 1 else 0,
        },
    )


def vehicle_motion(drive: Drive, _count: int) -> bytes:
    return DBC.encode_message(
        "VehicleMotion",
        {
            "Speed": max(0.0, 3.6 * drive.speed_m_s),
            "Acceleration": drive.acceleration + drive.noise.gauss(0, 0.02) * (drive.speed_m_s > 0),
            "AcceleratorPedal": min(100.0, max(0.0, 18 * drive.acceleration + 12 * (drive.speed_m_s > 1))),
            "BrakePedal": min(100.0, max(0.0, -15 * drive.acceleration)),
            "DriveMode": 2 if drive.plugged else 1 if drive.speed_m_s > 0 else 0,
        },
    )


def charger_status(drive: Drive, _count: int) -> bytes:
    return DBC.encode_message(
        "ChargerStatus",
        {
            "OutputVoltage": drive.cell_v * CELLS + 2,
            "OutputCurrent": max(0.0, -drive.current_a),
            "ChargerState": 1 if drive.charging else 0 if drive.time_s < 41 else 2,
            "InletTemp": round(AMBIENT_C + 0.6 * (drive.temp_c - AMBIENT_C)),
        },
    )


def gateway(drive: Drive, count: int) -> bytes:
    """Body controller: no DBC for it."""
    return bytes((count % 256, 0x20, round(drive.speed_m_s), 0, 0, 0xFF, 0xFF, 0x5A))


def network_management(_drive: Drive, count: int) -> bytes:
    return bytes((0x11, 0x40 if count % 10 else 0x51, 0, 0))


def diagnosis(_drive: Drive, _count: int) -> bytes:
    """A tester in the OBD plug asks for the vehicle speed."""
    return bytes.fromhex("02010D5555555555")


CHARGER = (0x18FF50E5, 0.100, charger_status)
VEHICLE = (
    (0x180, 0.010, pack_status),
    (0x181, 0.100, cell_extremes),
    (0x182, 0.100, pack_temperatures),
    (0x190, 0.050, module_status),
    (0x210, 0.020, vehicle_motion),
    (0x3A5, 0.050, gateway),
    (0x4F1, 0.200, network_management),
    (0x7DF, 1.000, diagnosis),
)
"""Identifier, period in s and content of each cyclic frame of the vehicle; the monitor's own is not among them."""


def start(bus: can.BusABC, drive: Drive, can_id: int, period_s: float, encode: Encoder) -> can.CyclicSendTaskABC:
    """Send one cyclic frame with a python-can task that renews the data before each transmission."""
    counter = itertools.count()

    def renew(message: can.Message) -> None:
        message.data[:] = encode(drive, next(counter))

    message = can.Message(arbitration_id=can_id, is_extended_id=can_id > 0x7FF, data=encode(drive, 0))
    return bus.send_periodic(message, period_s, modifier_callback=renew)


def play(bus: can.BusABC, drive: Drive, duration_s: float) -> None:
    """Send everything in real time; the charger speaks only while its plug is in."""
    began_s = time.monotonic()
    for node in VEHICLE:
        start(bus, drive, *node)
    charger = None
    while (now_s := time.monotonic() - began_s) < duration_s:
        drive.advance(now_s)
        if drive.plugged and charger is None:
            charger = start(bus, drive, *CHARGER)
        elif charger is not None and not drive.plugged:
            charger.stop()
        time.sleep(0.004)
    bus.stop_all_periodic_tasks()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--interface", default="virtual", help="python-can interface: virtual, socketcan, ...")
    parser.add_argument("--channel", default="can0")
    parser.add_argument("--for", dest="duration_s", type=float, default=66.0, help="seconds")
    parser.add_argument("--seed", type=int, default=1, help="of the noise on the measurements")
    parser.add_argument("--log", type=Path, help="candump file to write, name.log; without it nothing is recorded")
    options = parser.parse_args()
    place = {"interface": options.interface, "channel": options.channel}
    with ExitStack() as stack:
        try:
            bus = stack.enter_context(can.Bus(**place))
            if options.log is not None:
                logger = stack.enter_context(can.Logger(options.log))
                notifier = can.Notifier(stack.enter_context(can.Bus(**place)), [logger])
                stack.callback(notifier.stop)
        except (can.CanError, OSError, ValueError) as error:
            parser.exit(1, f"{parser.prog}: {options.interface} {options.channel}: {error}\n")
        play(bus, Drive(options.seed), options.duration_s)


if __name__ == "__main__":
    main()
