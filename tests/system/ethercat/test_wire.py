"""What SOEM really sends, as a stranger dissects it: no malformed packet, and every SDO in its place."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from taktora.ethercat.network import EthercatBusSpec, SdoSpec
from taktora_hil.rig_ethercat import EthercatRig
from taktora_sim.ethercat.devices.terminals import coupler, digital_inputs
from tests.system.ethercat.cell import LONG_OBJECT, STEPPED_FTTI_MS, axis, cell, plan_of, run
from tests.system.ethercat.conftest import MakeDriver

pytestmark = pytest.mark.world("rig")


@pytest.fixture
def tshark() -> str:
    path = shutil.which("tshark")
    if path is None:
        pytest.skip("not run: tshark is not installed")
    return path


def dissect(tshark: str, recording: Path, *fields: str, only: str = "") -> list[list[str]]:
    """Return the fields of each packet that the filter ``only`` lets through."""
    command = [tshark, "-n", "-r", str(recording), "-T", "fields", *(part for name in fields for part in ("-e", name))]
    command += ["-Y", only] if only else []
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=True)
    return [line.split("\t") for line in done.stdout.splitlines()]


@pytest.mark.verifies("REQ_8110", "REQ_8111")
def test_a_bring_up_by_soem_and_a_thousand_cycles_hold_no_malformed_packet(
    tmp_path: Path, make_driver: MakeDriver, tshark: str
) -> None:
    recording = tmp_path / "cell.pcapng"
    spec = cell(tmp_path, ftti_ms=STEPPED_FTTI_MS)
    with EthercatRig(spec, folder=tmp_path, record=recording) as rig:
        driver = make_driver(plan_of(rig, spec))
        run(driver.bring_up())
        run(driver.sdo_write(0x100C, LONG_OBJECT, 0, bytes(300)))
        counters = {run(driver.exchange()).working_counter for _ in range(1000)}
        driver.close()

    packets = dissect(tshark, recording, "frame.protocols", "_ws.malformed", "ecat.cmd")

    assert counters == {28}
    assert {malformed for _protocols, malformed, _commands in packets} == {""}
    assert all(protocols.startswith("eth:ethertype:ecatf:ecat") for protocols, _malformed, _commands in packets)
    assert sum("0x0c" in commands for *_, commands in packets) >= 2000  # LRW, there and back


@pytest.mark.realizes("TEST_0205", "TEST_0869")
def test_startup_sdos_come_first_then_each_assignment_is_cleared_filled_and_counted(
    tmp_path: Path, make_driver: MakeDriver, tshark: str
) -> None:
    recording = tmp_path / "cell.pcapng"
    startup = (
        SdoSpec(index=0x607A, type="i32", value=-100_000),
        SdoSpec(index=0x6060, type="i8", value=-1),
    )
    spec = EthercatBusSpec(
        ftti_ms=STEPPED_FTTI_MS,
        devices=(coupler("coupler"), digital_inputs("di8"), axis("axis1", startup_sdos=startup), axis("axis2")),
    )
    with EthercatRig(spec, folder=tmp_path, record=recording) as rig:
        run(make_driver(plan_of(rig, spec)).bring_up())

    fields = ("ecat.adp", "ecat_mailbox.coe.sdoidx", "ecat_mailbox.coe.sdosub", "ecat_mailbox.coe.sdodata")
    written = dissect(tshark, recording, "frame.number", *fields, only="ecat_mailbox.coe.sdoccsid && ecat.cnt == 0")
    asked = dissect(tshark, recording, "frame.number", only="ecat.reg.alctrl.ctrl == 4 && ecat.cnt == 0")

    assert [each[2:] for each in written if each[1] == "0x1003"] == [
        ["0x607a", "0x00", "0xfffe7960"],
        ["0x6060", "0x00", "0xff"],
        *ASSIGNMENT,
    ]
    assert [each[2:] for each in written if each[1] == "0x1004"] == ASSIGNMENT
    assert {each[1] for each in written} == {"0x1003", "0x1004"}
    assert max(int(each[0]) for each in written) < min(int(each[0]) for each in asked)


ASSIGNMENT = [
    ["0x1c12", "0x00", "0x00"],
    ["0x1c12", "0x01", "0x1600"],
    ["0x1c12", "0x02", "0x1601"],
    ["0x1c12", "0x00", "0x02"],
    ["0x1c13", "0x00", "0x00"],
    ["0x1c13", "0x01", "0x1a00"],
    ["0x1c13", "0x00", "0x01"],
]
