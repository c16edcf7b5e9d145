"""SOEM as the stranger that judges the simulated drive and its clock: bring-up, clocks, power walk, a move."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from taktora.ethercat.network import EthercatBusSpec
from taktora.ethercat.soem import SoemDriver
from taktora_hil.rig_ethercat import EthercatRig
from taktora_sim.ethercat.devices.cia402 import PowerState
from taktora_sim.ethercat.devices.terminals import coupler, digital_inputs, drive
from tests.system.ethercat.cell import STEPPED_FTTI_MS, plan_of, run
from tests.system.ethercat.conftest import MakeDriver

pytestmark = pytest.mark.world("rig")

_STATE_MASK = 0x6F
_ACKNOWLEDGED, _REACHED = 0x1000, 0x0400
_DRIVE = 0x1002
_MOST_CYCLES = 20_000


def _spec(*, distributed_clocks: bool) -> EthercatBusSpec:
    devices = (
        coupler("k", distributed_clock=True),
        digital_inputs("di"),
        drive("a", sync0_shift_us=100 if distributed_clocks else None),
        drive("b", options={"clock_drift_ppm": 30.0}),
    )
    return EthercatBusSpec(ftti_ms=STEPPED_FTTI_MS, distributed_clocks=distributed_clocks, devices=devices)


def _until(driver: SoemDriver, word: int, target: int, mask: int, wanted: int) -> int:
    """Exchange with these outputs until the statusword is as wanted; return the position."""
    outputs, inputs = driver.outputs(_DRIVE), driver.inputs(_DRIVE)
    assert outputs is not None
    assert inputs is not None
    outputs[:] = struct.pack("<Hib", word, target, 1)
    for _ in range(_MOST_CYCLES):
        run(driver.exchange())
        status, position = struct.unpack_from("<Hi", inputs)
        if status & mask == wanted:
            return int(position)
    raise AssertionError(f"after controlword 0x{word:04X} the statusword stays 0x{status:04X}")


@pytest.mark.verifies("REQ_8110", "REQ_8108")
def test_a_drive_is_enabled_and_moves(tmp_path: Path, make_driver: MakeDriver) -> None:
    spec = _spec(distributed_clocks=False)
    with EthercatRig(spec, folder=tmp_path) as rig:
        driver = make_driver(plan_of(rig, spec))
        assert run(driver.bring_up()) == (7, 4)

        for word, state in (
            (0x00, PowerState.SWITCH_ON_DISABLED),
            (0x06, PowerState.READY),
            (0x07, PowerState.SWITCHED_ON),
            (0x0F, PowerState.ENABLED),
        ):
            _until(driver, word, 0, _STATE_MASK, state)
        _until(driver, 0x1F, 20_000, _ACKNOWLEDGED, _ACKNOWLEDGED)
        position = _until(driver, 0x0F, 20_000, _ACKNOWLEDGED | _REACHED, _REACHED)

        assert abs(position - 20_000) <= 10
        assert run(driver.sdo_read(_DRIVE, 0x6502, 0)) == (0x3A5).to_bytes(4, "little")
        driver.close()


@pytest.mark.verifies("REQ_8106", "REQ_8110", "REQ_0318")
def test_clocks_are_set_up_by_a_stranger(tmp_path: Path, make_driver: MakeDriver) -> None:
    spec = _spec(distributed_clocks=True)
    with EthercatRig(spec, folder=tmp_path) as rig:
        driver = make_driver(plan_of(rig, spec))

        found = run(driver.bring_up())
        counters = {run(driver.exchange()).working_counter for _ in range(50)}

        assert found == (7, 4)
        assert counters == {7}
        driver.close()
