"""The two processes of the tests of a separate EtherCAT gateway; the bus is scripted, so that no NIC is needed."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taktora.app import App, Bench, BoundApp, Context, EthercatBacking, load_machine
from taktora.app.gateway import build_gateway
from taktora.connector import ConnectorGateway
from taktora.connector.reconnect import ExponentialBackoff
from taktora.ethercat.backend import BusRequest
from taktora.ethercat.local import LocalBus
from taktora.runtime import Runtime
from taktora.testing.mock_bus import MockBusDriver
from taktora.transport.iceoryx import IceoryxTransport

MACHINE = """\
machine: cell
ethercat:
  cell:
    cycle_time_ms: 5
    max_output_age_cycles: 5
    ftti_ms: 100
    devices:
      - label: axis
        sm_watchdog_enabled: true
        safe: {target: 5}
        pdos:
          rx: [{index: 0x1600, entries: [{name: target, index: 0x607A, type: i32}]}]
          tx: [{index: 0x1A00, entries: [{name: position, index: 0x6064, type: i32}]}]
"""
AXIS = 0x1000


@dataclass
class AxisIn:
    position: int


@dataclass
class AxisOut:
    target: int


def make_runtime(node: str, domain: str, drivers: list[MockBusDriver]) -> Runtime:
    """Return a runtime of the wall clock with scripted EtherCAT buses; each driver made is put into ``drivers``."""
    runtime = Runtime.system(IceoryxTransport(node, domain=domain))

    def make_bus(world: Runtime, request: BusRequest) -> LocalBus:
        plan = request.options.plan()
        drivers.append(MockBusDriver.for_plan(plan))
        return LocalBus(plan, drivers[-1], world.clock, lambda: ExponentialBackoff(world.entropy), request.bus)

    runtime.backends["ethercat"] = make_bus
    return runtime


def make_gateway(runtime: Runtime, machine: Path) -> ConnectorGateway:
    return build_gateway(runtime, machine, "cell")


def bind_app(runtime: Runtime, machine: Path) -> tuple[BoundApp, Any]:
    """Return an application that asks the axis for 1000 plus its position, bound to the separate gateway."""
    app = App("pick")
    axis = app.ethercat("cell").device("axis", AxisIn, AxisOut)

    @app.cyclic(on=axis.cycle)
    def control(_: Context) -> None:
        axis.outputs.target = axis.inputs.position + 1000

    bench = Bench(ethercat={"cell": EthercatBacking(gateway="separate")})
    return app.bind(runtime, machine=load_machine(machine), bench=bench), axis


def main() -> None:
    """Run one of the two until SIGTERM: ``gateway`` or ``app``, machine file, domain."""
    part, machine, domain = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    runtime = make_runtime(f"{part}-child", domain, [])
    print("ready", flush=True)
    if part == "gateway":
        make_gateway(runtime, machine).run()
    else:
        bound, _axis = bind_app(runtime, machine)
        with bound:
            bound.run()
    runtime.close()


if __name__ == "__main__":
    main()
