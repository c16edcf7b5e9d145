"""Two machines on one computer, both with buses of the same names: each application has its own."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from taktora.app import App, Context
from taktora.app.bench import Bench, EthercatBacking
from taktora.app.machine import Machine
from taktora.connector.reconnect import ExponentialBackoff
from taktora.ethercat.backend import BusRequest
from taktora.ethercat.local import LocalBus
from taktora.runtime import Runtime
from taktora.testing.mock_bus import MockBusDriver
from taktora.transport.inprocess import InProcessDomain, InProcessTransport
from tests.patience import PATIENCE_S
from tests.unit.app.test_ethercat import MACHINE, AxisIn, AxisOut

S = 1_000_000_000


@dataclass
class Count:
    number: int


def machine(name: str, devices: int) -> Machine:
    content: dict[str, Any] = copy.deepcopy(MACHINE)
    content["machine"] = name
    cell = content["ethercat"]["cell"]
    cell["devices"] = cell["devices"][:devices]
    del cell["channels"]
    return msgspec.convert(content, Machine)


class Cabinet:
    """An application of its own runtime, as in a process of its own, on what the other one is on too."""

    def __init__(self, domain: InProcessDomain, name: str, devices: int) -> None:
        self.runtime = Runtime.system(InProcessTransport(domain))
        self.runtime.backends["ethercat"] = self._bus
        self.cycles = 0
        app = App("control")
        axis = app.ethercat("cell").device("axis1", AxisIn, AxisOut)
        counts = app.channel("counts", Count)

        @app.cyclic(on=axis.cycle)
        def control(ctx: Context) -> None:
            self.cycles += 1
            axis.outputs.control = 1
            counts.send(Count(self.cycles))
            if self.cycles >= 3:
                ctx.stop_executor()

        self.bound = app.bind(
            self.runtime, machine=machine(name, devices), bench=Bench(ethercat={"cell": EthercatBacking()})
        )

    def _bus(self, runtime: Runtime, request: BusRequest) -> LocalBus:
        plan = request.options.plan()
        return LocalBus(plan, MockBusDriver.for_plan(plan), runtime.clock, lambda: ExponentialBackoff(runtime.entropy))


@pytest.mark.verifies("REQ_0206", "REQ_8151")
def test_two_machines_of_one_computer_each_have_a_bus_of_the_same_name() -> None:
    domain = InProcessDomain()
    cabinets = [Cabinet(domain, "press", 2), Cabinet(domain, "packer", 4)]  # images of different lengths

    for cabinet in cabinets:
        with cabinet.bound:
            cabinet.bound.run(int(PATIENCE_S) * S)
    for cabinet in cabinets:
        cabinet.runtime.close()

    assert [cabinet.cycles >= 3 for cabinet in cabinets] == [True, True]
