"""The rig for the tests of the real driver: a segment of its own for each test, where this machine can have one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pytest

from taktora.ethercat.network import EthercatBusSpec
from taktora.ethercat.options import BusPlan
from taktora.ethercat.soem import SoemDriver
from taktora.ethercat.soem_options import SoemOptions
from taktora_hil.rig_ethercat import EthercatRig, why_no_rig
from tests.system.ethercat import cell as cell_module
from tests.system.ethercat.cell import STEPPED_FRAME_TIMEOUT_US, STEPPED_FTTI_MS, plan_of


class Cell(NamedTuple):
    """A running rig, what is on it, and the plan to drive it with."""

    rig: EthercatRig
    spec: EthercatBusSpec
    plan: BusPlan


MakeDriver: TypeAlias = Callable[..., SoemDriver]


@pytest.fixture(autouse=True)
def _a_machine_that_can() -> None:
    if reason := why_no_rig():
        pytest.skip(reason)


@pytest.fixture
def cell(tmp_path: Path) -> Iterator[Cell]:
    spec = cell_module.cell(tmp_path)
    with EthercatRig(spec, folder=tmp_path) as rig:
        yield Cell(rig, spec, plan_of(rig, spec))


@pytest.fixture
def stepped_cell(tmp_path: Path) -> Iterator[Cell]:
    """The cell for a driver that is stepped in the test's own process."""
    spec = cell_module.cell(tmp_path, ftti_ms=STEPPED_FTTI_MS)
    with EthercatRig(spec, folder=tmp_path) as rig:
        yield Cell(rig, spec, plan_of(rig, spec))


@pytest.fixture
def make_driver() -> Iterator[MakeDriver]:
    """Make drivers in this process, closed at the end."""
    with ExitStack() as stack:

        def make(plan: BusPlan, **options: Any) -> SoemDriver:
            driver = SoemDriver(plan, SoemOptions(**{"frame_timeout_us": STEPPED_FRAME_TIMEOUT_US, **options}))
            stack.callback(driver.close)
            return driver

        yield make


@pytest.fixture
def down_interface() -> Iterator[str]:
    """A network interface that is down, and whose cable ends in nothing."""
    name = f"tk{os.getpid()}v999"
    subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"tk{os.getpid()}p999"], check=True)
    yield name
    subprocess.run(["ip", "link", "del", name], check=True)
