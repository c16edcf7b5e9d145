"""Two MainDevices on one interface: the second is refused and the first notices nothing; afterwards nothing is left."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from taktora.errors import StackError
from taktora.ethercat.nic import is_promiscuous
from taktora.ethercat.soem import SoemDriver
from taktora.ethercat.soem_scan import read_segment
from taktora.testing import BusLog
from tests.system.ethercat.cell import bus_on, run
from tests.system.ethercat.conftest import Cell, MakeDriver

pytestmark = pytest.mark.world("rig")


@pytest.mark.verifies("REQ_0312", "REQ_8153", "REQ_8510")
def test_a_scan_and_a_second_driver_leave_a_running_bus_alone(cell: Cell) -> None:
    nic = cell.rig.interface
    bus, listener = bus_on(cell.rig, cell.plan), BusLog()
    bus.start(listener)
    try:
        listener.wait(lambda all_: len(all_.records) > 10)
        command = [sys.executable, "-m", "taktora.cli.main", "ethercat", "scan", "--nic", nic]
        scan = subprocess.run(command, capture_output=True, text=True, check=False, timeout=55)
        second = SoemDriver(cell.plan)
        with pytest.raises(StackError) as refused:
            run(second.bring_up())
        second.close()
        seen = len(listener.records)
        listener.wait(lambda all_: len(all_.records) > seen + 10)
    finally:
        bus.close()

    assert scan.returncode == 2
    assert scan.stderr.startswith(f"Error: interface '{nic}' is driven by process {os.getpid()} (")
    assert scan.stderr.endswith("); stop it first\n")
    assert str(refused.value).startswith(f"interface '{nic}' is driven by another bus of this application")
    assert [health.kind.name for health in listener.healths if health.kind.name in ("DEGRADED", "DOWN")] == []
    assert [device["state"] for device in cell.rig.control.snapshot().values()] == ["INIT"] * len(cell.spec.devices)


@pytest.mark.verifies("REQ_0312", "REQ_0325")
def test_the_interface_is_afterwards_what_it_was_before(stepped_cell: Cell, make_driver: MakeDriver) -> None:
    nic = stepped_cell.rig.interface
    driver = make_driver(stepped_cell.plan)
    run(driver.bring_up())
    assert is_promiscuous(nic)

    driver.close()

    assert not is_promiscuous(nic)
    read_segment(nic, has_objects=False)
    assert not is_promiscuous(nic)
    subprocess.run(["ip", "link", "set", nic, "promisc", "on"], check=True)
    again = make_driver(stepped_cell.plan)
    run(again.bring_up())
    again.close()
    assert is_promiscuous(nic)
