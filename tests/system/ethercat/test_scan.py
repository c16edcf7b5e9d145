"""A segment is scanned, what was written is simulated, and that is scanned again: nothing was lost on the way."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from taktora.app.machine import load_machine
from taktora.cli.ethercat import app
from taktora.ethercat.network import EthercatBusSpec
from taktora.ethercat.scan import describe_segment, write_scan
from taktora.ethercat.scan_diff import differences
from taktora.ethercat.soem_scan import read_segment
from taktora_hil.rig_ethercat import EthercatRig
from taktora_sim.ethercat.devices.terminals import coupler, digital_inputs, digital_outputs, generic
from tests.system.ethercat.cell import plan_of, run
from tests.system.ethercat.conftest import Cell, MakeDriver

pytestmark = pytest.mark.world("rig")


@pytest.mark.timeout(120)
@pytest.mark.verifies("REQ_8153")
def test_what_was_scanned_can_be_simulated_and_is_found_to_be_equal(
    cell: Cell, make_driver: MakeDriver, tmp_path: Path
) -> None:
    found = read_segment(cell.rig.interface)
    expected = run(make_driver(cell.plan).bring_up())
    path = write_scan(tmp_path / "scan", found, machine="cell", bus="cell")
    spec = load_machine(path).ethercat["cell"]

    with EthercatRig(spec, folder=path.parent) as twin:
        again = read_segment(twin.interface)
        brought_up = run(make_driver(plan_of(twin, spec)).bring_up())
        assert {device["state"] for device in twin.control.snapshot().values()} == {"OP"}

    assert [device.sii for device in again] == [device.sii for device in found]
    assert [device.dictionary for device in again] == [device.dictionary for device in found]
    assert again == found
    assert describe_segment(again) == spec
    assert brought_up == expected
    assert sum(device.dictionary is not None for device in found) == 6


@pytest.mark.verifies("REQ_8153")
def test_branches_clocks_aliases_and_small_controllers_are_found(tmp_path: Path) -> None:
    devices = (
        coupler("head"),
        digital_inputs("upper", 8, parent="head", port=3, options={"fmmus": 3, "sync_managers": 4, "ram_kb": 1}),
        digital_outputs("behind", 8),
        generic("lower", 4, 2, parent="head", port=1, distributed_clock=True, station_alias=7),
    )
    with EthercatRig(EthercatBusSpec(devices=devices)) as rig:
        found = read_segment(rig.interface)
    path = write_scan(tmp_path, found, machine="m", bus="cell")
    spec = load_machine(path).ethercat["cell"]
    with EthercatRig(spec, folder=tmp_path) as twin:
        again = read_segment(twin.interface)

    assert again == found
    assert [(device.parent, device.port) for device in spec.devices] == [
        (None, None),
        ("tk_1100_0", 3),
        (None, None),
        ("tk_1100_0", 1),
    ]
    assert [device.station_alias for device in spec.devices] == [None, None, None, 7]
    assert [device.distributed_clock for device in spec.devices] == [False, False, False, True]
    assert spec.devices[1].options == {"fmmus": 3, "sync_managers": 4, "ram_kb": 1}
    assert differences(EthercatBusSpec(devices=devices), again) == ()


@pytest.mark.verifies("REQ_8153")
def test_the_machine_file_is_compared_with_what_is_there(cell: Cell, tmp_path: Path) -> None:
    found = read_segment(cell.rig.interface)
    swapped = list(cell.spec.devices)
    swapped[1], swapped[2] = swapped[2], swapped[1]

    assert differences(cell.spec, found, tmp_path) == ()
    assert differences(EthercatBusSpec(devices=tuple(swapped)), found, tmp_path) == (
        f"position 1 ('di4'): found {_terminal(0x1008)}, machine file {_terminal(0x1004)}",
        f"position 2 ('di8'): found {_terminal(0x1004)}, machine file {_terminal(0x1008)}",
    )


def _terminal(product: int) -> str:
    return f"vendor 0x0BADCAFE, product 0x{product:08X}, revision 0x00010000"


@pytest.mark.verifies("REQ_8153")
def test_the_command_writes_and_compares(cell: Cell, tmp_path: Path) -> None:
    nic, folder = ["--nic", cell.rig.interface, "-q"], tmp_path / "scan"

    wrote = CliRunner().invoke(app, ["scan", *nic, "--output", str(folder), "--machine", "press"])
    compared = CliRunner().invoke(app, ["scan", *nic, "--diff", str(folder / "machine.yaml")])
    cell.rig.control.inject("ethercat/cell/do16", "wrong-identity", product_code=0x2011)
    differs = CliRunner().invoke(app, ["scan", *nic, "--diff", str(folder / "machine.yaml")])

    assert (wrote.exit_code, compared.exit_code, differs.exit_code) == (0, 0, 1), wrote.output + compared.output
    assert wrote.stdout.splitlines()[8] == ("  8  tk_2016_8   0x0BADCAFE 0x00002010 0x00010000  16 RxPDOs, 0 TxPDOs")
    assert wrote.stdout.splitlines()[-1] == f"Wrote {folder / 'machine.yaml'}"
    assert compared.stdout.splitlines()[-1] == f"equal: the segment is what {folder / 'machine.yaml'} says"
    assert differs.stdout.splitlines()[-2:] == [
        f"position 8 ('tk_2016_8'): found {_terminal(0x2011)}, machine file {_terminal(0x2010)}",
        f"1 difference: correct {folder / 'machine.yaml'}, or the segment",
    ]


@pytest.mark.verifies("REQ_8153", "REQ_8510")
def test_errors_of_the_wire_are_one_sentence(cell: Cell) -> None:
    with cell.rig.control.fault("ethercat/cell/coupler", "cut-cable"):
        silent = CliRunner().invoke(app, ["scan", "--nic", cell.rig.interface])
    nobody = CliRunner().invoke(app, ["scan", "--nic", "nosuch0"])

    assert (silent.exit_code, nobody.exit_code) == (2, 2)
    assert silent.stderr == (
        f"Error: interface '{cell.rig.interface}': no SubDevice answers; expected at least one: check power, cable and "
        "that it is IN\n"
    )
    assert nobody.stderr.startswith("Error: network interface 'nosuch0': no such interface, there is ")
    assert nobody.stderr.endswith("; 'ip link' lists them\n")
