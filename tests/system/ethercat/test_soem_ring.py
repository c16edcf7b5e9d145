"""An unmodified SOEM on a simulated ring: what a stranger makes of cable cuts and lost power."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.sim.ethercat import cell

pytestmark = pytest.mark.world("rig")

_MACHINE = {
    "machine": "ring",
    "ethercat": {
        "cell": {
            "devices": [
                {**cell.coupler(), "identity": {"vendor_id": 1, "product_code": 1}},
                {**cell.inputs("buttons", 8), "identity": {"vendor_id": 1, "product_code": 2}},
                {**cell.outputs("lamps", 8), "identity": {"vendor_id": 1, "product_code": 3}},
                {**cell.drive("axis1"), "identity": {"vendor_id": 1, "product_code": 4}},
                {**cell.drive("axis2"), "identity": {"vendor_id": 1, "product_code": 5}},
            ],
        }
    },
}


@pytest.mark.verifies("REQ_8107", "REQ_8110", "REQ_8109")
def test_soem_keeps_a_cut_ring_and_recovers_a_device_that_lost_its_power(tmp_path: Path) -> None:
    machine = tmp_path / "machine.yaml"
    machine.write_text(yaml.safe_dump(_MACHINE), encoding="utf-8")
    command = [sys.executable, "-m", "tests.system.ethercat.soem_ring", str(machine), "lamps", "axis2"]

    done = subprocess.run(["unshare", "-n", *command], capture_output=True, text=True, timeout=50, check=False)

    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    whole = [1 + 2 + 3 + 3]
    assert seen == {
        "found": 5,
        "closed": whole,
        "cut": whole,
        "healed": whole,
        "off": [whole[0] - 3],
        "recovered": 1,
        "on": whole,
        "states": [8],
        "status": 0,
    }
