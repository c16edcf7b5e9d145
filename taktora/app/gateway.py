"""A gateway of an EtherCAT bus in a process of its own: bus, image and channels of the machine file, no application."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from taktora.app.bench import Bench, EthercatBacking, load_bench
from taktora.app.bind_ethercat import bus_request, channel_name
from taktora.app.machine import load_machine
from taktora.connector import ConnectorGateway
from taktora.ethercat.connector import EthercatConnector, ethercat_channel
from taktora.ethercat.options import EthercatConnectorOptions
from taktora.ethercat.resolve import resolve, routing_of
from taktora.ethercat.slice_codec import SliceCodec

if TYPE_CHECKING:
    from taktora.runtime import Runtime

__all__ = ["build_gateway"]


# req: REQ_0321
def build_gateway(runtime: Runtime, machine: Path, bus: str, bench: Path | None = None) -> ConnectorGateway:
    """Return the gateway of one bus, to be run until it is stopped, for applications with ``gateway = "separate"``.

    Args:
        runtime: The world; its transport reaches other processes.
        machine: Machine file.
        bus: Name of the EtherCAT bus in it.
        bench: Bench file: which interface stands behind the bus.

    Raises:
        ConfigurationError: unknown bus, a file that makes no sense, or nothing stands behind the bus.
    """
    found = load_machine(machine)
    runtime = runtime.of_machine(found.machine)
    spec = found.ethercat_bus(bus, str(machine))
    backings = (Bench() if bench is None else load_bench(bench, found)).ethercat
    options = EthercatConnectorOptions.of_plan(resolve(spec))
    bench_folder = Path() if bench is None else bench.parent
    request = bus_request(
        bus, "gateway", spec, options, machine.parent, backings.get(bus, EthercatBacking()), bench_folder
    )
    made = runtime.backend("ethercat")(runtime, request)
    connector = EthercatConnector(runtime, options, made, SliceCodec(), bus)
    try:
        connector.serve(
            ethercat_channel(channel_name(bus, each.name), routing_of(spec, each)) for each in spec.channels
        )
        return _gateway(runtime, connector)
    except BaseException:
        connector.close()
        raise


def _gateway(runtime: Runtime, connector: EthercatConnector[SliceCodec]) -> ConnectorGateway:
    gateway = ConnectorGateway.builder(runtime, f"{connector.name}.gateway").signals().build()
    gateway.register(connector)
    return gateway
