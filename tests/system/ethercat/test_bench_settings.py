"""What a bench file says about the driver, in the process that drives."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from taktora.app.bench import load_bench
from taktora.app.bind_ethercat import bus_request
from taktora.ethercat.backend import make_bus
from taktora.ethercat.network import EthercatBusSpec
from taktora.ethercat.options import EthercatConnectorOptions
from taktora.ethercat.process import ProcessBus
from taktora.ethercat.resolve import resolve
from taktora.executor.attributes import ThreadAttributes
from taktora.runtime import Runtime
from taktora.testing import BusLog
from taktora_hil.rig_ethercat import EthercatRig
from taktora_sim.ethercat.devices.terminals import coupler, digital_inputs
from tests.system.ethercat.cell import FRAME_TIMEOUT_US

pytestmark = pytest.mark.world("rig")

_CORE = 0


@pytest.mark.verifies("REQ_0321", "REQ_0040", "REQ_0041")
def test_the_driver_runs_as_the_bench_file_says(tmp_path: Path) -> None:
    spec = EthercatBusSpec(cycle_time_ms=4.0, devices=(coupler("k"), digital_inputs("a", 2), digital_inputs("b", 2)))
    options = EthercatConnectorOptions.of_plan(resolve(spec))
    path = tmp_path / "bench.toml"
    with EthercatRig(spec, folder=tmp_path) as rig:
        path.write_text(
            f'[ethercat.cell]\ninterface = "{rig.interface}"\npriority = 41\ncpu = {_CORE}\n'
            f'mapping = "sequential"\nframe_timeout_us = {FRAME_TIMEOUT_US}\n'
        )
        backing = load_bench(path).ethercat["cell"]
        request = bus_request("cell", "test", spec, options, tmp_path, backing, tmp_path)
        bus = make_bus(Runtime.system(transport="inprocess"), request)
        assert isinstance(bus, ProcessBus)
        listener = BusLog()
        try:
            bus.start(listener)
            listener.wait(lambda seen: "Up" in [health.kind.value for health in seen.healths])
            assert bus.pid is not None
            found = _attributes(bus.pid)
        finally:
            bus.close()
        may_have_priority = rig.facts["policy"] == "SCHED_FIFO"

    assert found == ThreadAttributes(affinity_mask=(_CORE,), priority=41 if may_have_priority else None)


def _attributes(pid: int) -> ThreadAttributes:
    is_fifo = os.sched_getscheduler(pid) == os.SCHED_FIFO
    return ThreadAttributes(
        affinity_mask=tuple(os.sched_getaffinity(pid)),
        priority=os.sched_getparam(pid).sched_priority if is_fifo else None,
    )
