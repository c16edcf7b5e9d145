"""What stands behind an EtherCAT bus: the request that a world's back-end answers with a :class:`CyclicBus`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from taktora.errors import ConfigurationError
from taktora.ethercat.image import CyclicBus
from taktora.ethercat.network import EthercatBusSpec
from taktora.ethercat.options import EthercatConnectorOptions
from taktora.executor.attributes import ThreadAttributes

if TYPE_CHECKING:
    from taktora.ethercat.soem_options import SoemOptions
    from taktora.executor.attributes import ThreadAttributes
    from taktora.runtime import Runtime

__all__ = ["BusRequest", "make_bus"]

_PRIORITY: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class BusRequest:
    """What an application or a gateway process asks a world for: the bus that stands behind one resource name.

    A back-end (entry point ``<world>.ethercat`` of the group ``taktora.backends``) is called with the runtime and the
    request and returns a ``CyclicBus`` that has not been started; its layout is that of ``options.plan()``.

    Args:
        bus: Resource name of the bus in the machine file.
        node: Who asks, for messages: the name of the application.
        options: What follows from ``spec``: the plan of the bus and its reconnect policy.
        spec: The segment as the machine file describes it.
        folder: Folder that paths inside ``spec`` are relative to.
        interface: Network interface named by the bench file, if it names one.
        simulated: The bench file says that the segment is simulated.
        settings: What the bench file says about a simulated segment: by label of a device, its plant as plain data.
        settings_folder: Folder that paths inside ``settings`` are relative to.
    """

    bus: str
    node: str
    options: EthercatConnectorOptions
    spec: EthercatBusSpec
    folder: Path = field(default_factory=Path)
    interface: str | None = None
    simulated: bool = False
    settings: Mapping[str, object] = field(default_factory=dict)
    settings_folder: Path = field(default_factory=Path)


# req: REQ_0321
def make_bus(
    runtime: Runtime,  # noqa: ARG001 - what every back-end is called with
    request: BusRequest,
    soem: SoemOptions | None = None,
    attributes: ThreadAttributes | None = None,
) -> CyclicBus:
    """Return the bus of ``request`` on a network interface of this machine: SOEM in a process of its own.

    Args:
        runtime: The real world's.
        request: What is wanted.
        soem: How SOEM is used.
        attributes: Priority and cores of the driver's process; SCHED_FIFO 50 unless given, where the system allows it.

    Raises:
        ConfigurationError: the bench says simulated, nobody names an interface, pysoem is missing, or this is no Linux.
    """
    from taktora.ethercat.process import BusSetup, ProcessBus
    from taktora.ethercat.soem import SoemDriver, require_pysoem

    if request.simulated:
        msg = f"EtherCAT bus {request.bus!r} is simulated by the bench file, this run is on the wall clock"
        raise ConfigurationError(f"{msg}: use --world sim, or name its interface in the bench file")
    plan = request.options.plan()
    interface = request.interface or plan.network_interface
    if interface is None:
        raise ConfigurationError(
            f'EtherCAT bus {request.bus!r} has no network interface; write interface = "eth1" under '
            f"[ethercat.{request.bus}] in the bench file, or default_nic in the machine file"
        )
    require_pysoem()  # now, and not in the other process
    setup = BusSetup(
        name=request.bus,
        plan=replace(plan, network_interface=interface),
        make_driver=partial(SoemDriver, options=soem),
        make_policy=request.options.reconnect_policy_factory,
        attributes=attributes or ThreadAttributes(priority=_PRIORITY),
    )
    return ProcessBus(setup)
